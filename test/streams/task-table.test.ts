/**
 * TaskTable against a model: random records (values changed in place, forgotten sets, throws, deletions) between the
 * steps of checkpoints. What is read, what goes to the changelog and what lies in the store must be the model's.
 */
import * as assert from 'uvu/assert'
import { MemoryEngine, Span, type Store } from '../../src/storage/index.ts'
import type { Codec } from '../../src/streams/codec.ts'
import { int64, json } from '../../src/streams/codecs/index.ts'
import type { Entry } from '../../src/streams/entries.ts'
import { EntryTable } from '../../src/streams/entries.ts'
import { TaskTable } from '../../src/streams/task-table.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'

const test = suite('task table and entry table against a model')
const nothing = Buffer.alloc(0)

interface Kind<T> {
  readonly name: string
  readonly codec: Codec<T>
  /** A value for the n-th write, maybe made by changing `old` in place. */
  next(old: T | undefined, n: number): T
  text(value: T): string
}

const objects: Kind<{ n: number; log: number[] }> = {
  name: 'json (mutable)',
  codec: json(),
  next(old, n) {
    if (old === undefined) return { n, log: [n] }
    old.n = n
    old.log.push(n)
    return old
  },
  text: (value) => JSON.stringify(value),
}
const numbers: Kind<bigint> = { name: 'int64 (immutable)', codec: int64, next: (_old, n) => BigInt(n), text: String }

class Model<T> {
  readonly random: SeededRandom
  readonly kind: Kind<T>
  readonly table: TaskTable
  readonly store: Store
  readonly keys: Buffer[]
  /** key → text of the value: what a callback must see. */
  readonly current = new Map<string, string>()
  dirty = new Set<string>()
  /** What the store must hold. */
  stored = new Map<string, string>()
  /** The frozen generation: dirty keys with their texts at the cut (undefined: deleted), and everything at the cut. */
  frozen: Map<string, string | undefined> | undefined
  atCut = new Map<string, string>()
  encoded: Map<string, string | undefined> | undefined
  position = 0
  writes = 0

  constructor(random: SeededRandom, kind: Kind<T>, store: Store) {
    this.random = random
    this.kind = kind
    this.store = store
    this.table = new TaskTable('t', 0, kind.codec as Codec<unknown>, store, random.uint32(), new Span())
    this.keys = Array.from({ length: random.between(1, 12) }, (_, i) =>
      Buffer.from(i === 0 ? '' : 'k'.repeat(random.between(1, 80)) + String(i)),
    )
  }

  /** One record as the context would do it. */
  record(): void {
    const { random, table, kind } = this
    const key = random.pick(this.keys)
    const name = key.toString()
    const entry = table.entries.entry(key, 0, key.length)
    let got = false
    let value: T | undefined
    if (random.chance(0.8)) {
      got = true
      value = table.read(entry) as T | undefined
      const seen = value === undefined ? undefined : kind.text(value)
      assert.is(seen, this.current.get(name), `read ${JSON.stringify(name.slice(-3))}`)
    }
    const choice = random.next()
    if (choice < 0.55) {
      this.writes += 1
      value = kind.next(value, this.writes)
      table.write(entry, value, 1, 0, this.writes)
      this.current.set(name, kind.text(value))
      this.dirty.add(name)
    } else if (choice < 0.65) {
      table.write(entry, undefined, 1, 0, 0)
      this.current.delete(name)
      this.dirty.add(name)
    } else if (got) {
      // The set was forgotten, or the callback threw: whatever it did to the object must not be seen.
      if (value !== undefined) kind.next(value, -1)
      if (table.mutable) table.dropDecoded(entry)
    }
  }

  /** Somebody else wrote this key to the changelog: what it is here must be written again. */
  reassert(): void {
    const key = this.random.pick(this.keys)
    const name = key.toString()
    const entry = this.table.entries.entry(key, 0, key.length)
    // An object that a callback has in its hands, and is changing, must not be taken for the value.
    const object = this.random.chance(0.5) ? (this.table.read(entry) as T | undefined) : undefined
    if (object !== undefined && this.table.mutable) this.kind.next(object, -1)
    this.table.reassert(key, 0, key.length, 1)
    if (object !== undefined && this.table.mutable) this.table.dropDecoded(entry)
    this.dirty.add(name)
  }

