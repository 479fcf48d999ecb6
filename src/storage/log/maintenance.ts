/**
 * The background work of one store: frozen memtables become runs of tables, oldest first, and runs are merged. Decides
 * what is to be done next and starts it on the engine's runner: at most one merge at a time and two flushes, so that the
 * second is written while the first waits for the disk. What a job finishes is installed in the core by a single step, so
 * that a job that is cancelled has changed nothing.
 */
import { type Deferred, deferred } from '../../base/deferred.ts'
import { StoreError } from '../errors.ts'
import { type Background, InSlices } from './background.ts'
import type { StoreCore } from './core.ts'
import type { Frozen } from './core-parts.ts'
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

/** Frozen memtables that are let be before writers have to wait or help: two that are being flushed, and as many behind them. */
const maxFrozen = 4
/** Flushes at a time. */
const maxFlushes = 2
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

/** A flush that has not ended. */
interface Flush {
  readonly frozen: Frozen
  job: Job | undefined
  /** Resolves when it has ended, however. */
  readonly ended: Deferred
}

export class Maintenance {
  readonly #core: StoreCore
  readonly #runner: JobRunner
  readonly #limits: LevelLimits
  readonly #limitsLoading: LevelLimits
  readonly #background: Background
  /** Oldest first. */
  #flushes: Flush[] = []
  #merge: Job | undefined
  /** Resolves when the merge that runs has ended, however. */
  #mergeEnded = deferred()
  /** Everything is to become one run. */
  #isCompacting = false
  /** Upper runs that the last owner or a load has left: that they are many is not for who writes now to wait for. */
  #inherited: number
  /** After an error only the next write tries again. */
  #failed = false
  #owed = 0
  #ended = false

