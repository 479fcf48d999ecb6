/**
 * The narrow side of the client that consumer and groups stand on: requests, metadata, coordinators and the scope.
 * `Client` satisfies it structurally; tests hand in a scripted one. Owns no state.
 */
import type { Scope } from '../../base/scope.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../../protocol/schema.ts'
import type { LaneName } from '../events.ts'

/** Where a request goes. */
export type Destination = { readonly node: number } | { readonly group: string } | 'any' | 'controller'

export interface PortRequestOptions {
  /**
   * The connection to use: requests of one lane wait for each other at the broker. A long poll (a fetch, a join)
   * therefore has a lane of its own owner: `fetch:<n>`, `join:<group>`.
   */
  readonly lane?: LaneName
  /** Time for the answer, milliseconds, before the connection counts as dead. */
  readonly timeoutMs?: number
  /** What the broker may wait by protocol, added to the time-out, milliseconds. */
  readonly extraWaitMs?: number
  readonly maxVersion?: number
  readonly minVersion?: number
  readonly signal?: AbortSignal
}

export interface PartitionInfo {
  readonly index: number
  /** Node id of the leader, -1 while there is none. */
  readonly leader: number
  readonly leaderEpoch: number
}

export interface TopicInfo {
  readonly name: string
  readonly id: string
  readonly partitions: readonly PartitionInfo[]
  readonly error?: string | undefined
}

/** An immutable picture of the cluster. */
export interface ClusterPicture {
  readonly version: number
  topic(name: string): TopicInfo | undefined
}

export interface MetadataPort {
  readonly view: ClusterPicture
  /** Resolves when every topic was looked up at least once; a missing one is visible as missing. */
  require(topics: readonly string[]): Promise<ClusterPicture>
  refresh(why: string): void
  track(topic: string): void
  untrack(topic: string): void
  /** Calls `listener` after every change of the view, until the returned function is called. */
  onChange(listener: () => void): () => void
}

export interface ClientPort {
  readonly scope: Scope
  readonly metadata: MetadataPort
  readonly coordinators: {
    /** What is known about the coordinator of the group is wrong: look it up before the next request. */
    forget(group: string, why: string): void
  }
  request<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options?: PortRequestOptions,
  ): Promise<ResponseOf<A>>
  /** The owner of a lane is gone: its sockets may be closed. */
  closeLane(lane: LaneName): void
}
