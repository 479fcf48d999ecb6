/**
 * Batch: records of one partition that travel together, and who wants to know what became of them.
 * Owns   the builder with its leased memory, the runs of observers in record order, and the stamp (producer id, epoch,
 * sequence) once it has one. Belongs to a PartitionQueue, from opening to settlement, also while a Sink has it in flight.
 */
import { assert } from '../../base/assert.ts'
import type { MillraceError } from '../../base/errors.ts'
import type { CompressionName } from '../../protocol/compression/codec.ts'
import { BatchBuilder } from '../../protocol/record-batch.ts'
import { BatchScanner } from '../../protocol/record-view.ts'
import { SendPromises, SingleSend } from './delivery.ts'
import type { FlushBarrier } from './flush.ts'
import type { ProducerHost } from './host.ts'
import type { DeliveryObserver, SendResult } from './records.ts'

/** How large batches of a partition become, bytes before compression: the largest of late; slowly forgotten. */
export interface UsualSize {
  bytes: number
}

export class ProducerBatch {
  readonly builder: BatchBuilder
  /** Place in the partition's order. Parts of a split batch share it, in order. */
  readonly ordinal: number
  /** Monotonic milliseconds. */
  readonly openedAt: number
  /** Memory counted for it, bytes. */
  capacity = 0
  /** Tries so far. */
  attempts = 0
  /** The latest reason for another try. */
  lastError: unknown
  /** A try was sent and its outcome is not known: it may be in the log. */
  maybeWritten = false
  /** It has a sequence number (in the producer epoch of its queue). */
  stamped = false
  baseSequence = -1
  /** Leader epoch of the partition when it was last sent, -1 unknown. */
  leaderEpoch = -1
  /** The finished bytes, once it was closed. */
  bytes: Buffer | undefined
  readonly #host: ProducerHost
  readonly #usual: UsualSize
  readonly #barrier: FlushBarrier
  /** Older barriers of records that waited elsewhere first. */
  #olderBarriers: FlushBarrier[] = []
  #sends: SendPromises | undefined
  #observers: (DeliveryObserver | undefined)[] = []
  #counts: number[] = []

  constructor(
    host: ProducerHost,
    maxBytes: number,
    ordinal: number,
    openedAt: number,
    barrier: FlushBarrier,
    usual: UsualSize = { bytes: 0 },
  ) {
    this.#host = host
    this.#barrier = barrier
    this.#usual = usual
    this.builder = new BatchBuilder(host.pool, maxBytes, usual.bytes)
    this.ordinal = ordinal
    this.openedAt = openedAt
  }

  get count(): number {
    return this.builder.count
  }

  /** It takes no more records: what it has tells how large the next one will be. */
  full(): void {
    const { byteLength } = this.builder
    const usual = this.#usual
    // A burst ends with a small batch, and the next burst begins with a large one.
    usual.bytes = Math.max(byteLength, usual.bytes - ((usual.bytes - byteLength) >> 3))
  }

