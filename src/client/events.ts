/** What a client tells its observer: one union, built only to be looked at. Nothing in the client depends on it. */
import type { MillraceError } from '../base/errors.ts'

/**
 * Lanes are separate sockets to one broker, so that a long poll or a big batch never delays a heartbeat: `control`,
 * `produce`, and one per owner of long polls (`fetch:1`, `join:orders`). A lane's sockets are opened when used.
 */
export type LaneName = string

/** Something happened inside a Client. `node` is the broker's id, negative for an address of `brokers`. */
export type ClientEvent =
  /** A connection is open and its API versions are known. */
  | { readonly type: 'connected'; readonly node: number; readonly address: string; readonly lane: LaneName }
  /** An open connection ended; `error` is absent when it was closed in order. */
  | {
      readonly type: 'disconnected'
      readonly node: number
      readonly address: string
      readonly lane: LaneName
      readonly error?: Error
    }
  /** A connection could not be opened; it is dialled again after `retryInMs` if somebody wants it. */
  | {
      readonly type: 'connectFailed'
      readonly node: number
      readonly address: string
      readonly lane: LaneName
      readonly attempt: number
      readonly retryInMs: number
      readonly error: Error
    }
  /** The broker asked us to slow down, and we do. */
  | { readonly type: 'throttled'; readonly node: number; readonly api: string; readonly throttleMs: number }
  /** New knowledge about the cluster. `why` lists who asked. */
  | { readonly type: 'metadata'; readonly version: number; readonly why: readonly string[] }
  /** The cluster could not be asked; it is tried again. */
  | { readonly type: 'metadataFailed'; readonly attempt: number; readonly retryInMs: number; readonly error: Error }
  /** Records wait for a topic that does not exist, or may not be used. */
  | { readonly type: 'topicMissing'; readonly topic: string; readonly error: string }
  /** A batch is sent again. */
  | {
      readonly type: 'produceRetry'
      readonly topic: string
      readonly partition: number
      readonly attempt: number
      readonly error: MillraceError
    }
  /** Records were given up. */
  | {
      readonly type: 'produceFailed'
      readonly topic: string
      readonly partition: number
      readonly count: number
      readonly error: MillraceError
    }
  /** The idempotent producer started a new epoch for a partition (KIP-360). */
  | {
      readonly type: 'producerEpoch'
      readonly topic: string
      readonly partition: number
      readonly producerId: number
      readonly epoch: number
      readonly why: string
    }
