/**
 * Partition queue: the records on their way to one partition, in order.
 * Owns   the open batch, the sealed ones, the sequence numbers with their producer epoch, and what comes after a failure.
 * Never  talks to a broker: a Sink takes batches (`next`) and reports what became of them. Metadata's new views move the
 * queue between sinks; it has work in one sink's list at a time.
 *
 * Order and idempotence. Sequences are given when a batch is taken for the first time. When a batch comes back, nothing
 * leaves until all others in flight have come back too; then they go again, in order, with the sequences they had: the
 * broker finds duplicates. The first batch to a leader goes alone (see `next`). A batch that is given up after it had a sequence leaves a gap: batches that already have
 * sequences are tried once more as they are (if the lost one was written after all, they fit), and only when they are
 * settled, or the broker refuses the first of them as out of order, a new producer epoch starts at sequence 0 (KIP-360).
 */
import { Backoff } from '../../base/backoff.ts'
import type { MillraceError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import type { HeaderInput } from '../../protocol/record-format.ts'
import { ProducerBatch, type UsualSize } from './batch.ts'
import { DeliveryTimeoutError, RecordTooLargeError } from './errors.ts'
import type { ProducerHost } from './host.ts'

/** What a queue knows of the sink that serves it. */
export interface Outbox {
  /** Broker id, -1 while the partition has no leader. */
  readonly node: number
  /** The queue has something to send. */
  enlist(queue: PartitionQueue): void
  delist(queue: PartitionQueue): void
  /** A batch is full: it need not wait for the end of the turn. */
  poke(): void
}

const maxSequence = 2 ** 31

export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  /** The batch that takes records. */
  open: ProducerBatch | undefined
  /** Batches handed to the sink and not reported back. */
  inFlight = 0
  /** Leader epoch of the current view. */
  leaderEpoch = -1
  readonly #host: ProducerHost
  readonly #backoff: Backoff
  #outbox: Outbox
  /** Full, flushed or returned batches, by ordinal. */
  #sealed: ProducerBatch[] = []
  #nextOrdinal = 0
  /** A batch came back: nothing leaves while others are in flight. */
  #halted = false
  #retryAt = 0
  #producerId = -1
  #epoch = -1
  #nextSequence = 0
  /** A batch with a sequence was given up. */
  #gap = false
  /** The leader has accepted a batch, so it knows our sequences and refuses what does not follow. */
  #proven = false
  /** Why a new epoch must start before anything leaves. */
  #raise: string | undefined
  readonly #usual: UsualSize = { bytes: 0 }
  /** The option, or less once the topic refused that much. */
  #maxBatchBytes: number

  constructor(host: ProducerHost, topic: string, partition: number, outbox: Outbox) {
    this.#host = host
    this.topic = topic
    this.partition = partition
    this.#outbox = outbox
    this.#maxBatchBytes = host.options.maxBatchBytes
    this.#backoff = new Backoff(host.scope.random, host.retryBackoffMs, host.retryBackoffMaxMs)
  }

  get outbox(): Outbox {
    return this.#outbox
  }

  get hasWork(): boolean {
    return this.#sealed.length > 0 || (this.open !== undefined && this.open.count > 0)
  }

  /** Appends a record. The returned batch has it as its last: the caller notes who is told. */
  add(
    timestamp: number,
    key: Uint8Array | string | null,
    value: Uint8Array | string | null,
    headers: readonly HeaderInput[] | undefined,
  ): ProducerBatch {
    let batch = this.open ?? this.#openBatch()
    if (!batch.builder.append(timestamp, key, value, headers)) {
      this.seal()
      this.#outbox.poke()
      batch = this.#openBatch()
      batch.builder.append(timestamp, key, value, headers)
    }
    batch.account()
    return batch
  }

  /** As `add`, of spans. */
  addSpan(
    timestamp: number,
    key: Buffer | null,
    keyFrom: number,
    keyTo: number,
    value: Buffer | null,
    valueFrom: number,
    valueTo: number,
    headers: readonly HeaderInput[] | undefined,
  ): ProducerBatch {
    let batch = this.open ?? this.#openBatch()
    if (!batch.builder.appendSpan(timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers)) {
      this.seal()
      this.#outbox.poke()
      batch = this.#openBatch()
      batch.builder.appendSpan(timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers)
    }
    batch.account()
    return batch
  }

  /** The open batch takes no more records: it leaves as soon as it can. */
  seal(): void {
    const batch = this.open
    if (batch === undefined) return
    this.open = undefined
    if (batch.count === 0) batch.discard()
    else {
      batch.full()
      this.#sealed.push(batch)
    }
  }

  /** The partition has another leader (or none): its work goes to another sink. */
  move(outbox: Outbox, leaderEpoch: number): void {
    this.leaderEpoch = leaderEpoch
    if (outbox === this.#outbox) return
    this.#outbox.delist(this)
    this.#outbox = outbox
    this.#retryAt = 0
    this.#proven = false
    // What is in flight to the old leader comes back first, or the order is lost.
    if (this.inFlight > 0) this.#halted = true
    if (this.hasWork) outbox.enlist(this)
  }

  /** The partition's log is another one: it knows nothing of this producer. */
  restarted(): void {
    this.#proven = false
  }

  /**
   * Takes the next batch to send, stamped, of at most `room` bytes; undefined when there is none now. `slotFreed`: an
   * answer has just arrived, so an open batch goes even if the partition has others in flight.
   */
  next(now: number, room: number, slotFreed: boolean): ProducerBatch | undefined {
    if (this.#halted) {
      if (this.inFlight > 0) return undefined
      this.#halted = false
    }
    // A broker takes the first batch it sees of a producer at any sequence: were the first refused and the second not,
    // they would change places. So the first goes alone.
    if (!this.#proven && this.inFlight > 0 && this.#host.options.idempotent) return undefined
    if (now < this.#retryAt) {
      this.#host.wakeAt(this.#retryAt)
      return undefined
    }
    // A process that was stopped finds batches here whose time is over: they must not leave any more.
    this.expire(now)
    if (!this.#settleSequence()) return undefined
    for (;;) {
      const batch = this.#sealed[0] ?? this.#ripe(now, slotFreed)
      if (batch === undefined || batch.builder.byteLength > room) return undefined
      if (batch === this.open) this.open = undefined
      else this.#sealed.shift()
      if (!this.#stamp(batch)) continue
      batch.attempts += 1
      batch.leaderEpoch = this.leaderEpoch
      this.inFlight += 1
      return batch
    }
  }

  /** The broker has it. `baseOffset` -1: it did not say where. */
  delivered(batch: ProducerBatch, baseOffset: number, appendTime: number): void {
    this.inFlight -= 1
    this.#proven = true
    this.#backoff.reset()
    batch.delivered(this.topic, this.partition, baseOffset, appendTime)
  }

  /** It was not accepted, or nobody knows: it is sent again, unless its time is over. */
  returned(batch: ProducerBatch, error: MillraceError, maybeWritten: boolean): void {
    this.inFlight -= 1
    batch.maybeWritten ||= maybeWritten
    this.#again(batch, error)
  }

  /** The broker cannot be reached: remembered for the message of a batch whose time runs out. */
  unreachable(error: MillraceError): void {
    const first = this.#sealed[0] ?? this.open
    if (first !== undefined) first.lastError = error
  }

  /** The broker's idea of the sequence differs from ours. */
  outOfSequence(batch: ProducerBatch, error: MillraceError): void {
    this.inFlight -= 1
    if (!batch.stamped) {
      this.#giveUp(batch, error)
      return
    }
    // An earlier batch that still waits explains it: once that one is there, this one fits.
    const explained = this.#sealed.some((other) => other.stamped && other.ordinal < batch.ordinal)
    if (!explained) this.#raise ??= error.code
    batch.maybeWritten = false
    this.#again(batch, error)
  }

  /** The broker refuses it for good. (An earlier try may have been written all the same.) */
  refused(batch: ProducerBatch, error: MillraceError): void {
    this.inFlight -= 1
    this.#giveUp(batch, error)
  }

  /** It is above the topic's limit: in two halves, or given up when it is one record. */
  tooLarge(batch: ProducerBatch, error: MillraceError): void {
    this.inFlight -= 1
    if (batch.count === 1) {
      const limit = "the topic's max.message.bytes: raise it, or send a smaller record"
      this.#giveUp(batch, new RecordTooLargeError(this.topic, this.partition, batch.builder.byteLength, limit, error))
      return
    }
    this.#maxBatchBytes = Math.max(1024, batch.builder.byteLength >>> 1)
    const { stamped, baseSequence } = batch
    const parts = batch.split()
    const { compression } = this.#host.options
    // Together they take the sequences that their batch had, so what follows still fits.
    parts[0].stamp(compression, this.#producerId, this.#epoch, baseSequence)
    const second = stamped ? (baseSequence + parts[0].count) % maxSequence : -1
    parts[1].stamp(compression, this.#producerId, this.#epoch, second)
    for (const part of parts) this.#insert(part)
    this.#halted = true
    this.#enlist()
  }

  /** Gives up what waits here longer than allowed. Returns when to look again, Infinity: no need. */
  expire(now: number): number {
    const { deliveryTimeoutMs } = this.#host.options
    while (this.#sealed.length > 0 && this.#sealed[0]!.openedAt + deliveryTimeoutMs <= now) {
      this.#giveUpLate(this.#sealed.shift()!)
    }
    if (this.#sealed.length === 0 && this.open !== undefined && this.open.openedAt + deliveryTimeoutMs <= now) {
      const late = this.open
      this.open = undefined
      this.#giveUpLate(late)
    }
    const first = this.#sealed[0] ?? this.open
    if (first === undefined || first.count === 0) return Number.POSITIVE_INFINITY
    let next = first.openedAt + deliveryTimeoutMs
    if (this.#retryAt > now) next = Math.min(next, this.#retryAt)
    const lingersUntil = first.openedAt + this.#host.options.lingerMs
    if (lingersUntil > now) next = Math.min(next, lingersUntil)
    return next
  }

  /** Everything that waits here fails; what is in flight belongs to its sink until it is reported. */
  failAll(error: MillraceError): void {
    const batches = this.#sealed
    this.#sealed = []
    if (this.open !== undefined) batches.push(this.open)
    this.open = undefined
    this.#outbox.delist(this)
    for (const batch of batches) batch.failed(error, this.topic, this.partition)
  }

  #openBatch(): ProducerBatch {
    const now = this.#host.scope.scheduler.monotonic()
    const { options, barriers } = this.#host
    const batch = new ProducerBatch(
      this.#host,
      this.#maxBatchBytes,
      this.#nextOrdinal,
      now,
      barriers.opened(),
      this.#usual,
    )
    this.#nextOrdinal += 1
    this.open = batch
    this.#outbox.enlist(this)
    this.#host.work()
    this.#host.wakeAt(now + (options.lingerMs > 0 ? options.lingerMs : options.deliveryTimeoutMs))
    return batch
  }

  /** The open batch, if it may leave now. */
  #ripe(now: number, slotFreed: boolean): ProducerBatch | undefined {
    const batch = this.open
    if (batch === undefined || batch.count === 0) return undefined
    const { lingerMs } = this.#host.options
    if (this.#host.isPressed) return batch
    if (lingerMs > 0) {
      const until = batch.openedAt + lingerMs
      if (now >= until) return batch
      this.#host.wakeAt(until)
      return undefined
    }
    return slotFreed || this.inFlight === 0 ? batch : undefined
  }

  /** Starts a new epoch where that is due. False: not yet possible. */
  #settleSequence(): boolean {
    if (!this.#host.options.idempotent) return true
    const { identity } = this.#host
    if (!identity.isReady) return false
    const why = this.#raise ?? (this.#gap && this.#sealed[0]?.stamped !== true ? 'a batch was given up' : undefined)
    if (why === undefined) return true
    if (this.inFlight > 0) return false
    if (this.#producerId >= 0 && identity.canRaise(this.#producerId, this.#epoch)) this.#epoch += 1
    else if (!identity.isReady) return false
    else this.#adopt()
    this.#nextSequence = 0
    this.#gap = false
    this.#raise = undefined
    for (const batch of this.#sealed) batch.stamped = false
    notify(this.#host.onEvent, {
      type: 'producerEpoch',
      topic: this.topic,
      partition: this.partition,
      producerId: this.#producerId,
      epoch: this.#epoch,
      why,
    })
    return true
  }

  #adopt(): void {
    const { state } = this.#host.identity
    if (state.at !== 'ready') return
    this.#producerId = state.producerId
    this.#epoch = state.epoch
    this.#proven = false
  }

  /** False: the batch could not be closed and was given up. */
  #stamp(batch: ProducerBatch): boolean {
    const { idempotent, compression } = this.#host.options
    if (batch.stamped || (!idempotent && batch.bytes !== undefined)) return true
    if (idempotent && this.#producerId < 0) this.#adopt()
    const sequence = idempotent ? this.#nextSequence : -1
    try {
      batch.stamp(compression, this.#producerId, this.#epoch, sequence)
    } catch (cause) {
      batch.failed(cause as MillraceError, this.topic, this.partition)
      return false
    }
    if (idempotent) this.#nextSequence = (sequence + batch.count) % maxSequence
    return true
  }

  #again(batch: ProducerBatch, error: MillraceError): void {
    batch.lastError = error
    const now = this.#host.scope.scheduler.monotonic()
    this.#halted = true
    if (batch.openedAt + this.#host.options.deliveryTimeoutMs <= now) {
      this.#giveUpLate(batch)
      return
    }
    const { topic, partition } = this
    notify(this.#host.onEvent, { type: 'produceRetry', topic, partition, attempt: batch.attempts, error })
    if (this.#retryAt <= now) {
      this.#retryAt = now + this.#backoff.next()
      this.#host.wakeAt(this.#retryAt)
    }
    this.#insert(batch)
    this.#enlist()
  }

  #giveUpLate(batch: ProducerBatch): void {
    const { deliveryTimeoutMs } = this.#host.options
    const { attempts, maybeWritten, lastError } = batch
    this.#giveUp(
      batch,
      new DeliveryTimeoutError(this.topic, this.partition, deliveryTimeoutMs, attempts, maybeWritten, lastError),
    )
  }

  #giveUp(batch: ProducerBatch, error: MillraceError): void {
    if (batch.stamped) {
      const end = (batch.baseSequence + batch.count) % maxSequence
      if (!batch.maybeWritten && end === this.#nextSequence) this.#nextSequence = batch.baseSequence
      else this.#gap = true
    }
    const { topic, partition } = this
    notify(this.#host.onEvent, { type: 'produceFailed', topic, partition, count: batch.count, error })
    batch.failed(error, topic, partition)
    if (this.hasWork) this.#enlist()
  }

  #enlist(): void {
    this.#outbox.enlist(this)
    this.#host.work()
  }

  /** Back into the order it came from. */
  #insert(batch: ProducerBatch): void {
    let at = this.#sealed.length
    while (at > 0 && this.#sealed[at - 1]!.ordinal > batch.ordinal) at -= 1
    this.#sealed.splice(at, 0, batch)
  }
}
