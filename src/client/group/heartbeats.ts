/**
 * Heartbeats: keep a member alive from a timer of their own, whatever its owner does. Owns the timer, the requests in
 * flight and the times the session is judged by. Only a tick that ran on time concludes anything from silence: after the
 * process stood still (stopped, debugged, a long synchronous computation) answers may be waiting to be read, so the late
 * tick just sends the next heartbeat.
 */
import { Backoff } from '../../base/backoff.ts'
import { MillraceError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import type { TimerHandle } from '../../base/scope.ts'
import { heartbeat } from '../../protocol/api/heartbeat.ts'
import { BrokerError, errorCodes } from '../../protocol/errors.ts'
import type { ClientPort } from '../consumer/port.ts'
import type { Coordinator } from './coordinator.ts'
import { fatalGroupError, type GroupError } from './errors.ts'
import type { GroupMetadata } from './membership.ts'
import type { ResolvedGroupOptions } from './options.ts'

/** Why a membership must change. */
export type HeartbeatVerdict =
  | { readonly kind: 'rebalance'; readonly why: string }
  /** `keepId`: the member id is still good, only the generation is over. */
  | { readonly kind: 'lost'; readonly why: string; readonly keepId: boolean }
  | { readonly kind: 'fatal'; readonly error: GroupError }

export class Heartbeats {
  /** See GroupMembership. */
  lastSentAt = Number.NEGATIVE_INFINITY
  readonly #port: ClientPort
  readonly #coordinator: Coordinator
  readonly #options: ResolvedGroupOptions
  readonly #identity: () => GroupMetadata
  readonly #verdict: (verdict: HeartbeatVerdict) => void
  readonly #backoff: Backoff
  #timer: TimerHandle | undefined
  #dueAt = 0
  #running = false
  #inFlight = 0
  /** The session cannot have ended before this plus the session time-out. */
  #aliveAt = Number.NEGATIVE_INFINITY

  constructor(
    port: ClientPort,
    coordinator: Coordinator,
    options: ResolvedGroupOptions,
    identity: () => GroupMetadata,
    verdict: (verdict: HeartbeatVerdict) => void,
  ) {
    this.#port = port
    this.#coordinator = coordinator
    this.#options = options
    this.#identity = identity
    this.#verdict = verdict
    this.#backoff = new Backoff(
      port.scope.random,
      options.retryBackoffMs,
      Math.max(options.retryBackoffMs, Math.min(options.retryBackoffMaxMs, options.heartbeatIntervalMs)),
    )
  }

  /** A join or sync sent at `sentAt` was answered just now. */
  answered(sentAt: number): void {
    this.lastSentAt = Math.max(this.lastSentAt, sentAt)
    this.#aliveAt = this.#now()
  }

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#backoff.reset()
    this.#schedule(this.#options.heartbeatIntervalMs)
  }

  stop(): void {
    this.#running = false
    if (this.#timer !== undefined) this.#port.scope.scheduler.clearTimer(this.#timer)
    this.#timer = undefined
  }

  /** The membership is over: nothing that was answered before says anything. */
  forget(): void {
    this.stop()
    this.lastSentAt = Number.NEGATIVE_INFINITY
    this.#aliveAt = Number.NEGATIVE_INFINITY
  }

  /** Sends one; rejects when it is not answered, or by a coordinator that does not know the member. */
  async now(): Promise<void> {
    const identity = this.#identity()
    const { scheduler } = this.#port.scope
    const { sessionTimeoutMs, heartbeatIntervalMs } = this.#options
    const sentAt = scheduler.monotonic()
    this.#inFlight += 1
    let errorCode: number
    try {
      const { groupId, generation, memberId, instanceId } = identity
      const response = await this.#coordinator.request(
        heartbeat,
        { groupId, generationId: generation, memberId, groupInstanceId: instanceId },
        // A dead connection must be found in time for a second try within the session.
        { lane: 'control', timeoutMs: Math.max(heartbeatIntervalMs, Math.floor(sessionTimeoutMs / 3)) },
      )
      errorCode = response.errorCode
    } finally {
      this.#inFlight -= 1
    }
    this.#judge(errorCode, identity, sentAt)
  }

  /** What an answer means. Throws when it is no proof of life. */
  #judge(errorCode: number, sent: GroupMetadata, sentAt: number): void {
    const current = this.#identity()
    const error = (): BrokerError => new BrokerError(errorCode, `heartbeat in group ${sent.groupId}`)
    if (sent.memberId !== current.memberId || sent.generation !== current.generation) {
      if (errorCode === 0 || errorCode === errorCodes.REBALANCE_IN_PROGRESS) return
      throw error()
    }
    if (errorCode === 0 || errorCode === errorCodes.REBALANCE_IN_PROGRESS) {
      this.lastSentAt = Math.max(this.lastSentAt, sentAt)
      this.#aliveAt = Math.max(this.#aliveAt, sentAt)
      if (errorCode !== 0) this.#verdict({ kind: 'rebalance', why: 'the group rebalances' })
      return
    }
    if (this.#coordinator.isAway(errorCode)) throw error()
    const fatal = fatalGroupError(errorCode, sent.groupId)
    if (fatal !== undefined) {
      this.#verdict({ kind: 'fatal', error: fatal })
      throw fatal
    }
    if (errorCode === errorCodes.UNKNOWN_MEMBER_ID || errorCode === errorCodes.ILLEGAL_GENERATION) {
      const keepId = errorCode === errorCodes.ILLEGAL_GENERATION
      this.#verdict({ kind: 'lost', why: error().code, keepId })
    }
    throw error()
  }

  #tick(): void {
    const now = this.#now()
    const { heartbeatIntervalMs, sessionTimeoutMs, groupId, onEvent } = this.#options
    const gapMs = now - this.#dueAt
    const onTime = gapMs < Math.max(heartbeatIntervalMs, 500)
    if (!onTime) notify(onEvent, { type: 'stalled-process', groupId, gapMs })
    if (onTime && now - this.#aliveAt >= sessionTimeoutMs) {
      this.#verdict({ kind: 'lost', why: `no heartbeat was answered for ${sessionTimeoutMs} ms`, keepId: true })
      return
    }
    this.#schedule(heartbeatIntervalMs)
    if (this.#inFlight > 0 && onTime) return
    this.now().then(
      () => this.#backoff.reset(),
      (cause: unknown) => this.#failed(cause),
    )
  }

  #failed(cause: unknown): void {
    if (!this.#running) return
    const delayMs = this.#backoff.next()
    const { groupId, onEvent } = this.#options
    notify(onEvent, { type: 'retry', groupId, doing: 'Heartbeat', attempt: this.#backoff.attempts, delayMs, cause })
    if (!(cause instanceof MillraceError)) throw cause
    if (this.#dueAt - this.#now() > delayMs) this.#schedule(delayMs)
  }

  #schedule(delayMs: number): void {
    const { scheduler } = this.#port.scope
    if (this.#timer !== undefined) scheduler.clearTimer(this.#timer)
    this.#dueAt = scheduler.monotonic() + delayMs
    this.#timer = scheduler.setTimer(delayMs, () => {
      this.#timer = undefined
      this.#tick()
    })
  }

  #now(): number {
    return this.#port.scope.scheduler.monotonic()
  }
}
