/**
 * Cursor: where to read next in one partition, and what was read but not taken yet.
 * Owns the position, the state machine below, the buffered chunks and the pause flag of its partition.
 * Reads nothing. Is told of answers by its Source (fetch) and by Positions (reset, validation); never sends a request.
 * Buffered data is not a state of its own: the next fetch is in flight while earlier chunks wait (see `limit`).
 *
 *   awaitingReset ──────► usable ◄────► inFlight        seek, revoke: from everywhere
 *        ▲                 ▲  │            │            failed: rests until seek or revoke
 *        │                 │  ▼            │
 *        └──────── awaitingValidation ◄────┘  (the leader epoch changed: KIP-320)
 */
import { assert } from '../../base/assert.ts'
import type { Backoff } from '../../base/backoff.ts'
import type { MillraceError } from '../../base/errors.ts'
import type { Chunk, ChunkOwner, ReadSettings } from './chunk.ts'
import type { Feed } from './delivery.ts'
import type { PartitionError } from './errors.ts'
import type { ResetReason } from './events.ts'

export type CursorState =
  /** Just made: the first position is given in the same turn, or when the group's committed offset is known. */
  | { readonly at: 'unplaced' }
  /** Nothing is known: ask the leader where the log begins or ends. */
  | {
      readonly at: 'awaitingReset'
      readonly to: 'earliest' | 'latest'
      readonly why: ResetReason
      readonly from: number
    }
  /** The leader changed: ask whether its log still agrees with what was read below `offset`. */
  | { readonly at: 'awaitingValidation'; readonly offset: number }
  | { readonly at: 'usable'; readonly offset: number }
  | { readonly at: 'inFlight'; readonly offset: number }
  /** Rests. `told`: the error was thrown to the user. */
  | { readonly at: 'failed'; readonly offset: number; readonly error: MillraceError; readonly told: boolean }
  | { readonly at: 'revoked' }

export type CursorPlace = CursorState['at']

/** Allowed moves; a seek may lead from any state but `revoked` to the three a position can begin in. */
export const cursorEdges: Readonly<Record<CursorPlace, readonly CursorPlace[]>> = {
  unplaced: ['awaitingReset', 'awaitingValidation', 'usable', 'failed', 'revoked'],
  awaitingReset: ['awaitingReset', 'awaitingValidation', 'usable', 'failed', 'revoked'],
  awaitingValidation: ['awaitingReset', 'awaitingValidation', 'usable', 'failed', 'revoked'],
  usable: ['awaitingReset', 'awaitingValidation', 'usable', 'inFlight', 'failed', 'revoked'],
  inFlight: ['awaitingReset', 'awaitingValidation', 'usable', 'failed', 'revoked'],
  failed: ['awaitingReset', 'awaitingValidation', 'usable', 'failed', 'revoked'],
  revoked: [],
}

/** What a cursor's owner is told, synchronously. */
export interface CursorHost {
  /** The state changed; `cursor.state` is the new one. */
  entered(cursor: Cursor): void
  /** The cursor has something to deliver. */
  ready(cursor: Cursor): void
  /** A chunk was taken: there may be room for the next fetch. */
  drained(cursor: Cursor): void
}

export class Cursor implements Feed<Chunk>, ChunkOwner {
  readonly topic: string
  readonly partition: number
  /** Topic id its position belongs to; '' until metadata told. Written by the fleet. */
  topicId = ''
  /** Current leader epoch by metadata, -1 unknown. Written by the fleet. */
  leaderEpoch = -1
  /** Leader epoch of the last batch before the fetch position, -1 unknown. */
  offsetEpoch = -1
  highWatermark = -1
  lastStableOffset = -1
  logStartOffset = -1
  /** Everything below was processed by the user; -1: nothing to commit. */
  processed = -1
  /** Leader epoch that belongs to `processed`. */
  processedEpoch = -1
  /** Grows whenever answers to requests sent before become stale. */
  epoch = 0
  /** Grows with every seek and truncation: what was handed out before says nothing about the position any more. */
  lineage = 0
  bufferedBytes = 0
  /** The next batch is larger than a normal request allows; bytes. */
  wantsBytes = 0
  /** Not before this monotonic time is the next request of any kind made. */
  retryAt = 0
  /** Last monotonic time at which the partition was seen healthy; for the watchdog. */
  healthyAt = 0
  readonly backoff: Backoff
  #state: CursorState = { at: 'unplaced' }
  #paused = false
  #withheld = false
  #buffer: Chunk[] = []
  readonly #host: CursorHost
  readonly #settings: ReadSettings

