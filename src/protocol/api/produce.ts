/**
 * Produce (key 0). Appends record batches. acks 0 has no response. v3: transactional id, batches of magic 2; v8:
 * errors per record; v10: leader hints (KIP-951); v12: partitions join a transaction implicitly (KIP-890); v13: topic
 * ids instead of names.
 */
import { defineApi, int16, int32, int64, records, string, struct, structs, timestamp, uuid } from '../schema.ts'

/** Appends batches; goes to the leader of the partitions in it. */
export const produce = defineApi({
  key: 0,
  name: 'Produce',
  versions: [3, 13],
  flexible: 9,
  request: {
    transactionalId: string({ nullable: true, default: null }),
    acks: int16(),
    timeoutMs: int32(),
    topicData: structs({
      name: string({ until: 12, ignorable: true }),
      topicId: uuid({ since: 13, ignorable: true }),
      partitionData: structs({
        index: int32(),
        records: records(),
      }),
    }),
  },
  response: {
    responses: structs({
      name: string({ until: 12 }),
      topicId: uuid({ since: 13 }),
      partitionResponses: structs({
        index: int32(),
        errorCode: int16(),
        baseOffset: int64(),
        logAppendTimeMs: timestamp({ default: -1 }),
        logStartOffset: int64({ since: 5, default: -1 }),
        recordErrors: structs(
          {
            batchIndex: int32(),
            batchIndexErrorMessage: string({ nullable: true, default: null }),
          },
          { since: 8 },
        ),
        errorMessage: string({ since: 8, nullable: true, default: null }),
        currentLeader: struct(
          {
            leaderId: int32({ default: -1 }),
            leaderEpoch: int32({ default: -1 }),
          },
          { since: 10, tag: 0 },
        ),
      }),
    }),
    throttleTimeMs: int32({ default: 0 }),
    nodeEndpoints: structs(
      {
        nodeId: int32(),
        host: string(),
        port: int32(),
        rack: string({ nullable: true, default: null }),
      },
      { since: 10, tag: 0 },
    ),
  },
})
