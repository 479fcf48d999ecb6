/**
 * The broker's side of record batches: is a produced batch fit for the log, the fields that the broker sets in place, and
 * the markers it writes itself. Batches are stored as they came; nothing here encodes records again.
 */
import { UnsupportedCompressionError } from './compression/codec.ts'
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
  CorruptBatchError,
  CRC_AT,
  LAST_OFFSET_DELTA_AT,
  LEADER_EPOCH_AT,
  LOG_APPEND_TIME,
  LOG_OVERHEAD,
  MAGIC_AT,
  MAX_TIMESTAMP_AT,
  PRODUCER_EPOCH_AT,
  PRODUCER_ID_AT,
  readInt16,
  readInt32,
  TRANSACTIONAL,
  writeInt16,
  writeInt32,
  writeInt64,
} from './record-format.ts'
import { writeVarint } from './record-varint.ts'
import { BatchView, RecordCursor } from './record-view.ts'

/** Why a broker refuses a batch, and the Kafka error it answers. */
export interface BatchRefusal {
  readonly reason:
    | 'truncated'
    | 'trailing-bytes'
    | 'magic'
    | 'crc'
    | 'control'
    | 'count'
    | 'offsets'
    | 'producer'
    | 'records'
    | 'compression'
    | 'too-large'
  readonly error: 'CORRUPT_MESSAGE' | 'INVALID_RECORD' | 'UNSUPPORTED_FOR_MESSAGE_FORMAT' | 'MESSAGE_TOO_LARGE'
  /** A sentence for the answer's error message. */
  readonly text: string
}

export interface ValidateOptions {
  /** Where the batch ends at the latest. Default: the end of the buffer. */
  readonly to?: number
  /** Whether more batches may follow. Kafka allows one per partition and request. Default false. */
  readonly allowMore?: boolean
  /** Whether the records are walked too (and decompressed). Default true. */
  readonly records?: boolean
  /** Largest decompressed size, bytes. Default 128 MiB. */
  readonly maxDecompressedBytes?: number
  /** Whether the key of each record must be there, as in a compacted topic. Default false. */
  readonly requireKeys?: boolean
}

/**
 * Checks the batch at `bytes[from…]` as a client produced it: whole, magic 2, checksum, no control bit, count equal to the
 * offsets, consistent producer fields, every record inside and numbered 0, 1, 2 …. Records of a codec that this runtime lacks
 * are taken on trust, as they are stored as they came. Returns undefined when it may be
 * appended (its header then in `view`, if given). Never throws for bad input.
 */
export function validateBatch(
  bytes: Buffer,
  from: number,
  options: ValidateOptions = {},
  view: BatchView = new BatchView(),
): BatchRefusal | undefined {
  const left = (options.to ?? bytes.length) - from
  if (left < BATCH_OVERHEAD) return refuse('truncated', 'CORRUPT_MESSAGE', `${left} bytes are no record batch`)
  const magic = bytes[from + MAGIC_AT]!
  if (magic !== 2) {
    return refuse('magic', 'UNSUPPORTED_FOR_MESSAGE_FORMAT', `record format ${magic}; only 2 is taken`)
  }
  const length = readInt32(bytes, from + BATCH_LENGTH_AT)
  if (length < BATCH_OVERHEAD - LOG_OVERHEAD || length > left - LOG_OVERHEAD) {
    return refuse('truncated', 'CORRUPT_MESSAGE', `batch length ${length}, ${left - LOG_OVERHEAD} bytes are there`)
  }
  const to = from + LOG_OVERHEAD + length
  if (length < left - LOG_OVERHEAD && options.allowMore !== true) {
    return refuse('trailing-bytes', 'INVALID_RECORD', 'more than one record batch for one partition')
  }
  try {
    view.set(bytes, from, to)
    view.checkCrc()
    return refusalOfHeader(view) ?? (options.records === false ? undefined : refusalOfRecords(view, options))
  } catch (cause) {
    if (cause instanceof CorruptBatchError) return refusalOf(cause)
    if (cause instanceof UnsupportedCompressionError) return undefined
    throw cause
  }
}

function refuse(reason: BatchRefusal['reason'], error: BatchRefusal['error'], text: string): BatchRefusal {
  return { reason, error, text }
}

function refusalOf(cause: CorruptBatchError): BatchRefusal {
  switch (cause.fault) {
    case 'crc':
      return refuse('crc', 'CORRUPT_MESSAGE', cause.message)
    case 'limit':
      return refuse('too-large', 'MESSAGE_TOO_LARGE', cause.message)
    case 'compression':
      return refuse('compression', 'CORRUPT_MESSAGE', cause.message)
    case 'header':
      return refuse('count', 'INVALID_RECORD', cause.message)
    default:
      return refuse('records', 'INVALID_RECORD', cause.message)
  }
}

