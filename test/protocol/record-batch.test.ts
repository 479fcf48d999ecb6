import * as assert from 'uvu/assert'
import { AssertionError } from '../../src/base/assert.ts'
import { BufferPool } from '../../src/base/buffer-pool.ts'
import { MillraceError } from '../../src/base/errors.ts'
import type { CompressionName } from '../../src/protocol/compression/codec.ts'
import { BatchBuilder, type CloseOptions, encodedRecordBound } from '../../src/protocol/record-batch.ts'
import { BATCH_OVERHEAD, type HeaderInput } from '../../src/protocol/record-format.ts'
import { BatchScanner, type BatchView } from '../../src/protocol/record-view.ts'
import { suite } from '../support/suite.ts'
import { encodeBatch, showAll } from './batches.ts'

const test = suite('batch builder')

const plain: CloseOptions = { compression: 'none', producerId: -1, producerEpoch: -1, baseSequence: -1 }
const T = 1_790_000_000_000

function builder(maxBytes = 1 << 20, pool = new BufferPool({ poison: true })): BatchBuilder {
  return new BatchBuilder(pool, maxBytes)
}

function viewOf(bytes: Buffer): BatchView {
  const scanner = new BatchScanner(bytes)
  const view = scanner.next()
  assert.ok(view)
  view.checkCrc()
  assert.is(scanner.next(), undefined)
  return view
}

type Value = string | Uint8Array | null
const long = 'z'.repeat(10_000)
const records: readonly [what: string, key: Value, value: Value, headers?: readonly HeaderInput[]][] = [
  ['strings', 'key', 'value'],
  ['bytes', Buffer.from('key'), Buffer.from('value')],
  ['a Uint8Array that is no Buffer', new Uint8Array([107]), new Uint8Array([118, 118])],
  ['a null key', null, 'value'],
  ['a tombstone', 'key', null],
  ['nulls', null, null],
  ['empty strings', '', ''],
  ['empty bytes', Buffer.alloc(0), Buffer.alloc(0)],
  ['UTF-8 of two, three and four bytes', 'ü', '日本 🙂'],
  ['a lone surrogate, which becomes U+FFFD', 'a\ud800b', '\udc00'],
  ['ASCII of 24 and 25 characters', 'x'.repeat(24), 'y'.repeat(25)],
  ['lengths at the edges of varints', 'x'.repeat(63), 'y'.repeat(64)],
  ['more', 'x'.repeat(8191), 'y'.repeat(8192)],
  ['bytes beyond a loop', Buffer.from('x'.repeat(48)), Buffer.from('y'.repeat(49))],
  ['long text', long, `${long}ü`],
  ['a latin-1 string', 'café', 'naïve '.repeat(20)],
  [
    'headers',
    'k',
    'v',
    [
      { key: 'a', value: '1' },
      { key: 'a', value: Buffer.from('2') },
      { key: '', value: '' },
      { key: 'ü', value: null },
    ],
  ],
  ['an empty list of headers', 'k', 'v', []],
]

function asBytes(value: Value): Buffer | null {
  return value === null ? null : Buffer.from(value as string)
}

for (const [what, key, value, headers] of records) {
  test(`${what}: the very bytes of the format, in append and in appendSpan`, () => {
    const wanted = encodeBatch({
      records: [
        { key: asBytes('before'), value: null },
        {
          key: asBytes(key),
          value: asBytes(value),
          timestampDelta: -5n,
          headers: (headers ?? []).map((h) => [Buffer.from(h.key), asBytes(h.value)] as const),
        },
        { key: null, value: asBytes('after'), timestampDelta: 100n },
      ],
      baseTimestamp: BigInt(T),
      maxTimestamp: BigInt(T + 100),
    })
    const one = builder()
    assert.ok(one.append(T, 'before', null))
    assert.ok(one.append(T - 5, key, value, headers))
    assert.ok(one.append(T + 100, null, 'after'))
    assert.is(one.byteLength, wanted.length)
    assert.ok(one.close(plain).equals(wanted))

    const spans = Buffer.concat([Buffer.from('#'), asBytes(key) ?? Buffer.alloc(0), asBytes(value) ?? Buffer.alloc(0)])
    const keyEnd = 1 + (asBytes(key)?.length ?? 0)
    const two = builder()
    two.append(T, 'before', null)
    const keySource = key === null ? null : spans
    const valueSource = value === null ? null : spans
    assert.ok(two.appendSpan(T - 5, keySource, 1, keyEnd, valueSource, keyEnd, spans.length, headers))
    two.append(T + 100, null, 'after')
    assert.ok(two.close(plain).equals(wanted))
  })

  test(`${what}: encodedRecordBound is not below the truth`, () => {
    const one = builder()
    one.append(0, 'x', null)
    const before = one.byteLength
    one.append(Number.MAX_SAFE_INTEGER, key, value, headers)
    const bound = encodedRecordBound(asBytes(key)?.length ?? 0, asBytes(value)?.length ?? 0, headers)
    assert.ok(bound >= one.byteLength - before)
  })
}

