/** The errors that end a membership: a closed list. Everything else is retried for ever. */
import { describeError, MillraceError } from '../../base/errors.ts'
import type { KafkaErrorName } from '../../protocol/errors.ts'
import { kafkaError } from '../../protocol/errors.ts'

const remedies = new Map<KafkaErrorName, string>([
  ['FENCED_INSTANCE_ID', 'another process uses the same groupInstanceId: give each instance its own'],
  ['INCONSISTENT_GROUP_PROTOCOL', 'the other members use other assignors: offer one that all of them know'],
  ['INVALID_GROUP_ID', 'choose another groupId'],
  ['INVALID_SESSION_TIMEOUT', "choose a sessionTimeoutMs within the broker's group.min/max.session.timeout.ms"],
  ['GROUP_AUTHORIZATION_FAILED', 'give the principal READ on the group'],
  ['GROUP_MAX_SIZE_REACHED', "the group is full: raise the broker's group.max.size"],
  ['TOPIC_AUTHORIZATION_FAILED', 'give the principal READ on the topics'],
  ['CLUSTER_AUTHORIZATION_FAILED', "check the principal's permissions"],
  ['UNSUPPORTED_VERSION', 'the broker lacks what the options ask for (static membership needs Kafka 2.3)'],
])

/** Kafka's names of the errors that end a membership. Besides: a listener that throws, an assignor that throws, a version no broker speaks. */
export const fatalGroupErrors: readonly KafkaErrorName[] = [...remedies.keys()]

/** The membership is over. `code` is Kafka's name of the error, or `ERR_GROUP_LISTENER`, `ERR_ASSIGNOR`. Not retriable. */
export class GroupError extends MillraceError {
  override readonly name = 'GroupError'
  /** The group whose membership is over. */
  readonly groupId: string
  constructor(code: string, groupId: string, message: string, cause?: unknown) {
    super(code, `group ${groupId}: ${message}`, { cause })
    this.groupId = groupId
  }
}

/** The fatal error for a code, or undefined when it is not in the list. */
export function fatalGroupError(errorCode: number, groupId: string): GroupError | undefined {
  const { name, text } = kafkaError(errorCode)
  const remedy = remedies.get(name)
  return remedy === undefined ? undefined : new GroupError(name, groupId, `${name}: ${text} ${remedy}`)
}

/** For a callback of the user that threw. */
export function listenerError(groupId: string, which: string, cause: unknown): GroupError {
  return new GroupError('ERR_GROUP_LISTENER', groupId, `${which} threw: ${describeError(cause)}`, cause)
}
