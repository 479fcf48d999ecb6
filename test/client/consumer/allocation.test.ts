/**
 * What consuming costs, counted: heap bytes per record over views and as objects, requests, no copies of bytes.
 */
import type { HeapProfiler } from 'node:inspector'
import { Session } from 'node:inspector/promises'
import * as assert from 'uvu/assert'
import { Chunk, type ChunkOwner } from '../../../src/client/consumer/chunk.ts'
import { fetch } from '../../../src/protocol/api/fetch.ts'
import { BatchScanner, type BatchView } from '../../../src/protocol/record-view.ts'
import { encodeBatch } from '../../protocol/batches.ts'
import { suite } from '../../support/suite.ts'
import { inWorld } from '../support/in-world.ts'

const test = suite('what consuming costs')

const records = 4_000
const perBatch = 400
const frame = Buffer.concat(
  Array.from({ length: records / perBatch }, (_, b) =>
    encodeBatch({
      records: Array.from({ length: perBatch }, (_, i) => ({
        key: Buffer.from(`key-${i}`),
        value: Buffer.alloc(100, 97 + (i % 26)),
      })),
      baseOffset: BigInt(b * perBatch),
      baseTimestamp: 1_790_000_000_000n,
    }),
  ),
)
const owner: ChunkOwner = {
  lineage: 0,
  paused: false,
  putBack: () => {},
  broken: () => false,
  tellAgain: () => {},
  done: () => {},
}
const settings = { committedOnly: true, checkCrc: true, maxDecompressedBytes: 1_000_000 }
const marks = { highWatermark: records, lastStableOffset: records, logStartOffset: 0 }
let sink = 0

/** As an answer becomes a chunk and is taken. */
function taken(): Chunk {
  const batches: BatchView[] = []
  const scanner = new BatchScanner(frame)
  for (let batch = scanner.next(); batch !== undefined; batch = scanner.next()) batches.push(batch)
  const chunk = new Chunk({ topic: 't', partition: 0 }, 0, batches, null, frame.length, marks)
  assert.is(chunk.open(settings, owner), undefined)
  return chunk
}

/**
 * Bytes allocated per record once the code is warm, as V8's sampling heap profiler sees them (a sample each 256 bytes on
 * average). Not the growth of the heap after a collection: that drops optimised code, and what runs next is not the hot path.
 */
async function heapPerRecord(work: () => void): Promise<number> {
  for (let i = 0; i < 400; i++) work()
  const session = new Session()
  session.connect()
  const passes = 50
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 256,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  })
  for (let i = 0; i < passes; i++) work()
  const { profile } = await session.post('HeapProfiler.stopSampling')
  session.disconnect()
  const sum = (node: HeapProfiler.SamplingHeapProfileNode): number =>
    node.children.reduce((bytes, child) => bytes + sum(child), node.selfSize)
  return sum(profile.head) / (passes * records)
}

test('over views: below 2 bytes of heap per record, batch headers included', async () => {
  const perRecord = await heapPerRecord(() => {
    const cursor = taken().cursor()
    let sum = 0
    while (cursor.next()) sum += cursor.offset + cursor.bytes[cursor.valueFrom]!
    sink += sum
  })
  console.log(`  views: ${perRecord.toFixed(2)} bytes per record`)
  assert.ok(perRecord < 2, `${perRecord.toFixed(2)} bytes per record`)
})

test('as objects: below 160 bytes of heap per record, as long as key and value are not read', async () => {
  const perRecord = await heapPerRecord(() => {
    let sum = 0
    for (const record of taken().records()) sum += record.offset
    sink += sum
  })
  console.log(`  objects: ${perRecord.toFixed(0)} bytes per record`)
  assert.ok(perRecord < 160, `${perRecord.toFixed(0)} bytes per record`)
})

test('keys and values are windows on the received bytes: nothing is copied', () => {
  for (const record of taken().records()) {
    assert.is(record.value?.buffer, frame.buffer)
    assert.is(record.key?.buffer, frame.buffer)
  }
  const cursor = taken().cursor()
  assert.ok(cursor.next())
  assert.is(cursor.bytes.buffer, frame.buffer)
})

test(
  'requests: one per answer full of data, two per second when there is none',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    for (let i = 0; i < 100; i++) p!.append(Array.from({ length: 10 }, () => 'x'.repeat(990)))
    const c = consumer({ maxPartitionBytes: 100_000 })
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    for (let seen = 0; seen < 1_000; ) {
      const chunk = c.take()
      if (chunk === undefined) await c.wait()
      else seen += chunk.records().length
    }
    const busy = port.seen(fetch).length
    assert.ok(busy <= 13, `${busy} fetches for 1 MB in answers of 100 KB`)
    await world.sleep(10_000)
    const idle = port.seen(fetch).length - busy
    assert.ok(idle >= 18 && idle <= 21, `${idle} fetches in 10 s without data`)
  }),
)

test.after(() => {
  assert.ok(Number.isFinite(sink))
})

test.run()
