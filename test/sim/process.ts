/**
 * Process: one program of the simulation, with a Scope of its own. Owns its immediates, its inputs that wait while it is
 * stalled, its listeners and its connections. `kill` is kill -9: nothing of it runs any more, what it had sent may or may
 * not arrive, its promises stay pending for ever. `stall` is SIGSTOP with SIGCONT: nothing runs until the time is over,
 * then everything that came meanwhile does, timers and inputs in a seeded order.
 */
import type { Fs } from '../../src/base/fs.ts'
import type {
  Connection,
  ConnectionHandler,
  DialOptions,
  Listener,
  ListenOptions,
  Network,
} from '../../src/base/network.ts'
import type { Scheduler, Scope, TimerHandle } from '../../src/base/scope.ts'
import type { SeededRandom } from './random.ts'
import type { EventOwner, SimEvent, Timeline } from './timeline.ts'

/** Wall clock at the beginning of every world: 2026-01-01T00:00:00Z. */
const epochMs = 1_767_225_600_000

/** Sees the requests and responses of every process that dials; may kill, cut or stall from inside its calls. */
export interface Tap {
  /** A request is about to leave. False: it is swallowed, as if the network had lost it. */
  onRequest?(process: Process, request: TappedRequest): boolean
  /** Its response is about to be handed over. False: it is swallowed. */
  onResponse?(process: Process, request: TappedRequest, response: Buffer): boolean
}

/** A request on the wire. */
export interface TappedRequest {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
  /** The frame, without its size. Made on demand. */
  frame(): Buffer
}

/** What a process needs of its world. */
export interface ProcessPort {
  readonly timeline: Timeline
  /** The network as this process sees it. */
  readonly network: Network
  readonly random: SeededRandom
  readonly fs: Fs
  /** Cuts all connections of the process at once; what is on its way is lost. */
  cutAll(): void
  /** The world's tap, if it has one now. */
  tap(): Tap | undefined
  /** An exception that left a callback: the process would have crashed. */
  uncaught(process: Process, cause: unknown): void
}

export class Process implements EventOwner {
  readonly name: string
  readonly scope: Scope
  /** Wall clock minus true time, milliseconds. */
  skewMs = 0
  readonly #port: ProcessPort
  readonly #immediates: (() => void)[] = []
  readonly #inputs: (() => void)[] = []
  readonly #connections = new Set<Connection>()
  readonly #listeners = new Set<Listener>()
  #alive = true
  #stalledUntil = 0

