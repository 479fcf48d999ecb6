/**
 * Metadata: the only one who asks the cluster for its topics and leaders, and the only one who changes the view.
 * Owns   the current ClusterView, the topics that are followed, the loop that refreshes.
 * Tells  listeners of a new view synchronously: whoever holds partitions moves them between brokers in that one turn.
 * Requests are merged: at most one is in flight, and they start at least `metadataMinAgeMs` apart unless somebody waits
 * for a topic that was never asked for.
 */
import { Backoff } from '../base/backoff.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { ClosedError, describeError, MillraceError, TimeoutError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import type { TimerHandle } from '../base/scope.ts'
import { metadata as metadataApi } from '../protocol/api/metadata.ts'
import { BrokerError, errorCodes } from '../protocol/errors.ts'
import type { ResponseOf } from '../protocol/schema.ts'
import { ZERO_UUID } from '../protocol/uuid.ts'
import type { BrokerLinks } from './broker-link.ts'
import { ClusterView, type NodeView, type PartitionView } from './cluster-view.ts'

export interface MetadataOptions {
  readonly metadataMaxAgeMs: number
  readonly metadataMinAgeMs: number
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  readonly requestTimeoutMs: number
}

/** The first version of the request that does not create topics as a side effect. */
const firstWithoutCreation = 4
/** A topic that was required but is not tracked is forgotten after so many maximum ages. */
const idleAges = 2

interface Waiter {
  readonly topics: readonly string[]
  readonly done: Deferred<ClusterView>
}

/** What a client knows about the cluster, and how it is kept fresh. One per client. */
export class Metadata {
  readonly #links: BrokerLinks
  readonly #options: MetadataOptions
  readonly #backoff: Backoff
  #view = ClusterView.empty()
  /** Followed topics: how many track it, and when it was last required. */
  readonly #topics = new Map<string, { tracks: number; requiredAt: number }>()
  readonly #listeners = new Set<(view: ClusterView) => void>()
  /** Who asked since the last request started. */
  #why: string[] = []
  #waiters: Waiter[] = []
  #fetching = false
  #timer: TimerHandle | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #fetchedAt = Number.NEGATIVE_INFINITY
  #rebootstrap = false
  /** Why the latest request failed; undefined after a success. */
  #lastFailure: unknown
  #closed = false

  constructor(links: BrokerLinks, options: MetadataOptions) {
    this.#links = links
    this.#options = options
    this.#backoff = new Backoff(links.scope.random, options.retryBackoffMs, options.retryBackoffMaxMs)
  }

  /** What is believed now. Never waits. */
  get view(): ClusterView {
    return this.#view
  }

