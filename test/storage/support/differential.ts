/**
 * The same operations on LevelDB and on the log engine: whatever can be read is equal. classic-level is one of the
 * benchmark's packages (`npm ci --prefix bench`). Shared by the short test and the long one. Owns its temporary directories.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, type Snapshot } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import type { Suite } from '../../support/suite.ts'
import { alphabetNames, makeUniverse, someValue } from '../log/model-keys.ts'
import { seedsOf } from '../log/model-worlds.ts'

type Pair = [key: Buffer, value: Buffer]
type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer }
interface Range {
  readonly gte?: Buffer
  readonly lt?: Buffer
  readonly reverse: boolean
}
/** What is used of classic-level; its types are not there when it is not. */
interface Level {
  batch(operations: readonly Operation[]): Promise<void>
  getMany(keys: readonly Buffer[], options?: { snapshot: LevelSnapshot }): Promise<(Buffer | undefined)[]>
  iterator(options: Range & { snapshot?: LevelSnapshot }): { all(): Promise<Pair[]> }
  snapshot(): LevelSnapshot
  open(): Promise<void>
  close(): Promise<void>
}
interface LevelSnapshot {
  close(): Promise<void>
}
interface SnapshotPair {
  readonly theirs: LevelSnapshot
  readonly ours: Snapshot
}
interface ClassicLevel {
  readonly ClassicLevel: new (dir: string, options: { keyEncoding: 'buffer'; valueEncoding: 'buffer' }) => Level
}

function findBench(): string | undefined {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, 'bench/node_modules/classic-level'))) return join(dir, 'bench/package.json')
  }
  return undefined
}

class Both {
  readonly #random: SeededRandom
  readonly #level: Level
  readonly #dir: string
  readonly #keys: readonly Buffer[]
  #engine!: LogEngine
  #store!: LogStore
  #snapshots: SnapshotPair[] = []
  /** Entries compared. */
  compared = 0

  constructor(random: SeededRandom, level: Level, dir: string) {
    this.#random = random
    this.#level = level
    this.#dir = dir
    const { keys, absent } = makeUniverse(random, alphabetNames, [0])
    this.#keys = [...keys, ...absent].map(({ key }) => key)
  }

  async open(): Promise<void> {
    this.#engine = new LogEngine({ dir: this.#dir, random: this.#random, sync: 'never', writeBufferBytes: 16_384 })
    this.#store = await this.#engine.open({ group: 'g', table: 't', partition: 0 })
  }

  async write(): Promise<void> {
    const operations: Operation[] = []
    const batch = this.#store.writer()
    for (let left = 1 + this.#random.int(30); left > 0; left--) {
      const key = this.#random.pick(this.#keys)
      if (this.#random.chance(0.3)) {
        operations.push({ type: 'del', key })
        batch.delete(0, key, 0, key.length)
      } else {
        const value = someValue(this.#random, 16_384)
        operations.push({ type: 'put', key, value })
        batch.put(0, key, 0, key.length, value, 0, value.length)
      }
    }
    batch.commit()
    await this.#level.batch(operations)
  }

  async step(): Promise<void> {
    const dice = this.#random.int(100)
    if (dice < 70) await this.write()
    else if (dice < 90) await this.#compareRange()
    else if (dice < 93) await this.#get()
    else if (dice < 95) {
      this.#snapshots.push({ theirs: this.#level.snapshot(), ours: this.#store.snapshot() })
      if (this.#snapshots.length > 3) await this.#release()
    } else if (dice < 97) await this.#release()
    else if (dice < 98) await this.#store.flush()
    else if (dice < 99) await this.#store.compact()
    else if (this.#random.chance(0.3)) await this.reopen()
  }

  async #release(): Promise<void> {
    const gone = this.#snapshots.shift()
    gone?.ours.release()
    await gone?.theirs.close()
  }

  async reopen(): Promise<void> {
    while (this.#snapshots.length > 0) await this.#release()
    await this.close()
    await this.#level.open()
    await this.open()
  }

  async close(): Promise<void> {
    while (this.#snapshots.length > 0) await this.#release()
    await this.#level.close()
    await this.#engine.close()
  }

  async #get(): Promise<void> {
    const keys = this.#keys.filter(() => this.#random.chance(0.1))
    const [one] = this.#snapshots
    const ours = one?.ours ?? this.#store
    const theirs = await this.#level.getMany(keys, one && { snapshot: one.theirs })
    for (const [i, key] of keys.entries()) this.#same(ours.get(key), theirs[i], key)
  }

  #same(ours: Buffer | undefined, theirs: Buffer | undefined, key: Buffer): void {
    this.compared += 1
    const equal = ours === undefined ? theirs === undefined : theirs?.equals(ours)
    const name = key.subarray(0, 16).toString('hex')
    assert.ok(equal, `key ${name}…: ${ours?.length} bytes, but LevelDB has ${theirs?.length}`)
  }

  async #compareRange(): Promise<void> {
    const random = this.#random
    const bound = (): Buffer | undefined => (random.chance(0.3) ? undefined : random.pick(this.#keys))
    await this.compare(random.chance(0.5), bound(), bound(), random.chance(0.3) ? this.#snapshots[0] : undefined)
  }

  async compare(reverse: boolean, from?: Buffer, to?: Buffer, at?: SnapshotPair): Promise<void> {
    const bounds = { ...(from === undefined ? {} : { gte: from }), ...(to === undefined ? {} : { lt: to }) }
    const snapshot = at === undefined ? {} : { snapshot: at.theirs }
    const theirs = await this.#level.iterator({ reverse, ...bounds, ...snapshot }).all()
    const range = { reverse, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }
    const ours = [...(at?.ours ?? this.#store).entries(range)]
    assert.is(ours.length, theirs.length, 'entries in a range')
    ours.forEach(([key, value], i) => {
      assert.ok(key.equals(theirs[i]![0]), 'the same key in the same place')
      this.#same(value, theirs[i]![1], key)
    })
  }
}

const bench = findBench()

/** Registers the comparison: so many steps for each of so many seeds, or of `SEED` alone. Skips it without classic-level. */
export function compareWithLevel(test: Suite, steps: number, seedCount: number): void {
  const name = 'equal in all that can be read'
  if (bench === undefined) {
    test.skip(name, 'classic-level is missing: npm ci --prefix bench')
    return
  }
  test(name, async () => {
    const { ClassicLevel } = createRequire(bench)('classic-level') as ClassicLevel
    let compared = 0
    const seeds = seedsOf(1, seedCount)
    for (const seed of seeds) {
      const dir = mkdtempSync(join(tmpdir(), 'millrace-differential-'))
      const level = new ClassicLevel(join(dir, 'level'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
      const both = new Both(new SeededRandom(seed), level, join(dir, 'log'))
      let step = 0
      try {
        await level.open()
        await both.open()
        for (; step < steps; step++) await both.step()
        await both.reopen()
        for (const reverse of [false, true]) await both.compare(reverse)
        await both.close()
      } catch (cause) {
        throw new Error(`seed ${seed}, step ${step}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
      compared += both.compared
    }
    console.log(`note: seeds ${seeds.join(', ')}: ${steps} steps each, ${compared} entries compared`)
  })
}
