/**
 * The real clock and the real turns of the event loop. Stateless: the process owns the timers. Every other file gets
 * time from the Scheduler of its Scope (base/scope.ts).
 */
import type { Scheduler, TimerHandle } from './scope.ts'

/** Longest delay that setTimeout takes; a longer one would fire at once. */
const longestDelayMs = 2 ** 31 - 1

/** The process's own clock, timers and immediates. */
export const realScheduler: Scheduler = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer: (delayMs, callback, keepsAlive): TimerHandle => {
    const timer = setTimeout(callback, Math.min(delayMs, longestDelayMs))
    if (keepsAlive === false) timer.unref()
    return { timer }
  },
  clearTimer: (handle) => clearTimeout(handle.timer as NodeJS.Timeout),
  immediate: (callback) => void setImmediate(callback),
}
