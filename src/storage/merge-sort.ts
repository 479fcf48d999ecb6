/**
 * A merge sort that can be stepped: orders entry numbers by their key bytes. Most comparisons need only the words of the
 * keys (key-words.ts). For few entries, and for many whose words agree. Owns its arrays until `result` is taken.
 */
import type { StoreJob } from './contract.ts'
import { type KeyOrder, KeyWords } from './key-words.ts'

const runLength = 16

export class MergeSort implements StoreJob {
  readonly #keys: KeyOrder
  #from: Int32Array
  #to: Int32Array
  #fromWords: Float64Array
  #toWords: Float64Array
  #phase: 'words' | 'runs' | 'merge' | 'done' = 'words'
  readonly #words: KeyWords
  /** The next element of the phase. */
  #at = 0
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
    this.#words = new KeyWords(keys, entries)
    this.#fromWords = this.#words.words
    this.#toWords = this.#fromWords
    if (entries.length > runLength) {
      this.#to = new Int32Array(entries.length)
      this.#toWords = new Float64Array(entries.length)
    }
  }

  step(units: number): boolean {
    let left = units
    while (left > 0 && this.#phase !== 'done') {
      if (this.#phase === 'words') left = this.#readWords(left)
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

  #readWords(units: number): number {
    const left = this.#words.step(units)
    if (this.#words.isDone) this.#phase = this.#words.isAscending ? 'done' : 'runs'
    return left
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
        this.#phase = end <= runLength ? 'done' : 'merge'
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
