/**
 * Options of the embedded broker: what may be set, defaults, bounds, in one table. Names follow Kafka's settings where
 * there is one, with the unit last.
 */
import type { Scope } from '../base/scope.ts'
import { bool, custom, int, type OptionTable, text } from '../base/options.ts'
import type { BrokerEvent } from './events.ts'

/** A topic to create at the start. */
export interface TopicSpec {
  /** Kafka's rules: 1 to 249 of ASCII letters, digits, `.`, `_`, `-`; not `.` or `..`. */
  readonly name: string
  /** How many partitions; default `defaultPartitions`. */
  readonly partitions?: number
  /** Topic settings by Kafka's names (`cleanup.policy`, `retention.ms`, …), values as text. */
  readonly config?: Readonly<Record<string, string>>
}

/** Options of `Broker.start`. Everything has a default. */
export interface BrokerOptions {
  /** Where time, randomness and network come from. Default: the real ones. */
  scope?: Scope
  /** Address to listen on. Default 127.0.0.1; anything that is not a loopback address needs `insecure`. */
  host?: string
  /** Host name or address that clients are told to connect to. Default: `host`. Needed when `host` is 0.0.0.0 or ::. */
  advertisedHost?: string
  /** Port of the first node, the others follow it; 0 (default): the system picks free ones. */
  port?: number
  /** Simulated nodes: that many listeners of this one process, sharing the partitions. Default 1, at most 64. */
  nodes?: number
  /** Allows a `host` that other machines reach: there is no authentication. Default false. */
  insecure?: boolean
  /** Topics to create: `{ clicks: 6 }` or a list with settings. */
  topics?: Readonly<Record<string, number>> | readonly TopicSpec[]
  /** Partitions of a topic created with −1. Default 1. */
  defaultPartitions?: number
  /** Most partitions the broker keeps over all topics. Default 20,000. */
  maxPartitions?: number
  /** Bytes that all in-memory logs together may hold before the oldest segments of delete-policy topics go. Default 1 GiB. */
  maxMemoryBytes?: number
  /** Size at which an in-memory segment is closed, bytes. Default 1 MiB. A topic's smaller `segment.bytes` wins. */
  maxSegmentBytes?: number
  /** Largest request frame, bytes. Default 100 MiB, as Kafka's `socket.request.max.bytes`. */
  maxRequestBytes?: number
  /** Bytes of partly received frames over all connections. Default 256 MiB. */
  maxPartialRequestBytes?: number
  /** Estimated bytes of decoded requests being served or waiting, all connections together. Default 512 MiB. */
  maxRequestMemoryBytes?: number
  /** Bytes of answers a connection may owe to a slow peer before the broker stops reading from it. Default 1 MiB, at least 64 KiB. */
  maxUnsentBytes?: number
  /** Connections over all nodes; more are closed at once. Default 10,000. */
  maxConnections?: number
  /** Longest a Fetch may be kept waiting, milliseconds, whatever the client asks. Default 5 minutes. */
  maxFetchWaitMs?: number
  /** Largest Fetch answer, bytes (the first batch is complete even above it). Default 55 MiB, as Kafka's `fetch.max.bytes`. */
  maxFetchBytes?: number
  /** Shortest session time-out a group member may ask for, milliseconds. Default 6,000, as Kafka. */
  minSessionTimeoutMs?: number
  /** Longest session time-out a group member may ask for, milliseconds. Default 30 minutes, as Kafka. */
  maxSessionTimeoutMs?: number
  /** How long the first rebalance of an empty group waits for more members, milliseconds. Default 0 (Kafka's is 3,000). */
  initialRebalanceDelayMs?: number
  /** Most members of one group. Default 10,000. */
  maxGroupMembers?: number
  /** Largest subscription of a group member over all its protocols, and largest assignment, bytes. Default 1 MiB. */
  maxMemberMetadataBytes?: number
  /** Most groups. Default 100,000. */
  maxGroups?: number
  /** Largest metadata string of a committed offset, UTF-8 bytes. Default 4,096, as Kafka. */
  maxOffsetMetadataBytes?: number
  /** How long offsets of an empty group are kept, milliseconds. Default 7 days, as Kafka. */
  offsetsRetentionMs?: number
  /** Partitions of `__consumer_offsets`. Default 8. */
  offsetsTopicPartitions?: number
  /** Producers remembered per partition; the one idle longest is forgotten first. Default 10,000. */
  maxProducersPerPartition?: number
  /** Called with each event, synchronously, never awaited. */
  onEvent?: (event: BrokerEvent) => void
}

const MiB = 1024 * 1024
const int32Max = 0x7fff_ffff
const day = 86_400_000

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

/** `scope` has no default here: the composition fills it in. */
export type TableOptions = Omit<Required<BrokerOptions>, 'scope' | 'onEvent'>

export const brokerTable: OptionTable<TableOptions> = {
  host: text({ default: '127.0.0.1', rule: /^.+$/s, says: 'must be a host name or address' }),
  advertisedHost: text({ default: '', says: 'must be a host name or address' }),
  port: int({ default: 0, min: 0, max: 65_535 }),
  nodes: int({ default: 1, min: 1, max: 64 }),
  insecure: bool({ default: false }),
  topics: custom<TableOptions['topics']>({
    default: [],
    accepts: isObject,
    says: 'must be { name: partitions } or a list of topics',
  }),
  defaultPartitions: int({ default: 1, min: 1, max: 10_000 }),
  maxPartitions: int({ default: 20_000, min: 1, max: 1_000_000 }),
  maxMemoryBytes: int({ default: 1024 * MiB, min: MiB, max: Number.MAX_SAFE_INTEGER }),
  maxSegmentBytes: int({ default: MiB, min: 1024, max: 256 * MiB }),
  maxRequestBytes: int({ default: 100 * MiB, min: 1024, max: 1024 * MiB }),
  maxPartialRequestBytes: int({ default: 256 * MiB, min: 1024, max: Number.MAX_SAFE_INTEGER }),
  maxRequestMemoryBytes: int({ default: 512 * MiB, min: 1024, max: Number.MAX_SAFE_INTEGER }),
  maxUnsentBytes: int({ default: MiB, min: 64 * 1024, max: int32Max }), // transports tell of draining above 64 KiB only
  maxMemberMetadataBytes: int({ default: MiB, min: 1, max: int32Max }),
  maxConnections: int({ default: 10_000, min: 1, max: 1_000_000 }),
  maxFetchWaitMs: int({ default: 300_000, min: 0, max: int32Max }),
  maxFetchBytes: int({ default: 55 * MiB, min: 1024, max: 1024 * MiB }),
  minSessionTimeoutMs: int({ default: 6_000, min: 1, max: int32Max }),
  maxSessionTimeoutMs: int({ default: 1_800_000, min: 1, max: int32Max }),
  initialRebalanceDelayMs: int({ default: 0, min: 0, max: int32Max }),
  maxGroupMembers: int({ default: 10_000, min: 1, max: 1_000_000 }),
  maxGroups: int({ default: 100_000, min: 1, max: 10_000_000 }),
  maxOffsetMetadataBytes: int({ default: 4_096, min: 0, max: int32Max }),
  offsetsRetentionMs: int({ default: 7 * day, min: 1, max: Number.MAX_SAFE_INTEGER }),
  offsetsTopicPartitions: int({ default: 8, min: 1, max: 1_000 }),
  maxProducersPerPartition: int({ default: 10_000, min: 1, max: 10_000_000 }),
}

/** Loopback addresses need no `insecure`. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
}
