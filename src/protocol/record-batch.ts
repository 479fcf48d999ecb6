/**
 * BatchBuilder: one open record batch of one partition, encoded where it will be sent from.
 * Owns   a lease of the buffer pool, from the first record until `release()`. Keys and values are copied once, into it.
 * The batch is open (append) until `close`, which compresses, fills in the header and the checksum. The returned bytes
 * are the builder's: they are valid until `release()`, and `restamp` changes them (not while a request is being sent).
 */
import { assert } from '../base/assert.ts'
import type { BufferPool, Lease } from '../base/buffer-pool.ts'
import { MillraceError } from '../base/errors.ts'
import { type CompressionName, compressionNames } from './compression/codec.ts'
import { codecOf } from './compression/codecs.ts'
import { crc32c } from './hash/crc32c.ts'
import {
  ATTRIBUTES_AT,
  BASE_OFFSET_AT,
  BASE_SEQUENCE_AT,
  BASE_TIMESTAMP_AT,
  BATCH_LENGTH_AT,
  BATCH_OVERHEAD,
  CONTROL,
  COUNT_AT,
  CRC_AT,
  type HeaderInput,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LOG_OVERHEAD,
  MAGIC_AT,
  MAX_EXACT,
  MAX_TIMESTAMP_AT,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  TRANSACTIONAL,
  writeInt16,
  writeInt32,
  writeInt64,
} from './record-format.ts'
import { varintSize, varlongSize, writeVarint, writeVarlong } from './record-varint.ts'

/** How a batch is finished. */
export interface CloseOptions {
  /** Kept only when it makes the batch smaller. */
  readonly compression: CompressionName
  /** −1 (with epoch and sequence −1) when the producer is not idempotent. */
  readonly producerId: number
  /** −1 without a producer id. */
  readonly producerEpoch: number
  /** −1 without a producer id. Sequence number of the first record. */
  readonly baseSequence: number
  /** Whether the records belong to a transaction. Default false. */
  readonly transactional?: boolean
  /** Whether the records are control records; brokers only. Default false. */
  readonly control?: boolean
}

/** Strings up to this many characters are copied by a loop, longer ones by Node. */
const LOOP_CHARACTERS = 24
/** Bytes objects of up to this size are copied by a loop. */
const LOOP_BYTES = 48
/** Spans of up to this size are copied by words; above, making a view of the span costs little beside copying it. */
const WORDS_BYTES = 1024
/** Lengths, offset and timestamp of one record at their longest, and its attributes. */
const MAX_RECORD_OVERHEAD = 5 + 1 + 10 + 5 + 5 + 5 + 5
/** A batch's length is an int32. */
const MAX_RECORD_BYTES = 0x7fffffff - 2 * BATCH_OVERHEAD
const NOTHING = Buffer.alloc(0)
const NO_WORDS: DataView = new DataView(NOTHING.buffer, 0, 0)

/**
 * Upper bound of one record's bytes in a batch, for checks against size limits before anything is encoded. Add
 * BATCH_OVERHEAD for a batch of this record alone. Sizes are bytes; pass 0 for null.
 */
export function encodedRecordBound(keyBytes: number, valueBytes: number, headers?: readonly HeaderInput[]): number {
  return MAX_RECORD_OVERHEAD + keyBytes + valueBytes + (headers === undefined ? 0 : headersSize(headers))
}

function utf8Size(text: string): number {
  return text.length === 0 ? 0 : Buffer.byteLength(text)
}

function sizeOf(value: Uint8Array | string | null): number {
  return value === null ? -1 : typeof value === 'string' ? utf8Size(value) : value.length
}

/** Bytes of all headers without their count. */
function headersSize(headers: readonly HeaderInput[]): number {
  let size = 0
  for (let i = 0; i < headers.length; i++) {
    const header = headers[i]!
    const key = utf8Size(header.key)
    const value = sizeOf(header.value)
    size += varintSize(key) + key + varintSize(value) + Math.max(value, 0)
  }
  return size
}

