/** JoinGroup: the answer waits until the rebalance completes. */
import { joinGroup } from '../../protocol/api/join-group.ts'
import { handle, objects } from '../dispatch.ts'
import { type JoinAnswer, joinError } from '../groups/active-group.ts'

/** Before version 7 the protocol's name cannot be null. */
function shaped(answer: JoinAnswer, version: number) {
  return version >= 7 ? answer : { ...answer, protocolName: answer.protocolName ?? '' }
}

export const joinGroupHandler = handle(
  joinGroup,
  {
    memory: objects,
    refuse: (request, errorCode, context) => shaped(joinError(errorCode, request.memberId), context.apiVersion),
    groups: (request) => [request.groupId],
  },
  (request, context) => {
    const { coordinator } = context.services
    const version = context.apiVersion
    const misplaced = coordinator.checkNode(context.node, request.groupId)
    if (misplaced !== 0) return shaped(joinError(misplaced, request.memberId), version)
    const { sessionTimeoutMs, rebalanceTimeoutMs } = request
    return new Promise((resolve) => {
      const command = {
        memberId: request.memberId,
        instanceId: request.groupInstanceId,
        clientId: context.clientId,
        clientHost: context.clientHost,
        sessionTimeoutMs,
        rebalanceTimeoutMs: rebalanceTimeoutMs < 0 ? sessionTimeoutMs : rebalanceTimeoutMs,
        protocolType: request.protocolType,
        // copies: a member outlives the frame it came in
        protocols: request.protocols.map(({ name, metadata }) => ({ name, metadata: Buffer.from(metadata) })),
        needsKnownId: version >= 4,
        canSkipAssignment: version >= 9,
      }
      coordinator.join(request.groupId, command, (answer) => resolve(shaped(answer, version)))
    })
  },
)
