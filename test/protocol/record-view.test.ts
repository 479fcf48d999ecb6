import * as assert from 'uvu/assert'
import { compressionNames } from '../../src/protocol/compression/codec.ts'
import { lz4 } from '../../src/protocol/compression/lz4.ts'
import { BATCH_OVERHEAD, type BatchFault, CorruptBatchError } from '../../src/protocol/record-format.ts'
import { BatchScanner, BatchView, type RecordCursor } from '../../src/protocol/record-view.ts'
import { suite } from '../support/suite.ts'
import {
  encodeBatch,
  encodeRecord,
  type PlainBatch,
  type PlainRecord,
  resealed,
  show,
  showAll,
  varint,
} from './batches.ts'

const test = suite('record views')

const text = (value: string): Buffer => Buffer.from(value)
const kv = (key: string, value: string, more: Partial<PlainRecord> = {}): PlainRecord => ({
  key: text(key),
  value: text(value),
  ...more,
})
const two = [kv('a', '1'), kv('b', '2')]

function first(bytes: Buffer): BatchView {
  const view = new BatchScanner(bytes).next()
  assert.ok(view)
  return view
}

/** Expects CorruptBatchError, twice: an error is no way to the next record. */
function corrupt(work: () => unknown, fault: BatchFault, says: RegExp): CorruptBatchError {
  const once = (): CorruptBatchError => {
    try {
      work()
    } catch (cause) {
      if (!(cause instanceof CorruptBatchError)) throw cause
      return cause
    }
    throw new Error('it was not refused')
  }
  const error = once()
  assert.is(error.fault, fault, error.message)
  assert.match(error.message, says)
  assert.is(once().message, error.message)
  return error
}

test('fields of the header', () => {
  const view = first(
    encodeBatch({
      records: two,
      baseOffset: 2n ** 53n - 4n,
      leaderEpoch: 9,
      attributes: (1 << 3) | (1 << 4),
      baseTimestamp: -1n,
      maxTimestamp: 77n,
      producerId: 2n ** 50n,
      producerEpoch: 32767,
      baseSequence: 5,
    }),
  )
  view.checkCrc()
  assert.equal(
    [view.baseOffset, view.lastOffset, view.nextOffset, view.leaderEpoch, view.count, view.byteLength],
    [2 ** 53 - 4, 2 ** 53 - 3, 2 ** 53 - 2, 9, 2, view.bytes.length],
  )
  assert.equal(
    [view.baseTimestamp, view.maxTimestamp, view.producerId, view.producerEpoch, view.baseSequence],
    [-1, 77, 2 ** 50, 32767, 5],
  )
  assert.equal([view.logAppendTime, view.isTransactional, view.isControl, view.deleteHorizon], [true, true, false, -1])
})

test('append time is the time of every record', () => {
  const records = [kv('a', '1', { timestampDelta: 5n }), kv('b', '2', { timestampDelta: 9n })]
  const cursor = first(encodeBatch({ records, attributes: 8, baseTimestamp: 100n, maxTimestamp: 500n })).cursor()
  assert.equal(showAll(cursor), ['0@500 a:1', '1@500 b:2'])
  assert.is(cursor.timestampBigInt, 500n)
})

test('delete horizon: the base timestamp is re-used, record times are still relative to it', () => {
  const records = [kv('a', '1', { timestampDelta: -900n })]
  const view = first(encodeBatch({ records, attributes: 64, baseTimestamp: 1000n, maxTimestamp: 100n }))
  assert.is(view.deleteHorizon, 1000)
  assert.equal(showAll(view.cursor()), ['0@100 a:1'])
})