/** Copies all of `source` to `target` at `at`; returns the end. */
function copyBytes(source: Uint8Array, size: number, target: Buffer, at: number): number {
  if (size > LOOP_BYTES) {
    target.set(source, at)
  } else {
    for (let i = 0; i < size; i++) target[at + i] = source[i]!
  }
  return at + size
}

/** Writes `text`, `size` bytes of UTF-8, at `at`; returns the end. */
function copyText(text: string, size: number, target: Buffer, at: number): number {
  if (size !== text.length) {
    target.write(text, at)
  } else if (size > LOOP_CHARACTERS) {
    target.write(text, at, size, 'latin1')
  } else {
    for (let i = 0; i < size; i++) target[at + i] = text.charCodeAt(i)
  }
  return at + size
}

function copyValue(value: Uint8Array | string, size: number, target: Buffer, at: number): number {
  return typeof value === 'string' ? copyText(value, size, target, at) : copyBytes(value, size, target, at)
}

export class BatchBuilder {
  /** Records so far. */
  count = 0
  /** Bytes of the batch so far, header included, before compression. */
  byteLength = BATCH_OVERHEAD
  /** Largest timestamp so far, milliseconds. */
  maxTimestamp = -1
  readonly #pool: BufferPool
  readonly #maxBytes: number
  readonly #expectedBytes: number
  #lease: Lease | undefined
  #closed: Buffer | undefined
  // Read and written per record.
  #bytes: Buffer = NOTHING
  #baseTimestamp = 0
  #words = NO_WORDS
  // The buffer whose spans were copied last: spans come in runs out of one frame.
  #source: Buffer = NOTHING
  #sourceWords = NO_WORDS

  /**
   * `maxBytes`: what a batch of several records may take before compression, header included. `expectedBytes`: what it
   * will probably take; memory for so much is taken at once, because growing copies what is there.
   */
  constructor(pool: BufferPool, maxBytes: number, expectedBytes = 0) {
    this.#pool = pool
    this.#maxBytes = maxBytes
    this.#expectedBytes = Math.min(expectedBytes, maxBytes)
  }

  /** Bytes leased: what this batch takes of a memory limit. 0 before the first record. */
  get capacity(): number {
    return this.#lease === undefined ? 0 : this.#lease.bytes.length
  }

  /** Timestamp of the first record. */
  get baseTimestamp(): number {
    return this.#baseTimestamp
  }

  /**
   * Encodes one record. False, and nothing changed, when it would push a batch that has records over `maxBytes`.
   * `timestamp`: whole milliseconds, |timestamp| < 2^53. Strings become UTF-8. Throws MillraceError, and nothing changed:
   * `ERR_TIMESTAMP`; `ERR_RECORD_TOO_LARGE` beyond the 2 GiB of the format.
   */
  append(
    timestamp: number,
    key: Uint8Array | string | null,
    value: Uint8Array | string | null,
    headers?: readonly HeaderInput[],
  ): boolean {
    const keySize = sizeOf(key)
    const valueSize = sizeOf(value)
    let at = this.#begin(timestamp, keySize, valueSize, headers)
    if (at < 0) return false
    const bytes = this.#bytes
    if (key !== null) at = copyValue(key, keySize, bytes, at)
    at = writeVarint(bytes, valueSize, at)
    if (value !== null) at = copyValue(value, valueSize, bytes, at)
    this.#end(at, timestamp, headers)
    return true
  }

  /** As `append`, of spans inside larger buffers: copies, allocates nothing. */
  appendSpan(
    timestamp: number,
    key: Buffer | null,
    keyFrom: number,
    keyTo: number,
    value: Buffer | null,
    valueFrom: number,
    valueTo: number,
    headers?: readonly HeaderInput[],
  ): boolean {
    const valueSize = value === null ? -1 : valueTo - valueFrom
    let at = this.#begin(timestamp, key === null ? -1 : keyTo - keyFrom, valueSize, headers)
    if (at < 0) return false
    const bytes = this.#bytes
    if (key !== null) at = this.#copySpan(key, keyFrom, keyTo, at)
    at = writeVarint(bytes, valueSize, at)
    if (value !== null) at = this.#copySpan(value, valueFrom, valueTo, at)
    this.#end(at, timestamp, headers)
    return true
  }

