/** A scheduler whose turns and time a test decides: what it asks for runs in `turn`, and asking for the time moves it. */
import type { Scheduler, TimerHandle } from '../../../src/base/scope.ts'

interface Timer extends TimerHandle {
  readonly timer: { readonly atMs: number; readonly callback: () => void }
}

export class Turns implements Scheduler {
  /** Milliseconds that pass with each look at the monotonic clock: what one step of a job seems to take. */
  readonly tickMs: number
  /** Turns so far. */
  count = 0
  #time = 0
  #pending: (() => void)[] = []
  #timers: Timer[] = []

  constructor(tickMs = 0) {
    this.tickMs = tickMs
  }

  /** Callbacks that wait for their turn. */
  get waiting(): number {
    return this.#pending.length
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.length
  }

  now = (): number => 1_700_000_000_000 + Math.floor(this.#time)

  monotonic = (): number => {
    this.#time += this.tickMs
    return this.#time
  }

  setTimer = (delayMs: number, callback: () => void): TimerHandle => {
    const handle = { timer: { atMs: this.#time + delayMs, callback } }
    this.#timers.push(handle)
    return handle
  }

  clearTimer = (handle: TimerHandle): void => {
    this.#timers = this.#timers.filter((one) => one !== handle)
  }

  immediate = (callback: () => void): void => {
    this.#pending.push(callback)
  }

  /** Moves the clock; timers that are due run in the next turn. */
  pass(ms: number): void {
    this.#time += ms
  }

  /** One turn: what was asked for before it began, and timers that are due; then promises go on. */
  async turn(): Promise<void> {
    this.count += 1
    const due = this.#timers.filter(({ timer }) => timer.atMs <= this.#time)
    this.#timers = this.#timers.filter((one) => !due.includes(one))
    const callbacks = [...due.map(({ timer }) => timer.callback), ...this.#pending.splice(0)]
    for (const callback of callbacks) callback()
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Turns until `promise` settles; throws when that takes more than `limit` turns. */
  async drive<T>(promise: Promise<T>, limit = 100_000): Promise<T> {
    let over = false
    const end = (): void => {
      over = true
    }
    promise.then(end, end)
    await Promise.resolve()
    for (let left = limit; !over; left--) {
      if (left === 0) throw new Error(`not settled after ${limit} turns`)
      await this.turn()
    }
    return promise
  }

  /** Turns until nothing is asked for any more. */
  async settle(limit = 100_000): Promise<void> {
    for (let quiet = 0, left = limit; quiet < 3; left--) {
      if (left === 0) throw new Error(`still busy after ${limit} turns`)
      quiet = this.#pending.length === 0 ? quiet + 1 : 0
      await this.turn()
    }
  }
}
