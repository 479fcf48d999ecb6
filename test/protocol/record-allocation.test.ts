/**
 * The hot paths allocate nothing per record. Counted, not timed: growth of the heap right after a full collection, over so
 * few records that even an object per record would not fill the young generation; the median of several attempts.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as assert from 'uvu/assert'
import { BufferPool } from '../../src/base/buffer-pool.ts'
import type { CompressionName } from '../../src/protocol/compression/codec.ts'
import { crc32c } from '../../src/protocol/hash/crc32c.ts'
import { fnv1a } from '../../src/protocol/hash/fnv1a.ts'
import { murmur2 } from '../../src/protocol/hash/murmur2.ts'
import { BatchBuilder } from '../../src/protocol/record-batch.ts'
import { BatchView, RecordCursor } from '../../src/protocol/record-view.ts'
import { suite } from '../support/suite.ts'

const test = suite('allocation on the hot paths')

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const RECORDS = 5000
const PASSES = 4
const ATTEMPTS = 15
const closing = { producerId: 1, producerEpoch: 0, baseSequence: 0 }
const pool = new BufferPool()
let sink = 0

/** Bytes of heap per record after warming up, over 300,000 records. */
function heapPerRecord(work: () => void): number {
  for (let i = 0; i < 200; i++) work()
  const growth: number[] = []
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    collect()
    const before = getHeapStatistics().used_heap_size
    for (let i = 0; i < PASSES; i++) work()
    growth.push((getHeapStatistics().used_heap_size - before) / (RECORDS * PASSES))
  }
  growth.sort((a, b) => a - b)
  return growth[ATTEMPTS >> 1]!
}

const keys = Array.from({ length: RECORDS }, (_, i) => `k${String(i).padStart(7, '0')}`)
const values = Array.from({ length: RECORDS }, (_, i) => `value ${i} `.padEnd(100, 'abcdefgh'))
const source = Buffer.from(keys.map((key, i) => key + values[i]).join(''))
const now = 1_790_000_000_000

function filled(compression: CompressionName): Buffer {
  const builder = new BatchBuilder(pool, 1 << 20)
  for (let i = 0; i < RECORDS; i++) assert.ok(builder.append(now + i, keys[i]!, values[i]!))
  const bytes = Buffer.from(builder.close({ ...closing, compression }))
  builder.release()
  return bytes
}

// One byte per record is far below the smallest object (16), and leaves room for what the engine does beside.
const limit = 1

test(`iterating: below ${limit} byte each`, () => {
  const bytes = filled('none')
  const view = new BatchView().set(bytes, 0, bytes.length)
  const cursor = new RecordCursor()
  const perRecord = heapPerRecord(() => {
    cursor.reset(view)
    let sum = 0
    while (cursor.next()) sum += cursor.offset + cursor.timestamp + cursor.keyTo + cursor.valueFrom + cursor.headerCount
    sink += sum
  })
  assert.ok(perRecord < limit, `${perRecord.toFixed(2)} bytes per record`)
})

test(`offsets and timestamps beyond 2^31, with deltas of many bytes: below ${limit} byte each`, () => {
  const builder = new BatchBuilder(pool, 1 << 20)
  for (let i = 0; i < RECORDS; i++) builder.append(now + i * 1_000_003, keys[i]!, values[i]!)
  const bytes = Buffer.from(builder.close({ ...closing, compression: 'none' }))
  builder.release()
  bytes.writeBigInt64BE(2n ** 45n, 0)
  const view = new BatchView().set(bytes, 0, bytes.length)
  const cursor = new RecordCursor()
  const perRecord = heapPerRecord(() => {
    cursor.reset(view)
    let sum = 0
    while (cursor.next()) sum += cursor.offset + cursor.timestamp
    sink += sum
  })
  assert.ok(perRecord < limit, `${perRecord.toFixed(2)} bytes per record`)
})

test(`hashing and checking: below ${limit} byte each`, () => {
  const bytes = filled('none')
  const view = new BatchView().set(bytes, 0, bytes.length)
  const cursor = new RecordCursor()
  const perRecord = heapPerRecord(() => {
    sink += crc32c(bytes, 0, bytes.length)
    cursor.reset(view)
    let sum = 0
    while (cursor.next()) {
      sum += murmur2(cursor.bytes, cursor.keyFrom, cursor.keyTo) ^ fnv1a(cursor.bytes, cursor.keyFrom, cursor.keyTo)
    }
    sink += sum
  })
  assert.ok(perRecord < limit, `${perRecord.toFixed(2)} bytes per record`)
})

// A timestamp of today is a double, which V8 hands to a function as an object of 16 bytes; nothing else may come on top.
for (const [what, start, most] of [
  ['small timestamps', 1000, limit],
  ['timestamps of today', now, 16 + limit],
] as const) {
  test(`appending strings, ${what}: below ${most} bytes each`, () => {
    const builder = new BatchBuilder(pool, 1 << 20)
    const perRecord = heapPerRecord(() => {
      builder.release()
      for (let i = 0; i < RECORDS; i++) builder.append(start + i, keys[i]!, values[i]!)
    })
    assert.ok(perRecord < most, `${perRecord.toFixed(2)} bytes per record`)
  })

  test(`appending spans, ${what}: below ${most} bytes each`, () => {
    const builder = new BatchBuilder(pool, 1 << 20)
    const perRecord = heapPerRecord(() => {
      builder.release()
      for (let i = 0; i < RECORDS; i++) {
        builder.appendSpan(start + i, source, i * 108, i * 108 + 8, source, i * 108 + 8, i * 108 + 108)
      }
    })
    assert.ok(perRecord < most, `${perRecord.toFixed(2)} bytes per record`)
  })
}

test('the meter sees one small object per record', () => {
  const bytes = filled('none')
  const view = new BatchView().set(bytes, 0, bytes.length)
  const cursor = new RecordCursor()
  const kept: unknown[] = []
  const perRecord = heapPerRecord(() => {
    cursor.reset(view)
    kept.length = 0
    while (cursor.next()) kept.push({ offset: cursor.offset })
  })
  assert.ok(perRecord > 16, `${perRecord.toFixed(2)} bytes per record`)
})

test('the work was done', () => assert.not.ok(Number.isNaN(sink)))

test.run()
