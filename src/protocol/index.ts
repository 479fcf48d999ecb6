/**
 * The door of protocol: messages, frames, errors, versions. Record batches, compression and hashes are imported file by
 * file inside millrace.
 */
export {
  allApis,
  apisByKey,
  apiVersions,
  createTopics,
  deleteTopics,
  describeConfigs,
  fetch,
  findCoordinator,
  heartbeat,
  initProducerId,
  joinGroup,
  leaveGroup,
  listOffsets,
  metadata,
  offsetCommit,
  offsetFetch,
  offsetForLeaderEpoch,
  produce,
  syncGroup,
} from './api/index.ts'
export {
  BrokerError,
  errorCodes,
  kafkaError,
  type KafkaErrorInfo,
  type KafkaErrorName,
  kafkaErrors,
  ProtocolError,
  type Recovery,
} from './errors.ts'
export {
  correlationIdOf,
  decodeRequest,
  decodeRequestHeader,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type RequestHeader,
} from './frame.ts'
export {
  type Assignment,
  type AssignmentInput,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  type Subscription,
  type SubscriptionInput,
} from './member-payload.ts'
export { Reader } from './reader.ts'
export type { AnyApi, Api, MessageCodec, RequestInput, RequestOf, ResponseInput, ResponseOf } from './schema.ts'
export { isUuid, uuidFromBase64, uuidToBase64, ZERO_UUID } from './uuid.ts'
export {
  type BrokerRange,
  type MaxVersions,
  NAME_BASED_PINS,
  negotiate,
  pickVersion,
  type VersionBounds,
  VersionError,
  type VersionRange,
  type VersionTable,
} from './versions.ts'
export { Writer } from './writer.ts'
