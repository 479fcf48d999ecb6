/**
 * Reading: the parts of a consumer under one roof. Owns the cursors by partition and what they share (sources,
 * positions, delivery, watchdog), decides resets by `startFrom`. Knows no groups and no commits: consumer.ts adds those.
 */
import { Backoff } from '../../base/backoff.ts'
import { describeError, MillraceError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import type { Resolved } from '../../base/options.ts'
import { Alarm } from './alarm.ts'
import type { AnswerPolicy } from './answer.ts'
import type { Chunk, ReadSettings } from './chunk.ts'
import { Cursor, type CursorHost } from './cursor.ts'
import { Delivery } from './delivery.ts'
import { NoOffsetError, type PartitionError } from './errors.ts'
import type { ConsumerEvent, ResetReason } from './events.ts'
import { Fleet } from './fleet.ts'
import type { ConsumerOptions } from './options.ts'
import { PartitionMap, type TopicPartition } from './partition-map.ts'
import type { ClientPort } from './port.ts'
import { Positions } from './positions.ts'
import { Watchdog } from './watchdog.ts'

/** Where a partition is to start. Without an offset `startFrom` decides. */
export interface StartingPoint extends TopicPartition {
  /** Of the first record wanted. */
  readonly offset?: number | 'earliest' | 'latest'
  /** Leader epoch of the record before `offset`, if known: a log that was truncated since is noticed. */
  readonly leaderEpoch?: number
}

/** Pauses up to this, milliseconds, are the user's way of slowing down: not worth a copy of what is buffered. */
const shortPauseMs = 1_000

export class Reading implements CursorHost, AnswerPolicy {
  readonly cursors = new PartitionMap<Cursor>()
  readonly delivery = new Delivery<Chunk>()
  readonly #port: ClientPort
  readonly #options: Resolved<ConsumerOptions>
  readonly #settings: ReadSettings
  readonly #fleet: Fleet
  readonly #positions: Positions
  readonly #watchdog: Watchdog
  readonly #detaching: Alarm
  readonly #unlisten: () => void
  readonly #crash: (cause: MillraceError) => void
  /** Unpaused partitions. */
  #active = 0

  constructor(
    port: ClientPort,
    options: Resolved<ConsumerOptions>,
    lanes: readonly [string, string],
    crash: (cause: MillraceError) => void,
  ) {
    const committedOnly = options.isolation === 'read_committed'
    this.#port = port
    this.#options = options
    this.#crash = crash
    this.#settings = {
      committedOnly,
      checkCrc: options.checkCrc,
      maxDecompressedBytes: options.maxDecompressedBytes,
    }
    const bug = (cause: unknown): void => this.#bug(cause)
    this.#fleet = new Fleet({
      port,
      lanes,
      policy: this,
      options,
      committedOnly,
      share: () => this.share,
      crash: bug,
    })
    this.#positions = new Positions({
      port,
      policy: this,
      committedOnly,
      followTruncation: options.startFrom !== 'error',
      leaderOf: (cursor) => this.#fleet.leaderOf(cursor),
      crash: bug,
    })
    this.#detaching = new Alarm(port.scope.scheduler, () => this.#detachPaused())
    // After the fleet: it has placed the cursors when positions are asked for.
    this.#unlisten = port.metadata.onChange(() => this.#positions.poke())
    this.#watchdog = new Watchdog(
      port.scope.scheduler,
      options.stallTimeoutMs,
      () => this.cursors.values(),
      (cursor) => this.#isFull(cursor),
      (event) => this.event(event),
    )
  }

  /** Bytes one unpaused partition may hold. */
  get share(): number {
    return Math.floor(this.#options.maxBufferedBytes / Math.max(1, this.#active))
  }

  /** Makes cursors without a position; `place` gives them one. Partitions that are there already are left out. */
  add(partitions: Iterable<TopicPartition>, isPaused: (p: TopicPartition) => boolean): Cursor[] {
    const { scope, metadata } = this.#port
    const added: Cursor[] = []
    for (const { topic, partition } of partitions) {
      if (this.cursors.has(topic, partition)) continue
      const { retryBackoffMs, retryBackoffMaxMs } = this.#options
      const backoff = new Backoff(scope.random, retryBackoffMs, retryBackoffMaxMs)
      const cursor = new Cursor(topic, partition, this, this.#settings, backoff)
      cursor.healthyAt = scope.scheduler.monotonic()
      if (isPaused({ topic, partition })) cursor.pause()
      else this.#active += 1
      if (!this.cursors.hasTopic(topic)) metadata.track(topic)
      this.cursors.set(topic, partition, cursor)
      this.#fleet.add(cursor)
      added.push(cursor)
    }
    if (added.length > 0) {
      this.#watchdog.start()
      this.delivery.wake()
    }
    return added
  }

  /** Gives a cursor its position: `offset`, an end of the log, or what `startFrom` says. */
  place(cursor: Cursor, offset: number | 'earliest' | 'latest' | undefined, leaderEpoch = -1): void {
    const { startFrom } = this.#options
    const { topic, partition } = cursor
    this.delivery.withdraw(cursor)
    if (typeof offset === 'number') cursor.seek(offset, leaderEpoch)
    else if (offset !== undefined) cursor.reset(offset, 'seek')
    else if (startFrom !== 'error') cursor.reset(startFrom, 'no-offset')
    else cursor.fail(new NoOffsetError({ topic, partition, offset: -1 }))
  }

  remove(partitions: Iterable<TopicPartition>): void {
    let removed = false
    for (const { topic, partition } of partitions) {
      const cursor = this.cursors.get(topic, partition)
      if (cursor === undefined) continue
      removed = true
      this.cursors.delete(topic, partition)
      this.delivery.withdraw(cursor)
      this.#fleet.remove(cursor)
      if (!cursor.paused) this.#active -= 1
      cursor.revoke()
      if (!this.cursors.hasTopic(topic)) this.#port.metadata.untrack(topic)
    }
    if (removed) this.delivery.wake()
  }

  pause(cursor: Cursor): void {
    if (cursor.paused) return
    cursor.pause()
    this.#active -= 1
    this.delivery.withdraw(cursor)
    this.#detaching.by(this.#port.scope.scheduler.monotonic() + shortPauseMs)
  }

  resume(cursor: Cursor): void {
    if (!cursor.paused) return
    this.#active += 1
    cursor.healthyAt = this.#port.scope.scheduler.monotonic()
    cursor.resume()
    this.#fleet.included(cursor)
  }

  /** Delivers nothing more of a partition that is about to go. */
  withhold(topic: string, partition: number): void {
    const cursor = this.cursors.get(topic, partition)
    if (cursor === undefined) return
    cursor.withhold()
    this.delivery.withdraw(cursor)
  }

  close(): void {
    this.#unlisten()
    this.#watchdog.close()
    this.#detaching.clear()
    this.#positions.close()
    this.#fleet.close()
    this.remove([...this.cursors.keys()])
  }

  // CursorHost

  entered(cursor: Cursor): void {
    const { state } = cursor
    if (state.at === 'usable') this.#fleet.poke(cursor)
    else if (state.at === 'awaitingReset' || state.at === 'awaitingValidation') this.#positions.watch(cursor)
    else if (state.at === 'failed' && !state.told) {
      const { topic, partition } = cursor
      this.event({ type: 'partition-failed', topic, partition, error: state.error })
    }
  }

  ready(cursor: Cursor): void {
    this.delivery.offer(cursor)
  }

  drained(cursor: Cursor): void {
    if (!this.#isFull(cursor)) this.#fleet.included(cursor)
  }

  // AnswerPolicy

  positionLost(cursor: Cursor, why: ResetReason, error: () => PartitionError): void {
    const { startFrom } = this.#options
    if (startFrom === 'error') cursor.fail(error())
    else cursor.lost(startFrom, why)
  }

  retryAt(cursor: Cursor): number {
    return this.#port.scope.scheduler.monotonic() + cursor.backoff.next()
  }

  refreshMetadata(why: string): void {
    this.#port.metadata.refresh(why)
  }

  event(event: ConsumerEvent): void {
    notify(this.#options.onEvent, event)
  }

  /** Whoever is still paused, and was when the alarm was set, stays so for long. */
  #detachPaused(): void {
    let expecting = false
    for (const cursor of this.cursors.values()) {
      if (!cursor.paused) continue
      cursor.detach()
      expecting ||= cursor.state.at === 'inFlight'
    }
    if (expecting) this.#detaching.by(this.#port.scope.scheduler.monotonic() + shortPauseMs)
  }

  #isFull(cursor: Cursor): boolean {
    return cursor.bufferedBytes * 2 > this.share
  }

  /** A step of ours threw: the consumer cannot go on. */
  #bug(cause: unknown): void {
    if (cause instanceof MillraceError) this.#crash(cause)
    else this.#crash(new MillraceError('ERR_INTERNAL', `millrace bug: ${describeError(cause)}`, { cause }))
  }
}