const times: readonly [base: bigint, delta: bigint, seen: number][] = [
  [0n, 2n ** 53n - 1n, 2 ** 53 - 1],
  [0n, 2n ** 53n, 2 ** 53 - 1],
  [2n ** 60n + 3n, -(2n ** 60n), 3],
  [2n ** 53n - 1n, -(2n ** 53n) - 5n, -6],
  [-(2n ** 53n) - 1n, 2n ** 53n, -1],
  [0n, 2n ** 63n - 1n, 2 ** 53 - 1],
  [0n, -(2n ** 63n), -(2 ** 53) + 1],
  [2n ** 62n, 5n, 2 ** 53 - 1],
  [-(2n ** 62n), 5n, -(2 ** 53) + 1],
  [2n ** 53n - 1n, 1n, 2 ** 53 - 1],
  [1_790_000_000_000n, -1_790_000_000_001n, -1],
  [1n, 268_435_455n, 268_435_456],
]
for (const [base, delta, seen] of times) {
  test(`timestamp ${base} + ${delta} is ${seen}, and exact as a bigint`, () => {
    const cursor = first(
      encodeBatch({ records: [kv('a', '1', { timestampDelta: delta })], baseTimestamp: base }),
    ).cursor()
    assert.ok(cursor.next())
    assert.is(cursor.timestamp, seen)
    assert.is(cursor.timestampBigInt, base + delta)
  })
}

test('offsets with gaps, and a batch emptied by compaction, move the position', () => {
  const gaps = [
    kv('a', '1', { offsetDelta: 2 }),
    kv('b', '2', { offsetDelta: 6 }),
    kv('c', '3', { offsetDelta: 300_000 }),
  ]
  const bytes = Buffer.concat([
    encodeBatch({ records: gaps, baseOffset: 100n, lastOffsetDelta: 400_000 }),
    encodeBatch({ baseOffset: 400_101n, lastOffsetDelta: 9 }),
    encodeBatch({ records: two, baseOffset: 400_111n }),
  ])
  const scanner = new BatchScanner(bytes)
  const seen: unknown[] = []
  for (let view = scanner.next(); view !== undefined; view = scanner.next()) {
    view.checkCrc()
    seen.push([showAll(view.cursor()), view.lastOffset, view.nextOffset])
  }
  assert.equal(seen, [
    [['102@0 a:1', '106@0 b:2', '300100@0 c:3'], 400_100, 400_101],
    [[], 400_110, 400_111],
    [['400111@0 a:1', '400112@0 b:2'], 400_112, 400_113],
  ])
  assert.not.ok(scanner.truncated)
  assert.is(scanner.at, bytes.length)
})

test('an empty batch with a codec is not decompressed', () => {
  const view = first(encodeBatch({ attributes: 3, lastOffsetDelta: 4 }))
  assert.is(view.compression, 'lz4')
  assert.equal(showAll(view.cursor()), [])
})

test('a batch that is cut off at the end is dropped silently, wherever it is cut', () => {
  const whole = encodeBatch({ records: two })
  for (let cut = 0; cut < whole.length; cut++) {
    const scanner = new BatchScanner(Buffer.concat([whole, whole.subarray(0, cut)]))
    assert.ok(scanner.next())
    assert.is(scanner.next(), undefined)
    assert.is(scanner.next(), undefined)
    assert.is(scanner.truncated, cut > 0)
    assert.is(scanner.at, whole.length)
  }
})

test('a scanner stays inside its span and may fill one view again and again', () => {
  const whole = encodeBatch({ records: two })
  const scanner = new BatchScanner(Buffer.concat([Buffer.alloc(7), whole, whole, whole]), 7, 7 + 2 * whole.length)
  const view = new BatchView()
  assert.is(scanner.next(view), view)
  assert.is(view.from, 7)
  assert.is(scanner.next(view), view)
  assert.equal(showAll(view.cursor()), ['0@0 a:1', '1@0 b:2'])
  assert.is(scanner.next(view), undefined)
  assert.not.ok(scanner.truncated)
})

