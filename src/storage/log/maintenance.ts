/**
 * The background work of one store: frozen memtables become runs of tables, oldest first, and runs are merged. Decides
 * what is to be done next and starts it on the engine's runner; at most one flush and one merge at a time. What a job
 * finishes is installed in the core by a single step, so that a job that is cancelled has changed nothing.
 */
import { StoreError } from '../errors.ts'
import type { Frozen, StoreCore } from './core.ts'
import { everything, type EntryCursor } from './cursor.ts'
import { tableName } from './format.ts'
import type { Job, JobRunner, Steps } from './jobs.ts'
import { tableError } from './log-file.ts'
import { memtableCursor } from './memtable-cursor.ts'
import { MergeCursor } from './merge-cursor.ts'
import { applyStep, type MergeStep, merge } from './merge.ts'
import {
  chooseMerge,
  defaultLimits,
  type LevelLimits,
  type LevelTable,
  type MergePlan,
  mergeAll,
  pressure,
} from './levels.ts'
import type { Table } from './table.ts'
import { writeRun } from './write-run.ts'

/** Frozen memtables that are let be before writers have to help. */
const maxFrozen = 2
/** With more than these a writer does one whole flush. */
const stopFrozen = 8
/** Steps of ordering at a time, about 50 ns each. */
const orderingUnits = 6000
/** Bytes that a writer must write to owe one step of a flush, which handles about 30 KB. */
const bytesPerStep = 12 * 1024

export class Maintenance {
  readonly #core: StoreCore
  readonly #runner: JobRunner
  /** Throws StoreError when the directory's lock was lost. */
  readonly #checkLock: () => void
  readonly #limits: LevelLimits
  #flush: Job | undefined
  #merge: Job | undefined
  /** Everything is to become one run. */
  #isCompacting = false
  /** After an error only the next write tries again. */
  #failed = false
  #owed = 0
  #ended = false

  constructor(core: StoreCore, runner: JobRunner, checkLock: () => void, limits: LevelLimits = defaultLimits) {
    this.#core = core
    this.#runner = runner
    this.#checkLock = checkLock
    this.#limits = limits
    core.onWork = () => this.schedule()
  }

