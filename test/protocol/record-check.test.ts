import * as assert from 'uvu/assert'
import { lz4 } from '../../src/protocol/compression/lz4.ts'
import {
  type BatchRefusal,
  patchAppendTime,
  patchBaseOffset,
  patchLeaderEpoch,
  type ValidateOptions,
  validateBatch,
} from '../../src/protocol/record-check.ts'
import { BatchScanner, BatchView } from '../../src/protocol/record-view.ts'
import { suite } from '../support/suite.ts'
import { encodeBatch, encodeRecord, type PlainBatch, type PlainRecord, showAll } from './batches.ts'

const test = suite('batches that a broker takes')

const record = (key: string | null, more: Partial<PlainRecord> = {}): PlainRecord => ({
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from('value'),
  ...more,
})
const records = [record('a'), record('b'), record(null)]
const body = Buffer.concat(records.map(encodeRecord))
const packed = lz4.compress(Buffer.concat([body, body]), 0, body.length)
const shape = { attributes: 3, count: 3, lastOffsetDelta: 2 }

const taken: readonly [what: string, batch: PlainBatch, options?: ValidateOptions][] = [
  ['a plain batch', { records }],
  ['an idempotent one', { records, producerId: 5n, producerEpoch: 0, baseSequence: 0 }],
  ['a transactional one', { records, producerId: 5n, producerEpoch: 0, baseSequence: 7, attributes: 16 }],
  ['one without producer id whose other fields are 0 (kafkajs)', { records, producerEpoch: 0, baseSequence: 0 }],
  ['one with another base offset', { records, baseOffset: 99n }],
  ['a compressed one', { body: packed, ...shape }],
  ['keys where keys are required', { records: records.slice(0, 2) }, { requireKeys: true }],
  ['bad records when they are not looked at', { body: Buffer.alloc(30), count: 1 }, { records: false }],
]
for (const [what, batch, options] of taken) {
  test(`taken: ${what}`, () => {
    const bytes = Buffer.concat([Buffer.from('in front'), encodeBatch(batch)])
    const view = new BatchView()
    assert.is(validateBatch(bytes, 8, options, view), undefined)
    assert.is(view.from, 8)
    assert.is(view.count, batch.count ?? batch.records?.length)
  })
}

type Expected = readonly [reason: BatchRefusal['reason'], error: BatchRefusal['error']]
const refusedBatches: readonly [what: string, batch: PlainBatch, expected: Expected, options?: ValidateOptions][] = [
  ['magic 0', { records, magic: 0 }, ['magic', 'UNSUPPORTED_FOR_MESSAGE_FORMAT']],
  ['magic 1', { records, magic: 1 }, ['magic', 'UNSUPPORTED_FOR_MESSAGE_FORMAT']],
  ['a length beyond the bytes', { records, batchLength: 2 ** 31 - 1 }, ['truncated', 'CORRUPT_MESSAGE']],
  ['a negative length', { records, batchLength: -1 }, ['truncated', 'CORRUPT_MESSAGE']],
  ['a control batch', { records, attributes: 32 }, ['control', 'INVALID_RECORD']],
  ['no records', { lastOffsetDelta: 0 }, ['count', 'INVALID_RECORD']],
  ['fewer records than offsets', { records, lastOffsetDelta: 5 }, ['count', 'INVALID_RECORD']],
  ['more records than offsets', { records, lastOffsetDelta: 1 }, ['count', 'INVALID_RECORD']],
  ['a count of 2^31 − 1', { records, count: 2 ** 31 - 1, lastOffsetDelta: 2 ** 31 - 2 }, ['count', 'INVALID_RECORD']],
  ['a negative count', { records, count: -3 }, ['count', 'INVALID_RECORD']],
  [
    'offsets with a gap',
    { records: [record('a'), record('b', { offsetDelta: 2 })], count: 3, lastOffsetDelta: 2 },
    ['offsets', 'INVALID_RECORD'],
  ],
  [
    'a first offset that is not 0',
    { records: [record('a', { offsetDelta: 1 }), record('b')] },
    ['offsets', 'INVALID_RECORD'],
  ],
  ['a producer without sequence', { records, producerId: 5n, producerEpoch: 0 }, ['producer', 'INVALID_RECORD']],
  ['a producer without epoch', { records, producerId: 5n, baseSequence: 0 }, ['producer', 'INVALID_RECORD']],
  ['a transaction without producer', { records, attributes: 16 }, ['producer', 'INVALID_RECORD']],
  ['an unknown codec', { records, attributes: 7 }, ['count', 'INVALID_RECORD']],
  [
    'a record that runs over',
    { records: [record('a', { valueLength: 2n ** 31n - 1n })] },
    ['records', 'INVALID_RECORD'],
  ],
  ['too few bytes', { body: Buffer.alloc(6), count: 1 }, ['count', 'INVALID_RECORD']],
  [
    'bytes behind the records',
    { body: Buffer.concat([body, Buffer.alloc(1)]), count: 3, lastOffsetDelta: 2 },
    ['records', 'INVALID_RECORD'],
  ],
  ['wrong compressed data', { body, ...shape }, ['compression', 'CORRUPT_MESSAGE']],
  [
    'too much compressed data',
    { body: packed, ...shape },
    ['too-large', 'MESSAGE_TOO_LARGE'],
    { maxDecompressedBytes: body.length - 1 },
  ],
  ['a null key where keys are required', { records }, ['records', 'INVALID_RECORD'], { requireKeys: true }],
]
for (const [what, batch, expected, options] of refusedBatches) {
  test(`refused: ${what}`, () => {
    const refusal = validateBatch(encodeBatch(batch), 0, options)
    assert.equal([refusal?.reason, refusal?.error], expected, refusal?.text)
    assert.ok((refusal?.text.length ?? 0) > 10)
  })
}

