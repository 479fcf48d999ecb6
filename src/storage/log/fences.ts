/**
 * Fences: ascending keys, searched for the first that is not below a given one. What all have in common at their begin is
 * compared once, and the six bytes behind it as one number, so that a search hardly ever looks at the keys themselves.
 * Never changes.
 */
import { compareToBound, type KeyBound } from './cursor.ts'

/** Bytes that fit into a number exactly. */
const numberBytes = 6

/** Byte `at` of a key that begins with its space; 0 behind its end. */
function byteAt(at: number, space: number, key: Buffer, from: number, to: number): number {
  if (at === 0) return space
  return from + at <= to ? key[from + at - 1]! : 0
}

/** The six bytes from `at` on. */
function numberAt(at: number, space: number, key: Buffer, from: number, to: number): number {
  let number = 0
  for (let i = at; i < at + numberBytes; i++) number = number * 256 + byteAt(i, space, key, from, to)
  return number
}

export class Fences {
  readonly #bounds: readonly KeyBound[]
  /** What all begin with: bytes of the first one, its space counted as one. */
  readonly #common: number
  readonly #numbers: Float64Array

  constructor(bounds: readonly KeyBound[]) {
    this.#bounds = bounds
    const first = bounds[0]
    const last = bounds[bounds.length - 1]
    let common = 0
    if (first !== undefined && last !== undefined && first.space === last.space) {
      const length = Math.min(first.key.length, last.key.length)
      while (common < length && first.key[common] === last.key[common]) common += 1
      common += 1
    }
    this.#common = common
    this.#numbers = Float64Array.from(bounds, ({ space, key }) => numberAt(common, space, key, 0, key.length))
  }

  /** The number of fences below the key: the place of the first that is not. */
  find(space: number, key: Buffer, from: number, to: number): number {
    const bounds = this.#bounds
    if (bounds.length === 0) return 0
    const first = bounds[0]!
    for (let i = 0; i < this.#common; i++) {
      const length = first.key.length
      const difference = byteAt(i, space, key, from, to) - byteAt(i, first.space, first.key, 0, length)
      if (difference !== 0) return difference < 0 ? 0 : bounds.length
      // A key that ends within what they have in common is below all of them.
      if (from + i > to) return 0
    }
    const number = numberAt(this.#common, space, key, from, to)
    const numbers = this.#numbers
    let low = 0
    let high = numbers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (numbers[middle]! < number) low = middle + 1
      else high = middle
    }
    high = low
    while (high < numbers.length && numbers[high] === number) high += 1
    while (low < high) {
      const middle = (low + high) >>> 1
      const bound = bounds[middle]!
      if (compareToBound(space, key, from, to, bound) > 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
