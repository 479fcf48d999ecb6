/**
 * Many histories of no-space.test.ts: `NO_SPACE_SEEDS` (default 15) from `SEED` on, at each write; and for real: a file
 * system of 32 MiB in memory that is filled up again and again. It is mounted for the test, which only root may do.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, StoreError, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { checkpointAt } from '../contract.ts'
import { fullAtWrite, fullCodes, fullDisk, newFullTally, startOf, toldText } from '../support/no-space.ts'

const test = suite('log engine: no space, long', { deadlineMs: 3_000_000 })
const first = Number(process.env['SEED'] ?? 1001)

test('full at each write of many histories', async () => {
  const tally = newFullTally()
  const seeds = Number(process.env['NO_SPACE_SEEDS'] ?? 15)
  let writes = 0
  for (let seed = first; seed < first + seeds; seed++) {
    const start = await startOf(seed, 12 + (seed % 12))
    let at = 0
    try {
      for (let goesOn = true; goesOn; writes++) {
        at += 1
        const random = new SeededRandom(seed * 1000 + at)
        const written = random.pick([0, 0.02, 0.5, 0.98])
        goesOn = await fullAtWrite(
          start,
          { at, code: random.pick(fullCodes), written, told: random.between(1, 4) },
          tally,
        )
      }
      for (at = -1; at > -6; at--) await fullDisk(start, seed * 1000 - at, tally)
    } catch (cause) {
      throw new Error(`SEED=${seed}, ${at > 0 ? 'write' : 'disk'} ${at}: ${(cause as Error).message}`, { cause })
    }
  }
  console.log(`note: seeds ${first}–${first + seeds - 1}: full at ${writes} writes, ${toldText(tally)}`)
})

const disk = mkdtempSync(join(tmpdir(), 'millrace-full-'))
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', disk])
process.on('exit', () => {
  // Also when a test failed and files are open.
  if (mounted.status === 0) spawnSync('umount', ['-l', disk])
  rmSync(disk, { recursive: true, force: true })
})
const at = { group: 'g', table: 't', partition: 0 }

/** A store that only grows, on a disk with some ballast that can be thrown away. Owns the ballast. */
class RealLife {
  readonly #random: SeededRandom
  /** Key to the number that its value is made of. */
  readonly #content = new Map<string, number>()
  readonly events: StoreEvent[] = []
  readonly #options: { readonly worker: boolean }
  readonly #ballast: string[] = []
  #batches = 0
  engine!: LogEngine
  store!: LogStore

