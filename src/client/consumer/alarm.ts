/** Alarm: at most one timer, set to the earliest moment anyone asked for. Owns its timer. */
import type { Scheduler, TimerHandle } from '../../base/scope.ts'

export class Alarm {
  #at = Number.POSITIVE_INFINITY
  #timer: TimerHandle | undefined
  readonly #scheduler: Scheduler
  readonly #ring: () => void

  constructor(scheduler: Scheduler, ring: () => void) {
    this.#scheduler = scheduler
    this.#ring = ring
  }

  /** Rings at `monotonic` time or earlier, if an earlier one is set already. */
  by(monotonic: number): void {
    if (monotonic >= this.#at) return
    this.clear()
    this.#at = monotonic
    const delay = Math.max(0, Math.ceil(monotonic - this.#scheduler.monotonic()))
    this.#timer = this.#scheduler.setTimer(delay, () => {
      this.#timer = undefined
      this.#at = Number.POSITIVE_INFINITY
      this.#ring()
    })
  }

  clear(): void {
    if (this.#timer !== undefined) this.#scheduler.clearTimer(this.#timer)
    this.#timer = undefined
    this.#at = Number.POSITIVE_INFINITY
  }
}
