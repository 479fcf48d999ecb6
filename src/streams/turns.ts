/** Turns of the event loop: how long work runs in one go, and how it gives way. */
import type { Scheduler } from '../base/scope.ts'

/** Work gives way to sockets and timers after so many milliseconds. */
export const sliceMs = 4

/** Resolves in a later turn, after pending I/O was handled. */
export function nextTurn(scheduler: Scheduler): Promise<void> {
  return new Promise((resolve) => scheduler.immediate(resolve))
}

/** A latch that remembers one wake-up: `wait` returns at once if `wake` was called since the last `wait`. */
export class Wake {
  #woken = false
  #resolve: (() => void) | undefined

  readonly wake = (): void => {
    this.#woken = true
    const resolve = this.#resolve
    this.#resolve = undefined
    resolve?.()
  }

  async wait(): Promise<void> {
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
      })
    }
    this.#woken = false
  }
}
