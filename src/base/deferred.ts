/** A promise with its two ends outside. The executor's owner settles it exactly once; later calls change nothing. */
export interface Deferred<T = void> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(cause: unknown): void
}

/** Makes a Deferred. `quiet` marks a rejection as handled, for promises that may have no listener. */
export function deferred<T = void>(quiet = false): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (cause: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  if (quiet) promise.catch(() => {})
  return { promise, resolve, reject }
}
