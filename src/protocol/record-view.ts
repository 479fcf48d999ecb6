/**
 * Received record batches as views over the received bytes: BatchScanner finds the batches of a span, BatchView knows one
 * batch's header, RecordCursor walks its records without allocating. Nothing is copied but what is compressed; whoever
 * keeps a view keeps its bytes. Bytes are checked as far as they are read: bad ones throw CorruptBatchError.
 */
import {
  CompressionError,
  type CompressionName,
  compressionNames,
  DEFAULT_MAX_DECOMPRESSED_BYTES,
} from './compression/codec.ts'
import { codecOf } from './compression/codecs.ts'
import { crc32c } from './hash/crc32c.ts'
import {
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  BASE_TIMESTAMP_AT,
  BATCH_LENGTH_AT,
  BATCH_OVERHEAD,
  CODEC_MASK,
  CONTROL,
  COUNT_AT,
  CorruptBatchError,
  CRC_AT,
  DELETE_HORIZON,
  type Header,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LOG_APPEND_TIME,
  LOG_OVERHEAD,
  MAGIC_AT,
  MAX_EXACT,
  MAX_TIMESTAMP_AT,
  MIN_RECORD_BYTES,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  readInt16,
  readInt32,
  readInt64,
  saturate,
  TRANSACTIONAL,
} from './record-format.ts'
import { varintEnd, varlongAt, varlongBigIntAt } from './record-varint.ts'

/** Limits of reading a batch. */
export interface CursorLimits {
  /** Largest decompressed size of one batch, bytes. Default 128 MiB. */
  readonly maxDecompressedBytes?: number
}

const NOTHING = Buffer.alloc(0)

/** Walks the batches in `bytes[from, to)`, as a Fetch response or a log segment holds them. */
export class BatchScanner {
  /** Where the next batch begins. */
  at: number
  /** The span ended inside a batch (KIP-74: a response may be cut anywhere); that batch was dropped. */
  truncated = false
  readonly #bytes: Buffer
  readonly #to: number

  constructor(bytes: Buffer, from = 0, to: number = bytes.length) {
    this.#bytes = bytes
    this.at = from
    this.#to = to
  }

  /**
   * The next whole batch, or undefined at the end. With `reuse`, that view is filled and returned. The checksum is not
   * compared: call `checkCrc()`. Throws CorruptBatchError, again on each call: after it nothing more can be found.
   */
  next(reuse?: BatchView): BatchView | undefined {
    const bytes = this.#bytes
    const from = this.at
    const left = this.#to - from
    if (left < LOG_OVERHEAD) {
      this.truncated = left > 0
      return undefined
    }
    const length = readInt32(bytes, from + BATCH_LENGTH_AT)
    if (left > MAGIC_AT && bytes[from + MAGIC_AT] !== 2) {
      const what = `record format ${bytes[from + MAGIC_AT]} (only 2 is supported: Kafka 0.11 and newer)`
      throw new CorruptBatchError('magic', readInt64(bytes, from), from + MAGIC_AT, what)
    }
    if (length < BATCH_OVERHEAD - LOG_OVERHEAD) {
      throw new CorruptBatchError('length', readInt64(bytes, from), from + BATCH_LENGTH_AT, `length ${length}`)
    }
    if (length > left - LOG_OVERHEAD) {
      this.truncated = true
      return undefined
    }
    const to = from + LOG_OVERHEAD + length
    const view = (reuse ?? new BatchView()).set(bytes, from, to)
    this.at = to
    return view
  }
}

/** One batch's header. Fields are copies: they do not follow later changes of the bytes. */
export class BatchView {
  /** The received bytes that the batch is in. */
  bytes: Buffer = NOTHING
  /** The batch is `bytes[from, to)`. */
  from = 0
  /** End of the batch, exclusive. */
  to = 0
  /** Offset of the first record that was in the batch. */
  baseOffset = 0
  /** The batch covers the offsets from baseOffset to lastOffset, though records may be missing after compaction. */
  lastOffset = 0
  /** Where reading goes on after this batch, empty or not. */
  nextOffset = 0
  /** −1 when unknown. */
  leaderEpoch = -1
  /** All attribute bits as they came. */
  attributes = 0
  /** Records that are there; may be 0. */
  count = 0
  /** Reference of the records' timestamp deltas, milliseconds. With `deleteHorizon` it is not a record's time. */
  baseTimestamp = 0
  /** Largest timestamp of the records, or the append time, milliseconds. */
  maxTimestamp = 0
  /** −1 when the producer was not idempotent. */
  producerId = -1
  /** −1 when the producer was not idempotent. */
  producerEpoch = -1
  /** Sequence number of the first record; −1 when the producer was not idempotent. */
  baseSequence = -1