  checkpointStep(): void {
    const { random, table } = this
    if (this.frozen === undefined) {
      assert.is(table.dirtyCount, this.dirty.size)
      table.cut()
      this.frozen = new Map([...this.dirty].map((name) => [name, this.current.get(name)]))
      this.atCut = new Map(this.current)
      this.dirty = new Set()
      this.encoded = new Map()
      this.encodingDone = false
      return
    }
    if (!this.encodingDone) {
      const encoded = this.encoded!
      this.encodingDone = table.encodeSome(random.between(1, 5), (entry, keys, values, from, to) => {
        const name = keys.toString('utf8', entry.keyFrom, entry.keyTo)
        assert.not.ok(encoded.has(name), 'one changelog record per key')
        encoded.set(name, from < 0 ? undefined : this.kind.text(this.kind.codec.decode(values.subarray(from, to))))
        this.position += 1
      })
      if (this.encodingDone)
        assert.equal(sorted(encoded), sorted(this.frozen), 'the changelog has what was set at the cut')
      return
    }
    this.same(this.stored, 'before the batch is applied the store is as it was')
    if (!table.storeSome(random.between(1, 5))) return
    table.retire(this.position, nothing)
    this.stored = new Map(this.atCut)
    this.frozen = undefined
    this.same(this.stored, 'after it, it is the table at the cut')
    assert.is(this.store.checkpoint?.position, this.position)
  }
  encodingDone = false

  same(expected: Map<string, string>, what: string): void {
    const found = new Map<string, string>()
    for (const [key, value] of this.store.entries())
      found.set(key.toString(), this.kind.text(this.kind.codec.decode(value)))
    assert.equal(sorted(found), sorted(expected), what)
  }
}

function sorted<V>(map: Map<string, V>): [string, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1))
}

function run<T>(seed: number, kind: Kind<T>, store: Store): void {
  const random = new SeededRandom(seed)
  const model = new Model(random, kind, store)
  const pace = random.next()
  for (let step = 0; step < 300; step++) {
    if (random.chance(pace)) model.record()
    else model.checkpointStep()
    if (random.chance(0.03)) model.reassert()
    if (random.chance(0.02)) model.table.evict(random.pick([0, 20_000, 1e9]))
  }
  for (let i = 0; model.frozen !== undefined || model.dirty.size > 0; i++) {
    assert.ok(i < 10_000)
    model.checkpointStep()
  }
  model.same(model.current, 'after the last checkpoint the store is the table')
}

for (const kind of [objects, numbers]) {
  test(`${kind.name}: 300 seeds`, async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const engine = new MemoryEngine()
      const store = await engine.open({ group: 'g', table: 't', partition: 0 })
      try {
        run(seed, kind as Kind<unknown>, store)
      } catch (cause) {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.stack : String(cause)}`)
      }
      await engine.close()
    }
  })
}

test('entries: found by their bytes, through growth and eviction', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new SeededRandom(seed)
    const table = new EntryTable(random.uint32())
    const known = new Map<string, Entry>()
    const kept = new Set<Entry>()
    for (let i = 0; i < 3000; i++) {
      const length = random.chance(0.1) ? random.between(65, 300) : random.between(0, 3)
      const key = Buffer.alloc(length, random.int(40))
      key[0] = random.int(256)
      const name = key.toString('hex')
      const outer = Buffer.concat([Buffer.from('xx'), key, Buffer.from('yy')])
      assert.is(table.find(outer, 2, 2 + length), known.get(name))
      const entry = table.entry(outer, 2, 2 + length)
      if (known.has(name)) assert.is(entry, known.get(name))
      known.set(name, entry)
      if (random.chance(0.02)) kept.add(entry)
      assert.equal(table.keyBytes.subarray(entry.keyFrom, entry.keyTo), key)
      if (random.chance(0.002)) {
        const before = table.size
        const dropped = table.evict(random.int(1_000_000), (one) => kept.has(one))
        assert.is(table.size, before - dropped)
        for (const [hex, one] of known) {
          const bytes = Buffer.from(hex, 'hex')
          const found = table.find(bytes, 0, bytes.length)
          if (found === undefined) {
            assert.not.ok(kept.has(one), 'an entry that had to stay was dropped')
            known.delete(hex)
          } else assert.is(found, one)
        }
        assert.is(known.size, table.size)
      }
    }
  }
})

test.run()
