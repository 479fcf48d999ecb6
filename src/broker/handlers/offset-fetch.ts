/** OffsetFetch: committed positions, of some partitions or of all. Without transactions every offset is stable. */
import { offsetFetch } from '../../protocol/api/offset-fetch.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import { findTopic } from './lookup.ts'

type Request = RequestOf<typeof offsetFetch>

interface AskedGroup {
  readonly groupId: string
  /** null: all topics that have offsets. */
  readonly topics:
    | readonly { readonly name: string; readonly topicId: string; readonly partitionIndexes: readonly number[] }[]
    | null
}

interface Row {
  partitionIndex: number
  committedOffset: number
  committedLeaderEpoch: number
  metadata: string | null
  errorCode: number
}

interface GroupAnswer {
  groupId: string
  topics: { name: string; topicId: string; partitions: Row[] }[]
  errorCode: number
}

function failed(partitionIndex: number, errorCode: number): Row {
  return { partitionIndex, committedOffset: -1, committedLeaderEpoch: -1, metadata: '', errorCode }
}

function groupsOf(request: Request, version: number): readonly AskedGroup[] {
  if (version >= 8) return request.groups
  const topics =
    request.topics?.map(({ name, partitionIndexes }) => ({ name, topicId: ZERO_UUID, partitionIndexes })) ?? null
  return [{ groupId: request.groupId, topics }]
}

/** An answer with one error for a group; before version 2 the error is only in the rows. */
function refuse(group: AskedGroup, errorCode: number): GroupAnswer {
  const topics = (group.topics ?? []).map(({ name, topicId, partitionIndexes }) => ({
    name,
    topicId,
    partitions: partitionIndexes.map((index) => failed(index, errorCode)),
  }))
  return { groupId: group.groupId, topics, errorCode }
}

function read(group: AskedGroup, context: RequestContext): GroupAnswer {
  const { cluster, coordinator } = context.services
  const { groupId } = group
  const misplaced = coordinator.checkNode(context.node, groupId)
  if (misplaced !== 0) return refuse(group, misplaced)
  const rowOf = (topic: string, partitionIndex: number): Row => {
    const forced = faultOf(context, offsetFetch, 'before', topic, partitionIndex, groupId)
    if (forced !== 0) return failed(partitionIndex, forced)
    const found = coordinator.offset(groupId, topic, partitionIndex)
    if (found === undefined) return failed(partitionIndex, 0)
    const { offset, leaderEpoch, metadata } = found
    return { partitionIndex, committedOffset: offset, committedLeaderEpoch: leaderEpoch, metadata, errorCode: 0 }
  }
  if (group.topics === null) {
    const topics = [...coordinator.offsets(groupId)].map(([name, partitions]) => ({
      name,
      topicId: cluster.topic(name)?.id ?? ZERO_UUID,
      partitions: [...partitions.keys()].map((index) => rowOf(name, index)),
    }))
    return { groupId, topics, errorCode: 0 }
  }
  const byId = context.apiVersion >= 10
  const topics = group.topics.map(({ name, topicId, partitionIndexes }) => {
    const known = byId ? findTopic(context, null, topicId)?.name : name
    const partitions = partitionIndexes.map((index) =>
      known === undefined ? failed(index, errorCodes.UNKNOWN_TOPIC_ID) : rowOf(known, index),
    )
    return { name, topicId, partitions }
  })
  return { groupId, topics, errorCode: 0 }
}

function answer(version: number, groups: readonly GroupAnswer[]) {
  if (version >= 8) return { groups }
  const first = groups[0]
  return { topics: first?.topics ?? [], errorCode: first?.errorCode ?? 0 }
}

export const offsetFetchHandler = handle(
  offsetFetch,
  {
    memory: objects,
    refuse: (request, errorCode, context) =>
      answer(
        context.apiVersion,
        groupsOf(request, context.apiVersion).map((group) => refuse(group, errorCode)),
      ),
    groups: (request) => [request.groupId, ...request.groups.map((g) => g.groupId)],
    topics: (request, context) =>
      groupsOf(request, context.apiVersion).flatMap((group) =>
        (group.topics ?? []).map((t) => ({
          name: findTopic(context, t.name, t.topicId)?.name ?? t.name,
          partitions: t.partitionIndexes,
        })),
      ),
  },
  (request, context) =>
    answer(
      context.apiVersion,
      groupsOf(request, context.apiVersion).map((group) => read(group, context)),
    ),
)
