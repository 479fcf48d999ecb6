/**
 * RequestMemory: the estimated memory of requests being served or waiting, over all connections.
 * Owns   the sum and the queue of connections that wait for their share; first come, first served.
 */
export class RequestMemory {
  readonly #limit: number
  #used = 0
  #granting = false
  #queue: { readonly bytes: number; readonly granted: () => void }[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  get used(): number {
    return this.#used
  }

  /** More than could ever be granted. */
  exceeds(bytes: number): boolean {
    return bytes > this.#limit
  }

  /** Takes `bytes` at once and returns true, or calls `granted` once they are taken later. */
  take(bytes: number, granted: () => void): boolean {
    if (this.#queue.length === 0 && this.#used + bytes <= this.#limit) {
      this.#used += bytes
      return true
    }
    this.#queue.push({ bytes, granted })
    return false
  }

  /** Gives `bytes` back. Whoever is served because of that may give back in turn: one loop serves them all. */
  give(bytes: number): void {
    this.#used -= bytes
    if (this.#granting) return
    this.#granting = true
    while (this.#queue.length > 0 && this.#used + this.#queue[0]!.bytes <= this.#limit) {
      const next = this.#queue.shift()!
      this.#used += next.bytes
      next.granted()
    }
    this.#granting = false
  }
}
