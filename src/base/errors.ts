/**
 * The base of everything millrace throws on purpose. `code` is API and stays; `message` may change and says what to do.
 */

/** Base class of all millrace errors. */
export class MillraceError extends Error {
  override readonly name: string = 'MillraceError'
  /** Stable identifier: an `ERR_…` name, or Kafka's own name for an error a broker returned. */
  readonly code: string
  /** Whether the same call may succeed later although the caller changes nothing. */
  readonly retriable: boolean
  constructor(code: string, message: string, options: { retriable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retriable = options.retriable ?? false
  }
}

/** Options that do not make sense; lists every fault found, not only the first. Code `ERR_OPTIONS`. Not retriable. */
export class OptionError extends MillraceError {
  override readonly name = 'OptionError'
  /** One sentence per fault. */
  readonly faults: readonly string[]
  constructor(subject: string, faults: readonly string[]) {
    super('ERR_OPTIONS', `invalid options for ${subject}: ${faults.join('; ')}`)
    this.faults = faults
  }
}

/** The object was used after `close()`. Code `ERR_CLOSED`. Not retriable. */
export class ClosedError extends MillraceError {
  override readonly name = 'ClosedError'
  constructor(what: string, cause?: unknown) {
    super('ERR_CLOSED', `${what} is closed`, { cause })
  }
}

/** A wait ran out of time. Code `ERR_TIMEOUT`. Retriable. */
export class TimeoutError extends MillraceError {
  override readonly name = 'TimeoutError'
  constructor(message: string, cause?: unknown) {
    super('ERR_TIMEOUT', message, { retriable: true, cause })
  }
}

/** The caller's AbortSignal fired. Code `ERR_ABORTED`. `cause` is the signal's reason. */
export class AbortError extends MillraceError {
  override readonly name = 'AbortError'
  constructor(what: string, cause?: unknown) {
    super('ERR_ABORTED', `${what} was aborted`, { cause })
  }
}

/** Text of any thrown value, for messages. */
export function describeError(cause: unknown): string {
  if (cause instanceof Error) return cause.message
  return String(cause)
}
