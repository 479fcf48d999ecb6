/**
 * The membership seam: what a consumer or a stream processor needs of a group, whatever its protocol. Under the classic
 * protocol with eager rebalances (classic.ts) every change takes everything away and hands out everything; cooperative
 * and KIP-848 groups come behind the same interface with smaller differences.
 */
import type { MillraceError } from '../../base/errors.ts'
import type { KafkaErrorName } from '../../protocol/errors.ts'
import type { TopicPartition } from '../consumer/partition-map.ts'

/** Who the member is at this moment; goes into commits. */
export interface GroupMetadata {
  /** As given in the options. */
  readonly groupId: string
  /** '' while the coordinator gave none. */
  readonly memberId: string
  /** -1 while there is none. */
  readonly generation: number
  /** Null: a dynamic member. */
  readonly instanceId: string | null
}

/** Where a member stands. */
export type MembershipState =
  /** `join()` was not called yet. */
  | { readonly at: 'idle' }
  /** Waiting for the group to gather. `attempt` counts from 1. */
  | { readonly at: 'joining'; readonly why: string; readonly attempt: number }
  /** Gathered; waiting for the assignment (or making it, as the leader). */
  | { readonly at: 'syncing'; readonly generation: number; readonly leader: boolean }
  /** The assignment is here; `onAssigned` is running. */
  | { readonly at: 'assigning'; readonly generation: number; readonly assignment: readonly TopicPartition[] }
  | {
      readonly at: 'stable'
      readonly generation: number
      readonly leader: boolean
      readonly assignment: readonly TopicPartition[]
    }
  /** A rebalance began; `onRevoked` is running, heartbeats go on. */
  | {
      readonly at: 'revoking'
      readonly generation: number
      readonly why: string
      readonly assignment: readonly TopicPartition[]
    }
  | { readonly at: 'leaving' }
  | { readonly at: 'left' }
  /** The end; `listener.onError` was told. */
  | { readonly at: 'failed'; readonly error: MillraceError }

/** What the owner of the partitions does about changes. Calls never overlap, except that `onLost` may come during a running `onRevoked`. */
export interface GroupListener {
  /** New partitions, ready to be read. Awaited before the next change; heartbeats go on. */
  onAssigned(added: readonly TopicPartition[]): void | Promise<void>
  /**
   * Partitions to give up: finish, commit, return. Awaited at most `rebalanceTimeoutMs`; then the group has gone on
   * without this member, and `onLost` follows.
   */
  onRevoked(removed: readonly TopicPartition[]): void | Promise<void>
  /** The membership ended behind our back: others may own the partitions already, commits are refused. */
  onLost(removed: readonly TopicPartition[]): void
  /** The member failed for good (see `fatalGroupErrors`); the membership is over. */
  onError(fatal: MillraceError): void
}

/** A position of a group in one partition. */
export interface OffsetToCommit extends TopicPartition {
  /** Offset of the next record to process. */
  readonly offset: number
  /** Leader epoch of the last processed record, if known. */
  readonly leaderEpoch?: number
  /** Free text kept with the offset; brokers accept 4 KiB. Default ''. */
  readonly metadata?: string
}

/** What became of one partition's commit. */
export interface CommitResult extends TopicPartition {
  /** 'NONE': committed. */
  readonly error: KafkaErrorName
}

/** What a group has committed for one partition. */
export interface CommittedOffset extends TopicPartition {
  /** -1: nothing was committed. */
  readonly offset: number
  /** -1: unknown. */
  readonly leaderEpoch: number
  /** The text that was committed with it. */
  readonly metadata: string
}

/** Options of `committed`; all have defaults. */
export interface CommittedOptions {
  /** Wait for transactions that have offsets pending (KIP-447). Default true. */
  readonly requireStable?: boolean
  /** Gives up the look-up. */
  readonly signal?: AbortSignal
}

/** One member of one group. */
export interface GroupMembership extends AsyncDisposable {
  /** Enters the group and stays in it until `leave`, `close` or a fatal error. */
  join(): void
  /** Where the member stands now. */
  readonly state: MembershipState
  /** The identity as of now: read it when sending, never keep it. */
  metadata(): GroupMetadata
  /** Subscribes to other topics: the group rebalances. */
  subscribe(topics: readonly string[]): void
  /**
   * Monotonic time at which the last heartbeat, join or sync that was answered had been sent: until then plus the
   * session time-out nobody else owns the partitions. -Infinity before the first answer and after a loss.
   */
  readonly lastHeartbeatSentAt: number
  /** Sends a heartbeat now; resolves when it was answered by a coordinator that still knows the member, else rejects. */
  heartbeatNow(): Promise<void>
  /** Commits once, under the identity of this moment. Rejects on transport failures (retriable). */
  commitOnce(offsets: readonly OffsetToCommit[]): Promise<readonly CommitResult[]>
  /** Committed positions. Transient errors are retried until `signal` or the end; rejects with what is fatal. */
  committed(partitions: readonly TopicPartition[], options?: CommittedOptions): Promise<readonly CommittedOffset[]>
  /** Gives up the partitions (`onRevoked`), leaves the group, static members too. */
  leave(): Promise<void>
  /** Like `leave`, but a static member stays in the group until its session ends, so that a restart keeps its partitions. */
  close(): Promise<void>
}
