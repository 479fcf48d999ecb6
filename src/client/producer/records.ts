/** The producer's public shapes: what goes in, what comes back, who is told. */
import type { MillraceError } from '../../base/errors.ts'
import type { HeaderInput } from '../../protocol/record-format.ts'

/** A record to send. Keys and values are copied before the call returns; strings become UTF-8. */
export interface ProducerRecord {
  /** Must exist: topics are not created by sending. */
  readonly topic: string
  /** Default: chosen by the partitioner from the key. */
  readonly partition?: number
  /** Default null. */
  readonly key?: string | Uint8Array | null
  /** null is a tombstone in a compacted topic. */
  readonly value: string | Uint8Array | null
  /** In order; keys may repeat. */
  readonly headers?: readonly HeaderInput[]
  /** Milliseconds since 1970. Default: the time of the call, to a few milliseconds. */
  readonly timestamp?: number
}

/** Where a record ended up. */
export interface SendResult {
  /** As given. */
  readonly topic: string
  /** As given, or as the partitioner chose. */
  readonly partition: number
  /** -1 when the broker did not say: acks `'none'`, or a retry that found the record already there. */
  readonly offset: number
  /** The record's own, or the broker's for a topic with LogAppendTime. */
  readonly timestamp: number
}

/** Where a run of records ended up: `count` records from `baseOffset` on, in the order they were given. */
export interface BatchResult {
  /** As given. */
  readonly topic: string
  /** As given, or as the partitioner chose. */
  readonly partition: number
  /** -1 as in SendResult. */
  readonly baseOffset: number
  /** Records in the run. */
  readonly count: number
}

/**
 * Told what became of records: once per run of records of one observer in one batch, in order within a partition.
 * Called synchronously; it must not throw.
 */
export interface DeliveryObserver {
  /** `baseOffset` -1 as in SendResult; `leaderEpoch` -1 when unknown. */
  delivered(topic: string, partition: number, baseOffset: number, count: number, leaderEpoch: number): void
  /** These records were given up: they are not in the log, or (after a time-out) nobody knows. */
  failed(error: MillraceError, topic: string, partition: number, count: number): void
}
