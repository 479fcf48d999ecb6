/**
 * What the streams layer needs of Kafka, and all of it. `Client` satisfies these shapes; a tester may satisfy them without
 * a broker. The runtime names no other part of the client.
 */
import type { MillraceError } from '../base/errors.ts'
import type { Scope } from '../base/scope.ts'
import type { HeaderToSend, RecordHeader } from './context.ts'

/** One partition of a topic. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** Told per batch what became of records, in the order of their appends within a partition. */
export interface DeliveryObserver {
  delivered(topic: string, partition: number, baseOffset: number, count: number, leaderEpoch: number): void
  failed(error: MillraceError, topic: string, partition: number, count: number): void
}

export interface ProducerPort {
  /**
   * Appends one record given as spans; it is copied before the call returns. `partition` −1: the partitioner chooses.
   * False: the buffer is above its limit; the record was taken, wait for `ready()` before the next.
   */
  append(
    topic: string,
    partition: number,
    timestamp: number,
    key: Buffer | null,
    keyFrom: number,
    keyTo: number,
    value: Buffer | null,
    valueFrom: number,
    valueTo: number,
    headers: readonly HeaderToSend[] | undefined,
    observer: DeliveryObserver | undefined,
  ): boolean
  ready(): Promise<void>
  close(options?: { timeoutMs?: number }): Promise<void>
}

/** A walk over the visible records of a chunk. */
export interface CursorPort {
  next(): boolean
  readonly offset: number
  readonly timestamp: number
  readonly bytes: Buffer
  /** −1: the key is null. */
  readonly keyFrom: number
  readonly keyTo: number
  /** −1: the value is null. */
  readonly valueFrom: number
  readonly valueTo: number
  readonly headerCount: number
  headers(): RecordHeader[]
}

/** What one fetch brought of one partition. */
export interface ChunkPort extends TopicPartition {
  /** The position behind the chunk; passes control, aborted and compacted records. */
  readonly nextOffset: number
  readonly highWatermark: number
  /** Leader epoch of the last batch, −1 unknown. */
  readonly leaderEpoch: number
  readonly byteLength: number
  cursor(): CursorPort
}

export interface Assignment extends TopicPartition {
  readonly offset: number
}

export interface ConsumerPort {
  assign(partitions: readonly Assignment[]): void
  unassign(partitions: readonly TopicPartition[]): void
  /** Throws the error of a partition once (see `isOfPartition`), and always what ended the consumer. */
  take(): ChunkPort | undefined
  /** Resolves when `take()` may return or throw something. */
  wait(signal?: AbortSignal): Promise<void>
  pause(partitions: readonly TopicPartition[]): void
  resume(partitions: readonly TopicPartition[]): void
  close(): Promise<void>
}

/** Whether an error that a consumer threw is about one partition only. */
export function isOfPartition(error: unknown): error is Error & TopicPartition & { readonly offset: number } {
  return error instanceof Error && 'topic' in error && 'partition' in error && 'offset' in error
}

export interface OffsetToCommit extends TopicPartition {
  readonly offset: number
  readonly metadata?: string
}

export interface CommittedOffset extends TopicPartition {
  /** −1: nothing is committed. */
  readonly offset: number
  readonly metadata: string
}

export interface GroupMetadata {
  readonly groupId: string
  readonly memberId: string
  readonly generation: number
}

export interface GroupMembership {
  join(): void
  metadata(): GroupMetadata
  readonly lastHeartbeatSentAt: number
  heartbeatNow(): Promise<void>
  commitOnce(
    offsets: readonly OffsetToCommit[],
  ): Promise<readonly { readonly topic: string; readonly partition: number; readonly error: string }[]>
  committed(
    partitions: readonly TopicPartition[],
    options?: { requireStable?: boolean; signal?: AbortSignal },
  ): Promise<readonly CommittedOffset[]>
  close(): Promise<void>
}

/** Told of assignments; the promises are awaited while heartbeats go on. */
export interface AssignmentListener {
  onAssigned(added: readonly TopicPartition[]): void | Promise<void>
  onRevoked(removed: readonly TopicPartition[]): void | Promise<void>
  onLost(removed: readonly TopicPartition[]): void
  onError(fatal: MillraceError): void
}

/** A topic as the cluster describes it. */
export interface TopicPicture {
  readonly name: string
  /** Differs after the topic was deleted and made anew. */
  readonly id: string
  readonly partitions: readonly { readonly index: number }[]
  readonly error?: string | undefined
}

export interface ClusterPicture {
  topic(name: string): TopicPicture | undefined
}

export interface MetadataPort {
  readonly view: ClusterPicture
  require(topics: readonly string[]): Promise<ClusterPicture>
  refreshed(why: string): Promise<ClusterPicture>
  track(topic: string): void
  untrack(topic: string): void
  onChange(listener: () => void): () => void
}

/** A topic to be made. */
export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** −1: the broker's default. */
  readonly replicationFactor?: number
  readonly configs?: Readonly<Record<string, string>>
}

export interface AdminPort {
  createTopics(topics: readonly NewTopic[]): Promise<unknown>
  /** The topic's configuration as far as `names` go. */
  topicConfig(topic: string, names: readonly string[]): Promise<ReadonlyMap<string, string | null>>
}

/** Largest record that processors send, bytes: one request must carry it. */
export const maxRecordBytes = 16 * 1024 * 1024

export interface ProducerSettings {
  readonly partitioner: 'murmur2' | 'fnv1a'
  readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  readonly deliveryTimeoutMs: number
  readonly maxBufferedBytes: number
}

export interface ConsumerSettings {
  readonly isolation: 'read_committed' | 'read_uncommitted'
  readonly startFrom: 'earliest' | 'latest' | 'error'
  readonly maxBufferedBytes?: number
  readonly maxPartitionBytes?: number
}

export interface GroupSettings {
  readonly groupId: string
  readonly groupInstanceId: string
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  readonly heartbeatIntervalMs: number
  readonly rebalanceTimeoutMs: number
  readonly listener: AssignmentListener
}

/** Everything: what `Client` is to the streams layer. */
export interface KafkaPort {
  readonly scope: Scope
  readonly metadata: MetadataPort
  readonly admin: AdminPort
  /** Offset per partition, in the order of the request. Retried inside. */
  listOffsets(
    partitions: readonly TopicPartition[],
    at: 'earliest' | 'latest',
    signal?: AbortSignal,
  ): Promise<readonly number[]>
  /** Where the log's largest leader epoch not above `leaderEpoch` ends; −1: the log has none, or ends in an older one. */
  epochEnd(at: TopicPartition, leaderEpoch: number, signal?: AbortSignal): Promise<number>
  producer(settings: ProducerSettings): ProducerPort
  consumer(settings: ConsumerSettings): ConsumerPort
  group(settings: GroupSettings): GroupMembership
  close(): Promise<void>
}
