/** OffsetCommit: stores positions of a group; the answer waits until they are in the log. */
import { offsetCommit } from '../../protocol/api/offset-commit.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import type { CommitRow } from '../groups/offsets.ts'
import { findTopic, unknownTopic } from './lookup.ts'

type Request = RequestOf<typeof offsetCommit>

function answer(
  request: Request,
  codeOf: (topic: Request['topics'][number], row: Request['topics'][number]['partitions'][number]) => number,
): ResponseInput<typeof offsetCommit> {
  return {
    topics: request.topics.map((topic) => ({
      name: topic.name,
      topicId: topic.topicId,
      partitions: topic.partitions.map((row) => ({
        partitionIndex: row.partitionIndex,
        errorCode: codeOf(topic, row),
      })),
    })),
  }
}

/** The error for the whole request, or 0. */
function check(request: Request, context: RequestContext): number {
  const { coordinator } = context.services
  const misplaced = coordinator.checkNode(context.node, request.groupId)
  if (misplaced !== 0) return misplaced
  const { groupId, memberId, groupInstanceId, generationIdOrMemberEpoch } = request
  return coordinator.checkCommit(groupId, memberId, groupInstanceId, generationIdOrMemberEpoch)
}

export const offsetCommitHandler = handle(
  offsetCommit,
  {
    memory: objects,
    refuse: (request, errorCode) => answer(request, () => errorCode),
    groups: (request) => [request.groupId],
    topics: (request, context) =>
      request.topics.map((t) => ({
        name: findTopic(context, t.name, t.topicId)?.name ?? t.name,
        partitions: t.partitions.map((p) => p.partitionIndex),
      })),
  },
  (request, context) => {
    const { coordinator, options } = context.services
    const refusal = check(request, context)
    if (refusal !== 0) return answer(request, () => refusal)
    const byId = context.apiVersion >= 10
    const rows: CommitRow[] = []
    const response = answer(request, (asked, row) => {
      const topic = findTopic(context, byId ? null : asked.name, asked.topicId)
      if (topic === undefined) return unknownTopic(byId)
      const forced = faultOf(context, offsetCommit, 'before', topic.name, row.partitionIndex, request.groupId)
      if (forced !== 0) return forced
      if (topic.partitions[row.partitionIndex] === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION
      const metadata = row.committedMetadata ?? ''
      if (Buffer.byteLength(metadata) > options.maxOffsetMetadataBytes) return errorCodes.OFFSET_METADATA_TOO_LARGE
      rows.push({
        topic: topic.name,
        partition: row.partitionIndex,
        offset: row.committedOffset,
        leaderEpoch: row.committedLeaderEpoch,
        metadata,
      })
      return faultOf(context, offsetCommit, 'after', topic.name, row.partitionIndex, request.groupId)
    })
    return new Promise((resolve) => coordinator.commit(request.groupId, rows, () => resolve(response)))
  },
)
