/**
 * When which tables are merged. Upper runs come from flushes, the newest first, and may overlap; the last level is one
 * run without deletions. Pure: everything is decided from what tables say of themselves.
 *
 * 1. A run that overlaps nothing older and deletes nothing is moved into the last level as it is.
 * 2. When upper runs hold more than half as much as the last level, all are merged into it: superseded entries never take
 *    much more than that share. A deletion counts as the entry it takes away. While they hold little, four runs are
 *    waited for: else the last level of a small store is written anew for every flush.
 * 3. Four neighbours of about the same size become one run: an entry is rewritten once per size, not once per flush.
 * 4. When runs get many but their sizes do not fit, the neighbours for which that costs least become one.
 */
import { compareToBound, type KeyBound } from './cursor.ts'
import { maxTableBytes, type TableMeta } from './table-layout.ts'

/** Whatever has a table's description: a Table, or a stand-in for it. */
export interface LevelTable {
  readonly meta: TableMeta
}

/** The tables of a version. In a run they are ascending and disjoint. */
export interface Levels<T extends LevelTable> {
  /** The newest run first. */
  readonly upper: readonly (readonly T[])[]
  /** One run, the oldest. */
  readonly last: readonly T[]
}

/** What merges that run already work on. */
export interface Busy {
  /** Their upper tables, by file number. */
  readonly files: ReadonlySet<number>
  /** One of them goes into the last level. */
  readonly last: boolean
}

export interface LevelLimits {
  /** Largest table, bytes of the file. Default 32 MiB. */
  readonly tableBytes: number
  /** A smaller table is joined with a neighbour when that is no detour. Default 8 MiB. */
  readonly smallTableBytes: number
  /** What upper runs may hold, as a share of the last level. Default 0.5. */
  readonly maxUpperShare: number
  /** Fewer bytes, in fewer than `runsToMerge` upper runs, are let be whatever their share. Default 64 MiB. */
  readonly smallBytes: number
  /** Neighbours of one size that are merged. Default 4. */
  readonly runsToMerge: number
  /** Runs are of one size when the largest is at most this many times the smallest. Default 1.5. */
  readonly sizeRatio: number
  /** From so many upper runs on sizes do not matter. Default 6. */
  readonly crowdedRuns: number
  /** From so many upper runs on writers are slowed down, or stopped. Default 8 and 16. */
  readonly slowRuns: number
  readonly stopRuns: number
}

export const defaultLimits: LevelLimits = {
  tableBytes: maxTableBytes,
  smallTableBytes: 8 * 1024 * 1024,
  maxUpperShare: 0.5,
  smallBytes: 64 * 1024 * 1024,
  runsToMerge: 4,
  sizeRatio: 1.5,
  crowdedRuns: 6,
  slowRuns: 8,
  stopRuns: 16,
}

/** Runs of one size that a load may leave. */
const loadedRuns = 96

/**
 * While a store is loaded, when it is hardly read: merging all runs into the last level once, when it is over, is cheaper
 * than merging some of them before.
 */
export function whileLoading(limits: LevelLimits): LevelLimits {
  return {
    ...limits,
    maxUpperShare: Number.POSITIVE_INFINITY,
    runsToMerge: loadedRuns,
    crowdedRuns: loadedRuns + limits.crowdedRuns,
    slowRuns: loadedRuns + limits.slowRuns,
    stopRuns: loadedRuns + limits.stopRuns,
  }
}

/** What to do next. */
export type MergePlan<T extends LevelTable> =
  /** The run goes into the last level as it is. */
  | { readonly kind: 'move'; readonly run: readonly T[] }
  /** Neighbouring runs, the newest first, become one in their place; deletions may go when nothing older is left. */
  | { readonly kind: 'upper'; readonly runs: readonly (readonly T[])[]; readonly dropDeleted: boolean }
  /** The oldest runs, the newest of them first, go into the last level. */
  | { readonly kind: 'last'; readonly runs: readonly (readonly T[])[]; readonly last: readonly T[] }

const idle: Busy = { files: new Set(), last: false }

/** The next merge that is worth it, beside those that run; undefined: none. */
export function chooseMerge<T extends LevelTable>(
  levels: Levels<T>,
  limits: LevelLimits = defaultLimits,
  busy: Busy = idle,
): MergePlan<T> | undefined {
  const { upper, last } = levels
  const free = upper.map((run) => !run.some(({ meta }) => busy.files.has(meta.fileNumber)))
  if (!busy.last) {
    for (let i = upper.length - 1; i >= 0; i--) {
      if (free[i]! && movable(levels, i, limits)) return { kind: 'move', run: upper[i]! }
    }
    const runs = upper.slice(free.lastIndexOf(false) + 1)
    const weight = weightOf(runs, last)
    const isWorth = runs.length >= limits.runsToMerge || weight > limits.smallBytes
    if (runs.length > 0 && isWorth && weight > limits.maxUpperShare * bytesOf(last)) {
      return { kind: 'last', runs, last }
    }
  }
  const window = sameSize(upper, free, limits) ?? cheapest(upper, free, limits)
  if (window === undefined) return undefined
  const runs = upper.slice(window.from, window.to)
  const isOldest = window.to === upper.length && !busy.last
  const dropDeleted = isOldest && !runs.flat().some(({ meta }) => overlapping(last, meta.min, meta.max).length > 0)
  return { kind: 'upper', runs, dropDeleted }
}