  /** Whether the records are markers of Kafka's own, never shown to users. */
  get isControl(): boolean {
    return (this.attributes & CONTROL) !== 0
  }
  /** Whether the records count only once their transaction is committed. */
  get isTransactional(): boolean {
    return (this.attributes & TRANSACTIONAL) !== 0
  }
  /** Whether the broker's append time, `maxTimestamp`, is the time of every record. */
  get logAppendTime(): boolean {
    return (this.attributes & LOG_APPEND_TIME) !== 0
  }
  /** When the tombstones of this compacted batch may be removed, milliseconds; −1 when not set. */
  get deleteHorizon(): number {
    return (this.attributes & DELETE_HORIZON) !== 0 ? this.baseTimestamp : -1
  }
  /** Codec of the records. */
  get compression(): CompressionName {
    return compressionNames[this.attributes & CODEC_MASK]!
  }
  /** Bytes of the batch as received, header included. */
  get byteLength(): number {
    return this.to - this.from
  }

  /** Reads the header of the batch `bytes[from, to)`. Throws CorruptBatchError for impossible values. */
  set(bytes: Buffer, from: number, to: number): this {
    const baseOffset = readInt64(bytes, from + BASE_OFFSET_AT)
    const lastOffsetDelta = readInt32(bytes, from + LAST_OFFSET_DELTA_AT)
    const attributes = readInt16(bytes, from + ATTRIBUTES_AT)
    const count = readInt32(bytes, from + COUNT_AT)
    if (baseOffset < 0 || lastOffsetDelta < 0 || baseOffset + lastOffsetDelta >= MAX_EXACT) {
      const what = `offsets ${baseOffset} + ${lastOffsetDelta} are outside 0 … 2^53 − 2`
      throw new CorruptBatchError('header', baseOffset, from + BASE_OFFSET_AT, what)
    }
    if (count < 0 || count > lastOffsetDelta + 1) {
      const what = `${count} records in ${lastOffsetDelta + 1} offsets`
      throw new CorruptBatchError('header', baseOffset, from + COUNT_AT, what)
    }
    if ((attributes & CODEC_MASK) >= compressionNames.length) {
      const what = `unknown compression ${attributes & CODEC_MASK}`
      throw new CorruptBatchError('header', baseOffset, from + ATTRIBUTES_AT, what)
    }
    this.bytes = bytes
    this.from = from
    this.to = to
    this.baseOffset = baseOffset
    this.lastOffset = baseOffset + lastOffsetDelta
    this.nextOffset = baseOffset + lastOffsetDelta + 1
    this.leaderEpoch = readInt32(bytes, from + LEADER_EPOCH_AT)
    this.attributes = attributes
    this.count = count
    this.baseTimestamp = saturate(readInt64(bytes, from + BASE_TIMESTAMP_AT))
    this.maxTimestamp = saturate(readInt64(bytes, from + MAX_TIMESTAMP_AT))
    this.producerId = saturate(readInt64(bytes, from + PRODUCER_ID_AT))
    this.producerEpoch = readInt16(bytes, from + PRODUCER_EPOCH_AT)
    this.baseSequence = readInt32(bytes, from + BASE_SEQUENCE_AT)
    return this
  }

  /** Compares the checksum. Throws CorruptBatchError. */
  checkCrc(): void {
    const stored = readInt32(this.bytes, this.from + CRC_AT) >>> 0
    const computed = crc32c(this.bytes, this.from + ATTRIBUTES_AT, this.to)
    if (stored === computed) return
    const what = `checksum ${hex(computed)}, the batch says ${hex(stored)}`
    throw new CorruptBatchError('crc', this.baseOffset, this.from + CRC_AT, what)
  }

