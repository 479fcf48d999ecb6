/**
 * Observation: one union of event objects per component and one observer function, called synchronously and never
 * awaited. Nothing depends on an observer: a throwing one is reported on the process's warning channel and ignored.
 */

/** Calls `observer` with `event`; correctness never lives behind it. */
export function notify<E>(observer: ((event: E) => void) | undefined, event: E): void {
  if (observer === undefined) return
  try {
    observer(event)
  } catch (cause) {
    process.emitWarning(`a millrace event observer threw: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}
