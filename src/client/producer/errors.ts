/**
 * What a producer throws on purpose.
 *
 * Errors of records, after which the producer goes on: DeliveryTimeoutError, RecordTooLargeError, UnknownTopicError,
 * RecordError, ClosedError, and BrokerError for what a broker refuses for good (INVALID_TIMESTAMP, INVALID_RECORD,
 * TOPIC_AUTHORIZATION_FAILED, INVALID_TOPIC_EXCEPTION, POLICY_VIOLATION and the like).
 *
 * Errors that end the producer, all of them: FatalProducerError with one of `fatalProducerCodes` as `code`. Everything
 * else (lost connections, restarts, elections, time-outs, lost sequence state) is retried.
 */
import { describeError, MillraceError } from '../../base/errors.ts'

/**
 * The closed list of codes that end a producer: every record it holds and every later one fails with
 * FatalProducerError. Make another producer once the cause is mended.
 */
export const fatalProducerCodes = [
  /** The principal may not write idempotently (IDEMPOTENT_WRITE on the cluster): allow it, or set `idempotent: false`. */
  'CLUSTER_AUTHORIZATION_FAILED',
  /** The brokers have no InitProducerId: set `idempotent: false`. */
  'ERR_NO_COMMON_VERSION',
  /** The broker refuses this client's version of InitProducerId or Produce. */
  'UNSUPPORTED_VERSION',
  /** Another producer took over this producer's identity. */
  'PRODUCER_FENCED',
] as const

/** The producer cannot go on. `code` is one of `fatalProducerCodes`; `cause` is what happened. Not retriable. */
export class FatalProducerError extends MillraceError {
  override readonly name = 'FatalProducerError'
  constructor(code: (typeof fatalProducerCodes)[number], cause: unknown) {
    super(code, `the producer cannot go on: ${describeError(cause)}`, { cause })
  }
}

/** Records were not acknowledged within `deliveryTimeoutMs`. Code `ERR_DELIVERY_TIMEOUT`. Retriable: they may be sent again, but may be there already if `maybeDelivered`. */
export class DeliveryTimeoutError extends MillraceError {
  override readonly name = 'DeliveryTimeoutError'
  /** A try was sent and its outcome never learned: the records may have been written. */
  readonly maybeDelivered: boolean
  constructor(topic: string, partition: number, timeoutMs: number, attempts: number, maybe: boolean, cause: unknown) {
    const last = cause === undefined ? 'no broker was ready to take them' : `last: ${describeError(cause)}`
    super(
      'ERR_DELIVERY_TIMEOUT',
      `records for ${topic}/${partition} were not acknowledged within deliveryTimeoutMs ${timeoutMs} (${attempts} tries; ${last})`,
      { retriable: true, cause },
    )
    this.maybeDelivered = maybe
  }
}

/** One record is larger than the topic, or this producer, allows. Code `MESSAGE_TOO_LARGE`. Not retriable. */
export class RecordTooLargeError extends MillraceError {
  override readonly name = 'RecordTooLargeError'
  /** Bytes of the record in a batch of its own, before compression. */
  readonly size: number
  constructor(topic: string, partition: number, size: number, limit: string, cause?: unknown) {
    const where = partition < 0 ? topic : `${topic}/${partition}`
    super('MESSAGE_TOO_LARGE', `a record of ${size} bytes for ${where} is above ${limit}`, { cause })
    this.size = size
  }
}

/** The topic does not exist, or has no such partition. Code `UNKNOWN_TOPIC_OR_PARTITION`. Retriable: it may be created. */
export class UnknownTopicError extends MillraceError {
  override readonly name = 'UnknownTopicError'
  constructor(message: string, cause?: unknown) {
    super('UNKNOWN_TOPIC_OR_PARTITION', message, { retriable: true, cause })
  }
}

/** The record makes no sense: no topic, a value that is no bytes, a partition function gone wrong. Code `ERR_RECORD`. Not retriable. */
export class RecordError extends MillraceError {
  override readonly name = 'RecordError'
  constructor(message: string) {
    super('ERR_RECORD', message)
  }
}
