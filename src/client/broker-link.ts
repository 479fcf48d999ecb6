/**
 * Broker link: the way to one broker, made of lanes: separate sockets, so that nothing waits behind a long poll.
 * Owns   its lanes and, per lane, the connection or the pause before the next dial (jittered, exponential: KIP-580).
 * Never  repeats a request. A lane dials when somebody wants it; when a dial fails, those who wait hear it and decide.
 * BrokerLinks owns all links of a client, and asks "any broker" by trying one after another.
 */
import { Backoff } from '../base/backoff.ts'
import { ClosedError, describeError, MillraceError, TimeoutError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import type { Scope, TimerHandle } from '../base/scope.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../protocol/schema.ts'
import { BrokerConnection, type CallOptions, type ConnectionContext } from './connection.ts'
import type { ClientEvent, LaneName } from './events.ts'
import type { Address } from './options.ts'

/** What links need of their client. */
export interface LinkContext extends ConnectionContext {
  readonly reconnectBackoffMs: number
  readonly reconnectBackoffMaxMs: number
  readonly onEvent: (event: ClientEvent) => void
}

/** How a request travels: which lane, and everything that the connection wants to know. */
export interface LaneCall extends CallOptions {
  readonly lane: LaneName
  /** The request has no answer. */
  readonly oneWay?: boolean | undefined
}

/** No broker could be asked. Code `ERR_NO_BROKER`. Retriable. `cause` is the last broker's error. */
export class NoBrokerError extends MillraceError {
  override readonly name = 'NoBrokerError'
  constructor(tried: readonly string[], cause: unknown) {
    super('ERR_NO_BROKER', `none of the brokers ${tried.join(', ')} could be asked; last: ${describeError(cause)}`, {
      retriable: true,
      cause,
    })
  }
}

type LaneState =
  | { readonly at: 'idle' }
  | { readonly at: 'pausing'; readonly timer: TimerHandle }
  | { readonly at: 'dialling'; readonly abort: AbortController }
  | { readonly at: 'ready'; readonly connection: BrokerConnection }
  | { readonly at: 'closed' }

/** Somebody who waits for the lane to be ready. */
interface Waiter {
  readonly timer: TimerHandle
  go(connection: BrokerConnection): void
  fail(cause: unknown): void
}

class Lane {
  readonly name: LaneName
  readonly #link: BrokerLink
  readonly #context: LinkContext
  readonly #backoff: Backoff
  #state: LaneState = { at: 'idle' }
  #waiters = new Set<Waiter>()
  /** Not before this time is dialled (after a failure) or sent (after a throttle), monotonic milliseconds. */
  #notBefore = 0
  #throttledUntil = 0
  #throttleTimer: TimerHandle | undefined
  #lastFailure: unknown

  constructor(link: BrokerLink, name: LaneName, context: LinkContext) {
    this.#link = link
    this.name = name
    this.#context = context
    this.#backoff = new Backoff(context.scope.random, context.reconnectBackoffMs, context.reconnectBackoffMaxMs)
  }

  get connection(): BrokerConnection | undefined {
    return this.#state.at === 'ready' ? this.#state.connection : undefined
  }

  /** Whether a dial failed and the pause after it is not over. */
  get isPausing(): boolean {
    return this.#state.at !== 'ready' && this.#context.scope.scheduler.monotonic() < this.#notBefore
  }

  /** Whether a call made now is written to a socket at once. */
  get isReady(): boolean {
    return this.#state.at === 'ready' && this.#throttledUntil <= this.#context.scope.scheduler.monotonic()
  }

  /** Resolves when `isReady`, dialling if need be; rejects as a call would. */
  async whenReady(what: string, timeoutMs: number): Promise<void> {
    await this.#ready(what, timeoutMs)
  }

  async call<A extends AnyApi>(api: A, input: RequestInput<A>, options: LaneCall): Promise<ResponseOf<A> | undefined> {
    const connection = await this.#ready(api.name, options.timeoutMs)
    if (options.oneWay === true) {
      await connection.callOneWay(api, input, options)
      return undefined
    }
    const response = await connection.call(api, input, options)
    this.#obeyThrottle(api.name, response)
    return response
  }

  /** Resolves when the socket is gone. */
  async close(): Promise<void> {
    const state = this.#state
    this.#state = { at: 'closed' }
    if (state.at === 'pausing') this.#context.scope.scheduler.clearTimer(state.timer)
    if (this.#throttleTimer !== undefined) this.#context.scope.scheduler.clearTimer(this.#throttleTimer)
    const reason = new ClosedError('the client')
    if (state.at === 'dialling') state.abort.abort(reason)
    if (state.at === 'ready') state.connection.close(reason)
    this.#failWaiters(reason)
    if (state.at === 'ready') await state.connection.gone
  }

  /** The broker has another address now: the next dial goes there, at once. */
  redirect(): void {
    const state = this.#state
    if (state.at === 'ready') state.connection.close()
    this.#notBefore = 0
    this.#backoff.reset()
  }

  /** The ready connection, or a promise of it within `timeoutMs`. */
  #ready(what: string, timeoutMs: number): BrokerConnection | Promise<BrokerConnection> {
    const state = this.#state
    const { scheduler } = this.#context.scope
    if (state.at === 'ready' && this.#throttledUntil <= scheduler.monotonic()) return state.connection
    if (state.at === 'closed') throw new ClosedError('the client')
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        timer: scheduler.setTimer(timeoutMs, () => {
          this.#waiters.delete(waiter)
          reject(this.#waitedTooLong(what, timeoutMs))
        }),
        go: (connection) => {
          scheduler.clearTimer(waiter.timer)
          resolve(connection)
        },
        fail: (cause) => {
          scheduler.clearTimer(waiter.timer)
          reject(cause)
        },
      }
      this.#waiters.add(waiter)
      this.#advance()
    })
  }

  /** Does what the state allows: dial, pause, or let the waiting go. */
  #advance(): void {
    const state = this.#state
    if (state.at === 'ready') {
      const { scheduler } = this.#context.scope
      const waitMs = this.#throttledUntil - scheduler.monotonic()
      if (waitMs > 0) {
        this.#throttleTimer ??= scheduler.setTimer(waitMs, () => {
          this.#throttleTimer = undefined
          this.#advance()
        })
        return
      }
      const waiters = this.#waiters
      this.#waiters = new Set()
      for (const waiter of waiters) waiter.go(state.connection)
      return
    }
    if (state.at !== 'idle' || this.#waiters.size === 0) return
    const { scheduler } = this.#context.scope
    const pauseMs = this.#notBefore - scheduler.monotonic()
    if (pauseMs > 0) {
      const timer = scheduler.setTimer(pauseMs, () => {
        if (this.#state.at !== 'pausing') return
        this.#state = { at: 'idle' }
        this.#advance()
      })
      this.#state = { at: 'pausing', timer }
      return
    }
    const abort = new AbortController()
    this.#state = { at: 'dialling', abort }
    void this.#dial(abort.signal)
  }

  async #dial(signal: AbortSignal): Promise<void> {
    const { node, address } = this.#link
    try {
      const connection = await BrokerConnection.open(this.#context, node, address, signal)
      if (this.#state.at !== 'dialling') {
        connection.close()
        return
      }
      this.#state = { at: 'ready', connection }
      connection.onClosed = (reason) => this.#onClosed(connection, reason)
      this.#backoff.reset()
      this.#lastFailure = undefined
      notify(this.#context.onEvent, { type: 'connected', node, address: this.#link.text, lane: this.name })
      this.#advance()
    } catch (cause) {
      if (this.#state.at !== 'dialling') return
      this.#state = { at: 'idle' }
      const retryInMs = this.#pauseAfter(cause)
      notify(this.#context.onEvent, {
        type: 'connectFailed',
        node,
        address: this.#link.text,
        lane: this.name,
        attempt: this.#backoff.attempts,
        retryInMs,
        error: cause instanceof Error ? cause : new Error(describeError(cause)),
      })
      this.#failWaiters(cause)
    }
  }

  #onClosed(connection: BrokerConnection, reason: Error | undefined): void {
    if (this.#state.at !== 'ready' || this.#state.connection !== connection) return
    this.#state = { at: 'idle' }
    if (reason !== undefined) this.#pauseAfter(reason)
    const event = { type: 'disconnected', node: this.#link.node, address: this.#link.text, lane: this.name } as const
    notify(this.#context.onEvent, reason === undefined ? event : { ...event, error: reason })
    this.#advance()
  }

  #pauseAfter(cause: unknown): number {
    const pauseMs = this.#backoff.next()
    this.#notBefore = this.#context.scope.scheduler.monotonic() + pauseMs
    this.#lastFailure = cause
    return pauseMs
  }

  #failWaiters(cause: unknown): void {
    const waiters = this.#waiters
    this.#waiters = new Set()
    for (const waiter of waiters) waiter.fail(cause)
  }

  #waitedTooLong(what: string, timeoutMs: number): TimeoutError {
    const last = this.#lastFailure === undefined ? 'connecting goes on' : `last: ${describeError(this.#lastFailure)}`
    return new TimeoutError(
      `${what} waited ${Math.round(timeoutMs)} ms for a connection to ${this.#link.name}; ${last}; check that the broker runs and that its advertised.listeners address can be reached from here`,
      this.#lastFailure,
    )
  }

  /** KIP-219: the broker has answered, and ignores us until the time is over. */
  #obeyThrottle(api: string, response: unknown): void {
    const throttleMs = (response as { readonly throttleTimeMs?: number }).throttleTimeMs ?? 0
    if (throttleMs <= 0) return
    const until = this.#context.scope.scheduler.monotonic() + throttleMs
    this.#throttledUntil = Math.max(this.#throttledUntil, until)
    notify(this.#context.onEvent, { type: 'throttled', node: this.#link.node, api, throttleMs })
  }
}

