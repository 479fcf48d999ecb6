/** The client room's door: `millrace/client`. */
export { AbortError, ClosedError, MillraceError, OptionError, TimeoutError } from '../base/errors.ts'
export { FrameError, NetworkError, type NetworkErrorCode } from '../net/index.ts'
export { BrokerError, type KafkaErrorName, ProtocolError, type Recovery } from '../protocol/errors.ts'
export { VersionError } from '../protocol/versions.ts'
export { Admin } from './admin/admin.ts'
export type { ConfigEntry, ConfigResource } from './admin/configs.ts'
export type { AdminCallOptions } from './admin/context.ts'
export type { EpochEnd, EpochQuestion, FoundOffset, OffsetSpec } from './admin/offsets.ts'
export type { NewTopic } from './admin/topics.ts'
export { NoBrokerError } from './broker-link.ts'
export { Client, type RequestOptions } from './client.ts'
export { ClusterView, type NodeView, type PartitionView, type TopicView } from './cluster-view.ts'
export {
  type ChunkCursor,
  CommitError,
  Consumer,
  type ConsumerEvent,
  type ConsumerOptions,
  ConsumerRecord,
  ConsumerUsageError,
  CorruptRecordsError,
  type DetachedRecord,
  type FetchedChunk,
  type Isolation,
  LogTruncatedError,
  NoOffsetError,
  OffsetOutOfRangeError,
  PartitionError,
  PartitionMap,
  PartitionRefusedError,
  partitionName,
  type ResetReason,
  type StartFrom,
  type StartingPoint,
  type TopicPartition,
  TopicRecreatedError,
} from './consumer/index.ts'
export { Coordinators } from './coordinators.ts'
export type { ClientEvent, LaneName } from './events.ts'
export {
  type Assignor,
  type AssignorChoice,
  type AssignorMember,
  type CommitResult,
  type CommittedOffset,
  type CommittedOptions,
  copartition,
  fatalGroupErrors,
  GroupError,
  type GroupEvent,
  type GroupListener,
  type GroupMembership,
  type GroupMetadata,
  type GroupOptions,
  type MemberAssignment,
  type MembershipState,
  type OffsetToCommit,
  range,
} from './group/index.ts'
export { Metadata } from './metadata.ts'
export type { ClientOptions } from './options.ts'
export {
  DeliveryTimeoutError,
  FatalProducerError,
  fatalProducerCodes,
  RecordError,
  RecordTooLargeError,
  UnknownTopicError,
} from './producer/errors.ts'
export type { PartitionFunction, ProducerOptions } from './producer/options.ts'
export { Producer } from './producer/producer.ts'
export type { BatchResult, DeliveryObserver, ProducerRecord, SendResult } from './producer/records.ts'
export { type Destination, UnknownBrokerError } from './request-router.ts'
