/**
 * Partition: one partition of a topic: its log, its producers, its leader and the history of leader epochs.
 * Owns   all of these. One replica, so the high watermark and the last stable offset are the end of the log.
 */
import { errorCodes } from '../protocol/errors.ts'
import { patchAppendTime, patchBaseOffset, patchLeaderEpoch, validateBatch } from '../protocol/record-check.ts'
import { ATTRIBUTES_AT, BATCH_OVERHEAD, MAGIC_AT, TRANSACTIONAL } from '../protocol/record-format.ts'
import { BatchView, RecordCursor } from '../protocol/record-view.ts'
import { Log, type LogMemory } from './log.ts'
import { ProducerState } from './producer-state.ts'
import type { TopicConfig } from './topic-config.ts'

/** The outcome of appending a batch. */
export interface Appended {
  readonly errorCode: number
  readonly message: string | null
  /** −1 on error. */
  readonly baseOffset: number
  /** The broker's time when it is the records' time, else −1. */
  readonly appendTime: number
  /** The batch had been appended before; nothing was added now. */
  readonly duplicate: boolean
}

export interface EpochEnd {
  /** −1: the log knows nothing of the epoch. */
  readonly epoch: number
  readonly endOffset: number
}

export interface TimedOffset {
  readonly offset: number
  readonly timestamp: number
}

/** What partition and topic share. */
export interface PartitionHome {
  readonly name: string
  readonly config: TopicConfig
}

export interface PartitionLimits {
  readonly maxSegmentBytes: number
  readonly maxProducersPerPartition: number
}

/** The bit of a transactional producer, looked at before anything else, as Kafka does. */
function isTransactional(records: Buffer): boolean {
  return (
    records.length >= BATCH_OVERHEAD &&
    records[MAGIC_AT] === 2 &&
    (records.readInt16BE(ATTRIBUTES_AT) & TRANSACTIONAL) !== 0
  )
}

function refused(errorCode: number, message: string): Appended {
  return { errorCode, message, baseOffset: -1, appendTime: -1, duplicate: false }
}

export class Partition {
  readonly topic: PartitionHome
  readonly index: number
  readonly log: Log
  readonly #limits: PartitionLimits
  #producers: ProducerState
  #leader: number
  #replica: number
  #leaderEpoch = 0
  /** Ascending; the last is the current epoch. */
  readonly #epochs: { readonly epoch: number; readonly startOffset: number }[] = [{ epoch: 0, startOffset: 0 }]
  #deleted = false
  /** Scratch for validating. */
  readonly #view = new BatchView()

  constructor(topic: PartitionHome, index: number, leader: number, memory: LogMemory, limits: PartitionLimits) {
    this.topic = topic
    this.index = index
    this.log = new Log(memory)
    this.#limits = limits
    this.#producers = new ProducerState(limits.maxProducersPerPartition)
    this.#leader = leader
    this.#replica = leader
  }

  /** Node id, or −1 while there is none. */
  get leader(): number {
    return this.#leader
  }

  /** The node that has the only copy: the leader, or the last one. */
  get replica(): number {
    return this.#replica
  }

  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  get deleted(): boolean {
    return this.#deleted
  }

  /** Makes another node (or nobody: −1) the leader, in a new epoch. */
  lead(node: number): void {
    this.#leader = node
    if (node !== -1) this.#replica = node
    this.#leaderEpoch += 1
    this.#epochs.push({ epoch: this.#leaderEpoch, startOffset: this.log.nextOffset })
  }

  delete(): void {
    this.#deleted = true
    this.log.clear()
    this.#producers = new ProducerState(this.#limits.maxProducersPerPartition)
  }

