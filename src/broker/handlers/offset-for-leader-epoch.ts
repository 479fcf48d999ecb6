/** OffsetForLeaderEpoch: where an epoch ends, so that a client can tell whether what it read is still there. */
import { offsetForLeaderEpoch } from '../../protocol/api/offset-for-leader-epoch.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { faultOf, handle, objects } from '../dispatch.ts'
import { findTopic, ledPartition, unknownTopic } from './lookup.ts'

function failed(partition: number, errorCode: number) {
  return { errorCode, partition, leaderEpoch: -1, endOffset: -1 }
}

export const offsetForLeaderEpochHandler = handle(
  offsetForLeaderEpoch,
  {
    memory: objects,
    refuse: (request, errorCode) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map((p) => failed(p.partition, errorCode)),
      })),
    }),
    topics: (request) =>
      request.topics.map((t) => ({ name: t.topic, partitions: t.partitions.map((p) => p.partition) })),
  },
  (request, context) => ({
    throttleTimeMs: 0,
    topics: request.topics.map(({ topic: name, partitions }) => {
      const topic = findTopic(context, name, ZERO_UUID)
      return {
        topic: name,
        partitions: partitions.map((asked) => {
          const forced = faultOf(context, offsetForLeaderEpoch, 'before', name, asked.partition)
          if (forced !== 0) return failed(asked.partition, forced)
          if (topic === undefined) return failed(asked.partition, unknownTopic(false))
          const partition = ledPartition(context, topic, asked.partition, asked.currentLeaderEpoch)
          if (typeof partition === 'number') return failed(asked.partition, partition)
          const end = partition.endOfEpoch(asked.leaderEpoch)
          return { errorCode: 0, partition: asked.partition, leaderEpoch: end.epoch, endOffset: end.endOffset }
        }),
      }
    }),
  }),
)
