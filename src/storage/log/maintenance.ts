/**
 * The background work of one store: frozen memtables become runs of tables, oldest first, and runs are merged. Decides
 * what is to be done next and starts it on the engine's runner; at most one flush and one merge at a time. What a job
 * finishes is installed in the core by a single step, so that a job that is cancelled has changed nothing.
 */
import { StoreError } from '../errors.ts'
import { type Background, InSlices } from './background.ts'
import type { Frozen, StoreCore } from './core.ts'
import { tableName } from './format.ts'
import { InWorker } from './in-worker.ts'
import type { Job, JobRunner, Steps } from './jobs.ts'
import { tableError } from './log-file.ts'
import { applyStep, type MergeStep } from './merge.ts'
import {
  chooseMerge,
  defaultLimits,
  type LevelLimits,
  type LevelTable,
  type MergePlan,
  mergeAll,
  pressure,
  whileLoading,
} from './levels.ts'
import type { Table } from './table.ts'
import type { WorkerPool } from './worker-pool.ts'

/** Frozen memtables that are let be before writers have to help. */
const maxFrozen = 2
/** With more than these a writer does one whole flush. */
const stopFrozen = 8
/** Keys that are taken out of the cache in a step. */
const forgottenPerStep = 8192
/** Bytes that a writer must write to owe one step of a flush, which handles about 30 KB. */
const bytesPerStep = 12 * 1024
/**
 * A writer that must stop waits no longer than this for the worker thread in one commit, milliseconds: that the thread is
 * dead is heard of only in a turn of the event loop.
 */
const longestJoinMs = 100

export class Maintenance {
  readonly #core: StoreCore
  readonly #runner: JobRunner
  /** Throws StoreError when the directory's lock was lost. */
  readonly #checkLock: () => void
  readonly #limits: LevelLimits
  readonly #limitsLoading: LevelLimits
  readonly #background: Background
  #flush: Job | undefined
  #merge: Job | undefined
  /** Everything is to become one run. */
  #isCompacting = false
  /** After an error only the next write tries again. */
  #failed = false
  #owed = 0
  #ended = false

  /** With a `pool` the long parts are done in its worker thread. */
  constructor(
    core: StoreCore,
    runner: JobRunner,
    checkLock: () => void,
    pool: WorkerPool | undefined,
    limits: LevelLimits = defaultLimits,
  ) {
    this.#core = core
    this.#runner = runner
    this.#checkLock = checkLock
    this.#limits = limits
    this.#limitsLoading = whileLoading(limits)
    const { files, nextFile } = core
    const onLost = (error: StoreError): void => core.onEvent({ kind: 'failed', store: files.store, error })
    const settings = { files, nextFile, limits }
    this.#background = pool === undefined ? new InSlices(settings) : new InWorker({ ...settings, pool, onLost })
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
    const plan = this.#isCompacting ? mergeAll(levels) : chooseMerge(levels, this.#limitsNow)
    if (plan !== undefined) this.#startMerge(plan)
  }

