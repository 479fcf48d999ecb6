/** Options of a consumer: one table with defaults and bounds. */
import type { OptionTable } from '../../base/options.ts'
import { bool, custom, int, oneOf, text } from '../../base/options.ts'
import type { AssignorChoice } from '../group/options.ts'
import { assignorsRow } from '../group/options.ts'
import type { ConsumerEvent } from './events.ts'
import type { TopicPartition } from './partition-map.ts'

/** Where a partition without a valid position begins; `error`: it does not. */
export type StartFrom = 'earliest' | 'latest' | 'error'
/** Whether records of open and aborted transactions are seen. */
export type Isolation = 'read_committed' | 'read_uncommitted'

/** Options of a consumer; all have defaults. */
export interface ConsumerOptions {
  /** Group for `subscribe` and commits. Default '' (none: only `assign`). */
  groupId?: string
  /** Static member id (KIP-345): a restart within the session time-out keeps its partitions. Default '' (dynamic). */
  groupInstanceId?: string
  /** Assignors offered to the group, best first. Default ['range']. */
  assignors?: readonly AssignorChoice[]
  /** Time without a heartbeat after which the group gives the partitions to others. Milliseconds. Default 45 000, 1 000 to 1 800 000. */
  sessionTimeoutMs?: number
  /** Distance of heartbeats. Milliseconds. Default 0: a third of the session time-out, at most 3 000. 0 to 600 000. */
  heartbeatIntervalMs?: number
  /** How long members may take to give up partitions and rejoin. Milliseconds. Default 60 000, 1 000 to 3 600 000. */
  rebalanceTimeoutMs?: number
  /** Distance of commits of processed records in a group; also on revoke and close. Milliseconds. Default 5 000; 0 = commit only by hand. */
  autoCommitIntervalMs?: number
  /** Whether records of open and aborted transactions are hidden. Default 'read_committed'. */
  isolation?: Isolation
  /** Where to start without a position, or when it is out of range; 'error' throws instead. Default 'earliest'. */
  startFrom?: StartFrom
  /** A fetch is answered when this much is there, or after maxWaitMs. Bytes. Default 1, 0 to 100 000 000. */
  minBytes?: number
  /** How long the broker may hold a fetch without data. Milliseconds. Default 500, 0 to 60 000. */
  maxWaitMs?: number
  /** Largest fetch answer (one batch may exceed it). Bytes. Default 16 MiB, 1 024 to 1 GiB. */
  maxBytes?: number
  /** Largest part of one partition in a fetch answer (one batch may exceed it). Bytes. Default 1 MiB, 1 024 to 1 GiB. */
  maxPartitionBytes?: number
  /** Fetched, not yet taken bytes of all partitions together; each unpaused one may hold an equal share. Bytes. Default 64 MiB, 1 024 to 16 GiB. */
  maxBufferedBytes?: number
  /** Largest decompressed batch. Bytes. Default 64 MiB, 1 024 to 1 GiB. */
  maxDecompressedBytes?: number
  /** Check the CRC-32C of every batch. Default true. */
  checkCrc?: boolean
  /** First and largest delay before something failed is repeated (doubles, jittered). Milliseconds. Default 100 and 1 000, 1 to 600 000. */
  retryBackoffMs?: number
  /** See retryBackoffMs. */
  retryBackoffMaxMs?: number
  /** An assigned, unpaused partition without a successful fetch for this long raises 'partition-stalled'. Milliseconds. Default 30 000, 1 000 to 3 600 000. */
  stallTimeoutMs?: number
  /** Bound of `close()`: last commit, leaving the group. Milliseconds. Default 10 000, 0 to 600 000. */
  closeTimeoutMs?: number
  /** Called after partitions were assigned by the group and have positions. Awaited. */
  onAssigned?: (partitions: readonly TopicPartition[]) => void | Promise<void>
  /** Called before partitions are given up; buffered data is still there. Awaited, at most rebalanceTimeoutMs. */
  onRevoked?: (partitions: readonly TopicPartition[]) => void | Promise<void>
  /** Called when partitions were lost: others may own them already, commits are refused. */
  onLost?: (partitions: readonly TopicPartition[]) => void
  /** Observer of events; called synchronously, never awaited. */
  onEvent?: (event: ConsumerEvent) => void
}

const nothing = (): void => {}
const isFunction = (value: unknown): boolean => typeof value === 'function'
const GiB = 1024 ** 3

export const consumerTable = {
  groupId: text({ default: '' }),
  groupInstanceId: text({ default: '' }),
  assignors: assignorsRow,
  sessionTimeoutMs: int({ default: 45_000, min: 1_000, max: 1_800_000 }),
  heartbeatIntervalMs: int({ default: 0, min: 0, max: 600_000 }),
  rebalanceTimeoutMs: int({ default: 60_000, min: 1_000, max: 3_600_000 }),
  autoCommitIntervalMs: int({ default: 5_000, min: 0, max: 3_600_000 }),
  isolation: oneOf(['read_committed', 'read_uncommitted'], { default: 'read_committed' }),
  startFrom: oneOf(['earliest', 'latest', 'error'], { default: 'earliest' }),
  minBytes: int({ default: 1, min: 0, max: 100_000_000 }),
  maxWaitMs: int({ default: 500, min: 0, max: 60_000 }),
  maxBytes: int({ default: 16 * 1024 * 1024, min: 1_024, max: GiB }),
  maxPartitionBytes: int({ default: 1024 * 1024, min: 1_024, max: GiB }),
  maxBufferedBytes: int({ default: 64 * 1024 * 1024, min: 1_024, max: 16 * GiB }),
  maxDecompressedBytes: int({ default: 64 * 1024 * 1024, min: 1_024, max: GiB }),
  checkCrc: bool({ default: true }),
  retryBackoffMs: int({ default: 100, min: 1, max: 600_000 }),
  retryBackoffMaxMs: int({ default: 1_000, min: 1, max: 600_000 }),
  stallTimeoutMs: int({ default: 30_000, min: 1_000, max: 3_600_000 }),
  closeTimeoutMs: int({ default: 10_000, min: 0, max: 600_000 }),
  onAssigned: custom<NonNullable<ConsumerOptions['onAssigned']>>({
    default: nothing,
    accepts: isFunction,
    says: 'must be a function',
  }),
  onRevoked: custom<NonNullable<ConsumerOptions['onRevoked']>>({
    default: nothing,
    accepts: isFunction,
    says: 'must be a function',
  }),
  onLost: custom<NonNullable<ConsumerOptions['onLost']>>({
    default: nothing,
    accepts: isFunction,
    says: 'must be a function',
  }),
  onEvent: custom<NonNullable<ConsumerOptions['onEvent']>>({
    default: nothing,
    accepts: isFunction,
    says: 'must be a function',
  }),
} satisfies OptionTable<ConsumerOptions>