  /** Starts what there is to do. */
  schedule(): void {
    const { poison, frozen } = this.#core
    if (this.#ended || poison !== undefined) return
    const [oldest] = frozen
    if (this.#flush === undefined && oldest !== undefined) this.#startFlush(oldest)
    if (this.#merge !== undefined) return
    const levels = this.#levels()
    const plan = this.#isCompacting ? mergeAll(levels) : chooseMerge(levels, this.#limits)
    if (plan !== undefined) this.#startMerge(plan)
  }

  #levels(): { readonly upper: readonly (readonly Table[])[]; readonly last: readonly Table[] } {
    const { upper, last } = this.#core.version
    return { upper: upper.map(({ tables }) => tables), last: last.tables }
  }

  /** A writer has written `bytes`: it helps when the background work does not keep up. */
  written(bytes: number): void {
    const { frozen, version } = this.#core
    const crowd = pressure(version.upper.length, this.#limits)
    if (frozen.length <= maxFrozen && crowd === 'none') return
    if (this.#failed) {
      this.#failed = false
      this.schedule()
    }
    this.#owed += bytes
    const steps = Math.floor(this.#owed / bytesPerStep)
    this.#owed -= steps * bytesPerStep
    if (frozen.length > maxFrozen)
      this.#push(this.#flush, frozen.length > stopFrozen ? Number.POSITIVE_INFINITY : steps)
    if (crowd !== 'none') this.#push(this.#merge, crowd === 'stop' ? Number.POSITIVE_INFINITY : 2 * steps)
  }

  #push(job: Job | undefined, steps: number): void {
    if (job !== undefined && steps > 0) this.#runner.advance(job, steps)
  }

  /** Resolves when writers are not asked to help any more; undefined when they are not. */
  ready(): Promise<void> | undefined {
    const { frozen, version } = this.#core
    if (frozen.length <= maxFrozen && pressure(version.upper.length, this.#limits) === 'none') return undefined
    return this.#runner.idle(this)
  }

  /** Does everything that is to be flushed; rejects with what went wrong. */
  async flushAll(): Promise<void> {
    this.#failed = false
    for (;;) {
      this.schedule()
      if (this.#core.frozen.length === 0 && this.#flush === undefined) return
      await this.#runner.idle(this)
      if (this.#core.poison !== undefined) throw this.#core.poison
      if (this.#error !== undefined) throw this.#error
    }
  }

  /** Merges everything into one run without deletions; rejects with what went wrong. */
  async compact(): Promise<void> {
    await this.flushAll()
    // A merge that is running does not see the newest runs.
    await this.#runner.idle(this)
    this.#isCompacting = true
    try {
      while (this.#core.version.upper.length > 0) {
        this.schedule()
        await this.#runner.idle(this)
        if (this.#core.poison !== undefined) throw this.#core.poison
        if (this.#error !== undefined) throw this.#error
      }
    } finally {
      this.#isCompacting = false
    }
  }

  /** Breaks off what is running. */
  cancel(): Promise<void> {
    this.#flush = undefined
    this.#merge = undefined
    return this.#runner.cancel(this)
  }

  /** Breaks off what is running, and starts nothing any more. */
  end(): Promise<void> {
    this.#ended = true
    return this.cancel()
  }

  #error: StoreError | undefined

  #startMerge(plan: MergePlan<Table>): void {
    this.#error = undefined
    this.#merge = this.#runner.start(this.#mergeSteps(plan), {
      owner: this,
      done: () => {
        this.#merge = undefined
        this.schedule()
      },
      failed: (cause) => {
        this.#merge = undefined
        this.#fail(cause)
      },
    })
  }

  *#mergeSteps(plan: MergePlan<Table>): Steps<void> {
    const core = this.#core
    const inputs = new Map(tablesOf(plan).map((table) => [table.meta.fileNumber, table]))
    core.tables.retain(inputs.values())
    const letGo = (number: number): void => {
      const table = inputs.get(number)
      if (table === undefined) return
      inputs.delete(number)
      core.tables.release([table])
    }
    const apply = (step: MergeStep): Steps<void> => this.#apply(step, letGo)
    const { files, nextFile } = core
    try {
      const { inputBytes, outputBytes } = yield* merge({ files, nextFile, apply, limits: this.#limits }, plan)
      core.onEvent({ kind: 'merged', store: files.store, inputBytes, outputBytes })
    } finally {
      for (const number of [...inputs.keys()]) letGo(number)
    }
  }

  /** Installs what a merge has done so far; `letGo` is told which of its inputs it does not need any more. */
  *#apply(step: MergeStep, letGo: (number: number) => void): Steps<void> {
    const core = this.#core
    const { upper, last } = this.#levels()
    const numbers = (tables: readonly LevelTable[]): number[] => tables.map(({ meta }) => meta.fileNumber)
    let superseded: ReturnType<StoreCore['install']>
    try {
      this.#checkLock()
      const next = applyStep<LevelTable>({ upper, last }, step, (meta) => ({ meta }))
      superseded = core.install(next.upper.map(numbers), numbers(next.last))
    } catch (error) {
      const moved = new Set(step.remove)
      for (const { fileNumber } of step.add) if (!moved.has(fileNumber)) this.#remove(fileNumber)
      throw error
    }
    yield* this.#settle(superseded)
    for (const number of step.remove) letGo(number)
  }

  *#settle(superseded: ReturnType<StoreCore['install']>): Steps<void> {
    const core = this.#core
    try {
      yield core.manifestSynced
    } catch (error) {
      throw core.manifestFailed(error)
    }
    core.settle(superseded)
  }

  #startFlush(frozen: Frozen): void {
    this.#error = undefined
    this.#flush = this.#runner.start(this.#flushSteps(frozen), {
      owner: this,
      urgent: true,
      done: () => {
        this.#flush = undefined
        this.schedule()
      },
      failed: (cause) => {
        this.#flush = undefined
        this.#fail(cause)
      },
    })
  }

  #fail(cause: unknown): void {
    this.#failed = true
    const { store } = this.#core.files
    const error = cause instanceof StoreError ? cause : tableError(store, cause)
    this.#error = error
    if (!this.#core.poisonBy(error)) this.#core.onEvent({ kind: 'failed', store, error })
  }

  *#flushSteps(frozen: Frozen): Steps<void> {
    const core = this.#core
    const { memtable } = frozen
    const ordering = memtable.ordering()
    if (ordering !== undefined) while (!ordering.step(orderingUnits)) yield
    // With nothing older a deletion has nothing to say.
    const isFirst = core.version.empty
    let cursor: EntryCursor = memtableCursor(memtable, everything, memtable.visible)
    if (isFirst) cursor = new MergeCursor([cursor], { reverse: false, dropDeleted: true })
    const tables = memtable.empty ? [] : yield* writeRun(core.files, core.nextFile, cursor)
    const numbers = tables.map(({ fileNumber }) => fileNumber)
    const { upper, last } = core.version.numbers()
    let superseded: ReturnType<StoreCore['install']>
    try {
      this.#checkLock()
      if (numbers.length === 0) superseded = core.install(upper, last, frozen)
      else if (isFirst) superseded = core.install(upper, numbers, frozen)
      else superseded = core.install([numbers, ...upper], last, frozen)
    } catch (error) {
      for (const number of numbers) this.#remove(number)
      throw error
    }
    yield* this.#settle(superseded)
    const bytes = tables.reduce((sum, { byteLength }) => sum + byteLength, 0)
    core.onEvent({ kind: 'flushed', store: core.files.store, entries: memtable.visibleKeys, bytes })
  }

  /** A table that does not count after all; if it stays, the next opening removes it. */
  #remove(number: number): void {
    try {
      this.#core.files.fs.removeSync(`${this.#core.files.dir}/${tableName(number)}`)
    } catch {
      // See above.
    }
  }
}

function tablesOf(plan: MergePlan<Table>): readonly Table[] {
  switch (plan.kind) {
    case 'move':
      return plan.run
    case 'upper':
      return plan.runs.flat()
    case 'last':
      return [...plan.runs.flat(), ...plan.last]
  }
}
