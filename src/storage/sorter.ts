/**
 * A sort that can be stepped: orders entry numbers by their key bytes. The words of the keys (key-words.ts) are sorted by
 * digits, from the lowest to the highest, which compares nothing; only keys whose words agree are compared, and sorted by
 * merging where they are many. Owns its arrays until `result` is taken.
 */
import type { StoreJob } from './contract.ts'
import { type KeyOrder, KeyWords } from './key-words.ts'
import { MergeSort } from './merge-sort.ts'

export type { KeyOrder } from './key-words.ts'

/** Fewer are merged: counting digits would cost more. */
const fewEntries = 2048
/** A word has 48 bits: two halves of two digits. */
const digitBits = 12
const digitCount = 4
const digitMask = 2 ** digitBits - 1
const halfBits = 2 * digitBits
const half = 2 ** halfBits
/** So many keys with the same word are sorted at once, by insertion. */
const fewTies = 16

const noWords: Int32Array = new Int32Array(0)

export class Sorter implements StoreJob {
  readonly #keys: KeyOrder
  #phase: 'few' | 'words' | 'count' | 'digits' | 'ties' | 'done'
  /** All of them when they are few; those whose words agree in phase `ties`. */
  #merge: MergeSort | undefined
  #words: KeyWords | undefined
  /** The next element of the phase. */
  #at = 0
  #from: Int32Array
  #to: Int32Array = noWords
  /** The halves of the words of `#from`, and of `#to`. */
  #high: Int32Array = noWords
  #low: Int32Array = noWords
  #toHigh: Int32Array = noWords
  #toLow: Int32Array = noWords
  /** Of each digit, how often each value comes; then where the next one with it goes. */
  readonly #places: Int32Array[] = []
  #digit = 0
  /** Behind the entries that `#merge` sorts. */
  #tiesEnd = 0

  /** Takes over `entries`. */
  constructor(keys: KeyOrder, entries: Int32Array) {
    this.#keys = keys
    this.#from = entries
    if (entries.length <= fewEntries) {
      this.#phase = 'few'
      this.#merge = new MergeSort(keys, entries)
    } else {
      this.#phase = 'words'
      this.#words = new KeyWords(keys, entries)
    }
  }

  step(units: number): boolean {
    let left = units
    while (left > 0 && this.#phase !== 'done') {
      if (this.#phase === 'few') {
        if (!this.#merge!.step(left)) return false
        this.#from = this.#merge!.result()
        this.#phase = 'done'
      } else if (this.#phase === 'words') left = this.#readWords(left)
      else if (this.#phase === 'count') left = this.#count(left)
      else if (this.#phase === 'digits') left = this.#sortByDigit(left)
      else left = this.#sortTies(left)
    }
    return this.#phase === 'done'
  }

  /** The entries in order; runs what is left to do. */
  result(): Int32Array {
    while (!this.step(1_000_000));
    return this.#from
  }

  #readWords(units: number): number {
    const words = this.#words!
    const left = words.step(units)
    if (!words.isDone) return left
    if (words.isAscending) {
      this.#phase = 'done'
      return left
    }
    const count = this.#from.length
    this.#to = new Int32Array(count)
    this.#high = new Int32Array(count)
    this.#low = new Int32Array(count)
    this.#toHigh = new Int32Array(count)
    this.#toLow = new Int32Array(count)
    for (let digit = 0; digit < digitCount; digit++) this.#places.push(new Int32Array(digitMask + 1))
    this.#phase = 'count'
    return left
  }

  /** Takes words apart, and counts their digits. */
  #count(units: number): number {
    const { words } = this.#words!
    const [first, second, third, fourth] = this.#places as [Int32Array, Int32Array, Int32Array, Int32Array]
    const from = this.#at
    const to = Math.min(words.length, from + units)
    for (let i = from; i < to; i++) {
      const word = words[i]!
      const high = Math.floor(word / half)
      const low = word - high * half
      this.#high[i] = high
      this.#low[i] = low
      first[low & digitMask]! += 1
      second[low >>> digitBits]! += 1
      third[high & digitMask]! += 1
      fourth[high >>> digitBits]! += 1
    }
    this.#at = to
    if (to === words.length) {
      this.#words = undefined
      this.#phase = 'digits'
      this.#startDigit(0)
    }
    return units - (to - from)
  }

  /** Goes on with a digit, or the next one that not all words have the same. */
  #startDigit(digit: number): void {
    this.#at = 0
    for (this.#digit = digit; this.#digit < digitCount; this.#digit++) {
      const places = this.#places[this.#digit]!
      if (places.includes(this.#from.length)) continue
      let place = 0
      for (let value = 0; value <= digitMask; value++) {
        const count = places[value]!
        places[value] = place
        place += count
      }
      return
    }
    this.#phase = 'ties'
  }

  #sortByDigit(units: number): number {
    const places = this.#places[this.#digit]!
    const halves = this.#digit < digitCount / 2 ? this.#low : this.#high
    const shift = this.#digit % 2 === 0 ? 0 : digitBits
    const entries = this.#from
    const high = this.#high
    const low = this.#low
    const to = this.#to
    const toHigh = this.#toHigh
    const toLow = this.#toLow
    const from = this.#at
    const end = Math.min(entries.length, from + units)
    for (let i = from; i < end; i++) {
      const value = (halves[i]! >>> shift) & digitMask
      const place = places[value]!
      places[value] = place + 1
      to[place] = entries[i]!
      toHigh[place] = high[i]!
      toLow[place] = low[i]!
    }
    this.#at = end
    if (end === entries.length) {
      this.#from = to
      this.#to = entries
      this.#high = toHigh
      this.#toHigh = high
      this.#low = toLow
      this.#toLow = low
      this.#startDigit(this.#digit + 1)
    }
    return units - (end - from)
  }

  /** Sorts, from `#at` on, entries whose words agree. */
  #sortTies(units: number): number {
    const entries = this.#from
    const high = this.#high
    const low = this.#low
    let left = units
    while (left > 0 && this.#at < entries.length) {
      const start = this.#at
      if (this.#merge !== undefined) {
        if (!this.#merge.step(left)) return 0
        entries.set(this.#merge.result(), start)
        this.#merge = undefined
        this.#at = this.#tiesEnd
        return 0
      }
      let end = start + 1
      while (end < entries.length && high[end] === high[start] && low[end] === low[start]) end += 1
      left -= end - start
      if (end - start > fewTies) {
        this.#merge = new MergeSort(this.#keys, entries.slice(start, end))
        this.#tiesEnd = end
      } else {
        if (end - start > 1) this.#insertionSort(start, end)
        this.#at = end
      }
    }
    if (this.#at === entries.length) this.#phase = 'done'
    return left
  }

  #insertionSort(start: number, end: number): void {
    const entries = this.#from
    for (let i = start + 1; i < end; i++) {
      const entry = entries[i]!
      let at = i
      for (; at > start && this.#keys.compareEntries(entries[at - 1]!, entry) > 0; at--) entries[at] = entries[at - 1]!
      entries[at] = entry
    }
  }
}
