/** What is stored: 16-byte keys and 100-byte values that do not compress, the same for every system. No state but its own. */
import { Numbers } from '../payload.ts'

export const keyBytes = 16
export const valueBytes = 100
/** Operations of a batch. */
export const batchSize = 500
/** Key and value. */
export const entryBytes = keyBytes + valueBytes

/** Writes keys into one reused buffer, so that having a key costs every system the same. */
export class KeyMaker {
  readonly key = Buffer.from('key-000000000000')

  /** The key of entry `i`; keys ascend with `i`. */
  set(i: number): Buffer {
    return this.#write(2 * i)
  }

  /** A key between those of entries `i` and `i` + 1, which nobody has. */
  setMissing(i: number): Buffer {
    return this.#write(2 * i + 1)
  }

  #write(number: number): Buffer {
    const { key } = this
    let left = number
    for (let at = keyBytes - 1; at >= 4; at--) {
      const tenth = (left / 10) | 0
      key[at] = 48 + left - 10 * tenth
      left = tenth
    }
    return key
  }
}

const valueCount = 4093

/** Distinct values; the first four bytes of each are its number, which tells on reading whether it is the right one. */
export class Values {
  readonly #values: Buffer[]

  constructor() {
    const numbers = new Numbers(0x1234567)
    this.#values = Array.from({ length: valueCount }, (_, number) => {
      const value = Buffer.alloc(valueBytes)
      for (let i = 4; i < valueBytes; i++) value[i] = numbers.next(256)
      value.writeUInt32LE(number, 0)
      return value
    })
  }

  /** What entry `i` has after it was written `generation` times over. */
  of(i: number, generation: number): Buffer {
    return this.#values[numberOf(i, generation)]!
  }
}

/** The number in the first bytes of that value. */
export function numberOf(i: number, generation: number): number {
  return (7 * i + 13 * generation) % valueCount
}

/** 0 … count − 1 in order. */
export function ascending(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i)
}

/** 0 … count − 1 shuffled, the same way for the same seed. */
export function shuffled(count: number, seed: number): Int32Array {
  const order = ascending(count)
  const numbers = new Numbers(seed)
  for (let i = count - 1; i > 0; i--) {
    const j = numbers.next(i + 1)
    const taken = order[i]!
    order[i] = order[j]!
    order[j] = taken
  }
  return order
}

/** `length` numbers below `count`, all equally likely. */
export function uniform(length: number, count: number, seed: number): Int32Array {
  const numbers = new Numbers(seed)
  const picks = new Int32Array(length)
  for (let i = 0; i < length; i++) picks[i] = numbers.next(count)
  return picks
}

/**
 * `length` numbers below `count`, drawn by Zipf's law with exponent `theta` (Gray et al., as in YCSB); the popular ones
 * are scattered over the keys.
 */
export function zipf(length: number, count: number, theta: number, seed: number): Int32Array {
  let zeta = 0
  for (let i = 1; i <= count; i++) zeta += 1 / i ** theta
  const alpha = 1 / (1 - theta)
  const eta = (1 - (2 / count) ** (1 - theta)) / (1 - (1 + 0.5 ** theta) / zeta)
  const numbers = new Numbers(seed)
  const picks = new Int32Array(length)
  for (let i = 0; i < length; i++) {
    const u = numbers.next(2 ** 31) / 2 ** 31
    const scaled = u * zeta
    let rank = 0
    if (scaled >= 1) rank = scaled < 1 + 0.5 ** theta ? 1 : Math.floor(count * (eta * u - eta + 1) ** alpha)
    picks[i] = scatter(Math.min(rank, count - 1), count)
  }
  return picks
}

/** A permutation of 0 … count − 1 that needs no memory; `count` below 10⁸. */
export function scatter(i: number, count: number): number {
  // Prime, and therefore without a common divisor with any count below it that matters here.
  return (i * 7_368_787) % count
}
