/**
 * Delivery: hands chunks to the user, one per feed in turn, and wakes whoever waits for one.
 * Owns the turn of the feeds and the wake-up. Knows no position: cursors feed it today, share acquisitions may later.
 */
import { type Deferred, deferred } from '../../base/deferred.ts'
import { AbortError } from '../../base/errors.ts'

export interface Feed<T> {
  /** Whether `pull` would return or throw something. */
  readonly ready: boolean
  pull(): T | undefined
}

export class Delivery<T> {
  readonly #turn = new Set<Feed<T>>()
  #waiting: Deferred | undefined
  /** Something happened while nobody waited: the next `wait` returns at once. */
  #woken = false

  /** The feed has something. Keeps its place if it is in the queue already. */
  offer(feed: Feed<T>): void {
    this.#turn.add(feed)
    this.wake()
  }

  withdraw(feed: Feed<T>): void {
    this.#turn.delete(feed)
  }

  /** Next chunk, fair over feeds; throws the error of a feed that rests. Undefined: nothing is there. */
  take(): T | undefined {
    for (const feed of this.#turn) {
      this.#turn.delete(feed)
      if (!feed.ready) continue
      try {
        const chunk = feed.pull()
        if (chunk !== undefined) return chunk
      } finally {
        if (feed.ready) this.#turn.add(feed)
      }
    }
    return undefined
  }

  /** Ends every `wait`, the running or the next. */
  wake(): void {
    const waiting = this.#waiting
    if (waiting === undefined) {
      this.#woken = true
      return
    }
    this.#waiting = undefined
    waiting.resolve()
  }

  /** Resolves after the next `wake`, at once if one came since the last wait, or if a feed is ready. */
  wait(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(new AbortError('the wait for records', signal.reason))
    if (this.#woken || this.#turn.size > 0) {
      this.#woken = false
      return Promise.resolve()
    }
    this.#waiting ??= deferred()
    if (signal === undefined) return this.#waiting.promise
    return abortable(this.#waiting.promise, signal)
  }
}

/** `promise`, unless the signal fires first; leaves no listener behind. */
function abortable(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new AbortError('the wait for records', signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    void promise.then(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
  })
}
