/**
 * Outcome: what a broker's answer, or its absence, means for a produced batch. A table and a function, no state.
 */
import { errorCodes, kafkaError } from '../../protocol/errors.ts'

/**
 * `delivered` it is there · `retry` send it again, it was certainly not written · `retryMaybe` send it again, it may have
 * been written · `split` too large: in halves · `sequence` the broker's sequence state and ours differ · `failed` this
 * batch is refused for good · `fatal` this producer is.
 */
export type Outcome = 'delivered' | 'retry' | 'retryMaybe' | 'split' | 'sequence' | 'failed' | 'fatal'

const special: ReadonlyMap<number, Outcome> = new Map<number, Outcome>([
  [errorCodes.NONE, 'delivered'],
  // An earlier try was written and its answer lost.
  [errorCodes.DUPLICATE_SEQUENCE_NUMBER, 'delivered'],
  // Said before the leader appends anything. All other retriable errors can also come after it: a leader that has
  // appended and then loses its office while it waits for replicas answers NOT_LEADER_OR_FOLLOWER.
  [errorCodes.NOT_ENOUGH_REPLICAS, 'retry'],
  [errorCodes.LEADER_NOT_AVAILABLE, 'retry'],
  [errorCodes.UNKNOWN_TOPIC_OR_PARTITION, 'retry'],
  [errorCodes.UNKNOWN_TOPIC_ID, 'retry'],
  [errorCodes.MESSAGE_TOO_LARGE, 'split'],
  [errorCodes.RECORD_LIST_TOO_LARGE, 'split'],
  [errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER, 'sequence'],
  [errorCodes.UNKNOWN_PRODUCER_ID, 'sequence'],
  [errorCodes.INVALID_PRODUCER_EPOCH, 'sequence'],
  [errorCodes.CLUSTER_AUTHORIZATION_FAILED, 'fatal'],
  [errorCodes.UNSUPPORTED_VERSION, 'fatal'],
  [errorCodes.PRODUCER_FENCED, 'fatal'],
])

/** What to do about a partition's error code in a Produce response. */
export function outcomeOf(errorCode: number): Outcome {
  return special.get(errorCode) ?? (kafkaError(errorCode).retriable ? 'retryMaybe' : 'failed')
}
