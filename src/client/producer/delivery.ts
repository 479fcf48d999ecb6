/**
 * Delivery: the promises of `send` and `sendBatch`. Owns the resolvers between a call and its batch's outcome. One
 * SendPromises per batch keeps them in an array, so a single `send` costs its promise and nothing else.
 */
import type { MillraceError } from '../../base/errors.ts'
import type { BatchResult, DeliveryObserver, SendResult } from './records.ts'

type Resolve = (result: SendResult | Promise<never>) => void

/** The single sends of one batch, in order. */
export class SendPromises implements DeliveryObserver {
  /** The broker's timestamp for the batch, or -1: the records keep theirs. */
  appendTime = -1
  #resolvers: Resolve[] = []
  /** Timestamp of all of them, until one differs. */
  #timestamp = -1
  #timestamps: number[] | undefined
  #next = 0
  readonly #keep = (resolve: Resolve): void => {
    this.#resolvers.push(resolve)
  }

  /** A promise for the record that was just appended. */
  add(timestamp: number): Promise<SendResult> {
    const count = this.#resolvers.length
    if (count === 0) this.#timestamp = timestamp
    else if (this.#timestamps !== undefined) this.#timestamps.push(timestamp)
    else if (timestamp !== this.#timestamp) {
      this.#timestamps = new Array<number>(count).fill(this.#timestamp)
      this.#timestamps.push(timestamp)
    }
    return new Promise(this.#keep)
  }

  delivered(topic: string, partition: number, baseOffset: number, count: number): void {
    const from = this.#next
    this.#next += count
    for (let i = 0; i < count; i++) {
      const offset = baseOffset < 0 ? -1 : baseOffset + i
      const timestamp = this.appendTime >= 0 ? this.appendTime : (this.#timestamps?.[from + i] ?? this.#timestamp)
      this.#resolvers[from + i]!({ topic, partition, offset, timestamp })
    }
  }

  failed(error: MillraceError, _topic: string, _partition: number, count: number): void {
    const from = this.#next
    this.#next += count
    for (let i = from; i < this.#next; i++) this.#resolvers[i]!(Promise.reject(error))
  }

  /** The next `count` sends as a group of their own: their batch is split. */
  split(count: number): SendPromises {
    const part = new SendPromises()
    const from = this.#next
    this.#next += count
    part.#resolvers = this.#resolvers.slice(from, this.#next)
    part.#timestamp = this.#timestamp
    part.#timestamps = this.#timestamps?.slice(from, this.#next)
    return part
  }
}

/** One `send` whose record waits for its topic's metadata. */
export class SingleSend implements DeliveryObserver {
  /** As in SendPromises. */
  appendTime = -1
  readonly promise: Promise<SendResult>
  readonly #timestamp: number
  #resolve!: Resolve

  constructor(timestamp: number) {
    this.#timestamp = timestamp
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  delivered(topic: string, partition: number, offset: number): void {
    this.#resolve({ topic, partition, offset, timestamp: this.appendTime >= 0 ? this.appendTime : this.#timestamp })
  }

  failed(error: MillraceError): void {
    this.#resolve(Promise.reject(error))
  }
}

/** One `sendBatch`: settled when the last of its records is; rejects with the first failure. */
export class BatchSend implements DeliveryObserver {
  readonly promise: Promise<readonly BatchResult[]>
  readonly #results: BatchResult[] = []
  #open: number
  #failure: MillraceError | undefined
  #resolve!: (results: readonly BatchResult[]) => void
  #reject!: (error: MillraceError) => void

  constructor(count: number) {
    this.#open = count
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (count === 0) this.#resolve(this.#results)
  }

  delivered(topic: string, partition: number, baseOffset: number, count: number): void {
    this.#results.push({ topic, partition, baseOffset, count })
    this.#settle(count)
  }

  failed(error: MillraceError, _topic: string, _partition: number, count: number): void {
    this.#failure ??= error
    this.#settle(count)
  }

  #settle(count: number): void {
    this.#open -= count
    if (this.#open > 0) return
    if (this.#failure === undefined) this.#resolve(this.#results)
    else this.#reject(this.#failure)
  }
}
