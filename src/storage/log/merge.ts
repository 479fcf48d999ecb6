/**
 * The work of merges, in steps. What a merge writes is its own until it hands it over with `apply`; from then on it
 * belongs to the version. Broken off, it removes what it had not handed over, and every step it did hand over stands.
 *
 * Merging into the last level goes through the keys in order. After each part one step takes the used-up tables of the last
 * level out and puts the new ones in, so that twice the space is needed for about one part only. Between two steps the
 * merged runs are all still there: they hold the newest version of all their keys, deleted ones included, and so hide
 * what was merged of them already and what was not. They go with the final step.
 */
import { assert } from '../../base/assert.ts'
import { type CursorRange, type EntryCursor, everything } from './cursor.ts'
import type { StoreFiles } from './format.ts'
import {
  bytesOf,
  compareBounds,
  defaultLimits,
  type LevelLimits,
  type Levels,
  type LevelTable,
  type MergePlan,
} from './levels.ts'
import { MergeCursor } from './merge-cursor.ts'
import { type Partition, planPartitions } from './partitions.ts'
import type { Table } from './table.ts'
import { TableCursor } from './table-cursor.ts'
import type { TableMeta } from './table-layout.ts'
import type { Steps } from './wait.ts'
import { TableSink, writeRun } from './write-run.ts'

/**
 * A change of the version. First `remove` leave the levels they are in, then `add` come: as tables of the last level, or as
 * one upper run in the place of the runs removed (none, if it is empty). A table in both is moved: its file stays.
 */
export interface MergeStep {
  readonly level: 'upper' | 'last'
  /** Durable tables, ascending and disjoint. */
  readonly add: readonly TableMeta[]
  /** File numbers. A run is removed as a whole. */
  readonly remove: readonly number[]
  /** The plan is done with this. */
  readonly isFinal: boolean
}

export interface MergeResult {
  /** Bytes of files read, and written. */
  readonly inputBytes: number
  readonly outputBytes: number
}

export interface MergeContext {
  readonly files: StoreFiles
  /** A file number that was never given before. */
  nextFile(): number
  /** Makes a step durable and visible. From its call on, what the step adds is no more the merge's to remove. */
  apply(step: MergeStep): Steps<void>
  readonly limits?: LevelLimits
}

/** Carries out a plan. */
export function* merge(context: MergeContext, plan: MergePlan<Table>): Steps<MergeResult> {
  switch (plan.kind) {
    case 'move': {
      const add = plan.run.map(({ meta }) => meta)
      yield* context.apply({ level: 'last', add, remove: numbersOf(plan.run), isFinal: true })
      return { inputBytes: 0, outputBytes: 0 }
    }
    case 'upper': {
      const tables = plan.runs.flat()
      const cursors = plan.runs.map((run) => walk(run, everything))
      const cursor = new MergeCursor(cursors, { dropDeleted: plan.dropDeleted, commonPrefix: commonPrefix(tables) })
      const add = yield* writeRun(context.files, () => context.nextFile(), cursor, limitsOf(context))
      yield* context.apply({ level: 'upper', add, remove: numbersOf(tables), isFinal: true })
      return { inputBytes: bytesOf(tables), outputBytes: bytesOf(add.map((meta) => ({ meta }))) }
    }
    case 'last':
      return yield* new LastMerge(context, plan.runs, plan.last).steps()
  }
}

/** The tables after a step. `table` makes one of its description. */
export function applyStep<T extends LevelTable>(
  levels: Levels<T>,
  step: MergeStep,
  table: (meta: TableMeta) => T,
): Levels<T> {
  const removed = new Set(step.remove)
  const isGone = ({ meta }: T): boolean => removed.has(meta.fileNumber)
  const added = step.add.map(table)
  const upper = levels.upper.map((run) => (run.some(isGone) ? undefined : run))
  const last = levels.last.filter((old) => !isGone(old))
  if (step.level === 'upper') {
    const at = upper.lastIndexOf(undefined)
    assert(at >= 0, 'the runs of a merge are gone')
    if (added.length > 0) upper[at] = added
  } else {
    last.push(...added)
    last.sort((a, b) => compareBounds(a.meta.min, b.meta.min))
    for (let i = 1; i < last.length; i++) {
      assert(compareBounds(last[i - 1]!.meta.max, last[i]!.meta.min) < 0, 'tables of the last level overlap')
    }
  }
  return { upper: upper.filter((run) => run !== undefined), last }
}

/** A cursor over tables of one run. */
function walk(tables: readonly Table[], range: CursorRange): EntryCursor {
  return new TableCursor(
    tables.map(({ file }) => file),
    range,
  )
}

/** With how many same bytes all keys of tables begin; undefined: they are of several spaces. */
function commonPrefix(tables: readonly LevelTable[]): number | undefined {
  const [first] = tables
  if (first === undefined) return undefined
  let { min, max } = first.meta
  for (const { meta } of tables) {
    if (compareBounds(meta.min, min) < 0) min = meta.min
    if (compareBounds(meta.max, max) > 0) max = meta.max
  }
  if (min.space !== max.space) return undefined
  const length = Math.min(min.key.length, max.key.length)
  let same = 0
  // What begins the smallest and the largest begins all between them.
  while (same < length && min.key[same] === max.key[same]) same += 1
  return same
}

