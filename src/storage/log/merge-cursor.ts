/**
 * The merge of several cursors: each key once, with its newest version. It owns its sources and keeps a head for each:
 * a copy of the source's current entry. Heads are sorted and their keys all differ: where two would meet, the older one is
 * superseded and moved on at once. So the first head is the next entry, and as long as its source stays below the
 * second head an entry costs one comparison. Nothing is allocated per entry.
 */
import { compareKeys, type EntryCursor } from './cursor.ts'

export interface MergeOptions {
  /** The sources go from the largest key to the smallest. Default false. */
  readonly reverse?: boolean
  /** Leaves out keys whose newest version is a deletion. Default false. */
  readonly dropDeleted?: boolean
  /**
   * All keys are of one space and begin with the same bytes, so many: then most are told apart by one number, the six
   * bytes behind. Default: that is not known.
   */
  readonly commonPrefix?: number | undefined
}

const nothing: Buffer = Buffer.alloc(0)

/** The current entry of one source. A copy, so that comparing reads objects of one shape whatever the sources are. */
class Head {
  readonly source: EntryCursor | undefined
  /** 0 is the newest. */
  readonly age: number
  /** Entries taken from the source so far. */
  count = 0
  /** Six bytes of the key behind the common prefix, zeros past its end; 0 when no prefix is known. */
  word = 0
  space = 0
  keyBytes = nothing
  keyFrom = 0
  keyTo = 0
  valueBytes = nothing
  valueFrom = 0
  valueTo = 0
  deleted = false

  constructor(source: EntryCursor | undefined, age: number) {
    this.source = source
    this.age = age
  }

  /** Copies the next entry; false when there is none, and the source is closed then. */
  advance(prefix: number): boolean {
    const source = this.source!
    if (!source.next()) {
      source.close()
      return false
    }
    this.count += 1
    this.space = source.space
    this.keyBytes = source.keyBytes
    this.keyFrom = source.keyFrom
    this.keyTo = source.keyTo
    this.valueBytes = source.valueBytes
    this.valueFrom = source.valueFrom
    this.valueTo = source.valueTo
    this.deleted = source.deleted
    if (prefix >= 0) this.word = wordOf(this.keyBytes, this.keyFrom + prefix, this.keyTo)
    return true
  }
}

/** Six bytes as a whole number, zeros past the end. */
function wordOf(bytes: Buffer, from: number, end: number): number {
  if (from + 6 <= end) {
    const high = (bytes[from]! << 16) | (bytes[from + 1]! << 8) | bytes[from + 2]!
    return high * 0x1000000 + ((bytes[from + 3]! << 16) | (bytes[from + 4]! << 8) | bytes[from + 5]!)
  }
  let word = 0
  for (let at = from; at < from + 6; at++) word = word * 256 + (at < end ? bytes[at]! : 0)
  return word
}

const noHead = new Head(undefined, -1)

export class MergeCursor implements EntryCursor {
  /** By age. */
  readonly #sources: readonly Head[]
  readonly #reverse: boolean
  readonly #dropDeleted: boolean
  /** −1: not known. */
  readonly #commonPrefix: number
  /** The first `#live` are sorted; the first of them is the current entry. */
  readonly #order: Head[] = []
  #live = 0
  #current = noHead
  #state: 'new' | 'open' | 'ended' | 'failed' = 'new'
  #failure: unknown

  /** Takes over `cursors`, the newest first. Nothing is read before the first `next`. */
  constructor(cursors: readonly EntryCursor[], options: MergeOptions = {}) {
    this.#sources = cursors.map((cursor, age) => new Head(cursor, age))
    this.#reverse = options.reverse ?? false
    this.#dropDeleted = options.dropDeleted ?? false
    this.#commonPrefix = options.commonPrefix ?? -1
  }

  get space(): number {
    return this.#current.space
  }
  get keyBytes(): Buffer {
    return this.#current.keyBytes
  }
  get keyFrom(): number {
    return this.#current.keyFrom
  }
  get keyTo(): number {
    return this.#current.keyTo
  }
  get valueBytes(): Buffer {
    return this.#current.valueBytes
  }
  get valueFrom(): number {
    return this.#current.valueFrom
  }
  get valueTo(): number {
    return this.#current.valueTo
  }
  get deleted(): boolean {
    return this.#current.deleted
  }

  /** How many entries were taken from a source, superseded ones and its current head included. */
  taken(source: number): number {
    return this.#sources[source]!.count
  }

  /** A source's error passes through, and again at each later call: a broken merge never looks like a finished one. */
  next(): boolean {
    if (this.#state !== 'open' && this.#state !== 'new') {
      if (this.#state === 'failed') throw this.#failure
      return false
    }
    try {
      if (this.#state === 'new') this.#start()
      else this.#advance(this.#order[0]!)
      if (this.#dropDeleted) while (this.#live > 0 && this.#order[0]!.deleted) this.#advance(this.#order[0]!)
    } catch (cause) {
      this.#state = 'failed'
      this.#failure = cause
      this.#current = noHead
      throw cause
    }
    if (this.#live === 0) {
      this.close()
      return false
    }
    this.#current = this.#order[0]!
    return true
  }

  close(): void {
    this.#current = noHead
    this.#live = 0
    if (this.#state !== 'failed') this.#state = 'ended'
    let failure: unknown
    let failed = false
    for (const head of this.#sources) {
      try {
        head.source!.close()
      } catch (cause) {
        if (!failed) failure = cause
        failed = true
      }
    }
    if (failed) throw failure
  }

  #start(): void {
    this.#state = 'open'
    for (const head of this.#sources) {
      for (let i = this.#live; i > 0; i--) this.#order[i] = this.#order[i - 1]!
      this.#order[0] = head
      this.#live += 1
      this.#advance(head)
    }
  }

  /** Moves the head that is first in the order on and sorts it in again; its old place counts as free meanwhile. */
  #advance(first: Head): void {
    const order = this.#order
    let moving = first
    let low = 1
    while (moving.advance(this.#commonPrefix)) {
      let high = this.#live
      let same = 0
      // The next one first: keys of one source often come in a row.
      let probe = low
      while (low < high) {
        const difference = this.#compare(moving, order[probe]!)
        if (difference < 0) high = probe
        else if (difference > 0) low = probe + 1
        else {
          same = probe
          break
        }
        probe = (low + high) >>> 1
      }
      if (same === 0) {
        for (let i = 1; i < low; i++) order[i - 1] = order[i]!
        order[low - 1] = moving
        return
      }
      // The same key: the newer of the two stays in that place, the older one's version is superseded.
      const other = order[same]!
      if (moving.age < other.age) {
        order[same] = moving
        moving = other
      }
      low = same + 1
    }
    this.#live -= 1
    for (let i = 0; i < this.#live; i++) order[i] = order[i + 1]!
  }

  #compare(a: Head, b: Head): number {
    let difference = a.word - b.word
    if (difference === 0) difference = a.space - b.space
    if (difference === 0) {
      difference = compareKeys(a.keyBytes, a.keyFrom, a.keyTo, b.keyBytes, b.keyFrom, b.keyTo)
    }
    return this.#reverse ? -difference : difference
  }
}
