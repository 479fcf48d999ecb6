/**
 * TaskRunner: the loop that gives tasks their chunks and their slices of time, fairly, and gives way to sockets and timers
 * between slices. Tasks produce only under a valid lease.
 * Owner of the set of tasks and of the input consumer's reading side (take, pause, resume).
 */
import type { Scheduler } from '../base/scope.ts'
import type { Lease } from './lease.ts'
import { type ChunkPort, type ConsumerPort, isOfPartition } from './port.ts'
import type { Task } from './task.ts'
import { nextTurn, sliceMs, Wake } from './turns.ts'

/** A task that runs, and whether it may take new records. */
interface Running {
  readonly task: Task
  draining: boolean
  paused: boolean
}

export interface TaskRunnerHost {
  readonly scheduler: Scheduler
  readonly consumer: ConsumerPort
  readonly lease: Lease
  readonly maxInboxBytes: number
  /** The input's number of a topic. */
  inputOf(topic: string): number
  leaseLapsed(): void
  consumerFailed(error: unknown): void
}

export class TaskRunner {
  readonly #host: TaskRunnerHost
  readonly #wake = new Wake()
  readonly #tasks = new Map<number, Running>()
  /** Called after every round; for those who wait for a task's condition. */
  readonly #watchers = new Set<() => void>()
  #stopped = false
  #listening = false
  #renewing = false

  constructor(host: TaskRunnerHost) {
    this.#host = host
  }

  readonly wake = (): void => this.#wake.wake()

  add(task: Task): void {
    this.#tasks.set(task.partition, { task, draining: false, paused: false })
    this.wake()
  }

  remove(task: Task): void {
    if (this.#tasks.get(task.partition)?.task === task) this.#tasks.delete(task.partition)
    this.wake()
  }

  get tasks(): Task[] {
    return [...this.#tasks.values()].map((one) => one.task)
  }

  task(partition: number): Task | undefined {
    return this.#tasks.get(partition)?.task
  }

  /** The task processes no more records, but goes on with its checkpoint. */
  drain(task: Task): void {
    const one = this.#tasks.get(task.partition)
    if (one?.task === task) one.draining = true
    this.wake()
  }

  /** Every running task is to make a checkpoint. */
  checkpointAll(): void {
    for (const { task } of this.#tasks.values()) task.wantCheckpoint()
    this.wake()
  }

  /** Resolves at the end of the first round in which `condition` holds; when the runner ends, whether it holds or not. */
  until(condition: () => boolean): Promise<void> {
    if (condition() || this.#stopped) return Promise.resolve()
    return new Promise((resolve) => {
      const watcher = (): void => {
        if (!this.#stopped && !condition()) return
        this.#watchers.delete(watcher)
        resolve()
      }
      this.#watchers.add(watcher)
      this.wake()
    })
  }

  stop(): void {
    this.#stopped = true
    this.wake()
  }

  /** Runs until stopped. A rejection is a bug. */
  async run(): Promise<void> {
    const { scheduler } = this.#host
    try {
      while (!this.#stopped) {
        this.#feed()
        const busy = this.#mayWrite() ? await this.#round() : false
        for (const watcher of this.#watchers) watcher()
        if (this.#stopped) break
        if (busy) await nextTurn(scheduler)
        else await this.#wake.wait()
      }
    } finally {
      this.#stopped = true
      for (const watcher of this.#watchers) watcher()
    }
  }

  /** One slice for each task. True when any has more to do right now. */
  async #round(): Promise<boolean> {
    const { scheduler } = this.#host
    let busy = false
    let began = scheduler.monotonic()
    for (const one of [...this.#tasks.values()]) {
      const deadline = scheduler.monotonic() + sliceMs
      const late = (): boolean => scheduler.monotonic() >= deadline
      if (one.task.run(late, !one.draining)) busy = true
      if (one.paused && one.task.inboxBytes < this.#host.maxInboxBytes / 2) this.#pause(one, false)
      if (scheduler.monotonic() - began >= sliceMs) {
        await nextTurn(scheduler)
        // The process may have been stopped meanwhile.
        if (!this.#mayWrite()) return false
        this.#feed()
        began = scheduler.monotonic()
      }
    }
    return busy
  }

  /** Moves fetched chunks to their tasks, as long as these have room. */
  #feed(): void {
    const { consumer, maxInboxBytes } = this.#host
    for (;;) {
      let chunk: ChunkPort | undefined
      try {
        chunk = consumer.take()
      } catch (error) {
        if (!this.#stopped) this.#host.consumerFailed(error)
        // The error of one partition comes once and the others go on; any other means that the consumer is over.
        if (isOfPartition(error)) continue
        return
      }
      if (chunk === undefined) {
        this.#listen()
        return
      }
      const one = this.#tasks.get(chunk.partition)
      // A chunk of a partition that was just given up: its offsets were not processed and are not committed.
      if (one === undefined || one.draining || one.task.state === 'closed') continue
      one.task.offer(chunk, this.#host.inputOf(chunk.topic))
      if (one.task.inboxBytes >= maxInboxBytes && !one.paused) this.#pause(one, true)
    }
  }

  #pause(one: Running, paused: boolean): void {
    one.paused = paused
    const partitions = one.task.inputs.map((input) => ({ topic: input.topic, partition: one.task.partition }))
    if (paused) this.#host.consumer.pause(partitions)
    else this.#host.consumer.resume(partitions)
  }

  /** Without a valid lease nothing runs: a heartbeat goes first, and the loop is woken by its answer. */
  #mayWrite(): boolean {
    const { lease } = this.#host
    if (this.#tasks.size === 0 || lease.valid) return true
    if (!this.#renewing) {
      this.#renewing = true
      this.#host.leaseLapsed()
      void this.#renew()
    }
    return false
  }

  async #renew(): Promise<void> {
    const { lease, scheduler } = this.#host
    while (!this.#stopped && this.#tasks.size > 0 && !lease.valid) {
      await lease.renew()
      if (lease.valid) break
      await new Promise<void>((resolve) => scheduler.setTimer(200, resolve))
    }
    this.#renewing = false
    this.wake()
  }

  #listen(): void {
    if (this.#listening || this.#stopped) return
    this.#listening = true
    this.#host.consumer.wait().then(
      () => {
        this.#listening = false
        this.wake()
      },
      (error: unknown) => {
        this.#listening = false
        if (!this.#stopped) this.#host.consumerFailed(error)
        this.wake()
      },
    )
  }
}
