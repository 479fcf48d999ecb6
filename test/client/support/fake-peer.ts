/**
 * A scripted broker: it answers what the test says and remembers what it was asked. Owns its listener and connections.
 * It decodes and encodes with the protocol room only, so it can also say what no broker would.
 */
import type { Connection, Listener } from '../../../src/base/network.ts'
import type { Scope } from '../../../src/base/scope.ts'
import { apiVersions } from '../../../src/protocol/api/api-versions.ts'
import { allApis } from '../../../src/protocol/api/index.ts'
import { metadata } from '../../../src/protocol/api/metadata.ts'
import { decodeRequest, decodeRequestHeader, encodeResponse } from '../../../src/protocol/frame.ts'
import type { AnyApi, RequestOf, ResponseInput } from '../../../src/protocol/schema.ts'

/** What became of a request at the peer. */
export interface PeerCall {
  readonly api: string
  readonly version: number
  readonly correlationId: number
  readonly request: unknown
  readonly connection: Connection
  /** The scope's monotonic time. */
  readonly at: number
  answer(response: unknown): void
}

/** An answer, or: say nothing, cut the connection, answer later by `call.answer`. */
export type PeerAnswer<A> = ResponseInput<A> | 'silent' | 'cut'
type Handler = (request: never, call: PeerCall) => unknown

export interface PeerOptions {
  readonly port?: number
  /** Versions it claims, by API name; default: everything we describe. */
  readonly ranges?: ReadonlyMap<string, readonly [number, number]>
}

export class FakePeer {
  readonly scope: Scope
  readonly calls: PeerCall[] = []
  readonly connections = new Set<Connection>()
  dials = 0
  readonly #handlers = new Map<number, Handler>()
  #listener: Listener | undefined

  constructor(scope: Scope) {
    this.scope = scope
  }

  /** Listens; answers ApiVersions, and Metadata about a cluster of this one node (id 1) without topics. */
  static async start(scope: Scope, options: PeerOptions = {}): Promise<FakePeer> {
    const peer = new FakePeer(scope)
    const ranges = allApis.map((api) => {
      const [minVersion, maxVersion] = options.ranges?.get(api.name) ?? [api.minVersion, api.maxVersion]
      return { apiKey: api.key, minVersion, maxVersion }
    })
    peer.on(apiVersions, () => ({ errorCode: 0, apiKeys: ranges, throttleTimeMs: 0 }))
    await peer.listen(options.port ?? 9092)
    peer.on(metadata, () => peer.clusterOf([]))
    return peer
  }

  get port(): number {
    return this.#listener?.port ?? 0
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  on<A extends AnyApi>(api: A, handler: (request: RequestOf<A>, call: PeerCall) => PeerAnswer<A>): void {
    this.#handlers.set(api.key, handler as Handler)
  }

  /** Names of the APIs asked for, without ApiVersions. */
  get asked(): string[] {
    return this.calls.filter(({ api }) => api !== 'ApiVersions').map(({ api }) => api)
  }

  /** A Metadata answer: this node alone, leading all partitions of `topics`. */
  clusterOf(topics: ResponseInput<typeof metadata>['topics']): ResponseInput<typeof metadata> {
    return {
      brokers: [{ nodeId: 1, host: '127.0.0.1', port: this.port, rack: null }],
      clusterId: 'fake',
      controllerId: 1,
      topics,
    }
  }

  async listen(port: number): Promise<void> {
    const options = { host: '127.0.0.1', port, maxFrameBytes: 2 ** 27, maxPartialBytes: 2 ** 27 }
    this.#listener = await this.scope.network.listen(options, (connection) => {
      this.dials += 1
      this.connections.add(connection)
      return {
        onFrame: (frame) => this.#onFrame(connection, frame),
        onClose: () => void this.connections.delete(connection),
      }
    })
  }

  async stop(): Promise<void> {
    await this.#listener?.close()
    this.cut()
  }

  cut(): void {
    for (const connection of this.connections) connection.close()
  }

  #onFrame(connection: Connection, frame: Buffer): void {
    const header = decodeRequestHeader(frame)
    const api = allApis.find((one) => one.key === header.apiKey) as AnyApi
    const { apiVersion: version, correlationId } = header
    const answer = (response: unknown): void =>
      connection.send(encodeResponse(api, version, correlationId, response as never))
    const request = decodeRequest(api, header, frame)
    const at = this.scope.scheduler.monotonic()
    const call: PeerCall = { api: api.name, version, correlationId, request, connection, at, answer }
    this.calls.push(call)
    const response = this.#handlers.get(api.key)?.(request as never, call)
    if (response === 'cut') connection.close()
    else if (response !== undefined && response !== 'silent') answer(response)
  }
}
