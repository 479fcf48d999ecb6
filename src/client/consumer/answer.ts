/**
 * What a fetch answer does to a cursor: the bytes become a chunk, the error code a decision. Stateless; every partition is
 * judged alone, so a bad one never holds up the others.
 */
import type { fetch } from '../../protocol/api/fetch.ts'
import { kafkaError } from '../../protocol/errors.ts'
import { BATCH_LENGTH_AT, LOG_OVERHEAD, readInt32 } from '../../protocol/record-format.ts'
import { BatchScanner, type BatchView } from '../../protocol/record-view.ts'
import type { ResponseOf } from '../../protocol/schema.ts'
import { Chunk } from './chunk.ts'
import type { Cursor } from './cursor.ts'
import { CorruptRecordsError, OffsetOutOfRangeError, PartitionRefusedError } from './errors.ts'
import type { ConsumerEvent, ResetReason } from './events.ts'
import type { PartitionError } from './errors.ts'

/** One partition of a Fetch response. */
export type PartitionAnswer = ResponseOf<typeof fetch>['responses'][number]['partitions'][number]

/** What is decided elsewhere: reset policy, time, metadata. One object per consumer. */
export interface AnswerPolicy {
  /** The position is gone: reset by `startFrom`, or rest with what `error` makes. */
  positionLost(cursor: Cursor, why: ResetReason, error: () => PartitionError): void
  /** Counts a failed attempt and returns the monotonic time of the next. */
  retryAt(cursor: Cursor): number
  refreshMetadata(why: string): void
  event(event: ConsumerEvent): void
}

/** Applies the answer to a cursor whose fetch it is. Returns whether it brought data. */
export function applyAnswer(cursor: Cursor, answer: PartitionAnswer, now: number, policy: AnswerPolicy): boolean {
  if (answer.errorCode !== 0) {
    applyError(cursor, answer.errorCode, policy)
    return false
  }
  cursor.highWatermark = answer.highWatermark
  cursor.lastStableOffset = answer.lastStableOffset
  cursor.logStartOffset = answer.logStartOffset
  cursor.healthyAt = now
  const bytes = answer.records
  if (bytes === null || bytes.length === 0) {
    cursor.fetched(undefined, undefined)
    return false
  }
  return applyRecords(cursor, bytes, answer, policy)
}

function applyRecords(cursor: Cursor, bytes: Buffer, answer: PartitionAnswer, policy: AnswerPolicy): boolean {
  const from = cursor.fetchOffset
  const batches: BatchView[] = []
  const scanner = new BatchScanner(bytes)
  let failure: PartitionError | undefined
  try {
    for (let batch = scanner.next(); batch !== undefined; batch = scanner.next()) {
      if (batch.nextOffset > from) batches.push(batch)
    }
  } catch (cause) {
    const offset = batches[batches.length - 1]?.nextOffset ?? from
    failure = new CorruptRecordsError({ topic: cursor.topic, partition: cursor.partition, offset }, cause)
  }
  if (batches.length > 0) {
    cursor.fetched(new Chunk(cursor, from, batches, answer.abortedTransactions, bytes.length, answer), failure)
    return true
  }
  if (failure === undefined && !scanner.truncated) {
    // Nothing but batches below the position: a broker that does so once would do so at once again.
    cursor.unanswered(policy.retryAt(cursor))
    return false
  }
  // Not one whole batch: it is larger than was asked for, and another partition came first in the answer.
  if (failure === undefined) cursor.wantsBytes = wholeBatch(bytes, scanner.at)
  cursor.fetched(undefined, failure)
  return false
}

/** Size of the batch that begins at `at` and was cut off. */
function wholeBatch(bytes: Buffer, at: number): number {
  if (bytes.length - at < LOG_OVERHEAD) return LOG_OVERHEAD
  return Math.min(LOG_OVERHEAD + readInt32(bytes, at + BATCH_LENGTH_AT), 0x7fffffff)
}

function applyError(cursor: Cursor, errorCode: number, policy: AnswerPolicy): void {
  const error = kafkaError(errorCode)
  const { topic, partition, fetchOffset: offset } = cursor
  switch (error.name) {
    case 'OFFSET_OUT_OF_RANGE':
      policy.positionLost(cursor, 'out-of-range', () => new OffsetOutOfRangeError({ topic, partition, offset }))
      return
    case 'CORRUPT_MESSAGE':
      cursor.fetched(undefined, new CorruptRecordsError({ topic, partition, offset }, new Error(error.text)))
      return
    case 'TOPIC_AUTHORIZATION_FAILED':
    case 'INVALID_TOPIC_EXCEPTION':
    case 'UNSUPPORTED_COMPRESSION_TYPE':
      cursor.fail(new PartitionRefusedError(error.name, 'serve', { topic, partition, offset }))
      return
    default: {
      // Elections, moves, brokers whose metadata is older or newer than ours, and what newer brokers may invent.
      const retryAt = policy.retryAt(cursor)
      const attempt = cursor.backoff.attempts
      policy.event({ type: 'partition-retry', doing: 'fetch', topic, partition, error: error.name, attempt })
      cursor.unanswered(retryAt)
      policy.refreshMetadata(`${error.name} for a fetch of ${topic}/${partition}`)
    }
  }
}
