/**
 * What everything sorted has in common: memtables, tables and runs are read through cursors, and a merge of cursors is a
 * cursor again. An entry is identified by its key space (0–15) and its key; spaces are ordered before keys, keys by
 * unsigned bytes.
 */

/** A place in the order: at `key` in `space`. */
export interface KeyBound {
  readonly space: number
  readonly key: Buffer
}

/** What a cursor goes through: [from, to), in one direction. */
export interface CursorRange {
  /** First entry, inclusive; undefined: from the beginning. */
  readonly from: KeyBound | undefined
  /** End, exclusive; undefined: to the end. */
  readonly to: KeyBound | undefined
  /** From the largest to the smallest. */
  readonly reverse: boolean
}

/** All entries, forward. */
export const everything: CursorRange = { from: undefined, to: undefined, reverse: false }

/**
 * A walk over entries in order, deleted ones included. The fields tell of the current entry after `next()` returned true,
 * and are valid until the next call of `next()`; the bytes they point into are not changed while the view is held that the
 * cursor belongs to, nor in the turn of the event loop in which it is released.
 */
export interface EntryCursor {
  readonly space: number
  readonly keyBytes: Buffer
  readonly keyFrom: number
  readonly keyTo: number
  readonly valueBytes: Buffer
  readonly valueFrom: number
  readonly valueTo: number
  /** The entry says that its key has no value any more. */
  readonly deleted: boolean
  /** Moves on; false at the end, and then always. Throws StoreError when what it reads is damaged. */
  next(): boolean
  /** Gives back what it holds. May be called any number of times. */
  close(): void
}

/** Whatever can be walked. */
export interface EntrySource {
  cursor(range: CursorRange): EntryCursor
}

/** What looking up a key found. */
export const lookup = { absent: 0, value: 1, deleted: 2 } as const
export type Lookup = (typeof lookup)[keyof typeof lookup]

/** Keys longer than this are compared and copied by native code. */
const longKey = 64

/** Negative, 0 or positive, by unsigned bytes. */
export function compareKeys(a: Buffer, fromA: number, toA: number, b: Buffer, fromB: number, toB: number): number {
  const lengthA = toA - fromA
  const lengthB = toB - fromB
  const length = Math.min(lengthA, lengthB)
  if (length > longKey) return a.compare(b, fromB, toB, fromA, toA)
  for (let i = 0; i < length; i++) {
    const difference = a[fromA + i]! - b[fromB + i]!
    if (difference !== 0) return difference
  }
  return lengthA - lengthB
}

/** Negative, 0 or positive: the place of an entry against a bound. */
export function compareToBound(space: number, key: Buffer, from: number, to: number, bound: KeyBound): number {
  if (space !== bound.space) return space - bound.space
  return compareKeys(key, from, to, bound.key, 0, bound.key.length)
}

/** Whether `bytes` has the key at `at`; the lengths are equal. */
export function sameKey(bytes: Buffer, at: number, key: Buffer, from: number, to: number): boolean {
  if (to - from > longKey) return bytes.compare(key, from, to, at, at + to - from) === 0
  for (let i = from; i < to; i++) if (bytes[at + i - from] !== key[i]) return false
  return true
}

/** Copies a span; short ones by a loop: a native call costs more than they do. */
export function copySpan(source: Buffer, from: number, to: number, target: Buffer, at: number): void {
  if (to - from > 48) source.copy(target, at, from, to)
  else for (let i = from; i < to; i++) target[at + i - from] = source[i]!
}