test('refused: a wrong checksum, before anything else is believed', () => {
  const bytes = encodeBatch({ records })
  bytes[bytes.length - 3]! ^= 1
  assert.is(validateBatch(bytes, 0)?.reason, 'crc')
  assert.is(validateBatch(bytes, 0)?.error, 'CORRUPT_MESSAGE')
})

test('refused: every truncation', () => {
  const bytes = encodeBatch({ records })
  for (let length = 0; length < bytes.length; length++) {
    assert.is(validateBatch(bytes.subarray(0, length), 0)?.reason, 'truncated')
    assert.is(validateBatch(bytes, 0, { to: length })?.reason, 'truncated')
  }
})

test('a second batch is refused unless it is expected', () => {
  const one = encodeBatch({ records })
  const bytes = Buffer.concat([one, one])
  assert.is(validateBatch(bytes, 0)?.reason, 'trailing-bytes')
  const view = new BatchView()
  assert.is(validateBatch(bytes, 0, { allowMore: true }, view), undefined)
  assert.is(view.to, one.length)
  assert.is(validateBatch(bytes, view.to, {}), undefined)
})

test('base offset and leader epoch are patched outside the checksum', () => {
  const bytes = Buffer.concat([Buffer.alloc(5), encodeBatch({ records })])
  const tail = Buffer.from(bytes.subarray(5 + 16))
  patchBaseOffset(bytes, 5, 2 ** 40 + 3)
  patchLeaderEpoch(bytes, 5, 77)
  assert.ok(bytes.subarray(5 + 16).equals(tail))
  const view = new BatchScanner(bytes, 5).next()
  assert.ok(view)
  view.checkCrc()
  assert.equal([view.baseOffset, view.lastOffset, view.leaderEpoch], [2 ** 40 + 3, 2 ** 40 + 5, 77])
})

test('the append time is patched with a new checksum', () => {
  const bytes = Buffer.concat([encodeBatch({ records, attributes: 0 }), encodeBatch({ records })])
  patchAppendTime(bytes, 0, 1_790_000_000_000)
  const scanner = new BatchScanner(bytes)
  const view = scanner.next()
  assert.ok(view)
  view.checkCrc()
  assert.ok(view.logAppendTime)
  assert.equal(
    showAll(view.cursor()).map((line) => line.split(' ')[0]),
    ['0@1790000000000', '1@1790000000000', '2@1790000000000'],
  )
  scanner.next()?.checkCrc()
})

test.run()