export class BrokerLink {
  /** The broker's id; negative for an address of `brokers`. */
  readonly node: number
  #address: Address
  readonly #context: LinkContext
  readonly #lanes = new Map<LaneName, Lane>()
  /** Lanes that were closed and whose sockets are not gone yet. */
  readonly #closing = new Set<Promise<void>>()

  constructor(node: number, address: Address, context: LinkContext) {
    this.node = node
    this.#address = address
    this.#context = context
  }

  get address(): Address {
    return this.#address
  }

  /** `host:port`. */
  get text(): string {
    const { host, port } = this.#address
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  }

  /** For messages. */
  get name(): string {
    return this.node < 0 ? `broker ${this.text}` : `broker ${this.node} (${this.text})`
  }

  /** Smaller is better for a request that any broker can answer. */
  get burden(): number {
    const lane = this.#lanes.get('control')
    if (lane?.connection !== undefined) return lane.connection.inFlight
    return lane?.isPausing === true ? 1e9 : 1e6
  }

  /** Rejects with retriable transport errors, with VersionError, or with ClosedError. */
  call<A extends AnyApi>(api: A, input: RequestInput<A>, options: LaneCall): Promise<ResponseOf<A> | undefined> {
    return this.#lane(options.lane).call(api, input, options)
  }

