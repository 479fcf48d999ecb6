/**
 * Nanoseconds per operation of the memory engine against a Map, in one process: `node .build/bench/micro/store.js [keys]`.
 * 16-byte keys, 100-byte values. For a look while working; compare only figures of one run.
 */
import { type BulkLoad, MemoryEngine, Span, type Store } from '../../src/storage/index.ts'

const count = Number(process.argv[2] ?? 1_000_000)
const key = Buffer.alloc(16, 0x2e)
const value = Buffer.alloc(100, 0x61)
const span = new Span()
const checkpoint = { position: 1, state: Buffer.alloc(0) }

/** Keys in a scattered order that is the same each time: i × prime mod count. */
function scatter(i: number): number {
  return (i * 7_368_787) % count
}

function setKey(number: number): void {
  // Decimal text, as most keys are; written by hand, because formatting would cost more than the store.
  let left = number
  for (let at = 15; at >= 6; at--) {
    key[at] = 48 + (left % 10)
    left = (left / 10) | 0
  }
}

function measure(what: string, operations: number, work: () => void): void {
  const started = process.hrtime.bigint()
  work()
  const ns = Number(process.hrtime.bigint() - started) / operations
  console.log(`${what.padEnd(52)} ${ns.toFixed(0).padStart(7)} ns`)
}

async function open(engine: MemoryEngine, partition: number): Promise<Store> {
  return engine.open({ group: 'bench', table: 'table', partition })
}

function load(bulk: BulkLoad, order: (i: number) => number): void {
  for (let i = 0; i < count; i++) {
    setKey(order(i))
    bulk.put(0, key, 0, 16, value, 0, 100)
  }
  bulk.finish(checkpoint)
}

function batches(store: Store, order: (i: number) => number, size: number, valueBytes: number): void {
  const batch = store.writer()
  for (let i = 0; i < count; i++) {
    setKey(order(i))
    batch.put(0, key, 0, 16, value, 0, valueBytes)
    if (batch.count === size) batch.commit(checkpoint)
  }
  batch.commit(checkpoint)
}

const engine = new MemoryEngine()
measure('keys alone', count, () => {
  for (let i = 0; i < count; i++) setKey(scatter(i))
})
const first = await open(engine, 0)
measure('bulk load, keys in order', count, () => load(first.bulkLoad(), (i) => i))
measure('bulk load again, in place, scattered', count, () => load(first.bulkLoad(), scatter))
await first.close()
const store = await open(engine, 1)
measure('batches of 500 with checkpoint, new keys scattered', count, () => batches(store, scatter, 500, 100))
measure('batches of 500, overwrite scattered', count, () => batches(store, (i) => scatter(count - 1 - i), 500, 100))
measure('one batch of everything, overwrite', count, () => batches(store, scatter, count + 1, 100))
measure('getSync, scattered', count, () => {
  let found = 0
  for (let i = 0; i < count; i++) {
    setKey(scatter(i))
    if (store.getSync(0, key, 0, 16, span)) found += 1
  }
  if (found !== count) throw new Error(`found ${found} of ${count}`)
})
measure('getSync of missing keys', count, () => {
  for (let i = 0; i < count; i++) {
    setKey(count + scatter(i))
    if (store.getSync(0, key, 0, 16, span)) throw new Error('found a missing key')
  }
})
measure('get (string key, copy)', 200_000, () => {
  for (let i = 0; i < 200_000; i++) store.get(`......${String(scatter(i)).padStart(10, '0')}`)
})
measure('order all keys', count, () => store.iterate({ to: '' }).close())
measure('iterate', count, () => {
  const iterator = store.iterate()
  let seen = 0
  while (iterator.next()) seen += 1
  if (seen !== count) throw new Error(`saw ${seen} of ${count}`)
})
const snapshot = store.snapshot()
measure('batches of 500, overwrite under a snapshot', count, () => batches(store, scatter, 500, 100))
snapshot.release()
const small = await open(engine, 2)
measure('counters: 8-byte values, batches of 500', count, () => batches(small, scatter, 500, 8))
measure('counters, overwrite', count, () => batches(small, scatter, 500, 8))
const { allocatedBytes, byteLength, entryCount } = store.stats()
console.log(`${(allocatedBytes / byteLength).toFixed(2)} bytes allocated per live byte, ${entryCount} entries`)

const map = new Map<string, Buffer>()
measure('Map: insert (latin1 key, copy of the value)', count, () => {
  for (let i = 0; i < count; i++) {
    setKey(scatter(i))
    const copy = Buffer.allocUnsafe(100)
    value.copy(copy)
    map.set(key.toString('latin1', 0, 16), copy)
  }
})
measure('Map: get', count, () => {
  for (let i = 0; i < count; i++) {
    setKey(scatter(count - 1 - i))
    if (!map.has(key.toString('latin1', 0, 16))) throw new Error('missing')
  }
})
