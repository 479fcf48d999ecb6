/**
 * Errors a broker can answer and errors in the bytes themselves. What may be done about a broker's error is data
 * (`recovery`), so no code compares names. The table itself is error-table.ts; it never changes at run time.
 */
import { MillraceError } from '../base/errors.ts'
import { ERROR_TABLE } from './error-table.ts'

/** Kafka's own name of an error. */
export type KafkaErrorName = (typeof ERROR_TABLE)[number][1]

/**
 * What the client does about an error:
 * `none` nothing is wrong · `retry` the same request again · `refreshMetadata` ask who leads, then again ·
 * `refreshCoordinator` look the coordinator up, then again · `rejoin` the member must join its group again ·
 * `abortable` the transaction must be aborted, the producer lives · `fenced` a newer owner exists, give up the identity ·
 * `fatal` the caller must change something.
 */
export type Recovery =
  | 'none'
  | 'retry'
  | 'refreshMetadata'
  | 'refreshCoordinator'
  | 'rejoin'
  | 'abortable'
  | 'fenced'
  | 'fatal'

/** One row of the error table. */
export interface KafkaErrorInfo {
  /** Kafka's name. */
  readonly name: KafkaErrorName
  /** The number on the wire. */
  readonly code: number
  /** What it means, in one sentence. */
  readonly text: string
  /** What the client does about it. */
  readonly recovery: Recovery
  /** Whether the same request may succeed later although the caller changes nothing. */
  readonly retriable: boolean
}

const RETRIABLE: ReadonlySet<Recovery> = new Set<Recovery>(['retry', 'refreshMetadata', 'refreshCoordinator'])

const infos: readonly KafkaErrorInfo[] = ERROR_TABLE.map(([code, name, recovery, text]) =>
  Object.freeze({ name, code, text, recovery, retriable: RETRIABLE.has(recovery) }),
)
const byCode: ReadonlyMap<number, KafkaErrorInfo> = new Map(infos.map((info) => [info.code, info]))

/** Every error, in the order of its code. */
export const kafkaErrors: readonly KafkaErrorInfo[] = Object.freeze(infos)

/** The numbers by name: `errorCodes.NOT_LEADER_OR_FOLLOWER`. */
export const errorCodes: { readonly [Name in KafkaErrorName]: number } = Object.freeze(
  Object.fromEntries(infos.map((info) => [info.name, info.code])) as { [Name in KafkaErrorName]: number },
)

/** The row of an error code; a code from a newer broker is UNKNOWN_SERVER_ERROR with its number in the text. */
export function kafkaError(code: number): KafkaErrorInfo {
  const known = byCode.get(code)
  if (known !== undefined) return known
  return {
    name: 'UNKNOWN_SERVER_ERROR',
    code,
    text: `The broker answered error ${code}, which this version of millrace does not know.`,
    recovery: 'fatal',
    retriable: false,
  }
}

/**
 * A broker refused something. `code` is Kafka's name of the error (`NOT_LEADER_OR_FOLLOWER`), `retriable` and `recovery`
 * come from the error table.
 */
export class BrokerError extends MillraceError {
  override readonly name = 'BrokerError'
  /** Kafka's name of the error. */
  declare readonly code: KafkaErrorName
  /** The number on the wire. */
  readonly brokerCode: number
  /** What may be done about it. */
  readonly recovery: Recovery

  /** `subject` says what was refused ("commit of group g"); `detail` is the broker's own message, if it sent one. */
  constructor(brokerCode: number, subject: string, detail?: string | null, options: { cause?: unknown } = {}) {
    const info = kafkaError(brokerCode)
    const said = detail === undefined || detail === null || detail === '' ? info.text : detail
    super(info.name, `${subject}: ${info.name}: ${said}`, { retriable: info.retriable, cause: options.cause })
    this.brokerCode = brokerCode
    this.recovery = info.recovery
  }
}

/**
 * Bytes that are not what the protocol says, or a value that a message cannot carry. Code `ERR_PROTOCOL`. Not retriable:
 * the same bytes mean the same, so the connection they came on is given up.
 */
export class ProtocolError extends MillraceError {
  override readonly name = 'ProtocolError'
  /** Position in the frame, bytes; −1 where there is none (writing). */
  readonly position: number

  constructor(message: string, position = -1, options: { cause?: unknown } = {}) {
    super('ERR_PROTOCOL', position < 0 ? message : `${message} (at byte ${position})`, options)
    this.position = position
  }
}
