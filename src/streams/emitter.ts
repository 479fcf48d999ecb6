/**
 * Emitter: a producer of one stream, typed by its codec. Many emitters of an application share one producer, so what they
 * send in one turn goes out together. Owns nothing but whether it is closed.
 */
import { ClosedError, describeError } from '../base/errors.ts'
import { checkValue, encodeValue } from './codec.ts'
import { string } from './codecs/string.ts'
import type { HeaderToSend } from './context.ts'
import { CodecError } from './errors.ts'
import type { Stream } from './handles.ts'

/** Where an emitted record lies. */
export interface EmittedRecord {
  /** The stream's topic. */
  readonly topic: string
  /** Chosen by the partitioner from the key. */
  readonly partition: number
  /** Within the partition; −1 when the broker did not say. */
  readonly offset: number
  /** Milliseconds since 1970, as the broker keeps it. */
  readonly timestamp: number
}

/** Options of `send` and `enqueue`; all have defaults. */
export interface EmitterSendOptions {
  /** Headers of the record. Default none. */
  readonly headers?: readonly HeaderToSend[]
  /** The record's timestamp, milliseconds since 1970. Default now. */
  readonly timestamp?: number
}

interface RecordToSend {
  readonly topic: string
  readonly key: string | Uint8Array
  readonly value: Uint8Array | null
  readonly headers?: readonly HeaderToSend[]
  readonly timestamp?: number
}

/** The producer behind emitters. */
export interface EmitterProducer {
  send(record: RecordToSend): Promise<EmittedRecord>
  enqueue(record: RecordToSend): boolean
  ready(): Promise<void>
  flush(): Promise<void>
}

/** What an emitter gets from its application. */
export interface EmitterHost {
  /** Opened at the first use; creates the topic on the embedded broker. */
  producer(topic: string): Promise<EmitterProducer>
  /** The producer if it is there already. */
  ready(topic: string): EmitterProducer | undefined
  ended(): void
}

/** Writes values to one stream. Made by `app.emitter()`; sends of one turn travel together. */
export class Emitter<T> implements AsyncDisposable {
  /** The stream's topic. */
  readonly topic: string
  readonly #stream: Stream<T>
  readonly #host: EmitterHost
  #closed = false

  constructor(host: EmitterHost, stream: Stream<T>) {
    this.#host = host
    this.#stream = stream
    this.topic = stream.topic
  }

  /**
   * Sends one value; resolves when every in-sync replica has it. Sends of one turn travel together. A null value is a
   * deletion: the codec is not called. Rejects with CodecError, ClosedError, or the broker's refusal.
   */
  async send(key: string | Uint8Array, value: T | null, options?: EmitterSendOptions): Promise<EmittedRecord> {
    const record = this.#record(key, value, options)
    const producer = this.#host.ready(this.topic) ?? (await this.#host.producer(this.topic))
    return producer.send(record)
  }

  /**
   * Hands one value over without waiting; `flush` tells whether it arrived. False: the buffer is above its limit, await
   * `ready()` before the next. Call `ready()` once before the first `enqueue`.
   * @throws {CodecError | ClosedError}
   */
  enqueue(key: string | Uint8Array, value: T | null, options?: EmitterSendOptions): boolean {
    const record = this.#record(key, value, options)
    const producer = this.#host.ready(this.topic)
    if (producer === undefined)
      throw new ClosedError(`the emitter of ${this.topic} is not open: await ready() first, it`)
    return producer.enqueue(record)
  }

  /** Resolves when the emitter is open and its buffer below the limit. */
  async ready(): Promise<void> {
    this.#check()
    const producer = this.#host.ready(this.topic) ?? (await this.#host.producer(this.topic))
    await producer.ready()
  }

  /** Resolves when everything enqueued before the call has arrived; rejects when something of it was lost. */
  async flush(): Promise<void> {
    await this.#host.ready(this.topic)?.flush()
  }

  /** Flushes and ends the emitter. Later calls return at once. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      await this.flush()
    } finally {
      this.#host.ended()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #record(key: string | Uint8Array, value: T | null, options: EmitterSendOptions | undefined): RecordToSend {
    this.#check()
    this.#checkKey(key)
    return { ...options, topic: this.topic, key, value: value === null ? null : encodeValue(this.#stream.codec, value) }
  }

  /** Text that UTF-8 cannot carry would become another key; no key at all, a record that processors refuse. */
  #checkKey(key: string | Uint8Array): void {
    if (key instanceof Uint8Array) return
    try {
      checkValue(string, key)
    } catch (cause) {
      throw new CodecError('string', `refuses a key for ${this.topic}: ${describeError(cause)}`, cause)
    }
  }

  #check(): void {
    if (this.#closed) throw new ClosedError(`the emitter of ${this.topic}`)
  }
}
