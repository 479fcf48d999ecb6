/**
 * World: one simulated world per seed: virtual time, a network in memory, and processes that can be killed and stalled.
 * Owns the timeline, the network and the loop that runs one event, lets every microtask drain, and takes the next. Nothing
 * in it waits for real time, so a minute of the world takes milliseconds, and a seed always gives the same history.
 */
import type { Fs } from '../../src/base/fs.ts'
import type { Scheduler } from '../../src/base/scope.ts'
import { InProcessNetwork, type Route } from '../../src/net/in-process.ts'
import { Process, type Tap } from './process.ts'
import { SeededRandom } from './random.ts'
import { type SimEvent, Timeline } from './timeline.ts'

/** Events after which a world is taken to be going round in circles. */
const defaultMaxEvents = 2_000_000
/** Events between two real turns of the event loop, which let deadlines of the test runner fire. */
const eventsPerRealTurn = 2_000
/** Lines of the trace that a failure shows. */
const shownTraceLines = 60

export interface WorldOptions {
  /** One way, milliseconds: drawn between the two for each frame. Default 0.05 to 2. */
  readonly latencyMs?: readonly [from: number, to: number]
  /** A run that takes more events than this fails. Default 2 000 000. */
  readonly maxEvents?: number
}

export class World {
  readonly seed: number
  readonly timeline: Timeline
  /** For the test's own choices. */
  readonly random: SeededRandom
  readonly network: InProcessNetwork
  /** The test itself, which nobody kills: sleep and dial from here. */
  readonly outside: Process
  /** Sees requests and responses of all processes. */
  tap: Tap | undefined
  readonly #processes = new Map<string, Process>()
  readonly #seeds: SeededRandom
  readonly #latency: SeededRandom
  readonly #latencyMs: readonly [number, number]
  readonly #maxEvents: number
  readonly #trace: string[] = []
  /** Names that the rest of the world cannot reach, and until when. */
  readonly #isolated = new Map<string, number>()
  #failure: Error | undefined

  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed
    this.#latencyMs = options.latencyMs ?? [0.05, 2]
    this.#maxEvents = options.maxEvents ?? defaultMaxEvents
    this.#seeds = new SeededRandom(seed)
    this.timeline = new Timeline(this.#seeds.fork())
    this.random = this.#seeds.fork()
    this.#latency = this.#seeds.fork()
    this.network = new InProcessNetwork(wires(this.timeline), {
      latencyMs: (route) => this.#frameLatency(route),
      refuse: (route) => this.#isIsolated(route),
    })
    this.outside = this.process('outside')
  }