  /** With a `pool` the long parts are done in its worker thread. */
  constructor(core: StoreCore, runner: JobRunner, pool: WorkerPool | undefined, limits: LevelLimits = defaultLimits) {
    this.#core = core
    this.#inherited = core.version.upper.length
    this.#runner = runner
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
    if (this.#mayFlush) {
      const flushes = Math.min(maxFlushes, frozen.length)
      while (this.#flushes.length < flushes) this.#startFlush(frozen[this.#flushes.length]!)
    }
    if (this.#merge !== undefined) return
    const levels = this.#levels()
    const plan = this.#isCompacting ? mergeAll(levels) : chooseMerge(levels, this.#limitsNow)
    if (plan !== undefined) this.#startMerge(plan)
  }

  /** Not while one flush is still under way whose predecessor has failed: the oldest goes first again. */
  get #mayFlush(): boolean {
    const [oldest] = this.#flushes
    return oldest === undefined || oldest.frozen === this.#core.frozen[0]
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
    const { frozen } = this.#core
    const crowd = this.#crowd()
    if (frozen.length <= maxFrozen && crowd === 'none') return
    this.#owed += bytes
    const steps = Math.floor(this.#owed / bytesPerStep)
    this.#owed -= steps * bytesPerStep
    if (this.#failed && steps > 0) {
      this.#failed = false
      this.schedule()
    }
    if (frozen.length > maxFrozen)
      this.#push(this.#oldestFlush, frozen.length > stopFrozen ? Number.POSITIVE_INFINITY : steps)
    if (crowd !== 'none') this.#push(this.#merge, crowd === 'stop' ? Number.POSITIVE_INFINITY : 2 * steps)
  }

  /** What upper runs ask of writers. */
  #crowd(): ReturnType<typeof pressure> {
    const { version, isLoading } = this.#core
    const runs = version.upper.length
    if (isLoading) {
      this.#inherited = runs
      return pressure(runs, this.#limitsLoading)
    }
    if (runs < this.#inherited) this.#inherited = runs
    return pressure(runs - this.#inherited, this.#limits)
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
    this.#push(this.#oldestFlush, Number.POSITIVE_INFINITY)
  }

  get #oldestFlush(): Job | undefined {
    return this.#flushes[0]?.job
  }

  /** Resolves when the oldest flush has ended; undefined: there is none. Never rejects. */
  flushed(): Promise<void> | undefined {
    return this.#flushes[0]?.ended.promise
  }

  /** Resolves when writers are asked for less help than now; undefined when they are for none, or waiting is no use. */
  ready(): Promise<void> | undefined {
    if (this.#core.frozen.length > maxFrozen) return this.flushed()
    if (this.#merge === undefined || this.#crowd() === 'none') return undefined
    return this.#mergeEnded.promise
  }

  /** Does everything that is to be flushed; rejects with what went wrong. */
  async flushAll(): Promise<void> {
    this.#failed = false
    this.#error = undefined
    for (;;) {
      this.schedule()
      if (this.#isFlushed) return
      await this.flushed()
      // What a merge beside it failed with is no failure of flushing.
      if (this.#core.poison === undefined && this.#isFlushed) return
      this.#checkGoesOn()
    }
  }

  get #isFlushed(): boolean {
    return this.#core.frozen.length === 0 && this.#flushes.length === 0
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
    for (const { ended } of this.#flushes) ended.resolve()
    this.#flushes = []
    this.#mergeIsOver()
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
        this.#mergeIsOver()
        this.schedule()
      },
      failed: (cause) => {
        this.#mergeIsOver()
        this.#fail(cause)
      },
    })
  }

  #mergeIsOver(): void {
    this.#merge = undefined
    this.#mergeEnded.resolve()
    this.#mergeEnded = deferred()
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
      core.files.checkLock?.()
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
    const flush: Flush = { frozen, job: undefined, ended: deferred() }
    const before = this.#flushes.at(-1)
    this.#flushes.push(flush)
    const over = (): void => {
      this.#flushes = this.#flushes.filter((one) => one !== flush)
      flush.ended.resolve()
    }
    flush.job = this.#runner.start(this.#flushSteps(frozen, before), {
      owner: this,
      urgent: true,
      done: () => {
        over()
        const isInTables = !this.#core.frozen.includes(frozen)
        // Else it has ended because the one before has failed, and only the next write tries again.
        if (isInTables || !this.#failed) this.schedule()
      },
      failed: (cause) => {
        over()
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

  /** `before`: the flush of the memtable before, if it had not ended when this one began. */
  *#flushSteps(frozen: Frozen, before: Flush | undefined): Steps<void> {
    const core = this.#core
    const { memtable } = frozen
    for (let at = 0; at < memtable.visibleKeys; at += forgottenPerStep) {
      core.forget(memtable, at, Math.min(at + forgottenPerStep, memtable.visibleKeys))
      yield
    }
    // With nothing older a deletion has nothing to say.
    const isFirst = core.version.empty && before === undefined
    const tables = memtable.empty ? [] : yield* this.#background.flush(memtable, isFirst)
    const numbers = tables.map(({ fileNumber }) => fileNumber)
    let superseded: ReturnType<StoreCore['install']> | undefined
    try {
      if (before !== undefined) yield* this.#endOf(before)
      // The one before has failed: this memtable is flushed again behind it.
      if (core.frozen[0] !== frozen) return
      core.files.checkLock?.()
      const { upper, last } = core.version.numbers()
      if (numbers.length === 0) superseded = core.install(upper, last, frozen)
      else if (isFirst) superseded = core.install(upper, numbers, frozen)
      else {
        superseded = core.install([numbers, ...upper], last, frozen)
        // Of a load, which may be over by now.
        if (frozen.log === undefined) this.#inherited += 1
      }
    } finally {
      if (superseded === undefined) for (const number of numbers) this.#remove(number)
    }
    yield* this.#settle(superseded)
    const bytes = tables.reduce((sum, { byteLength }) => sum + byteLength, 0)
    core.onEvent({ kind: 'flushed', store: core.files.store, entries: memtable.visibleKeys, bytes })
  }

  *#endOf(flush: Flush): Steps<void> {
    const isOver = (): boolean => !this.#flushes.includes(flush)
    while (!isOver()) {
      yield { block: () => {}, isBusy: () => !isOver(), wait: () => flush.ended.promise, join: isOver }
    }
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
