/** The memory engine: the contract, the model, and what is its own: memory, allocation, time, collisions. */
import * as assert from 'uvu/assert'
import { MemoryEngine, Span, type Store } from '../../src/storage/index.ts'
import { MemoryTable } from '../../src/storage/memory-table.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { checkpointAt, put, remove, storeContract, thrown } from './contract.ts'
import { storeModel } from './model.ts'

storeContract('memory', async () => new MemoryEngine())
storeModel('memory', async () => new MemoryEngine({ random: new SeededRandom(5) }), { seeds: 2 })

const test = suite('memory engine')

async function openStore(engine = new MemoryEngine()): Promise<Store> {
  return engine.open({ group: 'g', table: 't', partition: 0 })
}

/** Commits `rounds` × `count` puts of `size` bytes over `keys` keys. */
function churn(store: Store, random: SeededRandom, rounds: number, count: number, keys: number, size: number): void {
  const key = Buffer.alloc(12)
  const value = Buffer.alloc(2 * size + 1)
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < count; i++) {
      key.writeUInt32BE(random.int(keys), 8)
      store.writer().put(0, key, 0, 12, value, 0, random.int(2 * size + 1))
    }
    store.writer().commit()
  }
}

test('memory stays below twice what is live plus 4 MiB, whatever is overwritten', async () => {
  for (const [keys, size] of [
    [10, 8],
    [1000, 100],
    [20_000, 300],
    [200, 30_000],
    [20, 250_000],
  ] as const) {
    const store = await openStore()
    const random = new SeededRandom(keys)
    const count = Math.min(keys, 500)
    const rounds = Math.ceil(Math.max(200, Math.min(60_000_000 / (count * size), 3000)))
    let worst = 0
    for (let round = 0; round < rounds; round++) {
      churn(store, random, 1, count, keys, size)
      const { allocatedBytes, byteLength, entryCount } = store.stats()
      // Live: bytes, a header each, slots and references; a batch is there twice until it is committed.
      const live = byteLength + 48 * entryCount
      worst = Math.max(worst, allocatedBytes - 2 * live - 2 * count * size)
    }
    assert.ok(
      worst < 4 * 2 ** 20,
      `${keys} keys of ${size} bytes: ${(worst / 2 ** 20).toFixed(1)} MiB above twice the live`,
    )
  }
})

test('memory goes back when everything is deleted, and after snapshots are released', async () => {
  const store = await openStore()
  const random = new SeededRandom(1)
  churn(store, random, 100, 500, 50_000, 200)
  const snapshot = store.snapshot()
  churn(store, random, 200, 500, 50_000, 200)
  assert.ok(store.stats().pinnedBytes > 4_000_000)
  snapshot.release()
  assert.equal([...store.entries({ to: 'a' })].length, store.entryCount)
  for (const [key] of store.entries()) remove(store, key)
  store.writer().commit()
  // Cleaning goes with writing: a few more writes bring it to its end.
  for (let i = 0; i < 40_000; i++) {
    put(store, 'one', 'value')
    store.writer().commit()
  }
  const { allocatedBytes, pinnedBytes, entryCount } = store.stats()
  assert.is(pinnedBytes, 0)
  assert.is(entryCount, 1)
  assert.ok(allocatedBytes < 4 * 2 ** 20, `${allocatedBytes} bytes are still allocated`)
})

test('keys that come and go while nobody iterates do not pile up in an order made once', async () => {
  const store = await openStore()
  const key = Buffer.alloc(8)
  let worst = 0
  for (let i = 0; i < 300_000; i++) {
    key.writeUInt32BE(i)
    store.writer().put(0, key, 0, 8, key, 0, 8)
    store.writer().commit()
    if (i === 100) assert.is([...store.entries()].length, 1)
    store.writer().delete(0, key, 0, 8)
    store.writer().commit()
    if (i === 100) put(store, 'stays', '1')
    if (i % 1000 === 0) worst = Math.max(worst, store.stats().allocatedBytes)
  }
  assert.ok(worst < 2 * 2 ** 20, `${worst} bytes`)
})

test('a store above maxStoreBytes refuses the put, keeps its state and goes on after room was made', async () => {
  const store = await openStore(new MemoryEngine({ maxStoreBytes: 2 ** 20 }))
  const value = Buffer.alloc(40_000)
  for (let i = 0; i < 10; i++) put(store, `key ${i}`, value)
  store.writer().commit(checkpointAt(1))
  const error = thrown(() => {
    for (let i = 10; i < 100; i++) put(store, `key ${i}`, value)
  }, 'ERR_STORE_NOSPACE')
  assert.is(error.retriable, true)
  assert.match(error.message, /limit of 1048576 bytes/)
  thrown(() => store.writer().commit(checkpointAt(2)), 'ERR_STORE_BATCH')
  store.writer().abandon()
  assert.is(store.entryCount, 10)
  assert.is(store.checkpoint?.position, 1)
  for (let i = 0; i < 10; i++) remove(store, `key ${i}`)
  store.writer().commit()
  for (let i = 0; i < 10; i++) put(store, `again ${i}`, value)
  store.writer().commit()
  assert.is(store.entryCount, 10)
})

