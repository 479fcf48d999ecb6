/** What a membership tells its observer. Nothing depends on anyone listening. */
import type { TopicPartition } from '../consumer/partition-map.ts'
import type { MembershipState } from './membership.ts'

/** One event of a membership's observer, told apart by `type`. */
export type GroupEvent =
  /** The state changed. */
  | { readonly type: 'state'; readonly groupId: string; readonly state: MembershipState }
  /** A request failed or was refused for now; it is repeated after `delayMs`. */
  | {
      readonly type: 'retry'
      readonly groupId: string
      readonly doing: string
      readonly attempt: number
      readonly delayMs: number
      readonly cause: unknown
    }
  /** A rebalance ended: from the first revocation to the assignment. */
  | {
      readonly type: 'rebalanced'
      readonly groupId: string
      readonly generation: number
      readonly leader: boolean
      readonly durationMs: number
      readonly assigned: readonly TopicPartition[]
    }
  /** The partitions were lost without being revoked. */
  | {
      readonly type: 'lost'
      readonly groupId: string
      readonly why: string
      readonly partitions: readonly TopicPartition[]
    }
  /** `onRevoked` did not return within the rebalance time-out; the group went on without this member. */
  | { readonly type: 'revoke-timeout'; readonly groupId: string; readonly afterMs: number }
  /** The event loop stood still for `gapMs`: nothing is concluded from silence during that time. */
  | { readonly type: 'stalled-process'; readonly groupId: string; readonly gapMs: number }
  /** A transaction holds back the offset of a partition; the look-up waits for it. */
  | { readonly type: 'unstable-offset'; readonly groupId: string; readonly topic: string; readonly partition: number }
