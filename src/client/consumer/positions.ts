/**
 * Positions: asks leaders where cursors should stand. Owns the look-ups in flight: ListOffsets for cursors that await a
 * reset, OffsetForLeaderEpoch (KIP-320) for those that await validation; one request per leader and kind at a time,
 * repeated for ever. The positions themselves belong to the cursors.
 */
import { describeError } from '../../base/errors.ts'
import { Pump } from '../../base/pump.ts'
import { listOffsets } from '../../protocol/api/list-offsets.ts'
import { offsetForLeaderEpoch } from '../../protocol/api/offset-for-leader-epoch.ts'
import { kafkaError } from '../../protocol/errors.ts'
import { Alarm } from './alarm.ts'
import type { AnswerPolicy } from './answer.ts'
import type { Cursor } from './cursor.ts'
import { LogTruncatedError, PartitionRefusedError } from './errors.ts'
import { byTopic, PartitionMap } from './partition-map.ts'
import type { ClientPort } from './port.ts'
import { isPassing } from './source.ts'

export interface PositionsContext {
  readonly port: ClientPort
  readonly policy: AnswerPolicy
  readonly committedOnly: boolean
  /** Go on at the point of divergence after a truncation, instead of resting with an error. */
  readonly followTruncation: boolean
  leaderOf(cursor: Cursor): number
  crash(cause: unknown): void
}

type Kind = 'list-offsets' | 'validate'

/** ListOffsets' special timestamps. */
const timestampOf = { latest: -1, earliest: -2 } as const
/** How long the broker may look in remote storage, milliseconds. */
const remoteTimeoutMs = 30_000
const undefinedEpoch = -1
const undefinedOffset = -1

export class Positions {
  readonly #context: PositionsContext
  readonly #waiting = new Set<Cursor>()
  /** Epoch of the cursor when its look-up was sent; the look-up is answered or stale. */
  readonly #asked = new Map<Cursor, number>()
  readonly #pump: Pump
  readonly #alarm: Alarm
  #closed = false

  constructor(context: PositionsContext) {
    this.#context = context
    this.#pump = new Pump(() => this.#step(), context.crash)
    this.#alarm = new Alarm(context.port.scope.scheduler, () => this.#pump.poke())
  }

  /** The cursor awaits a reset or a validation. */
  watch(cursor: Cursor): void {
    this.#waiting.add(cursor)
    this.#pump.poke()
  }

