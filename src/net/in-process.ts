/**
 * The network inside one process: a registry of listeners by `host:port`, for `embedded:` and for simulations.
 * Owns its connections and the frames on their way. A frame is copied when it is sent and delivered later, in order,
 * by the scheduler: never inside the sender's call. Needs nothing but a Scheduler, so it runs under a virtual clock.
 */
import type { Connection, ConnectionHandler, DialOptions, Listener, ListenOptions, Network } from '../base/network.ts'
import type { Scheduler } from '../base/scope.ts'
import { badFrameSize, connectError, connectionLost, connectTimeout, formatAddress, NetworkError } from './errors.ts'

/** Above so many undelivered bytes a sender hears `onDrain` once they are gone. */
const highWaterBytes = 64 * 1024
/** The first of the ports given to listeners that ask for port 0. */
const firstFreePort = 40_000

/** A way through the network, as hooks and `cut` see it. */
export interface Route {
  /** Who dialled: the name given to `endpoint`, or `''`. */
  readonly from: string
  /** The listener's address, `host:port`. */
  readonly to: string
}

/** What a simulation may decide. All are called synchronously. */
export interface InProcessHooks {
  /** Delay of a frame, and of connecting, milliseconds. Default 0. Order within a direction is kept whatever it says. */
  latencyMs?(route: Route, direction: 'out' | 'back'): number
  /** True: connecting is refused. */
  refuse?(route: Route): boolean
  /** True: connecting gets no answer and times out. */
  blackhole?(route: Route): boolean
}

interface Bound {
  readonly options: ListenOptions
  readonly port: number
  readonly accept: (connection: Connection) => ConnectionHandler
}

/** A whole network in memory. Several may exist; they do not see each other. */
export class InProcessNetwork implements Network {
  readonly #scheduler: Scheduler
  readonly #hooks: InProcessHooks
  readonly #listeners = new Map<string, Bound>()
  readonly #pairs = new Set<Pair>()
  #nextPort = firstFreePort

  constructor(scheduler: Scheduler, hooks: InProcessHooks = {}) {
    this.#scheduler = scheduler
    this.#hooks = hooks
  }

  /** Open connections. */
  get connectionCount(): number {
    return this.#pairs.size
  }

  dial(host: string, port: number, handler: ConnectionHandler, options: DialOptions): Promise<Connection> {
    return this.#dial('', host, port, handler, options)
  }

  listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener> {
    let port = options.port
    if (port === 0) {
      while (this.#listeners.has(addressOf(options.host, this.#nextPort))) this.#nextPort += 1
      port = this.#nextPort
      this.#nextPort += 1
    }
    const address = addressOf(options.host, port)
    if (this.#listeners.has(address)) {
      return Promise.reject(new NetworkError('ERR_LISTEN_FAILED', address, `${address} is taken in this network`))
    }
    const bound: Bound = { options, port, accept }
    this.#listeners.set(address, bound)
    return Promise.resolve({
      host: options.host,
      port,
      close: () => {
        if (this.#listeners.get(address) === bound) this.#listeners.delete(address)
        return Promise.resolve()
      },
    })
  }

  /** The same network under a name, so that hooks and `cut` can tell who dialled. */
  endpoint(name: string): Network {
    return {
      dial: (host, port, handler, options) => this.#dial(name, host, port, handler, options),
      listen: (options, accept) => this.listen(options, accept),
    }
  }

  /** Cuts every connection that `which` selects; both ends hear `onClose`, frames on their way are lost. */
  cut(which: (route: Route) => boolean, why = 'cut by the simulation'): number {
    let count = 0
    for (const pair of [...this.#pairs]) {
      if (!which(pair.route)) continue
      pair.end(connectionLost(pair.route.to, new Error(why)))
      count += 1
    }
    return count
  }

  #dial(
    from: string,
    host: string,
    port: number,
    handler: ConnectionHandler,
    options: DialOptions,
  ): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const route: Route = { from, to: addressOf(host, port) }
      options.signal?.addEventListener('abort', () => reject(options.signal?.reason), { once: true })
      if (this.#hooks.blackhole?.(route) === true) {
        const timeoutMs = options.connectTimeoutMs
        this.#scheduler.setTimer(timeoutMs, () => reject(connectTimeout(host, port, timeoutMs)))
        return
      }
      this.#after(this.#hooks.latencyMs?.(route, 'out') ?? 0, () => {
        if (options.signal?.aborted === true) return
        const bound = this.#listeners.get(route.to)
        if (bound === undefined || this.#hooks.refuse?.(route) === true) {
          const cause = Object.assign(new Error(`connect ECONNREFUSED ${route.to}`), { code: 'ECONNREFUSED' })
          reject(connectError(host, port, cause))
          return
        }
        const pair = new Pair(route, this.#scheduler, this.#hooks, () => this.#pairs.delete(pair))
        this.#pairs.add(pair)
        const near = pair.open(formatAddress(host, port), options.maxFrameBytes, 'out')
        const far = pair.open(`in-process:${from}`, bound.options.maxFrameBytes, 'back')
        near.attach(far, handler)
        far.attach(near, bound.accept(far))
        resolve(near)
      })
    })
  }

  #after(delayMs: number, step: () => void): void {
    if (delayMs > 0) this.#scheduler.setTimer(delayMs, step)
    else this.#scheduler.immediate(step)
  }
}

/** One connection with its two ends; ends as a whole. */
class Pair {
  readonly route: Route
  readonly #scheduler: Scheduler
  readonly #hooks: InProcessHooks
  readonly #onEnd: () => void
  readonly #ends: End[] = []
  #over = false

