/**
 * Stores against a model: random operations on a store and on Maps, and everything that can be read must be equal.
 * `storeModel(name, open)` runs it on any engine. Seeds: the same each time, or `SEED=n` for one.
 */
import * as assert from 'uvu/assert'
import {
  Span,
  type Snapshot,
  type Store,
  type StoreIterator,
  type StoreJob,
  type StoreRange,
} from '../../src/storage/index.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { checkpointAt, type OpenEngine } from './contract.ts'

/** Key space + key as latin1 → value. One character is one byte, so string order is byte order. */
type Entries = Map<string, Buffer>

interface OpenSnapshot {
  readonly snapshot: Snapshot
  readonly entries: Entries
}
interface OpenIterator {
  readonly iterator: StoreIterator
  /** What it must still give, next one last. */
  readonly left: [key: string, value: Buffer][]
}

/** How keys, values and operations of a run are spread. */
interface Style {
  readonly name: string
  key(random: SeededRandom): Buffer
  value(random: SeededRandom): Buffer
  readonly spaces: number
  /** Chance that an operation deletes. */
  readonly deletes: number
}

const sizes = [0, 1, 5, 8, 20, 100, 600]
const small = (random: SeededRandom): Buffer => Buffer.alloc(random.pick(sizes), random.int(256))

const styles: readonly Style[] = [
  {
    name: 'few short keys',
    key: (random) => random.bytes(random.int(3)).map((byte) => byte & 0x83) as Buffer,
    value: small,
    spaces: 2,
    deletes: 0.3,
  },
  {
    name: 'numbered keys',
    key: (random) => Buffer.from(`user-${random.int(3000)}`),
    value: small,
    spaces: 1,
    deletes: 0.1,
  },
  {
    name: 'long common prefixes',
    key: (random) =>
      Buffer.concat([Buffer.alloc(900 + random.int(3), 0x61), Buffer.from([random.int(4), random.int(256)])]),
    value: small,
    spaces: 3,
    deletes: 0.4,
  },
  {
    name: 'counters',
    key: (random) => Buffer.from(`${random.int(500)}`),
    value: (random) => random.bytes(8),
    spaces: 1,
    deletes: 0.01,
  },
  {
    name: 'new keys that go again',
    key: (random) => random.bytes(10),
    value: small,
    spaces: 1,
    deletes: 0,
  },
  {
    name: 'large values',
    key: (random) => Buffer.from([random.int(50)]),
    value: (random) => Buffer.alloc(random.int(random.chance(0.1) ? 400_000 : 3000), random.int(256)),
    spaces: 1,
    deletes: 0.2,
  },
]

class Run {
  readonly #random: SeededRandom
  readonly #style: Style
  readonly #store: Store
  readonly #entries: Entries = new Map()
  /** Operations of the open batch. */
  #staged: [key: string, value: Buffer | undefined][] = []
  readonly #snapshots: OpenSnapshot[] = []
  readonly #iterators: OpenIterator[] = []
  readonly #span = new Span()
  #position = -1
  #job: StoreJob | undefined
  readonly #exactCounts: boolean

  constructor(random: SeededRandom, style: Style, store: Store, exactCounts: boolean) {
    this.#random = random
    this.#style = style
    this.#store = store
    this.#exactCounts = exactCounts
  }

