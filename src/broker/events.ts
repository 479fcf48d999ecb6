/** What the embedded broker tells an observer. Nothing depends on these events. */
import type { MillraceError } from '../base/errors.ts'

/** One thing that happened in the embedded broker. */
export type BrokerEvent =
  /** A connection was accepted. */
  | { readonly type: 'connected'; readonly node: number; readonly remote: string }
  /** A connection ended; `error` when it did not end in order. */
  | { readonly type: 'disconnected'; readonly node: number; readonly remote: string; readonly error: Error | undefined }
  /** A peer sent something that is not a valid request: its connection was closed. */
  | { readonly type: 'badRequest'; readonly node: number; readonly remote: string; readonly error: MillraceError }
  /** A request ended in a bug of the broker: it was answered UNKNOWN_SERVER_ERROR or its connection closed. */
  | { readonly type: 'handlerFailed'; readonly api: string; readonly error: unknown }
  /** Old segments were dropped because of `retention.*` or `maxMemoryBytes`. */
  | {
      readonly type: 'segmentsDropped'
      readonly topic: string
      readonly partition: number
      readonly logStartOffset: number
      readonly byteLength: number
      readonly why: 'retention' | 'memory'
    }
  /** `maxMemoryBytes` is exceeded and only compacted topics are left, which are never cut. */
  | { readonly type: 'memoryExceeded'; readonly byteLength: number; readonly maxMemoryBytes: number }
  /** A group member was removed because it did not send a heartbeat or did not rejoin in time. */
  | { readonly type: 'memberExpired'; readonly group: string; readonly memberId: string; readonly why: string }
  /** A group entered a state. */
  | {
      readonly type: 'groupState'
      readonly group: string
      readonly state: string
      readonly generation: number
      readonly members: number
    }