  /** Notes who is told about the record that was just appended. */
  note(observer: DeliveryObserver | undefined): void {
    const last = this.#counts.length - 1
    if (last >= 0 && this.#observers[last] === observer) this.#counts[last]! += 1
    else {
      this.#observers.push(observer)
      this.#counts.push(1)
    }
  }

  /** The record that was just appended belongs to `barrier`, which counts it: from now on the batch stands for it. */
  adopt(barrier: FlushBarrier): void {
    if (barrier === this.#barrier || this.#olderBarriers.includes(barrier)) this.#host.barriers.settled(barrier)
    else this.#olderBarriers.push(barrier)
  }

  /** A promise for the record that was just appended. */
  promise(timestamp: number): Promise<SendResult> {
    this.#sends ??= new SendPromises()
    this.note(this.#sends)
    return this.#sends.add(timestamp)
  }

  /** Counts the memory it has now. Called after each append. */
  account(): void {
    const capacity = this.builder.capacity
    if (capacity === this.capacity) return
    this.#host.memory(capacity - this.capacity)
    this.capacity = capacity
  }

  /** Gives it its place in the partition's sequence, -1s when the producer is not idempotent. Throws what the codec throws. */
  stamp(compression: CompressionName, producerId: number, producerEpoch: number, baseSequence: number): void {
    if (this.bytes === undefined) {
      this.full()
      this.bytes = this.builder.close({ compression, producerId, producerEpoch, baseSequence })
      this.account()
    } else this.builder.restamp(producerId, producerEpoch, baseSequence)
    this.stamped = producerId >= 0
    this.baseSequence = baseSequence
  }

  /** It was written: tells everybody, gives the memory back. */
  delivered(topic: string, partition: number, baseOffset: number, appendTime: number): void {
    const observers = this.#observers
    let offset = baseOffset
    for (let i = 0; i < observers.length; i++) {
      const count = this.#counts[i]!
      const observer = observers[i]
      if (observer !== undefined) {
        if (observer instanceof SendPromises || observer instanceof SingleSend) observer.appendTime = appendTime
        this.#guarded(() => observer.delivered(topic, partition, offset, count, this.leaderEpoch))
      }
      if (offset >= 0) offset += count
    }
    this.#settle(true)
  }

  /** It was given up. `keepMemory`: a socket may still be sending from it, so it is left to the garbage collector. */
  failed(error: MillraceError, topic: string, partition: number, keepMemory = false): void {
    const observers = this.#observers
    for (let i = 0; i < observers.length; i++) {
      const count = this.#counts[i]!
      const observer = observers[i]
      if (observer === undefined) this.#host.unobserved(error, topic, partition, count)
      else this.#guarded(() => observer.failed(error, topic, partition, count))
    }
    this.#settle(!keepMemory)
  }

  /** It never got a record: nobody is told. */
  discard(): void {
    this.#settle(true)
  }

  /** Two batches with its records, observers included, in order. It has at least two records and is closed. */
  split(): [ProducerBatch, ProducerBatch] {
    const { bytes, count } = this
    assert(bytes !== undefined && count > 1, 'only a closed batch of several records is split')
    const half = count >>> 1
    const parts: [ProducerBatch, ProducerBatch] = [this.#part(), this.#part()]
    const cursor = new BatchScanner(bytes).next()!.cursor()
    for (let i = 0; cursor.next(); i++) {
      const { bytes: from, keyFrom, keyTo, valueFrom, valueTo } = cursor
      const headers = cursor.headerCount > 0 ? cursor.headers() : undefined
      const target = i < half ? parts[0] : parts[1]
      const key = keyFrom < 0 ? null : from
      const value = valueFrom < 0 ? null : from
      target.builder.appendSpan(cursor.timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers)
    }
    this.#splitRuns(half, parts)
    for (const part of parts) part.account()
    for (const barrier of [this.#barrier, ...this.#olderBarriers]) this.#host.barriers.split(barrier)
    for (const part of parts) part.#olderBarriers = [...this.#olderBarriers]
    this.#host.memory(-this.capacity)
    this.builder.release()
    return parts
  }

  #part(): ProducerBatch {
    return new ProducerBatch(this.#host, Number.MAX_SAFE_INTEGER, this.ordinal, this.openedAt, this.#barrier)
  }

  #splitRuns(half: number, parts: readonly [ProducerBatch, ProducerBatch]): void {
    let at = 0
    for (let i = 0; i < this.#observers.length; i++) {
      const count = this.#counts[i]!
      const first = Math.max(0, Math.min(count, half - at))
      at += count
      for (const [part, size] of [
        [parts[0], first],
        [parts[1], count - first],
      ] as const) {
        if (size === 0) continue
        const observer = this.#observers[i]
        part.#observers.push(observer instanceof SendPromises ? observer.split(size) : observer)
        part.#counts.push(size)
      }
    }
  }

  /** An observer that throws is a bug of its owner: it is loud, after our own state is in order. */
  #guarded(call: () => void): void {
    try {
      call()
    } catch (cause) {
      this.#host.scope.scheduler.immediate(() => {
        throw cause
      })
    }
  }

  #settle(release: boolean): void {
    this.#host.memory(-this.capacity)
    this.capacity = 0
    if (release) this.builder.release()
    this.bytes = undefined
    for (const barrier of [this.#barrier, ...this.#olderBarriers]) this.#host.barriers.settled(barrier)
  }
}
