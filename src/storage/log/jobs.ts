/**
 * Runs the background work of all stores of an engine on the event loop: one slice per turn, of at most a few
 * milliseconds. Owns the jobs from `start` until they ended. Jobs know nothing of each other, and a failure reaches only
 * the callback of its own job.
 */
import { type Deferred, deferred } from '../../base/deferred.ts'
import type { Scheduler } from '../../base/scope.ts'
import type { Steps, Wait } from './wait.ts'

export type { Steps, Wait } from './wait.ts'

/** `ready`: has work to do. `running`: in a step right now. `waiting`: for the disk, without blocking. */
export type JobState = 'ready' | 'running' | 'waiting' | 'ended'

export interface JobOptions<T> {
  /** Whom the job belongs to, by identity. */
  readonly owner: object
  /** Goes before others: somebody may have to wait for it (flushes). Default false. */
  readonly urgent?: boolean
  /** It takes so long that others should not wait for its end: of such jobs one begins at a time. Default false. */
  readonly long?: boolean
  /** The job is over. Not called when it was cancelled. */
  done(result: T): void
  /** The job ended by an error: its own, that of a wait, or one thrown by `done`. Must not throw. */
  failed(error: unknown): void
}

/** A job of a JobRunner, to be given back to it. */
export interface Job {
  readonly owner: object
  readonly state: JobState
}

export interface JobRunnerOptions {
  /** Milliseconds of a turn of the event loop that jobs may use. Default 4. */
  readonly sliceMs?: number
  /** Jobs that are not urgent take turns, so many at most: the next begins when one of them has ended. Default: all of them. */
  readonly maxBegun?: number
}

/** What a runner has done so far. */
export interface JobStats {
  /** Jobs that have not ended. */
  readonly jobs: number
  /** Turns of the event loop used. */
  readonly slices: number
  /** The longest of them, milliseconds. */
  readonly longestSliceMs: number
  /** Milliseconds that `advance` took from their callers, waits for the disk included. */
  readonly pushedMs: number
}

/** While both kinds have work, one slice of this many is for jobs that are not urgent: these hold nobody up until they are many. */
const slicesPerRound = 16
/** Steps per slice at most: the clock of a simulation stands still during a turn. */
const maxStepsPerSlice = 64

/** A job as its runner sees it. */
class RunnerJob implements Job {
  /** In the order of their starts. */
  readonly number: number
  readonly owner: object
  readonly urgent: boolean
  readonly long: boolean
  readonly steps: Steps<unknown>
  readonly done: (result: unknown) => void
  readonly failed: (error: unknown) => void
  state: JobState = 'ready'
  /** What it waits for while it is `waiting`, and how many waits there were before. */
  wait: Wait | undefined
  waits = 0
  /** The wait it stood at failed; the job is not told yet. */
  failure: { readonly cause: unknown } | undefined
  cancelled = false
  /** Its first step has run. */
  hasBegun = false
  /** It was told to return or of a failure: it may be cleaning up, which must not be cut short. */
  ending = false

  constructor(number: number, steps: Steps<unknown>, options: JobOptions<unknown>) {
    this.number = number
    this.owner = options.owner
    this.urgent = options.urgent ?? false
    this.long = options.long ?? false
    this.steps = steps
    this.done = (result) => options.done(result)
    this.failed = (error) => options.failed(error)
  }
}

export class JobRunner {
  readonly #scheduler: Scheduler
  readonly #sliceMs: number
  readonly #maxBegun: number
  /** Jobs that are not urgent, have begun and not ended; and the long ones of them. */
  #begun = 0
  #longBegun = 0
  readonly #jobs = new Set<RunnerJob>()
  #started = 0
  /**
   * Jobs in state `ready`; the first one is the next one. Of urgent ones that is the one started first: each is over as
   * early as can be, and what it holds is free. The others take turns.
   */
  readonly #urgent: RunnerJob[] = []
  readonly #others: RunnerJob[] = []
  readonly #idle = new Map<object, Deferred>()
  /** A turn is asked for. */
  #scheduled = false
  #slices = 0
  #longestSliceMs = 0
  #pushedMs = 0

