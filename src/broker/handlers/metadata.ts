/** Metadata: nodes, topics, leaders. Topics are never created by asking for them. */
import { metadata } from '../../protocol/api/metadata.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { ResponseInput } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { Topic } from '../cluster.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import { checkTopicName } from '../topic-config.ts'
import { findTopic } from './lookup.ts'

type TopicRow = ResponseInput<typeof metadata>['topics'][number]

function missing(errorCode: number, name: string | null, topicId: string, version: number): TopicRow {
  return { errorCode, name: version >= 12 ? name : (name ?? ''), topicId, isInternal: false, partitions: [] }
}

function describe(topic: Topic, errorCode: number): TopicRow {
  return {
    errorCode,
    name: topic.name,
    topicId: topic.id,
    isInternal: topic.internal,
    partitions:
      errorCode !== 0
        ? []
        : topic.partitions.map((partition) => ({
            errorCode: partition.leader === -1 ? errorCodes.LEADER_NOT_AVAILABLE : 0,
            partitionIndex: partition.index,
            leaderId: partition.leader,
            leaderEpoch: partition.leaderEpoch,
            replicaNodes: [partition.replica],
            isrNodes: [partition.replica],
            offlineReplicas: partition.leader === -1 ? [partition.replica] : [],
          })),
  }
}

function cluster(context: RequestContext): Omit<ResponseInput<typeof metadata>, 'topics'> {
  const { cluster: c } = context.services
  return {
    brokers: c.nodes.map((node) => ({ nodeId: node.id, host: node.host, port: node.port })),
    clusterId: c.id,
    controllerId: c.controller,
  }
}

export const metadataHandler = handle(
  metadata,
  {
    memory: objects,
    refuse: (request, errorCode, context) => ({
      ...cluster(context),
      errorCode,
      topics: (request.topics ?? []).map((t) => missing(errorCode, t.name, t.topicId, context.apiVersion)),
    }),
    topics: (request) => (request.topics ?? []).map((t) => ({ name: t.name ?? '', partitions: undefined })),
  },
  (request, context) => {
    const { cluster: c } = context.services
    const version = context.apiVersion
    const all = request.topics === null || (version === 0 && request.topics.length === 0)
    const fault = (topic: Topic): number => faultOf(context, metadata, 'before', topic.name)
    if (all)
      return { ...cluster(context), topics: [...c.topics.values()].map((topic) => describe(topic, fault(topic))) }
    const rows = (request.topics ?? []).map((asked): TopicRow => {
      const byId = asked.name === null
      if (byId ? asked.topicId === ZERO_UUID || version < 12 : asked.topicId !== ZERO_UUID) {
        return missing(errorCodes.INVALID_REQUEST, asked.name, asked.topicId, version)
      }
      const topic = findTopic(context, asked.name, asked.topicId)
      if (topic !== undefined) return describe(topic, fault(topic))
      if (asked.name === null) return missing(errorCodes.UNKNOWN_TOPIC_ID, null, asked.topicId, version)
      const code =
        checkTopicName(asked.name) === undefined
          ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION
          : errorCodes.INVALID_TOPIC_EXCEPTION
      const forced = faultOf(context, metadata, 'before', asked.name)
      return missing(forced === 0 ? code : forced, asked.name, ZERO_UUID, version)
    })
    return { ...cluster(context), topics: rows }
  },
)
