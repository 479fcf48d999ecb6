/**
 * Source: the fetches from one broker. The next one goes out when an answer is here, before its data is consumed. Usually
 * one is in flight; a second, on a lane of its own, serves cursors that become ready while the first is a long poll for
 * others, which cannot be called back. Owns the requests in flight, the turn of its cursors, the backoff. Positions belong
 * to cursors. Idea: franz-go's source.
 */
import { Backoff } from '../../base/backoff.ts'
import { MillraceError } from '../../base/errors.ts'
import { Pump } from '../../base/pump.ts'
import { fetch } from '../../protocol/api/fetch.ts'
import { kafkaError, ProtocolError } from '../../protocol/errors.ts'
import type { RequestInput, ResponseOf } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { LaneName } from '../events.ts'
import { Alarm } from './alarm.ts'
import { applyAnswer, type AnswerPolicy } from './answer.ts'
import type { Cursor } from './cursor.ts'
import { PartitionMap } from './partition-map.ts'
import type { ClientPort } from './port.ts'

/** What all sources of a consumer share. */
export interface SourceContext {
  readonly port: ClientPort
  /** The usual lane, and the one beside it. */
  readonly lanes: readonly [LaneName, LaneName]
  readonly policy: AnswerPolicy
  readonly options: {
    readonly minBytes: number
    readonly maxWaitMs: number
    readonly maxBytes: number
    readonly maxPartitionBytes: number
    readonly retryBackoffMs: number
    readonly retryBackoffMaxMs: number
  }
  readonly committedOnly: boolean
  /** Bytes one partition may hold now. */
  share(): number
  crash(cause: unknown): void
}

interface Asked {
  readonly cursor: Cursor
  readonly epoch: number
}

type FetchPartition = RequestInput<typeof fetch>['topics'][number]['partitions'][number]

const lastVersionWithNames = 12

/** First wait of a fetch that leaves partitions out, milliseconds. */
const firstShortWaitMs = 8

export class Source {
  readonly node: number
  readonly #context: SourceContext
  /** In order of their turn: who was served goes to the end. */
  readonly #cursors = new Set<Cursor>()
  readonly #pump: Pump
  readonly #alarm: Alarm
  readonly #backoff: Backoff
  readonly #abort = new AbortController()
  /** Per lane: whether a fetch is under way. */
  readonly #inFlight = [false, false]
  #notBefore = 0
  /**
   * While both lanes long-poll, a partition that was paused or full and is ready again would have to wait. So a fetch on
   * the second lane that leaves one out waits shortly, and longer each time nothing came.
   */
  #shortWaitMs = firstShortWaitMs
  #closed = false

  constructor(node: number, context: SourceContext) {
    const { scope } = context.port
    this.node = node
    this.#context = context
    this.#pump = new Pump(() => this.#step(), context.crash)
    this.#alarm = new Alarm(scope.scheduler, () => this.#pump.poke())
    this.#backoff = new Backoff(scope.random, context.options.retryBackoffMs, context.options.retryBackoffMaxMs)
  }

  get size(): number {
    return this.#cursors.size
  }

  add(cursor: Cursor): void {
    this.#cursors.add(cursor)
    this.#pump.poke()
  }

  remove(cursor: Cursor): void {
    this.#cursors.delete(cursor)
  }

  /** A cursor may be fetched (again). */
  poke(): void {
    this.#pump.poke()
  }

  /** A cursor that was left out is wanted again. */
  included(): void {
    this.#shortWaitMs = firstShortWaitMs
    this.#pump.poke()
  }

  close(): void {
    this.#closed = true
    this.#alarm.clear()
    this.#abort.abort()
    this.#cursors.clear()
  }

  #step(): void {
    const lane = this.#inFlight.indexOf(false)
    if (this.#closed || lane < 0) return
    const now = this.#context.port.scope.scheduler.monotonic()
    if (now < this.#notBefore) {
      this.#alarm.by(this.#notBefore)
      return
    }
    const asked = new PartitionMap<Asked>()
    const partitions = new Map<string, FetchPartition[]>()
    let leftOut = false
    for (const cursor of this.#cursors) {
      if (cursor.state.at !== 'usable') continue
      if (cursor.retryAt > now) {
        this.#alarm.by(cursor.retryAt)
        continue
      }
      const partitionMaxBytes = cursor.paused ? 0 : this.#room(cursor)
      if (partitionMaxBytes === 0) {
        leftOut = true
        continue
      }
      const { topic, partition, fetchOffset } = cursor
      let list = partitions.get(topic)
      if (list === undefined) {
        list = []
        partitions.set(topic, list)
      }
      list.push({ partition, currentLeaderEpoch: cursor.leaderEpoch, fetchOffset, partitionMaxBytes })
      asked.set(topic, partition, { cursor, epoch: cursor.sent() })
    }
    if (asked.size > 0) void this.#send(lane, asked, partitions, leftOut && lane > 0)
  }