  constructor(route: Route, scheduler: Scheduler, hooks: InProcessHooks, onEnd: () => void) {
    this.route = route
    this.#scheduler = scheduler
    this.#hooks = hooks
    this.#onEnd = onEnd
  }

  open(remote: string, maxFrameBytes: number, direction: 'out' | 'back'): End {
    const end = new End(
      this,
      this.#scheduler,
      remote,
      maxFrameBytes,
      () => this.#hooks.latencyMs?.(this.route, direction) ?? 0,
    )
    this.#ends.push(end)
    return end
  }

  /** `reason` is heard by both ends, or `peerReason` by the end that did not close. Frames on their way are lost. */
  end(reason: Error | undefined, closer?: End): void {
    if (this.#over) return
    this.#over = true
    this.#onEnd()
    for (const end of this.#ends) end.over(closer === undefined || end === closer ? reason : undefined)
  }

  /** `closer` closes in order: what it sent before still arrives, then the other end hears the close. */
  endAfterDelivery(reason: Error | undefined, closer: End, other: End): void {
    if (this.#over) return
    closer.over(reason)
    other.finishAfterDelivery(() => {
      this.#over = true
      this.#onEnd()
    })
  }
}

/** One end of a connection. Frames that wait for it are in its own inbox. */
class End implements Connection {
  readonly remote: string
  readonly #pair: Pair
  readonly #scheduler: Scheduler
  readonly #maxFrameBytes: number
  readonly #latencyMs: () => number
  #peer: End | undefined
  #handler: ConnectionHandler | undefined
  #reading = true
  #closed = false
  #pendingBytes = 0
  #wasHigh = false
  /** Frames that have been sent to this end, with the time they may be delivered. */
  #inbox: { readonly frame: Buffer; readonly at: number }[] = []
  #scheduled = false
  #lastAt = 0
  #onEmpty: (() => void) | undefined

  constructor(pair: Pair, scheduler: Scheduler, remote: string, maxFrameBytes: number, latencyMs: () => number) {
    this.#pair = pair
    this.#scheduler = scheduler
    this.remote = remote
    this.#maxFrameBytes = maxFrameBytes
    this.#latencyMs = latencyMs
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  attach(peer: End, handler: ConnectionHandler): void {
    this.#peer = peer
    this.#handler = handler
    if (this.#inbox.length > 0) this.#schedule()
  }

  send(buffers: readonly Buffer[]): void {
    const peer = this.#peer
    if (this.#closed || peer === undefined) return
    const frame = Buffer.concat(buffers as Buffer[])
    this.#pendingBytes += frame.length
    if (this.#pendingBytes > highWaterBytes) this.#wasHigh = true
    peer.arrive(frame, this.#latencyMs())
  }

  setReading(reading: boolean): void {
    this.#reading = reading
    if (reading && this.#inbox.length > 0) this.#schedule()
  }

  close(reason?: Error): void {
    if (this.#closed) return
    if (this.#peer === undefined) this.#pair.end(reason, this)
    else this.#pair.endAfterDelivery(reason, this, this.#peer)
  }

  /** The connection is over for this end: nothing is delivered any more, the handler hears it later, once. */
  over(reason: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#inbox = []
    this.#scheduler.immediate(() => this.#handler?.onClose(reason))
  }

  /** Ends in order once the inbox is empty. */
  finishAfterDelivery(done: () => void): void {
    this.#onEmpty = () => {
      done()
      this.over(undefined)
    }
    if (this.#inbox.length === 0) this.#onEmpty()
  }

  /** A frame of the peer is on its way to this end. */
  arrive(frame: Buffer, latencyMs: number): void {
    if (this.#closed) {
      this.#peer?.delivered(frame.length)
      return
    }
    const at = Math.max(this.#lastAt, latencyMs > 0 ? this.#scheduler.monotonic() + latencyMs : 0)
    this.#lastAt = at
    this.#inbox.push({ frame, at })
    this.#schedule()
  }

  #schedule(): void {
    const first = this.#inbox[0]
    if (this.#scheduled || !this.#reading || first === undefined) return
    this.#scheduled = true
    const delayMs = first.at === 0 ? 0 : first.at - this.#scheduler.monotonic()
    const step = (): void => this.#deliver()
    if (delayMs > 0) this.#scheduler.setTimer(delayMs, step)
    else this.#scheduler.immediate(step)
  }

  /** Hands over what is due: all of it in one turn, like a socket that was readable. */
  #deliver(): void {
    this.#scheduled = false
    let count = this.#inbox.length
    while (count > 0 && this.#reading && !this.#closed) {
      const first = this.#inbox[0]
      if (first === undefined || (first.at !== 0 && first.at > this.#scheduler.monotonic())) break
      this.#inbox.shift()
      count -= 1
      this.#peer?.delivered(first.frame.length)
      if (first.frame.length > this.#maxFrameBytes) {
        this.close(badFrameSize(first.frame.length, this.#maxFrameBytes, this.remote))
        return
      }
      this.#handler?.onFrame(first.frame)
    }
    if (this.#closed) return
    if (this.#inbox.length > 0) this.#schedule()
    else this.#onEmpty?.()
  }

  /** The peer has taken `bytes` of what this end sent. */
  delivered(bytes: number): void {
    this.#pendingBytes -= bytes
    if (this.#pendingBytes > 0 || !this.#wasHigh) return
    this.#wasHigh = false
    if (!this.#closed) this.#scheduler.immediate(() => this.#handler?.onDrain?.())
  }
}

/** Names of the local machine are one host. */
function addressOf(host: string, port: number): string {
  return formatAddress(host === 'localhost' || host === '::1' || host === '0.0.0.0' ? '127.0.0.1' : host, port)
}