  constructor(name: string, port: ProcessPort) {
    this.name = name
    this.#port = port
    this.scope = {
      scheduler: this.#scheduler(),
      random: port.random,
      network: { dial: (...args) => this.#dial(...args), listen: (...args) => this.#listen(...args) },
      fs: port.fs,
    }
  }

  get alive(): boolean {
    return this.#alive
  }

  get stalled(): boolean {
    return this.#port.timeline.now < this.#stalledUntil
  }

  admit(now: number): 'run' | 'drop' | number {
    if (!this.#alive) return 'drop'
    return now < this.#stalledUntil ? this.#stalledUntil : 'run'
  }

  /** kill -9. May be called from anywhere; what runs of the process just now has no effect outside any more. */
  kill(): void {
    if (!this.#alive) return
    this.#alive = false
    for (const listener of this.#listeners) void listener.close()
    if (this.#port.random.chance(0.5)) this.#port.cutAll()
    else for (const connection of this.#connections) connection.close()
    this.#immediates.length = 0
    this.#inputs.length = 0
    this.#connections.clear()
  }

  /** Stops the process for `ms`. */
  stall(ms: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, this.#port.timeline.now + ms)
  }

  #scheduler(): Scheduler {
    const { timeline } = this.#port
    return {
      now: () => Math.floor(epochMs + timeline.now + this.skewMs),
      monotonic: () => timeline.now,
      setTimer: (delayMs, callback) => {
        // Node's own rule: at least a millisecond, whole milliseconds.
        const event = this.#alive
          ? timeline.schedule(this, 'timer', Math.max(1, Math.ceil(delayMs)), this.#safe(callback))
          : undefined
        return { timer: event }
      },
      clearTimer: (handle: TimerHandle) => {
        const event = handle.timer as SimEvent | undefined
        if (event !== undefined) event.callback = undefined
      },
      immediate: (callback) => {
        if (!this.#alive) return
        this.#immediates.push(callback)
        timeline.schedule(
          this,
          'immediate',
          0,
          this.#safe(() => this.#immediates.shift()?.()),
        )
      },
    }
  }

  #safe(callback: () => void): () => void {
    return () => {
      try {
        callback()
      } catch (cause) {
        this.#port.uncaught(this, cause)
      }
    }
  }

  /** Hands over something from outside: now, or in order after the stall, or never. */
  #input(step: () => void): void {
    if (!this.#alive) return
    if (!this.stalled && this.#inputs.length === 0) {
      this.#safe(step)()
      return
    }
    this.#inputs.push(step)
    this.#port.timeline.schedule(
      this,
      'input',
      0,
      this.#safe(() => this.#inputs.shift()?.()),
    )
  }

  #dial(host: string, port: number, handler: ConnectionHandler, options: DialOptions): Promise<Connection> {
    const wire = new TappedWire(this, () => this.#port.tap())
    return new Promise((resolve, reject) => {
      if (!this.#alive) return
      this.#port.network
        .dial(
          host,
          port,
          this.#gate(() => handler, wire),
          options,
        )
        .then(
          (connection) => {
            if (!this.#alive) connection.close()
            else this.#input(() => resolve(this.#own(connection, wire)))
          },
          (cause: unknown) => this.#input(() => reject(cause)),
        )
    })
  }

  async #listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener> {
    const listener = await this.#port.network.listen(options, (connection) => {
      let handler: ConnectionHandler | undefined
      if (!this.#alive) connection.close()
      else {
        this.#input(() => {
          handler = accept(this.#own(connection))
        })
      }
      return this.#gate(() => handler)
    })
    this.#listeners.add(listener)
    return listener
  }

  #own(connection: Connection, wire?: TappedWire): Connection {
    this.#connections.add(connection)
    return new GatedConnection(this, connection, wire, () => this.#connections.delete(connection))
  }

  #gate(handler: () => ConnectionHandler | undefined, wire?: TappedWire): ConnectionHandler {
    return {
      onFrame: (frame) =>
        this.#input(() => {
          if (wire !== undefined && !wire.admitResponse(frame)) return
          if (this.#alive) handler()?.onFrame(frame)
        }),
      onClose: (reason) => this.#input(() => handler()?.onClose(reason)),
      onDrain: () => this.#input(() => handler()?.onDrain?.()),
    }
  }
}

/** The client's side of a connection as the tap sees it; matches responses with their requests. */
class TappedWire {
  readonly #process: Process
  readonly #tap: () => Tap | undefined
  readonly #waiting = new Map<number, TappedRequest>()

  constructor(process: Process, tap: () => Tap | undefined) {
    this.#process = process
    this.#tap = tap
  }

  admitRequest(buffers: readonly Buffer[]): boolean {
    const tap = this.#tap()
    if (tap === undefined) return true
    let frame: Buffer | undefined
    const head = (buffers[0]?.length ?? 0) >= 8 ? buffers[0]! : Buffer.concat(buffers)
    const request: TappedRequest = {
      apiKey: head.readInt16BE(0),
      apiVersion: head.readInt16BE(2),
      correlationId: head.readInt32BE(4),
      frame: () => {
        frame ??= Buffer.concat(buffers)
        return frame
      },
    }
    // The sender may reuse its buffers, so a frame that will be looked at later is copied now.
    if (tap.onResponse !== undefined) {
      request.frame()
      this.#waiting.set(request.correlationId, request)
    }
    return tap.onRequest?.(this.#process, request) ?? true
  }

  admitResponse(frame: Buffer): boolean {
    if (this.#waiting.size === 0) return true
    const correlationId = frame.readInt32BE(0)
    const request = this.#waiting.get(correlationId)
    if (request === undefined) return true
    this.#waiting.delete(correlationId)
    return this.#tap()?.onResponse?.(this.#process, request, frame) ?? true
  }
}

/** A connection that a dead process can no longer use. */
class GatedConnection implements Connection {
  readonly remote: string
  readonly #process: Process
  readonly #inner: Connection
  readonly #wire: TappedWire | undefined
  readonly #onClose: () => void

  constructor(process: Process, inner: Connection, wire: TappedWire | undefined, onClose: () => void) {
    this.remote = inner.remote
    this.#process = process
    this.#inner = inner
    this.#wire = wire
    this.#onClose = onClose
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes
  }

  send(buffers: readonly Buffer[]): void {
    if (!this.#process.alive) return
    if (this.#wire !== undefined && !this.#wire.admitRequest(buffers)) return
    // The tap may have killed the process.
    if (this.#process.alive) this.#inner.send(buffers)
  }

  setReading(reading: boolean): void {
    if (this.#process.alive) this.#inner.setReading(reading)
  }

  close(reason?: Error): void {
    if (!this.#process.alive) return
    this.#onClose()
    this.#inner.close(reason)
  }
}
