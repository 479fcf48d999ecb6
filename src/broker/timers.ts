/**
 * OwnTimers: a scheduler that remembers what it has set, so that a broker that closes or crashes leaves no timer behind
 * and nothing of it runs any more.
 * Owns   the pending timers of one broker run.
 */
import type { Scheduler, TimerHandle } from '../base/scope.ts'

export class OwnTimers implements Scheduler {
  readonly #scheduler: Scheduler
  readonly #pending = new Set<TimerHandle>()
  #ended = false

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** True after `end`: what was waiting must not go on. */
  get ended(): boolean {
    return this.#ended
  }

  now(): number {
    return this.#scheduler.now()
  }

  monotonic(): number {
    return this.#scheduler.monotonic()
  }

  setTimer(delayMs: number, callback: () => void): TimerHandle {
    const handle = this.#scheduler.setTimer(Math.max(0, delayMs), () => {
      this.#pending.delete(handle)
      if (!this.#ended) callback()
    })
    if (this.#ended) this.#scheduler.clearTimer(handle)
    else this.#pending.add(handle)
    return handle
  }

  clearTimer(handle: TimerHandle): void {
    if (this.#pending.delete(handle)) this.#scheduler.clearTimer(handle)
  }

  immediate(callback: () => void): void {
    this.#scheduler.immediate(() => {
      if (!this.#ended) callback()
    })
  }

  /** Clears everything; later calls set nothing. */
  end(): void {
    this.#ended = true
    for (const handle of this.#pending) this.#scheduler.clearTimer(handle)
    this.#pending.clear()
  }
}
