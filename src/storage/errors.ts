/** What a store refuses or cannot do. `code` is API; the message names the store and says what to do. */
import { MillraceError } from '../base/errors.ts'

/** The closed list of codes a StoreError carries. */
export type StoreErrorCode =
  /** The store (or the snapshot, iterator or bulk load) was used after it was closed or released. */
  | 'ERR_STORE_CLOSED'
  /** The directory is open already. */
  | 'ERR_STORE_LOCKED'
  /** A key space outside 0–15, a key or a value above its limit, a span outside its buffer. */
  | 'ERR_STORE_KEY'
  | 'ERR_STORE_VALUE'
  | 'ERR_STORE_SPACE'
  /** A checkpoint whose position is not a whole number ≥ 0, or whose state is above 1 KiB. */
  | 'ERR_STORE_CHECKPOINT'
  /** The batch cannot be used so: a put in it failed, or another writer is open. */
  | 'ERR_STORE_BATCH'
  /** The store would grow above its byte limit, or the disk is full. */
  | 'ERR_STORE_NOSPACE'
  /** What is on disk is damaged (disk engines). */
  | 'ERR_STORE_CORRUPT'
  /** What is on disk was written by a newer version (disk engines). */
  | 'ERR_STORE_VERSION'
  /** The system refused to open or remove something (disk engines); the cause says why. */
  | 'ERR_STORE_IO'
  /** An earlier write failed so that nothing more may be written (disk engines). */
  | 'ERR_STORE_POISONED'

/** Thrown by every store. Only `ERR_STORE_NOSPACE` is retriable. */
export class StoreError extends MillraceError {
  override readonly name = 'StoreError'
  /** The store's name: `group/table/partition`. */
  readonly store: string
  /** The file that the error is about (disk engines). */
  readonly file: string | undefined
  /** Where in that file, bytes from its start. */
  readonly offset: number | undefined
  constructor(
    code: StoreErrorCode,
    store: string,
    message: string,
    cause?: unknown,
    at: { readonly file?: string; readonly offset?: number } = {},
  ) {
    super(code, `store ${store}: ${message}`, { retriable: code === 'ERR_STORE_NOSPACE', cause })
    this.store = store
    this.file = at.file
    this.offset = at.offset
  }
}
