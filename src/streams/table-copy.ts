/**
 * TableCopy: the local copy of one partition of a table topic, and how far it has got. It is filled from the changelog up
 * to a target offset (restoring) and, for joins, lookups and views, kept up to date from then on (following). Much is
 * loaded in bulk; a short tail, and what is followed, is one batch per chunk: a store on disk makes a bulk load durable
 * as tables of its own, which is too much for a few records.
 * Owner of the store while it fills it: this object. The reader that feeds it is table-reader.ts.
 */
import { assert } from '../base/assert.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import type { BulkLoad, Store, StoreBatch } from '../storage/index.ts'
import type { ChunkPort, CursorPort, TopicPartition } from './port.ts'
import { encodeStoreState } from './store-state.ts'

export type TableCopyState =
  | { readonly at: 'waiting' }
  | { readonly at: 'restoring'; readonly position: number; readonly target: number }
  | { readonly at: 'following'; readonly position: number }
  | { readonly at: 'failed'; readonly error: unknown }
  | { readonly at: 'closed' }

/** Where a copy begins. */
export interface CopyStart {
  /** First changelog offset to apply. */
  readonly from: number
  /** It has recovered when it has everything below. */
  readonly target: number
  /** When the target was asked for, milliseconds of the wall clock. */
  readonly askedMs: number
  /** Leader epoch of the last record the store has, −1 unknown. */
  readonly leaderEpoch: number
  /** A moment at which what the store has was everything, or at which it began empty; −1 unknown. */
  readonly wallMs: number
}

/** Records that are applied between two looks at the clock. */
const recordsPerLook = 512
/** A longer way to the target is loaded in bulk. Offsets. */
const bulkFrom = 65_536

export class TableCopy implements TopicPartition {
  readonly topic: string
  readonly partition: number
  readonly store: Store
  /** The next changelog offset to apply. */
  position = 0
  /** The broker's high watermark as last heard: `highWatermark − position` is the lag. */
  highWatermark = -1
  /** Records applied since the copy was opened. */
  applied = 0
  /** Where it began. */
  from = 0
  /** Leader epoch of the last record applied, −1 unknown. */
  leaderEpoch = -1
  readonly #topicId: string
  readonly #now: () => number
  #wallMs = -1
  #askedMs = -1
  #state: TableCopyState = { at: 'waiting' }
  #recovered: Deferred = deferred(true)
  #chunk: ChunkPort | undefined
  #cursor: CursorPort | undefined
  #load: BulkLoad | undefined
  #batch: StoreBatch | undefined
  readonly #listeners = new Set<() => void>()

  /** `now`: the wall clock. */
  constructor(at: TopicPartition, store: Store, topicId: string, now: () => number) {
    this.topic = at.topic
    this.partition = at.partition
    this.store = store
    this.#topicId = topicId
    this.#now = now
  }

  get state(): TableCopyState {
    if (this.#state.at === 'restoring') return { ...this.#state, position: this.position }
    if (this.#state.at === 'following') return { at: 'following', position: this.position }
    return this.#state
  }

  get recovered(): boolean {
    return this.#state.at === 'following'
  }

  /** Resolves when the target is reached; rejects when the copy fails. */
  whenRecovered(): Promise<void> {
    return this.#recovered.promise
  }

  /** Whether a chunk is only partly applied. */
  get busy(): boolean {
    return this.#cursor !== undefined
  }

  /** Calls `listener` after each applied chunk and each change of state, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Begins; recovered once the target is reached, which may be at once. */
  begin({ from, target, askedMs, leaderEpoch, wallMs }: CopyStart): void {
    assert(this.#state.at === 'waiting', 'a table copy began twice')
    this.from = from
    this.position = from
    this.highWatermark = target
    this.leaderEpoch = leaderEpoch
    this.#wallMs = wallMs
    this.#askedMs = askedMs
    this.#state = { at: 'restoring', position: from, target }
    this.#advanced()
  }

  /** Takes the next chunk; only when not busy. */
  offer(chunk: ChunkPort): void {
    assert(this.#cursor === undefined, 'a table copy got a chunk while it was busy')
    this.#chunk = chunk
    this.#cursor = chunk.cursor()
    this.highWatermark = Math.max(this.highWatermark, chunk.highWatermark)
  }

  /** Applies records until the chunk ends or `late` says that the slice is over. True when the chunk is done. */
  applySome(late: () => boolean): boolean {
    const cursor = this.#cursor
    const chunk = this.#chunk
    if (cursor === undefined || chunk === undefined) return true
    const into = this.#writer()
    let left = recordsPerLook
    while (cursor.next()) {
      const keyFrom = Math.max(0, cursor.keyFrom)
      const keyTo = Math.max(keyFrom, cursor.keyTo)
      if (cursor.valueFrom < 0) into.delete(0, cursor.bytes, keyFrom, keyTo)
      else into.put(0, cursor.bytes, keyFrom, keyTo, cursor.bytes, cursor.valueFrom, cursor.valueTo)
      this.applied += 1
      left -= 1
      if (left === 0) {
        left = recordsPerLook
        if (late()) return false
      }
    }
    this.#chunk = undefined
    this.#cursor = undefined
    this.position = chunk.nextOffset
    if (chunk.leaderEpoch >= 0) this.leaderEpoch = chunk.leaderEpoch
    this.#applied(chunk)
    this.#advanced()
    return true
  }

  /** What the records of a chunk go into. */
  #writer(): BulkLoad | StoreBatch {
    if (this.#load !== undefined) return this.#load
    const { at } = this.#state
    if (this.#batch === undefined && at === 'restoring' && this.highWatermark - this.position > bulkFrom) {
      this.#load = this.store.bulkLoad()
      return this.#load
    }
    this.#batch ??= this.store.writer()
    return this.#batch
  }

  /** The store has the chunk, and knows that it does. */
  #applied(chunk: ChunkPort): void {
    const recovered = this.#state.at === 'restoring' && this.position >= this.#state.target
    if (recovered) this.#wallMs = this.#askedMs
    else if (this.#state.at === 'following' && this.position >= chunk.highWatermark) this.#wallMs = this.#now()
    const { position, leaderEpoch } = this
    const state = encodeStoreState({ topicId: this.#topicId, leaderEpoch, wallMs: this.#wallMs })
    if (this.#load !== undefined && recovered) {
      this.#load.finish({ position, state })
      this.#load = undefined
    } else if (this.#load !== undefined) this.#load.advance({ position, state })
    else this.#batch?.commit({ position, state })
    this.#batch = undefined
  }

  fail(error: unknown): void {
    if (this.#state.at === 'closed' || this.#state.at === 'failed') return
    this.#state = { at: 'failed', error }
    this.#recovered.reject(error)
    this.#notify()
  }

  /** Ends the copy; the store stays open, it belongs to the registry. */
  close(reason: unknown): void {
    if (this.#state.at === 'closed') return
    this.#load?.abandon()
    this.#load = undefined
    this.#batch?.abandon()
    this.#batch = undefined
    this.#chunk = undefined
    this.#cursor = undefined
    this.#state = { at: 'closed' }
    this.#recovered.reject(reason)
    this.#listeners.clear()
  }

  #advanced(): void {
    if (this.#state.at === 'restoring' && this.position >= this.#state.target) {
      this.#state = { at: 'following', position: this.position }
      this.#recovered.resolve()
    }
    this.#notify()
  }

  #notify(): void {
    for (const listener of this.#listeners) listener()
  }
}
