/**
 * InitProducerId: a fresh id with epoch 0 for idempotent producers, also when they name the one they had (as Kafka does:
 * without a transactional id it keeps nothing). Transactional ids are refused: not supported yet.
 */
import { initProducerId } from '../../protocol/api/init-producer-id.ts'
import { errorCodes } from '../../protocol/errors.ts'
import { handle, objects } from '../dispatch.ts'

export const initProducerIdHandler = handle(
  initProducerId,
  {
    memory: objects,
    refuse: (_request, errorCode) => ({ throttleTimeMs: 0, errorCode, producerId: -1, producerEpoch: -1 }),
  },
  (request, context) => {
    if (request.transactionalId !== null) {
      const errorCode =
        request.transactionalId === '' ? errorCodes.INVALID_REQUEST : errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
      return { throttleTimeMs: 0, errorCode, producerId: -1, producerEpoch: -1 }
    }
    return { throttleTimeMs: 0, errorCode: 0, producerId: context.services.cluster.newProducerId(), producerEpoch: 0 }
  },
)
