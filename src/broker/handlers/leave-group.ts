/** LeaveGroup: takes members out at once. Before version 3 it is one member, and its error is the answer's. */
import { leaveGroup } from '../../protocol/api/leave-group.ts'
import { handle, objects } from '../dispatch.ts'

export const leaveGroupHandler = handle(
  leaveGroup,
  {
    memory: objects,
    refuse: (_request, errorCode) => ({ errorCode, members: [] }),
    groups: (request) => [request.groupId],
  },
  (request, context) => {
    const { coordinator } = context.services
    const misplaced = coordinator.checkNode(context.node, request.groupId)
    if (misplaced !== 0) return { errorCode: misplaced, members: [] }
    if (context.apiVersion >= 3) return coordinator.leave(request.groupId, request.members)
    const left = coordinator.leave(request.groupId, [{ memberId: request.memberId, groupInstanceId: null }])
    return { errorCode: left.errorCode === 0 ? (left.members[0]?.errorCode ?? 0) : left.errorCode, members: [] }
  },
)