  /** Writes everything before the key; returns where the key begins, or -1 when the record is refused. */
  #begin(timestamp: number, keySize: number, valueSize: number, headers: readonly HeaderInput[] | undefined): number {
    const count = this.count
    if (count === 0) this.#start(timestamp)
    const delta = timestamp - this.#baseTimestamp
    // NaN, fractions and infinities all fail one of these.
    if ((delta | 0) !== delta) checkTimestamp(timestamp, delta)
    let size =
      1 + varlongSize(delta) + varintSize(count) + varintSize(keySize) + varintSize(valueSize) + Math.max(keySize, 0)
    size += Math.max(valueSize, 0)
    size += headers === undefined ? 1 : varintSize(headers.length) + headersSize(headers)
    const at = this.byteLength
    const end = at + varintSize(size) + size
    if (end > this.#maxBytes && count > 0) return -1
    if (end > this.#bytes.length) this.#grow(end)
    const bytes = this.#bytes
    let next = writeVarint(bytes, size, at)
    bytes[next++] = 0
    next = writeVarlong(bytes, delta, next)
    next = writeVarint(bytes, count, next)
    return writeVarint(bytes, keySize, next)
  }

  /** Copies `source[from, to)` to `at`, allocating nothing for the spans of one buffer; returns the end. */
  #copySpan(source: Buffer, from: number, to: number, at: number): number {
    const size = to - from
    const bytes = this.#bytes
    if (size === source.length) return copyBytes(source, size, bytes, at)
    if (size > WORDS_BYTES) {
      bytes.set(source.subarray(from, to), at)
      return at + size
    }
    let read = from
    let write = at
    if (size > LOOP_BYTES) {
      if (this.#source !== source) this.#look(source)
      const words = this.#words
      const sourceWords = this.#sourceWords
      for (const wordsTo = to - 3; read < wordsTo; read += 4, write += 4)
        words.setInt32(write, sourceWords.getInt32(read))
    }
    for (; read < to; read++, write++) bytes[write] = source[read]!
    return at + size
  }

  #look(source: Buffer): void {
    this.#source = source
    this.#sourceWords = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }

  #end(valueEnd: number, timestamp: number, headers: readonly HeaderInput[] | undefined): void {
    const bytes = this.#bytes
    let at = valueEnd
    if (headers === undefined) {
      bytes[at++] = 0
    } else {
      at = writeHeaders(bytes, headers, at)
    }
    this.byteLength = at
    this.count += 1
    if (timestamp > this.maxTimestamp) this.maxTimestamp = timestamp
  }

