/**
 * Connection: one socket to one broker.
 * Owns   the socket, the API versions negotiated on it, and the requests in flight with their deadlines.
 * Reads  nothing else.   Never  dials again: a closed connection stays closed (BrokerLink opens the next).
 * A request that is not answered in time ends the connection: on a pipelined socket nothing behind it would be either.
 */
import { deferred } from '../base/deferred.ts'
import { ClosedError, describeError, MillraceError, TimeoutError } from '../base/errors.ts'
import type { Connection as Transport } from '../base/network.ts'
import type { Scope, TimerHandle } from '../base/scope.ts'
import { connectionLost, NetworkError } from '../net/index.ts'
import { apiVersions } from '../protocol/api/api-versions.ts'
import { allApis } from '../protocol/api/index.ts'
import { BrokerError, errorCodes, ProtocolError } from '../protocol/errors.ts'
import { correlationIdOf, decodeResponse, encodeRequest } from '../protocol/frame.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../protocol/schema.ts'
import { NAME_BASED_PINS, negotiate, pickVersion, type VersionTable } from '../protocol/versions.ts'
import type { Address } from './options.ts'

/** What every connection of a client has in common. */
export interface ConnectionContext {
  readonly scope: Scope
  readonly clientId: string
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly connectionMaxIdleMs: number
  readonly maxFrameBytes: number
  readonly maxVersions: ReadonlyMap<string, number>
}

/** How one request is to be treated. */
export interface CallOptions {
  /** From sending to the answer, milliseconds; protocol waits included. */
  readonly timeoutMs: number
  readonly minVersion?: number | undefined
  readonly maxVersion?: number | undefined
  /** Called when the bytes are handed to the transport: from then on the outcome of a failed request is unknown. */
  readonly onSent?: (() => void) | undefined
}

interface Pending {
  readonly api: AnyApi
  readonly version: number
  readonly timeoutMs: number
  deadline: number
  resolve(response: unknown): void
  reject(cause: unknown): void
}

/** The software name and version told to brokers (KIP-511). */
const software = { name: 'millrace', version: '0.1.0' }
/** A timer that fires later than this after its time means that this process was stalled, not the broker. */
const stallMs = 500

export class BrokerConnection {
  readonly address: string
  readonly node: number
  /** Called once when the connection is over; `reason` is undefined after an orderly close. */
  onClosed: ((reason: Error | undefined) => void) | undefined
  readonly #gone = deferred()
  readonly #context: ConnectionContext
  readonly #pending = new Map<number, Pending>()
  #transport: Transport | undefined
  #versions: VersionTable = new Map()
  #nextCorrelationId = 1
  #timer: TimerHandle | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #usedAt = 0
  #closed: { readonly reason: Error | undefined } | undefined
  #drained: (() => void)[] = []

  private constructor(context: ConnectionContext, node: number, address: string) {
    this.#context = context
    this.node = node
    this.address = address
  }

  /** Dials, then asks for the API versions. Rejects with a retriable error, or with VersionError. */
  static async open(
    context: ConnectionContext,
    node: number,
    to: Address,
    signal: AbortSignal,
  ): Promise<BrokerConnection> {
    const { host, port } = to
    const connection = new BrokerConnection(context, node, host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)
    const { connectTimeoutMs, maxFrameBytes } = context
    connection.#transport = await context.scope.network.dial(
      host,
      port,
      {
        onFrame: (frame) => connection.#onFrame(frame),
        onClose: (reason) => connection.#onClose(reason),
        onDrain: () => connection.#onDrain(),
      },
      { connectTimeoutMs, maxFrameBytes, signal },
    )
    connection.#usedAt = context.scope.scheduler.monotonic()
    const onAbort = (): void => connection.close(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await connection.#negotiate()
    } catch (cause) {
      connection.close(cause instanceof Error ? cause : undefined)
      throw connection.#explainRejection(cause)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    return connection
  }

  /** Requests that wait for their answer. */
  get inFlight(): number {
    return this.#pending.size
  }