  /** A key as the model has it: one that exists, often, else a new one. */
  #pick(): string {
    const random = this.#random
    if (this.#entries.size > 0 && random.chance(this.#style.name === 'new keys that go again' ? 0.3 : 0.2)) {
      // Not uniform, but cheap: one of the first.
      let skip = random.int(Math.min(20, this.#entries.size))
      for (const key of this.#entries.keys()) if (skip-- === 0) return key
    }
    return String.fromCharCode(random.int(this.#style.spaces)) + this.#style.key(random).toString('latin1')
  }

  step(): void {
    const random = this.#random
    const dice = random.int(100)
    if (dice < 40) this.#write()
    else if (dice < 48) this.#endBatch()
    else if (dice < 53) this.#load()
    else if (dice < 80) this.#read()
    else if (dice < 84) this.#iterate()
    else if (dice < 88) this.#advanceIterators()
    else if (dice < 91) this.#openSnapshot()
    else if (dice < 94) this.#closeSnapshot()
    else if (dice < 97) this.#order()
    else if (dice < 99) this.#deleteMany()
    else if (random.chance(0.02)) this.#clear()
    this.#checkCount(this.#store.entryCount, this.#entries.size)
  }

  #checkCount(count: number, expected: number): void {
    if (this.#exactCounts) assert.is(count, expected)
    else assert.ok(Math.abs(count - expected) <= 20 + 0.2 * expected, `${count} entries, but there are ${expected}`)
  }

  #write(): void {
    const random = this.#random
    for (let left = 1 + random.int(20); left > 0; left--) {
      const key = this.#pick()
      const bytes = Buffer.from(`.${key.slice(1)}.`, 'latin1')
      const space = key.charCodeAt(0)
      if (random.chance(this.#style.deletes)) {
        this.#store.writer().delete(space, bytes, 1, bytes.length - 1)
        this.#staged.push([key, undefined])
      } else {
        const value = this.#style.value(random)
        this.#store.writer().put(space, bytes, 1, bytes.length - 1, value, 0, value.length)
        this.#staged.push([key, value])
      }
    }
  }

  #endBatch(): void {
    if (this.#random.chance(0.15)) this.#store.writer().abandon()
    else {
      this.#position += 1
      this.#store.writer().commit(checkpointAt(this.#position))
      for (const [key, value] of this.#staged) this.#set(key, value)
      assert.is(this.#store.checkpoint?.position, this.#position)
    }
    this.#staged = []
    assert.is(this.#store.writer().count, 0)
  }

  #set(key: string, value: Buffer | undefined): void {
    if (value === undefined) this.#entries.delete(key)
    else this.#entries.set(key, value)
  }

  #load(): void {
    if (this.#staged.length > 0) this.#endBatch()
    const random = this.#random
    const load = this.#store.bulkLoad()
    for (let left = random.int(60); left > 0; left--) {
      const key = this.#pick()
      const bytes = Buffer.from(key.slice(1), 'latin1')
      const space = key.charCodeAt(0)
      const value = random.chance(this.#style.deletes) ? undefined : this.#style.value(random)
      if (value === undefined) load.delete(space, bytes, 0, bytes.length)
      else load.put(space, bytes, 0, bytes.length, value, 0, value.length)
      this.#set(key, value)
    }
    this.#position += 1
    load.finish(checkpointAt(this.#position))
  }

  #deleteMany(): void {
    if (this.#staged.length > 0) this.#endBatch()
    const share = this.#random.next()
    for (const key of [...this.#entries.keys()]) {
      if (!this.#random.chance(share)) continue
      const bytes = Buffer.from(key.slice(1), 'latin1')
      this.#store.writer().delete(key.charCodeAt(0), bytes, 0, bytes.length)
      this.#staged.push([key, undefined])
    }
    this.#endBatch()
  }

  #read(): void {
    const views = [
      { reader: this.#store, entries: this.#entries },
      ...this.#snapshots.map((s) => ({ reader: s.snapshot, entries: s.entries })),
    ]
    for (const { reader, entries } of views) {
      const key = this.#pick()
      const bytes = Buffer.from(key.slice(1), 'latin1')
      const space = key.charCodeAt(0)
      const expected = entries.get(key)
      assert.is(reader.hasSync(space, bytes, 0, bytes.length), expected !== undefined)
      assert.is(reader.getSync(space, bytes, 0, bytes.length, this.#span), expected !== undefined)
      if (expected !== undefined) assert.ok(this.#span.copy().equals(expected))
      this.#checkCount(reader.entryCount, entries.size)
    }
  }

  /** A random range, and what it must give (next one last). */
  #range(entries: Entries): { range: StoreRange; left: [string, Buffer][] } {
    const random = this.#random
    const space = random.int(this.#style.spaces)
    const bound = (): string | undefined => (random.chance(0.5) ? undefined : this.#pick().slice(1))
    const from = bound()
    const to = bound()
    const prefix = random.chance(0.3) ? this.#pick().slice(1, 1 + random.int(3)) : undefined
    const reverse = random.chance(0.5)
    const wanted = [...entries]
      .filter(([key]) => key.charCodeAt(0) === space)
      .map(([key, value]): [string, Buffer] => [key.slice(1), value])
      .filter(
        ([key]) =>
          (from === undefined || key >= from) &&
          (to === undefined || key < to) &&
          (prefix === undefined || key.startsWith(prefix)),
      )
      .sort(([a], [b]) => (a < b ? 1 : -1))
    if (reverse) wanted.reverse()
    const range = {
      space,
      reverse,
      ...(from === undefined ? {} : { from: Buffer.from(from, 'latin1') }),
      ...(to === undefined ? {} : { to: Buffer.from(to, 'latin1') }),
      ...(prefix === undefined ? {} : { prefix: Buffer.from(prefix, 'latin1') }),
    }
    return { range, left: wanted }
  }

  #iterate(): void {
    const random = this.#random
    const from = random.chance(0.3) && this.#snapshots.length > 0 ? random.pick(this.#snapshots) : undefined
    const { range, left } = this.#range(from?.entries ?? this.#entries)
    const open = { iterator: (from?.snapshot ?? this.#store).iterate(range), left }
    if (from === undefined && random.chance(0.5)) this.#iterators.push(open)
    else this.#advance(open, Number.POSITIVE_INFINITY)
    if (this.#iterators.length > 4) this.#iterators.shift()!.iterator.close()
  }

  #advance(open: OpenIterator, count: number): boolean {
    for (let left = count; left > 0; left--) {
      const expected = open.left.pop()
      const more = open.iterator.next()
      assert.is(more, expected !== undefined)
      if (expected === undefined) return false
      assert.is(open.iterator.key.copy().toString('latin1'), expected[0])
      assert.ok(open.iterator.value.copy().equals(expected[1]))
    }
    return true
  }

  #advanceIterators(): void {
    for (const open of [...this.#iterators]) {
      if (!this.#advance(open, this.#random.int(30))) this.#iterators.splice(this.#iterators.indexOf(open), 1)
    }
  }

  #openSnapshot(): void {
    if (this.#snapshots.length > 5) return
    this.#snapshots.push({ snapshot: this.#store.snapshot(), entries: new Map(this.#entries) })
  }

  #closeSnapshot(): void {
    if (this.#snapshots.length === 0) return
    const [gone] = this.#snapshots.splice(this.#random.int(this.#snapshots.length), 1)
    gone!.snapshot.release()
  }

  #order(): void {
    this.#job ??= this.#store.ordering(this.#random.int(this.#style.spaces))
    if (this.#job?.step(this.#random.int(3000)) !== false) this.#job = undefined
  }

  #clear(): void {
    if (this.#staged.length > 0) this.#endBatch()
    this.#store.clear()
    this.#entries.clear()
    this.#job = undefined
  }

  /** Everything that is open is read to its end, and what is left is bounded by what is live. */
  finish(): void {
    if (this.#staged.length > 0) this.#endBatch()
    for (const { snapshot, entries } of this.#snapshots) {
      const keys = [...entries.keys()].filter((key) => key[0] === '\0').sort()
      const found = [...snapshot.entries()].map(([key]) => `\0${key.toString('latin1')}`)
      assert.equal(found, keys)
      snapshot.release()
    }
    for (const open of this.#iterators) this.#advance(open, Number.POSITIVE_INFINITY)
    for (const [key, value] of this.#entries) {
      const bytes = Buffer.from(key.slice(1), 'latin1')
      assert.ok(this.#store.getSync(key.charCodeAt(0), bytes, 0, bytes.length, this.#span))
      assert.ok(this.#span.copy().equals(value))
    }
    const bytes = [...this.#entries].reduce((sum, [key, value]) => sum + key.length - 1 + value.length, 0)
    if (this.#exactCounts) assert.is(this.#store.byteLength, bytes)
    assert.is(this.#store.stats().openSnapshots, 0)
  }
}

/** What differs between engines. */
export interface ModelOptions {
  /** Operations per seed. Default 2500. */
  readonly steps?: number
  /** Seeds, from 1 on. Default 4. */
  readonly seeds?: number
  /** For all steps of all seeds of a style. Default 60 000. */
  readonly deadlineMs?: number
  /** Whether `entryCount` and `byteLength` are exact at any time. Default true. */
  readonly exactCounts?: boolean
  /** Runs after every step: lets background work happen. */
  readonly pause?: (store: Store, random: SeededRandom) => Promise<void> | undefined
}

export function storeModel(name: string, open: OpenEngine, options: ModelOptions = {}): void {
  const { steps = 2500, seeds: count = 4, exactCounts = true, pause } = options
  const test = suite(`store against a model: ${name}`, { deadlineMs: options.deadlineMs ?? 60_000 })
  const given = process.env['SEED']
  const seeds = given === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(given)]
  for (const style of styles) {
    test(style.name, async () => {
      for (const seed of seeds) {
        const engine = await open()
        const store = await engine.open({ group: 'g', table: 't', partition: seed })
        const random = new SeededRandom(seed)
        const run = new Run(random, style, store, exactCounts)
        let step = 0
        try {
          for (; step < steps; step++) {
            run.step()
            await pause?.(store, random)
          }
          run.finish()
        } catch (cause) {
          throw new Error(`seed ${seed}, step ${step}: ${(cause as Error).message} (again with SEED=${seed})`, {
            cause,
          })
        } finally {
          await engine.close()
        }
      }
      console.log(`  ${name}, ${style.name}: ${steps} steps each of seeds ${seeds.join(', ')}`)
    })
  }
  test.run()
}
