/**
 * How a merge into the last level is divided: into parts of the key order, in each of which at most one table of the last
 * level is used up. Tables that no merged run touches stay where they are; tables of merged runs that touch nothing are
 * moved as they are; nothing that is written reaches across one of those. Pure.
 */
import type { CursorRange } from './cursor.ts'
import { compareBounds, type LevelLimits, type LevelTable, overlapping } from './levels.ts'

/** One part of the key order; they follow each other without gaps. */
export interface Partition<T extends LevelTable> {
  readonly range: CursorRange
  /** The tables of the merged runs that may have keys in the range; the newest run first, no run is empty. */
  readonly upper: readonly (readonly T[])[]
  /** The table of the last level whose entries lie in the range, if it is merged. */
  readonly last: T | undefined
  /** A table that stays or is moved lies in the range, at its beginning: no output may begin before and end in it. */
  readonly wall: boolean
}

export interface Partitions<T extends LevelTable> {
  readonly partitions: readonly Partition<T>[]
  /** Tables of the merged runs that go into the last level as they are. */
  readonly moved: readonly T[]
}

/** `runs` the newest first, all older than any other run and newer than `last`. */
export function planPartitions<T extends LevelTable>(
  runs: readonly (readonly T[])[],
  last: readonly T[],
  limits: LevelLimits,
): Partitions<T> {
  const moved = runs.flatMap((run, i) => run.filter((table) => isMovable(table, [...without(runs, i), last], limits)))
  const movedSet = new Set(moved)
  const merged = runs.map((run) => run.filter((table) => !movedSet.has(table)))
  const inputs = new Set(last.filter((_, i) => isMerged(last, i, merged, limits)))
  const fences = [...last, ...moved].sort((a, b) => compareBounds(a.meta.min, b.meta.min))

  const partitions: Partition<T>[] = []
  for (let i = -1; i < fences.length; i++) {
    const fence = fences[i]
    const next = fences[i + 1]
    const wall = fence !== undefined && !inputs.has(fence)
    // What lies before the first table is merged together with it, unless that one is left alone.
    if (i === -1 && next !== undefined && inputs.has(next)) continue
    const from = i <= 0 && !wall ? undefined : fence?.meta.min
    const range = { from, to: next?.meta.min, reverse: false }
    const upper = merged.map((run) => inRange(run, range)).filter((run) => run.length > 0)
    partitions.push({ range, upper, last: wall ? undefined : fence, wall })
  }
  return { partitions, moved }
}

function without<T>(list: readonly T[], at: number): T[] {
  return list.filter((_, i) => i !== at)
}

function inRange<T extends LevelTable>(run: readonly T[], { from, to }: CursorRange): readonly T[] {
  const tables = overlapping(run, from, to)
  // The end is exclusive.
  const end = tables.at(-1)
  return end !== undefined && to !== undefined && compareBounds(end.meta.min, to) === 0 ? tables.slice(0, -1) : tables
}

function isMovable<T extends LevelTable>(table: T, others: readonly (readonly T[])[], limits: LevelLimits): boolean {
  const { meta } = table
  if (meta.tombstoneCount > 0 || meta.byteLength < limits.smallTableBytes) return false
  return others.every((tables) => overlapping(tables, meta.min, meta.max).length === 0)
}

/** Merged are tables that a run overlaps, and small ones where something new comes into the gap beside them. */
function isMerged<T extends LevelTable>(
  last: readonly T[],
  at: number,
  runs: readonly (readonly T[])[],
  limits: LevelLimits,
): boolean {
  const { meta } = last[at]!
  const isSmall = meta.byteLength < limits.smallTableBytes
  const min = isSmall ? last[at - 1]?.meta.max : meta.min
  const max = isSmall ? last[at + 1]?.meta.min : meta.max
  return runs.some((run) => overlapping(run, min, max).length > 0)
}
