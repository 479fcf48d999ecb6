/**
 * Dispatch: from a request frame to its answer. A handler declares what it needs (`handle`), the dispatcher does what is
 * the same for all: versions, decoding, scripted faults, the answer to a bug.
 * Owns   nothing.
 */
import { describeError, MillraceError } from '../base/errors.ts'
import type { Random } from '../base/scope.ts'
import { apiVersions } from '../protocol/api/api-versions.ts'
import { errorCodes } from '../protocol/errors.ts'
import { decodeRequest, encodeResponse, type RequestHeader } from '../protocol/frame.ts'
import type { Api } from '../protocol/schema.ts'
import type { Cluster } from './cluster.ts'
import type { BrokerEvent } from './events.ts'
import type { FaultPlan, Faults, FaultSubject } from './faults.ts'
import type { GroupCoordinator } from './groups/coordinator.ts'
import type { OwnTimers } from './timers.ts'
import type { FetchWaiting } from './waiting.ts'

/** Limits that handlers look at. */
export interface ServiceOptions {
  readonly maxFetchWaitMs: number
  readonly maxFetchBytes: number
  readonly maxOffsetMetadataBytes: number
  readonly minSessionTimeoutMs: number
  readonly maxSessionTimeoutMs: number
  readonly defaultPartitions: number
}

/** One run of a broker as handlers see it. */
export interface Services {
  readonly cluster: Cluster
  readonly coordinator: GroupCoordinator
  readonly waiting: FetchWaiting
  readonly faults: Faults
  readonly timers: OwnTimers
  readonly random: Random
  readonly options: ServiceOptions
  /** What the broker serves, as ApiVersions tells it. */
  readonly apiKeys: readonly { readonly apiKey: number; readonly minVersion: number; readonly maxVersion: number }[]
  notify(event: BrokerEvent): void
}

/** One request as its handler sees it. */
export interface RequestContext {
  readonly services: Services
  /** Node id of the listener it came to. */
  readonly node: number
  readonly apiVersion: number
  readonly clientId: string
  readonly clientHost: string
  /** Has `give up` called when the connection ends while the request waits. */
  onGone(giveUp: () => void): void
}

/** Error answers a partition was told to give by a fault; 0: none. */
export function faultOf(
  context: RequestContext,
  api: { readonly name: string },
  when: 'before' | 'after',
  topic: string,
  partition?: number,
  group?: string,
): number {
  const { faults } = context.services
  const who = { node: context.node, clientId: context.clientId }
  return faults.partitionError(api.name, when, topic, partition, group === undefined ? who : { ...who, group })
}

/** Thrown by a handler whose only answer is to close the connection: a produce with acks 0 that failed. */
export class CloseConnection extends MillraceError {
  override readonly name = 'CloseConnection'
}

/** Buffers to send; undefined: this request has no answer. */
export type Answer = Buffer[] | undefined

/** What the dispatcher tells the connection besides an answer. */
export type Outcome =
  | { readonly send: Answer }
  | { readonly close: MillraceError | undefined }
  | { readonly silence: true }

export interface HandlerSpec<RequestOut, ResponseIn> {
  /** Estimated bytes in memory while a frame of so many bytes is served; granted before it is decoded. */
  memory(frameBytes: number): number
  /** An answer that says `errorCode` for all that was asked; undefined: the request has no answer. */
  refuse(request: RequestOut, errorCode: number, context: RequestContext): ResponseIn | undefined
  /** Groups the request is about; for faults. */
  groups?(request: RequestOut): readonly string[]
  /** Topics the request is about; for faults. */
  topics?(request: RequestOut, context: RequestContext): FaultSubject['topics']
}

/** A handler with its types erased: what the table holds. */
export interface Handler {
  readonly key: number
  readonly name: string
  readonly minVersion: number
  readonly maxVersion: number
  /** The lowest version that ApiVersions tells; for Produce it is lower than what is served. */
  readonly advertisedMin: number
  memory(frameBytes: number): number
  serve(frame: Buffer, header: RequestHeader, context: RequestContext): Outcome | Promise<Outcome>
}

/** Memory of a request that is decoded into objects. */
export function objects(frameBytes: number): number {
  return 1024 + frameBytes * 8
}

/** Memory of a request that is mostly record batches, which stay in the frame. */
export function records(frameBytes: number): number {
  return 1024 + frameBytes * 2
}

type Served<T> = T | undefined | Promise<T | undefined>

