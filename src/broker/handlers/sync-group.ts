/** SyncGroup: the leader brings the assignment, the others wait for it. */
import { syncGroup } from '../../protocol/api/sync-group.ts'
import { handle, objects } from '../dispatch.ts'
import { syncError } from '../groups/active-group.ts'

export const syncGroupHandler = handle(
  syncGroup,
  {
    memory: objects,
    refuse: (_request, errorCode) => syncError(errorCode),
    groups: (request) => [request.groupId],
  },
  (request, context) => {
    const { coordinator } = context.services
    const misplaced = coordinator.checkNode(context.node, request.groupId)
    if (misplaced !== 0) return syncError(misplaced)
    return new Promise((resolve) => {
      const command = {
        memberId: request.memberId,
        instanceId: request.groupInstanceId,
        generation: request.generationId,
        protocolType: request.protocolType,
        protocolName: request.protocolName,
        assignments: new Map(request.assignments.map((a) => [a.memberId, Buffer.from(a.assignment)])),
      }
      coordinator.sync(request.groupId, command, resolve)
    })
  },
)