  /** A new cursor before the first record; decompresses. Throws CorruptBatchError, UnsupportedCompressionError. */
  cursor(limits?: CursorLimits): RecordCursor {
    return new RecordCursor().reset(this, limits)
  }

  /** What a control batch says: the end of a transaction, or something of Kafka's own; undefined for other batches and emptied ones. */
  controlType(): 'commit' | 'abort' | 'other' | undefined {
    if (!this.isControl) return undefined
    const cursor = this.cursor()
    if (!cursor.next()) return undefined
    if (cursor.keyFrom < 0 || cursor.keyTo - cursor.keyFrom < 4) return 'other'
    const type = readInt16(cursor.bytes, cursor.keyFrom + 2)
    return type === 0 ? 'abort' : type === 1 ? 'commit' : 'other'
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}

/**
 * Walks the records of a batch: after `next()` returned true the fields describe one record, as spans of `bytes`. They
 * change with the next call. One cursor can be used for many batches (`reset`).
 */
export class RecordCursor {
  /** What the spans refer to: the received bytes, or the decompressed records. */
  bytes: Buffer = NOTHING
  /** The record's offset in its partition. */
  offset = 0
  /** Milliseconds; saturates at ±(2^53 − 1), see `timestampBigInt`. */
  timestamp = 0
  /** −1: the key is null. */
  keyFrom = -1
  /** End of the key, exclusive; −1 when it is null. */
  keyTo = -1
  /** −1: the value is null (a tombstone). */
  valueFrom = -1
  /** End of the value, exclusive; −1 when it is null. */
  valueTo = -1
  /** How many headers the record has. */
  headerCount = 0
  // Written by `reset` and `next` only.
  #view: BatchView | undefined
  #at = 0
  #end = 0
  #left = 0
  #baseOffset = 0
  #lastOffset = 0
  #baseTimestamp = 0
  #appendTime = false
  /** Some timestamps of this batch are no exact numbers on the way: compute them as bigints. */
  #wide = false
  #timestampAt = 0
  #headersFrom = 0
  #cut = 0
  #delta = 0

