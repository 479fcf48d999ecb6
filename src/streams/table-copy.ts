/**
 * TableCopy: the local copy of one partition of a table topic, and how far it has got. It is filled from the changelog up
 * to a target offset (restoring) and, for joins, lookups and views, kept up to date from then on (following).
 * Owner of the store while it fills it: this object. The reader that feeds it is table-reader.ts.
 */
import { assert } from '../base/assert.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import type { BulkLoad, Store } from '../storage/index.ts'
import type { ChunkPort, CursorPort, TopicPartition } from './port.ts'

export type TableCopyState =
  | { readonly at: 'waiting' }
  | { readonly at: 'restoring'; readonly position: number; readonly target: number }
  | { readonly at: 'following'; readonly position: number }
  | { readonly at: 'failed'; readonly error: unknown }
  | { readonly at: 'closed' }

/** Records that are applied between two looks at the clock. */
const recordsPerLook = 512

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
  #state: TableCopyState = { at: 'waiting' }
  #recovered: Deferred = deferred(true)
  #chunk: ChunkPort | undefined
  #cursor: CursorPort | undefined
  #load: BulkLoad | undefined
  #checkpointState: Buffer
  readonly #listeners = new Set<() => void>()

  constructor(topic: string, partition: number, store: Store, checkpointState: Buffer) {
    this.topic = topic
    this.partition = partition
    this.store = store
    this.#checkpointState = checkpointState
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

  /** Begins at `position`; recovered once `target` is reached, which may be at once. */
  begin(position: number, target: number): void {
    assert(this.#state.at === 'waiting', 'a table copy began twice')
    this.position = position
    this.highWatermark = target
    this.#state = { at: 'restoring', position, target }
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
    this.#load ??= this.store.bulkLoad()
    const load = this.#load
    let left = recordsPerLook
    while (cursor.next()) {
      const keyFrom = Math.max(0, cursor.keyFrom)
      const keyTo = Math.max(keyFrom, cursor.keyTo)
      if (cursor.valueFrom < 0) load.delete(0, cursor.bytes, keyFrom, keyTo)
      else load.put(0, cursor.bytes, keyFrom, keyTo, cursor.bytes, cursor.valueFrom, cursor.valueTo)
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
    load.finish({ position: this.position, state: this.#checkpointState })
    this.#load = undefined
    this.#advanced()
    return true
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
