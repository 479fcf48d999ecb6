/**
 * Background work of a store in the worker thread of its engine. The steps here only give tasks, wait for what is heard of
 * them, and hand it on. When the thread is lost they go on in slices on this thread. A file that the worker has made belongs
 * to it until it hands it over, then to the task here until its steps have taken it, then to whoever installs it.
 */
import { StoreError } from '../errors.ts'
import { type Background, type BackgroundSettings, InSlices } from './background.ts'
import { tableName } from './format.ts'
import { bytesOf, type LevelTable, type MergePlan } from './levels.ts'
import type { Memtable } from './memtable.ts'
import type { MergeContext, MergeResult } from './merge.ts'
import type { Table } from './table.ts'
import { maxTableBytes, type TableMeta } from './table-layout.ts'
import type { Steps } from './wait.ts'
import { errorOf, filesMessage, type MergeMessage, type TableMessage, tableOf } from './worker-messages.ts'
import type { NewTask, TaskNews, WorkerPool, WorkerTask } from './worker-pool.ts'

/** Keys whose newest records are looked for in one step. */
const keysPerStep = 16_384

export interface InWorkerSettings extends BackgroundSettings {
  readonly pool: WorkerPool
  /** The thread was lost with work of this store. */
  onLost(error: StoreError): void
}

/** A task, and the numbers of files that only the worker knows about. */
interface Task {
  readonly worker: WorkerTask
  readonly numbers: Set<number>
}

export class InWorker implements Background {
  readonly #settings: InWorkerSettings
  readonly #slices: InSlices
  readonly #tasks = new Set<Task>()

  constructor(settings: InWorkerSettings) {
    this.#settings = settings
    this.#slices = new InSlices(settings)
  }

  get isApart(): boolean {
    return this.#settings.pool.isUsable
  }

  *flush(memtable: Memtable, dropDeleted: boolean): Steps<TableMeta[]> {
    if (!this.isApart) return yield* this.#slices.flush(memtable, dropDeleted)
    const end = 8 * memtable.visible
    const refs = new Int32Array(memtable.visibleKeys)
    for (let i = 0; i < refs.length; i++) {
      refs[i] = memtable.newest(memtable.keyAt(i), memtable.visible)
      if (i % keysPerStep === keysPerStep - 1) yield
    }
    const { files } = this.#settings
    const message: NewTask = {
      kind: 'flush',
      files: filesMessage(files),
      // Records of tables are no larger, slots and index less than as large again.
      numbers: this.#numbers(2 * end, maxTableBytes, 0),
      bytes: memtable.bytes.subarray(0, end),
      refs,
      dropDeleted: dropDeleted && memtable.deletedCount > 0,
    }
    const task = this.#start(message, [refs.buffer])
    try {
      const news = yield* this.#next(task)
      if (news.kind === 'flushed') return news.tables.map(tableOf)
      if (news.kind === 'failed') throw errorOf(news.error)
    } finally {
      yield* this.#end(task)
    }
    return yield* this.#slices.flush(memtable, dropDeleted)
  }

  *merge(plan: MergePlan<Table>, apply: MergeContext['apply']): Steps<MergeResult | undefined> {
    // Moving takes no work.
    if (!this.isApart || plan.kind === 'move') return yield* this.#slices.merge(plan, apply)
    const { files, limits } = this.#settings
    const inputs = plan.kind === 'last' ? [...plan.runs.flat(), ...plan.last] : plan.runs.flat()
    const task = this.#start({
      kind: 'merge',
      files: filesMessage(files),
      numbers: this.#numbers(bytesOf(inputs), limits.tableBytes, inputs.length),
      plan: planOf(plan),
      inputBytes: bytesOf(inputs),
      limits,
    })
    try {
      for (;;) {
        const news = yield* this.#next(task)
        if (news.kind === 'failed') throw errorOf(news.error)
        if (news.kind === 'merged') return news.result
        if (news.kind !== 'step') return undefined
        yield* apply({ ...news.step, add: news.step.add.map(tableOf) })
        task.worker.applied()
      }
    } finally {
      yield* this.#end(task)
    }
  }

  cancel(): void {
    for (const { worker } of this.#tasks) worker.cancel()
  }

  #start(message: NewTask, transfer: readonly ArrayBuffer[] = []): Task {
    const worker = this.#settings.pool.start(message, transfer)
    const task: Task = { worker, numbers: new Set(message.numbers) }
    this.#tasks.add(task)
    return task
  }

  /** What is heard next of a task; the files it speaks of are the caller's then. */
  *#next(task: Task): Steps<TaskNews> {
    let news = task.worker.take()
    while (news === undefined) {
      yield task.worker.arrival
      news = task.worker.take()
    }
    for (const { fileNumber } of handedOver(news)) task.numbers.delete(fileNumber)
    if (news.kind === 'lost') this.#lost(news.cause, task)
    return news
  }

  /** Waits until the worker is done with a task, and removes what it has handed over and nobody took. */
  *#end(task: Task): Steps<void> {
    if (!task.worker.isOver) task.worker.cancel()
    while (!task.worker.isOver) {
      const news = yield* this.#next(task)
      const moved = new Set(news.kind === 'step' ? news.step.remove : [])
      for (const { fileNumber } of handedOver(news)) if (!moved.has(fileNumber)) this.#removeTable(fileNumber)
    }
    this.#tasks.delete(task)
  }

  /** What stays behind is removed when the store is opened next. */
  #removeTable(number: number): void {
    const { fs, dir, checkLock } = this.#settings.files
    try {
      // A number that the worker has not come to may be that of another owner's table.
      checkLock?.()
      fs.removeSync(`${dir}/${tableName(number)}`)
    } catch {
      // See above.
    }
  }

  /** The thread is gone: removes what it may have left, and says so. */
  #lost(cause: unknown, task: Task): void {
    const { files, onLost } = this.#settings
    for (const number of task.numbers) this.#removeTable(number)
    const text =
      `the worker thread of its background work ended (${cause instanceof Error ? cause.message : String(cause)}). ` +
      'Nothing is lost: the work goes on in the main thread, in slices. `worker: false` starts no worker thread'
    onLost(new StoreError('ERR_STORE_IO', files.store, text, cause))
  }

  /**
   * More numbers than tables that can come of so many bytes: two neighbours hold more than one full table, except at the
   * edges of parts, of which there are at most as many as inputs, and one. Numbers that are not used are skipped.
   */
  #numbers(bytes: number, tableBytes: number, inputs: number): number[] {
    const count = 4 * Math.ceil(bytes / tableBytes) + 2 * inputs + 16
    return Array.from({ length: count }, () => this.#settings.nextFile())
  }
}

/** Tables that news are about. */
function handedOver(news: TaskNews): readonly TableMessage[] {
  if (news.kind === 'flushed') return news.tables
  return news.kind === 'step' ? news.step.add : []
}

function planOf(plan: Exclude<MergePlan<LevelTable>, { kind: 'move' }>): MergeMessage['plan'] {
  const numbers = (tables: readonly LevelTable[]): number[] => tables.map(({ meta }) => meta.fileNumber)
  const runs = plan.runs.map(numbers)
  return plan.kind === 'upper'
    ? { kind: 'upper', runs, dropDeleted: plan.dropDeleted }
    : { kind: 'last', runs, last: numbers(plan.last) }
}
