/** What a consumer throws on purpose. Everything transient is retried inside and only told as an event. */
import { describeError, MillraceError } from '../../base/errors.ts'
import { partitionName } from './partition-map.ts'

/** Base of errors about one partition: the others go on; this one rests until `seek`, `unassign` or a new assignment. */
export class PartitionError extends MillraceError {
  override readonly name: string = 'PartitionError'
  /** Its topic. */
  readonly topic: string
  /** Its partition, from 0 on. */
  readonly partition: number
  /** The position the partition rests at, -1 when it has none. */
  readonly offset: number
  constructor(code: string, message: string, at: PartitionErrorPlace, cause?: unknown) {
    super(code, message, { cause })
    this.topic = at.topic
    this.partition = at.partition
    this.offset = at.offset
  }
}

export interface PartitionErrorPlace {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/**
 * A batch that cannot be read: wrong checksum, impossible lengths, a codec this Node.js lacks. Code `ERR_CORRUPT_RECORDS`.
 * The position stays before the batch; `seek` to `offset` reads it again, `seek` past it skips it.
 */
export class CorruptRecordsError extends PartitionError {
  override readonly name = 'CorruptRecordsError'
  constructor(at: PartitionErrorPlace, cause: unknown) {
    super(
      'ERR_CORRUPT_RECORDS',
      `cannot read the batch at offset ${at.offset} of ${partitionName(at.topic, at.partition)}: ` +
        `${describeError(cause)} (seek to the same offset to read it again, past it to skip it)`,
      at,
      cause,
    )
  }
}

/**
 * The position does not exist in the log any more (or not yet), and `startFrom` is `error`. Code `OFFSET_OUT_OF_RANGE`.
 * Records between `offset` and the log's start may be lost.
 */
export class OffsetOutOfRangeError extends PartitionError {
  override readonly name = 'OffsetOutOfRangeError'
  constructor(at: PartitionErrorPlace) {
    super(
      'OFFSET_OUT_OF_RANGE',
      `offset ${at.offset} of ${partitionName(at.topic, at.partition)} is not in the log (deleted by retention, or the log ` +
        'was truncated): seek to an existing offset, or set startFrom to earliest or latest',
      at,
    )
  }
}

/** The partition has no position, and `startFrom` is `error`. Code `ERR_NO_OFFSET`. */
export class NoOffsetError extends PartitionError {
  override readonly name = 'NoOffsetError'
  constructor(at: PartitionErrorPlace) {
    super(
      'ERR_NO_OFFSET',
      `${partitionName(at.topic, at.partition)} has no committed or given offset and startFrom is 'error': ` +
        'assign it with an offset, seek, or set startFrom to earliest or latest',
      at,
    )
  }
}

/**
 * The log was truncated below the position by an unclean leader election (KIP-320), and `startFrom` is `error`.
 * Code `ERR_LOG_TRUNCATED`. Records read from `divergedAt` on may not exist any more.
 */
export class LogTruncatedError extends PartitionError {
  override readonly name = 'LogTruncatedError'
  /** First offset that differs from what was read, -1 when the broker cannot tell. */
  readonly divergedAt: number
  constructor(at: PartitionErrorPlace, divergedAt: number) {
    super(
      'ERR_LOG_TRUNCATED',
      `the log of ${partitionName(at.topic, at.partition)} was truncated ${divergedAt < 0 ? '' : `at ${divergedAt}, `}below the ` +
        `position ${at.offset}: seek to a valid offset, or set startFrom to earliest or latest`,
      at,
    )
    this.divergedAt = divergedAt
  }
}

/** The topic was deleted and made again: its offsets mean nothing now, and `startFrom` is `error`. Code `ERR_TOPIC_RECREATED`. */
export class TopicRecreatedError extends PartitionError {
  override readonly name = 'TopicRecreatedError'
  constructor(at: PartitionErrorPlace) {
    super(
      'ERR_TOPIC_RECREATED',
      `${at.topic} was deleted and created again: the position ${at.offset} of partition ${at.partition} belongs to the old topic ` +
        '(seek, or set startFrom to earliest or latest)',
      at,
    )
  }
}

/** The broker refuses to serve the partition for good (authorisation, unsupported). Code: Kafka's name of the error. */
export class PartitionRefusedError extends PartitionError {
  override readonly name = 'PartitionRefusedError'
  constructor(kafkaName: string, doing: string, at: PartitionErrorPlace) {
    super(
      kafkaName,
      `the broker refused to ${doing} ${partitionName(at.topic, at.partition)}: ${kafkaName} (after the cause is removed, seek to go on)`,
      at,
    )
  }
}

/** The call does not fit how the consumer is used (no groupId, partition not assigned, …). Code `ERR_CONSUMER_USAGE`. */
export class ConsumerUsageError extends MillraceError {
  override readonly name = 'ConsumerUsageError'
  constructor(message: string) {
    super('ERR_CONSUMER_USAGE', message)
  }
}
