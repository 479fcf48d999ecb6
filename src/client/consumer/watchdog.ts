/**
 * Watchdog: notices partitions that silently stopped. Owns one timer and the set of partitions it has reported. It only
 * tells; whatever is wrong is retried by those who own it.
 */
import type { Scheduler } from '../../base/scope.ts'
import { Alarm } from './alarm.ts'
import type { Cursor } from './cursor.ts'
import type { ConsumerEvent } from './events.ts'

export class Watchdog {
  readonly #scheduler: Scheduler
  readonly #stallTimeoutMs: number
  readonly #cursors: () => Iterable<Cursor>
  readonly #isFull: (cursor: Cursor) => boolean
  readonly #tell: (event: ConsumerEvent) => void
  readonly #stalled = new Set<Cursor>()
  readonly #alarm: Alarm

  constructor(
    scheduler: Scheduler,
    stallTimeoutMs: number,
    cursors: () => Iterable<Cursor>,
    isFull: (cursor: Cursor) => boolean,
    tell: (event: ConsumerEvent) => void,
  ) {
    this.#scheduler = scheduler
    this.#stallTimeoutMs = stallTimeoutMs
    this.#cursors = cursors
    this.#isFull = isFull
    this.#tell = tell
    this.#alarm = new Alarm(scheduler, () => this.#look())
  }

  /** There is something to watch. */
  start(): void {
    this.#alarm.by(this.#scheduler.monotonic() + this.#stallTimeoutMs / 4)
  }

  close(): void {
    this.#alarm.clear()
    this.#stalled.clear()
  }

  #look(): void {
    const now = this.#scheduler.monotonic()
    let some = false
    for (const cursor of this.#cursors()) {
      some = true
      // Not fetched on purpose; a failed one has told its error.
      if (cursor.paused || cursor.state.at === 'failed' || this.#isFull(cursor)) cursor.healthyAt = now
      this.#judge(cursor, now)
    }
    for (const cursor of this.#stalled) if (cursor.state.at === 'revoked') this.#stalled.delete(cursor)
    if (some) this.start()
  }

  #judge(cursor: Cursor, now: number): void {
    const { topic, partition } = cursor
    const stalledMs = now - cursor.healthyAt
    if (stalledMs < this.#stallTimeoutMs) {
      if (this.#stalled.delete(cursor)) this.#tell({ type: 'partition-recovered', topic, partition, stalledMs })
    } else if (!this.#stalled.has(cursor)) {
      this.#stalled.add(cursor)
      this.#tell({ type: 'partition-stalled', topic, partition, stalledMs, state: cursor.state.at })
    }
  }
}
