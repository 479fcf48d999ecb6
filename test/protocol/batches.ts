/**
 * Record batches by the book, for tests: slow, independent of the code under test (BigInt varints, arrays of bytes, a
 * bitwise CRC), and able to write every wrong thing. Also the canonical digest that the Java vectors carry.
 */
import { createHash } from 'node:crypto'
import type { RecordCursor } from '../../src/protocol/record-view.ts'

export interface PlainRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly timestampDelta?: bigint
  readonly offsetDelta?: number
  readonly headers?: readonly (readonly [key: Buffer, value: Buffer | null])[]
  /** In place of what would be right. */
  readonly length?: bigint
  readonly keyLength?: bigint
  readonly valueLength?: bigint
  readonly headerCount?: bigint
  readonly headerKeyLength?: bigint
  readonly headerValueLength?: bigint
}

export interface PlainBatch {
  readonly records?: readonly PlainRecord[]
  /** In place of the records: their bytes. */
  readonly body?: Buffer
  readonly baseOffset?: bigint
  readonly leaderEpoch?: number
  readonly magic?: number
  readonly attributes?: number
  readonly lastOffsetDelta?: number
  readonly baseTimestamp?: bigint
  readonly maxTimestamp?: bigint
  readonly producerId?: bigint
  readonly producerEpoch?: number
  readonly baseSequence?: number
  readonly count?: number
  readonly batchLength?: number
}

export function varint(value: bigint): Buffer {
  let raw = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  while (raw >= 0x80n) {
    bytes.push(Number(raw & 0x7fn) | 0x80)
    raw >>= 7n
  }
  bytes.push(Number(raw))
  return Buffer.from(bytes)
}

function sized(bytes: Buffer | null, length = BigInt(bytes === null ? -1 : bytes.length)): Buffer {
  return Buffer.concat([varint(length), bytes ?? Buffer.alloc(0)])
}

export function encodeRecord(record: PlainRecord, index: number): Buffer {
  const headers = record.headers ?? []
  const fields = Buffer.concat([
    Buffer.from([0]),
    varint(record.timestampDelta ?? 0n),
    varint(BigInt(record.offsetDelta ?? index)),
    sized(record.key, record.keyLength),
    sized(record.value, record.valueLength),
    varint(record.headerCount ?? BigInt(headers.length)),
    ...headers.flatMap(([key, value]) => [sized(key, record.headerKeyLength), sized(value, record.headerValueLength)]),
  ])
  return Buffer.concat([varint(record.length ?? BigInt(fields.length)), fields])
}

export function slowCrc32c(bytes: Buffer): number {
  let crc = -1
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}

export function encodeBatch(batch: PlainBatch): Buffer {
  const records = batch.records ?? []
  const body = batch.body ?? Buffer.concat(records.map(encodeRecord))
  const bytes = Buffer.concat([Buffer.alloc(61), body])
  const lastDelta = batch.lastOffsetDelta ?? Math.max(0, records.length - 1)
  bytes.writeBigInt64BE(batch.baseOffset ?? 0n, 0)
  bytes.writeInt32BE(batch.batchLength ?? bytes.length - 12, 8)
  bytes.writeInt32BE(batch.leaderEpoch ?? -1, 12)
  bytes[16] = batch.magic ?? 2
  bytes.writeInt16BE(batch.attributes ?? 0, 21)
  bytes.writeInt32BE(lastDelta, 23)
  bytes.writeBigInt64BE(batch.baseTimestamp ?? 0n, 27)
  bytes.writeBigInt64BE(batch.maxTimestamp ?? 0n, 35)
  bytes.writeBigInt64BE(batch.producerId ?? -1n, 43)
  bytes.writeInt16BE(batch.producerEpoch ?? -1, 51)
  bytes.writeInt32BE(batch.baseSequence ?? -1, 53)
  bytes.writeInt32BE(batch.count ?? records.length, 57)
  return resealed(bytes)
}

/** The batch with a right checksum. */
export function resealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(slowCrc32c(bytes.subarray(21)), 17)
  return bytes
}

/** A short text of what a cursor is on, for comparisons. */
export function show(cursor: RecordCursor): string {
  const headers = cursor.headers().map((header) => `${header.key}=${header.value?.toString() ?? 'null'}`)
  const text = `${cursor.offset}@${cursor.timestamp} ${cursor.key()?.toString() ?? 'null'}:${cursor.value()?.toString() ?? 'null'}`
  return headers.length === 0 ? text : `${text} ${headers.join(',')}`
}

export function showAll(cursor: RecordCursor): string[] {
  const list: string[] = []
  while (cursor.next()) list.push(show(cursor))
  return list
}

/** SHA-256 over all fields of the remaining records, as test/kafka/java/RecordVectors.java computes it. */
export function digest(cursor: RecordCursor): string {
  const hash = createHash('sha256')
  const put = (bytes: Buffer | null): void => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(bytes === null ? -1 : bytes.length)
    hash.update(length)
    if (bytes !== null) hash.update(bytes)
  }
  while (cursor.next()) {
    const head = Buffer.alloc(16)
    head.writeBigInt64BE(BigInt(cursor.offset), 0)
    head.writeBigInt64BE(cursor.timestampBigInt, 8)
    hash.update(head)
    put(cursor.key())
    put(cursor.value())
    const headers = cursor.headers()
    const count = Buffer.alloc(4)
    count.writeInt32BE(headers.length)
    hash.update(count)
    for (const header of headers) {
      put(Buffer.from(header.key))
      put(header.value)
    }
  }
  return hash.digest('hex')
}
