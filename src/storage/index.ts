/** The public door of storage: `millrace/storage`. */
export {
  type BulkLoad,
  type Checkpoint,
  type KeyLike,
  maxCheckpointStateBytes,
  maxKeyBytes,
  maxValueBytes,
  type Snapshot,
  Span,
  type StorageEngine,
  type Store,
  type StoreBatch,
  type StoreDirectory,
  type StoreIterator,
  type StoreJob,
  type StoreRange,
  type StoreReader,
  type StoreStats,
  type StoresAside,
  spaceCount,
} from './contract.ts'
export { encodePart, storeNameOf, storePath } from './directory.ts'
export { StoreError, type StoreErrorCode } from './errors.ts'
export type { MemoryStats } from './log/budget.ts'
export { LogEngine, type LogEngineOptions, logEngine } from './log/engine.ts'
export type { StoreEvent } from './log/events.ts'
export {
  type LogInfo,
  type ReadOnlyOptions,
  ReadOnlyStore,
  type RunInfo,
  type StoreInfo,
  type TableInfo,
} from './log/read-only.ts'
export type { LogStats } from './log/log-stats.ts'
export type { ReadManyOptions } from './log/read-many.ts'
export { LogStore, type SyncPolicy } from './log/store.ts'
export type { StoreFault } from './log/survey.ts'
export type { VerifyProgress, VerifyReport } from './log/verify.ts'
export { MemoryEngine, type MemoryEngineOptions, memoryEngine } from './memory-engine.ts'
export { nodeFs } from './node-fs.ts'
