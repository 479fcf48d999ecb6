/** What the parts of a producer share: limits, memory, identity, and whom to tell. Producer implements it. */
import type { BufferPool } from '../../base/buffer-pool.ts'
import type { MillraceError } from '../../base/errors.ts'
import type { Scope } from '../../base/scope.ts'
import type { ClientEvent } from '../events.ts'
import type { Metadata } from '../metadata.ts'
import type { FlushBarriers } from './flush.ts'
import type { ProducerIdentity } from './identity.ts'
import type { ResolvedProducerOptions } from './options.ts'

export interface ProducerHost {
  readonly scope: Scope
  readonly options: ResolvedProducerOptions
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  readonly pool: BufferPool
  readonly barriers: FlushBarriers
  readonly identity: ProducerIdentity
  readonly metadata: Metadata
  /** Somebody waits for memory or for a flush: nothing lingers. */
  readonly isPressed: boolean
  readonly onEvent: (event: ClientEvent) => void
  /** Batches took (or, negative, gave back) so much memory. */
  memory(bytes: number): void
  /** There is something to send at the end of this turn. */
  work(): void
  /** Look again at this time, monotonic milliseconds. */
  wakeAt(time: number): void
  /** Records without an observer failed. */
  unobserved(error: MillraceError, topic: string, partition: number, count: number): void
  /** The producer is over. */
  fatal(error: MillraceError): void
}