  get #limitsNow(): LevelLimits {
    return this.#core.isLoading ? this.#limitsLoading : this.#limits
  }

  #levels(): { readonly upper: readonly (readonly Table[])[]; readonly last: readonly Table[] } {
    const { upper, last } = this.#core.version
    return { upper: upper.map(({ tables }) => tables), last: last.tables }
  }

  /** A writer has written `bytes`: it helps when the background work does not keep up. */
  written(bytes: number): void {
    const { frozen, version } = this.#core
    const crowd = pressure(version.upper.length, this.#limitsNow)
    if (frozen.length <= maxFrozen && crowd === 'none') return
    this.#owed += bytes
    const steps = Math.floor(this.#owed / bytesPerStep)
    this.#owed -= steps * bytesPerStep
    if (this.#failed && steps > 0) {
      this.#failed = false
      this.schedule()
    }
    if (frozen.length > maxFrozen)
      this.#push(this.#flush, frozen.length > stopFrozen ? Number.POSITIVE_INFINITY : steps)
    if (crowd !== 'none') this.#push(this.#merge, crowd === 'stop' ? Number.POSITIVE_INFINITY : 2 * steps)
  }

  #push(job: Job | undefined, steps: number): void {
    if (job === undefined || steps <= 0) return
    if (!this.#background.isApart) this.#runner.advance(job, steps)
    else if (steps === Number.POSITIVE_INFINITY) this.#runner.join(job, longestJoinMs)
  }

  /**
   * Before a write: throws StoreError when memtables pile up because they cannot be written into tables, after one more
   * attempt. Else they would take all memory there is.
   */
  checkRoom(): void {
    const error = this.#error
    if (error === undefined || this.#core.frozen.length <= stopFrozen) return
    this.flushNow()
    if (this.#core.frozen.length > stopFrozen) throw this.#error ?? error
  }

  /** Brings the oldest frozen memtable into tables at once, as far as that can be waited for. */
  flushNow(): void {
    if (this.#failed) {
      this.#failed = false
      this.schedule()
    }
    this.#push(this.#flush, Number.POSITIVE_INFINITY)
  }

  /** Resolves when nothing goes on; undefined: nothing does. Never rejects. */
  idle(): Promise<void> | undefined {
    return this.#flush === undefined && this.#merge === undefined ? undefined : this.#runner.idle(this)
  }

  /** Resolves when writers are not asked to help any more; undefined when they are not, or waiting for it is no use. */
  ready(): Promise<void> | undefined {
    const { frozen, version } = this.#core
    if (frozen.length <= maxFrozen && pressure(version.upper.length, this.#limitsNow) === 'none') return undefined
    return this.idle()
  }

  /** Does everything that is to be flushed; rejects with what went wrong. */
  async flushAll(): Promise<void> {
    this.#failed = false
    for (;;) {
      this.schedule()
      if (this.#isFlushed) return
      await this.#runner.idle(this)
      // What a merge beside it failed with is no failure of flushing.
      if (this.#core.poison === undefined && this.#isFlushed) return
      this.#checkGoesOn()
    }
  }

  get #isFlushed(): boolean {
    return this.#core.frozen.length === 0 && this.#flush === undefined
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
        this.#checkGoesOn()
      }
    } finally {
      this.#isCompacting = false
    }
  }

  /** Throws StoreError when what somebody waits for will not be done any more. */
  #checkGoesOn(): void {
    const { poison, files } = this.#core
    if (poison !== undefined) throw poison
    if (this.#error !== undefined) throw this.#error
    if (this.#ended) throw new StoreError('ERR_STORE_CLOSED', files.store, 'it was closed before this was done')
  }

  /** Breaks off what is running. */
  cancel(): Promise<void> {
    this.#flush = undefined
    this.#merge = undefined
    this.#background.cancel()
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
    try {
      const result = yield* this.#background.merge(plan, apply)
      if (result === undefined) return
      const { inputBytes, outputBytes } = result
      core.onEvent({ kind: 'merged', store: core.files.store, inputBytes, outputBytes })
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
    // Nothing more is written then: the other job would only come upon the same.
    if (this.#core.poisonBy(error)) void this.cancel()
    else this.#core.onEvent({ kind: 'failed', store, error })
  }

  *#flushSteps(frozen: Frozen): Steps<void> {
    const core = this.#core
    const { memtable } = frozen
    for (let at = 0; at < memtable.visibleKeys; at += forgottenPerStep) {
      core.forget(memtable, at, Math.min(at + forgottenPerStep, memtable.visibleKeys))
      yield
    }
    // With nothing older a deletion has nothing to say.
    const isFirst = core.version.empty
    const tables = memtable.empty ? [] : yield* this.#background.flush(memtable, isFirst)
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

  /** A table that does not count after all, unless the store is poisoned; if it stays, the next opening removes it. */
  #remove(number: number): void {
    if (this.#core.poison !== undefined) return
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
