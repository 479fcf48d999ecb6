/**
 * FetchWaiting: Fetch requests that wait for more bytes (the purgatory).
 * Owns   the waiting requests and their timers. One that is satisfied goes on at the end of the turn, so that appends of
 *        one turn are answered together.
 */
import type { Scheduler, TimerHandle } from '../base/scope.ts'
import type { Partition } from './partition.ts'

class Waiter {
  missing: number
  readonly partitions: readonly Partition[]
  readonly resume: () => void
  timer: TimerHandle | undefined
  done = false

  constructor(partitions: readonly Partition[], missing: number, resume: () => void) {
    this.partitions = partitions
    this.missing = missing
    this.resume = resume
  }
}

export class FetchWaiting {
  readonly #scheduler: Scheduler
  readonly #watchers = new Map<Partition, Set<Waiter>>()
  #due: Waiter[] = []
  #count = 0

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** Requests that wait. */
  get count(): number {
    return this.#count
  }

  /**
   * Calls `resume` once: when `missing` more bytes were appended to `partitions`, one of them changed its leader or was
   * deleted, or `maxWaitMs` are over. Returns how to give up.
   */
  wait(partitions: readonly Partition[], missing: number, maxWaitMs: number, resume: () => void): () => void {
    const waiter = new Waiter(partitions, missing, resume)
    this.#count += 1
    for (const partition of partitions) {
      let watchers = this.#watchers.get(partition)
      if (watchers === undefined) {
        watchers = new Set()
        this.#watchers.set(partition, watchers)
      }
      watchers.add(waiter)
    }
    waiter.timer = this.#scheduler.setTimer(maxWaitMs, () => {
      waiter.timer = undefined
      if (this.#leave(waiter)) waiter.resume()
    })
    return () => void this.#leave(waiter)
  }

  appended(partition: Partition, bytes: number): void {
    const watchers = this.#watchers.get(partition)
    if (watchers === undefined) return
    for (const waiter of watchers) {
      waiter.missing -= bytes
      if (waiter.missing <= 0) this.#satisfied(waiter)
    }
  }

  changed(partition: Partition): void {
    const watchers = this.#watchers.get(partition)
    if (watchers === undefined) return
    for (const waiter of watchers) this.#satisfied(waiter)
  }

  #satisfied(waiter: Waiter): void {
    if (!this.#leave(waiter)) return
    this.#due.push(waiter)
    if (this.#due.length === 1) this.#scheduler.immediate(() => this.#resumeDue())
  }

  #resumeDue(): void {
    const due = this.#due
    this.#due = []
    for (const waiter of due) waiter.resume()
  }

  /** Forgets a waiter; false when that happened before. */
  #leave(waiter: Waiter): boolean {
    if (waiter.done) return false
    waiter.done = true
    this.#count -= 1
    if (waiter.timer !== undefined) this.#scheduler.clearTimer(waiter.timer)
    for (const partition of waiter.partitions) {
      const watchers = this.#watchers.get(partition)
      watchers?.delete(waiter)
      if (watchers?.size === 0) this.#watchers.delete(partition)
    }
    return true
  }
}