  constructor(topic: string, partition: number, host: CursorHost, settings: ReadSettings, backoff: Backoff) {
    this.topic = topic
    this.partition = partition
    this.#host = host
    this.#settings = settings
    this.backoff = backoff
  }

  get state(): CursorState {
    return this.#state
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Whether `pull` has a chunk or an error to hand out. */
  get ready(): boolean {
    return (
      !this.#paused &&
      !this.#withheld &&
      (this.#buffer.length > 0 || (this.#state.at === 'failed' && !this.#state.told))
    )
  }

  /** Offset of the next record to be taken, -1 while unknown. */
  get position(): number {
    const first = this.#buffer[0]
    return first !== undefined ? first.from : this.fetchOffset
  }

  /** Offset of the next fetch, -1 while unknown. */
  get fetchOffset(): number {
    const state = this.#state
    return state.at === 'unplaced' || state.at === 'awaitingReset' || state.at === 'revoked' ? -1 : state.offset
  }

  // Verbs of the user

  /** Sets the position; buffered data is dropped. With a leader epoch the position is validated first if the leader changed since. */
  seek(offset: number, offsetEpoch: number): void {
    this.#forget()
    this.offsetEpoch = offsetEpoch
    if (offsetEpoch >= 0 && offsetEpoch !== this.leaderEpoch) this.#enter({ at: 'awaitingValidation', offset })
    else this.#enter({ at: 'usable', offset })
  }

  /** Drops position and buffer; the leader is asked for an end of the log. */
  reset(to: 'earliest' | 'latest', why: ResetReason): void {
    this.#forget()
    this.offsetEpoch = -1
    this.#enter({ at: 'awaitingReset', to, why, from: -1 })
  }

  pause(): void {
    this.#paused = true
  }

  /**
   * Copies what is buffered. A chunk is a part of a frame that other partitions share, and would keep all of it in memory
   * for as long as the partition is paused.
   */
  detach(): void {
    for (const chunk of this.#buffer) chunk.detach()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.ready) this.#host.ready(this)
  }

  /** Delivers nothing more; it is about to be revoked. */
  withhold(): void {
    this.#withheld = true
  }

  /** The end of this cursor; late answers and broken chunks meet a cursor that ignores them. */
  revoke(): void {
    if (this.#state.at === 'revoked') return
    this.#forget()
    this.#enter({ at: 'revoked' })
  }

  // What the fetch lane tells

  /** A request for `fetchOffset` goes out; its answer is for this cursor only while the returned epoch is `epoch`. */
  sent(): number {
    assert(this.#state.at === 'usable', 'a fetch for a cursor that is not usable')
    this.#enter({ at: 'inFlight', offset: this.#state.offset })
    return this.epoch
  }

  /** The answer: a chunk (or nothing new), and an error that comes after the chunk's last batch. */
  fetched(chunk: Chunk | undefined, failure: PartitionError | undefined): void {
    assert(this.#state.at === 'inFlight', 'an answer for a cursor without a fetch')
    const next = chunk === undefined ? this.#state.offset : chunk.nextOffset
    if (chunk !== undefined) {
      this.offsetEpoch = chunk.leaderEpoch
      this.wantsBytes = 0
      this.#buffer.push(chunk)
      this.bufferedBytes += chunk.byteLength
    }
    this.backoff.reset()
    if (failure === undefined) this.#enter({ at: 'usable', offset: next })
    else this.#enter({ at: 'failed', offset: next, error: failure, told: false })
    if (this.ready) this.#host.ready(this)
  }

  /** The request had no usable answer (transport, leader moved, …): the position stays, not before `retryAt` again. */
  unanswered(retryAt: number): void {
    this.retryAt = retryAt
    if (this.#state.at === 'inFlight') this.#enter({ at: 'usable', offset: this.#state.offset })
  }

  /** The position is not in the log. What is buffered stays readable. */
  lost(to: 'earliest' | 'latest', why: ResetReason): void {
    const from = this.fetchOffset
    this.epoch += 1
    this.offsetEpoch = -1
    this.#enter({ at: 'awaitingReset', to, why, from })
  }

  /** Rests with `error`, to be thrown after what is buffered. */
  fail(error: MillraceError): void {
    this.epoch += 1
    this.#enter({ at: 'failed', offset: this.fetchOffset, error, told: false })
    if (this.ready) this.#host.ready(this)
  }

  // What positions and the fleet tell

  /** The leader answered where its log begins or ends. */
  placed(offset: number, leaderEpoch: number): void {
    assert(this.#state.at === 'awaitingReset', 'an offset for a cursor that has one')
    this.backoff.reset()
    this.offsetEpoch = leaderEpoch
    this.#enter({ at: 'usable', offset })
  }

  /** The leader's log agrees with the position. */
  validated(): void {
    assert(this.#state.at === 'awaitingValidation', 'a validation nobody asked for')
    this.backoff.reset()
    this.#enter({ at: 'usable', offset: this.#state.offset })
  }

  /** The leader's log ends below the position: go on at `offset`, without what was buffered. */
  truncated(offset: number, offsetEpoch: number): void {
    const keep = Math.min(offset, this.position)
    this.#forget()
    this.backoff.reset()
    this.offsetEpoch = offsetEpoch
    this.#enter({ at: 'usable', offset: keep })
  }

  /** The partition has another leader, or the same in a new epoch. A fetch in flight is given up. */
  leaderChanged(leaderEpoch: number): void {
    const newer = leaderEpoch > this.leaderEpoch
    this.leaderEpoch = leaderEpoch
    const state = this.#state
    if (state.at !== 'usable' && state.at !== 'inFlight') return
    this.epoch += 1
    if (newer && this.offsetEpoch >= 0 && this.offsetEpoch !== leaderEpoch) {
      this.#enter({ at: 'awaitingValidation', offset: state.offset })
    } else if (state.at === 'inFlight') {
      this.#enter({ at: 'usable', offset: state.offset })
    }
  }

  // Delivery

  /** Next chunk, opened: checksums verified, control and aborted batches dropped. Throws the error the cursor rests with, once. */
  pull(): Chunk | undefined {
    const chunk = this.#buffer.shift()
    if (chunk === undefined) {
      const state = this.#state
      if (state.at !== 'failed' || state.told) return undefined
      this.#enter({ at: 'failed', offset: state.offset, error: state.error, told: true })
      throw state.error
    }
    this.bufferedBytes -= chunk.byteLength
    const error = chunk.open(this.#settings, this)
    if (error !== undefined) {
      const nothingReadable = chunk.nextOffset === chunk.from
      this.#restAt(error, nothingReadable)
      chunk.lineage = this.lineage
      if (nothingReadable) throw error
    }
    this.#host.drained(this)
    return chunk
  }

  putBack(rest: Chunk): void {
    this.#buffer.unshift(rest)
    this.bufferedBytes += rest.byteLength
    if (this.ready) this.#host.ready(this)
  }

  /** A batch of a chunk handed out in `lineage` cannot be read: back to it, and rest. The caller throws the error. */
  broken(lineage: number, error: PartitionError): boolean {
    if (lineage !== this.lineage || this.#state.at === 'revoked') return false
    this.#restAt(error, true)
    return true
  }

  /** The error that was just thrown to whoever read a chunk was not passed on: throw it again after what came before. */
  tellAgain(): void {
    const state = this.#state
    if (state.at !== 'failed' || !state.told) return
    this.#enter({ at: 'failed', offset: state.offset, error: state.error, told: false })
    if (this.ready) this.#host.ready(this)
  }

  /** The user is done with everything below `offset`, which came from a chunk handed out in `lineage`. */
  done(lineage: number, offset: number, leaderEpoch: number): void {
    if (lineage !== this.lineage) return
    this.processed = offset
    this.processedEpoch = leaderEpoch
  }

  /** Rests before an unreadable batch. What was processed below it stays processed. */
  #restAt(error: PartitionError, told: boolean): void {
    const { processed, processedEpoch } = this
    this.#forget()
    this.processed = processed
    this.processedEpoch = processedEpoch
    this.#enter({ at: 'failed', offset: error.offset, error, told })
    if (this.ready) this.#host.ready(this)
  }

  /** Drops the buffer; answers to earlier requests and late complaints of earlier chunks count no more. */
  #forget(): void {
    this.epoch += 1
    this.lineage += 1
    this.processed = -1
    this.processedEpoch = -1
    this.#buffer = []
    this.bufferedBytes = 0
    this.wantsBytes = 0
    this.retryAt = 0
  }

  /** The only assignment to the state. */
  #enter(next: CursorState): void {
    assert(cursorEdges[this.#state.at].includes(next.at), 'a cursor took a forbidden edge')
    this.#state = next
    this.#host.entered(this)
  }
}