  /** How much to ask for; 0: the partition holds its share. Below half a share it may overshoot it by one batch at most. */
  #room(cursor: Cursor): number {
    const share = this.#context.share()
    if (cursor.bufferedBytes > 0 && cursor.bufferedBytes * 2 > share) return 0
    const room = Math.max(1, share - cursor.bufferedBytes)
    return Math.max(Math.min(this.#context.options.maxPartitionBytes, room), cursor.wantsBytes)
  }

  async #send(
    at: number,
    asked: PartitionMap<Asked>,
    partitions: Map<string, FetchPartition[]>,
    hurries: boolean,
  ): Promise<void> {
    const { port, lanes, options, committedOnly } = this.#context
    const ids = new Map<string, string>()
    const topics = [...partitions].map(([topic, list]) => {
      const topicId = port.metadata.view.topic(topic)?.id ?? ZERO_UUID
      if (topicId !== ZERO_UUID) ids.set(topicId, topic)
      return { topic, topicId, partitions: list }
    })
    const maxWaitMs = hurries ? Math.min(options.maxWaitMs, this.#shortWaitMs) : options.maxWaitMs
    const input = {
      maxWaitMs,
      minBytes: options.minBytes,
      maxBytes: options.maxBytes,
      isolationLevel: committedOnly ? 1 : 0,
      topics,
    }
    // From version 13 on a fetch names topics by id only.
    const maxVersion = ids.size === topics.length ? fetch.maxVersion : lastVersionWithNames
    this.#inFlight[at] = true
    try {
      const answer = await port.request(fetch, { node: this.node }, input, {
        lane: lanes[at]!,
        extraWaitMs: maxWaitMs,
        maxVersion,
        signal: this.#abort.signal,
      })
      this.#inFlight[at] = false
      if (this.#closed) return
      if (answer.errorCode !== 0) this.#failed(kafkaError(answer.errorCode).name, asked)
      else this.#answered(answer, asked, ids, hurries)
    } catch (cause) {
      this.#inFlight[at] = false
      if (this.#closed) return
      if (!isPassing(cause)) {
        this.#context.crash(cause)
        return
      }
      this.#failed(cause, asked)
    }
    this.#pump.poke()
  }

  #answered(
    response: ResponseOf<typeof fetch>,
    asked: PartitionMap<Asked>,
    ids: ReadonlyMap<string, string>,
    hurried: boolean,
  ): void {
    const { policy } = this.#context
    const now = this.#context.port.scope.scheduler.monotonic()
    this.#backoff.reset()
    let brought = false
    for (const topicAnswer of response.responses) {
      const topic = topicAnswer.topic === '' ? ids.get(topicAnswer.topicId) : topicAnswer.topic
      if (topic === undefined) continue
      for (const answer of topicAnswer.partitions) {
        const entry = asked.get(topic, answer.partitionIndex)
        if (entry === undefined) continue
        asked.delete(topic, answer.partitionIndex)
        const { cursor, epoch } = entry
        if (cursor.epoch !== epoch) continue
        if (!applyAnswer(cursor, answer, now, policy)) continue
        brought = true
        // Served: others come first in the next request, so that maxBytes is shared in turn.
        if (this.#cursors.delete(cursor)) this.#cursors.add(cursor)
      }
    }
    for (const { cursor, epoch } of asked.values()) {
      if (cursor.epoch === epoch) cursor.unanswered(policy.retryAt(cursor))
    }
    if (!hurried) return
    if (brought) this.#shortWaitMs = firstShortWaitMs
    else this.#shortWaitMs = Math.min(this.#shortWaitMs * 2, Math.max(1, this.#context.options.maxWaitMs))
  }

  #failed(cause: unknown, asked: PartitionMap<Asked>): void {
    const { policy } = this.#context
    const delayMs = this.#backoff.next()
    this.#notBefore = this.#context.port.scope.scheduler.monotonic() + delayMs
    for (const { cursor, epoch } of asked.values()) if (cursor.epoch === epoch) cursor.unanswered(0)
    policy.event({ type: 'fetch-failed', node: this.node, attempt: this.#backoff.attempts, delayMs, cause })
    policy.refreshMetadata(`a fetch from broker ${this.node} failed`)
  }
}

/** Whether trying again may help: what the network does, and bytes that were spoilt on the way. */
export function isPassing(cause: unknown): boolean {
  return cause instanceof MillraceError && (cause.retriable || cause instanceof ProtocolError)
}