  /** Resolves when the socket is gone too: nothing of this connection is left. */
  get gone(): Promise<void> {
    return this.#gone.promise
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** The version to speak: the highest possible; APIs whose newest versions need topic ids only when asked. Throws VersionError. */
  versionOf(api: AnyApi, min: number | undefined, max: number | undefined): number {
    return pickVersion(this.#versions, api, { min, max: max ?? NAME_BASED_PINS.get(api.name) })
  }

  /** Sends a request and resolves with its answer. Rejects with retriable errors when the connection ends first. */
  call<A extends AnyApi>(api: A, input: RequestInput<A>, options: CallOptions): Promise<ResponseOf<A>> {
    return new Promise<ResponseOf<A>>((resolve, reject) => {
      const version = this.versionOf(api, options.minVersion, options.maxVersion)
      this.#send(api, version, input, options, resolve as (response: unknown) => void, reject)
    })
  }

  /** Sends a request that has no answer (Produce with acks 0); resolves when the transport can take more. */
  callOneWay<A extends AnyApi>(api: A, input: RequestInput<A>, options: CallOptions): Promise<void> {
    return new Promise((resolve) => {
      const transport = this.#openTransport()
      const version = this.versionOf(api, options.minVersion, options.maxVersion)
      const frame = encodeRequest(api, version, this.#takeId(), this.#context.clientId, input)
      options.onSent?.()
      // Nobody answers, so nobody says when the caller may have its buffers back: they are copied.
      transport.send([Buffer.concat(frame)])
      if (transport.pendingBytes < oneWayBytes) resolve()
      else this.#drained.push(resolve)
    })
  }

  /** Ends the connection at once. Requests in flight fail with `reason`, or as lost. */
  close(reason?: Error): void {
    this.#end(reason)
    this.#transport?.close(reason)
  }

  #openTransport(): Transport {
    if (this.#closed !== undefined || this.#transport === undefined) throw this.#lost(this.#closed?.reason)
    return this.#transport
  }

  #takeId(): number {
    const id = this.#nextCorrelationId
    this.#nextCorrelationId = id === 0x7fff_ffff ? 1 : id + 1
    return id
  }

  #send<A extends AnyApi>(
    api: A,
    version: number,
    input: RequestInput<A>,
    options: CallOptions,
    resolve: (response: unknown) => void,
    reject: (cause: unknown) => void,
  ): void {
    const transport = this.#openTransport()
    const id = this.#takeId()
    const frame = encodeRequest(api, version, id, this.#context.clientId, input)
    const now = this.#context.scope.scheduler.monotonic()
    const deadline = now + options.timeoutMs
    this.#usedAt = now
    this.#pending.set(id, { api, version, timeoutMs: options.timeoutMs, deadline, resolve, reject })
    this.#wakeAt(deadline)
    options.onSent?.()
    transport.send(frame)
  }

  #onFrame(frame: Buffer): void {
    if (this.#closed !== undefined) return
    const id = frame.length >= 4 ? correlationIdOf(frame) : -1
    const pending = this.#pending.get(id)
    if (pending === undefined) {
      this.close(new ProtocolError(`broker ${this.address} answered request ${id}, which was never sent`, 0))
      return
    }
    this.#pending.delete(id)
    this.#usedAt = this.#context.scope.scheduler.monotonic()
    let response: unknown
    try {
      response = decodeResponse(pending.api, pending.version, frame)
    } catch (cause) {
      pending.reject(cause)
      return
    }
    pending.resolve(response)
  }

  #onClose(reason: Error | undefined): void {
    this.#end(reason ?? (this.#pending.size > 0 ? connectionLost(this.address) : undefined))
    this.#gone.resolve()
  }

  #onDrain(): void {
    const drained = this.#drained
    this.#drained = []
    for (const resolve of drained) resolve()
  }

