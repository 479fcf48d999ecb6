/**
 * Topic route: from a topic's name to the queues of its partitions.
 * Owns   the queues of one topic, the sticky partition for null keys, and the records that wait until the topic is known.
 */
import type { MillraceError } from '../../base/errors.ts'
import type { HeaderInput } from '../../protocol/record-format.ts'
import type { TopicView } from '../cluster-view.ts'
import { DeliveryTimeoutError, RecordTooLargeError, UnknownTopicError } from './errors.ts'
import type { FlushBarrier } from './flush.ts'
import type { ProducerHost } from './host.ts'
import { type Outbox, PartitionQueue } from './partition-queue.ts'
import type { DeliveryObserver } from './records.ts'

/** A record that waits for its topic's metadata; its bytes are copies. */
export interface WaitingRecord {
  readonly partition: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly HeaderInput[] | undefined
  readonly observer: DeliveryObserver | undefined
  readonly size: number
  readonly since: number
  readonly barrier: FlushBarrier
}

/** Bytes of null-key records after which another partition has its turn. */
const stickyBytes = 64 * 1024

export class TopicRoute {
  readonly name: string
  /** By partition; empty until the topic is known. */
  readonly queues: PartitionQueue[] = []
  readonly #host: ProducerHost
  readonly #outboxOf: (node: number) => Outbox
  #waiting: WaitingRecord[] = []
  /** Topic id of the latest view. */
  #id: string | undefined
  /** When the cluster first said that the topic does not exist, monotonic milliseconds. */
  #missingSince: number | undefined
  #sticky = -1
  #stickyLeft = 0

  constructor(host: ProducerHost, name: string, outboxOf: (node: number) => Outbox) {
    this.#host = host
    this.name = name
    this.#outboxOf = outboxOf
  }

  /** Records go straight to their queues. */
  get isKnown(): boolean {
    return this.queues.length > 0 && this.#waiting.length === 0
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** The queue of a partition that the caller named. Throws UnknownTopicError. */
  queue(partition: number): PartitionQueue {
    const queue = this.queues[partition]
    if (queue !== undefined) return queue
    this.#host.metadata.refresh(`a record names partition ${partition} of ${this.name}`)
    throw new UnknownTopicError(
      `${this.name} has partitions 0 to ${this.queues.length - 1}, not ${partition}: name one of them, or add partitions to the topic`,
    )
  }

  /** The queue for a record without a key: the same for a while, so that batches fill. */
  stickyQueue(size: number): PartitionQueue {
    const queue = this.queues[this.#sticky]
    if (queue !== undefined && queue.open !== undefined && this.#stickyLeft > 0) {
      this.#stickyLeft -= size
      return queue
    }
    return this.#switchSticky(size)
  }

  /** Keeps a record until the topic is known. */
  wait(record: Omit<WaitingRecord, 'since' | 'barrier'>): void {
    const since = this.#host.scope.scheduler.monotonic()
    this.#host.memory(record.size)
    this.#waiting.push({ ...record, since, barrier: this.#host.barriers.opened() })
    this.#host.wakeAt(this.#deadlineOf(since))
  }

  /** Takes a new view of the topic: queues move to their leaders' sinks. Returns the records that need not wait any more. */
  update(topic: TopicView | undefined): readonly WaitingRecord[] {
    if (topic?.error === 'UNKNOWN_TOPIC_OR_PARTITION') this.#missingSince ??= this.#host.scope.scheduler.monotonic()
    else if (topic !== undefined) this.#missingSince = undefined
    if (topic === undefined || topic.partitions.length === 0) return []
    if (topic.id !== this.#id) this.#becomeAnother(topic)
    for (const { index, leader, leaderEpoch } of topic.partitions) {
      const outbox = this.#outboxOf(leader)
      const queue = this.queues[index]
      if (queue !== undefined) queue.move(outbox, leaderEpoch)
      else {
        const made = new PartitionQueue(this.#host, this.name, index, outbox)
        made.leaderEpoch = leaderEpoch
        this.queues.push(made)
      }
    }
    return this.#takeWaiting(this.#waiting.length)
  }

  /** Fails the waiting records whose time is over. Returns when to look again, Infinity: no need. */
  expire(now: number): number {
    let count = 0
    while (count < this.#waiting.length && this.#deadlineOf(this.#waiting[count]!.since) <= now) count += 1
    if (count > 0) this.failWaiting(this.#lateError(), count)
    return this.#waiting.length === 0 ? Number.POSITIVE_INFINITY : this.#deadlineOf(this.#waiting[0]!.since)
  }

  /** Fails the first `count` waiting records, or all. */
  failWaiting(error: MillraceError, count: number = this.#waiting.length): void {
    for (const { observer, barrier } of this.#takeWaiting(count)) {
      if (observer === undefined) this.#host.unobserved(error, this.name, -1, 1)
      else observer.failed(error, this.name, -1, 1)
      this.#host.barriers.settled(barrier)
    }
  }

  /** The topic was deleted and made anew: its logs know no producer, and it may have fewer partitions. */
  #becomeAnother(topic: TopicView): void {
    this.#id = topic.id
    for (const queue of this.queues) queue.restarted()
    for (const queue of this.queues.splice(topic.partitions.length)) {
      const { partition } = queue
      const last = topic.partitions.length - 1
      queue.failAll(
        new UnknownTopicError(
          `${this.name} was made anew with partitions 0 to ${last}; records for ${partition} have no place`,
        ),
      )
    }
  }

  #takeWaiting(count: number): readonly WaitingRecord[] {
    const taken = this.#waiting.splice(0, count)
    for (const { size } of taken) this.#host.memory(-size)
    return taken
  }

  #switchSticky(size: number): PartitionQueue {
    const { length } = this.queues
    let at = Math.floor(this.#host.scope.random.next() * length)
    // A partition without a leader has to wait; any other will do.
    for (let tries = 0; tries < length && this.queues[at]!.outbox.node < 0; tries++) at = (at + 1) % length
    this.#sticky = at
    this.#stickyLeft = stickyBytes - size
    return this.queues[at]!
  }

  /** A topic that nobody could be asked about waits longer than one that does not exist. */
  #deadlineOf(since: number): number {
    const { missingTopicTimeoutMs, deliveryTimeoutMs } = this.#host.options
    const late = since + deliveryTimeoutMs
    return this.#missingSince === undefined
      ? late
      : Math.min(late, Math.max(since, this.#missingSince) + missingTopicTimeoutMs)
  }

  #lateError(): MillraceError {
    const { missingTopicTimeoutMs, deliveryTimeoutMs } = this.#host.options
    if (this.#missingSince === undefined) {
      return new DeliveryTimeoutError(this.name, -1, deliveryTimeoutMs, 0, false, undefined)
    }
    return new UnknownTopicError(
      `topic ${this.name} does not exist: create it (admin().createTopics, or Kafka's own tools) or check the name; waited missingTopicTimeoutMs ${missingTopicTimeoutMs} for it`,
    )
  }
}

/** The error for a record that no request could carry. */
export function aboveRequest(
  topic: string,
  partition: number,
  size: number,
  maxRequestBytes: number,
): RecordTooLargeError {
  return new RecordTooLargeError(
    topic,
    partition,
    size,
    `maxRequestBytes ${maxRequestBytes}: raise it, or send a smaller record`,
  )
}
