/**
 * What a local table store is, for every engine (memory here, log-structured and others later). It knows bytes, keys and
 * positions, not Kafka. Keys are ordered by unsigned bytes; a key lives in a key space (0: the user's entries; 1–15:
 * reserved for timers, windows and the like) and a batch may span spaces. One owner writes; reads happen in any turn.
 *
 * Spans: hot paths pass (buffer, from, to) and get a reused Span back, so that no object is made per operation. A span
 * returned by a store points into its memory, perhaps into one buffer for all reads from disk, and is valid only until
 * the next call of any store of that engine, and not beyond the present turn of the event loop, because background work uses
 * memory again: copy or decode it at once. The forms without spans copy.
 */

/** How far a store has followed its changelog, written atomically with the data it covers. */
export interface Checkpoint {
  /** Whole number ≥ 0; the engine only stores it. For a changelog: the next offset to read. */
  readonly position: number
  /** The owner's own bytes (topic id, leader epoch, clocks), at most `maxCheckpointStateBytes`. */
  readonly state: Buffer
}

/** Largest `Checkpoint.state`, bytes. */
export const maxCheckpointStateBytes = 1024
/** Largest key, bytes. */
export const maxKeyBytes = 2 ** 24 - 1
/** Largest value, bytes. */
export const maxValueBytes = 2 ** 30
/** Key spaces are 0 … 15. */
export const spaceCount = 16

const nothing = Buffer.alloc(0)

/** A reused pointer to bytes: `bytes[from, to)`. */
export class Span {
  /** The buffer; more than the span lies in it. */
  bytes: Buffer = nothing
  /** First byte. */
  from = 0
  /** Behind the last byte. */
  to = 0

  /** Length in bytes. */
  get length(): number {
    return this.to - this.from
  }

  /** The bytes as an own Buffer. */
  copy(): Buffer {
    const copy = Buffer.allocUnsafe(this.to - this.from)
    this.bytes.copy(copy, 0, this.from, this.to)
    return copy
  }
}

/** Keys of the convenient forms; a string means its UTF-8 bytes. */
export type KeyLike = string | Uint8Array

/** Which entries to iterate; all of space 0 by default. Bounds combine: an entry must satisfy each one given. */
export interface StoreRange {
  /** Key space. Default 0. */
  readonly space?: number
  /** Smallest key, inclusive. */
  readonly from?: KeyLike
  /** End, exclusive. */
  readonly to?: KeyLike
  /** Only keys that begin with these bytes. */
  readonly prefix?: KeyLike
  /** From the largest key to the smallest. Default false. */
  readonly reverse?: boolean
}

/**
 * Entries in the order of their unsigned key bytes, as they were when the iterator was made, whatever is written
 * meanwhile. It pins superseded values until it is exhausted or closed.
 */
export interface StoreIterator extends Disposable {
  /** The entry's key after `next()` returned true; valid until the next `next()`, `close()` or write, also in later turns. */
  readonly key: Span
  /** The entry's value, likewise. */
  readonly value: Span
  /** Moves to the next entry; false at the end, and then always. Throws StoreError after the store was closed. */
  next(): boolean
  /** Ends the iteration early. May be called any number of times. */
  close(): void
}

/** Reads, common to stores and snapshots. */
export interface StoreReader {
  /**
   * Entries of all key spaces. Exact in the memory engine; on disk an estimate (mostly within a few per cent) while newer
   * tables overlap older ones. To ask whether there is any, iterate.
   */
  readonly entryCount: number
  /** The checkpoint of the last commit or load that gave one; undefined in a new or cleared store. */
  readonly checkpoint: Checkpoint | undefined
  /** Points `out` at the value of a key. False, and `out` unchanged, when there is none. */
  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean
  /** Whether a key has a value. */
  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean
  /** A copy of the value of `key` in space 0. */
  get(key: KeyLike): Buffer | undefined
  /** Whether `key` has a value in space 0. */
  has(key: KeyLike): boolean
  /** The entries of a range in order. Throws StoreError `ERR_STORE_SPACE`. */
  iterate(range?: StoreRange): StoreIterator
  /** The convenient form of `iterate`: copies of [key, value]; leaving the loop early closes it. */
  entries(range?: StoreRange): IterableIterator<[key: Buffer, value: Buffer]>
}

/** A store as it was at one moment. It pins superseded values until released. */
export interface Snapshot extends StoreReader, Disposable {
  /** Ends the snapshot; its iterators end too. May be called any number of times. */
  release(): void
}

/**
 * The store's one batch, reused: operations are collected, invisible to every read, until `commit` makes all of them and
 * the checkpoint visible at once. Of several operations on a key the last one counts. The work is done as operations
 * are added (so the caller slices it), `commit` is short. When a put throws, the batch can only be abandoned.
 */
