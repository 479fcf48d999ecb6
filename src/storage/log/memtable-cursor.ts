/** A walk over a memtable: sorted keys, and of each the newest version that the walk may see. Holds the bytes as they were. */
import type { CursorRange, EntryCursor } from './cursor.ts'
import { type Memtable, recordHeader } from './memtable.ts'

/** Records that are brought into the processor's cache together: sorted ones lie anywhere, and misses overlap so. */
const fetchAhead = 16
/** In words, the same as a line of the cache. */
const lineWords = 16

/** What of `memtable` was visible at `limit`, however much is written meanwhile. */
export function memtableCursor(memtable: Memtable, range: CursorRange, limit: number): EntryCursor {
  return new MemtableCursor(memtable, memtable.sortedKeys(), range, limit)
}

class MemtableCursor implements EntryCursor {
  space = 0
  keyBytes: Buffer
  keyFrom = 0
  keyTo = 0
  valueBytes: Buffer
  valueFrom = 0
  valueTo = 0
  deleted = false
  readonly #memtable: Memtable
  readonly #sorted: Int32Array
  readonly #limit: number
  #at: number
  readonly #end: number
  readonly #step: 1 | -1
  /** Records until the next are fetched. */
  #untilFetch = 0
  /** Of what was touched: so that the reads are not left out. */
  touched = 0

  constructor(memtable: Memtable, sorted: Int32Array, range: CursorRange, limit: number) {
    this.#memtable = memtable
    this.#sorted = sorted
    this.#limit = limit
    this.keyBytes = memtable.bytes
    this.valueBytes = memtable.bytes
    const first = range.from === undefined ? 0 : memtable.positionOf(sorted, range.from)
    const last = Math.max(first, range.to === undefined ? sorted.length : memtable.positionOf(sorted, range.to))
    this.#at = range.reverse ? last - 1 : first
    this.#end = range.reverse ? first - 1 : last
    this.#step = range.reverse ? -1 : 1
  }

  next(): boolean {
    const memtable = this.#memtable
    while (this.#at !== this.#end) {
      if (this.#untilFetch === 0) this.#fetch()
      this.#untilFetch -= 1
      const first = this.#sorted[this.#at]!
      this.#at += this.#step
      if (first >= this.#limit) continue
      const ref = memtable.newest(first, this.#limit)
      const word = memtable.words[2 * ref + 1]!
      this.space = (word >>> 24) & 0x0f
      this.deleted = memtable.deleted(ref)
      this.keyBytes = memtable.bytes
      this.valueBytes = memtable.bytes
      this.keyFrom = 8 * ref + recordHeader
      this.keyTo = this.keyFrom + (word & 0xffffff)
      this.valueFrom = this.keyTo
      this.valueTo = this.keyTo + memtable.words[2 * ref + 2]!
      return true
    }
    return false
  }

  /** Touches the next records. */
  #fetch(): void {
    const { words } = this.#memtable
    const sorted = this.#sorted
    const step = this.#step
    const count = Math.min(fetchAhead, Math.abs(this.#end - this.#at))
    let sum = 0
    for (let i = 0, at = this.#at; i < count; i++, at += step) {
      const word = 2 * sorted[at]!
      sum += words[word]! + (words[word + lineWords] ?? 0)
    }
    this.touched = sum
    this.#untilFetch = fetchAhead
  }

  close(): void {
    this.#at = this.#end
  }
}
