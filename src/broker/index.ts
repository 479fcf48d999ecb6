/** The broker room's door: an embedded, Kafka-compatible broker for development, tests and single machines. */
export { Broker, type BrokerLogs, type LoggedRecord, type StartOptions } from './broker.ts'
export type { BrokerEvent } from './events.ts'
export type { Fault, FaultMatch, Faults } from './faults.ts'
export type { BrokerOptions, TopicSpec } from './options.ts'
