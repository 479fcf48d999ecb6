/** What several handlers need: topics by name or id, partitions with leader and epoch checked. */
import { errorCodes } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { Topic } from '../cluster.ts'
import type { RequestContext } from '../dispatch.ts'
import type { Partition } from '../partition.ts'

/** A topic by its id if one is given, else by its name. */
export function findTopic(context: RequestContext, name: string | null, topicId: string): Topic | undefined {
  const { cluster } = context.services
  if (topicId !== ZERO_UUID) return cluster.topicById(topicId)
  return name === null ? undefined : cluster.topic(name)
}

/** The error for a topic that was not found: by id, or by name. */
export function unknownTopic(byId: boolean): number {
  return byId ? errorCodes.UNKNOWN_TOPIC_ID : errorCodes.UNKNOWN_TOPIC_OR_PARTITION
}

/** The partition if this node leads it in the epoch the client believes in (−1: does not say), else the error. */
export function ledPartition(
  context: RequestContext,
  topic: Topic,
  index: number,
  currentLeaderEpoch: number,
): Partition | number {
  const partition = topic.partitions[index]
  if (partition === undefined) return errorCodes.UNKNOWN_TOPIC_OR_PARTITION
  if (currentLeaderEpoch >= 0) {
    if (currentLeaderEpoch < partition.leaderEpoch) return errorCodes.FENCED_LEADER_EPOCH
    if (currentLeaderEpoch > partition.leaderEpoch) return errorCodes.UNKNOWN_LEADER_EPOCH
  }
  return partition.leader === context.node ? partition : errorCodes.NOT_LEADER_OR_FOLLOWER
}

/** Whether a client that got `errorCode` is helped by the current leader (KIP-951). */
export function wantsLeader(errorCode: number): boolean {
  return errorCode === errorCodes.NOT_LEADER_OR_FOLLOWER || errorCode === errorCodes.FENCED_LEADER_EPOCH
}

/** The nodes that were named as leaders, with their addresses. */
export function endpoints(
  context: RequestContext,
  leaders: Iterable<number>,
): { nodeId: number; host: string; port: number }[] {
  const found: { nodeId: number; host: string; port: number }[] = []
  for (const id of new Set(leaders)) {
    const node = context.services.cluster.node(id)
    if (node !== undefined) found.push({ nodeId: node.id, host: node.host, port: node.port })
  }
  return found
}
