/** Options of a processor: one table with defaults and bounds. */
import { custom, int, type OptionTable, oneOf, text } from '../base/options.ts'
import type { PartitionerName } from './partitioner.ts'
import type { ProcessorEvent } from './processor-events.ts'
import type { ProcessorState } from './processor-state.ts'

/** Options of `app.processor()`; all have defaults. */
export interface ProcessorOptions {
  /**
   * Name of this instance among those of the group, the same after a restart (KIP-345): then a restart within the session
   * time-out takes its partitions up again without a rebalance. Default '' (a dynamic member).
   */
  groupInstanceId?: string
  /** Which partition a key belongs to: `murmur2` (Java's default) or `fnv1a` (goka's). Default: the application's. */
  partitioner?: PartitionerName
  /** Where an input without a committed offset begins. Loops always begin at the earliest. Default `earliest`. */
  startFrom?: 'earliest' | 'latest'
  /** What happens when committed offsets are not in the log any more: end with the lost range, or go on. Default `fail`. */
  onLostOffsets?: 'fail' | 'earliest' | 'latest'
  /** Distance of checkpoints: how much is done again after a crash. Milliseconds. Default 100, 1 to 600 000. */
  checkpointIntervalMs?: number
  /** Changes held until a checkpoint, per partition; above it one begins at once. Bytes. Default 64 MiB, 64 KiB to 4 GiB. */
  maxCheckpointBytes?: number
  /** Decoded keys and values kept in memory, per partition. Bytes. Default 64 MiB, 0 to 16 GiB. */
  cacheBytes?: number
  /** Fetched records waiting per partition. Bytes. Default 4 MiB, 64 KiB to 1 GiB. */
  maxInboxBytes?: number
  /** Records on their way to brokers, of all partitions. Bytes. Default 64 MiB, 1 MiB to 4 GiB. */
  maxProducerBytes?: number
  /** What one callback may emit. Bytes. Default 16 MiB, 1 KiB to 1 GiB. */
  maxCallbackBytes?: number
  /** Longest time an asynchronous callback may take. Milliseconds; 0: no limit. Default 60 000, 0 to 86 400 000. */
  callbackTimeoutMs?: number
  /** A record with a null key: end with an error, skip it, or take it as the empty key. Default `fail`. */
  nullKeys?: 'fail' | 'skip' | 'empty'
  /** An input record with a null value: skip it, or end with an error. Default `skip`. */
  nullValues?: 'skip' | 'fail'
  /** A key found in a partition where the partitioner would not put it (1 record in 256 is checked). Default `warn`: an event. */
  misroutedKeys?: 'warn' | 'fail' | 'ignore'
  /** Timestamp of emitted records: the input's, or the time of the emit. Default `input`. */
  emitTimestamps?: 'input' | 'now'
  /** Compression of the table topic and of emits. Default `none`. */
  compression?: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /** The group gives the partitions away after so long without a heartbeat. Milliseconds. Default 45 000, 2 000 to 1 800 000. */
  sessionTimeoutMs?: number
  /** Distance of heartbeats. Milliseconds; 0: a third of the session time-out, at most 3 000. Default 0, 0 to 600 000. */
  heartbeatIntervalMs?: number
  /** How long giving up partitions may take: callbacks, last checkpoint. Milliseconds. Default 60 000, 1 000 to 3 600 000. */
  rebalanceTimeoutMs?: number
  /** How long `start` waits for topics that do not exist before it ends with `ERR_TOPIC_MISSING`. Milliseconds. Default 30 000, 0 to 86 400 000. */
  missingTopicTimeoutMs?: number
  /** Bound of the last checkpoint and running callbacks in `close()`; leaving the group may add 5 s when the coordinator is gone. Milliseconds. Default 10 000, 0 to 600 000. */
  closeTimeoutMs?: number
  /** Observer of events; called synchronously, never awaited. */
  onEvent?: (event: ProcessorEvent) => void
  /** Observer of the state; called synchronously after each change. */
  onStateChange?: (state: ProcessorState) => void
}

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB
const nothing = (): void => {}
const observer = {
  default: nothing,
  accepts: (value: unknown) => typeof value === 'function',
  says: 'must be a function',
}

export const processorOptionTable: OptionTable<ProcessorOptions> = {
  groupInstanceId: text({ default: '' }),
  partitioner: oneOf(['murmur2', 'fnv1a'], { default: 'murmur2' }),
  startFrom: oneOf(['earliest', 'latest'], { default: 'earliest' }),
  onLostOffsets: oneOf(['fail', 'earliest', 'latest'], { default: 'fail' }),
  checkpointIntervalMs: int({ default: 100, min: 1, max: 600_000 }),
  maxCheckpointBytes: int({ default: 64 * MiB, min: 64 * KiB, max: 4 * GiB }),
  cacheBytes: int({ default: 64 * MiB, min: 0, max: 16 * GiB }),
  maxInboxBytes: int({ default: 4 * MiB, min: 64 * KiB, max: GiB }),
  maxProducerBytes: int({ default: 64 * MiB, min: MiB, max: 4 * GiB }),
  maxCallbackBytes: int({ default: 16 * MiB, min: KiB, max: GiB }),
  callbackTimeoutMs: int({ default: 60_000, min: 0, max: 86_400_000 }),
  nullKeys: oneOf(['fail', 'skip', 'empty'], { default: 'fail' }),
  nullValues: oneOf(['skip', 'fail'], { default: 'skip' }),
  misroutedKeys: oneOf(['warn', 'fail', 'ignore'], { default: 'warn' }),
  emitTimestamps: oneOf(['input', 'now'], { default: 'input' }),
  compression: oneOf(['none', 'gzip', 'snappy', 'lz4', 'zstd'], { default: 'none' }),
  sessionTimeoutMs: int({ default: 45_000, min: 2_000, max: 1_800_000 }),
  heartbeatIntervalMs: int({ default: 0, min: 0, max: 600_000 }),
  rebalanceTimeoutMs: int({ default: 60_000, min: 1_000, max: 3_600_000 }),
  missingTopicTimeoutMs: int({ default: 30_000, min: 0, max: 86_400_000 }),
  closeTimeoutMs: int({ default: 10_000, min: 0, max: 600_000 }),
  onEvent: custom(observer),
  onStateChange: custom(observer),
}
