/**
 * Retry: repeats something until it succeeds, cannot succeed, or its time is over. Stateless; the waits are jittered
 * and grow (KIP-580). What a try has learned from its failure (another leader, another coordinator) it acts upon itself.
 */
import { Backoff } from '../base/backoff.ts'
import { AbortError, describeError, MillraceError, TimeoutError } from '../base/errors.ts'
import { type Scope, sleep } from '../base/scope.ts'

export interface RetryOptions {
  readonly scope: Scope
  /** For messages: 'CreateTopics', 'offsets of orders'. */
  readonly what: string
  readonly backoffMs: number
  readonly backoffMaxMs: number
  /** All tries together, milliseconds. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Resolves with the first success of `attempt`. Rejects with its first error that is not retriable, with TimeoutError
 * (cause: the last error) when `timeoutMs` is over, or with AbortError.
 */
export async function retrying<T>(options: RetryOptions, attempt: (remainingMs: number) => Promise<T>): Promise<T> {
  const { scope, signal } = options
  const backoff = new Backoff(scope.random, options.backoffMs, options.backoffMaxMs)
  const deadline = scope.scheduler.monotonic() + options.timeoutMs
  for (;;) {
    if (signal?.aborted === true) throw new AbortError(options.what, signal.reason)
    const remaining = deadline - scope.scheduler.monotonic()
    try {
      return await attempt(Math.max(1, remaining))
    } catch (cause) {
      if (!(cause instanceof MillraceError) || !cause.retriable) throw cause
      const waitMs = backoff.next()
      if (scope.scheduler.monotonic() + waitMs >= deadline) {
        throw new TimeoutError(
          `${options.what} did not succeed within ${options.timeoutMs} ms (${backoff.attempts} tries); last: ${describeError(cause)}`,
          cause,
        )
      }
      await sleep(scope, waitMs, signal).catch(() => {})
    }
  }
}
