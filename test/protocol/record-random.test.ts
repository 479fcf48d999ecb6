/** Properties of record batches over random ones; the seed is printed, `SEED=n` repeats a run. */
import * as assert from 'uvu/assert'
import { BufferPool } from '../../src/base/buffer-pool.ts'
import { type CompressionName, UnsupportedCompressionError } from '../../src/protocol/compression/codec.ts'
import { zstdAvailable } from '../../src/protocol/compression/zstd.ts'
import { BatchBuilder } from '../../src/protocol/record-batch.ts'
import { validateBatch } from '../../src/protocol/record-check.ts'
import { CorruptBatchError, type HeaderInput } from '../../src/protocol/record-format.ts'
import { BatchScanner } from '../../src/protocol/record-view.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { resealed } from './batches.ts'

const test = suite('random record batches')
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
console.log(`random record batches: again with SEED=${seed}`)

const codecs: CompressionName[] = ['none', 'gzip', 'snappy', 'lz4']
if (zstdAvailable) codecs.push('zstd')

type Value = string | Buffer | null
interface Sample {
  readonly timestamp: number
  readonly key: Value
  readonly value: Value
  readonly headers: readonly { readonly key: string; readonly value: Value }[] | undefined
}

const alphabets = ['abc', 'äöü', '日本語', '🙂🙃', 'aß🙂', '\ud800x', '\udfff']

function someValue(random: SeededRandom, size: number): Value {
  if (random.chance(0.1)) return null
  if (random.chance(0.5)) return random.bytes(random.int(size))
  const alphabet = random.chance(0.6) ? 'abc' : random.pick(alphabets)
  return alphabet.repeat(random.int(Math.ceil(size / alphabet.length) + 1))
}

function someRecord(random: SeededRandom, now: number): Sample {
  const drift = random.pick([0, 1, 100, 100_000, 2 ** 33, 2 ** 45])
  const headers = random.chance(0.8)
    ? undefined
    : Array.from({ length: random.int(4) }, () => ({
        key: random.pick(alphabets).repeat(random.int(30)),
        value: someValue(random, 50),
      }))
  return {
    timestamp: now + random.between(-drift, drift),
    key: someValue(random, random.chance(0.1) ? 300 : 20),
    value: someValue(random, random.chance(0.05) ? 20_000 : 150),
    headers,
  }
}

const asBytes = (value: Value): Buffer | null => (typeof value === 'string' ? Buffer.from(value) : value)

function appendAll(builder: BatchBuilder, samples: readonly Sample[], random: SeededRandom): number {
  for (const [i, { timestamp, key, value, headers }] of samples.entries()) {
    let ok: boolean
    if (random.chance(0.5)) {
      ok = builder.append(timestamp, key, value, headers as readonly HeaderInput[] | undefined)
    } else {
      const k = asBytes(key)
      const v = asBytes(value)
      const source = Buffer.concat([random.bytes(random.int(5)), k ?? Buffer.alloc(0), v ?? Buffer.alloc(0)])
      const valueFrom = source.length - (v?.length ?? 0)
      const keyFrom = valueFrom - (k?.length ?? 0)
      const keySource = k === null ? null : source
      const valueSource = v === null ? null : source
      ok = builder.appendSpan(timestamp, keySource, keyFrom, valueFrom, valueSource, valueFrom, source.length, headers)
    }
    if (!ok) return i
  }
  return samples.length
}

test('what was appended is read, in every codec', () => {
  const random = new SeededRandom(seed)
  const pool = new BufferPool({ poison: true })
  for (let round = 0; round < 150; round++) {
    const context = `seed ${seed}, round ${round}`
    const now = random.pick([0, -1, 1_790_000_000_000, 2 ** 50])
    const samples = Array.from({ length: random.between(1, random.chance(0.2) ? 500 : 20) }, () =>
      someRecord(random, now),
    )
    const builder = new BatchBuilder(pool, random.pick([200, 5000, 1 << 20]))
    const count = appendAll(builder, samples, random)
    assert.is(builder.count, count, context)
    const bytes = builder.close({
      compression: random.pick(codecs),
      producerId: random.pick([-1, 0, 2 ** 52]),
      producerEpoch: random.pick([0, 32767]),
      baseSequence: random.int(2 ** 31),
    })
    assert.is(validateBatch(bytes, 0), undefined, context)
    const frame = Buffer.concat([random.bytes(random.int(4)), bytes, bytes.subarray(0, random.int(bytes.length))])
    const scanner = new BatchScanner(frame, frame.indexOf(bytes))
    const view = scanner.next()
    assert.ok(view, context)
    view.checkCrc()
    const cursor = view.cursor()
    for (const [i, sample] of samples.slice(0, count).entries()) {
      assert.ok(cursor.next(), context)
      assert.is(cursor.offset, i, context)
      assert.is(cursor.timestamp, sample.timestamp, context)
      assert.equal(cursor.key(), asBytes(sample.key), context)
      assert.equal(cursor.value(), asBytes(sample.value), context)
      assert.equal(
        cursor.headers(),
        (sample.headers ?? []).map(({ key, value }) => ({ key: Buffer.from(key).toString(), value: asBytes(value) })),
        context,
      )
    }
    assert.not.ok(cursor.next(), context)
    assert.is(scanner.next(), undefined, context)
    builder.release()
  }
  assert.is(pool.leasedBytes, 0)
})