  /** Checks and appends the one batch that `records` must be. `now`: wall clock. */
  append(records: Buffer, now: number, zstdAllowed: boolean): Appended {
    const view = this.#view
    const config = this.topic.config
    if (isTransactional(records)) {
      const why = 'the embedded broker does not support transactions yet'
      return refused(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, why)
    }
    const fault = this.#validate(records, view)
    if (fault !== undefined) return fault
    if (records.length > config.maxMessageBytes) {
      return refused(
        errorCodes.MESSAGE_TOO_LARGE,
        `a batch of ${records.length} bytes; max.message.bytes of ${this.topic.name} is ${config.maxMessageBytes}`,
      )
    }
    if (view.compression === 'zstd' && !zstdAllowed) {
      return refused(errorCodes.UNSUPPORTED_COMPRESSION_TYPE, 'zstd needs Produce version 7 or newer')
    }
    if (!config.logAppendTime) {
      const { timestampAfterMaxMs: ahead, timestampBeforeMaxMs: behind } = config
      if (view.maxTimestamp - now > ahead || (view.baseTimestamp >= 0 && now - view.baseTimestamp > behind)) {
        return refused(
          errorCodes.INVALID_TIMESTAMP,
          `timestamps ${view.baseTimestamp} … ${view.maxTimestamp} are too far from the broker's clock, ${now}`,
        )
      }
    }
    const idempotent = view.producerId >= 0
    if (idempotent) {
      const verdict = this.#producers.check(view.producerId, view.producerEpoch, view.baseSequence, view.count)
      if (verdict.is === 'refused') return refused(verdict.errorCode, verdict.message)
      if (verdict.is === 'duplicate') {
        const appendTime = config.logAppendTime ? verdict.timestamp : -1
        return { errorCode: 0, message: null, baseOffset: verdict.baseOffset, appendTime, duplicate: true }
      }
    }
    const appendTime = config.logAppendTime ? now : -1
    const baseOffset = this.#store(records, view.count, appendTime === -1 ? view.maxTimestamp : now, appendTime, now)
    if (idempotent) {
      this.#producers.record(view.producerId, view.producerEpoch, view.baseSequence, view.count, baseOffset, now)
    }
    return { errorCode: 0, message: null, baseOffset, appendTime, duplicate: false }
  }

  /** Appends a batch that the broker made itself. */
  appendInternal(batch: Buffer, count: number, now: number): number {
    return this.#store(batch, count, now, -1, now)
  }

  #store(batch: Buffer, count: number, maxTimestamp: number, appendTime: number, now: number): number {
    const limits = {
      segmentBytes: Math.min(this.topic.config.segmentBytes, this.#limits.maxSegmentBytes),
      segmentMs: this.topic.config.segmentMs,
    }
    return this.log.append(batch, 0, batch.length, count, maxTimestamp, now, limits, (bytes, at, baseOffset) => {
      patchBaseOffset(bytes, at, baseOffset)
      patchLeaderEpoch(bytes, at, this.#leaderEpoch)
      if (appendTime !== -1) patchAppendTime(bytes, at, appendTime)
    })
  }

  #validate(records: Buffer, view: BatchView): Appended | undefined {
    const fault = validateBatch(records, 0, { requireKeys: this.topic.config.compact }, view)
    if (fault === undefined) return undefined
    // to Kafka a piece of a batch is no batch, and so is one in another format
    const noBatch = fault.reason === 'truncated' || fault.reason === 'magic'
    return refused(noBatch ? errorCodes.INVALID_RECORD : errorCodes[fault.error], fault.text)
  }

  /** Where `epoch`, or the newest one before it, ends (KIP-101, KIP-279). */
  endOfEpoch(epoch: number): EpochEnd {
    const epochs = this.#epochs
    if (epoch > this.#leaderEpoch || epoch < 0) return { epoch: -1, endOffset: -1 }
    if (epoch === this.#leaderEpoch) return { epoch, endOffset: this.log.nextOffset }
    for (let i = epochs.length - 2; i >= 0; i--) {
      if (epochs[i]!.epoch <= epoch) return { epoch: epochs[i]!.epoch, endOffset: epochs[i + 1]!.startOffset }
    }
    return { epoch, endOffset: epochs[0]!.startOffset }
  }

  /** The epoch of the record at `offset`. */
  epochAt(offset: number): number {
    for (let i = this.#epochs.length - 1; i >= 0; i--)
      if (this.#epochs[i]!.startOffset <= offset) return this.#epochs[i]!.epoch
    return -1
  }

  /** The first record at or after `timestamp`, by offset. */
  offsetByTime(timestamp: number): TimedOffset | undefined {
    const batch = this.log.batchByTime(timestamp)
    return batch === undefined ? undefined : firstRecord(batch.bytes, (time) => time >= timestamp)
  }

  /** The first record that has the largest timestamp. */
  offsetOfMaxTime(): TimedOffset | undefined {
    const batch = this.log.batchOfMaxTime()
    if (batch === undefined) return undefined
    const max = new BatchView().set(batch.bytes, 0, batch.bytes.length).maxTimestamp
    return firstRecord(batch.bytes, (time) => time >= max)
  }
}

function firstRecord(bytes: Buffer, fits: (timestamp: number) => boolean): TimedOffset {
  const view = new BatchView().set(bytes, 0, bytes.length)
  try {
    const cursor = new RecordCursor().reset(view)
    while (cursor.next()) if (fits(cursor.timestamp)) return { offset: cursor.offset, timestamp: cursor.timestamp }
  } catch {
    // a codec that this Node lacks: the start of the batch is the nearest that is known
  }
  return { offset: view.baseOffset, timestamp: view.maxTimestamp }
}