function numbersOf(tables: readonly LevelTable[]): number[] {
  return tables.map(({ meta }) => meta.fileNumber)
}

function limitsOf({ limits = defaultLimits }: MergeContext): { readonly maxTableBytes: number } {
  return { maxTableBytes: limits.tableBytes }
}

/** One merge into the last level. */
class LastMerge {
  readonly #context: MergeContext
  readonly #runs: readonly (readonly Table[])[]
  readonly #last: readonly Table[]
  readonly #limits: LevelLimits
  readonly #sink: TableSink
  /** Tables of the last level that are used up since the last step. */
  #used: Table[] = []
  #inputBytes = 0
  #outputBytes = 0

  constructor(context: MergeContext, runs: readonly (readonly Table[])[], last: readonly Table[]) {
    this.#context = context
    this.#runs = runs
    this.#last = last
    this.#limits = context.limits ?? defaultLimits
    this.#sink = new TableSink(context.files, () => context.nextFile(), limitsOf(context))
  }

  *steps(): Steps<MergeResult> {
    try {
      const { partitions, moved } = planPartitions(this.#runs, this.#last, this.#limits)
      for (const partition of partitions) {
        if (partition.wall) yield* this.#step()
        // What is left over from the last one is finished together with this one, when it is little.
        const isLittle = this.#sink.finishedCount === 0 && this.#sink.openBytes < this.#limits.smallTableBytes
        const isJoined = isLittle && this.#sink.openBytes > 0 && this.#isSmall(partition.last)
        const isWritten = isJoined || this.#hasNews(partition)
        if (!isWritten || !isLittle) yield* this.#step()
        if (isWritten) yield* this.#write(partition)
      }
      yield* this.#finalStep(moved)
      const upper = this.#runs.flat()
      this.#inputBytes += bytesOf(upper) - bytesOf(moved)
      return { inputBytes: this.#inputBytes, outputBytes: this.#outputBytes }
    } finally {
      this.#sink.discard()
    }
  }

  #isSmall(table: Table | undefined): boolean {
    return table !== undefined && table.meta.byteLength < this.#limits.smallTableBytes
  }

  /** Whether the runs have anything in the range: their tables may reach over it without an entry there. */
  #hasNews(partition: Partition<Table>): boolean {
    for (const run of partition.upper) {
      const cursor = walk(run, partition.range)
      try {
        if (cursor.next()) return true
      } finally {
        cursor.close()
      }
    }
    return false
  }

  *#write(partition: Partition<Table>): Steps<void> {
    const { range, upper, last } = partition
    const sink = this.#sink
    const cursors = upper.map((run) => walk(run, range))
    if (last !== undefined) cursors.push(walk([last], everything))
    const tables = last === undefined ? upper.flat() : [...upper.flat(), last]
    const cursor = new MergeCursor(cursors, { dropDeleted: true, commonPrefix: commonPrefix(tables) })
    const before = sink.writtenBytes
    try {
      while (sink.write(cursor)) {
        if (sink.full) yield* sink.cut()
        else if (last === undefined) yield
        else {
          const share = cursor.taken(cursors.length - 1) / last.meta.entryCount
          if (this.#isEvenCut(sink.writtenBytes - before, share)) yield* sink.cut()
          else yield
        }
      }
    } finally {
      cursor.close()
    }
    if (last !== undefined) this.#used.push(last)
  }

  /**
   * Whether to cut although there is room: when what is still to come of this part does not fit, it is divided evenly, so
   * that tables stay between half full and full and no part is left over. `share` of the part has become `written` bytes.
   */
  #isEvenCut(written: number, share: number): boolean {
    const { tableBytes } = this.#limits
    const open = this.#sink.openBytes
    if (open < tableBytes / 2 || share <= 0) return false
    const rest = open + written * (1 / share - 1)
    // A little room, because it is an estimate.
    const tables = Math.ceil(rest / (0.97 * tableBytes))
    return tables > 1 && open >= rest / tables
  }

  /** Hands over what is finished, if there is anything. */
  *#step(): Steps<void> {
    const { add, used } = yield* this.#settle()
    if (used.length === 0 && add.length === 0) return
    yield* this.#context.apply({ level: 'last', add, remove: numbersOf(used), isFinal: false })
  }

  *#finalStep(moved: readonly Table[]): Steps<void> {
    const { add, used } = yield* this.#settle()
    const all = [...add, ...moved.map(({ meta }) => meta)].sort((a, b) => compareBounds(a.min, b.min))
    const remove = numbersOf([...used, ...this.#runs.flat()])
    yield* this.#context.apply({ level: 'last', add: all, remove, isFinal: true })
  }

  *#settle(): Steps<{ add: TableMeta[]; used: Table[] }> {
    yield* this.#sink.settle()
    const add = this.#sink.take()
    const used = this.#used
    this.#used = []
    this.#inputBytes += bytesOf(used)
    this.#outputBytes += bytesOf(add.map((meta) => ({ meta })))
    return { add, used }
  }
}
