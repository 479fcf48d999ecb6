/** Looking offsets up: the ends of partitions, or by time. Each leader is asked once; what it refuses is asked again. */
import { MillraceError } from '../../base/errors.ts'
import { listOffsets } from '../../protocol/api/list-offsets.ts'
import { BrokerError } from '../../protocol/errors.ts'
import { PartitionMap, partitionName, type TopicPartition } from '../consumer/partition-map.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** Which offset: the log's first, the next to be written, or the first at or after a time (milliseconds since 1970). */
export type OffsetSpec = 'earliest' | 'latest' | number

export interface FoundOffset {
  /** −1: no record at or after that time. */
  readonly offset: number
  /** −1: unknown. */
  readonly leaderEpoch: number
}

/** All partitions' offsets. */
export async function find(
  context: AdminContext,
  partitions: readonly TopicPartition[],
  spec: OffsetSpec,
  isolation: 'read_committed' | 'read_uncommitted',
  options: AdminCallOptions,
): Promise<PartitionMap<FoundOffset>> {
  const found = new PartitionMap<FoundOffset>()
  if (partitions.length === 0) return found
  const timestamp = spec === 'earliest' ? -2 : spec === 'latest' ? -1 : spec
  const topics = [...new Set(partitions.map(({ topic }) => topic))]
  const isolationLevel = isolation === 'read_committed' ? 1 : 0
  await retryingCall(context, `offsets of ${topics.join(', ')}`, options, async () => {
    await context.metadata.require(topics)
    const open = partitions.filter(({ topic, partition }) => !found.has(topic, partition))
    const answers = [...byLeader(context, open)].map(([node, asked]) =>
      ask(context, node, asked, timestamp, isolationLevel, found),
    )
    const settled = await Promise.allSettled(answers)
    for (const one of settled) if (one.status === 'rejected') throw one.reason
  })
  return found
}

function byLeader(context: AdminContext, partitions: readonly TopicPartition[]): Map<number, TopicPartition[]> {
  const leaders = new Map<number, TopicPartition[]>()
  for (const at of partitions) {
    const leader = context.metadata.view.topic(at.topic)?.partitions[at.partition]?.leader ?? -1
    if (leader < 0) {
      const name = partitionName(at.topic, at.partition)
      context.metadata.refresh(`${name} has no leader`)
      throw new MillraceError('LEADER_NOT_AVAILABLE', `${name} has no leader, or does not exist`, { retriable: true })
    }
    const asked = leaders.get(leader)
    if (asked === undefined) leaders.set(leader, [at])
    else asked.push(at)
  }
  return leaders
}

async function ask(
  context: AdminContext,
  node: number,
  partitions: readonly TopicPartition[],
  timestamp: number,
  isolationLevel: number,
  found: PartitionMap<FoundOffset>,
): Promise<void> {
  const byTopic = new Map<string, { partitionIndex: number; timestamp: number }[]>()
  for (const { topic, partition } of partitions) {
    const asked = byTopic.get(topic) ?? []
    byTopic.set(topic, asked)
    asked.push({ partitionIndex: partition, timestamp })
  }
  const topics = [...byTopic].map(([name, asked]) => ({ name, partitions: asked }))
  const response = await context.request(
    listOffsets,
    { node },
    { replicaId: -1, isolationLevel, topics, timeoutMs: 10_000 },
  )
  let refused: BrokerError | undefined
  for (const topic of response.topics) {
    for (const { partitionIndex, errorCode, offset, leaderEpoch } of topic.partitions) {
      if (errorCode === 0) found.set(topic.name, partitionIndex, { offset, leaderEpoch })
      else refused ??= new BrokerError(errorCode, `offsets of ${partitionName(topic.name, partitionIndex)}`)
    }
  }
  if (refused === undefined) return
  context.metadata.refresh(refused.message)
  throw refused
}