test('gets, puts and iteration allocate nothing on the JavaScript heap', async () => {
  const store = await openStore()
  const span = new Span()
  const key = Buffer.alloc(8)
  const value = Buffer.alloc(16)
  const work = (rounds: number): void => {
    for (let round = 0; round < rounds; round++) {
      const batch = store.writer()
      for (let i = 0; i < 1000; i++) {
        key.writeUInt32BE(i)
        if (store.getSync(0, key, 0, 8, span)) value[0] = span.bytes[span.from]! + 1
        batch.put(0, key, 0, 8, value, 0, 16)
      }
      batch.commit()
      const iterator = store.iterate()
      while (iterator.next()) value[1] = iterator.value.bytes[iterator.value.from]!
    }
  }
  work(300)
  const before = process.memoryUsage().heapUsed
  work(300)
  const grown = process.memoryUsage().heapUsed - before
  // 300 commits, iterators and chunks make a few objects each; 600,000 operations must not.
  assert.ok(grown < 600_000, `${grown} bytes for 600,000 operations`)
})

test('a value may be put from a span of the same store', async () => {
  const store = await openStore()
  const span = new Span()
  put(store, 'a', Buffer.alloc(3000, 7))
  store.writer().commit()
  for (let i = 0; i < 2000; i++) {
    const key = Buffer.from('a')
    assert.ok(store.getSync(0, key, 0, 1, span))
    store.writer().put(0, key, 0, 1, span.bytes, span.from, span.to)
    store.writer().commit()
  }
  assert.ok(store.get('a')!.equals(Buffer.alloc(3000, 7)))
})

test('also when the put has to make room first', async () => {
  const store = await openStore(new MemoryEngine({ maxStoreBytes: 65_536 }))
  const random = new SeededRandom(2)
  const span = new Span()
  const keys = Array.from({ length: 12 }, (_, i) => Buffer.from([i]))
  const model = keys.map((_, i) => Buffer.alloc(1000 + 50 * i, i))
  for (const [i, key] of keys.entries()) put(store, key, model[i]!)
  store.writer().commit()
  for (let step = 0; step < 5000; step++) {
    const from = random.int(12)
    const to = random.int(12)
    assert.ok(store.getSync(0, keys[from]!, 0, 1, span))
    store.writer().put(0, keys[to]!, 0, 1, span.bytes, span.from, span.to)
    store.writer().commit()
    model[to] = model[from]!
    assert.ok(store.get(keys[to]!)!.equals(model[to]!), `step ${step}`)
    if (step % 10 === 0) {
      const next = random.int(12)
      model[next] = Buffer.alloc(900 + random.int(1200), random.int(256))
      put(store, keys[next]!, model[next]!)
      store.writer().commit()
    }
  }
  for (const [i, key] of keys.entries()) assert.ok(store.get(key)!.equals(model[i]!))
})

test('a job for an order that was given up ends', async () => {
  const store = await openStore()
  for (let i = 0; i < 9000; i++) put(store, `key ${i}`, '1')
  store.writer().commit()
  const job = store.ordering()
  assert.ok(job !== undefined)
  assert.is(job.step(1000), false)
  for (let i = 0; i < 8999; i++) {
    remove(store, `key ${i}`)
    store.writer().commit()
  }
  while (!job.step(1000));
  put(store, 'new', '1')
  store.writer().commit()
  assert.equal(
    [...store.entries()].map(([key]) => key.toString()),
    ['key 8999', 'new'],
  )
})

test('keys whose hashes collide are kept apart', () => {
  class Colliding extends MemoryTable {
    readonly bits: number
    constructor(bits: number) {
      super(1, { closed: false })
      this.bits = bits
    }
    override hash(space: number, key: Buffer, from: number, to: number): number {
      return super.hash(space, key, from, to) & this.bits
    }
  }
  for (const bits of [0, 0x7, 0xf0000000 | 0, 0x80000001 | 0]) {
    const random = new SeededRandom(3)
    const table = new Colliding(bits)
    const model = new Set<string>()
    const find = (key: string): number => {
      const bytes = Buffer.from(key)
      const entry = table.find(table.hash(0, bytes, 0, bytes.length), 0, bytes, 0, bytes.length)
      return entry >= 0 && table.currentRef(entry) > 0 ? entry : -1
    }
    for (let i = 0; i < 6000; i++) {
      const key = `${random.int(700)}`
      if (random.chance(0.6)) {
        table.put(0, Buffer.from(key), 0, key.length, Buffer.from(key), 0, key.length)
        model.add(key)
      } else {
        const entry = find(key)
        assert.is(entry >= 0, model.has(key))
        if (entry >= 0) table.remove(entry)
        table.tidy(1)
        model.delete(key)
      }
    }
    for (let i = 0; i < 700; i++) assert.is(find(`${i}`) >= 0, model.has(`${i}`), `key ${i}, hash bits ${bits}`)
    assert.is(table.liveCount, model.size)
  }
})

test('options are checked', () => {
  assert.throws(() => new MemoryEngine({ maxStoreBytes: 1 }), /maxStoreBytes must be a whole number from 65536/)
  assert.throws(() => new MemoryEngine({ maxBytes: 1 } as object), /unknown option maxBytes/)
})

test.run()
