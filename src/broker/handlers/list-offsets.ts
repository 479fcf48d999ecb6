/** ListOffsets: earliest, latest, by time, of the largest time. There are no tiers: the local start is the start. */
import { listOffsets } from '../../protocol/api/list-offsets.ts'
import type { ResponseInput } from '../../protocol/schema.ts'
import { faultOf, handle, objects } from '../dispatch.ts'
import type { Partition } from '../partition.ts'
import { findTopic, ledPartition, unknownTopic } from './lookup.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'

type Row = ResponseInput<typeof listOffsets>['topics'][number]['partitions'][number]

const latest = -1
const earliest = -2
const maxTimestamp = -3
const earliestLocal = -4

function failed(partitionIndex: number, errorCode: number): Row {
  return { partitionIndex, errorCode, timestamp: -1, offset: -1, leaderEpoch: -1 }
}

function find(partition: Partition, timestamp: number): Row {
  const at = { partitionIndex: partition.index, errorCode: 0 }
  if (timestamp === latest) {
    return { ...at, timestamp: -1, offset: partition.log.nextOffset, leaderEpoch: partition.leaderEpoch }
  }
  if (timestamp === earliest || timestamp === earliestLocal) {
    const offset = partition.log.startOffset
    return { ...at, timestamp: -1, offset, leaderEpoch: partition.epochAt(offset) }
  }
  let found: { offset: number; timestamp: number } | undefined
  if (timestamp === maxTimestamp) found = partition.offsetOfMaxTime()
  else if (timestamp >= 0) found = partition.offsetByTime(timestamp)
  if (found === undefined) return failed(partition.index, 0)
  return { ...at, timestamp: found.timestamp, offset: found.offset, leaderEpoch: partition.epochAt(found.offset) }
}

export const listOffsetsHandler = handle(
  listOffsets,
  {
    memory: objects,
    refuse: (request, errorCode) => ({
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((p) => failed(p.partitionIndex, errorCode)),
      })),
    }),
    topics: (request) =>
      request.topics.map((t) => ({ name: t.name, partitions: t.partitions.map((p) => p.partitionIndex) })),
  },
  (request, context) => ({
    topics: request.topics.map(({ name, partitions }) => {
      const topic = findTopic(context, name, ZERO_UUID)
      return {
        name,
        partitions: partitions.map((asked): Row => {
          const forced = faultOf(context, listOffsets, 'before', name, asked.partitionIndex)
          if (forced !== 0) return failed(asked.partitionIndex, forced)
          if (topic === undefined) return failed(asked.partitionIndex, unknownTopic(false))
          const partition = ledPartition(context, topic, asked.partitionIndex, asked.currentLeaderEpoch)
          if (typeof partition === 'number') return failed(asked.partitionIndex, partition)
          return find(partition, asked.timestamp)
        }),
      }
    }),
  }),
)
