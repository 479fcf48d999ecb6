/**
 * Checkpoint: how what a task did becomes durable, at least once. A state machine that the task steps between records:
 *
 *   idle ─begin─► encoding ──► acknowledging ──► storing ──► committing ──► idle
 *                (changelog)   (all acks of       (store       (input
 *                               the cut)           batch)       offsets)
 *
 * 1 The cut holds whole records only, and its offsets are exactly those of its records. 2 One changelog record per dirty
 * key. 3 Every send of the cut is acknowledged: changelog, emits and loopbacks. 4 The store takes values and changelog
 * position in one batch, whatever becomes of the commit: it is never ahead of the acknowledged changelog. 5 The offsets
 * are committed; so a committed offset never passes a record whose effects are not acknowledged.
 * Exactly-once will commit before it stores; the order of the last two states is all that changes.
 * Owner of the state: this object; the task only calls `begin`, `step` and `abandon`.
 */
import { assert, unreachable } from '../base/assert.ts'
import type { MillraceError } from '../base/errors.ts'
import type { Changelog } from './changelog.ts'
import type { CommitOutcome } from './committer.ts'
import type { Entry } from './entries.ts'
import type { Sends } from './sends.ts'
import type { ChangelogWriter, TaskTable } from './task-table.ts'

export type CheckpointState = 'idle' | 'encoding' | 'acknowledging' | 'storing' | 'committing'

/** One table of the task with the changelog behind it. */
export interface TableOfTask {
  readonly table: TaskTable
  readonly changelog: Changelog
}

/** What a checkpoint needs of its task. */
export interface CheckpointHost {
  readonly tables: readonly TableOfTask[]
  /** Freezes the emits of the cut: returns their counter and begins a new one. */
  cutSends(): Sends
  /** Freezes the offsets of the cut. */
  cutPositions(): void
  /** Sends the frozen offsets; the outcome comes later, once. */
  commit(done: (outcome: CommitOutcome) => void): void
  /** The frozen offsets are committed. */
  committed(): void
  /** A send of the cut failed for good, or a value could not be encoded. */
  failed(error: MillraceError | unknown, entry: Entry | undefined): void
  /** The group rebalances: the frozen offsets are not committed now, and may be by the committer after the rejoin. */
  kept(): void
  lost(): void
  /** The producer's buffer is full: the task is woken when there is room. */
  producerFull(): void
  /** Names the topic the store belongs to: bytes of the store's checkpoint. */
  storeState(table: TableOfTask): Buffer
  /** Called when the machine comes back to idle. */
  idle(): void
}

/** Keys that are encoded or stored between two looks at the clock. */
const keysPerLook = 256

export class Checkpoint {
  #state: CheckpointState = 'idle'
  readonly #host: CheckpointHost
  #table = 0
  #sends: Sends | undefined
  #round = 0
  #room = true
  readonly #writers: ChangelogWriter[]

  constructor(host: CheckpointHost) {
    this.#host = host
    this.#writers = host.tables.map(({ changelog }) => (entry, keys, values, from, to) => {
      if (!changelog.append(entry.timestamp, keys, entry.keyFrom, entry.keyTo, values, from, to)) this.#room = false
    })
  }

  get state(): CheckpointState {
    return this.#state
  }

  /** Cuts: everything done so far belongs to this checkpoint, nothing later does. Only when idle. */
  begin(): void {
    assert(this.#state === 'idle', 'a checkpoint began before the last one ended')
    for (const { table, changelog } of this.#host.tables) {
      table.cut()
      changelog.cut()
    }
    this.#sends = this.#host.cutSends()
    this.#host.cutPositions()
    this.#table = 0
    this.#round += 1
    this.#state = 'encoding'
  }

  /** Forgets the checkpoint under way: the task ends without it. Answers that still come are ignored. */
  abandon(): void {
    this.#round += 1
    this.#state = 'idle'
    this.#sends = undefined
  }

  /**
   * Does what is possible until `late` says that the slice is over. True when there is more to do right now; false when it
   * is idle or waits for an event that will wake the task.
   */
  step(late: () => boolean): boolean {
    for (;;) {
      switch (this.#state) {
        case 'idle':
        case 'committing':
          return false
        case 'encoding':
          if (!this.#encode(late)) return this.#room && this.#state === 'encoding'
          break
        case 'acknowledging':
          if (!this.#acknowledged()) return false
          break
        case 'storing':
          if (!this.#store(late)) return true
          this.#commit()
          return false
        default:
          return unreachable(this.#state)
      }
    }
  }

  /** True when every table's changelog records are handed to the producer. */
  #encode(late: () => boolean): boolean {
    const { tables } = this.#host
    while (this.#table < tables.length) {
      const { table } = tables[this.#table]!
      try {
        this.#room = true
        const done = table.encodeSome(keysPerLook, this.#writers[this.#table]!)
        if (done) this.#table += 1
      } catch (error) {
        this.#host.failed(error, table.failing)
        return false
      }
      if (!this.#room) {
        this.#host.producerFull()
        return false
      }
      if (this.#table < tables.length && late()) return false
    }
    this.#state = 'acknowledging'
    return true
  }

  #acknowledged(): boolean {
    const sends = this.#sends
    assert(sends !== undefined, 'a checkpoint without a cut')
    let pending = sends.pending
    let failure = sends.failure
    for (const { changelog } of this.#host.tables) {
      pending += changelog.pending
      failure ??= changelog.failure
    }
    if (failure !== undefined) {
      this.#host.failed(failure, undefined)
      return false
    }
    if (pending > 0) return false
    this.#table = 0
    this.#state = 'storing'
    return true
  }

  #store(late: () => boolean): boolean {
    const { tables } = this.#host
    while (this.#table < tables.length) {
      const one = tables[this.#table]!
      if (one.table.storeSome(keysPerLook)) {
        one.table.retire(one.changelog.storePosition(), this.#host.storeState(one))
        this.#table += 1
      }
      if (this.#table < tables.length && late()) return false
    }
    return true
  }

  #commit(): void {
    this.#state = 'committing'
    const round = this.#round
    this.#host.commit((outcome) => {
      if (round !== this.#round) return
      this.#state = 'idle'
      switch (outcome.kind) {
        case 'committed':
          this.#host.committed()
          break
        case 'kept':
          this.#host.kept()
          break
        case 'lost':
          this.#host.lost()
          return
        case 'failed':
          this.#host.failed(outcome.error, undefined)
          return
        default:
          unreachable(outcome)
      }
      this.#host.idle()
    })
  }
}
