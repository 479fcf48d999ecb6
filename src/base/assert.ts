/**
 * Assertions: conditions that only a bug in millrace can break. They stay on in production, because a corrupted
 * position is worse than a stopped process. Bad input is never asserted: it gets a typed error.
 */

/** A broken invariant inside millrace; please report it. Never thrown for bad input. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Throws AssertionError unless `condition`. Pass constant messages only: building one costs even when it holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(`millrace bug: ${message}`)
}

/** For the `default` of a switch over a union: the compiler refuses it when a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`millrace bug: unexpected variant ${JSON.stringify(value)}`)
}