/** Declares a handler. `run` gets a decoded request and returns the answer, or nothing where the protocol has none. */
export function handle<RequestOut, RequestIn, ResponseOut, ResponseIn>(
  api: Api<RequestOut, RequestIn, ResponseOut, ResponseIn>,
  spec: HandlerSpec<RequestOut, ResponseIn> & { readonly advertisedMin?: number },
  run: (request: RequestOut, context: RequestContext) => Served<ResponseIn>,
): Handler {
  const encode = (header: RequestHeader, response: ResponseIn | undefined): Outcome => ({
    send: response === undefined ? undefined : encodeResponse(api, header.apiVersion, header.correlationId, response),
  })

  const bug = (cause: unknown, header: RequestHeader, request: RequestOut, context: RequestContext): Outcome => {
    if (cause instanceof CloseConnection) return { close: cause }
    context.services.notify({ type: 'handlerFailed', api: api.name, error: cause })
    try {
      return encode(header, spec.refuse(request, errorCodes.UNKNOWN_SERVER_ERROR, context))
    } catch {
      return { close: new MillraceError('ERR_BROKER_BUG', `${api.name} failed: ${describeError(cause)}`, { cause }) }
    }
  }

  const plain = (header: RequestHeader, request: RequestOut, context: RequestContext): Outcome | Promise<Outcome> => {
    try {
      const served = run(request, context)
      if (!(served instanceof Promise)) return encode(header, served)
      return served
        .then((response) => encode(header, response))
        .catch((cause: unknown) => bug(cause, header, request, context))
    } catch (cause) {
      return bug(cause, header, request, context)
    }
  }

  const faulty = async (
    plan: FaultPlan,
    header: RequestHeader,
    request: RequestOut,
    context: RequestContext,
  ): Promise<Outcome> => {
    const { timers } = context.services
    const pause = (ms: number): Promise<void> => new Promise((resolve) => void timers.setTimer(ms, resolve))
    if (plan.delayBeforeMs > 0) await pause(plan.delayBeforeMs)
    for (const callback of plan.callBefore) callback()
    if (timers.ended) return { silence: true }
    if (plan.cut === 'before') return { close: undefined }
    let outcome: Outcome
    if (plan.answerBefore !== 0) outcome = encode(header, spec.refuse(request, plan.answerBefore, context))
    else outcome = await plain(header, request, context)
    for (const callback of plan.callAfter) callback()
    if (plan.delayAfterMs > 0) await pause(plan.delayAfterMs)
    if (plan.cut === 'after') return { close: undefined }
    if (plan.loseResponse) return { silence: true }
    if (plan.answerAfter !== 0) return encode(header, spec.refuse(request, plan.answerAfter, context))
    return outcome
  }

  return {
    key: api.key,
    name: api.name,
    minVersion: api.minVersion,
    maxVersion: api.maxVersion,
    advertisedMin: spec.advertisedMin ?? api.minVersion,
    memory: spec.memory,
    serve(frame, header, context) {
      let request: RequestOut
      try {
        request = decodeRequest(api, header, frame)
      } catch (cause) {
        return { close: asMillraceError(cause, api.name) }
      }
      const plan = context.services.faults.plan(api.name, () => ({
        node: context.node,
        clientId: context.clientId,
        groups: spec.groups?.(request) ?? [],
        topics: spec.topics?.(request, context) ?? [],
      }))
      if (plan === undefined) return plain(header, request, context)
      return faulty(plan, header, request, context)
    },
  }
}

function asMillraceError(cause: unknown, what: string): MillraceError {
  if (cause instanceof MillraceError) return cause
  return new MillraceError('ERR_BAD_REQUEST', `${what} request cannot be read: ${describeError(cause)}`, { cause })
}

/** The handlers by API key. */
export class Dispatcher {
  readonly #handlers: ReadonlyMap<number, Handler>
  readonly #apiKeys: readonly { apiKey: number; minVersion: number; maxVersion: number }[]

  constructor(handlers: readonly Handler[]) {
    this.#handlers = new Map(handlers.map((handler) => [handler.key, handler]))
    this.#apiKeys = [...handlers]
      .sort((a, b) => a.key - b.key)
      .map(({ key, advertisedMin, maxVersion }) => ({ apiKey: key, minVersion: advertisedMin, maxVersion }))
  }

  /** Ranges as ApiVersions tells them. */
  get apiKeys(): readonly { apiKey: number; minVersion: number; maxVersion: number }[] {
    return this.#apiKeys
  }

  /** Bytes to grant before `serve`. */
  memory(header: RequestHeader, frameBytes: number): number {
    return this.#handlers.get(header.apiKey)?.memory(frameBytes) ?? frameBytes
  }

  serve(frame: Buffer, header: RequestHeader, context: RequestContext): Outcome | Promise<Outcome> {
    const handler = this.#handlers.get(header.apiKey)
    const version = header.apiVersion
    if (handler !== undefined && version >= handler.minVersion && version <= handler.maxVersion) {
      return handler.serve(frame, header, context)
    }
    if (header.apiKey === apiVersions.key) {
      // a newer client learns in version 0 what it may ask
      const errorCode = errorCodes.UNSUPPORTED_VERSION
      return { send: encodeResponse(apiVersions, 0, header.correlationId, { errorCode, apiKeys: this.#apiKeys }) }
    }
    const what = handler === undefined ? `API key ${header.apiKey}` : `version ${version} of ${handler.name}`
    return { close: new MillraceError('ERR_UNSUPPORTED_REQUEST', `the embedded broker does not know ${what}`) }
  }
}
