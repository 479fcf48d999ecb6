/**
 * ListOffsets (key 2). Offsets by timestamp. Special timestamps: -1 latest, -2 earliest, -3 largest timestamp (v7), -4
 * earliest local (v8), -5 latest tiered (v9), -6 earliest pending upload (v11). v2: isolation; v4: leader epochs; v10:
 * time-out for remote look-ups.
 */
import { defineApi, int16, int32, int64, int8, string, structs, timestamp } from '../schema.ts'

/** Looks offsets up; goes to the leader of the partitions in it. */
export const listOffsets = defineApi({
  key: 2,
  name: 'ListOffsets',
  versions: [1, 11],
  flexible: 6,
  request: {
    replicaId: int32(),
    isolationLevel: int8({ since: 2 }),
    topics: structs({
      name: string(),
      partitions: structs({
        partitionIndex: int32(),
        currentLeaderEpoch: int32({ since: 4, default: -1, ignorable: true }),
        timestamp: timestamp(),
      }),
    }),
    timeoutMs: int32({ since: 10, ignorable: true }),
  },
  response: {
    throttleTimeMs: int32({ since: 2 }),
    topics: structs({
      name: string(),
      partitions: structs({
        partitionIndex: int32(),
        errorCode: int16(),
        timestamp: timestamp({ default: -1 }),
        offset: int64({ default: -1 }),
        leaderEpoch: int32({ since: 4, default: -1 }),
      }),
    }),
  },
})
