/**
 * Scope: where time, randomness, network and files come from. Everything above base runs in a Scope and takes
 * nothing from globals, so a whole cluster with its applications can run in one process under a virtual clock.
 * `kill()` ends a scope between two steps, which is how a simulation crashes an application: nothing scheduled
 * in it runs any more, its connections are cut, and its promises stay pending for ever.
 */
import type { Fs } from './fs.ts'
import type { Network } from './network.ts'

/** A pending timer; only its scheduler looks inside. */
export interface TimerHandle {
  readonly timer: unknown
}

/** The clock and the turns of the event loop. */
export interface Scheduler {
  /** Wall clock, milliseconds since 1970 (record timestamps). May jump. */
  now(): number
  /** Milliseconds from an arbitrary start, never going back (durations, deadlines). May have a fraction. */
  monotonic(): number
  /**
   * Runs `callback` once after `delayMs`; 0 means after the current turn at the earliest. `keepsAlive` false: the process may
   * end before. Default true.
   */
  setTimer(delayMs: number, callback: () => void, keepsAlive?: boolean): TimerHandle
  clearTimer(handle: TimerHandle): void
  /** Runs `callback` after this turn of the event loop's I/O callbacks. */
  immediate(callback: () => void): void
}

/** Source of randomness (jitter, identifiers); seeded in simulations. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  /** `size` random bytes. */
  bytes(size: number): Buffer
}

/** The world a component lives in. */
export interface Scope {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly network: Network
  readonly fs: Fs
}

/** Resolves after `delayMs` on the scope's clock, or rejects with the signal's reason when it fires first. */
export function sleep(scope: Pick<Scope, 'scheduler'>, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason)
      return
    }
    const onAbort = (): void => {
      scope.scheduler.clearTimer(handle)
      reject(signal?.reason)
    }
    const handle = scope.scheduler.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
