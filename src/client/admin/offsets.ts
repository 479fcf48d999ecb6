/** Looking offsets up: the ends of partitions, by time, and where leader epochs end. */
import { listOffsets } from '../../protocol/api/list-offsets.ts'
import { offsetForLeaderEpoch } from '../../protocol/api/offset-for-leader-epoch.ts'
import type { PartitionMap, TopicPartition } from '../consumer/partition-map.ts'
import type { AdminCallOptions, AdminContext } from './context.ts'
import { askLeaders, byTopic } from './leaders.ts'

/** Which offset: the log's first, the next to be written, or the first at or after a time (milliseconds since 1970). */
export type OffsetSpec = 'earliest' | 'latest' | number

/** The offset that was asked for. */
export interface FoundOffset {
  /** −1: no record at or after that time. */
  readonly offset: number
  /** −1: unknown. */
  readonly leaderEpoch: number
}

/** A partition and the leader epoch whose end is asked for. */
export interface EpochQuestion extends TopicPartition {
  /** As records or positions carry it. */
  readonly leaderEpoch: number
}

/** Where the log's largest epoch not above the one asked for ends. */
export interface EpochEnd {
  /** That epoch; −1: the log has none. */
  readonly leaderEpoch: number
  /** First offset after it, −1 when there is none. */
  readonly endOffset: number
}

/** What a broker may take to look an offset up, milliseconds. */
const lookupTimeoutMs = 10_000

/** All partitions' offsets. */
export function find(
  context: AdminContext,
  partitions: readonly TopicPartition[],
  spec: OffsetSpec,
  isolation: 'read_committed' | 'read_uncommitted',
  options: AdminCallOptions,
): Promise<PartitionMap<FoundOffset>> {
  const timestamp = spec === 'earliest' ? -2 : spec === 'latest' ? -1 : spec
  const isolationLevel = isolation === 'read_committed' ? 1 : 0
  return askLeaders(context, 'offsets', partitions, options, async (node, asked) => {
    const topics = [...byTopic(asked)].map(([name, list]) => ({
      name,
      partitions: list.map(({ partition }) => ({ partitionIndex: partition, timestamp })),
    }))
    const input = { replicaId: -1, isolationLevel, topics, timeoutMs: lookupTimeoutMs }
    const response = await context.request(listOffsets, { node }, input, { minVersion: 2 })
    return response.topics.flatMap(({ name, partitions: answers }) =>
      answers.map(({ partitionIndex, errorCode, offset, leaderEpoch }) => ({
        topic: name,
        partition: partitionIndex,
        errorCode,
        value: { offset, leaderEpoch },
      })),
    )
  })
}

/** Where leader epochs end. */
export function epochEnds(
  context: AdminContext,
  questions: readonly EpochQuestion[],
  options: AdminCallOptions,
): Promise<PartitionMap<EpochEnd>> {
  return askLeaders(context, 'leader epochs', questions, options, async (node, asked) => {
    const topics = [...byTopic(asked)].map(([topic, list]) => ({
      topic,
      partitions: list.map(({ partition, leaderEpoch }) => ({ partition, currentLeaderEpoch: -1, leaderEpoch })),
    }))
    const response = await context.request(offsetForLeaderEpoch, { node }, { replicaId: -1, topics })
    return response.topics.flatMap(({ topic, partitions: answers }) =>
      answers.map(({ partition, errorCode, leaderEpoch, endOffset }) => ({
        topic,
        partition,
        errorCode,
        value: { leaderEpoch, endOffset },
      })),
    )
  })
}
