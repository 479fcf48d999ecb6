/** Entries in arrays as sources and cursors, with what a test wants to know of them; and readers of cursors. */
import {
  compareKeys,
  compareToBound,
  type CursorRange,
  type EntryCursor,
  type EntrySource,
} from '../../../src/storage/log/cursor.ts'
import type { SeededRandom } from '../../sim/random.ts'

/** An entry as an object. `value` is undefined: deleted. */
export interface ListEntry {
  readonly space: number
  readonly key: Buffer
  readonly value: Buffer | undefined
}

const nothing = Buffer.alloc(0)

/** Order of entries: space, then key. */
export function compareEntries(a: ListEntry, b: ListEntry): number {
  return a.space - b.space || compareKeys(a.key, 0, a.key.length, b.key, 0, b.key.length)
}

export class ListCursor implements EntryCursor {
  space = 0
  keyBytes: Buffer = nothing
  keyFrom = 0
  keyTo = 0
  valueBytes: Buffer = nothing
  valueFrom = 0
  valueTo = 0
  deleted = false
  closed = 0
  /** Thrown instead of giving the entry with this index. */
  failAt = -1
  failure = new Error('the source failed')
  #at = 0
  readonly #entries: readonly ListEntry[]

  /** `entries` in the order of the walk. */
  constructor(entries: readonly ListEntry[]) {
    this.#entries = entries
  }

  next(): boolean {
    if (this.closed > 0) return false
    if (this.#at === this.failAt) throw this.failure
    const entry = this.#entries[this.#at]
    if (entry === undefined) return false
    this.#at += 1
    // Key and value lie somewhere inside their buffers, as in tables.
    const shift = this.#at % 3
    this.space = entry.space
    this.keyBytes = Buffer.concat([nothing, Buffer.alloc(shift, 0xee), entry.key, Buffer.from('~')])
    this.keyFrom = shift
    this.keyTo = shift + entry.key.length
    const value = entry.value ?? nothing
    this.valueBytes = Buffer.concat([Buffer.from('<'), value, Buffer.from('>')])
    this.valueFrom = 1
    this.valueTo = 1 + value.length
    this.deleted = entry.value === undefined
    return true
  }

  close(): void {
    this.closed += 1
  }
}

/** A sorted list that can be walked in any range. */
export class ListSource implements EntrySource {
  readonly entries: readonly ListEntry[]

  constructor(entries: readonly ListEntry[]) {
    this.entries = [...entries].sort(compareEntries)
  }

  cursor(range: CursorRange): ListCursor {
    const { from, to, reverse } = range
    const inside = this.entries.filter(
      ({ space, key }) =>
        (from === undefined || compareToBound(space, key, 0, key.length, from) >= 0) &&
        (to === undefined || compareToBound(space, key, 0, key.length, to) < 0),
    )
    return new ListCursor(reverse ? inside.reverse() : inside)
  }
}

/** Everything a cursor gives, copied; closes it. */
export function readAll(cursor: EntryCursor): ListEntry[] {
  const entries: ListEntry[] = []
  while (cursor.next()) entries.push(currentEntry(cursor))
  cursor.close()
  return entries
}

/** A copy of the entry a cursor stands at. */
export function currentEntry(cursor: EntryCursor): ListEntry {
  return {
    space: cursor.space,
    key: Buffer.from(cursor.keyBytes.subarray(cursor.keyFrom, cursor.keyTo)),
    value: cursor.deleted ? undefined : Buffer.from(cursor.valueBytes.subarray(cursor.valueFrom, cursor.valueTo)),
  }
}

/** Entries as short text, to compare and to print. */
export function show(entries: readonly ListEntry[]): string[] {
  return entries.map(
    ({ space, key, value }) => `${space}:${key.toString('latin1')}=${value?.toString('latin1') ?? '×'}`,
  )
}

/** An identity for maps: space and key as text. */
export function identity({ space, key }: ListEntry): string {
  return `${space}:${key.toString('latin1')}`
}

/** What remains of lists of which the first is the newest: every key once, in order. */
export function newestOf(lists: readonly (readonly ListEntry[])[]): ListEntry[] {
  const newest = new Map<string, ListEntry>()
  for (const list of lists) {
    for (const entry of list) if (!newest.has(identity(entry))) newest.set(identity(entry), entry)
  }
  return [...newest.values()].sort(compareEntries)
}

export interface RandomEntries {
  readonly count: number
  readonly spaces: number
  /** Chance that an entry is deleted. */
  readonly deletes: number
  key(random: SeededRandom): Buffer
  value(random: SeededRandom): Buffer
}

/** Sorted random entries, no key twice (so there may be fewer than `count`). */
export function randomEntries(random: SeededRandom, style: RandomEntries): ListEntry[] {
  const entries: ListEntry[] = []
  for (let i = 0; i < style.count; i++) {
    const value = random.chance(style.deletes) ? undefined : style.value(random)
    entries.push({ space: random.int(style.spaces), key: style.key(random), value })
  }
  return newestOf([entries])
}

/** The seeds of a random test: `SEED=n` for one, else 1 to `count`. */
export function seeds(count: number): number[] {
  const one = process.env['SEED']
  return one === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(one)]
}
