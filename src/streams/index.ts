/** The streams room's door. */
export { clientPort } from './client-port.ts'
export type { Codec, ValueWriter } from './codec.ts'
export type { Context, Declaration, EmitOptions, Handler, HeaderToSend, RecordHeader, RecordInfo } from './context.ts'
export { type EmittedRecord, Emitter, type EmitterSendOptions } from './emitter.ts'
export {
  CodecError,
  GraphError,
  RecordError,
  StreamsError,
  type StreamsErrorCode,
  TableDivergedError,
  TopicNameError,
} from './errors.ts'
export { type AnyGroup, defineGroup, type Group } from './graph.ts'
export { isHandle, type Stream, stream, type Table, table, type ValueOf } from './handles.ts'
export type { PartitionerName } from './partitioner.ts'
export { Processor, type ProcessorHost, type TypedProcessor } from './processor.ts'
export type { ProcessorEvent } from './processor-events.ts'
export type { ProcessorOptions } from './processor-options.ts'
export type { ProcessorState, RecoveryProgress, ViewState } from './processor-state.ts'
export { decodeStoreState, encodeStoreState, type StoreState } from './store-state.ts'
export type { TableEvent } from './table-events.ts'
export { TableRegistry } from './table-registry.ts'
export { createMissing, tableTopicOf } from './topics.ts'
export { View, type ViewOptions, type ViewRange } from './view.ts'