  #end(reason: Error | undefined): void {
    if (this.#closed !== undefined) return
    this.#closed = { reason }
    if (this.#timer !== undefined) this.#context.scope.scheduler.clearTimer(this.#timer)
    this.#timer = undefined
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const request of pending) {
      const plain = reason instanceof ClosedError || (reason instanceof MillraceError && reason.retriable)
      request.reject(plain ? reason : this.#lost(reason))
    }
    this.#onDrain()
    this.onClosed?.(reason)
  }

  #lost(reason: Error | undefined): NetworkError {
    return reason instanceof NetworkError ? reason : connectionLost(this.address, reason)
  }

  /** One timer for all deadlines and for idleness; it is moved only to earlier times. */
  #wakeAt(time: number): void {
    if (time >= this.#timerAt) return
    const { scheduler } = this.#context.scope
    if (this.#timer !== undefined) scheduler.clearTimer(this.#timer)
    this.#timerAt = time
    this.#timer = scheduler.setTimer(Math.max(0, time - scheduler.monotonic()), () => {
      this.#timer = undefined
      const late = scheduler.monotonic() - time
      // What has arrived meanwhile is read before anything is declared late.
      scheduler.immediate(() => this.#onTimer(late))
    })
  }

  #onTimer(lateMs: number): void {
    if (this.#closed !== undefined) return
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#context.scope.scheduler.monotonic()
    let next = Number.POSITIVE_INFINITY
    for (const pending of this.#pending.values()) {
      if (lateMs > stallMs) pending.deadline = Math.max(pending.deadline, now + Math.min(lateMs, pending.timeoutMs))
      if (pending.deadline <= now) {
        this.close(
          new TimeoutError(
            `broker ${this.address} did not answer ${pending.api.name} within ${Math.round(pending.timeoutMs)} ms, so the connection was closed: the broker is overloaded, stopped or cut off; raise requestTimeoutMs if it is only slow`,
          ),
        )
        return
      }
      if (pending.deadline < next) next = pending.deadline
    }
    const idleAt = this.#usedAt + this.#context.connectionMaxIdleMs
    if (this.#pending.size === 0 && idleAt <= now) {
      this.close()
      return
    }
    this.#wakeAt(Math.min(next, Math.max(idleAt, now + 1)))
  }

  /** ApiVersions: our highest; on UNSUPPORTED_VERSION the highest that the answer allows, at last 0 (KIP-511). */
  async #negotiate(): Promise<void> {
    const { requestTimeoutMs, maxVersions } = this.#context
    let version = Math.min(apiVersions.maxVersion, maxVersions.get(apiVersions.name) ?? apiVersions.maxVersion)
    for (;;) {
      const asked = version
      const response = await new Promise<ResponseOf<typeof apiVersions>>((resolve, reject) => {
        const input = { clientSoftwareName: software.name, clientSoftwareVersion: software.version }
        const options = { timeoutMs: requestTimeoutMs }
        this.#send(apiVersions, asked, input, options, resolve as (response: unknown) => void, reject)
      })
      if (response.errorCode === errorCodes.UNSUPPORTED_VERSION && asked > 0) {
        const own = response.apiKeys.find((range) => range.apiKey === apiVersions.key)
        version = own === undefined ? 0 : Math.max(0, Math.min(own.maxVersion, asked - 1))
        continue
      }
      if (response.errorCode !== 0) throw new BrokerError(response.errorCode, `ApiVersions of broker ${this.address}`)
      this.#versions = negotiate(allApis, response.apiKeys, maxVersions)
      this.#wakeAt(this.#usedAt + this.#context.connectionMaxIdleMs)
      return
    }
  }

  #explainRejection(cause: unknown): unknown {
    if (!(cause instanceof NetworkError) || cause.code !== 'ERR_CONNECTION_LOST') return cause
    return new NetworkError(
      'ERR_CONNECTION_LOST',
      this.address,
      `${this.address} accepted the connection but ended it before the first answer (${describeError(cause.cause ?? cause)}): the listener may want TLS or SASL, or it is not a Kafka broker`,
      cause,
    )
  }
}

/** While less than this is unsent, a request without answer counts as delivered to the transport. */
const oneWayBytes = 1024 * 1024
