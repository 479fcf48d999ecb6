/**
 * The worker thread of an engine: writes memtables into tables and merges tables, for all stores of the engine. It knows
 * nothing of versions and manifests; what it has written it hands over to the main thread, and forgets. Two tasks share the
 * thread in slices, so that a flush does not wait for a long merge. Loaded by worker-pool.ts, and by nobody else.
 *
 * Its name is one that no other program has: where a bundler has made one file of everything, what lies beside that file is
 * looked for under this name.
 */
import { workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { type Deferred, deferred } from '../../base/deferred.ts'
import { realScheduler } from '../../base/real-scheduler.ts'
import { nodeFs } from '../node-fs.ts'
import { writeMemtable } from './background.ts'
import { type StoreFiles, wallMsOf } from './format.ts'
import { FileHandles, RoomyFs } from './handles.ts'
import { JobRunner } from './jobs.ts'
import type { MergePlan } from './levels.ts'
import { Memtable } from './memtable.ts'
import { type MergeResult, type MergeStep, merge } from './merge.ts'
import { Table } from './table.ts'
import type { TableMeta } from './table-layout.ts'
import type { Steps } from './wait.ts'
import {
  bufferOf,
  errorMessage,
  type FilesMessage,
  type FlushMessage,
  type FromWorker,
  type MergeMessage,
  tableMessage,
  type ToWorker,
  type WorkerStart,
} from './worker-messages.ts'

// By this text worker-pool.ts knows this file: it stands in no other, and is a part of the code, so that a minifier keeps it.
const mark: WorkerStart['mark'] = 'millrace storage worker'
const given = workerData as WorkerStart | null
if (given?.mark !== mark) throw new Error("this file is the worker thread of millrace's storage, and no program")
const { port, signal } = given
/** Tables open at a time, beside those of the main thread. */
const handles = new FileHandles(64)
const fs = new RoomyFs(nodeFs(), handles)
/**
 * Nobody waits for turns of this thread, but a task that is broken off should end soon. A merge takes a few megabytes, and as
 * many stores as there are may want one at the same time.
 */
const runner = new JobRunner(realScheduler, { sliceMs: 10, maxBegun: 2 })
/** A merge of more than this takes more than some seconds. */
const longMergeBytes = 512 * 2 ** 20

/** A task that has not ended; its job belongs to it. */
class Task {
  readonly number: number
  /** It waits for its last step to be installed. */
  applying: Deferred | undefined

  constructor(number: number) {
    this.number = number
  }
}

const tasks = new Map<number, Task>()

function say(message: FromWorker): void {
  port.postMessage(message)
  Atomics.add(signal, 0, 1)
  Atomics.notify(signal, 0)
}

function sayLast(message: FromWorker): void {
  if (tasks.delete(message.task)) say(message)
}

function filesOf({ dir, store, storeId, hashSeed }: FilesMessage): StoreFiles {
  return { fs, handles, dir, store, storeId: bufferOf(storeId), hashSeed, now: () => wallMsOf(realScheduler.now()) }
}

function numbersOf(numbers: readonly number[]): () => number {
  let next = 0
  return () => {
    const number = numbers[next]
    assert(number !== undefined, `a task needs more than ${numbers.length} files`)
    next += 1
    return number
  }
}

// --- flush

function startFlush(message: FlushMessage): void {
  const { task, files, numbers } = message
  start(task, { urgent: true }, flush(message, filesOf(files), numbersOf(numbers)), (tables) =>
    sayLast({ kind: 'flushed', task, tables: tables.map(tableMessage) }),
  )
}

function flush(message: FlushMessage, files: StoreFiles, nextFile: () => number): Steps<TableMeta[]> {
  const memtable = Memtable.ofRecords(files.hashSeed, bufferOf(message.bytes), message.refs)
  return writeMemtable(files, nextFile, memtable, message.dropDeleted)
}

// --- merge

function startMerge(message: MergeMessage): void {
  const { task, files, numbers } = message
  const kind = { long: message.inputBytes > longMergeBytes }
  start(task, kind, mergeTables(message, filesOf(files), numbersOf(numbers)), (result) =>
    sayLast({ kind: 'merged', task, result }),
  )
}

function* mergeTables(message: MergeMessage, files: StoreFiles, nextFile: () => number): Steps<MergeResult> {
  const open = new Map<number, Table>()
  const openTable = (number: number): Table => {
    const table = Table.open(files, number)
    open.set(number, table)
    return table
  }
  const close = (number: number): void => {
    open.get(number)?.close()
    open.delete(number)
  }
  const openRuns = (runs: readonly (readonly number[])[]): Table[][] => runs.map((run) => run.map(openTable))
  const apply = (step: MergeStep): Steps<void> => applyThere(message.task, step, close)
  try {
    const { plan, limits } = message
    const opened: MergePlan<Table> =
      plan.kind === 'upper'
        ? { ...plan, runs: openRuns(plan.runs) }
        : { ...plan, runs: openRuns(plan.runs), last: plan.last.map(openTable) }
    return yield* merge({ files, nextFile, apply, limits }, opened)
  } finally {
    for (const number of [...open.keys()]) close(number)
  }
}

/** Has a step installed by the main thread. Inputs that are used up are closed, so that the disk gets their room back. */
function* applyThere(number: number, step: MergeStep, close: (number: number) => void): Steps<void> {
  const task = tasks.get(number)
  assert(task !== undefined, 'a task has ended before its work')
  const applying = deferred()
  task.applying = applying
  say({ kind: 'step', task: number, step: { ...step, add: step.add.map(tableMessage) } })
  yield { block: () => assert(false, 'a step is not installed here'), isBusy: () => true, wait: () => applying.promise }
  for (const used of step.remove) close(used)
}

// --- tasks

function start<T>(
  number: number,
  kind: { readonly urgent?: boolean; readonly long?: boolean },
  steps: Steps<T>,
  done: (result: T) => void,
): void {
  const task = new Task(number)
  tasks.set(number, task)
  runner.start(steps, {
    ...kind,
    owner: task,
    done,
    failed: (error) => sayLast({ kind: 'failed', task: number, error: errorMessage(error) }),
  })
}

async function cancel(number: number): Promise<void> {
  const task = tasks.get(number)
  if (task === undefined) return
  const over = runner.cancel(task)
  // The main thread installs nothing any more.
  task.applying?.resolve()
  await over
  sayLast({ kind: 'cancelled', task: number })
}

// So the main thread knows that it is this code that runs, and not another file of its name.
Atomics.add(signal, 0, 1)
port.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'flush':
      startFlush(message)
      break
    case 'merge':
      startMerge(message)
      break
    case 'applied':
      tasks.get(message.task)?.applying?.resolve()
      break
    case 'cancel':
      void cancel(message.task)
      break
    case 'end':
      port.close()
      break
  }
})
