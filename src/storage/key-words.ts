/**
 * The words of keys that are to be sorted: of each the first six bytes behind what all have in common, as a whole number,
 * so that most keys are told apart without touching them again. Found in steps. Owns the words until they are taken.
 */

/** What a sort must be able to ask about keys. */
export interface KeyOrder {
  /** Negative, 0 or positive, by unsigned bytes. */
  compareEntries(a: number, b: number): number
  /** How many leading bytes the keys of two entries have in common, at most `limit`. */
  commonPrefix(a: number, b: number, limit: number): number
  /** Six bytes of the key from `skip` on as a whole number, zeros past its end. */
  keyWord(entry: number, skip: number): number
}

export class KeyWords {
  /** Of the entry at the same position. */
  readonly words: Float64Array
  /** The entries came in order. */
  isAscending = true
  isDone = false
  readonly #keys: KeyOrder
  readonly #entries: Int32Array
  #phase: 'prefix' | 'words' = 'prefix'
  #at = 0
  #skip = -1

  constructor(keys: KeyOrder, entries: Int32Array) {
    this.#keys = keys
    this.#entries = entries
    this.words = new Float64Array(entries.length)
    this.isDone = entries.length === 0
  }

  /** Does up to about `units` units of work; returns what is left of them. */
  step(units: number): number {
    let left = units
    while (left > 0 && !this.isDone) left = this.#phase === 'prefix' ? this.#findPrefix(left) : this.#readWords(left)
    return left
  }

  #findPrefix(units: number): number {
    const entries = this.#entries
    const end = Math.min(entries.length, this.#at + (units >>> 1) + 1)
    const first = entries[0]!
    let skip = this.#skip < 0 ? 2 ** 24 : this.#skip
    for (let i = this.#at; i < end && skip > 0; i++) skip = this.#keys.commonPrefix(first, entries[i]!, skip)
    this.#skip = skip
    const done = end - this.#at
    this.#at = end
    if (end === entries.length || skip === 0) {
      this.#phase = 'words'
      this.#at = 0
    }
    return units - 2 * done
  }

  #readWords(units: number): number {
    const entries = this.#entries
    const end = Math.min(entries.length, this.#at + (units >>> 1) + 1)
    const words = this.words
    for (let i = this.#at; i < end; i++) {
      const word = this.#keys.keyWord(entries[i]!, this.#skip)
      words[i] = word
      if (!this.isAscending || i === 0 || words[i - 1]! < word) continue
      this.isAscending = words[i - 1] === word && this.#keys.compareEntries(entries[i - 1]!, entries[i]!) <= 0
    }
    const done = end - this.#at
    this.#at = end
    this.isDone = end === entries.length
    return units - 2 * done
  }
}
