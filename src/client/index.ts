/** The client room's door: `millrace/client`. */
export { NoBrokerError } from './broker-link.ts'
export { Client, type RequestOptions } from './client.ts'
export { ClusterView, type NodeView, type PartitionView, type TopicView } from './cluster-view.ts'
export { Coordinators } from './coordinators.ts'
export type { ClientEvent, LaneName } from './events.ts'
export { Metadata } from './metadata.ts'
export type { ClientOptions } from './options.ts'
export { type Destination, UnknownBrokerError } from './request-router.ts'