  #start(timestamp: number): void {
    checkTimestamp(timestamp, 0)
    this.#baseTimestamp = timestamp
    this.maxTimestamp = timestamp
  }

  #grow(need: number): void {
    assert(this.#closed === undefined, 'a closed batch takes no records')
    if (need > MAX_RECORD_BYTES) throw new MillraceError('ERR_RECORD_TOO_LARGE', `a batch cannot take ${need} bytes`)
    const before = this.#lease
    // Past the largest class the pool gives exact sizes: keep doubling, up to what a batch may have.
    const target = before === undefined ? this.#expectedBytes : Math.min(this.#maxBytes, before.bytes.length * 2)
    const wanted = Math.max(need, target)
    const after = this.#pool.lease(wanted)
    if (before !== undefined) {
      before.bytes.copy(after.bytes, 0, 0, this.byteLength)
      before.release()
    }
    this.#lease = after
    this.#bytes = after.bytes
    this.#words = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength)
  }

  /** Finishes the batch and returns its bytes, valid until `release()`. The batch has at least one record. */
  close(options: CloseOptions): Buffer {
    const lease = this.#lease
    assert(lease !== undefined && this.count > 0, 'a batch that closes has records')
    assert(this.#closed === undefined, 'a batch closes once')
    const bytes = lease.bytes
    let attributes = (options.transactional === true ? TRANSACTIONAL : 0) | (options.control === true ? CONTROL : 0)
    let length = this.byteLength
    if (options.compression !== 'none') {
      const packed = codecOf(options.compression).compress(bytes, BATCH_OVERHEAD, length)
      if (packed.length < length - BATCH_OVERHEAD) {
        attributes |= compressionNames.indexOf(options.compression)
        length = BATCH_OVERHEAD + packed.length
        packed.copy(this.#shrink(lease, length), BATCH_OVERHEAD)
      }
    }
    const batch = (this.#lease ?? lease).bytes.subarray(0, length)
    writeInt64(batch, 0, BASE_OFFSET_AT)
    writeInt32(batch, length - LOG_OVERHEAD, BATCH_LENGTH_AT)
    writeInt32(batch, -1, LEADER_EPOCH_AT)
    batch[MAGIC_AT] = 2
    writeInt16(batch, attributes, ATTRIBUTES_AT)
    writeInt32(batch, this.count - 1, LAST_OFFSET_DELTA_AT)
    writeInt64(batch, this.#baseTimestamp, BASE_TIMESTAMP_AT)
    writeInt64(batch, this.maxTimestamp, MAX_TIMESTAMP_AT)
    writeInt32(batch, this.count, COUNT_AT)
    this.#closed = batch
    this.#forget()
    this.restamp(options.producerId, options.producerEpoch, options.baseSequence)
    return batch
  }

  /** A closed batch gets another producer id, epoch and sequence (KIP-360: after its epoch was bumped), and a new checksum. */
  restamp(producerId: number, producerEpoch: number, baseSequence: number): void {
    const batch = this.#closed
    assert(batch !== undefined, 'only a closed batch is stamped')
    writeInt64(batch, producerId, PRODUCER_ID_AT)
    writeInt16(batch, producerEpoch, PRODUCER_EPOCH_AT)
    writeInt32(batch, baseSequence, BASE_SEQUENCE_AT)
    writeInt32(batch, crc32c(batch, ATTRIBUTES_AT, batch.length), CRC_AT)
  }

  /** Gives the memory back; the bytes that `close` returned are invalid. The builder is empty and open again. */
  release(): void {
    this.#lease?.release()
    this.#lease = undefined
    this.#closed = undefined
    this.#forget()
    this.count = 0
    this.byteLength = BATCH_OVERHEAD
    this.maxTimestamp = -1
  }

  /** Nothing is appended any more: keeps no buffer of others alive. */
  #forget(): void {
    this.#bytes = NOTHING
    this.#words = NO_WORDS
    this.#source = NOTHING
    this.#sourceWords = NO_WORDS
  }

  /** Memory for the compressed batch: a smaller lease where the classes have one. */
  #shrink(lease: Lease, length: number): Buffer {
    const after = this.#pool.lease(length)
    if (after.bytes.length >= lease.bytes.length) {
      after.release()
      return lease.bytes
    }
    lease.release()
    this.#lease = after
    return after.bytes
  }
}

function checkTimestamp(timestamp: number, delta: number): void {
  if (Number.isSafeInteger(timestamp) && Math.abs(delta) <= MAX_EXACT) return
  throw new MillraceError(
    'ERR_TIMESTAMP',
    `the timestamp ${timestamp} is not whole milliseconds, or too far from the others of its batch`,
  )
}

function writeHeaders(bytes: Buffer, headers: readonly HeaderInput[], from: number): number {
  let at = writeVarint(bytes, headers.length, from)
  for (let i = 0; i < headers.length; i++) {
    const header = headers[i]!
    const keySize = utf8Size(header.key)
    at = writeVarint(bytes, keySize, at)
    at = copyText(header.key, keySize, bytes, at)
    const valueSize = sizeOf(header.value)
    at = writeVarint(bytes, valueSize, at)
    if (header.value !== null) at = copyValue(header.value, valueSize, bytes, at)
  }
  return at
}
