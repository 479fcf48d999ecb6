/** The record cache: never another value than the tables have, whatever is written, flushed and merged meanwhile. */
import * as assert from 'uvu/assert'
import { Span } from '../../../src/storage/contract.ts'
import { LogEngine, type LogStore } from '../../../src/storage/index.ts'
import { RecordCache } from '../../../src/storage/log/record-cache.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('record cache')
const space = 3
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const out = new Span()

test('a lap of the ring after the other it finds what was put in last, or nothing', () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  console.log(`note: SEED=${seed}`)
  const random = new SeededRandom(seed)
  for (const size of [4096, 20_000, 300_000]) {
    const cache = new RecordCache(size)
    const store = cache.newStore()
    const model = new Map<string, string>()
    let hits = 0
    for (let i = 0; i < 30_000; i++) {
      const id = random.chance(0.5) ? random.between(0, 20) : random.between(0, 2000)
      const key = Buffer.from(`key ${id}`.padEnd(6 + (id % 60), '.'))
      // Some hashes are equal, of different keys.
      const hash = id % 7 === 0 ? 5 : Math.imul(id, 0x9e3779b1)
      if (random.chance(0.05)) {
        cache.forget(store, hash)
        model.delete(key.toString())
      } else if (cache.get(store, hash, space, key, 0, key.length, out)) {
        hits += 1
        assert.is(out.copy().toString(), model.get(key.toString()), `SEED=${seed}, step ${i}`)
      } else {
        const value = Buffer.from(`value ${i}`.repeat(random.between(0, 5)))
        cache.put(store, hash, space, key, 0, key.length, value, 0, value.length)
        model.set(key.toString(), value.toString())
      }
      assert.is(cache.get(store + 1, hash, space, key, 0, key.length, out), false)
      assert.is(cache.get(store, hash, space + 1, key, 0, key.length, out), false)
    }
    assert.ok(hits > 5000, `${hits} hits with ${size} bytes`)
    assert.ok(cache.stats.allocatedBytes <= size)
  }
})

test('a record is put in when it was looked up twice, and a large one never', () => {
  const cache = new RecordCache(64 * 1024)
  const store = cache.newStore()
  const key = Buffer.from('key')
  const value = new Span()
  value.bytes = Buffer.from('value')
  value.to = 5
  assert.is(cache.stats.allocatedBytes, 0)
  cache.missed(store, 9, space, key, 0, 3, value)
  assert.is(cache.get(store, 9, space, key, 0, 3, out), false)
  cache.missed(store, 9, space, key, 0, 3, value)
  assert.is(cache.get(store, 9, space, key, 0, 3, out), true)
  assert.is(out.copy().toString(), 'value')
  value.bytes = Buffer.alloc(4096)
  value.to = 4096
  for (let i = 0; i < 3; i++) cache.missed(store, 10, space, key, 0, 3, value)
  assert.is(cache.get(store, 10, space, key, 0, 3, out), false)
})

const at = { group: 'g', table: 't', partition: 0 }

/** A store, the Map it must equal, and random work on both. */
class Pair {
  readonly random: SeededRandom
  readonly store: LogStore
  readonly model = new Map<string, string>()
  readonly #where: () => string
  #writes = 0

  constructor(store: LogStore, random: SeededRandom, where: () => string) {
    this.store = store
    this.random = random
    this.#where = where
  }

  key(): Buffer {
    return Buffer.from(`k${this.random.chance(0.6) ? this.random.between(0, 9) : this.random.between(0, 300)}`)
  }

  read(key: Buffer): void {
    const found = this.store.getSync(0, key, 0, key.length, out) ? out.copy().toString() : undefined
    assert.is(found, this.model.get(key.toString()), `${key.toString()}, ${this.#where()}`)
  }

  value(): Buffer {
    this.#writes += 1
    return Buffer.from(`v${this.#writes}`.padEnd(this.random.between(0, 80), '.'))
  }

  /** A batch; keys are read while it is open, so that what it is about to replace gets into the cache. */
  batch(): void {
    const { store, random, model } = this
    const batch = store.writer()
    const changes = new Map<string, string | undefined>()
    for (let i = random.between(1, 6); i > 0; i--) {
      const key = this.key()
      const value = this.value()
      if (random.chance(0.25)) {
        batch.delete(0, key, 0, key.length)
        changes.set(key.toString(), undefined)
      } else {
        batch.put(0, key, 0, key.length, value, 0, value.length)
        changes.set(key.toString(), value.toString())
      }
      for (let n = random.between(0, 3); n > 0; n--) this.read(key)
    }
    if (random.chance(0.2)) batch.abandon()
    else {
      batch.commit()
      for (const [key, value] of changes) {
        if (value === undefined) model.delete(key)
        else model.set(key, value)
      }
    }
    for (const key of changes.keys()) this.read(Buffer.from(key))
  }

  single(): void {
    const key = this.key()
    if (this.random.chance(0.3)) {
      this.store.delete(0, key, 0, key.length)
      this.model.delete(key.toString())
    } else {
      const value = this.value()
      this.store.put(0, key, 0, key.length, value, 0, value.length)
      this.model.set(key.toString(), value.toString())
    }
  }

  load(): void {
    const load = this.store.bulkLoad()
    for (let i = this.random.between(1, 40); i > 0; i--) {
      const key = this.key()
      const value = this.value()
      load.put(0, key, 0, key.length, value, 0, value.length)
      this.model.set(key.toString(), value.toString())
      this.read(this.key())
    }
    load.abandon()
  }
}

test('gets between writes, flushes, merges and clears find what was written last', async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  console.log(`note: SEED=${seed}`)
  for (const cacheBytes of [4096, 2 ** 20]) {
    const random = new SeededRandom(seed)
    const engine = new LogEngine({
      dir: '/engine',
      fs: new SimFs(),
      random,
      sync: 'never',
      writeBufferBytes: 4096,
      cacheBytes,
    })
    let step = 0
    const where = (): string => `SEED=${seed}, cache ${cacheBytes}, step ${step}`
    // Two stores with the same keys in one cache.
    const pairs: Pair[] = []
    for (const partition of [0, 1]) pairs.push(new Pair(await engine.open({ ...at, partition }), random, where))
    for (; step < 3000; step++) {
      const pair = random.pick(pairs)
      const kind = random.between(0, 99)
      if (kind < 55) for (let i = 0; i < 5; i++) pair.read(pair.key())
      else if (kind < 75) pair.batch()
      else if (kind < 90) pair.single()
      else if (kind < 98) await turn()
      else if (random.chance(0.4)) await pair.store.flush()
      else if (random.chance(0.2)) await pair.store.compact()
      else if (random.chance(0.9)) pair.load()
      else {
        pair.store.clear()
        pair.model.clear()
      }
    }
    assert.ok(engine.cacheStats.hits > 500, `only ${engine.cacheStats.hits} hits, ${where()}`)
    await engine.close()
  }
})

test('an engine without a cache has none', async () => {
  const engine = new LogEngine({ dir: '/engine', fs: new SimFs(), cacheBytes: 0 })
  const store = await engine.open(at)
  const key = Buffer.from('key')
  store.put(0, key, 0, 3, key, 0, 3)
  await store.flush()
  for (let i = 0; i < 5; i++) assert.equal(store.get('key'), key)
  assert.equal(engine.cacheStats, { allocatedBytes: 0, hits: 0, misses: 0, admitted: 0 })
  await engine.close()
})

test.run()