  /**
   * Resolves with a view in which each of `topics` was asked for at least once; a topic that does not exist is there
   * with its `error`. Retries while no broker answers: for ever, or for `timeoutMs`, then TimeoutError. Rejects with
   * ClosedError, or with errors that no retry can mend (authorization of the cluster, versions).
   */
  require(topics: readonly string[], timeoutMs?: number): Promise<ClusterView> {
    if (this.#closed) return Promise.reject(new ClosedError('the client'))
    for (const topic of topics) if (typeof topic !== 'string') return Promise.reject(noTopicName(topic))
    const now = this.#now()
    let known = this.#view.version > 0
    for (const topic of topics) {
      const entry = this.#topics.get(topic)
      if (entry === undefined) this.#topics.set(topic, { tracks: 0, requiredAt: now })
      else entry.requiredAt = now
      if (this.#view.topic(topic) === undefined) known = false
    }
    if (known) return Promise.resolve(this.#view)
    return this.#wait(topics, 'required', timeoutMs)
  }

  /** Asks for a refresh soon. `why` is told to the observer: 'NOT_LEADER_OR_FOLLOWER from broker 2, orders/7'. */
  refresh(why: string): void {
    if (this.#closed) return
    if (this.#why.length < 16) this.#why.push(why)
    this.#schedule()
  }

  /** Asks for a refresh and resolves with the view of a request that started after this call. `timeoutMs` as in `require`. */
  refreshed(why: string, timeoutMs?: number): Promise<ClusterView> {
    if (this.#closed) return Promise.reject(new ClosedError('the client'))
    return this.#wait([], why, timeoutMs)
  }

  /**
   * A broker that refused a request named the new leader (KIP-951): believed if its epoch is newer than ours. `nodes`:
   * brokers that the answer introduced.
   */
  learnLeader(topic: string, partition: PartitionView, nodes: readonly NodeView[]): void {
    if (this.#closed || partition.leader < 0) return
    const next = this.#view.withLeader(topic, partition, nodes)
    if (next === this.#view) return
    for (const node of nodes) this.#links.learn(node.id, node.host, node.port)
    if (this.#links.node(partition.leader) === undefined) return
    this.#show(next, [`${topic}/${partition.index} is led by broker ${partition.leader}`])
  }

  /** Follows a topic until `untrack` was called as often. */
  track(topic: string): void {
    if (typeof topic !== 'string') throw noTopicName(topic)
    const entry = this.#topics.get(topic)
    if (entry !== undefined) entry.tracks += 1
    else this.#topics.set(topic, { tracks: 1, requiredAt: this.#now() })
    if (this.#view.topic(topic) === undefined) this.refresh(`topic ${topic} is followed`)
  }

  /** Undoes one `track`. */
  untrack(topic: string): void {
    const entry = this.#topics.get(topic)
    if (entry !== undefined && entry.tracks > 0) entry.tracks -= 1
  }

  /** Calls `listener` synchronously with each new view. Returns how to stop it. */
  onChange(listener: (view: ClusterView) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Ends the refreshing; waits reject with ClosedError. */
  close(): void {
    this.#closed = true
    this.#clearTimer()
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter.done.reject(new ClosedError('the client'))
    this.#listeners.clear()
  }

  #now(): number {
    return this.#links.scope.scheduler.monotonic()
  }

  #wait(topics: readonly string[], why: string, timeoutMs: number | undefined): Promise<ClusterView> {
    const done = deferred<ClusterView>()
    this.#waiters.push({ topics, done })
    this.refresh(why)
    if (timeoutMs === undefined) return done.promise
    const { scheduler } = this.#links.scope
    const timer = scheduler.setTimer(timeoutMs, () => done.reject(this.#waitedTooLong(timeoutMs)))
    return done.promise.finally(() => scheduler.clearTimer(timer))
  }

  #waitedTooLong(timeoutMs: number): TimeoutError {
    const last = this.#lastFailure === undefined ? 'it is still asked' : `last: ${describeError(this.#lastFailure)}`
    return new TimeoutError(
      `the cluster could not be asked within ${Math.round(timeoutMs)} ms; ${last}`,
      this.#lastFailure,
    )
  }

  /** Arms the timer for the next request: now, at the minimum age, or at the maximum age. */
  #schedule(): void {
    if (this.#fetching || this.#closed) return
    const wanted = this.#why.length > 0
    if (!wanted && this.#topics.size === 0) return
    const unseen = this.#waiters.some((waiter) => waiter.topics.some((topic) => this.#view.topic(topic) === undefined))
    const ageMs = wanted ? this.#options.metadataMinAgeMs : this.#options.metadataMaxAgeMs
    const at = unseen && this.#backoff.attempts === 0 ? this.#now() : this.#fetchedAt + ageMs
    this.#wakeAt(at)
  }

  #wakeAt(at: number): void {
    if (at >= this.#timerAt) return
    this.#clearTimer()
    const { scheduler } = this.#links.scope
    this.#timerAt = at
    this.#timer = scheduler.setTimer(Math.max(0, at - scheduler.monotonic()), () => {
      this.#timer = undefined
      this.#timerAt = Number.POSITIVE_INFINITY
      void this.#fetch()
    })
  }

  #clearTimer(): void {
    if (this.#timer !== undefined) this.#links.scope.scheduler.clearTimer(this.#timer)
    this.#timer = undefined
    this.#timerAt = Number.POSITIVE_INFINITY
  }

  async #fetch(): Promise<void> {
    if (this.#fetching || this.#closed) return
    this.#clearTimer()
    this.#fetching = true
    const why = this.#why
    const waiters = this.#waiters
    this.#why = []
    this.#waiters = []
    this.#forgetIdle(waiters)
    try {
      const response = await this.#ask()
      if (this.#closed) throw new ClosedError('the client')
      this.#backoff.reset()
      this.#lastFailure = undefined
      this.#fetchedAt = this.#now()
      this.#fetching = false
      this.#install(response, why)
      for (const waiter of waiters) waiter.done.resolve(this.#view)
      this.#schedule()
    } catch (cause) {
      this.#fetching = false
      this.#failed(cause, waiters, why)
    }
  }

  async #ask(): Promise<ResponseOf<typeof metadataApi>> {
    const topics = [...this.#topics.keys()].map((name) => ({ topicId: ZERO_UUID, name }))
    const response = await this.#links.any(
      metadataApi,
      { topics, allowAutoTopicCreation: false },
      { lane: 'control', timeoutMs: this.#options.requestTimeoutMs, minVersion: firstWithoutCreation },
      this.#rebootstrap,
    )
    this.#rebootstrap = response.errorCode === errorCodes.REBOOTSTRAP_REQUIRED
    if (this.#rebootstrap) {
      const message = 'the brokers say that they are another cluster now: the addresses of `brokers` are asked again'
      throw new MillraceError('REBOOTSTRAP_REQUIRED', message, { retriable: true })
    }
    if (response.errorCode !== 0) throw new BrokerError(response.errorCode, 'Metadata')
    return response
  }

  #install(response: ResponseOf<typeof metadataApi>, why: readonly string[]): void {
    const nodes = response.brokers.map(({ nodeId, host, port, rack }) => ({ id: nodeId, host, port, rack }))
    const topics = response.topics.map((topic) => ({
      errorCode: topic.errorCode,
      name: topic.name ?? '',
      id: topic.topicId,
      partitions: topic.partitions.map(({ partitionIndex, leaderId, leaderEpoch }) => ({
        index: partitionIndex,
        leader: leaderId,
        leaderEpoch,
      })),
    }))
    const { clusterId, controllerId } = response
    const news = { clusterId, controller: controllerId, nodes, topics }
    for (const node of nodes) this.#links.learn(node.id, node.host, node.port)
    this.#show(
      this.#view.merge(news, (topic) => this.#topics.has(topic)),
      why,
    )
  }

  #show(view: ClusterView, why: readonly string[]): void {
    this.#view = view
    notify(this.#links.context.onEvent, { type: 'metadata', version: this.#view.version, why })
    for (const listener of [...this.#listeners]) listener(this.#view)
  }

  #failed(cause: unknown, waiters: readonly Waiter[], why: readonly string[]): void {
    if (this.#closed || !(cause instanceof MillraceError) || !cause.retriable) {
      for (const waiter of waiters) waiter.done.reject(this.#closed ? new ClosedError('the client') : cause)
      this.#fetchedAt = this.#now()
      if (!this.#closed) this.#schedule()
      return
    }
    this.#lastFailure = cause
    const retryInMs = this.#backoff.next()
    notify(this.#links.context.onEvent, {
      type: 'metadataFailed',
      attempt: this.#backoff.attempts,
      retryInMs,
      error: cause instanceof Error ? cause : new Error(describeError(cause)),
    })
    this.#why = [...why, ...this.#why].slice(0, 16)
    if (this.#why.length === 0) this.#why.push('retry')
    this.#waiters = [...waiters, ...this.#waiters]
    this.#wakeAt(this.#now() + retryInMs)
  }

  #forgetIdle(waiters: readonly Waiter[]): void {
    const before = this.#now() - idleAges * this.#options.metadataMaxAgeMs
    for (const [topic, entry] of this.#topics) {
      if (entry.tracks > 0 || entry.requiredAt >= before) continue
      if (!waiters.some(({ topics }) => topics.includes(topic))) this.#topics.delete(topic)
    }
  }
}

/** One such name in the list of what is asked for would spoil every later request. */
function noTopicName(given: unknown): MillraceError {
  return new MillraceError(
    'ERR_TOPIC_NAME',
    `a topic's name must be a string, not ${given === null ? 'null' : typeof given}`,
  )
}
