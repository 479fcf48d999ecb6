/**
 * A read view: a store as it is at a moment: its memtables up to where they are visible, and a version of its tables.
 * Making one copies nothing. Snapshots and iterators hold one; the store itself reads through its own state.
 */
import { boundsOf } from '../range.ts'
import type { Checkpoint, Span, StoreRange } from '../contract.ts'
import { type CursorRange, type EntryCursor, everything, lookup } from './cursor.ts'
import type { Estimate, Estimator, VisibleMemtable } from './estimate.ts'
import { hashOf } from './key-hash.ts'
import { type Memtable, recordHeader } from './memtable.ts'
import { memtableCursor } from './memtable-cursor.ts'
import { MergeCursor } from './merge-cursor.ts'
import type { Version } from './version.ts'

export class ReadView {
  /** Newest first. */
  readonly memtables: readonly VisibleMemtable[]
  readonly version: Version
  readonly checkpoint: Checkpoint | undefined
  readonly #seed: number
  #users = 1
  readonly #onRelease: (view: ReadView) => void
  #estimate: Estimate | undefined
  readonly #estimator: Estimator

  /** Retains the version; `onRelease` is called when nobody holds the view any more. */
  constructor(
    memtables: readonly VisibleMemtable[],
    version: Version,
    checkpoint: Checkpoint | undefined,
    seed: number,
    estimator: Estimator,
    onRelease: (view: ReadView) => void,
  ) {
    this.memtables = memtables
    this.version = version.retain()
    this.checkpoint = checkpoint
    this.#seed = seed
    this.#estimator = estimator
    this.#onRelease = onRelease
  }

  retain(): this {
    this.#users += 1
    return this
  }

  release(): void {
    this.#users -= 1
    if (this.#users > 0) return
    this.version.release()
    this.#onRelease(this)
  }

  /** Points `out` at the value of a key; false, and `out` unchanged, when it has none. */
  get(space: number, key: Buffer, from: number, to: number, out: Span): boolean {
    const hash = hashOf(this.#seed, space, key, from, to)
    for (let i = 0; i < this.memtables.length; i++) {
      const { memtable, limit } = this.memtables[i]!
      const ref = memtable.get(hash, space, key, from, to, limit)
      if (ref !== 0) return pointAt(memtable, ref, out)
    }
    return this.version.get(hash, space, key, from, to, out) === lookup.value
  }

  /** Entries and bytes: exact while all of it is in one memtable or table, else by a sample. */
  estimate(): Estimate {
    this.#estimate ??= this.#estimator.estimate(this.memtables, this.version)
    return this.#estimate
  }

  /** Every entry in the range that has a value, each once. */
  cursor(range: StoreRange): EntryCursor {
    const whole = cursorRange(range)
    const cursors = this.memtables.map(({ memtable, limit }) => memtableCursor(memtable, whole, limit))
    cursors.push(...this.version.cursors(whole))
    return new MergeCursor(cursors, { reverse: whole.reverse, dropDeleted: true })
  }
}

/** Points `out` at a record's value; false when the record says there is none. */
export function pointAt(memtable: Memtable, ref: number, out: Span): boolean {
  if (memtable.deleted(ref)) return false
  const words = memtable.words
  out.bytes = memtable.bytes
  out.from = 8 * ref + recordHeader + (words[2 * ref + 1]! & 0xffffff)
  out.to = out.from + words[2 * ref + 2]!
  return true
}

const noKey = Buffer.alloc(0)

/** A range of one space as a cursor takes it. */
export function cursorRange(range: StoreRange): CursorRange {
  const space = range.space ?? 0
  const { from, to } = boundsOf(range)
  return {
    ...everything,
    from: { space, key: from ?? noKey },
    to: to === undefined ? { space: space + 1, key: noKey } : { space, key: to },
    reverse: range.reverse ?? false,
  }
}
