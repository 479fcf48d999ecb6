/** What a log store tells beside its results: `onEvent` of the engine's options. */
import type { StoreError } from '../errors.ts'

/** What happened to a store; `kind` says what. */
export type StoreEvent =
  /** The end of a log was not usable when the store was opened: the store is what it was before those bytes. */
  | {
      readonly kind: 'recovered'
      /** `group/table/partition`. */
      readonly store: string
      readonly file: string
      /** Bytes that were cut off or removed. */
      readonly droppedBytes: number
      /** `torn`: a write that a crash broke off; `corrupt`: bytes that were never written so; `gap`: what was before it is missing. */
      readonly reason: 'torn' | 'corrupt' | 'gap'
    }
  /** A memtable has become tables. */
  | { readonly kind: 'flushed'; readonly store: string; readonly entries: number; readonly bytes: number }
  /** Tables were merged. */
  | { readonly kind: 'merged'; readonly store: string; readonly inputBytes: number; readonly outputBytes: number }
  /** Background work or a write failed; writes fail from then on if the error is ERR_STORE_POISONED. */
  | { readonly kind: 'failed'; readonly store: string; readonly error: StoreError }
