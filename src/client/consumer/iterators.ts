/**
 * Async iterators over a consumer, written by hand: while data is buffered a step makes one resolved promise and nothing
 * else. Own the batch being handed out. A record or chunk counts as processed when the next one is asked for.
 */
import { AbortError } from '../../base/errors.ts'
import type { Chunk, FetchedChunk } from './chunk.ts'
import type { ConsumerRecord } from './record.ts'

/** The side of the consumer that iterators use. */
export interface IteratedConsumer {
  readonly closed: boolean
  /** `progress` says, when asked later, up to which offset the returned chunk was processed. */
  take(progress?: () => number): Chunk | undefined
  /** The chunk taken last goes back from `offset` on; everything before is processed. */
  putBack(chunk: Chunk, offset: number): void
  wait(signal?: AbortSignal): Promise<void>
}

/** Yields chunks. Ends when the consumer is closed; rejects with the errors of `take()`, after which it may be used on. */
export class ChunkIterator implements AsyncIterableIterator<FetchedChunk> {
  readonly #consumer: IteratedConsumer
  readonly #signal: AbortSignal | undefined
  #ended = false

  constructor(consumer: IteratedConsumer, signal: AbortSignal | undefined) {
    this.#consumer = consumer
    this.#signal = signal
  }

  next(): Promise<IteratorResult<FetchedChunk>> {
    try {
      if (this.#ended || this.#consumer.closed) return ended()
      if (this.#signal?.aborted === true) throw new AbortError('the iteration', this.#signal.reason)
      const chunk = this.#consumer.take()
      if (chunk !== undefined) return Promise.resolve({ value: chunk, done: false })
    } catch (cause) {
      return Promise.reject(cause)
    }
    return this.#wait()
  }

  return(): Promise<IteratorResult<FetchedChunk>> {
    this.#ended = true
    return ended()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #wait(): Promise<IteratorResult<FetchedChunk>> {
    for (;;) {
      await this.#consumer.wait(this.#signal)
      if (this.#ended || this.#consumer.closed) return { value: undefined, done: true }
      const chunk = this.#consumer.take()
      if (chunk !== undefined) return { value: chunk, done: false }
    }
  }
}

/** Yields records one by one. Iterating `batches()` and their `records()` is faster: no promise per record. */
export class RecordIterator implements AsyncIterableIterator<ConsumerRecord> {
  readonly #consumer: IteratedConsumer
  readonly #signal: AbortSignal | undefined
  #chunk: Chunk | undefined
  #records: readonly ConsumerRecord[] = []
  /** Records handed out; the last of them is being processed. */
  #at = 0
  #ended = false

  constructor(consumer: IteratedConsumer, signal: AbortSignal | undefined) {
    this.#consumer = consumer
    this.#signal = signal
  }

  next(): Promise<IteratorResult<ConsumerRecord>> {
    if (this.#ended || this.#consumer.closed) return ended()
    const record = this.#records[this.#at]
    const chunk = this.#chunk
    if (record !== undefined && chunk?.current === true && !chunk.paused && !this.#aborted) {
      this.#at += 1
      return Promise.resolve({ value: record, done: false })
    }
    return this.#next()
  }

  return(): Promise<IteratorResult<ConsumerRecord>> {
    this.#ended = true
    return ended()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #next(): Promise<IteratorResult<ConsumerRecord>> {
    if (this.#aborted) throw new AbortError('the iteration', this.#signal?.reason)
    const left = this.#records[this.#at]
    if (left !== undefined && this.#chunk?.paused === true) this.#consumer.putBack(this.#chunk, left.offset)
    for (;;) {
      const progress = (): number => this.#progress()
      const chunk = this.#consumer.take(progress)
      this.#chunk = chunk
      this.#records = []
      this.#at = 0
      if (chunk === undefined) {
        await this.#consumer.wait(this.#signal)
        if (this.#ended || this.#consumer.closed) return { value: undefined, done: true }
        continue
      }
      this.#records = chunk.records()
      const first = this.#records[0]
      if (first === undefined) continue
      this.#at = 1
      return { value: first, done: false }
    }
  }

  get #aborted(): boolean {
    return this.#signal?.aborted === true
  }

  /** Everything before the record that was handed out last. */
  #progress(): number {
    return this.#records[this.#at - 1]?.offset ?? this.#chunk?.from ?? -1
  }
}

function ended(): Promise<IteratorReturnResult<undefined>> {
  return Promise.resolve({ value: undefined, done: true })
}
