/**
 * Background work in a worker thread, on the real file system: the contract and the model with tables all the time; the
 * thread ended in the middle of its work; stores closed and cleared while it works; and a process that ends by itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put, storeContract } from '../contract.ts'
import { storeModel } from '../model.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-worker-'))
process.on('exit', () => rmSync(root, { recursive: true, force: true }))
let directories = 0

function newDir(): string {
  directories += 1
  return join(root, String(directories))
}

/** Every so many rounds of the tests below; `EVERY=1` for all. */
const every = Number(process.env['EVERY'] ?? 2)
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function small(options: Partial<LogEngineOptions> = {}): LogEngine {
  return new LogEngine({
    dir: newDir(),
    random: new SeededRandom(7),
    sync: 'never',
    writeBufferBytes: 4096,
    ...options,
  })
}

storeContract('log, worker thread', async () => small({ writeBufferBytes: 2 ** 21 }))
storeModel('log, worker thread', async () => small(), {
  exactCounts: false,
  steps: 60,
  seeds: 2,
  pause: (_, random) => (random.chance(0.2) ? turn() : undefined),
})

const test = suite('log engine: worker thread')
const at = { group: 'g', table: 't', partition: 0 }

/** An engine with one store that is written in batches of known content. */
class World {
  readonly dir = newDir()
  readonly events: StoreEvent[] = []
  /** Threads that were started. */
  readonly workers: Worker[] = []
  engine!: LogEngine
  store!: LogStore

  async open(options: Partial<LogEngineOptions> = {}): Promise<void> {
    const onEvent = (event: StoreEvent): void => void this.events.push(event)
    this.engine = new LogEngine({ dir: this.dir, sync: 'never', writeBufferBytes: 16_384, onEvent, ...options })
    this.store = await this.engine.open(at)
  }

  /** Runs `work`; threads that it starts are noted. */
  async watching(work: () => Promise<void>): Promise<void> {
    const note = (worker: Worker): void => void this.workers.push(worker)
    process.on('worker', note)
    try {
      await work()
    } finally {
      process.off('worker', note)
    }
  }

  /** Batch `i`: 40 keys, some of them new, about 6 KB. */
  write(i: number): void {
    for (let j = 0; j < 40; j++) put(this.store, `key ${(i * 17 + j) % 300}`, bytes(`${i} `.padEnd(120, 'x')))
    this.store.writer().commit(checkpointAt(i))
  }

  /** Throws unless batches 0 … count − 1 are there. */
  check(count: number): void {
    const expected = new Map<string, string>()
    for (let i = 0; i < count; i++) for (let j = 0; j < 40; j++) expected.set(`key ${(i * 17 + j) % 300}`, `${i} `)
    const found = [...this.store.entries()].map(([key, value]) => [`${key}`, `${value}`.replaceAll('x', '')])
    assert.equal(
      found,
      [...expected].sort(([a], [b]) => (a < b ? -1 : 1)),
    )
    assert.is(this.store.checkpoint?.position, count === 0 ? undefined : count - 1)
  }

  count(kind: StoreEvent['kind']): number {
    return this.events.filter((event) => event.kind === kind).length
  }

  /** Tables on the disk. */
  tables(): string[] {
    return readdirSync(join(this.dir, 'g', 't', '0')).filter((name) => name.endsWith('.tbl'))
  }

  /** Opens what is on the disk, and throws unless it is these batches, and no file is there that does not count. */
  async reopen(count: number): Promise<void> {
    await this.engine.close()
    const before = this.tables()
    await this.open({ worker: false })
    assert.equal(this.tables(), before, 'a table that does not count was left')
    this.check(count)
    await this.engine.close()
  }
}

test('one thread works for all stores of an engine, and ends with it', async () => {
  const world = new World()
  await world.watching(async () => {
    await world.open()
    assert.is(world.workers.length, 0)
    const other = await world.engine.open({ ...at, partition: 1 })
    for (let i = 0; i < 30; i++) {
      world.write(i)
      for (let j = 0; j < 50; j++) put(other, `${i} ${j}`, bytes('other'))
      other.writer().commit(checkpointAt(i))
      if (i % 5 === 0) await turn()
    }
    await Promise.all([world.store.flush(), other.flush()])
    assert.is([...other.entries()].length, 1500)
    world.check(30)
    await world.store.compact()
    world.check(30)
    assert.is(world.workers.length, 1)
    assert.is(world.count('failed'), 0)
    assert.ok(world.count('flushed') >= 10)
    assert.ok(world.count('merged') >= 1)
    await world.reopen(30)
    assert.is(world.workers[0]!.threadId, -1)
  })
})

test('a thread that dies at any moment loses nothing: the work goes on in slices', async () => {
  const random = new SeededRandom(11)
  let lost = 0
  for (let round = 0; round < 12; round += every) {
    const world = new World()
    await world.watching(async () => {
      await world.open({ writeBufferBytes: 8192 })
      let killed: Promise<unknown> | undefined
      for (let i = 0; i < 40; i++) {
        world.write(i)
        if (random.chance(0.5)) await turn()
        if (i === 3 * round + 2) killed = world.workers[0]?.terminate()
      }
      await world.store.flush()
      await world.store.compact()
      world.check(40)
      await killed
      for (let i = 40; i < 45; i++) world.write(i)
      await world.store.flush()
      world.check(45)
      assert.ok(world.workers.length <= 1)
      lost += world.count('failed')
      for (const event of world.events) {
        if (event.kind === 'failed') assert.match(event.error.message, /worker thread .* ended/)
      }
      await world.reopen(45)
    })
  }
  assert.ok(lost >= 6 / every, `it was working in ${lost} rounds`)
})