  /** A new process; the name may be used again after a kill. */
  process(name: string): Process {
    if (this.#processes.get(name)?.alive === true) throw new Error(`process ${name} is still alive`)
    const process = new Process(name, this.#port(name))
    this.#processes.set(name, process)
    return process
  }

  get now(): number {
    return this.timeline.now
  }

  /** Waits on the world's clock. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.outside.scope.scheduler.setTimer(ms, resolve))
  }

  /** Waits until `condition` holds; looks every `everyMs` of the world's time. */
  async until(what: string, condition: () => boolean, limitMs = 60_000, everyMs = 20): Promise<void> {
    const end = this.now + limitMs
    while (!condition()) {
      if (this.now >= end) throw new Error(`not within ${limitMs} ms: ${what}`)
      await this.sleep(everyMs)
    }
  }

  /** Rejects when `promise` takes longer than `limitMs` of the world's time. */
  within<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { scheduler } = this.outside.scope
      const timer = scheduler.setTimer(limitMs, () => reject(new Error(`not within ${limitMs} ms: ${what}`)))
      const end = (): void => scheduler.clearTimer(timer)
      promise
        .then(resolve, reject)
        .finally(end)
        .catch(() => {})
    })
  }

  /** Frames of the process are held back, and nobody can connect, for `ms`. Connections stay. */
  isolate(name: string, ms: number): void {
    this.#isolated.set(name, this.now + ms)
    this.note(`${name} is isolated for ${ms} ms`)
  }

  /** Cuts the connections of one process, or all of them. */
  cut(name?: string): number {
    const count = this.network.cut((route) => name === undefined || route.from === name)
    this.note(`cut ${count} connections of ${name ?? 'everybody'}`)
    return count
  }

  /** A line of history, shown when the run fails (all of them with SIM_TRACE=1). */
  note(line: string): void {
    const stamped = `${this.now.toFixed(3).padStart(12)}  ${line}`
    if (process.env['SIM_TRACE'] === '1') console.log(stamped)
    else if (this.#trace.push(stamped) > 4 * shownTraceLines) this.#trace.splice(0, 2 * shownTraceLines)
  }

  /** The end of the history. */
  trace(): string {
    return this.#trace.slice(-shownTraceLines).join('\n')
  }

  /** Ends the run with an error. */
  fail(cause: unknown): void {
    this.#failure ??= cause instanceof Error ? cause : new Error(String(cause))
  }

  /** Runs the world until `main` has ended; rejects with what `main` threw, or with what went wrong in the world. */
  async run<T>(main: () => Promise<T>): Promise<T> {
    const onRejection = (cause: unknown): void =>
      this.fail(new Error('a promise was rejected and nobody listened', { cause }))
    process.on('unhandledRejection', onRejection)
    try {
      let settled = false
      const result = main()
      result.then(
        () => {
          settled = true
        },
        () => {
          settled = true
        },
      )
      await this.#drive(() => settled)
      if (this.#failure !== undefined) throw this.#failure
      return await result
    } finally {
      process.off('unhandledRejection', onRejection)
    }
  }

  /**
   * One event per tick. A microtask queues the next tick, and ticks run only when no microtask is left: so all promises
   * that an event settled have been followed to their end before the next event.
   */
  #drive(done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let idleTurns = 0
      const queueTick = (): void => process.nextTick(tick)
      const tick = (): void => {
        if (this.#failure !== undefined || done()) {
          resolve()
          return
        }
        const event = this.timeline.step()
        if (event === undefined) {
          // Something real, like a module that is being loaded, may still be under way.
          idleTurns += 1
          if (idleTurns > 50)
            reject(new Error('the world stands still: nothing is scheduled, but the run has not ended'))
          else setImmediate(tick)
          return
        }
        idleTurns = 0
        if (this.timeline.count > this.#maxEvents) {
          reject(new Error(`the world goes round: more than ${this.#maxEvents} events by ${this.now.toFixed(0)} ms`))
        } else if (this.timeline.count % eventsPerRealTurn === 0) setImmediate(tick)
        else queueMicrotask(queueTick)
      }
      setImmediate(tick)
    })
  }

  #port(name: string): ConstructorParameters<typeof Process>[1] {
    return {
      timeline: this.timeline,
      network: {
        dial: (...args) => this.network.endpoint(name).dial(...args),
        listen: (...args) => this.network.listen(...args),
      },
      random: this.#seeds.fork(),
      fs: noFs,
      cutAll: () => void this.network.cut((route) => route.from === name),
      tap: () => this.tap,
      uncaught: (process, cause) => this.fail(new Error(`process ${process.name} crashed`, { cause })),
    }
  }

  #frameLatency(route: Route): number {
    const [from, to] = this.#latencyMs
    const until = this.#isolated.get(route.from) ?? 0
    return Math.max(0, until - this.now) + from + (to - from) * this.#latency.next()
  }

  #isIsolated(route: Route): boolean {
    return (this.#isolated.get(route.from) ?? 0) > this.now
  }
}

/** The scheduler of the network: exact delays, no order between connections. */
function wires(timeline: Timeline): Scheduler {
  const owner = { name: 'network', admit: () => 'run' as const }
  return {
    now: () => timeline.now,
    monotonic: () => timeline.now,
    setTimer: (delayMs, callback) => ({ timer: timeline.schedule(owner, 'timer', delayMs, callback) }),
    clearTimer: (handle) => {
      ;(handle.timer as SimEvent).callback = undefined
    },
    immediate: (callback) => void timeline.schedule(owner, 'immediate', 0, callback),
  }
}

/** Nothing in these worlds has a disk; who needs one hands in a simulated one. */
const noFs: Fs = new Proxy({} as Fs, {
  get: (_target, name) => () => {
    throw new Error(`the simulated process has no disk (${String(name)})`)
  },
})