export interface StoreBatch {
  /** Operations collected. */
  readonly count: number
  /** Key and value bytes collected. */
  readonly byteLength: number
  /** Copies key and value. Throws StoreError `ERR_STORE_KEY`, `_VALUE`, `_SPACE`, `_NOSPACE`, `_CLOSED`. */
  put(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void
  /** Takes the key's value away; nothing happens when it has none. Throws like `put`. */
  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void
  /**
   * Makes everything visible, with `checkpoint` if one is given (else the old one stays). All or nothing: throws
   * StoreError `ERR_STORE_BATCH` when a put failed, `ERR_STORE_CHECKPOINT` for a bad checkpoint (the batch stays).
   */
  commit(checkpoint?: Checkpoint): void
  /** Forgets everything collected. */
  abandon(): void
}

/**
 * Loading many entries without an atomic batch: operations are visible one by one. While a load is open, a store's
 * checkpoint is the last one given to it: loading the same log again from there gives the right state.
 */
export interface BulkLoad {
  /** As StoreBatch.put, applied at once. */
  put(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void
  /** As StoreBatch.delete, applied at once. */
  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void
  /** Everything up to `checkpoint` is loaded; a load broken off later goes on from here. */
  advance(checkpoint: Checkpoint): void
  /** Ends the load; with the final checkpoint. */
  finish(checkpoint: Checkpoint): void
  /** Ends the load where it is; the checkpoint stays at the last `advance`. */
  abandon(): void
}

/** Work that is done in slices by its caller. */
export interface StoreJob {
  /** Does about `units` elementary steps (around 50 ns each); true when the work is finished. */
  step(units: number): boolean
}

/** What a store holds and what that costs. */
export interface StoreStats {
  /** Entries of all key spaces. */
  readonly entryCount: number
  /** Key and value bytes of the entries. */
  readonly byteLength: number
  /** Memory in use for entries and indexes, bytes. */
  readonly allocatedBytes: number
  /** Of those: held by superseded or deleted entries that are not reclaimed yet. */
  readonly deadBytes: number
  /** Of those: superseded entries that snapshots and iterators still see. */
  readonly pinnedBytes: number
  /** Snapshots and iterators that are not released. */
  readonly openSnapshots: number
}

/** One local table of one partition. Methods throw StoreError `ERR_STORE_CLOSED` after `close`. */
export interface Store extends StoreReader, AsyncDisposable {
  /** The engine's name. */
  readonly kind: string
  /** `group/table/partition`, for messages. */
  readonly name: string
  /** Key and value bytes of all entries; an estimate where `entryCount` is one. */
  readonly byteLength: number
  /** The store's one batch; always the same object. */
  writer(): StoreBatch
  /** Throws StoreError `ERR_STORE_BATCH` while another load is open or the batch holds operations. */
  bulkLoad(): BulkLoad
  /** The store as it is now, for as long as needed. */
  snapshot(): Snapshot
  /**
   * What is left to do before `iterate` over `space` starts without delay, or undefined. Stepping it is optional:
   * `iterate` does the rest. Worth it for large tables, where ordering all keys takes longer than a slice.
   */
  ordering(space?: number): StoreJob | undefined
  /**
   * Undefined while background work keeps up with what is written; else a promise to wait for before writing more. Absent
   * when there is no such work. Who writes on without waiting does a part of that work in `commit`. Never rejects.
   */
  ready?(): Promise<void> | undefined
  /** What the store holds and costs at this moment. */
  stats(): StoreStats
  /**
   * Brings values into memory, without blocking, for the `getSync` that follow. Absent when all of them are there always.
   * It is the only asynchronous read here: a caller that prefetches what it will ask for needs no other, and code that
   * works on every engine stays synchronous. Rejects with StoreError.
   */
  prefetch?(keys: readonly KeyLike[], options?: { readonly space?: number }): Promise<void>
  /** Drops all entries and the checkpoint. Snapshots keep what they see. The batch must be empty. */
  clear(): void
  /** Ends the store, its snapshots and iterators, and drops an open batch. May be called any number of times. */
  close(): Promise<void>
}

/**
 * Which table of which partition. Whoever is given another thing throws OptionError (`ERR_OPTIONS`), or rejects with it,
 * and has made nothing.
 */
export interface StoreDirectory {
  /** Name of the group: any text but the empty one, of whole characters (no half of a surrogate pair). */
  readonly group: string
  /** Name of the table, likewise. */
  readonly table: string
  /** Partition, 0 to 2^31 − 1. */
  readonly partition: number
}

/**
 * How an engine whose stores outlive the process builds one anew: the old store is kept aside, under another name, until
 * the new one in its place is complete. Nothing is lost if the process ends in between: both are there when it starts again.
 */
export interface StoresAside {
  /** Whether one is kept aside for this place. */
  has(directory: StoreDirectory): boolean
  /** Where it lies, or would. */
  pathOf(directory: StoreDirectory): string
  /**
   * Moves a closed store aside, durably: the next `open` makes a new one. Rejects with StoreError `ERR_STORE_LOCKED` when
   * it is open, here or in another process, and `ERR_STORE_IO`, also when there is one aside already.
   */
  put(directory: StoreDirectory): Promise<void>
  /** Opens what is aside, to look at it. Rejects as `StorageEngine.open`. */
  open(directory: StoreDirectory): Promise<Store>
  /**
   * The store in its place is complete: makes that durable, then removes what is aside. The store's batch must be empty
   * and no load open. Rejects with StoreError; what is aside stays then.
   */
  remove(directory: StoreDirectory): Promise<void>
}

/** Opens stores. */
export interface StorageEngine extends AsyncDisposable {
  /** What its stores say as `kind`. */
  readonly name: string
  /** Rejects with StoreError `ERR_STORE_LOCKED` when that store is open already. */
  open(directory: StoreDirectory): Promise<Store>
  /** Where a store lies, for messages and tools. Absent when stores end with the process. */
  pathOf?(directory: StoreDirectory): string
  /** Absent: a store that must be built anew is cleared first. */
  readonly aside?: StoresAside
  /** Closes every store that is still open. */
  close(): Promise<void>
}
