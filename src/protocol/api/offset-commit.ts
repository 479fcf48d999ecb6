/**
 * OffsetCommit (key 8). Stores positions of a group. v5: no retention time; v6: leader epochs; v7: static members; v9:
 * member epochs of KIP-848 groups; v10: topic ids instead of names.
 */
import { defineApi, int16, int32, int64, string, structs, timestamp, uuid } from '../schema.ts'

/** Stores positions; goes to the coordinator of the group. */
export const offsetCommit = defineApi({
  key: 8,
  name: 'OffsetCommit',
  versions: [2, 10],
  flexible: 8,
  request: {
    groupId: string(),
    generationIdOrMemberEpoch: int32({ default: -1 }),
    memberId: string(),
    groupInstanceId: string({ since: 7, nullable: true, default: null }),
    retentionTimeMs: timestamp({ until: 4, default: -1, ignorable: true }),
    topics: structs({
      name: string({ until: 9, ignorable: true }),
      topicId: uuid({ since: 10, ignorable: true }),
      partitions: structs({
        partitionIndex: int32(),
        committedOffset: int64(),
        committedLeaderEpoch: int32({ since: 6, default: -1, ignorable: true }),
        committedMetadata: string({ nullable: true }),
      }),
    }),
  },
  response: {
    throttleTimeMs: int32({ since: 3 }),
    topics: structs({
      name: string({ until: 9 }),
      topicId: uuid({ since: 10 }),
      partitions: structs({
        partitionIndex: int32(),
        errorCode: int16(),
      }),
    }),
  },
})