/** Everything into the last level; undefined when it is all there. */
export function mergeAll<T extends LevelTable>(levels: Levels<T>): MergePlan<T> | undefined {
  const { upper, last } = levels
  return upper.length === 0 ? undefined : { kind: 'last', runs: upper, last }
}

/** What so many upper runs ask of writers: nothing, to be slowed down, to wait. */
export function pressure(upperRuns: number, limits: LevelLimits = defaultLimits): 'none' | 'slow' | 'stop' {
  if (upperRuns >= limits.stopRuns) return 'stop'
  return upperRuns >= limits.slowRuns ? 'slow' : 'none'
}

/** Bytes on disk. */
export function bytesOf(tables: readonly LevelTable[]): number {
  return tables.reduce((sum, { meta }) => sum + meta.byteLength, 0)
}

export function compareBounds(a: KeyBound, b: KeyBound): number {
  return compareToBound(a.space, a.key, 0, a.key.length, b)
}

/** Those of ascending, disjoint tables that may have keys from `min` to `max`, both included; undefined: no limit. */
export function overlapping<T extends LevelTable>(
  tables: readonly T[],
  min: KeyBound | undefined,
  max: KeyBound | undefined,
): readonly T[] {
  const from = min === undefined ? 0 : firstWhere(tables, ({ meta }) => compareBounds(meta.max, min) >= 0)
  const to = max === undefined ? tables.length : firstWhere(tables, ({ meta }) => compareBounds(meta.min, max) > 0)
  return tables.slice(from, to)
}

/** Index of the first for which `isBehind` holds; it holds for all after it too. */
function firstWhere<T>(list: readonly T[], isBehind: (item: T) => boolean): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBehind(list[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}

/** A small run stays where it can still be joined with others, unless it is the first. */
function movable<T extends LevelTable>({ upper, last }: Levels<T>, at: number, limits: LevelLimits): boolean {
  const run = upper[at]!
  if (last.length > 0 && bytesOf(run) < limits.smallTableBytes) return false
  const older = [last, ...upper.slice(at + 1)]
  return run.every(
    ({ meta }) => meta.tombstoneCount === 0 && older.every((o) => overlapping(o, meta.min, meta.max).length === 0),
  )
}

/** Bytes of runs, and of what their deletions take away below. */
function weightOf(runs: readonly (readonly LevelTable[])[], last: readonly LevelTable[]): number {
  const tables = runs.flat()
  const tombstones = tables.reduce((sum, { meta }) => sum + meta.tombstoneCount, 0)
  const entries = last.reduce((sum, { meta }) => sum + meta.entryCount, 0)
  return bytesOf(tables) + (entries === 0 ? 0 : (tombstones * bytesOf(last)) / entries)
}

interface Window {
  readonly from: number
  readonly to: number
}

/** The longest row of free runs of one size; of equally long ones the newest. */
function sameSize(
  upper: readonly (readonly LevelTable[])[],
  free: readonly boolean[],
  limits: LevelLimits,
): Window | undefined {
  const sizes = upper.map(bytesOf)
  let best: Window | undefined
  for (let from = 0; from < sizes.length; from++) {
    let smallest = Number.POSITIVE_INFINITY
    let largest = 0
    let to = from
    for (; to < sizes.length && free[to]!; to++) {
      smallest = Math.min(smallest, sizes[to]!)
      largest = Math.max(largest, sizes[to]!)
      if (largest > limits.sizeRatio * smallest) break
    }
    if (to - from >= limits.runsToMerge && (best === undefined || to - from > best.to - best.from)) best = { from, to }
  }
  return best
}

/**
 * When there are many runs: the neighbours that cost the fewest bytes for each run that there is less. Three at least,
 * because pairs grow one by one; when writers are slowed down already, any two will do.
 */
function cheapest(
  upper: readonly (readonly LevelTable[])[],
  free: readonly boolean[],
  limits: LevelLimits,
): Window | undefined {
  if (upper.length < limits.crowdedRuns) return undefined
  const sizes = upper.map(bytesOf)
  for (let fewest = 3; fewest >= (upper.length >= limits.slowRuns ? 2 : 3); fewest--) {
    let best: Window | undefined
    let bestCost = Number.POSITIVE_INFINITY
    for (let from = 0; from < sizes.length; from++) {
      let bytes = 0
      for (let to = from; to < sizes.length && free[to]!; to++) {
        bytes += sizes[to]!
        const cost = bytes / (to - from)
        if (to + 1 - from < fewest || cost >= bestCost) continue
        best = { from, to: to + 1 }
        bestCost = cost
      }
    }
    if (best !== undefined) return best
  }
  return undefined
}
