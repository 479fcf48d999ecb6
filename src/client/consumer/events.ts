/** What a consumer tells its observer. Nothing depends on anyone listening. */
import type { MillraceError } from '../../base/errors.ts'
import type { GroupEvent } from '../group/events.ts'
import type { TopicPartition } from './partition-map.ts'

/** One event of a consumer's `onEvent`, told apart by `type`. */
export type ConsumerEvent =
  /** A fetch failed as a whole and is repeated after `delayMs`. */
  | {
      readonly type: 'fetch-failed'
      readonly node: number
      readonly attempt: number
      readonly delayMs: number
      readonly cause: unknown
    }
  /** A partition's request was answered with a transient error and is repeated. `doing`: fetch, list-offsets, validate. */
  | {
      readonly type: 'partition-retry'
      readonly doing: 'fetch' | 'list-offsets' | 'validate'
      readonly topic: string
      readonly partition: number
      readonly error: string
      readonly attempt: number
    }
  /** The position was chosen by `startFrom`. `why`: no-offset, out-of-range, truncated, recreated, seek. */
  | {
      readonly type: 'position-reset'
      readonly topic: string
      readonly partition: number
      readonly why: ResetReason
      /** The position that was given up, -1 if there was none. */
      readonly from: number
      readonly to: number
    }
  /** The log was truncated below the position; reading goes on at `to`. */
  | {
      readonly type: 'log-truncated'
      readonly topic: string
      readonly partition: number
      readonly from: number
      readonly to: number
    }
  /** A partition rests with an error; the next `take()` throws it. */
  | {
      readonly type: 'partition-failed'
      readonly topic: string
      readonly partition: number
      readonly error: MillraceError
    }
  /** Assigned, not paused, room in the buffer, and yet no successful fetch for `stalledMs`. `state` tells where it hangs. */
  | {
      readonly type: 'partition-stalled'
      readonly topic: string
      readonly partition: number
      readonly stalledMs: number
      readonly state: string
    }
  /** The stalled partition was fetched again. */
  | {
      readonly type: 'partition-recovered'
      readonly topic: string
      readonly partition: number
      readonly stalledMs: number
    }
  | { readonly type: 'assigned'; readonly partitions: readonly TopicPartition[] }
  | { readonly type: 'unassigned'; readonly partitions: readonly TopicPartition[] }
  /** Auto-commit or an offset look-up failed and is repeated or dropped, as `cause` says. */
  | { readonly type: 'commit-failed'; readonly cause: unknown }
  | { readonly type: 'group'; readonly event: GroupEvent }

/** Why a position was looked up anew. */
export type ResetReason = 'no-offset' | 'out-of-range' | 'truncated' | 'recreated' | 'seek'
