/**
 * View: a read-only local copy of a whole table, kept up to date. Reads are synchronous and local; a view is eventually
 * consistent, so `until` waits for a value to arrive.
 * Owner of the waiting readers and the state; the copies belong to the registry, which shares them with joins and lookups.
 */
import { type Deferred, deferred } from '../base/deferred.ts'
import { AbortError, ClosedError, describeError, MillraceError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import { custom, int, type OptionTable, oneOf, type Resolved, resolveOptions } from '../base/options.ts'
import type { Span, StoreIterator } from '../storage/index.ts'
import { decodeFrom } from './codec.ts'
import { readText } from './codecs/string.ts'
import { StreamsError } from './errors.ts'
import type { Table } from './handles.ts'
import { keyPartitioner, type PartitionerName } from './partitioner.ts'
import type { KafkaPort } from './port.ts'
import type { ViewState } from './processor-state.ts'
import type { TableCopy } from './table-copy.ts'
import { keyBytes, TableReads } from './table-reads.ts'
import type { TableRegistry } from './table-registry.ts'
import { createMissing, exists, requireCompacted, tableTopicOf, waitForTopics } from './topics.ts'
import { nextTurn, sliceMs } from './turns.ts'

/** Options of `app.view()`; all have defaults. */
export interface ViewOptions {
  /** Where keys lie: `murmur2` (Java's default) or `fnv1a` (goka's); what the table's writers use. Default: the application's. */
  partitioner?: PartitionerName
  /** How long `start` waits for a topic that does not exist. Milliseconds. Default 600 000, 0 to 86 400 000. */
  missingTopicTimeoutMs?: number
  /** Observer of the state; called synchronously after each change. */
  onStateChange?: (state: ViewState) => void
}

export const viewOptionTable: OptionTable<ViewOptions> = {
  partitioner: oneOf(['murmur2', 'fnv1a'], { default: 'murmur2' }),
  missingTopicTimeoutMs: int({ default: 600_000, min: 0, max: 86_400_000 }),
  onStateChange: custom({
    default: (): void => {},
    accepts: (value) => typeof value === 'function',
    says: 'must be a function',
  }),
}

/** Which keys `iterate` visits; bounds combine. Keys are ordered by their bytes. */
export interface ViewRange {
  /** Smallest key, inclusive. */
  readonly from?: string | Uint8Array
  /** End, exclusive. */
  readonly to?: string | Uint8Array
  /** Only keys that begin so. */
  readonly prefix?: string | Uint8Array
  /** From the largest key to the smallest. Default false. */
  readonly reverse?: boolean
}

/** What a view gets from its application. */
export interface ViewHost {
  readonly kafka: KafkaPort
  readonly registry: TableRegistry
  /** Partitions of a table that is made on the embedded broker; undefined on any other. */
  readonly createTables: number | undefined
}

interface Waiter<T> {
  readonly key: Buffer
  readonly partition: number
  readonly holds: (value: T) => boolean
  readonly done: Deferred<T>
}

/** A read-only local copy of a whole table. Made by `app.view()`; `start()` reads it. */
export class View<T> implements AsyncDisposable {
  /** The table's topic. */
  readonly topic: string
  readonly #openHost: () => Promise<ViewHost>
  readonly #ended: () => void
  #opened: ViewHost | undefined
  readonly #table: Table<T>
  readonly #options: Resolved<ViewOptions>
  readonly #abort = new AbortController()
  readonly #waiters = new Set<Waiter<T>>()
  readonly #copies: TableCopy[] = []
  readonly #unlisten: (() => void)[] = []
  #state: ViewState = { at: 'created' }
  #reads: TableReads | undefined
  #closing: Promise<void> | undefined

  /** Throws OptionError. Connects to nothing yet. */
  constructor(open: () => Promise<ViewHost>, ended: () => void, table: Table<T>, options: ViewOptions) {
    this.#openHost = open
    this.#ended = ended
    this.#table = table
    this.topic = table.topic
    this.#options = resolveOptions(`the view of ${table.topic}`, viewOptionTable, options)
  }

  /** What it is doing now; `recovering` says how many changelog offsets are left. */
  get state(): ViewState {
    if (this.#state.at === 'recovering') return { at: 'recovering', remaining: this.#remaining() }
    return this.#state
  }

  /** Whether the whole table has been read once. */
  get recovered(): boolean {
    return this.#state.at === 'running'
  }

  /** Entries in the local copy. */
  get size(): number {
    return this.#copies.reduce((sum, copy) => sum + copy.store.entryCount, 0)
  }

  /**
   * Reads the table and resolves when it is up to date with what the topic held at the start. Waits for a topic that does
   * not exist, and says so in its state. Rejects with the signal's reason, `ERR_TOPIC_MISSING`, `ERR_TABLE_NOT_COMPACTED`.
   * @throws {StreamsError} `ERR_STATE` when called twice
   */
  async start(options: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#state.at !== 'created') {
      throw new StreamsError('ERR_STATE', `the view of ${this.topic} was started before: it is ${this.#state.at}`)
    }
    const { signal } = options
    const onAbort = (): void => void this.close()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      signal?.throwIfAborted()
      await this.#open()
      await Promise.all(this.#copies.map((copy) => copy.whenRecovered()))
      this.#abort.signal.throwIfAborted()
      this.#enter({ at: 'running' })
    } catch (cause) {
      if (signal?.aborted === true) throw signal.reason
      const error = this.#asError(cause)
      this.#fail(error)
      throw error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /**
   * The value at `key`; undefined if there is none. A fresh object: changing it changes nothing.
   * @throws {StreamsError} `ERR_STATE` before the view has recovered and after it ended, `ERR_CODEC`
   */
  get(key: string | Uint8Array): T | undefined {
    return this.#ready().read(key) as T | undefined
  }

  /** Whether there is a value at `key`; it is not decoded. Throws as `get`. */
  has(key: string | Uint8Array): boolean {
    return this.#ready().has(key)
  }

  /**
   * Resolves with the value at `key` as soon as there is one for which `holds` is true (any, by default); at once if that
   * is so already. May be called before the view has recovered.
   * Rejects with AbortError when `signal` fires, with ClosedError or the view's failure when it ends, with what `holds` throws.
   */
  until(
    key: string | Uint8Array,
    holds: (value: T) => boolean = () => true,
    options: { signal?: AbortSignal } = {},
  ): Promise<T> {
    const { signal } = options
    if (signal?.aborted === true)
      return Promise.reject(new AbortError(`waiting in the view of ${this.topic}`, signal.reason))
    if (this.#state.at === 'closed') return Promise.reject(new ClosedError(`the view of ${this.topic}`))
    if (this.#state.at === 'failed') return Promise.reject(this.#state.error)
    const bytes = keyBytes(key)
    const waiter: Waiter<T> = {
      key: bytes,
      partition: this.#reads?.partitionOf(bytes) ?? -1,
      holds,
      done: deferred<T>(),
    }
    this.#waiters.add(waiter)
    const onAbort = (): void => {
      this.#waiters.delete(waiter)
      waiter.done.reject(new AbortError(`waiting in the view of ${this.topic}`, signal?.reason))
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#check(waiter)
    return waiter.done.promise.finally(() => signal?.removeEventListener('abort', onAbort))
  }

  /**
   * The entries in the order of their key bytes, each partition as it was when the iteration began. Keys are UTF-8 text.
   * Gives way to other work every few milliseconds. Throws as `get`, at the first step.
   * @example for await (const [user, clicks] of view.iterate({ prefix: 'user-' })) console.log(user, clicks)
   */
  async *iterate(range: ViewRange = {}): AsyncGenerator<[key: string, value: T], void, void> {
    this.#ready()
    const { scheduler } = this.#host.kafka.scope
    const heads: StoreIterator[] = []
    try {
      for (const copy of this.#copies) {
        const iterator = copy.store.iterate(range)
        if (iterator.next()) heads.push(iterator)
        else iterator.close()
      }
      let deadline = scheduler.monotonic() + sliceMs
      const sign = range.reverse === true ? -1 : 1
      while (heads.length > 0) {
        let best = 0
        for (let i = 1; i < heads.length; i++) if (sign * compareSpans(heads[i]!.key, heads[best]!.key) < 0) best = i
        const { key, value } = heads[best]!
        const entry: [string, T] = [
          readText(key.bytes, key.from, key.to),
          decodeFrom(this.#table.codec, value.bytes, value.from, value.to),
        ]
        if (!heads[best]!.next()) heads.splice(best, 1)
        yield entry
        if (scheduler.monotonic() >= deadline) {
          await nextTurn(scheduler)
          deadline = scheduler.monotonic() + sliceMs
        }
      }
    } finally {
      for (const iterator of heads) iterator.close()
    }
  }

  /** Ends the view; its waits reject. Never rejects; later calls return the same. */
  close(): Promise<void> {
    this.#closing ??= this.#end({ at: 'closed' }, new ClosedError(`the view of ${this.topic}`))
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #host(): ViewHost {
    if (this.#opened === undefined) throw new StreamsError('ERR_STATE', `the view of ${this.topic} was not started`)
    return this.#opened
  }

  async #open(): Promise<void> {
    const { topic } = this
    this.#enter({ at: 'waitingForTopic', topic })
    this.#opened = await this.#openHost()
    const { kafka, registry, createTables } = this.#opened
    if (createTables !== undefined) await createMissing(kafka, [tableTopicOf(topic, createTables)])
    const { missingTopicTimeoutMs, partitioner } = this.#options
    await waitForTopics(kafka, [topic], missingTopicTimeoutMs, () => {}, this.#abort.signal)
    await requireCompacted(kafka, topic)
    const picture = kafka.metadata.view.topic(topic)
    if (!exists(picture))
      throw new StreamsError('ERR_TOPIC_MISSING', `topic ${topic} was deleted while its view started`)
    this.#unlisten.push(kafka.metadata.onChange(() => this.#checkPartitions(picture.partitions.length)))
    this.#enter({ at: 'recovering', remaining: 0 })
    for (const { index } of picture.partitions) {
      this.#abort.signal.throwIfAborted()
      const copy = await registry.follow(topic, index)
      this.#copies.push(copy)
      this.#unlisten.push(copy.onChange(() => this.#changed(copy)))
    }
    this.#reads = new TableReads(this.#table, this.#copies, keyPartitioner(partitioner))
    for (const waiter of this.#waiters) this.#check(waiter)
  }

  #changed(copy: TableCopy): void {
    if (copy.state.at === 'failed') {
      this.#fail(this.#asError(copy.state.error))
      return
    }
    for (const waiter of this.#waiters) {
      const at = this.#reads?.partitionOf(waiter.key)
      if (at === copy.partition) this.#check(waiter)
    }
  }

  #check(waiter: Waiter<T>): void {
    if (this.#reads === undefined) return
    try {
      const value = this.#reads.read(waiter.key) as T | undefined
      if (value === undefined || !waiter.holds(value)) return
      this.#waiters.delete(waiter)
      waiter.done.resolve(value)
    } catch (cause) {
      this.#waiters.delete(waiter)
      waiter.done.reject(cause)
    }
  }

  #checkPartitions(count: number): void {
    const topic = this.#host.kafka.metadata.view.topic(this.topic)
    if (!exists(topic) || topic.partitions.length === count) return
    const what = `topic ${this.topic} now has ${topic.partitions.length} partitions, its view began with ${count}`
    this.#fail(new StreamsError('ERR_PARTITION_COUNT', `${what}: keys may lie elsewhere now; open a new view`))
  }

  #ready(): TableReads {
    if (this.#reads !== undefined && this.#state.at === 'running') return this.#reads
    if (this.#state.at === 'failed') throw this.#state.error
    throw new StreamsError('ERR_STATE', `the view of ${this.topic} is ${this.#state.at}: await start() before reading`)
  }

  #remaining(): number {
    return this.#copies.reduce((sum, copy) => sum + Math.max(0, copy.highWatermark - copy.position), 0)
  }

  #enter(state: ViewState): void {
    if (this.#state.at === 'closed' || this.#state.at === 'failed') return
    this.#state = state
    notify(this.#options.onStateChange, state)
  }

  #fail(error: MillraceError): void {
    this.#closing ??= this.#end({ at: 'failed', error }, error)
  }

  async #end(state: ViewState, reason: MillraceError): Promise<void> {
    this.#enter(state)
    this.#abort.abort(reason)
    for (const unlisten of this.#unlisten) unlisten()
    for (const waiter of this.#waiters) waiter.done.reject(reason)
    this.#waiters.clear()
    for (const copy of this.#copies) this.#opened?.registry.unfollow(copy)
    this.#ended()
  }

  #asError(cause: unknown): MillraceError {
    if (cause instanceof MillraceError) return cause
    return new StreamsError('ERR_STATE', `the view of ${this.topic} ended: ${describeError(cause)}`, { cause })
  }
}

function compareSpans(a: Span, b: Span): number {
  return a.bytes.compare(b.bytes, b.from, b.to, a.from, a.to)
}
