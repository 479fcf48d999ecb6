/**
 * The layout of a record batch, magic 2, which everything that touches records agrees on; header types and errors.
 *
 *    0 baseOffset int64 · 8 batchLength int32 (bytes after this field) · 12 partitionLeaderEpoch int32 · 16 magic int8
 *   17 crc uint32 (CRC-32C of everything from 21 on)
 *   21 attributes int16 · 23 lastOffsetDelta int32 · 27 baseTimestamp int64 · 35 maxTimestamp int64
 *   43 producerId int64 · 51 producerEpoch int16 · 53 baseSequence int32 · 57 count int32 · 61 records
 *   record = length · attributes int8 · timestampDelta varlong · offsetDelta · key length · key · value length · value
 *            · header count · { key length · key · value length · value }*         (numbers are zigzag varints, −1 = null)
 *
 * The first 21 bytes are outside the checksum: a broker may set baseOffset and leader epoch without computing it again.
 */
import { MillraceError } from '../base/errors.ts'

export const BASE_OFFSET_AT = 0
export const BATCH_LENGTH_AT = 8
export const LEADER_EPOCH_AT = 12
export const MAGIC_AT = 16
export const CRC_AT = 17
export const ATTRIBUTES_AT = 21
export const LAST_OFFSET_DELTA_AT = 23
export const BASE_TIMESTAMP_AT = 27
export const MAX_TIMESTAMP_AT = 35
export const PRODUCER_ID_AT = 43
export const PRODUCER_EPOCH_AT = 51
export const BASE_SEQUENCE_AT = 53
export const COUNT_AT = 57
/** Bytes of a batch before its records. */
export const BATCH_OVERHEAD = 61
/** Bytes up to and including batchLength, which batchLength does not count. */
export const LOG_OVERHEAD = 12
/** A record without key, value and headers: seven fields of one byte. */
export const MIN_RECORD_BYTES = 7

export const CODEC_MASK = 7
export const LOG_APPEND_TIME = 1 << 3
export const TRANSACTIONAL = 1 << 4
export const CONTROL = 1 << 5
/** The baseTimestamp field holds the time at which tombstones may go; record timestamps are still relative to it. */
export const DELETE_HORIZON = 1 << 6

/** Largest and smallest int64 as far as a number is exact; timestamps beyond saturate here. */
export const MAX_EXACT = Number.MAX_SAFE_INTEGER

/** A record header as read. Headers are an ordered list; a key may occur more than once. */
export interface Header {
  /** May be empty, and may occur again. Invalid UTF-8 becomes U+FFFD. */
  readonly key: string
  /** A view of the received bytes. */
  readonly value: Buffer | null
}

/** A record header as written. Strings are UTF-8. */
export interface HeaderInput {
  /** May be empty, and may occur again. */
  readonly key: string
  /** Copied when the record is appended. */
  readonly value: string | Uint8Array | null
}

/** What is wrong with a batch. */
export type BatchFault =
  /** batchLength is impossible */
  | 'length'
  /** not magic 2 */
  | 'magic'
  /** the checksum differs */
  | 'crc'
  /** a field of the batch header is impossible (offset beyond 2^53 − 1, count, codec) */
  | 'header'
  /** a record does not fit the batch, or its fields do not fit the record */
  | 'record'
  /** the records cannot be decompressed */
  | 'compression'
  /** the records would decompress to more than the limit */
  | 'limit'

/** A record batch that cannot be read. Code `ERR_CORRUPT_BATCH`. Not retriable: the same bytes stay wrong. */
export class CorruptBatchError extends MillraceError {
  override readonly name = 'CorruptBatchError'
  /** What kind of fault it is; the message has the details. */
  readonly fault: BatchFault
  /** First offset of the batch, as far as its header could be read. */
  readonly baseOffset: number
  /** Where the fault is: index in the received bytes; for compressed records, in the decompressed ones. */
  readonly position: number
  constructor(fault: BatchFault, baseOffset: number, position: number, what: string, cause?: unknown) {
    super('ERR_CORRUPT_BATCH', `corrupt record batch at offset ${baseOffset}: ${what} (byte ${position})`, { cause })
    this.fault = fault
    this.baseOffset = baseOffset
    this.position = position
  }
}

/** int32 at `at`, which lies inside. */
export function readInt32(bytes: Buffer, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}

/** int16 at `at`, which lies inside. */
export function readInt16(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!
}

/** int64 at `at`, rounded when it is beyond ±(2^53 − 1). */
export function readInt64(bytes: Buffer, at: number): number {
  return readInt32(bytes, at) * 0x100000000 + (readInt32(bytes, at + 4) >>> 0)
}

/** `value` limited to the range in which numbers are exact. */
export function saturate(value: number): number {
  return Math.max(-MAX_EXACT, Math.min(MAX_EXACT, value))
}

export function writeInt32(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

export function writeInt16(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

/** Writes an exact integer (|value| < 2^53) as int64. */
export function writeInt64(bytes: Buffer, value: number, at: number): void {
  writeInt32(bytes, Math.floor(value / 0x100000000), at)
  writeInt32(bytes, value >>> 0, at + 4)
}
