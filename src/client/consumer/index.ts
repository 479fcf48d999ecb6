/** The consumer part of the client room: what streams and the client's door take from here. */
export type { ChunkCursor, FetchedChunk } from './chunk.ts'
export { CommitError } from './commits.ts'
export { Consumer } from './consumer.ts'
export {
  ConsumerUsageError,
  CorruptRecordsError,
  LogTruncatedError,
  NoOffsetError,
  OffsetOutOfRangeError,
  PartitionError,
  PartitionRefusedError,
  TopicRecreatedError,
} from './errors.ts'
export type { ConsumerEvent, ResetReason } from './events.ts'
export type { ConsumerOptions, Isolation, StartFrom } from './options.ts'
export { partitionName, PartitionMap, type TopicPartition } from './partition-map.ts'
export type { ClientPort } from './port.ts'
export type { StartingPoint } from './reading.ts'
export { ConsumerRecord, type DetachedRecord } from './record.ts'
