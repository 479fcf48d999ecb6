/**
 * InitProducerId (key 22). Hands out a producer id and epoch. v3: an epoch bump of an existing id (KIP-360); v4:
 * PRODUCER_FENCED; v5: TRANSACTION_ABORTABLE. Version 6 (two-phase commit, KIP-939) is unstable in Kafka 4.3 and not
 * described.
 */
import { defineApi, int16, int32, int64, string } from '../schema.ts'

/** Hands out a producer id; goes to the transaction coordinator, or to any broker without a transactional id. */
export const initProducerId = defineApi({
  key: 22,
  name: 'InitProducerId',
  versions: [0, 5],
  flexible: 2,
  request: {
    transactionalId: string({ nullable: true }),
    transactionTimeoutMs: int32(),
    producerId: int64({ since: 3, default: -1 }),
    producerEpoch: int16({ since: 3, default: -1 }),
  },
  response: {
    throttleTimeMs: int32(),
    errorCode: int16(),
    producerId: int64({ default: -1 }),
    producerEpoch: int16(),
  },
})