/** Reads everything that can be read; returns how many records. Anything but a typed error is a failure. */
function readAll(bytes: Buffer, context: string): number {
  let records = 0
  let batches = 0
  try {
    const scanner = new BatchScanner(bytes)
    for (let view = scanner.next(); view !== undefined; view = scanner.next()) {
      batches++
      assert.ok(batches * 61 <= bytes.length, `${context}: too many batches`)
      const cursor = view.cursor({ maxDecompressedBytes: 1 << 20 })
      while (cursor.next()) {
        records++
        assert.ok(cursor.keyFrom === -1 || (cursor.keyFrom >= 0 && cursor.keyTo <= cursor.bytes.length), context)
        assert.ok(cursor.keyFrom <= cursor.keyTo && cursor.valueFrom <= cursor.valueTo, context)
        assert.ok(cursor.valueFrom === -1 || cursor.valueTo <= cursor.bytes.length, context)
        assert.ok(cursor.offset >= view.baseOffset && cursor.offset <= view.lastOffset, context)
        assert.ok(Number.isSafeInteger(cursor.timestamp), context)
        assert.is(typeof cursor.timestampBigInt, 'bigint')
        assert.is(cursor.headers().length, cursor.headerCount, context)
        assert.ok(records <= 1 << 18, `${context}: too many records`)
      }
      view.controlType()
    }
  } catch (cause) {
    if (cause instanceof UnsupportedCompressionError && !zstdAvailable) return records
    if (!(cause instanceof CorruptBatchError)) throw new Error(`${context}: ${String(cause)}`, { cause })
    assert.ok(cause.position >= 0, context)
  }
  return records
}

test('random bytes, and bytes that begin like a batch, give records or a CorruptBatchError', () => {
  const random = new SeededRandom(seed)
  for (let round = 0; round < 20_000; round++) {
    const bytes = random.bytes(random.int(300))
    if (bytes.length > 61 && random.chance(0.8)) {
      bytes[16] = 2
      bytes.writeInt32BE(bytes.length - 12, 8)
      if (random.chance(0.7)) bytes.writeBigInt64BE(5n, 0)
      if (random.chance(0.7)) bytes.writeInt32BE(random.int(20), 57)
      if (random.chance(0.7)) bytes.writeInt32BE(20, 23)
      if (random.chance(0.7)) bytes.writeInt16BE(random.int(5), 21)
    }
    readAll(bytes, `seed ${seed}, round ${round}`)
    validateBatch(bytes, 0)
  }
})

test('damaged batches, with their checksum made right again, give records or a CorruptBatchError', () => {
  const random = new SeededRandom(seed)
  const pool = new BufferPool()
  let whole = 0
  let refused = 0
  for (let round = 0; round < 4000; round++) {
    const context = `seed ${seed}, round ${round}`
    const builder = new BatchBuilder(pool, 2000)
    const samples = Array.from({ length: random.between(1, 8) }, () => someRecord(random, 1_790_000_000_000))
    const count = appendAll(builder, samples, random)
    const closing = { producerId: -1, producerEpoch: -1, baseSequence: -1 }
    const compression = random.chance(0.6) ? 'none' : random.pick(codecs)
    const bytes = Buffer.from(builder.close({ ...closing, compression }))
    builder.release()
    for (let flips = random.between(1, 4); flips > 0; flips--) {
      const at = random.chance(0.3) ? random.int(61) : random.int(bytes.length)
      bytes[at] = random.pick([bytes[at]! ^ (1 << random.int(8)), 0, 0xff, 0x80, 0x7f, 1])
    }
    resealed(bytes)
    if (readAll(bytes, context) === count) whole++
    if (validateBatch(bytes, 0) !== undefined) refused++
  }
  // Both kinds occur, or this test looks at nothing.
  assert.ok(whole > 400 && refused > 400, `${whole} still whole, ${refused} refused`)
})

test.run()
