/**
 * Heartbeat (key 12). Keeps a member of a classic group alive and tells it about rebalances. v3: static members.
 */
import { defineApi, int16, int32, string } from '../schema.ts'

/** Keeps a group member alive; goes to the coordinator of the group. */
export const heartbeat = defineApi({
  key: 12,
  name: 'Heartbeat',
  versions: [0, 4],
  flexible: 4,
  request: {
    groupId: string(),
    generationId: int32(),
    memberId: string(),
    groupInstanceId: string({ since: 3, nullable: true, default: null }),
  },
  response: {
    throttleTimeMs: int32({ since: 1 }),
    errorCode: int16(),
  },
})
