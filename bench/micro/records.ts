/**
 * Nanoseconds per record of the record batch code: encode, checksum, iterate, hashes, codecs. One process, warm, medians
 * of rounds. Run after a build: `node .build/bench/micro/records.js`.
 */
import { BufferPool } from '../../src/base/buffer-pool.ts'
import type { CompressionName } from '../../src/protocol/compression/codec.ts'
import { codecOf } from '../../src/protocol/compression/codecs.ts'
import { zstdAvailable } from '../../src/protocol/compression/zstd.ts'
import { crc32c } from '../../src/protocol/hash/crc32c.ts'
import { fnv1a } from '../../src/protocol/hash/fnv1a.ts'
import { murmur2 } from '../../src/protocol/hash/murmur2.ts'
import { BatchBuilder } from '../../src/protocol/record-batch.ts'
import { BATCH_OVERHEAD, type HeaderInput } from '../../src/protocol/record-format.ts'
import { BatchView, RecordCursor } from '../../src/protocol/record-view.ts'

const RECORDS = 5000
const ROUNDS = 41
const pool = new BufferPool()
const closing = { compression: 'none', producerId: 1, producerEpoch: 0, baseSequence: 0 } as const
let sink = 0

/** Median nanoseconds of `work`, per one of the `count` things it does. */
function median(count: number, work: () => void): number {
  const times: number[] = []
  for (let round = 0; round < ROUNDS * 2; round++) {
    const start = process.hrtime.bigint()
    work()
    if (round >= ROUNDS) times.push(Number(process.hrtime.bigint() - start) / count)
  }
  times.sort((a, b) => a - b)
  return times[ROUNDS >> 1]!
}

function report(what: string, nanoseconds: number, note = ''): void {
  console.log(`${what.padEnd(52)} ${nanoseconds.toFixed(1).padStart(8)} ns ${note}`)
}

/** Text that looks like events: half of it repeats. */
function valueText(i: number, bytes: number): string {
  const text = `{"user":"user-${i % 1000}","page":"https://example.com/${(i * 7919) % 100_000}","ms":${(i * 31) % 977},"tags":["a","b"],"note":""}`
  return text.padEnd(bytes, 'the quick brown fox jumps over the lazy dog ').slice(0, bytes)
}

const keys = Array.from({ length: RECORDS }, (_, i) => `k${String(i).padStart(7, '0')}`)
const values = Array.from({ length: RECORDS }, (_, i) => valueText(i, 100))
const keyBytes = keys.map((key) => Buffer.from(key))
const valueBytes = values.map((value) => Buffer.from(value))
const joined = Buffer.concat(keyBytes.flatMap((key, i) => [key, valueBytes[i]!]))
const headers: HeaderInput[] = [{ key: 'trace', value: '0123456789abcdef' }]
const now = 1_790_000_000_000

const builder = new BatchBuilder(pool, 1 << 20)
function encode(name: string, append: (i: number) => boolean): void {
  const nanoseconds = median(RECORDS, () => {
    builder.release()
    for (let i = 0; i < RECORDS; i++) if (!append(i)) throw new Error('the batch is full')
  })
  report(`encode: ${name}`, nanoseconds, `(${((builder.byteLength - BATCH_OVERHEAD) / RECORDS).toFixed(0)} bytes)`)
}
encode('string key, string value', (i) => builder.append(now + (i >> 4), keys[i]!, values[i]!))
encode('buffer key, buffer value', (i) => builder.append(now + (i >> 4), keyBytes[i]!, valueBytes[i]!))
encode('spans of one buffer', (i) =>
  builder.appendSpan(now + (i >> 4), joined, i * 108, i * 108 + 8, joined, i * 108 + 8, i * 108 + 108),
)
encode('string key, string value, one header', (i) => builder.append(now, keys[i]!, values[i]!, headers))

builder.release()
for (let i = 0; i < RECORDS; i++) builder.append(now + (i >> 4), keyBytes[i]!, valueBytes[i]!)
const batch = Buffer.from(builder.close(closing))
builder.release()

for (const shift of [0, 1]) {
  const frame = Buffer.alloc(batch.length + 8)
  batch.copy(frame, shift)
  const nanoseconds = median(RECORDS, () => {
    sink += crc32c(frame, shift, shift + batch.length)
  })
  report(`crc32c, start ${shift} of a word`, nanoseconds, `(${(batch.length / RECORDS / nanoseconds).toFixed(2)} GB/s)`)
}
const small = median(10_000, () => {
  for (let i = 0; i < 10_000; i++) sink += crc32c(batch, 21, 21 + 150)
})
report('crc32c of 150 bytes', small)

const view = new BatchView().set(batch, 0, batch.length)
const cursor = new RecordCursor()
const iterate = median(RECORDS, () => {
  cursor.reset(view)
  let sum = 0
  while (cursor.next()) sum += cursor.offset + cursor.keyTo + cursor.valueFrom + (cursor.timestamp & 1)
  sink += sum
})
report('iterate: spans', iterate)
report(
  'iterate: key and value as buffers',
  median(RECORDS, () => {
    cursor.reset(view)
    while (cursor.next()) sink += cursor.key()!.length + cursor.value()!.length
  }),
)
report(
  'iterate: key and value as strings',
  median(RECORDS, () => {
    cursor.reset(view)
    while (cursor.next()) {
      sink += cursor.bytes.toString('latin1', cursor.keyFrom, cursor.keyTo).length
      sink += cursor.bytes.toString('utf8', cursor.valueFrom, cursor.valueTo).length
    }
  }),
)
report(
  'murmur2 of 8 bytes',
  median(RECORDS, () => {
    for (let i = 0; i < RECORDS; i++) sink += murmur2(joined, i * 108, i * 108 + 8)
  }),
)
report(
  'fnv1a of 8 bytes',
  median(RECORDS, () => {
    for (let i = 0; i < RECORDS; i++) sink += fnv1a(joined, i * 108, i * 108 + 8)
  }),
)

const codecs: Exclude<CompressionName, 'none'>[] = zstdAvailable
  ? ['gzip', 'snappy', 'lz4', 'zstd']
  : ['gzip', 'snappy', 'lz4']
for (const name of codecs) {
  const codec = codecOf(name)
  let packed = codec.compress(batch, BATCH_OVERHEAD, batch.length)
  const ratio = `(ratio ${((batch.length - BATCH_OVERHEAD) / packed.length).toFixed(2)})`
  const down = median(RECORDS, () => {
    packed = codec.compress(batch, BATCH_OVERHEAD, batch.length)
  })
  report(`${name}: compress, per record`, down, ratio)
  const up = median(RECORDS, () => {
    sink += codec.decompress(packed, 0, packed.length, batch.length).length
  })
  report(`${name}: decompress, per record`, up)
}
if (Number.isNaN(sink)) throw new Error('the work was not done')