  /** Goes before the first record of `view`; decompresses. Throws CorruptBatchError, UnsupportedCompressionError. */
  reset(view: BatchView, limits?: CursorLimits): this {
    const compression = view.compression
    // If decompressing throws, this cursor is on nothing.
    this.#left = 0
    this.#at = 0
    this.#end = 0
    this.headerCount = 0
    this.#view = view
    if (compression === 'none') {
      this.bytes = view.bytes
      this.#at = view.from + BATCH_OVERHEAD
      this.#end = view.to
    } else {
      this.bytes = view.count === 0 ? NOTHING : decompressed(view, compression, limits)
      this.#end = this.bytes.length
    }
    if (view.count > (this.#end - this.#at) / MIN_RECORD_BYTES) {
      const what = `${view.count} records in ${this.#end - this.#at} bytes`
      throw new CorruptBatchError('header', view.baseOffset, view.from + COUNT_AT, what)
    }
    this.#left = view.count
    this.#baseOffset = view.baseOffset
    this.#lastOffset = view.lastOffset
    this.#appendTime = view.logAppendTime
    this.#baseTimestamp = this.#appendTime ? view.maxTimestamp : view.baseTimestamp
    this.#wide = Math.abs(this.#baseTimestamp) === MAX_EXACT
    this.offset = view.baseOffset - 1
    return this
  }

  /** Moves to the next record; false after the last. Throws CorruptBatchError, again on each further call. */
  next(): boolean {
    if (this.#left === 0) {
      if (this.#at !== this.#end) this.#fail(this.#at, `${this.#end - this.#at} bytes after the last record`)
      return false
    }
    const bytes = this.bytes
    let at = this.#at

    // Reading past the record, even past the buffer, gives nonsense but does no harm: whether every field lay inside is
    // checked once, at the end of the record. Negative lengths are refused at once, so `at` only ever grows.
    let raw = bytes[at++]!
    if (raw >= 0x80) {
      const second = bytes[at++]!
      raw = (raw & 0x7f) | (second << 7)
      if (second >= 0x80) {
        raw = this.#longVarint(at - 2)
        at = this.#cut
      }
    }
    const recordAt = at
    const recordEnd = at + ((raw >>> 1) ^ -(raw & 1))
    if (recordEnd > this.#end || recordEnd < at)
      this.#fail(at, `length ${recordEnd - at}, ${this.#end - at} bytes are left`)

    at += 1 // the record's attributes: Kafka has given them no meaning yet
    this.#timestampAt = at
    raw = bytes[at++]!
    let delta = (raw >>> 1) ^ -(raw & 1)
    if (raw >= 0x80) {
      const second = bytes[at++]!
      raw = (raw & 0x7f) | (second << 7)
      delta = (raw >>> 1) ^ -(raw & 1)
      if (second >= 0x80) {
        at = this.#longVarlong(at - 2, recordEnd)
        delta = this.#delta
      }
    }
    let timestamp = this.#appendTime ? this.#baseTimestamp : this.#baseTimestamp + delta
    if (this.#wide) timestamp = saturate(Number(this.timestampBigInt))
    else if (timestamp > MAX_EXACT || timestamp < -MAX_EXACT) timestamp = saturate(timestamp)

    raw = bytes[at++]!
    if (raw >= 0x80) {
      const second = bytes[at++]!
      raw = (raw & 0x7f) | (second << 7)
      if (second >= 0x80) {
        raw = this.#longVarint(at - 2)
        at = this.#cut
      }
    }
    const offset = this.#baseOffset + ((raw >>> 1) ^ -(raw & 1))
    if (offset <= this.offset || offset > this.#lastOffset)
      this.#fail(recordAt, `offset ${offset} after ${this.offset}`)

    raw = bytes[at++]!
    if (raw >= 0x80) {
      const second = bytes[at++]!
      raw = (raw & 0x7f) | (second << 7)
      if (second >= 0x80) {
        raw = this.#longVarint(at - 2)
        at = this.#cut
      }
    }
    let length = (raw >>> 1) ^ -(raw & 1)
    let keyFrom = -1
    let keyTo = -1
    if (length >= 0) {
      keyFrom = at
      at += length
      keyTo = at
    } else if (length !== -1) {
      this.#fail(recordAt, `key length ${length}`)
    }

    raw = bytes[at++]!
    if (raw >= 0x80) {
      const second = bytes[at++]!
      raw = (raw & 0x7f) | (second << 7)
      if (second >= 0x80) {
        raw = this.#longVarint(at - 2)
        at = this.#cut
      }
    }
    length = (raw >>> 1) ^ -(raw & 1)
    let valueFrom = -1
    let valueTo = -1
    if (length >= 0) {
      valueFrom = at
      at += length
      valueTo = at
    } else if (length !== -1) {
      this.#fail(recordAt, `value length ${length}`)
    }

    const headers = bytes[at++]!
    if (headers === 0) {
      this.headerCount = 0
    } else {
      at = this.#skipHeaders(at - 1, recordEnd)
    }
    if (at !== recordEnd) this.#fail(recordAt, `the fields end at byte ${at}, the record at byte ${recordEnd}`)

    this.#at = at
    this.#left -= 1
    this.offset = offset
    this.timestamp = timestamp
    this.keyFrom = keyFrom
    this.keyTo = keyTo
    this.valueFrom = valueFrom
    this.valueTo = valueTo
    return true
  }

  /** Records that `next()` has not reached yet. */
  get left(): number {
    return this.#left
  }

  /** The record's timestamp in full int64 range. */
  get timestampBigInt(): bigint {
    const view = this.#view
    if (view === undefined) return 0n
    if (this.#appendTime) return view.bytes.readBigInt64BE(view.from + MAX_TIMESTAMP_AT)
    const end = varintEnd(this.bytes, this.#timestampAt, this.#end)
    const delta = varlongBigIntAt(this.bytes, this.#timestampAt, end)
    return BigInt.asIntN(64, view.bytes.readBigInt64BE(view.from + BASE_TIMESTAMP_AT) + delta)
  }

  /** The key's bytes, a view of `bytes`; null as sent. */
  key(): Buffer | null {
    return this.keyFrom < 0 ? null : this.bytes.subarray(this.keyFrom, this.keyTo)
  }

  /** The value's bytes, a view of `bytes`; null is a tombstone. */
  value(): Buffer | null {
    return this.valueFrom < 0 ? null : this.bytes.subarray(this.valueFrom, this.valueTo)
  }

  /** The headers in order, made anew on each call; values are views of `bytes`. */
  headers(): Header[] {
    const bytes = this.bytes
    const headers: Header[] = []
    let at = this.#headersFrom
    for (let i = 0; i < this.headerCount; i++) {
      const keyLength = this.#length(at)
      const keyFrom = this.#cut
      const valueLength = this.#length(keyFrom + keyLength)
      const valueFrom = this.#cut
      at = valueLength < 0 ? valueFrom : valueFrom + valueLength
      headers.push({
        key: bytes.toString('utf8', keyFrom, keyFrom + keyLength),
        value: valueLength < 0 ? null : bytes.subarray(valueFrom, at),
      })
    }
    return headers
  }

  /** Checks the lengths of the headers at `from`; returns their end. */
  #skipHeaders(from: number, recordEnd: number): number {
    const count = this.#length(from)
    let at = this.#cut
    this.#headersFrom = at
    // A header has at least two bytes: a larger count is refused before it is walked.
    if (count < 0 || count > (recordEnd - at) / 2) this.#fail(from, `${count} headers in ${recordEnd - at} bytes`)
    for (let i = 0; i < count; i++) {
      const keyLength = this.#length(at)
      if (keyLength < 0 || keyLength > recordEnd - this.#cut) this.#fail(at, `header key length ${keyLength}`)
      at = this.#cut + keyLength
      const valueLength = this.#length(at)
      if (valueLength < -1 || valueLength > recordEnd - this.#cut) this.#fail(at, `header value length ${valueLength}`)
      at = valueLength < 0 ? this.#cut : this.#cut + valueLength
    }
    this.headerCount = count
    return at
  }

  /** The zigzag varint at `at`; `#cut` is its end. */
  #length(at: number): number {
    const raw = this.#longVarint(at)
    return (raw >>> 1) ^ -(raw & 1)
  }

  /** The varint at `at`, unsigned and not yet zigzag-decoded; `#cut` is its end. */
  #longVarint(at: number): number {
    const end = varintEnd(this.bytes, at, Math.min(this.#end, at + 5))
    if (end < 0) this.#fail(at, 'a varint does not end')
    let raw = 0
    for (let i = end - 1; i >= at; i--) raw = (raw << 7) | (this.bytes[i]! & 0x7f)
    this.#cut = end
    return raw
  }

  /** Decodes the zigzag varlong at `at` to `#delta` (a double that is returned would be allocated); returns its end. */
  #longVarlong(at: number, recordEnd: number): number {
    const end = varintEnd(this.bytes, at, recordEnd)
    if (end < 0) this.#fail(at, 'a varlong does not end')
    this.#delta = varlongAt(this.bytes, at, end)
    if (Math.abs(this.#delta) === MAX_EXACT) this.#wide = true
    return end
  }

  #fail(position: number, what: string): never {
    const view = this.#view
    const index = view === undefined ? 0 : view.count - this.#left
    throw new CorruptBatchError('record', view?.baseOffset ?? -1, position, `record ${index}: ${what}`)
  }
}

function decompressed(view: BatchView, compression: Exclude<CompressionName, 'none'>, limits?: CursorLimits): Buffer {
  const maxBytes = limits?.maxDecompressedBytes ?? DEFAULT_MAX_DECOMPRESSED_BYTES
  try {
    return codecOf(compression).decompress(view.bytes, view.from + BATCH_OVERHEAD, view.to, maxBytes)
  } catch (cause) {
    if (!(cause instanceof CompressionError)) throw cause
    const fault = cause.limitExceeded ? 'limit' : 'compression'
    throw new CorruptBatchError(fault, view.baseOffset, view.from + BATCH_OVERHEAD, cause.message, cause)
  }
}