test('a thread that dies in the middle of a merge leaves no file behind', async () => {
  for (let round = 0; round < 8; round += every) {
    const world = new World()
    await world.watching(async () => {
      await world.open({ writeBufferBytes: 2 ** 20 })
      const value = Buffer.alloc(2000, 'v')
      for (let part = 0; part < 2; part++) {
        for (let i = 0; i < 1500; i++) put(world.store, `k${(i * 7919 + part) % 2000}`, value)
        world.store.writer().commit(checkpointAt(part))
        await world.store.flush()
      }
      const entries = [...world.store.entries()].length
      const compacted = world.store.compact()
      for (let turns = 0; turns < 4 * round; turns++) await turn()
      await world.workers[0]!.terminate()
      await compacted
      assert.is([...world.store.entries()].length, entries)
      await world.engine.close()
      const before = world.tables()
      await world.open({ worker: false })
      assert.equal(world.tables(), before)
      assert.is([...world.store.entries()].length, entries)
      await world.engine.close()
    })
  }
})

test('closing at any moment of its work loses nothing and leaves nothing', async () => {
  for (let round = 0; round < 16; round += every + 1) {
    const world = new World()
    await world.open({ writeBufferBytes: 8192 })
    for (let i = 0; i < 24; i++) {
      world.write(i)
      if (i % 3 === 0) await turn()
    }
    if (round % 2 === 0) await world.store.flush()
    const compacted = world.store.compact().catch(() => {})
    for (let turns = 0; turns < 3 * round; turns++) await turn()
    await world.reopen(24)
    await compacted
    assert.is(world.count('failed'), 0)
  }
})

test('clearing while it works leaves nothing of before', async () => {
  for (let round = 0; round < 12; round += every) {
    const world = new World()
    await world.open({ writeBufferBytes: 8192 })
    for (let i = 0; i < 24; i++) {
      world.write(i)
      if (i % 3 === 0) await turn()
    }
    for (let turns = 0; turns < 3 * round; turns++) await turn()
    world.store.clear()
    world.check(0)
    for (let i = 0; i < 10; i++) world.write(i)
    await world.store.flush()
    world.check(10)
    assert.is(world.count('failed'), 0)
    await world.reopen(10)
  }
})

test('a bulk load becomes tables there, deletions too', async () => {
  const world = new World()
  await world.open()
  const load = world.store.bulkLoad()
  for (let i = 0; i < 5000; i++) {
    const key = bytes(`key ${i}`)
    load.put(0, key, 0, key.length, key, 0, key.length)
    if (i % 3 === 0) load.delete(0, key, 0, key.length)
    if (i % 500 === 0) await turn()
  }
  load.finish(checkpointAt(7))
  await world.store.flush()
  await world.store.compact()
  assert.is([...world.store.entries()].length, 3333)
  assert.is(world.count('failed'), 0)
  await world.engine.close()
})

test('a writer that never waits has at most so many memtables before it', async () => {
  const world = new World()
  await world.open({ writeBufferBytes: 8192 })
  for (let i = 0; i < 120; i++) world.write(i)
  // No turn has passed: what is in tables was installed while writing.
  assert.ok(world.count('flushed') > 20, `${world.count('flushed')} flushes`)
  world.check(120)
  await world.reopen(120)
})

test('a relative directory is that of the moment when the engine is made', async () => {
  const before = process.cwd()
  const dir = newDir()
  mkdirSync(join(dir, 'elsewhere'), { recursive: true })
  process.chdir(dir)
  try {
    const engine = new LogEngine({ dir: 'state', sync: 'never', writeBufferBytes: 4096 })
    const store = await engine.open(at)
    process.chdir('elsewhere')
    for (let i = 0; i < 30; i++) {
      put(store, `key ${i}`, bytes('x'.repeat(1000)))
      store.writer().commit()
    }
    await store.compact()
    const again = await rejects(engine.openPath(`../state/g/t/0`), 'ERR_STORE_LOCKED')
    assert.match(again.message, /already open|open already/)
    const other = await rejects(new LogEngine({ dir: '../state' }).open(at), 'ERR_STORE_LOCKED')
    assert.match(
      other.message,
      /this process \(\d+\) has it open, through another engine or in another thread: close it/,
    )
    await engine.close()
    assert.equal(readdirSync(join(dir, 'elsewhere')), [])
    assert.equal(readdirSync(join(dir, 'state/g/t')), ['0'])
  } finally {
    process.chdir(before)
  }
})

test('a process ends by itself when only the thread is left', async () => {
  const script = fileURLToPath(new URL('worker-child.js', import.meta.url))
  const child = spawn(process.execPath, [script, newDir()], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (text: Buffer) => {
    said += text.toString()
  })
  const [code] = (await once(child, 'close')) as [number]
  assert.is(said.trim(), 'flushed 1, threads 1')
  assert.is(code, 0)
})

test.run()