  /** Whether a call on the lane made now is written at once: calls made in one turn then leave, or fail, in their order. */
  isReady(lane: LaneName): boolean {
    return this.#lanes.get(lane)?.isReady === true
  }

  /** Resolves when `isReady(lane)`; rejects as a call would. `what` waits, for messages. */
  whenReady(lane: LaneName, what: string, timeoutMs: number): Promise<void> {
    return this.#lane(lane).whenReady(what, timeoutMs)
  }

  /** Closes one lane's socket; the lane is gone until it is used again. */
  closeLane(name: LaneName): void {
    const lane = this.#lanes.get(name)
    if (lane === undefined) return
    this.#lanes.delete(name)
    const closing = lane.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  move(address: Address): void {
    if (address.host === this.#address.host && address.port === this.#address.port) return
    this.#address = address
    for (const lane of this.#lanes.values()) lane.redirect()
  }

  async close(): Promise<void> {
    await Promise.all([...[...this.#lanes.values()].map((lane) => lane.close()), ...this.#closing])
  }

  #lane(name: LaneName): Lane {
    let lane = this.#lanes.get(name)
    if (lane === undefined) {
      lane = new Lane(this, name, this.#context)
      this.#lanes.set(name, lane)
    }
    return lane
  }
}

export class BrokerLinks {
  readonly context: LinkContext
  readonly #nodes = new Map<number, BrokerLink>()
  readonly #seeds: readonly BrokerLink[]
  #closed = false

  constructor(context: LinkContext, seeds: readonly Address[]) {
    this.context = context
    this.#seeds = seeds.map((address, index) => new BrokerLink(-1 - index, address, context))
  }

  get scope(): Scope {
    return this.context.scope
  }

  /** The link to a broker whose address is known. */
  node(id: number): BrokerLink | undefined {
    return this.#nodes.get(id)
  }

  /** A broker and where it is now. Later addresses replace earlier ones. */
  learn(id: number, host: string, port: number): void {
    const link = this.#nodes.get(id)
    if (link !== undefined) link.move({ host, port })
    else if (!this.#closed && id >= 0) this.#nodes.set(id, new BrokerLink(id, { host, port }, this.context))
  }

  /**
   * Asks brokers one after another until one answers: the least burdened first, the addresses of `brokers` last (so
   * a cluster that moved is found again). Rejects with NoBrokerError when none does.
   */
  async any<A extends AnyApi>(
    api: A,
    input: RequestInput<A>,
    options: LaneCall,
    seedsFirst = false,
  ): Promise<ResponseOf<A>> {
    const nodes = [...this.#nodes.values()].sort((a, b) => a.burden - b.burden)
    const seeds = [...this.#seeds].sort((a, b) => a.burden - b.burden)
    const tried: string[] = []
    let last: unknown
    for (const link of seedsFirst ? [...seeds, ...nodes] : [...nodes, ...seeds]) {
      if (this.#closed) throw new ClosedError('the client')
      tried.push(link.text)
      try {
        return (await link.call(api, input, options)) as ResponseOf<A>
      } catch (cause) {
        if (!(cause instanceof MillraceError) || !cause.retriable) throw cause
        last = cause
      }
    }
    throw new NoBrokerError([...new Set(tried)], last)
  }

  /** Closes one lane to every broker: its owner is gone. */
  closeLane(name: LaneName): void {
    for (const link of [...this.#nodes.values(), ...this.#seeds]) link.closeLane(name)
  }

  /** Fails what is in flight with ClosedError; resolves when no socket is left. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#nodes.values(), ...this.#seeds].map((link) => link.close()))
  }
}
