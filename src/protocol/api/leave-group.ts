/**
 * LeaveGroup (key 13). Removes members from a classic group. v3: several members at once, by instance id too; v5:
 * reason.
 */
import { defineApi, int16, int32, string, structs } from '../schema.ts'

/** Removes group members; goes to the coordinator of the group. */
export const leaveGroup = defineApi({
  key: 13,
  name: 'LeaveGroup',
  versions: [0, 5],
  flexible: 4,
  request: {
    groupId: string(),
    memberId: string({ until: 2, alternative: true }),
    members: structs(
      {
        memberId: string(),
        groupInstanceId: string({ nullable: true, default: null }),
        reason: string({ since: 5, nullable: true, default: null, ignorable: true }),
      },
      { since: 3, alternative: true },
    ),
  },
  response: {
    throttleTimeMs: int32({ since: 1 }),
    errorCode: int16(),
    members: structs(
      {
        memberId: string(),
        groupInstanceId: string({ nullable: true }),
        errorCode: int16(),
      },
      { since: 3 },
    ),
  },
})