const stamps: readonly (readonly number[])[] = [
  [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8193],
  [T, 0, -1, T * 2, 1, T],
  [0, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 34, 2 ** 41, 2 ** 48],
  [0, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
  [Number.MAX_SAFE_INTEGER, 0],
  [-1, -1],
]
for (const list of stamps) {
  test(`timestamps ${list.join(', ')}`, () => {
    const one = builder()
    for (const timestamp of list) assert.ok(one.append(timestamp, null, null))
    const wanted = encodeBatch({
      records: list.map((timestamp) => ({
        key: null,
        value: null,
        timestampDelta: BigInt(timestamp) - BigInt(list[0]!),
      })),
      baseTimestamp: BigInt(list[0]!),
      maxTimestamp: BigInt(Math.max(...list)),
    })
    const bytes = one.close(plain)
    assert.ok(bytes.equals(wanted))
    const cursor = viewOf(bytes).cursor()
    for (const timestamp of list) {
      assert.ok(cursor.next())
      assert.is(cursor.timestamp, timestamp)
      assert.is(cursor.timestampBigInt, BigInt(timestamp))
    }
  })
}

for (const bad of [Number.NaN, 1.5, Infinity, -Infinity, 2 ** 53, 1e300]) {
  test(`the timestamp ${bad} is refused, first or later, and changes nothing`, () => {
    const one = builder()
    const refused = (cause: unknown): boolean => cause instanceof MillraceError && cause.code === 'ERR_TIMESTAMP'
    assert.throws(() => one.append(bad, 'k', 'v'), refused)
    assert.is(one.count, 0)
    one.append(7, 'k', 'v')
    const length = one.byteLength
    assert.throws(() => one.append(bad, 'k', 'v'), refused)
    assert.equal([one.count, one.byteLength, one.maxTimestamp], [1, length, 7])
    assert.equal(showAll(viewOf(one.close(plain)).cursor()), ['0@7 k:v'])
  })
}

test('a batch with records takes no more than maxBytes, exactly; the first record may be larger', () => {
  const measure = builder()
  measure.append(T, 'k', 'v'.repeat(50))
  const one = measure.byteLength - BATCH_OVERHEAD
  const exact = builder(BATCH_OVERHEAD + 3 * one)
  for (let i = 0; i < 3; i++) assert.ok(exact.append(T, 'k', 'v'.repeat(50)))
  assert.is(exact.byteLength, BATCH_OVERHEAD + 3 * one)
  const before = [exact.count, exact.byteLength, exact.capacity]
  assert.not.ok(exact.append(T, null, null))
  assert.not.ok(exact.appendSpan(T, null, 0, 0, null, 0, 0))
  assert.equal([exact.count, exact.byteLength, exact.capacity], before)
  assert.is(viewOf(exact.close(plain)).count, 3)

  const short = builder(BATCH_OVERHEAD + 3 * one - 1)
  for (let i = 0; i < 2; i++) assert.ok(short.append(T, 'k', 'v'.repeat(50)))
  assert.not.ok(short.append(T, 'k', 'v'.repeat(50)))

  const large = builder(1000)
  assert.ok(large.append(T, 'k', 'v'.repeat(5000)))
  assert.not.ok(large.append(T, null, null))
})

test('a record beyond the format is refused before memory is asked for', () => {
  const pool = new BufferPool()
  const one = builder(1000, pool)
  const huge = new Uint8Array(2 ** 31)
  const refused = (cause: unknown): boolean => cause instanceof MillraceError && cause.code === 'ERR_RECORD_TOO_LARGE'
  assert.throws(() => one.append(T, 'k', huge), refused)
  assert.equal([one.count, one.byteLength, pool.leasedBytes], [0, BATCH_OVERHEAD, 0])
  assert.ok(one.append(T, 'k', 'v'))
  assert.not.ok(one.append(T, 'k', huge))
})

test('memory grows by classes, counts in the pool, and goes back', () => {
  const pool = new BufferPool({ poison: true })
  const one = builder(3_000_000, pool)
  assert.is(one.capacity, 0)
  const seen = new Set<number>()
  for (let i = 0; one.append(T, `key-${i}`, 'v'.repeat(900)); i++) {
    seen.add(one.capacity)
    assert.is(pool.leasedBytes, one.capacity)
    assert.ok(one.byteLength <= one.capacity)
  }
  const K = 1024
  assert.equal([...seen], [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048].map((k) => k * K).concat(3_000_000))
  const view = viewOf(one.close(plain))
  assert.is(view.count, one.count)
  const cursor = view.cursor()
  for (let i = 0; cursor.next(); i++) assert.is(cursor.key()?.toString(), `key-${i}`)
  one.release()
  assert.is(pool.leasedBytes, 0)
})

test('a released builder is empty and may be used again', () => {
  const pool = new BufferPool({ poison: true })
  const one = builder(1000, pool)
  one.append(5, 'a', '1')
  one.close(plain)
  one.release()
  assert.equal([one.count, one.byteLength, one.capacity, one.maxTimestamp], [0, BATCH_OVERHEAD, 0, -1])
  one.append(3, 'b', '2')
  assert.equal(showAll(viewOf(one.close(plain)).cursor()), ['0@3 b:2'])
  one.release()
  one.release()
  assert.is(pool.leasedBytes, 0)
})

test('misuse is a bug: append or close after close, close without records, restamp before', () => {
  const isBug = (cause: unknown): boolean => cause instanceof AssertionError
  const one = builder()
  assert.throws(() => one.close(plain), isBug)
  assert.throws(() => one.restamp(1, 1, 1), isBug)
  one.append(1, 'k', 'v')
  const bytes = Buffer.from(one.close(plain))
  assert.throws(() => one.append(1, 'k', 'v'), isBug)
  assert.throws(() => one.appendSpan(1, null, 0, 0, null, 0, 0), isBug)
  assert.throws(() => one.close(plain), isBug)
  one.restamp(-1, -1, -1)
  assert.is(viewOf(bytes).count, 1)
})

for (const compression of ['none', 'gzip', 'snappy', 'lz4'] as CompressionName[]) {
  test(`${compression}: header fields, restamp and memory after close`, () => {
    const pool = new BufferPool({ poison: true })
    const one = builder(1 << 20, pool)
    for (let i = 0; i < 2000; i++) one.append(T + i, `key-${i}`, `value ${i % 10} again and again and again`)
    const raw = one.byteLength
    const bytes = one.close({
      compression,
      producerId: 2 ** 40 + 1,
      producerEpoch: 7,
      baseSequence: 2 ** 31 - 1,
      transactional: true,
    })
    if (compression === 'none') assert.is(bytes.length, raw)
    else assert.ok(bytes.length < raw / 3)
    assert.is(pool.leasedBytes, one.capacity)
    assert.ok(one.capacity < 2 * Math.max(4096, bytes.length), 'no more is held than the compressed batch needs')
    const check = (producerId: number, producerEpoch: number, baseSequence: number): void => {
      const view = viewOf(bytes)
      assert.equal(
        {
          offsets: [view.baseOffset, view.lastOffset, view.nextOffset, view.count],
          times: [view.baseTimestamp, view.maxTimestamp, view.deleteHorizon],
          producer: [view.producerId, view.producerEpoch, view.baseSequence],
          flags: [view.compression, view.isTransactional, view.isControl, view.logAppendTime, view.leaderEpoch],
        },
        {
          offsets: [0, 1999, 2000, 2000],
          times: [T, T + 1999, -1],
          producer: [producerId, producerEpoch, baseSequence],
          flags: [compression, true, false, false, -1],
        },
      )
      const cursor = view.cursor()
      for (let i = 0; cursor.next(); i++) {
        assert.is(cursor.key()?.toString(), `key-${i}`)
        assert.is(cursor.value()?.toString(), `value ${i % 10} again and again and again`)
        assert.is(cursor.timestamp, T + i)
        assert.is(cursor.offset, i)
      }
    }
    check(2 ** 40 + 1, 7, 2 ** 31 - 1)
    one.restamp(5, 0, 0)
    check(5, 0, 0)
    one.restamp(-1, -1, -1)
    check(-1, -1, -1)
    one.release()
    assert.is(pool.leasedBytes, 0)
  })
}

test('what compression does not make smaller stays as it is', () => {
  const one = builder()
  one.append(T, 'k', 'v')
  const view = viewOf(one.close({ ...plain, compression: 'lz4' }))
  assert.is(view.compression, 'none')
  assert.equal(showAll(view.cursor()), [`0@${T} k:v`])
})

test('the control bit is set on request', () => {
  const one = builder()
  one.append(T, Buffer.from([0, 0, 0, 1]), Buffer.from([0, 0, 0, 0, 0, 1]))
  const view = viewOf(one.close({ ...plain, control: true }))
  assert.ok(view.isControl)
  assert.is(view.controlType(), 'commit')
})

test.run()
