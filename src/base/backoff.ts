/**
 * Jittered exponential backoff (KIP-580): delays grow from `minMs` by doubling to `maxMs`, each multiplied by a random
 * factor in [0.8, 1.2]. One instance per retried thing; `reset` after a success.
 */
import type { Random } from './scope.ts'

export class Backoff {
  /** Failed attempts since the last reset. */
  attempts = 0
  readonly #random: Random
  readonly #minMs: number
  readonly #maxMs: number

  constructor(random: Random, minMs: number, maxMs: number) {
    this.#random = random
    this.#minMs = minMs
    this.#maxMs = maxMs
  }

  /** Counts an attempt and returns how long to wait before the next, milliseconds. */
  next(): number {
    const exponent = Math.min(this.attempts, 30)
    this.attempts += 1
    const base = Math.min(this.#maxMs, this.#minMs * 2 ** exponent)
    return Math.round(base * (0.8 + 0.4 * this.#random.next()))
  }

  reset(): void {
    this.attempts = 0
  }
}
