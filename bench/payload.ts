/** What is sent: 8-byte keys and 100-byte values, made once, so that making them is in nobody's time. */

export const partitions = 6
export const valueBytes = 100
/** Distinct keys of the counter. */
export const keyCount = 100_000

/** Numbers that look random and are the same each time (xorshift32). */
export class Numbers {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** A whole number in [0, below). */
  next(below: number): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return (state >>> 0) % below
  }
}

/** `count` keys of 8 bytes. */
export function makeKeys(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`k${String(i).padStart(7, '0')}`))
}

/** `count` values of 100 bytes that do not compress well. */
export function makeValues(count: number): Buffer[] {
  const numbers = new Numbers(0x1234567)
  return Array.from({ length: count }, () => {
    const value = Buffer.alloc(valueBytes)
    for (let i = 0; i < valueBytes; i++) value[i] = 33 + numbers.next(94)
    return value
  })
}