  /** Leaders are known now that were not before. */
  poke(): void {
    if (this.#waiting.size > 0) this.#pump.poke()
  }

  close(): void {
    this.#closed = true
    this.#waiting.clear()
    this.#asked.clear()
    this.#alarm.clear()
  }

  #step(): void {
    if (this.#closed) return
    const now = this.#context.port.scope.scheduler.monotonic()
    const groups = new Map<string, { node: number; kind: Kind; cursors: Cursor[] }>()
    for (const cursor of this.#waiting) {
      const kind = kindOf(cursor)
      if (kind === undefined) {
        this.#waiting.delete(cursor)
        continue
      }
      if (this.#asked.get(cursor) === cursor.epoch) continue
      const node = this.#context.leaderOf(cursor)
      if (node < 0) continue // the fleet looks for a leader, and pokes
      if (cursor.retryAt > now) {
        this.#alarm.by(cursor.retryAt)
        continue
      }
      if (kind === 'validate' && (cursor.offsetEpoch < 0 || cursor.offsetEpoch === cursor.leaderEpoch)) {
        cursor.validated()
        continue
      }
      const key = `${node} ${kind}`
      const group = groups.get(key)
      if (group === undefined) groups.set(key, { node, kind, cursors: [cursor] })
      else group.cursors.push(cursor)
      this.#asked.set(cursor, cursor.epoch)
    }
    for (const { node, kind, cursors } of groups.values()) void this.#ask(node, kind, cursors)
  }

  async #ask(node: number, kind: Kind, cursors: readonly Cursor[]): Promise<void> {
    const pending = new PartitionMap<{ readonly cursor: Cursor; readonly epoch: number }>()
    for (const cursor of cursors) pending.set(cursor.topic, cursor.partition, { cursor, epoch: cursor.epoch })
    const current = (topic: string, partition: number): Cursor | undefined => {
      const entry = pending.get(topic, partition)
      pending.delete(topic, partition)
      return entry !== undefined && entry.epoch === entry.cursor.epoch ? entry.cursor : undefined
    }
    let failure = 'no answer for the partition'
    try {
      if (kind === 'list-offsets') await this.#listOffsets(node, cursors, current)
      else await this.#validate(node, cursors, current)
    } catch (cause) {
      if (this.#closed) return
      if (!isPassing(cause)) {
        this.#context.crash(cause)
        return
      }
      failure = describeError(cause)
    }
    for (const cursor of cursors) this.#asked.delete(cursor)
    if (this.#closed) return
    for (const { cursor, epoch } of pending.values()) if (cursor.epoch === epoch) this.#again(cursor, kind, failure)
    this.#pump.poke()
  }

  async #listOffsets(node: number, cursors: readonly Cursor[], current: Current): Promise<void> {
    const topics = [...byTopic(cursors)].map(([name, list]) => ({
      name,
      partitions: list.map((cursor) => ({
        partitionIndex: cursor.partition,
        currentLeaderEpoch: cursor.leaderEpoch,
        timestamp: timestampOf[cursor.state.at === 'awaitingReset' ? cursor.state.to : 'latest'],
      })),
    }))
    const { port, committedOnly } = this.#context
    const input = { replicaId: -1, isolationLevel: committedOnly ? 1 : 0, topics, timeoutMs: remoteTimeoutMs }
    const response = await port.request(listOffsets, { node }, input, { lane: 'control', minVersion: 2 })
    for (const { name, partitions } of response.topics) {
      for (const answer of partitions) {
        const cursor = current(name, answer.partitionIndex)
        if (cursor === undefined || cursor.state.at !== 'awaitingReset') continue
        if (answer.errorCode !== 0) {
          this.#refused(cursor, 'list-offsets', answer.errorCode)
          continue
        }
        const { why, from } = cursor.state
        const { topic, partition } = cursor
        this.#context.policy.event({ type: 'position-reset', topic, partition, why, from, to: answer.offset })
        cursor.placed(answer.offset, answer.leaderEpoch)
      }
    }
  }

  async #validate(node: number, cursors: readonly Cursor[], current: Current): Promise<void> {
    const topics = [...byTopic(cursors)].map(([topic, list]) => ({
      topic,
      partitions: list.map((cursor) => ({
        partition: cursor.partition,
        currentLeaderEpoch: cursor.leaderEpoch,
        leaderEpoch: cursor.offsetEpoch,
      })),
    }))
    const input = { replicaId: -1, topics }
    const response = await this.#context.port.request(offsetForLeaderEpoch, { node }, input, { lane: 'control' })
    for (const { topic, partitions } of response.topics) {
      for (const answer of partitions) {
        const cursor = current(topic, answer.partition)
        if (cursor === undefined) continue
        if (answer.errorCode !== 0) this.#refused(cursor, 'validate', answer.errorCode)
        else this.#compare(cursor, answer.leaderEpoch, answer.endOffset)
      }
    }
  }

  /** The leader says where the epoch of our position ends in its log. */
  #compare(cursor: Cursor, leaderEpoch: number, endOffset: number): void {
    const { topic, partition, fetchOffset: offset } = cursor
    const { policy, followTruncation } = this.#context
    const error = (divergedAt: number) => (): LogTruncatedError =>
      new LogTruncatedError({ topic, partition, offset }, divergedAt)
    if (leaderEpoch === undefinedEpoch || endOffset === undefinedOffset) {
      policy.positionLost(cursor, 'truncated', error(-1))
    } else if (endOffset >= offset) {
      cursor.validated()
    } else if (followTruncation) {
      policy.event({ type: 'log-truncated', topic, partition, from: offset, to: endOffset })
      cursor.truncated(endOffset, leaderEpoch)
    } else {
      cursor.fail(error(endOffset)())
    }
  }

  #refused(cursor: Cursor, kind: Kind, errorCode: number): void {
    const error = kafkaError(errorCode)
    if (error.name === 'TOPIC_AUTHORIZATION_FAILED' || error.name === 'INVALID_TOPIC_EXCEPTION') {
      const { topic, partition, fetchOffset: offset } = cursor
      const doing = kind === 'validate' ? 'validate the position of' : 'look up offsets of'
      cursor.fail(new PartitionRefusedError(error.name, doing, { topic, partition, offset }))
    } else {
      this.#again(cursor, kind, error.name)
    }
  }

  #again(cursor: Cursor, kind: Kind, error: string): void {
    const { policy } = this.#context
    const { topic, partition } = cursor
    cursor.retryAt = policy.retryAt(cursor)
    policy.event({ type: 'partition-retry', doing: kind, topic, partition, error, attempt: cursor.backoff.attempts })
    policy.refreshMetadata(`${error} for ${kind} of ${topic}/${partition}`)
  }
}

type Current = (topic: string, partition: number) => Cursor | undefined

function kindOf(cursor: Cursor): Kind | undefined {
  const { at } = cursor.state
  return at === 'awaitingReset' ? 'list-offsets' : at === 'awaitingValidation' ? 'validate' : undefined
}
