/**
 * The main side of the worker thread of an engine. Owns the thread: it is started with the first task, keeps the process
 * alive only while it has tasks, and ends with the engine. When it cannot be started, or dies, its tasks are lost and it
 * takes no more: their stores do the work themselves (in-worker.ts).
 */
import { fileURLToPath } from 'node:url'
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type TransferListItem,
  Worker,
} from 'node:worker_threads'
import { type Deferred, deferred } from '../../base/deferred.ts'
import type { Scheduler, TimerHandle } from '../../base/scope.ts'
import { nodeFs } from '../node-fs.ts'
import { readSmallFile } from './small-file.ts'
import type { Wait } from './wait.ts'
import type { FlushMessage, FromWorker, MergeMessage, ToWorker, WorkerStart } from './worker-messages.ts'

/** Milliseconds that a thread may take until it runs our code. */
const longestStartMs = 10_000

/** The worker's code; beside this file. */
const workerFile = './millrace-storage-worker.js'
const mark: WorkerStart['mark'] = 'millrace storage worker'
/** The mark is in the first so many bytes of the file: as it is delivered it has 7000, but it may have been bundled itself. */
const markedBytes = 2 ** 20

/** What is heard of a task; `lost`: the thread has ended before the task did, and it can be relied on that it is gone. */
export type TaskNews = FromWorker | { readonly kind: 'lost'; readonly task: number; readonly cause: unknown }

/** Of a message that begins a task: what the pool does not know. */
export type NewTask = Omit<FlushMessage, 'task'> | Omit<MergeMessage, 'task'>

/** One task of the worker, as seen by who gave it. */
export interface WorkerTask {
  /** All that is to be heard of it was taken. */
  readonly isOver: boolean
  /** The next news; undefined: none yet. */
  take(): TaskNews | undefined
  /** Until there is news. */
  readonly arrival: Wait
  /** A step that was taken is installed. */
  applied(): void
  /** It is to end soon. It does in any case, with `cancelled` if not otherwise. */
  cancel(): void
}

class PoolTask implements WorkerTask {
  readonly number: number
  readonly arrival: Wait
  readonly #post: (message: ToWorker) => void
  readonly #news: TaskNews[] = []
  #waiting: Deferred | undefined
  /** The last news has come; was taken. */
  #hasEnded = false
  isOver = false

  constructor(number: number, post: (message: ToWorker) => void, join: (task: PoolTask, timeoutMs: number) => boolean) {
    this.number = number
    this.#post = post
    this.arrival = {
      // Never blocks without a limit: the thread may be dead, which is heard of in a turn of the event loop.
      isBusy: () => true,
      block: () => void join(this, 0),
      wait: () => this.#arrived(),
      join: (timeoutMs) => join(this, timeoutMs),
    }
  }

  get hasNews(): boolean {
    return this.#news.length > 0
  }

  take(): TaskNews | undefined {
    const news = this.#news.shift()
    this.isOver = this.#hasEnded && this.#news.length === 0
    return news
  }

  applied(): void {
    if (!this.#hasEnded) this.#post({ kind: 'applied', task: this.number })
  }

  cancel(): void {
    if (!this.#hasEnded) this.#post({ kind: 'cancel', task: this.number })
  }

  /** True: it was the last. */
  heard(news: TaskNews): boolean {
    this.#news.push(news)
    this.#hasEnded = news.kind !== 'step'
    this.#waiting?.resolve()
    this.#waiting = undefined
    return this.#hasEnded
  }

  #arrived(): Promise<void> {
    if (this.hasNews) return Promise.resolve()
    this.#waiting ??= deferred()
    return this.#waiting.promise
  }
}

/** A thread that runs. */
interface Thread {
  readonly worker: Worker
  readonly port: MessagePort
  readonly signal: Int32Array
  /** Resolves when it has ended. */
  readonly over: Promise<void>
  /** Ends it if it does not run our code by then. */
  readonly timer: TimerHandle
}

export interface WorkerPoolOptions {
  readonly scheduler: Scheduler
  /** The worker's code. Default: millrace-storage-worker.js beside this file. */
  readonly url?: URL
  /** Milliseconds that it may take until it runs. Default 10 000. */
  readonly longestStartMs?: number
}

export class WorkerPool {
  readonly #scheduler: Scheduler
  readonly #options: WorkerPoolOptions
  readonly #tasks = new Map<number, PoolTask>()
  #thread: Thread | undefined
  #nextTask = 1
  #isLost = false

  constructor(options: WorkerPoolOptions) {
    this.#scheduler = options.scheduler
    this.#options = options
  }

  /** Whether it takes tasks: it does until its thread is lost. */
  get isUsable(): boolean {
    return !this.#isLost
  }

