/**
 * Where the long part of background work is done: here in slices, or in a worker thread (in-worker.ts). Maintenance decides
 * what is done and installs what comes of it; neither depends on where.
 */
import { everything, type EntryCursor } from './cursor.ts'
import type { StoreFiles } from './format.ts'
import type { LevelLimits, MergePlan } from './levels.ts'
import type { Memtable } from './memtable.ts'
import { memtableCursor } from './memtable-cursor.ts'
import { MergeCursor } from './merge-cursor.ts'
import { type MergeContext, type MergeResult, merge } from './merge.ts'
import type { Table } from './table.ts'
import type { TableMeta } from './table-layout.ts'
import type { Steps } from './wait.ts'
import { writeRun } from './write-run.ts'

/** Steps of ordering at a time, about 50 ns each. */
const orderingUnits = 6000

export interface Background {
  /** Whether work that has begun goes on by itself, so that pushing its steps would not make it faster. */
  readonly isApart: boolean
  /**
   * Writes a memtable that is not written any more into durable tables, which belong to the caller then. Returned early or
   * after an error there are none. `dropDeleted`: nothing older is left that a deletion could say something about.
   */
  flush(memtable: Memtable, dropDeleted: boolean): Steps<TableMeta[]>
  /**
   * Carries out a plan; `apply` as in MergeContext. Undefined: it could not go on after the steps it has applied, and what
   * is left is to be planned anew.
   */
  merge(plan: MergePlan<Table>, apply: MergeContext['apply']): Steps<MergeResult | undefined>
  /** The steps that are running are about to be returned: what they wait for elsewhere is to end soon. */
  cancel(): void
}

/** What writing tables needs. */
export interface BackgroundSettings {
  readonly files: StoreFiles
  /** A file number that was never given before. */
  nextFile(): number
  readonly limits: LevelLimits
}

/** On this thread, as steps of whoever runs them. */
export class InSlices implements Background {
  readonly isApart = false
  readonly #settings: BackgroundSettings

  constructor(settings: BackgroundSettings) {
    this.#settings = settings
  }

  flush(memtable: Memtable, dropDeleted: boolean): Steps<TableMeta[]> {
    const { files, nextFile } = this.#settings
    return writeMemtable(files, nextFile, memtable, dropDeleted)
  }

  merge(plan: MergePlan<Table>, apply: MergeContext['apply']): Steps<MergeResult> {
    const { files, nextFile, limits } = this.#settings
    return merge({ files, nextFile, apply, limits }, plan)
  }

  cancel(): void {}
}

/** Orders what is visible of a memtable and writes it, as `Background.flush` says. */
export function* writeMemtable(
  files: StoreFiles,
  nextFile: () => number,
  memtable: Memtable,
  dropDeleted: boolean,
): Steps<TableMeta[]> {
  const ordering = memtable.ordering()
  if (ordering !== undefined) while (!ordering.step(orderingUnits)) yield
  let cursor: EntryCursor = memtableCursor(memtable, everything, memtable.visible)
  if (dropDeleted) cursor = new MergeCursor([cursor], { reverse: false, dropDeleted: true })
  return yield* writeRun(files, nextFile, cursor)
}