  constructor(scheduler: Scheduler, options: JobRunnerOptions = {}) {
    this.#scheduler = scheduler
    this.#sliceMs = options.sliceMs ?? 4
    this.#maxBegun = options.maxBegun ?? Number.POSITIVE_INFINITY
  }

  get stats(): JobStats {
    return {
      jobs: this.#jobs.size,
      slices: this.#slices,
      longestSliceMs: this.#longestSliceMs,
      pushedMs: this.#pushedMs,
    }
  }

  /** Takes over `steps`. Its first step runs in a later turn, unless somebody pushes it. */
  start<T>(steps: Steps<T>, options: JobOptions<T>): Job {
    const job = new RunnerJob(this.#started++, steps, {
      owner: options.owner,
      urgent: options.urgent ?? false,
      long: options.long ?? false,
      done: (result) => options.done(result as T),
      failed: (error) => options.failed(error),
    })
    this.#jobs.add(job)
    this.#enqueue(job)
    return job
  }

  /**
   * Runs up to `steps` steps (each well below a millisecond) of a job at once, for a caller that must not get further
   * ahead of it; waits block. Returns the job's state. A job that is `waiting` already stays so: the outcome of a sync in
   * flight is known only after a turn of the event loop, and a second one of the same file could hide its failure.
   */
  advance(job: Job, steps: number): JobState {
    const own = job as RunnerJob
    if (own.state !== 'ready') return own.state
    const queue = own.urgent ? this.#urgent : this.#others
    queue.splice(queue.indexOf(own), 1)
    const started = this.#scheduler.monotonic()
    try {
      this.#run(own, steps, Number.POSITIVE_INFINITY, true)
    } finally {
      this.#pushedMs += this.#scheduler.monotonic() - started
    }
    return own.state
  }

  /**
   * Waits here for up to `timeoutMs` for what goes on elsewhere, in another thread, and runs the job on to its end as far as
   * that allows: for a caller that must not get further ahead of a job that `advance` cannot make faster.
   */
  join(job: Job, timeoutMs: number): JobState {
    const own = job as RunnerJob
    const until = this.#scheduler.monotonic() + timeoutMs
    for (;;) {
      if (own.state === 'ready') this.advance(own, Number.POSITIVE_INFINITY)
      const wait = own.state === 'waiting' ? own.wait : undefined
      const before = this.#scheduler.monotonic()
      if (wait?.join === undefined || before >= until) return own.state
      const isOver = wait.join(until - before)
      this.#pushedMs += this.#scheduler.monotonic() - before
      if (!isOver) return own.state
      own.wait = undefined
      this.#enqueue(own)
    }
  }

  /** Resolves when `owner` has no job, also none that the end of another one started. Never rejects. */
  idle(owner: object): Promise<void> {
    if (!this.#has(owner)) return Promise.resolve()
    let waiting = this.#idle.get(owner)
    if (waiting === undefined) {
      waiting = deferred()
      this.#idle.set(owner, waiting)
    }
    return waiting.promise
  }

  /**
   * Ends the jobs of `owner` by returning their generators, at once or when what they wait for has come. Resolves when
   * all of them have cleaned up; only an error while doing so is reported to `failed`. A generator that yields while it
   * cleans up is run to its end.
   */
  cancel(owner: object): Promise<void> {
    for (const job of [...this.#jobs]) {
      if (job.owner !== owner) continue
      job.cancelled = true
      this.advance(job, 1)
    }
    return this.idle(owner)
  }

  #has(owner: object): boolean {
    for (const job of this.#jobs) if (job.owner === owner) return true
    return false
  }

  #enqueue(job: RunnerJob): void {
    job.state = 'ready'
    if (job.urgent) {
      const at = this.#urgent.findIndex(({ number }) => number > job.number)
      this.#urgent.splice(at < 0 ? this.#urgent.length : at, 0, job)
    } else this.#others.push(job)
    this.#schedule()
  }

  /** Asks for a turn if there is anything to do in it. */
  #schedule(): void {
    if (this.#scheduled || (this.#urgent.length === 0 && this.#nextOther() < 0)) return
    this.#scheduled = true
    this.#scheduler.immediate(() => this.#slice())
  }

  /** Where in `#others` the next one is that may go on, or begin; −1: there is none. */
  #nextOther(): number {
    return this.#others.findIndex((job) => job.hasBegun || this.#mayBegin(job))
  }

  /** Without a limit each may; with one a place is left for jobs that are not long, which would wait for minutes else. */
  #mayBegin({ long }: RunnerJob): boolean {
    if (this.#maxBegun === Number.POSITIVE_INFINITY) return true
    return this.#begun < this.#maxBegun && !(long && this.#longBegun > 0)
  }

  #slice(): void {
    this.#scheduled = false
    const other = this.#nextOther()
    const yieldToOthers = this.#slices % slicesPerRound === slicesPerRound - 1 && other >= 0
    const urgent = yieldToOthers ? undefined : this.#urgent.shift()
    const job = urgent ?? (other < 0 ? undefined : this.#others.splice(other, 1)[0])
    if (job === undefined) return
    this.#slices += 1
    const started = this.#scheduler.monotonic()
    try {
      this.#run(job, maxStepsPerSlice, started + this.#sliceMs, false)
    } finally {
      const took = this.#scheduler.monotonic() - started
      if (took > this.#longestSliceMs) this.#longestSliceMs = took
      this.#schedule()
    }
  }

  /** Runs a job that is in no queue. Ends before a step that would, if it takes as long as the last one, end too late. */
  #run(job: RunnerJob, maxSteps: number, untilMs: number, blocking: boolean): void {
    job.state = 'running'
    if (!job.hasBegun) {
      job.hasBegun = true
      this.#count(job, 1)
    }
    let before = blocking ? 0 : this.#scheduler.monotonic()
    for (let step = 1; ; step++) {
      let result: IteratorResult<Wait | undefined, unknown>
      try {
        result = this.#resume(job)
      } catch (cause) {
        this.#end(job, () => job.failed(cause))
        return
      }
      if (result.done === true) {
        this.#end(job, () => this.#report(job, result.value))
        return
      }
      if (result.value !== undefined) {
        if (!blocking || result.value.isBusy?.() === true) {
          this.#wait(job, result.value)
          return
        }
        try {
          result.value.block()
        } catch (cause) {
          job.failure = { cause }
        }
      }
      if (step >= maxSteps) break
      if (!blocking) {
        const now = this.#scheduler.monotonic()
        if (now + (now - before) > untilMs) break
        before = now
      }
    }
    this.#enqueue(job)
  }

  /** A job has begun (1) or ended (−1). */
  #count({ urgent, long }: RunnerJob, change: 1 | -1): void {
    if (urgent) return
    this.#begun += change
    if (long) this.#longBegun += change
  }

  #resume(job: RunnerJob): IteratorResult<Wait | undefined, unknown> {
    const failure = job.failure
    job.failure = undefined
    if (failure !== undefined) {
      job.ending = true
      return job.steps.throw(failure.cause)
    }
    if (!job.cancelled || job.ending) return job.steps.next()
    job.ending = true
    return job.steps.return(undefined)
  }

  #wait(job: RunnerJob, wait: Wait): void {
    job.state = 'waiting'
    job.wait = wait
    job.waits += 1
    const { waits } = job
    const resumed = (failure: RunnerJob['failure']): void => {
      // Somebody has joined the wait, and the job gone on.
      if (job.wait === undefined || job.waits !== waits) return
      job.wait = undefined
      job.failure = failure
      this.#enqueue(job)
      if (job.cancelled) this.advance(job, 1)
    }
    let over: Promise<void>
    try {
      over = wait.wait()
    } catch (cause) {
      over = Promise.reject(cause)
    }
    over.then(
      () => resumed(undefined),
      (cause: unknown) => resumed({ cause }),
    )
  }

  #report(job: RunnerJob, result: unknown): void {
    if (job.cancelled) return
    try {
      job.done(result)
    } catch (cause) {
      job.failed(cause)
    }
  }

  /** The job is over before its owner hears of it, so that the owner may start the next one. */
  #end(job: RunnerJob, tell: () => void): void {
    job.state = 'ended'
    this.#jobs.delete(job)
    this.#count(job, -1)
    try {
      tell()
    } finally {
      this.#schedule()
      const waiting = this.#idle.get(job.owner)
      if (waiting !== undefined && !this.#has(job.owner)) {
        this.#idle.delete(job.owner)
        waiting.resolve()
      }
    }
  }
}
