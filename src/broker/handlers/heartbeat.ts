/** Heartbeat: keeps a member alive and tells it about a rebalance. */
import { heartbeat } from '../../protocol/api/heartbeat.ts'
import { handle, objects } from '../dispatch.ts'

export const heartbeatHandler = handle(
  heartbeat,
  {
    memory: objects,
    refuse: (_request, errorCode) => ({ errorCode }),
    groups: (request) => [request.groupId],
  },
  (request, context) => {
    const { coordinator } = context.services
    const misplaced = coordinator.checkNode(context.node, request.groupId)
    if (misplaced !== 0) return { errorCode: misplaced }
    const { groupId, memberId, groupInstanceId, generationId } = request
    return { errorCode: coordinator.heartbeat(groupId, memberId, groupInstanceId, generationId) }
  },
)
