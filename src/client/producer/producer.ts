/**
 * Producer: takes records, finds their queues, and sees to it that everything is sent, retried or given up in time.
 * Owns   the topic routes, the sinks, the memory count and one timer. Batches and their order belong to PartitionQueue,
 * requests to Sink. Follows Metadata: a new view moves all queues to their new leaders in one synchronous turn.
 * The way of a record: `send` → TopicRoute → PartitionQueue.add (encoded in place) → end of the turn → Sink.drain.
 */
import { BufferPool } from '../../base/buffer-pool.ts'
import { type Deferred, deferred } from '../../base/deferred.ts'
import { ClosedError, MillraceError, TimeoutError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import type { Scope, TimerHandle } from '../../base/scope.ts'
import { BrokerError, errorCodes } from '../../protocol/errors.ts'
import { encodedRecordBound } from '../../protocol/record-batch.ts'
import type { HeaderInput } from '../../protocol/record-format.ts'
import type { BrokerLinks } from '../broker-link.ts'
import type { ClusterView } from '../cluster-view.ts'
import type { ClientEvent } from '../events.ts'
import type { Metadata } from '../metadata.ts'
import { BatchSend, SingleSend } from './delivery.ts'
import { RecordError } from './errors.ts'
import { FlushBarriers } from './flush.ts'
import type { ProducerHost } from './host.ts'
import { ProducerIdentity } from './identity.ts'
import { type ProducerOptions, type ResolvedProducerOptions, resolveProducerOptions } from './options.ts'
import type { PartitionQueue } from './partition-queue.ts'
import { partitionerOf, type SpanPartitioner, writeKey } from './partitioner.ts'
import type { BatchResult, DeliveryObserver, ProducerRecord, SendResult } from './records.ts'
import { Sink } from './sink.ts'
import { aboveRequest, TopicRoute } from './topic-route.ts'

/** What a producer needs of its client. */
export interface ProducerContext {
  readonly links: BrokerLinks
  readonly metadata: Metadata
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  /** Called once when the producer needs nothing of its client any more. */
  readonly onClosed: (producer: Producer) => void
}

type ProducerState =
  | { readonly at: 'open' }
  | { readonly at: 'closing' }
  | { readonly at: 'over'; readonly error: MillraceError }

/** The clock is read once in so many records of a turn. */
const clockStride = 64
/** String keys are hashed here. */
const scratchBytes = 1024

/**
 * Sends records to topics. Made by `client.producer()`. Records of one partition are delivered in the order of the calls.
 * Methods throw (or reject with) ClosedError after `close()` and FatalProducerError once the producer is over (errors.ts).
 */
export class Producer implements AsyncDisposable {
  readonly #host: ProducerHost
  readonly #options: ResolvedProducerOptions
  readonly #scope: Scope
  readonly #metadata: Metadata
  readonly #links: BrokerLinks
  readonly #identity: ProducerIdentity
  readonly #barriers = new FlushBarriers()
  readonly #partitioner: SpanPartitioner
  readonly #routes = new Map<string, TopicRoute>()
  readonly #sinks = new Map<number, Sink>()
  readonly #unfollow: () => void
  readonly #onClosed: (producer: Producer) => void
  readonly #scratch = Buffer.allocUnsafeSlow(scratchBytes)
  readonly #smallRecord: number
  #state: ProducerState = { at: 'open' }
  #lastRoute: TopicRoute | undefined
  #bufferedBytes = 0
  #readyWaiters: Deferred[] = []
  #flushing = 0
  #unobservedFailure: MillraceError | undefined
  #turn = false
  #now = 0
  #nowUses = 0
  #timer: TimerHandle | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #closing: Promise<void> | undefined

  /** Use `client.producer()`. Throws OptionError. */
  constructor(context: ProducerContext, options: ProducerOptions | undefined) {
    const { links, metadata, retryBackoffMs, retryBackoffMaxMs, onClosed } = context
    this.#onClosed = onClosed
    this.#options = resolveProducerOptions(options)
    this.#scope = links.scope
    this.#links = links
    this.#metadata = metadata
    this.#partitioner = partitionerOf(this.#options.partitioner)
    this.#smallRecord = this.#options.maxRequestBytes >>> 2
    this.#identity = new ProducerIdentity(
      links,
      { retryBackoffMs, retryBackoffMaxMs },
      () => this.#drainAll(false),
      (error) => this.#end(error),
    )
    this.#host = this.#makeHost(retryBackoffMs, retryBackoffMaxMs)
    this.#unfollow = metadata.onChange((view) => this.#follow(view))
  }

  /** Memory of records that are not settled yet, bytes (whole buffers are counted). */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /**
   * Sends one record; resolves when it is delivered. All that is sent in one turn of the event loop travels together, so
   * many concurrent calls are as cheap as a batch. Rejects with the errors of errors.ts. Does not wait for memory: await
   * earlier sends, or `ready()`, to bound it.
   */
  send(record: ProducerRecord): Promise<SendResult> {
    try {
      const route = this.#route(record.topic)
      const timestamp = record.timestamp ?? this.#time()
      if (!route.isKnown) {
        const single = new SingleSend(timestamp)
        this.#wait(route, record, timestamp, single)
        return single.promise
      }
      return this.#add(route, record, timestamp).promise(timestamp)
    } catch (cause) {
      return Promise.reject(cause)
    }
  }

  /**
   * Sends records; resolves when all are delivered, with one entry per batch they became part of. Rejects with the first
   * failure once all are settled: the others may have been delivered. A record that makes no sense rejects at once, and
   * those before it are sent all the same.
   */
  sendBatch(records: readonly ProducerRecord[]): Promise<readonly BatchResult[]> {
    const call = new BatchSend(records.length)
    let at = 0
    try {
      for (; at < records.length; at++) this.#give(records[at]!, call)
    } catch (cause) {
      const error = cause instanceof MillraceError ? cause : new RecordError(String(cause))
      call.failed(error, records[at]?.topic ?? '', -1, records.length - at)
    }
    return call.promise
  }

  /**
   * Takes one record without a promise. False: the buffer is above `maxBufferedBytes`; the record was taken, but wait for
   * `ready()` before the next. Failures go to `onDeliveryError`, to the client's observer, and reject the next `flush()`.
   * Throws RecordError for a record that makes no sense.
   */
  enqueue(record: ProducerRecord): boolean {
    this.#give(record, undefined)
    return this.#bufferedBytes <= this.#options.maxBufferedBytes
  }

  /**
   * Takes one record given as spans `[from, to)`, copied during the call; nothing is allocated for it. `key` or `value`
   * null is a null. `partition` -1: chosen by the partitioner. `observer` is told per batch; undefined is as `enqueue`.
   * Returns as `enqueue`.
   */
  append(
    topic: string,
    partition: number,
    timestamp: number,
    key: Buffer | null,
    keyFrom: number,
    keyTo: number,
    value: Buffer | null,
    valueFrom: number,
    valueTo: number,
    headers: readonly HeaderInput[] | undefined,
    observer: DeliveryObserver | undefined,
  ): boolean {
    const route = this.#route(topic)
    if (headers !== undefined) checkHeaders(headers, topic)
    if (route.isKnown) {
      const size = keyTo - keyFrom + valueTo - valueFrom
      if (size > this.#smallRecord) this.#checkSize(topic, partition, keyTo - keyFrom, valueTo - valueFrom, headers)
      let queue: PartitionQueue
      if (partition >= 0) queue = route.queue(partition)
      else if (key === null) queue = route.stickyQueue(size)
      else queue = route.queues[this.#partitioner(key, keyFrom, keyTo, route.queues.length, topic)]!
      const batch = queue.addSpan(timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers)
      batch.note(observer)
    } else {
      this.#time()
      const record = {
        topic,
        partition,
        key: key === null ? null : key.subarray(keyFrom, keyTo),
        value: value === null ? null : value.subarray(valueFrom, valueTo),
        ...(headers === undefined ? undefined : { headers }),
      }
      this.#wait(route, record, timestamp, observer)
    }
    return this.#bufferedBytes <= this.#options.maxBufferedBytes
  }

  /** Resolves when the buffer is at or below `maxBufferedBytes`. Rejects when the producer is over. */
  ready(): Promise<void> {
    if (this.#state.at === 'over') return Promise.reject(this.#state.error)
    if (this.#bufferedBytes <= this.#options.maxBufferedBytes) return Promise.resolve()
    const waiter = deferred()
    this.#readyWaiters.push(waiter)
    this.#drainAll(false)
    return waiter.promise
  }

  /**
   * Resolves when everything given before the call is settled. Rejects with the first failure, since the last flush, of a
   * record given to `enqueue` (or to `append` without observer). Nothing lingers meanwhile.
   */
  async flush(): Promise<void> {
    this.#flushing += 1
    try {
      for (const route of this.#routes.values()) for (const queue of route.queues) queue.seal()
      const settled = this.#barriers.cut()
      this.#drainAll(false)
      await settled
    } finally {
      this.#flushing -= 1
    }
    const failure = this.#unobservedFailure
    this.#unobservedFailure = undefined
    if (failure !== undefined) throw failure
  }

  /**
   * Flushes, then gives back everything. What is not settled after `timeoutMs` (default 30 000) fails with ClosedError.
   * Never rejects; failures are told where they always are. Later calls return the same promise.
   */
  close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.timeoutMs ?? 30_000)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- the way in

  #route(topic: string): TopicRoute {
    if (this.#state.at !== 'open') throw this.#refusal()
    const last = this.#lastRoute
    if (last !== undefined && last.name === topic) return last
    const route = this.#routes.get(topic) ?? this.#newRoute(topic)
    this.#lastRoute = route
    return route
  }

  #newRoute(topic: string): TopicRoute {
    if (typeof topic !== 'string' || topic === '') throw new RecordError('a record needs the name of a topic')
    const route = new TopicRoute(this.#host, topic, (node) => this.#sink(node))
    this.#routes.set(topic, route)
    this.#metadata.track(topic)
    this.#metadata.require([topic]).then(
      (view) => this.#updateRoute(route, view),
      (cause: unknown) => {
        route.failWaiting(cause instanceof MillraceError ? cause : new ClosedError('the producer', cause))
        this.#metadata.untrack(topic)
        this.#routes.delete(topic)
        if (this.#lastRoute === route) this.#lastRoute = undefined
      },
    )
    return route
  }

  #give(record: ProducerRecord, observer: DeliveryObserver | undefined): void {
    const route = this.#route(record.topic)
    const timestamp = record.timestamp ?? this.#time()
    if (route.isKnown) this.#add(route, record, timestamp).note(observer)
    else this.#wait(route, record, timestamp, observer)
  }

  /** Encodes the record into its partition's open batch. The caller says who is told. */
  #add(route: TopicRoute, record: ProducerRecord, timestamp: number) {
    const { value, headers } = record
    const key = record.key ?? null
    checkBytes(value, 'value', route.name)
    if (headers !== undefined) checkHeaders(headers, route.name)
    const size = (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
    if (size > this.#smallRecord) this.#checkRecordSize(record)
    return this.#queueOf(route, record.partition ?? -1, key, size).add(timestamp, key, value, headers)
  }

  #queueOf(route: TopicRoute, partition: number, key: string | Uint8Array | null, size: number): PartitionQueue {
    if (partition >= 0) return route.queue(partition)
    if (key === null) return route.stickyQueue(size)
    const { queues, name } = route
    if (typeof key !== 'string') {
      checkBytes(key, 'key', name)
      return queues[this.#partitioner(key, 0, key.length, queues.length, name)]!
    }
    const length = writeKey(key, this.#scratch)
    if (length >= 0) return queues[this.#partitioner(this.#scratch, 0, length, queues.length, name)]!
    const bytes = Buffer.from(key)
    return queues[this.#partitioner(bytes, 0, bytes.length, queues.length, name)]!
  }

  #wait(route: TopicRoute, record: ProducerRecord, timestamp: number, observer: DeliveryObserver | undefined): void {
    checkBytes(record.value, 'value', route.name)
    checkBytes(record.key ?? null, 'key', route.name)
    if (record.headers !== undefined) checkHeaders(record.headers, route.name)
    const key = copyOf(record.key ?? null)
    const value = copyOf(record.value)
    const size = encodedRecordBound(key?.length ?? 0, value?.length ?? 0, record.headers)
    if (size > this.#smallRecord) this.#checkRecordSize(record)
    if (!route.isWaiting) this.#metadata.refresh(`records wait for topic ${route.name}`)
    route.wait({ partition: record.partition ?? -1, timestamp, key, value, headers: record.headers, observer, size })
  }

  #checkRecordSize(record: ProducerRecord): void {
    this.#checkSize(
      record.topic,
      record.partition ?? -1,
      byteLength(record.key ?? null),
      byteLength(record.value),
      record.headers,
    )
  }

  #checkSize(
    topic: string,
    partition: number,
    key: number,
    value: number,
    headers: readonly HeaderInput[] | undefined,
  ): void {
    const { maxRequestBytes } = this.#options
    const size = encodedRecordBound(key, value, headers)
    if (size > maxRequestBytes) throw aboveRequest(topic, partition, size, maxRequestBytes)
  }

  /** The wall clock, as of a few records ago. */
  #time(): number {
    if (this.#nowUses === 0) this.#work()
    if (this.#nowUses++ % clockStride === 0) this.#now = this.#scope.scheduler.now()
    return this.#now
  }

  // ---- the way out

  #makeHost(retryBackoffMs: number, retryBackoffMaxMs: number): ProducerHost {
    const producer = this
    return {
      scope: this.#scope,
      options: this.#options,
      retryBackoffMs,
      retryBackoffMaxMs,
      pool: new BufferPool({ maxFreeBytes: this.#options.maxBufferedBytes }),
      barriers: this.#barriers,
      identity: this.#identity,
      metadata: this.#metadata,
      get isPressed() {
        return producer.#flushing > 0 || producer.#readyWaiters.length > 0
      },
      onEvent: (event: ClientEvent) => notify(this.#links.context.onEvent, event),
      memory: (bytes) => this.#memory(bytes),
      work: () => this.#work(),
      wakeAt: (time) => this.#wakeAt(time),
      unobserved: (error, topic, partition, count) => {
        this.#unobservedFailure ??= error
        notify(() => this.#options.onDeliveryError(error, topic, partition, count), undefined)
      },
      fatal: (error) => this.#end(error),
    }
  }

  #sink(node: number): Sink {
    let sink = this.#sinks.get(node)
    if (sink === undefined) {
      sink = new Sink(this.#host, this.#links, node)
      this.#sinks.set(node, sink)
    }
    return sink
  }

  /** Once a turn, after all of its sends: whatever may leave, leaves. */
  #work(): void {
    if (this.#turn) return
    this.#turn = true
    this.#scope.scheduler.immediate(() => {
      this.#turn = false
      this.#nowUses = 0
      this.#drainAll(false)
    })
  }

  #drainAll(slotFreed: boolean): void {
    if (this.#state.at === 'over') return
    for (const sink of this.#sinks.values()) sink.drain(slotFreed)
  }

  #memory(bytes: number): void {
    this.#bufferedBytes += bytes
    if (bytes > 0 || this.#readyWaiters.length === 0 || this.#bufferedBytes > this.#options.maxBufferedBytes) return
    const waiters = this.#readyWaiters
    this.#readyWaiters = []
    for (const waiter of waiters) waiter.resolve()
  }

  #wakeAt(time: number): void {
    if (time >= this.#timerAt || this.#state.at === 'over') return
    const { scheduler } = this.#scope
    if (this.#timer !== undefined) scheduler.clearTimer(this.#timer)
    this.#timerAt = time
    this.#timer = scheduler.setTimer(Math.max(0, time - scheduler.monotonic()), () => this.#onTimer())
  }

  #onTimer(): void {
    this.#timer = undefined
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#scope.scheduler.monotonic()
    let next = Number.POSITIVE_INFINITY
    for (const route of this.#routes.values()) {
      next = Math.min(next, route.expire(now))
      if (route.isWaiting) this.#metadata.refresh(`records wait for topic ${route.name}`)
      for (const queue of route.queues) next = Math.min(next, queue.expire(now))
    }
    const orphans = this.#sinks.get(-1)?.queues
    if (orphans !== undefined && orphans.size > 0) this.#metadata.refresh('records wait for a leader')
    this.#drainAll(false)
    if (next < Number.POSITIVE_INFINITY) this.#wakeAt(Math.max(next, now + 1))
  }

  /** A new view: everything moves at once, then what can leave leaves. */
  #follow(view: ClusterView): void {
    if (this.#state.at === 'over') return
    for (const route of this.#routes.values()) this.#updateRoute(route, view)
    this.#drainAll(false)
  }

  #updateRoute(route: TopicRoute, view: ClusterView): void {
    const topic = view.topic(route.name)
    for (const record of route.update(topic)) {
      const { partition, timestamp, key, value, headers, observer, barrier } = record
      try {
        const size = (key?.length ?? 0) + (value?.length ?? 0)
        const queue = this.#queueOf(route, partition, key, size)
        const batch = queue.add(timestamp, key, value, headers)
        batch.note(observer)
        batch.adopt(barrier)
      } catch (cause) {
        const error = cause instanceof MillraceError ? cause : new RecordError(String(cause))
        if (observer === undefined) this.#host.unobserved(error, route.name, partition, 1)
        else observer.failed(error, route.name, partition, 1)
        this.#barriers.settled(barrier)
      }
    }
    const error = topic?.error
    if (error === undefined) {
      if (topic?.partitions.some((partition) => partition.leader < 0) === true) this.#lookAgain(route)
      return
    }
    if (route.isWaiting) {
      notify(this.#links.context.onEvent, { type: 'topicMissing', topic: route.name, error })
      const refusal = new BrokerError(errorCodes[error], `topic ${route.name}`)
      if (!refusal.retriable) route.failWaiting(refusal)
    }
    this.#lookAgain(route)
  }

  /** Not all is known about a topic that has records: the cluster is asked again soon. */
  #lookAgain(route: TopicRoute): void {
    if (!route.isWaiting && !route.queues.some((queue) => queue.hasWork && queue.outbox.node < 0)) return
    this.#wakeAt(this.#scope.scheduler.monotonic() + this.#host.retryBackoffMs * 4)
  }

  // ---- the end

  #refusal(): MillraceError {
    return this.#state.at === 'over' ? this.#state.error : new ClosedError('the producer')
  }

  /** Everything that is not settled fails with `error`. */
  #end(error: MillraceError): void {
    if (this.#state.at === 'over') return
    this.#state = { at: 'over', error }
    this.#unfollow()
    this.#identity.close()
    if (this.#timer !== undefined) this.#scope.scheduler.clearTimer(this.#timer)
    this.#timer = undefined
    for (const sink of this.#sinks.values()) sink.abandon(error)
    for (const route of this.#routes.values()) {
      for (const queue of route.queues) queue.failAll(error)
      route.failWaiting(error)
      this.#metadata.untrack(route.name)
    }
    for (const waiter of this.#readyWaiters.splice(0)) waiter.reject(error)
    this.#onClosed(this)
  }

  async #close(timeoutMs: number): Promise<void> {
    if (this.#state.at === 'over') return
    this.#state = { at: 'closing' }
    const late = deferred()
    const timer = this.#scope.scheduler.setTimer(timeoutMs, () => late.resolve())
    await Promise.race([this.flush().catch(() => {}), late.promise])
    this.#scope.scheduler.clearTimer(timer)
    const error = this.#barriers.isBusy
      ? new ClosedError(
          'the producer',
          new TimeoutError(`records were not settled within timeoutMs ${timeoutMs} of close()`),
        )
      : new ClosedError('the producer')
    this.#end(error)
  }
}

function byteLength(bytes: string | Uint8Array | null): number {
  return bytes === null ? 0 : typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length
}

function copyOf(bytes: string | Uint8Array | null): Buffer | null {
  return bytes === null ? null : Buffer.from(bytes as string)
}

function checkBytes(bytes: unknown, what: string, topic: string): void {
  if (typeof bytes === 'string' || bytes === null || bytes instanceof Uint8Array) return
  throw new RecordError(
    `the ${what} of a record for ${topic} ${bytes === undefined ? 'is missing' : `has type ${typeof bytes}`}: it must be a string, bytes (Uint8Array) or null`,
  )
}

/** Before anything is encoded: a record that fails half-way would spoil the batch of others. */
function checkHeaders(headers: readonly HeaderInput[], topic: string): void {
  if (!Array.isArray(headers)) throw new RecordError(`the headers of a record for ${topic} must be an array`)
  for (const header of headers as readonly (Partial<Record<'key' | 'value', unknown>> | undefined | null)[]) {
    if (typeof header?.key !== 'string') {
      throw new RecordError(`a header of a record for ${topic} has no key: it must be a string`)
    }
    const { key, value } = header
    if (typeof value === 'string' || value === null || value instanceof Uint8Array) continue
    const what = value === undefined ? 'no value' : `a value of type ${typeof value}`
    throw new RecordError(
      `header ${JSON.stringify(key)} of a record for ${topic} has ${what}: it must be a string, bytes (Uint8Array) or null`,
    )
  }
}