function refusalOfHeader(view: BatchView): BatchRefusal | undefined {
  if (view.isControl) return refuse('control', 'INVALID_RECORD', 'clients do not write control batches')
  const offsets = view.lastOffset - view.baseOffset + 1
  if (view.count === 0 || view.count !== offsets) {
    return refuse('count', 'INVALID_RECORD', `${view.count} records for ${offsets} offsets`)
  }
  // Without a producer id the other two fields mean nothing: some clients leave them 0.
  const consistent = view.producerId >= 0 ? view.producerEpoch >= 0 && view.baseSequence >= 0 : !view.isTransactional
  if (consistent) return undefined
  const fields = `producer ${view.producerId}, epoch ${view.producerEpoch}, sequence ${view.baseSequence}`
  return refuse('producer', 'INVALID_RECORD', `${fields} do not go together`)
}

function refusalOfRecords(view: BatchView, options: ValidateOptions): BatchRefusal | undefined {
  const limits =
    options.maxDecompressedBytes === undefined ? {} : { maxDecompressedBytes: options.maxDecompressedBytes }
  const cursor = new RecordCursor().reset(view, limits)
  let expected = view.baseOffset
  while (cursor.next()) {
    if (cursor.offset !== expected) {
      return refuse('offsets', 'INVALID_RECORD', `record ${expected - view.baseOffset} has the wrong offset`)
    }
    if (options.requireKeys === true && cursor.keyFrom < 0) {
      return refuse('records', 'INVALID_RECORD', 'a compacted topic takes no record without a key')
    }
    expected += 1
  }
  return undefined
}

/** Gives a stored batch its place in the log. Outside the checksum. */
export function patchBaseOffset(bytes: Buffer, from: number, baseOffset: number): void {
  writeInt64(bytes, baseOffset, from + BASE_OFFSET_AT)
}

/** Sets the epoch of the leader that appended the batch. Outside the checksum. */
export function patchLeaderEpoch(bytes: Buffer, from: number, leaderEpoch: number): void {
  writeInt32(bytes, leaderEpoch, from + LEADER_EPOCH_AT)
}

/** Makes `timestamp` (milliseconds) the time of all records (`message.timestamp.type=LogAppendTime`); computes the checksum anew. */
export function patchAppendTime(bytes: Buffer, from: number, timestamp: number): void {
  const to = from + LOG_OVERHEAD + readInt32(bytes, from + BATCH_LENGTH_AT)
  writeInt16(bytes, readInt16(bytes, from + ATTRIBUTES_AT) | LOG_APPEND_TIME, from + ATTRIBUTES_AT)
  writeInt64(bytes, timestamp, from + MAX_TIMESTAMP_AT)
  writeInt32(bytes, crc32c(bytes, from + ATTRIBUTES_AT, to), from + CRC_AT)
}

/** The batch that ends a transaction in a partition. */
export interface EndMarker {
  readonly type: 'commit' | 'abort'
  readonly producerId: number
  readonly producerEpoch: number
  readonly coordinatorEpoch: number
  /** Milliseconds. */
  readonly timestamp: number
}

/** Encodes a control batch of one end-of-transaction marker, base offset 0 and leader epoch −1. */
export function encodeEndMarker(marker: EndMarker): Buffer {
  const record = Buffer.alloc(32)
  let at = 0
  record[at++] = 0 // attributes
  record[at++] = 0 // timestamp delta
  record[at++] = 0 // offset delta
  at = writeVarint(record, 4, at)
  writeInt16(record, 0, at)
  writeInt16(record, marker.type === 'commit' ? 1 : 0, at + 2)
  at = writeVarint(record, 6, at + 4)
  writeInt16(record, 0, at)
  writeInt32(record, marker.coordinatorEpoch, at + 2)
  at += 6
  record[at++] = 0 // headers
  const batch = Buffer.alloc(BATCH_OVERHEAD + 1 + at)
  record.copy(batch, writeVarint(batch, at, BATCH_OVERHEAD), 0, at)
  writeInt32(batch, batch.length - LOG_OVERHEAD, BATCH_LENGTH_AT)
  writeInt32(batch, -1, LEADER_EPOCH_AT)
  batch[MAGIC_AT] = 2
  writeInt16(batch, TRANSACTIONAL | CONTROL, ATTRIBUTES_AT)
  writeInt32(batch, 0, LAST_OFFSET_DELTA_AT)
  writeInt64(batch, marker.timestamp, BASE_TIMESTAMP_AT)
  writeInt64(batch, marker.timestamp, MAX_TIMESTAMP_AT)
  writeInt64(batch, marker.producerId, PRODUCER_ID_AT)
  writeInt16(batch, marker.producerEpoch, PRODUCER_EPOCH_AT)
  writeInt32(batch, -1, BASE_SEQUENCE_AT)
  writeInt32(batch, 1, COUNT_AT)
  writeInt32(batch, crc32c(batch, ATTRIBUTES_AT, batch.length), CRC_AT)
  return batch
}
