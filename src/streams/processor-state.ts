/** The states of processors and views, as data. */
import type { MillraceError } from '../base/errors.ts'

/** How far the tables of a starting instance have been restored. */
export interface RecoveryProgress {
  /** Partitions that are not ready yet. */
  readonly partitions: readonly number[]
}

/** What a processor is doing. `failed` and `closed` are final. */
export type ProcessorState =
  /** `start` has not been called. */
  | { readonly at: 'created' }
  /** Topics it needs do not exist, or the cluster cannot be reached; `reason` says which. */
  | { readonly at: 'waitingForTopics'; readonly reason: string }
  /** It waits for the group to give it partitions. */
  | { readonly at: 'joining' }
  /** Tables are being restored; nothing is processed on those partitions yet. */
  | { readonly at: 'recovering'; readonly progress: RecoveryProgress }
  /** Every partition it was given is being processed; it may have none when there are more instances than partitions. */
  | { readonly at: 'running'; readonly partitions: readonly number[] }
  | { readonly at: 'closing' }
  | { readonly at: 'closed' }
  | { readonly at: 'failed'; readonly error: MillraceError }

/** What a view is doing. `failed` and `closed` are final. */
export type ViewState =
  /** `start` has not been called. */
  | { readonly at: 'created' }
  /** The table's topic does not exist yet; the view begins when it does. */
  | { readonly at: 'waitingForTopic'; readonly topic: string }
  /** The table is being read; `remaining` changelog offsets are left. */
  | { readonly at: 'recovering'; readonly remaining: number }
  /** The view has been up to date and follows the table. */
  | { readonly at: 'running' }
  | { readonly at: 'closed' }
  | { readonly at: 'failed'; readonly error: MillraceError }