const badBatches: readonly [what: string, batch: PlainBatch, fault: BatchFault, says: RegExp, position?: number][] = [
  ['length 0', { batchLength: 0 }, 'length', /length 0/, 8],
  ['length below a header', { batchLength: 48 }, 'length', /length 48/, 8],
  ['a negative length', { batchLength: -1 }, 'length', /length -1/, 8],
  ['the lowest length', { batchLength: -(2 ** 31) }, 'length', /length -2147483648/, 8],
  ['magic 1', { magic: 1 }, 'magic', /record format 1 \(only 2/, 16],
  ['magic 3', { magic: 3 }, 'magic', /record format 3/, 16],
  ['a negative base offset', { baseOffset: -5n }, 'header', /offsets -5/, 0],
  ['a base offset beyond 2^53', { baseOffset: 2n ** 53n }, 'header', /outside/, 0],
  ['a last offset beyond 2^53', { baseOffset: 2n ** 53n - 3n, lastOffsetDelta: 100 }, 'header', /outside/, 0],
  ['a negative lastOffsetDelta', { lastOffsetDelta: -1 }, 'header', /outside/],
  ['a negative count', { count: -1 }, 'header', /-1 records/, 57],
  ['2^31 − 1 records', { count: 2 ** 31 - 1 }, 'header', /2147483647 records in 2 offsets/, 57],
  ['an unknown codec', { attributes: 5 }, 'header', /unknown compression 5/, 21],
]
for (const [what, batch, fault, says, position] of badBatches) {
  test(`scanner: ${what}`, () => {
    const good = encodeBatch({ records: two })
    const scanner = new BatchScanner(Buffer.concat([good, encodeBatch({ records: two, ...batch })]))
    assert.ok(scanner.next())
    const error = corrupt(() => scanner.next(), fault, says)
    assert.is(error.code, 'ERR_CORRUPT_BATCH')
    if (position !== undefined) assert.is(error.position, good.length + position)
  })
}

test('a length of 2 GB is a truncated batch, whatever follows', () => {
  const scanner = new BatchScanner(encodeBatch({ records: two, batchLength: 2 ** 31 - 1 }))
  assert.is(scanner.next(), undefined)
  assert.ok(scanner.truncated)
})

test('every flipped bit under the checksum is noticed', () => {
  const good = encodeBatch({ records: two, baseOffset: 7n })
  for (let bit = 17 * 8; bit < good.length * 8; bit++) {
    const bytes = Buffer.from(good)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    try {
      first(bytes).checkCrc()
    } catch (cause) {
      if (!(cause instanceof CorruptBatchError)) throw cause
      assert.is(cause.baseOffset, 7)
      continue
    }
    throw new Error(`bit ${bit} was not noticed`)
  }
})

test('a wrong checksum names both', () => {
  const bytes = encodeBatch({ records: two, baseOffset: 7n })
  bytes.writeUInt32BE(0xdeadbeef, 17)
  corrupt(
    () => first(bytes).checkCrc(),
    'crc',
    /at offset 7: checksum [0-9a-f]{8}, the batch says deadbeef \(byte 17\)/,
  )
})

const big = 2n ** 31n - 1n
const badRecords: readonly [what: string, record: PlainRecord, says: RegExp][] = [
  ['a record longer than the batch', kv('k', 'v', { length: 1000n }), /record 1: length 1000, \d+ bytes are left/],
  ['a record of 2 GB', kv('k', 'v', { length: big }), /record 1: length 2147483647/],
  ['a record of negative length', kv('k', 'v', { length: -1n }), /record 1: length -1/],
  ['a record shorter than its fields', kv('k', 'v', { length: 7n }), /record 1: the fields end at/],
  ['a record of length 0', kv('k', 'v', { length: 0n }), /record 1: /],
  ['a record longer than its fields', kv('k', 'v', { length: 9n }), /record 1: /],
  ['a key of 2 GB', kv('k', 'v', { keyLength: big }), /record 1: /],
  ['a key longer than the record', kv('k', 'v', { keyLength: 20n }), /record 1: /],
  ['a key of length −2', kv('k', 'v', { keyLength: -2n }), /record 1: key length -2/],
  ['a value of 2 GB', kv('k', 'v', { valueLength: big }), /record 1: /],
  ['a value longer than the record', kv('k', 'v', { valueLength: 3n }), /record 1: /],
  ['a value of length −2', kv('k', 'v', { valueLength: -2n }), /record 1: value length -2/],
  ['headers that are not there', kv('k', 'v', { headerCount: 1n }), /record 1: 1 headers in 0 bytes/],
  ['2^31 − 1 headers', kv('k', 'v', { headerCount: big }), /record 1: 2147483647 headers/],
  ['a negative number of headers', kv('k', 'v', { headerCount: -1n }), /record 1: -1 headers/],
  [
    'a header without a key',
    kv('k', 'v', { headers: [[text('h'), null]], headerKeyLength: -1n }),
    /header key length -1/,
  ],
  [
    'a header key of 2 GB',
    kv('k', 'v', { headers: [[text('h'), null]], headerKeyLength: big }),
    /header key length 2147483647/,
  ],
  [
    'a header value of 2 GB',
    kv('k', 'v', { headers: [[text('h'), text('x')]], headerValueLength: big }),
    /header value length/,
  ],
  [
    'a header value of length −2',
    kv('k', 'v', { headers: [[text('h'), null]], headerValueLength: -2n }),
    /header value length -2/,
  ],
  ['the offset of the record before', kv('k', 'v', { offsetDelta: 0 }), /record 1: offset 50 after 50/],
  ['an offset before the batch', kv('k', 'v', { offsetDelta: -1 }), /record 1: offset 49 after 50/],
  ['an offset after the batch', kv('k', 'v', { offsetDelta: 3 }), /record 1: offset 53 after 50/],
]
for (const [what, record, says] of badRecords) {
  for (const codec of ['none', 'lz4'] as const) {
    test(`cursor, ${codec}: ${what}`, () => {
      const body = Buffer.concat([kv('a', '1'), record, kv('c', '3')].map(encodeRecord))
      const packed = codec === 'none' ? body : lz4.compress(body, 0, body.length)
      const attributes = compressionNames.indexOf(codec)
      // Bytes behind the batch must not help a record that runs out of it.
      const bytes = Buffer.concat([
        encodeBatch({ body: packed, attributes, count: 3, lastOffsetDelta: 2, baseOffset: 50n }),
        Buffer.alloc(300, 2),
      ])
      const view = first(bytes)
      view.checkCrc()
      const cursor = view.cursor()
      assert.ok(cursor.next())
      assert.is(show(cursor), '50@0 a:1')
      assert.is(corrupt(() => cursor.next(), 'record', says).baseOffset, 50)
      assert.is(show(cursor), '50@0 a:1')
    })
  }
}

test('varints that do not end', () => {
  const endless = Buffer.alloc(40, 0x80)
  const good = encodeRecord(kv('a', '1'), 0)
  corrupt(
    () =>
      first(encodeBatch({ body: endless, count: 1 }))
        .cursor()
        .next(),
    'record',
    /a varint does not end/,
  )
  const length = varint(30n)
  const stamp = Buffer.concat([good, length, Buffer.from([0]), Buffer.alloc(30, 0xff)])
  const cursor = first(encodeBatch({ body: stamp, count: 2, lastOffsetDelta: 1 })).cursor()
  assert.ok(cursor.next())
  corrupt(() => cursor.next(), 'record', /a varlong does not end/)
})

test('varints with needless bytes are read all the same', () => {
  const record = Buffer.from([0x92, 0x80, 0x00, 0, 0x80, 0x00, 0x80, 0x80, 0x00, 0x01, 0x01, 0x00])
  const body = Buffer.concat([record.subarray(0, 3), Buffer.from([0, 0x80, 0x00, 0x80, 0x80, 0x00, 0x01, 0x01, 0x00])])
  const cursor = first(encodeBatch({ body, count: 1 })).cursor()
  assert.equal(showAll(cursor), ['0@0 null:null'])
})

const counts: readonly [what: string, count: number, lastOffsetDelta: number, says: RegExp][] = [
  ['more records than bytes', 1000, 999, /1000 records in \d+ bytes/],
  ['2^31 − 1 records in 2^31 offsets', 2 ** 31 - 1, 2 ** 31 - 1, /2147483647 records in \d+ bytes/],
]
for (const [what, count, lastOffsetDelta, says] of counts) {
  test(`cursor: ${what} are refused before the first`, () => {
    corrupt(() => first(encodeBatch({ records: two, count, lastOffsetDelta })).cursor(), 'header', says)
  })
}

test('cursor: a count one too high, one too low', () => {
  const fat = [kv('a', '1'.repeat(20)), kv('b', '2')]
  const high = first(encodeBatch({ records: fat, count: 3, lastOffsetDelta: 2 })).cursor()
  assert.ok(high.next() && high.next())
  corrupt(() => high.next(), 'record', /record 2: length/)
  const low = first(encodeBatch({ records: fat, count: 1 })).cursor()
  assert.ok(low.next())
  corrupt(() => low.next(), 'record', /record 1: 9 bytes after the last record/)
})

test('compressed records: damage, a wrong count and too much', () => {
  const body = Buffer.concat([kv('a', 'x'.repeat(5000)), kv('b', '2')].map(encodeRecord))
  const packed = lz4.compress(body, 0, body.length)
  const good = { body: packed, attributes: 3, count: 2, lastOffsetDelta: 1 }
  assert.is(showAll(first(encodeBatch(good)).cursor({ maxDecompressedBytes: body.length })).length, 2)
  corrupt(
    () => first(encodeBatch(good)).cursor({ maxDecompressedBytes: body.length - 1 }),
    'limit',
    /maxDecompressedBytes/,
  )
  corrupt(
    () => first(encodeBatch({ ...good, count: 1000, lastOffsetDelta: 999 })).cursor(),
    'header',
    /1000 records in/,
  )
  corrupt(() => first(encodeBatch({ ...good, body: packed.subarray(0, 30) })).cursor(), 'compression', /lz4/)
  corrupt(() => first(encodeBatch({ ...good, attributes: 1 })).cursor(), 'compression', /gzip/)
  corrupt(() => first(encodeBatch({ ...good, attributes: 2 })).cursor(), 'compression', /snappy/)
})

test('headers: an ordered list, keys may repeat, values may be null', () => {
  const headers = [
    [text('a'), text('1')],
    [text('a'), null],
    [text(''), text('')],
    [text('ü'), text('2')],
  ] as const
  const cursor: RecordCursor = first(encodeBatch({ records: [kv('k', 'v', { headers }), kv('l', 'w')] })).cursor()
  assert.ok(cursor.next())
  assert.is(cursor.headerCount, 4)
  assert.equal(
    cursor.headers().map((header) => [header.key, header.value?.toString() ?? null]),
    [
      ['a', '1'],
      ['a', null],
      ['', ''],
      ['ü', '2'],
    ],
  )
  assert.ok(cursor.next())
  assert.is(cursor.headerCount, 0)
  assert.equal(cursor.headers(), [])
})

test('one cursor goes over many batches', () => {
  const cursor = first(encodeBatch({ records: two })).cursor()
  assert.is(showAll(cursor).length, 2)
  const other = first(encodeBatch({ records: [kv('c', '3')], baseOffset: 1n }))
  assert.is(cursor.reset(other), cursor)
  assert.is(cursor.left, 1)
  assert.equal(showAll(cursor), ['1@0 c:3'])
  assert.is(cursor.left, 0)
  assert.not.ok(cursor.next())
})

test('a cursor that could not be set on a batch does not go on with the one before', () => {
  const cursor = first(encodeBatch({ records: two })).cursor()
  assert.ok(cursor.next())
  const bad = first(encodeBatch({ records: two, attributes: 3 }))
  corrupt(() => cursor.reset(bad), 'compression', /lz4/)
  assert.not.ok(cursor.next())
})

const controls: readonly [what: string, key: Buffer | null, type: string][] = [
  ['abort', Buffer.from([0, 0, 0, 0]), 'abort'],
  ['commit', Buffer.from([0, 0, 0, 1]), 'commit'],
  ['a leader change', Buffer.from([0, 0, 0, 2]), 'other'],
  ['a later version of commit', Buffer.from([0, 7, 0, 1, 9, 9]), 'commit'],
  ['a short key', Buffer.from([0, 0]), 'other'],
  ['no key', null, 'other'],
]
for (const [what, key, type] of controls) {
  test(`control batch: ${what} is ${type}`, () => {
    const view = first(encodeBatch({ records: [{ key, value: null }], attributes: 0x30 }))
    assert.is(view.controlType(), type)
    const plain = first(encodeBatch({ records: [{ key, value: null }], attributes: 0x10 }))
    assert.is(plain.controlType(), undefined)
  })
}
test('control batch: emptied', () => assert.is(first(encodeBatch({ attributes: 0x30 })).controlType(), undefined))

test('fields outside the checksum may change, all others not', () => {
  const good = encodeBatch({ records: two })
  for (let at = 0; at < BATCH_OVERHEAD; at++) {
    const bytes = Buffer.from(good)
    bytes[at]! ^= 0x01
    let fine = true
    try {
      new BatchView().set(bytes, 0, bytes.length).checkCrc()
    } catch {
      fine = false
    }
    // Base offset (its low bytes), batch length, leader epoch and magic: the view was given its span, so these do not count.
    assert.is(fine, at > 0 && at < 17, `byte ${at}`)
  }
  assert.ok(resealed(Buffer.from(good)).equals(good))
})

test.run()
