/**
 * FindCoordinator (key 10). Which broker coordinates a group (key type 0), a transactional id (1, from v1) or a share
 * group (2, v6). v4: several keys in one request, errors per key.
 */
import { array, defineApi, int16, int32, int8, string, structs } from '../schema.ts'

/** Asks any broker for the coordinator of groups or transactional ids. */
export const findCoordinator = defineApi({
  key: 10,
  name: 'FindCoordinator',
  versions: [0, 6],
  flexible: 3,
  request: {
    key: string({ until: 3, alternative: true }),
    keyType: int8({ since: 1, default: 0 }),
    coordinatorKeys: array(string(), { since: 4, alternative: true }),
  },
  response: {
    throttleTimeMs: int32({ since: 1 }),
    errorCode: int16({ until: 3 }),
    errorMessage: string({ since: 1, until: 3, nullable: true }),
    nodeId: int32({ until: 3 }),
    host: string({ until: 3 }),
    port: int32({ until: 3 }),
    coordinators: structs(
      {
        key: string(),
        nodeId: int32(),
        host: string(),
        port: int32(),
        errorCode: int16(),
        errorMessage: string({ nullable: true }),
      },
      { since: 4 },
    ),
  },
})
