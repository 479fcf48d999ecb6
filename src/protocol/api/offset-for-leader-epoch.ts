/**
 * OffsetForLeaderEpoch (key 23). Where a leader epoch ends, to find out whether a log was truncated (KIP-320). v3:
 * replica id, -1 for consumers.
 */
import { defineApi, int16, int32, int64, string, structs } from '../schema.ts'

/** Asks where leader epochs end; goes to the leader of the partitions in it. */
export const offsetForLeaderEpoch = defineApi({
  key: 23,
  name: 'OffsetForLeaderEpoch',
  versions: [2, 4],
  flexible: 4,
  request: {
    replicaId: int32({ since: 3, default: -2, ignorable: true }),
    topics: structs({
      topic: string(),
      partitions: structs({
        partition: int32(),
        currentLeaderEpoch: int32({ default: -1 }),
        leaderEpoch: int32(),
      }),
    }),
  },
  response: {
    throttleTimeMs: int32(),
    topics: structs({
      topic: string(),
      partitions: structs({
        errorCode: int16(),
        partition: int32(),
        leaderEpoch: int32({ default: -1 }),
        endOffset: int64({ default: -1 }),
      }),
    }),
  },
})
