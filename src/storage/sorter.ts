/**
 * A merge sort that can be stepped: orders entry numbers by their key bytes. The first six bytes after what all keys
 * have in common are kept as one number per entry, so that most comparisons never touch the keys. Owns its arrays until
 * `result` is taken.
 */
import type { StoreJob } from './contract.ts'

/** What a sorter must be able to ask about keys. */
export interface KeyOrder {
  /** Negative, 0 or positive, by unsigned bytes. */
  compareEntries(a: number, b: number): number
  /** How many leading bytes the keys of two entries have in common, at most `limit`. */
  commonPrefix(a: number, b: number, limit: number): number
  /** Six bytes of the key from `skip` on as a whole number, zeros past its end. */
  keyWord(entry: number, skip: number): number
}

const runLength = 16

export class Sorter implements StoreJob {
  readonly #keys: KeyOrder
  #from: Int32Array
  #to: Int32Array
  #fromWords: Float64Array
  #toWords: Float64Array
  #phase: 'prefix' | 'words' | 'runs' | 'merge' | 'done' = 'prefix'
  /** The next element of the phase. */
  #at = 0
  #skip = -1
  /** The entries came in order: there is nothing to sort. */
  #isAscending = true
  /** State of the merge in progress: width of its runs, the pair's start, positions in both runs. */
  #width = runLength
  #left = 0
  #right = 0
  #out = 0

  /** Takes over `entries`. */
  constructor(keys: KeyOrder, entries: Int32Array) {
    this.#keys = keys
    this.#from = entries
    this.#to = entries
    this.#fromWords = new Float64Array(entries.length)
    this.#toWords = this.#fromWords
    if (entries.length > runLength) {
      this.#to = new Int32Array(entries.length)
      this.#toWords = new Float64Array(entries.length)
    }
  }

  step(units: number): boolean {
    let left = units
    while (left > 0 && this.#phase !== 'done') {
      if (this.#phase === 'prefix') left = this.#findPrefix(left)
      else if (this.#phase === 'words') left = this.#readWords(left)
      else if (this.#phase === 'runs') left = this.#sortRuns(left)
      else left = this.#merge(left)
    }
    return this.#phase === 'done'
  }

  /** The entries in order; runs what is left to do. */
  result(): Int32Array {
    while (!this.step(1_000_000));
    return this.#from
  }

  #findPrefix(units: number): number {
    const entries = this.#from
    const end = Math.min(entries.length, this.#at + (units >>> 1) + 1)
    const first = entries[0]!
    let skip = this.#skip < 0 ? 2 ** 24 : this.#skip
    for (let i = this.#at; i < end && skip > 0; i++) skip = this.#keys.commonPrefix(first, entries[i]!, skip)
    this.#skip = skip
    const done = end - this.#at
    this.#at = end
    if (end === entries.length || skip === 0) this.#enter('words')
    return units - 2 * done
  }

  #readWords(units: number): number {
    const entries = this.#from
    const end = Math.min(entries.length, this.#at + (units >>> 1) + 1)
    const words = this.#fromWords
    for (let i = this.#at; i < end; i++) {
      const word = this.#keys.keyWord(entries[i]!, this.#skip)
      words[i] = word
      if (!this.#isAscending || i === 0 || words[i - 1]! < word) continue
      this.#isAscending = words[i - 1] === word && this.#keys.compareEntries(entries[i - 1]!, entries[i]!) <= 0
    }
    const done = end - this.#at
    this.#at = end
    if (end === entries.length) this.#enter(this.#isAscending ? 'done' : 'runs')
    return units - 2 * done
  }

  #enter(phase: 'words' | 'runs' | 'merge' | 'done'): void {
    this.#phase = phase
    this.#at = 0
  }

  #sortRuns(units: number): number {
    let left = units
    while (left > 0) {
      const start = this.#at
      const end = Math.min(start + runLength, this.#from.length)
      this.#insertionSort(start, end)
      this.#at = end
      left -= 2 * runLength
      if (end === this.#from.length) {
        if (end <= runLength) this.#enter('done')
        else this.#enter('merge')
        this.#startPair(0)
        return left
      }
    }
    return left
  }

  #insertionSort(start: number, end: number): void {
    const entries = this.#from
    const words = this.#fromWords
    for (let i = start + 1; i < end; i++) {
      const entry = entries[i]!
      const word = words[i]!
      let j = i - 1
      while (j >= start) {
        if (words[j]! < word) break
        if (words[j] === word && this.#keys.compareEntries(entries[j]!, entry) <= 0) break
        entries[j + 1] = entries[j]!
        words[j + 1] = words[j]!
        j -= 1
      }
      entries[j + 1] = entry
      words[j + 1] = word
    }
  }

  #startPair(at: number): void {
    this.#at = at
    this.#out = at
    this.#left = at
    this.#right = Math.min(at + this.#width, this.#from.length)
  }

  #merge(units: number): number {
    const from = this.#from
    const to = this.#to
    const words = this.#fromWords
    const toWords = this.#toWords
    const leftEnd = Math.min(this.#at + this.#width, from.length)
    const rightEnd = Math.min(this.#at + 2 * this.#width, from.length)
    let left = this.#left
    let right = this.#right
    let out = this.#out
    const stop = Math.min(rightEnd, out + units)
    for (; out < stop; out++) {
      let takeLeft = right >= rightEnd
      if (!takeLeft && left < leftEnd) {
        const a = words[left]!
        const b = words[right]!
        takeLeft = a < b || (a === b && this.#keys.compareEntries(from[left]!, from[right]!) <= 0)
      }
      const source = takeLeft ? left++ : right++
      to[out] = from[source]!
      toWords[out] = words[source]!
    }
    const done = out - this.#out
    this.#left = left
    this.#right = right
    this.#out = out
    if (out === rightEnd) this.#endPair(rightEnd)
    return units - done - 1
  }

  #endPair(end: number): void {
    if (end < this.#from.length) {
      this.#startPair(end)
      return
    }
    const entries = this.#from
    const words = this.#fromWords
    this.#from = this.#to
    this.#fromWords = this.#toWords
    this.#to = entries
    this.#toWords = words
    this.#width *= 2
    if (this.#width >= this.#from.length) this.#phase = 'done'
    else this.#startPair(0)
  }
}