  constructor(seed: number, worker: boolean) {
    for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true })
    this.#random = new SeededRandom(seed)
    this.#options = { worker }
    for (let i = 0; i < 6; i++) {
      const path = join(disk, `ballast-${i}`)
      writeFileSync(path, Buffer.alloc(2 ** 21, 1))
      this.#ballast.push(path)
    }
  }

  async open(): Promise<void> {
    const onEvent = (event: StoreEvent): void => void this.events.push(event)
    const options = {
      dir: join(disk, 'data'),
      writeBufferBytes: 2 ** 19,
      cacheBytes: 2 ** 16,
      onEvent,
      ...this.#options,
    }
    this.engine = new LogEngine(options)
    this.store = await this.engine.open(at)
  }

  /** Room for about 2 MiB more. False: there is nothing left that could go. */
  makeRoom(): boolean {
    const path = this.#ballast.pop()
    if (path !== undefined) rmSync(path)
    return path !== undefined
  }

  /** Writes batches until one fails for want of room; that one is collected but not committed. */
  async fill(): Promise<void> {
    for (;;) {
      const changes = new Map<string, number>()
      for (let i = 0; i < 20; i++) {
        const old = this.#random.chance(0.3)
        changes.set(`key ${this.#random.int(old ? 1 + this.#content.size : 2 ** 30)}`, this.#random.uint32())
      }
      const batch = this.store.writer()
      for (const [key, number] of changes) {
        const [bytes, value] = [Buffer.from(key), valueFor(number)]
        batch.put(0, bytes, 0, bytes.length, value, 0, value.length)
      }
      let wasFull = false
      for (;;) {
        try {
          batch.commit(checkpointAt(this.#batches))
          break
        } catch (error) {
          assert.instance(error, StoreError)
          assert.is((error as StoreError).code, 'ERR_STORE_NOSPACE', (error as StoreError).message)
          assert.match((error as StoreError).message, /the disk is full \(ENOSPC\)/)
          wasFull = true
          this.check()
          if (!this.makeRoom()) {
            batch.abandon()
            return
          }
        }
      }
      for (const [key, number] of changes) this.#content.set(key, number)
      this.#batches += 1
      if (wasFull) this.check()
      await (this.store.ready() ?? new Promise<void>((resolve) => setImmediate(resolve)))
    }
  }

  /** Everything that was committed can be read, and nothing else. */
  check(): void {
    let count = 0
    for (const [key, value] of this.store.entries()) {
      count += 1
      const number = this.#content.get(key.toString())
      assert.ok(number !== undefined && valueFor(number).equals(value), `${key}`)
    }
    assert.is(count, this.#content.size)
    for (const [key, number] of [...this.#content].slice(0, 300))
      assert.ok(this.store.get(key)?.equals(valueFor(number)), key)
    assert.is(this.store.checkpoint?.position, this.#batches - 1)
  }

  get entries(): number {
    return this.#content.size
  }
}

/** 0–1,200 bytes that the number decides. */
function valueFor(number: number): Buffer {
  const value = Buffer.alloc(number % 1200, number & 0xff)
  if (value.length >= 4) value.writeUInt32LE(number, value.length - 4)
  return value
}

for (const worker of [false, true]) {
  const name = `a disk of 32 MiB, ${worker ? 'with' : 'without'} a worker thread`
  if (mounted.status !== 0) {
    test.skip(name, `no file system of its own can be mounted: ${String(mounted.stderr).trim() || mounted.error}`)
    continue
  }
  test(name, async () => {
    const life = new RealLife(first, worker)
    await life.open()
    await life.fill()
    while (life.engine.jobStats.jobs > 0) await new Promise((resolve) => setImmediate(resolve))
    // Not a byte is left now, also of what broken-off work has given back.
    const rest = statfsSync(disk)
    if (rest.bavail > 0) writeFileSync(join(disk, 'rest'), Buffer.alloc(rest.bavail * rest.bsize))
    life.check()
    await rejects(life.store.flush(), 'ERR_STORE_NOSPACE')
    life.check()
    await life.engine.close()
    // The lock was given back: its place goes as well.
    const last = statfsSync(disk)
    writeFileSync(join(disk, 'last'), Buffer.alloc(last.bavail * last.bsize))
    await rejects(life.open(), 'ERR_STORE_NOSPACE')
    for (const one of ['rest', 'last']) rmSync(join(disk, one), { force: true })
    await life.open()
    life.check()
    const failed = life.events.filter((event) => event.kind === 'failed')
    for (const { error } of failed) assert.is(error.code, 'ERR_STORE_NOSPACE', error.message)
    assert.equal(
      life.events.filter(({ kind }) => kind === 'recovered'),
      [],
    )
    const merges = life.events.filter(({ kind }) => kind === 'merged').length
    assert.equal((await life.store.verify()).faults, [])
    await life.engine.close()
    const tables = (): string[] => readdirSync(join(disk, 'data/g/t/0')).filter((one) => one.endsWith('.tbl'))
    const before = tables()
    await life.open()
    assert.equal(tables(), before, 'tables that do not count were left')
    life.check()
    await life.engine.close()
    const told = `${failed.length} times in the background`
    console.log(`note: SEED=${first}: ${life.entries} entries, ${merges} merges; full ${told} and 7 times in commits`)
  })
}

test.run()
