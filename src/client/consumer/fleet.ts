/**
 * Fleet: which source has which cursor. Owns the sources and the placement; follows the cluster's picture and moves all
 * cursors whose leader moved in one synchronous turn, so that a half-moved state is never visible.
 */
import { Backoff } from '../../base/backoff.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { Alarm } from './alarm.ts'
import type { Cursor } from './cursor.ts'
import { PartitionRefusedError, TopicRecreatedError } from './errors.ts'
import { Source, type SourceContext } from './source.ts'

export class Fleet {
  readonly #context: SourceContext
  readonly #sources = new Map<number, Source>()
  readonly #place = new Map<Cursor, Source | undefined>()
  readonly #alarm: Alarm
  readonly #backoff: Backoff
  readonly #forgetMetadata: () => void
  /** How many cursors have no leader to fetch from. */
  #homeless = 0

  constructor(context: SourceContext) {
    const { scope, metadata } = context.port
    this.#context = context
    this.#alarm = new Alarm(scope.scheduler, () => this.#seek())
    this.#backoff = new Backoff(scope.random, context.options.retryBackoffMs, context.options.retryBackoffMaxMs)
    this.#forgetMetadata = metadata.onChange(() => this.#follow())
  }

  /** Learns leader and topic id of a new cursor. Call `poke` after its position is set. */
  add(cursor: Cursor): void {
    this.#place.set(cursor, undefined)
    this.#homeless += 1
    this.#settle(cursor)
    this.#watchHomeless()
  }

  remove(cursor: Cursor): void {
    const source = this.#place.get(cursor)
    if (source === undefined && this.#place.has(cursor)) this.#homeless -= 1
    this.#place.delete(cursor)
    source?.remove(cursor)
    this.#dropIfEmpty(source)
  }

  /** Node id of the leader, -1 while there is none. */
  leaderOf(cursor: Cursor): number {
    return this.#place.get(cursor)?.node ?? -1
  }

  poke(cursor: Cursor): void {
    this.#place.get(cursor)?.poke()
  }

  /** The cursor was paused or full and is not any more. */
  included(cursor: Cursor): void {
    this.#place.get(cursor)?.included()
  }

  close(): void {
    this.#forgetMetadata()
    this.#alarm.clear()
    for (const source of this.#sources.values()) source.close()
    this.#sources.clear()
    this.#place.clear()
  }

  #follow(): void {
    for (const cursor of [...this.#place.keys()]) this.#settle(cursor)
    this.#watchHomeless()
  }

  /** Brings one cursor in line with the picture. */
  #settle(cursor: Cursor): void {
    const topic = this.#context.port.metadata.view.topic(cursor.topic)
    const info = topic?.partitions[cursor.partition]
    const before = this.#place.get(cursor)
    const source = info === undefined || info.leader < 0 ? undefined : this.#sourceOf(info.leader)
    if (topic !== undefined && info !== undefined && topic.id !== ZERO_UUID && topic.id !== cursor.topicId) {
      const recreated = cursor.topicId !== ''
      cursor.topicId = topic.id
      if (recreated) this.#recreated(cursor)
    }
    if (source !== before) {
      before?.remove(cursor)
      this.#place.set(cursor, source)
      this.#homeless += (source === undefined ? 1 : 0) - (before === undefined ? 1 : 0)
      this.#dropIfEmpty(before)
    }
    if (info !== undefined && (source !== before || info.leaderEpoch !== cursor.leaderEpoch)) {
      cursor.leaderChanged(info.leaderEpoch)
    }
    if (source !== before) source?.add(cursor)
    const error = topic?.error
    if (error === 'INVALID_TOPIC_EXCEPTION' || error === 'TOPIC_AUTHORIZATION_FAILED') this.#refused(cursor, error)
  }

  /** Waiting would be for ever: the user is told, once until the next seek. */
  #refused(cursor: Cursor, error: string): void {
    if (cursor.state.at === 'failed') return
    const { topic, partition, position: offset } = cursor
    cursor.fail(new PartitionRefusedError(error, 'tell the leader of', { topic, partition, offset }))
  }

  #recreated(cursor: Cursor): void {
    const { topic, partition, position: offset } = cursor
    cursor.leaderEpoch = -1
    if (offset >= 0) {
      this.#context.policy.positionLost(
        cursor,
        'recreated',
        () => new TopicRecreatedError({ topic, partition, offset }),
      )
    }
  }

  #sourceOf(node: number): Source {
    let source = this.#sources.get(node)
    if (source === undefined) {
      source = new Source(node, this.#context)
      this.#sources.set(node, source)
    }
    return source
  }

  #dropIfEmpty(source: Source | undefined): void {
    if (source === undefined || source.size > 0) return
    source.close()
    this.#sources.delete(source.node)
  }

  /** Somebody has no leader: keep asking. */
  #watchHomeless(): void {
    if (this.#homeless === 0) {
      this.#backoff.reset()
      this.#alarm.clear()
    } else {
      this.#alarm.by(this.#context.port.scope.scheduler.monotonic() + this.#backoff.next())
    }
  }

  #seek(): void {
    for (const [cursor, source] of this.#place) {
      if (source !== undefined) continue
      this.#context.policy.refreshMetadata(`${cursor.topic}/${cursor.partition} has no known leader`)
      break
    }
    this.#watchHomeless()
  }
}
