/**
 * OffsetFetch (key 9). Reads committed positions. v2: all topics (null); v7: only stable offsets; v8: several groups
 * in one request; v9: member epochs of KIP-848 groups; v10: topic ids instead of names.
 */
import { array, bool, defineApi, int16, int32, int64, string, structs, uuid } from '../schema.ts'

/** Reads stored positions; goes to the coordinator of the groups. */
export const offsetFetch = defineApi({
  key: 9,
  name: 'OffsetFetch',
  versions: [1, 10],
  flexible: 6,
  request: {
    groupId: string({ until: 7, alternative: true }),
    topics: structs(
      {
        name: string(),
        partitionIndexes: array(int32()),
      },
      { until: 7, nullable: 2, alternative: true },
    ),
    groups: structs(
      {
        groupId: string(),
        memberId: string({ since: 9, nullable: true, default: null, ignorable: true }),
        memberEpoch: int32({ since: 9, default: -1, ignorable: true }),
        topics: structs(
          {
            name: string({ until: 9, ignorable: true }),
            topicId: uuid({ since: 10, ignorable: true }),
            partitionIndexes: array(int32()),
          },
          { nullable: true },
        ),
      },
      { since: 8, alternative: true },
    ),
    requireStable: bool({ since: 7, default: false }),
  },
  response: {
    throttleTimeMs: int32({ since: 3 }),
    topics: structs(
      {
        name: string(),
        partitions: structs({
          partitionIndex: int32(),
          committedOffset: int64(),
          committedLeaderEpoch: int32({ since: 5, default: -1 }),
          metadata: string({ nullable: true }),
          errorCode: int16(),
        }),
      },
      { until: 7 },
    ),
    errorCode: int16({ since: 2, until: 7, default: 0 }),
    groups: structs(
      {
        groupId: string(),
        topics: structs({
          name: string({ until: 9 }),
          topicId: uuid({ since: 10 }),
          partitions: structs({
            partitionIndex: int32(),
            committedOffset: int64(),
            committedLeaderEpoch: int32({ default: -1 }),
            metadata: string({ nullable: true }),
            errorCode: int16(),
          }),
        }),
        errorCode: int16({ default: 0 }),
      },
      { since: 8 },
    ),
  },
})
