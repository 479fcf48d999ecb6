/** What the parts of the admin share: how a request is sent again until it succeeds. No state. */
import { AbortError, ClosedError } from '../../base/errors.ts'
import type { Scope } from '../../base/scope.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../../protocol/schema.ts'
import type { Metadata } from '../metadata.ts'
import type { Destination } from '../request-router.ts'
import { retrying } from '../retry.ts'

/** The client as the admin uses it. */
export interface AdminContext {
  readonly scope: Scope
  readonly metadata: Metadata
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  /** Aborted when the client is closed. */
  readonly closing: AbortSignal
  request<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options?: { extraWaitMs?: number; minVersion?: number; signal?: AbortSignal },
  ): Promise<ResponseOf<A>>
}

/** Bounds of one admin call. */
export interface AdminCallOptions {
  /** All tries together. Milliseconds. Default 60 000. */
  readonly timeoutMs?: number
  /** Ends the wait; what was sent may still be carried out. */
  readonly signal?: AbortSignal
}

/** Runs `attempt` until it succeeds, fails for good, the call's time is over, or the client is closed (ClosedError). */
export async function retryingCall<T>(
  context: AdminContext,
  what: string,
  options: AdminCallOptions,
  attempt: (remainingMs: number) => Promise<T>,
): Promise<T> {
  const { scope, retryBackoffMs, retryBackoffMaxMs, closing } = context
  const { timeoutMs = 60_000 } = options
  const signal = options.signal === undefined ? closing : AbortSignal.any([options.signal, closing])
  try {
    return await retrying(
      { scope, what, backoffMs: retryBackoffMs, backoffMaxMs: retryBackoffMaxMs, timeoutMs, signal },
      attempt,
    )
  } catch (cause) {
    if (closing.aborted && cause instanceof AbortError) throw new ClosedError('the client', cause)
    throw cause
  }
}
