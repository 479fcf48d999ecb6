/** The client room's door: `millrace/client`. */
export { NoBrokerError } from './broker-link.ts'
export { Client, type RequestOptions } from './client.ts'
export { ClusterView, type NodeView, type PartitionView, type TopicView } from './cluster-view.ts'
export { Coordinators } from './coordinators.ts'
export type { ClientEvent, LaneName } from './events.ts'
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
