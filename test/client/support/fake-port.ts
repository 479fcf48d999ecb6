/**
 * FakePort: a ClientPort whose answers a test writes. Requests and answers go through the real codec, so a script cannot
 * ask or say what the wire could not carry. Owns the log of requests and the handlers; time and randomness come from the
 * scope it is given (a simulated process, for virtual time).
 */
import type { Scope } from '../../../src/base/scope.ts'
import { AbortError } from '../../../src/base/errors.ts'
import type { ClientPort, Destination, PortRequestOptions, TopicInfo } from '../../../src/client/consumer/port.ts'
import {
  correlationIdOf,
  decodeRequest,
  decodeRequestHeader,
  decodeResponse,
  encodeRequest,
  encodeResponse,
} from '../../../src/protocol/frame.ts'
import type { Api, AnyApi, RequestInput, RequestOf, ResponseInput, ResponseOf } from '../../../src/protocol/schema.ts'

export interface SeenRequest {
  readonly api: string
  readonly version: number
  readonly to: Destination
  readonly lane: string
  readonly body: unknown
  readonly at: number
}

/** What a script says to a request: an answer, an error, or nothing until the request is aborted. */
export type Script<A> = (
  request: RequestOf<A>,
  seen: SeenRequest,
) => ResponseInput<A> | Error | 'silence' | Promise<ResponseInput<A> | Error>

type AnyScript = (request: unknown, seen: SeenRequest) => unknown

export class FakePort implements ClientPort {
  readonly scope: Scope
  readonly metadata = new FakeMetadata()
  readonly requests: SeenRequest[] = []
  readonly forgotten: string[] = []
  readonly closedLanes: string[] = []
  readonly coordinators = {
    forget: (group: string, why: string): void => {
      this.forgotten.push(`${group}: ${why}`)
    },
  }
  /** One way, milliseconds. */
  latencyMs = 1
  readonly #scripts = new Map<number, AnyScript>()

  constructor(scope: Scope) {
    this.scope = scope
  }

  /** Answers requests of `api` from now on. */
  on<A extends AnyApi>(api: A, script: Script<A>): this {
    this.#scripts.set(api.key, script as AnyScript)
    return this
  }

  /** Requests of an API so far. */
  seen(api: { readonly name: string }): SeenRequest[] {
    return this.requests.filter((r) => r.api === api.name)
  }

  async request<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options: PortRequestOptions = {},
  ): Promise<ResponseOf<A>> {
    const { lane = 'control', maxVersion = api.maxVersion, signal } = options
    const version = Math.min(api.maxVersion, maxVersion)
    const typed = api as unknown as Api<unknown, RequestInput<A>, ResponseOf<A>, unknown>
    const frame = Buffer.concat(encodeRequest(typed, version, 7, 'test', input))
    const body = decodeRequest(typed, decodeRequestHeader(frame), frame)
    const seen: SeenRequest = { api: api.name, version, to, lane, body, at: this.scope.scheduler.monotonic() }
    this.requests.push(seen)
    const script = this.#scripts.get(api.key)
    if (script === undefined) throw new Error(`the test has no script for ${api.name}`)
    await abortable(this.#pass(), signal)
    const said = await abortable(Promise.resolve(script(body, seen)), signal)
    if (said === 'silence') return abortable(new Promise<never>(() => {}), signal)
    if (said instanceof Error) throw said
    const answer = Buffer.concat(encodeResponse(typed, version, 7, said))
    if (correlationIdOf(answer) !== 7) throw new Error('the answer lost its correlation id')
    await abortable(this.#pass(), signal)
    return decodeResponse(typed, version, answer)
  }

  closeLane(lane: string): void {
    this.closedLanes.push(lane)
  }

  #pass(): Promise<void> {
    return new Promise((resolve) => void this.scope.scheduler.setTimer(this.latencyMs, resolve))
  }
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new AbortError('the request', signal.reason))
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** Metadata that a test sets; listeners hear of it at once. */
export class FakeMetadata {
  readonly #topics = new Map<string, TopicInfo>()
  readonly #listeners = new Set<() => void>()
  /** Why a refresh was asked for. */
  readonly refreshes: string[] = []
  readonly tracked = new Map<string, number>()
  #version = 0
  /** Called for each refresh; may `set`. */
  onRefresh: ((why: string) => void) | undefined

  get view(): { version: number; topic(name: string): TopicInfo | undefined } {
    return { version: this.#version, topic: (name) => this.#topics.get(name) }
  }

  /** A topic with a leader (node id) per partition. */
  set(name: string, leaders: readonly number[], options: { id?: string; leaderEpoch?: number } = {}): void {
    const { id = idOf(name), leaderEpoch = 0 } = options
    this.#topics.set(name, { name, id, partitions: leaders.map((leader, index) => ({ index, leader, leaderEpoch })) })
    this.#version += 1
    for (const listener of [...this.#listeners]) listener()
  }

  delete(name: string): void {
    this.#topics.delete(name)
    this.#version += 1
    for (const listener of [...this.#listeners]) listener()
  }

  require(_topics: readonly string[]): Promise<FakeMetadata['view']> {
    return Promise.resolve(this.view)
  }

  refresh(why: string): void {
    this.refreshes.push(why)
    this.onRefresh?.(why)
  }

  track(topic: string): void {
    this.tracked.set(topic, (this.tracked.get(topic) ?? 0) + 1)
  }

  untrack(topic: string): void {
    this.tracked.set(topic, (this.tracked.get(topic) ?? 0) - 1)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }
}

/** A topic id that follows from the name. */
export function idOf(name: string): string {
  return Buffer.from(name).toString('hex').padEnd(32, '1').slice(0, 32)
}
