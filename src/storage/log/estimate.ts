/**
 * How many entries a store has. Whether a key that was written is new could only be said by reading the tables at each
 * write, so the count is made when somebody asks: exact while there is one source of keys, else by looking up a sample
 * of each source's keys in the older ones.
 */
import { Span } from '../contract.ts'
import { lookup } from './cursor.ts'
import { hashOf } from './key-hash.ts'
import { type Memtable, recordHeader } from './memtable.ts'
import type { Run } from './run.ts'
import type { Version } from './version.ts'

/** A memtable as it was visible at a moment. */
export interface VisibleMemtable {
  readonly memtable: Memtable
  /** The reference from which on nothing in it counts. */
  readonly limit: number
  /** Keys, those that have a value and their bytes, those that have none any more. */
  readonly keys: number
  readonly live: number
  readonly bytes: number
  readonly deleted: number
}

/** What is visible of a memtable now. */
export function visibleNow(memtable: Memtable): VisibleMemtable {
  const { visible: limit, visibleKeys: keys, liveCount: live, liveBytes: bytes, deletedCount: deleted } = memtable
  return { memtable, limit, keys, live, bytes, deleted }
}

export interface Estimate {
  readonly entries: number
  /** Key and value bytes. */
  readonly bytes: number
  /** Whether that is so, or only about so. */
  readonly exact: boolean
}

/** Keys looked up per source; a source that has no more is counted exactly. */
const sampleSize = 512

/**
 * Makes estimates, and keeps what the last one found of everything but the newest memtable: the rest changes only by
 * flushes and merges.
 */
export class Estimator {
  readonly #seed: number
  #version: Version | undefined
  #older: readonly VisibleMemtable[] = []
  #base: Total

  constructor(seed: number) {
    this.#seed = seed
    this.#base = new Total(seed)
  }

  /** `memtables` newest first, all newer than `version`. */
  estimate(memtables: readonly VisibleMemtable[], version: Version): Estimate {
    const older = memtables.slice(1)
    if (version !== this.#version || !sameMemtables(older, this.#older)) {
      this.#base = new Total(this.#seed)
      this.#version = version
      this.#older = older
      for (const run of [version.last, ...[...version.upper].reverse()]) this.#base.addRun(run)
      for (let i = older.length - 1; i >= 0; i--) this.#base.addMemtable(older[i]!)
    }
    const total = this.#base.copy()
    if (memtables[0] !== undefined) total.addMemtable(memtables[0])
    return { entries: Math.round(total.entries), bytes: Math.round(total.bytes), exact: total.exact }
  }
}

function sameMemtables(a: readonly VisibleMemtable[], b: readonly VisibleMemtable[]): boolean {
  return (
    a.length === b.length && a.every(({ memtable, limit }, i) => memtable === b[i]!.memtable && limit === b[i]!.limit)
  )
}

/** What entries are counted from. */
interface Source {
  /** Calls `visit` with about `count` keys, evenly chosen; false: with all of them. */
  sample(count: number, visit: (space: number, key: Buffer, from: number, to: number) => void): boolean
  /** Bytes of the entry of a key, −1: it has none here, −2: it is deleted here. */
  lookUp(hash: number, space: number, key: Buffer, from: number, to: number): number
}

class Total {
  entries = 0
  bytes = 0
  exact = true
  readonly #seed: number
  readonly #older: Source[]

  constructor(seed: number, older: readonly Source[] = []) {
    this.#seed = seed
    this.#older = [...older]
  }

  copy(): Total {
    const copy = new Total(this.#seed, this.#older)
    copy.entries = this.entries
    copy.bytes = this.bytes
    copy.exact = this.exact
    return copy
  }

  addRun(run: Run): void {
    if (run.tables.length === 0) return
    const deleted = run.tombstoneCount
    this.#add(new RunSource(run), run.entryCount - deleted, deleted, run.dataBytes)
  }

  addMemtable(source: VisibleMemtable): void {
    if (source.keys > 0) this.#add(new MemtableSource(source), source.live, source.deleted, source.bytes)
  }

  #add(source: Source, live: number, deleted: number, bytes: number): void {
    let sampled = 0
    let shadowed = 0
    let shadowedBytes = 0
    let isSample = false
    if (this.#older.length > 0) {
      isSample = source.sample(sampleSize, (space, key, from, to) => {
        sampled += 1
        const found = this.#olderBytes(space, key, from, to)
        if (found < 0) return
        shadowed += 1
        shadowedBytes += found
      })
    }
    const scale = sampled === 0 ? 0 : isSample ? (live + deleted) / sampled : 1
    this.entries = Math.max(0, this.entries + live - shadowed * scale)
    this.bytes = Math.max(0, this.bytes + bytes - shadowedBytes * scale)
    if (isSample) this.exact = false
    this.#older.push(source)
  }

  #olderBytes(space: number, key: Buffer, from: number, to: number): number {
    const hash = hashOf(this.#seed, space, key, from, to)
    for (let i = this.#older.length - 1; i >= 0; i--) {
      const found = this.#older[i]!.lookUp(hash, space, key, from, to)
      if (found !== -1) return found
    }
    return -1
  }
}

class MemtableSource implements Source {
  readonly #source: VisibleMemtable

  constructor(source: VisibleMemtable) {
    this.#source = source
  }

  sample(count: number, visit: (space: number, key: Buffer, from: number, to: number) => void): boolean {
    const { memtable, keys } = this.#source
    const stride = Math.max(1, Math.floor(keys / count))
    for (let i = 0; i < keys; i += stride) {
      const ref = memtable.keyAt(i)
      const from = 8 * ref + recordHeader
      visit(memtable.spaceOf(ref), memtable.bytes, from, from + memtable.keyLength(ref))
    }
    return stride > 1
  }

  lookUp(hash: number, space: number, key: Buffer, from: number, to: number): number {
    const { memtable, limit } = this.#source
    const ref = memtable.get(hash, space, key, from, to, limit)
    if (ref === 0) return -1
    return memtable.deleted(ref) ? -2 : memtable.dataBytes(ref)
  }
}

class RunSource implements Source {
  readonly #run: Run
  readonly #span = new Span()

  constructor(run: Run) {
    this.#run = run
  }

  sample(count: number, visit: (space: number, key: Buffer, from: number, to: number) => void): boolean {
    for (const { space, key } of this.#run.sample(count)) visit(space, key, 0, key.length)
    return true
  }

  lookUp(hash: number, space: number, key: Buffer, from: number, to: number): number {
    const found = this.#run.get(hash, space, key, from, to, this.#span)
    if (found === lookup.absent) return -1
    return found === lookup.deleted ? -2 : to - from + this.#span.length
  }
}