  /** Gives the worker a task; `transfer` is handed over to it. Never throws: the task may be lost at once. */
  start(message: NewTask, transfer: readonly TransferListItem[] = []): WorkerTask {
    const number = this.#nextTask++
    const task = new PoolTask(
      number,
      (more) => this.#thread?.port.postMessage(more),
      (one, timeoutMs) => this.#join(one, timeoutMs),
    )
    this.#tasks.set(number, task)
    try {
      if (this.#isLost) throw new Error('it has ended before')
      this.#thread ??= this.#startThread()
      this.#thread.port.postMessage({ ...message, task: number } satisfies ToWorker, transfer)
      this.#setRef(this.#thread)
    } catch (cause) {
      this.#lose(cause)
    }
    return task
  }

  #startThread(): Thread {
    // Where a bundler has made one file of everything, there is no such URL (this throws), or no such file.
    const url = this.#options.url ?? new URL(workerFile, import.meta.url)
    checkOurs(url)
    const { port1: port, port2 } = new MessageChannel()
    const signal = new Int32Array(new SharedArrayBuffer(4))
    const workerData: WorkerStart = { mark, port: port2, signal }
    // Flags of the process may not be meant for a worker, or load code that is not.
    const worker = new Worker(url, { workerData, transferList: [port2], execArgv: [], name: 'millrace storage' })
    const { promise: over, resolve } = deferred()
    let failure: unknown
    const timeoutMs = this.#options.longestStartMs ?? longestStartMs
    const timer = this.#scheduler.setTimer(timeoutMs, () => {
      if (Atomics.load(signal, 0) !== 0) return
      failure = new Error(`${url.href} did not begin to work within ${timeoutMs} ms`)
      void worker.terminate()
    })
    const thread = { worker, port, signal, over, timer }
    worker.on('error', (error) => {
      failure = error
    })
    worker.on('exit', (code) => {
      this.#scheduler.clearTimer(timer)
      this.#drain(port)
      port.close()
      if (this.#thread === thread) this.#lose(failure ?? new Error(`it ended with code ${code}`))
      resolve()
    })
    port.on('message', (news: FromWorker) => this.#heard(news))
    return thread
  }

  /** The thread is gone, or never was: its tasks are over. */
  #lose(cause: unknown): void {
    this.#isLost = true
    this.#thread = undefined
    const lost = [...this.#tasks]
    this.#tasks.clear()
    for (const [number, task] of lost) task.heard({ kind: 'lost', task: number, cause })
  }

  #heard(news: FromWorker): void {
    const task = this.#tasks.get(news.task)
    if (task === undefined || !task.heard(news)) return
    this.#tasks.delete(news.task)
    if (this.#thread === undefined) return
    this.#scheduler.clearTimer(this.#thread.timer)
    this.#setRef(this.#thread)
  }

  /** A thread that works keeps the process alive, as slices do. */
  #setRef({ worker, port }: Thread): void {
    if (this.#tasks.size > 0) {
      worker.ref()
      port.ref()
    } else {
      worker.unref()
      port.unref()
    }
  }

  #drain(port: MessagePort): void {
    for (;;) {
      const received = receiveMessageOnPort(port) as { readonly message: FromWorker } | undefined
      if (received === undefined) return
      this.#heard(received.message)
    }
  }

  /** Waits here until there is news of the task. False: there is none after so long. */
  #join(task: PoolTask, timeoutMs: number): boolean {
    const until = this.#scheduler.monotonic() + timeoutMs
    for (;;) {
      const thread = this.#thread
      if (thread === undefined) return task.hasNews
      const said = Atomics.load(thread.signal, 0)
      this.#drain(thread.port)
      if (task.hasNews) return true
      const left = until - this.#scheduler.monotonic()
      if (left <= 0 || Atomics.wait(thread.signal, 0, said, left) === 'timed-out') return false
    }
  }

  /** Ends the thread, if there is one. There must be no tasks any more. The next one starts another. */
  async end(): Promise<void> {
    const thread = this.#thread
    if (thread === undefined) return
    this.#thread = undefined
    thread.worker.ref()
    thread.port.postMessage({ kind: 'end' } satisfies ToWorker)
    await thread.over
  }
}

/** Throws unless `url` is the worker's code: running another program's file might do anything. */
function checkOurs(url: URL): void {
  const bytes = readSmallFile(nodeFs(), fileURLToPath(url), markedBytes)
  if (bytes === undefined) throw new Error(`ENOENT: there is no file ${url.href}`)
  if (bytes.includes(mark)) return
  throw new Error(`${url.href} is not the worker of millrace: it is another program's file, and is not run`)
}
