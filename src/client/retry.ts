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
      const tried = attempt(Math.max(1, remaining))
      return await (signal === undefined ? tried : abandonable(tried, signal, options.what))
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

/** `answer`, or AbortError as soon as the signal fires; what is under way goes on unheard. */
export function abandonable<T>(answer: Promise<T>, signal: AbortSignal, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new AbortError(what, signal.reason))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
