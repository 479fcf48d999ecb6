/**
 * Flush: "everything given before this call". Owns the barriers: each batch belongs to the one that was current when it
 * was opened; a flush closes the current barrier and waits until it and all before it have no batch left.
 */
import { type Deferred, deferred } from '../../base/deferred.ts'

/** Batches that were opened between two flushes. */
export interface FlushBarrier {
  /** Batches that are not settled yet. */
  batches: number
  /** Set once a flush waits. */
  done: Deferred | undefined
}

export class FlushBarriers {
  /** In order; the last one is current. */
  readonly #barriers: FlushBarrier[] = [{ batches: 0, done: undefined }]

  /** Whether any batch is not settled. */
  get isBusy(): boolean {
    return this.#barriers.some((barrier) => barrier.batches > 0)
  }

  /** A batch was opened: it belongs to the returned barrier. */
  opened(): FlushBarrier {
    const current = this.#barriers[this.#barriers.length - 1]!
    current.batches += 1
    return current
  }

  /** A batch of `barrier` was cut in two. */
  split(barrier: FlushBarrier): void {
    barrier.batches += 1
  }

  /** A batch was settled. */
  settled(barrier: FlushBarrier): void {
    barrier.batches -= 1
    if (barrier.batches === 0) this.#advance()
  }

  /** Resolves when every batch opened so far is settled. */
  cut(): Promise<void> {
    const current = this.#barriers[this.#barriers.length - 1]!
    current.done = deferred()
    this.#barriers.push({ batches: 0, done: undefined })
    const { promise } = current.done
    this.#advance()
    return promise
  }

  #advance(): void {
    for (;;) {
      const first = this.#barriers[0]!
      if (first.batches > 0 || first.done === undefined) return
      this.#barriers.shift()
      first.done.resolve()
    }
  }
}
