/**
 * ClassicMembership: a member under the classic protocol with eager rebalances. Owns the member's identity (id,
 * generation), its state and its assignment; one loop walks through join, sync, assign, stable, revoke. Everything else
 * (heartbeats, metadata, the user) only leaves an interrupt behind and wakes the loop.
 *
 *   idle ─► joining ─► syncing ─► assigning ─► stable ─► revoking ─► joining …        leaving ─► left · failed
 *              ▲──────────┘          └───────────┴── lost ──────────────▲
 */
import { assert } from '../../base/assert.ts'
import { Backoff } from '../../base/backoff.ts'
import { type Deferred, deferred } from '../../base/deferred.ts'
import { ClosedError, MillraceError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import { sleep } from '../../base/scope.ts'
import { leaveGroup } from '../../protocol/api/leave-group.ts'
import { ConsumerUsageError } from '../consumer/errors.ts'
import type { TopicPartition } from '../consumer/partition-map.ts'
import type { ClientPort } from '../consumer/port.ts'
import { GroupOffsets } from './commit.ts'
import { Coordinator } from './coordinator.ts'
import { GroupError, listenerError } from './errors.ts'
import { Heartbeats, type HeartbeatVerdict } from './heartbeats.ts'
import { type Candidate, Joining, type JoinOutcome } from './joining.ts'
import { Leader } from './leader.ts'
import type {
  CommitResult,
  CommittedOffset,
  CommittedOptions,
  GroupMembership,
  GroupMetadata,
  MembershipState,
  OffsetToCommit,
} from './membership.ts'
import { type GroupOptions, type ResolvedGroupOptions, resolveGroupOptions } from './options.ts'

type Place = MembershipState['at']

/** Allowed moves. A fatal error and the user's leaving may come at any time. */
export const membershipEdges: Readonly<Record<Place, readonly Place[]>> = {
  idle: ['joining', 'left'],
  joining: ['joining', 'syncing', 'leaving', 'failed'],
  syncing: ['joining', 'assigning', 'leaving', 'failed'],
  assigning: ['stable', 'joining', 'revoking', 'leaving', 'failed'],
  stable: ['joining', 'revoking', 'leaving', 'failed'],
  revoking: ['joining', 'leaving', 'failed'],
  leaving: ['left', 'failed'],
  left: [],
  failed: [],
}

/** Why the loop must leave what it is doing; a loss outweighs a rebalance. */
type Interrupt = Exclude<HeartbeatVerdict, { kind: 'fatal' }>

interface Generation {
  readonly joined: Extract<JoinOutcome, { kind: 'joined' }>
  readonly partitions: readonly TopicPartition[]
}

export class ClassicMembership implements GroupMembership {
  readonly #port: ClientPort
  readonly #options: ResolvedGroupOptions
  readonly #coordinator: Coordinator
  readonly #joining: Joining
  readonly #lane: string
  readonly #leader: Leader
  readonly #heartbeats: Heartbeats
  readonly #offsets: GroupOffsets
  /** Ends a join, a sync, a pause between them. */
  readonly #round = new AbortController()
  /** Ends look-ups of committed offsets; they may still be needed while the last partitions are given up. */
  readonly #abort = new AbortController()
  #topics: readonly string[]
  #state: MembershipState = { at: 'idle' }
  #memberId = ''
  #generation = -1
  /** What this member owns now. */
  #assignment: readonly TopicPartition[] = []
  /** What it owned last, a hint for sticky assignors. */
  #lastAssignment: readonly TopicPartition[] = []
  #lastGeneration = -1
  #interrupt: Interrupt | undefined
  #fatal: MillraceError | undefined
  /** Resolved when an interrupt, a fatal error or the end came. */
  #poked: Deferred = deferred()
  /** How to end: undefined while the member stays. */
  #leaving: 'leave' | 'close' | undefined
  #loop: Promise<void> | undefined

  /** Throws OptionError. Does nothing before `join()`. */
  constructor(port: ClientPort, options: GroupOptions) {
    this.#port = port
    this.#options = resolveGroupOptions(options)
    this.#topics = [...new Set(this.#options.topics)]
    this.#coordinator = new Coordinator(port, this.#options.groupId)
    this.#lane = `join:${this.#options.groupId}:${port.scope.random.bytes(4).toString('hex')}`
    this.#joining = new Joining(this.#coordinator, this.#options, this.#lane)
    this.#leader = new Leader(port, this.#options, (why) => this.#hear({ kind: 'rebalance', why }))
    this.#heartbeats = new Heartbeats(
      port,
      this.#coordinator,
      this.#options,
      () => this.metadata(),
      (verdict) => this.#hear(verdict),
    )
    this.#offsets = new GroupOffsets(port, () => this.metadata(), this.#options)
  }

  // What others may see and ask

  get state(): MembershipState {
    return this.#state
  }

  get lastHeartbeatSentAt(): number {
    return this.#heartbeats.lastSentAt
  }

  metadata(): GroupMetadata {
    const { groupId, instanceId } = this.#options
    return { groupId, memberId: this.#memberId, generation: this.#generation, instanceId }
  }

  join(): void {
    if (this.#loop !== undefined || this.#leaving !== undefined) return
    if (this.#topics.length === 0) throw new ConsumerUsageError('a group member needs topics before it joins')
    this.#loop = this.#run()
  }

  subscribe(topics: readonly string[]): void {
    if (topics.length === 0) throw new ConsumerUsageError('subscribe needs at least one topic; use leave() to stop')
    this.#topics = [...new Set(topics)]
    this.#interruptBy({ kind: 'rebalance', why: 'the subscription changed' })
  }

  async heartbeatNow(): Promise<void> {
    if (this.#generation < 0)
      throw new GroupError('UNKNOWN_MEMBER_ID', this.#options.groupId, 'not a member at the moment')
    await this.#heartbeats.now()
  }

  async commitOnce(offsets: readonly OffsetToCommit[]): Promise<readonly CommitResult[]> {
    // Without an identity the coordinator would take the commit for one from outside any group, and believe it.
    if (this.#memberId === '' || this.#generation < 0) {
      return offsets.map(({ topic, partition }) => ({ topic, partition, error: 'UNKNOWN_MEMBER_ID' }))
    }
    return this.#offsets.commitOnce(offsets)
  }

  committed(
    partitions: readonly TopicPartition[],
    options: CommittedOptions = {},
  ): Promise<readonly CommittedOffset[]> {
    return this.#offsets.committed(partitions, { signal: this.#abort.signal, ...options })
  }

  leave(): Promise<void> {
    return this.#end('leave')
  }

  close(): Promise<void> {
    return this.#end('close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // The loop

  async #run(): Promise<void> {
    let why = 'the member starts'
    try {
      while (this.#leaving === undefined) {
        const generation = await this.#joinGeneration(why)
        if (generation === undefined) break
        await this.#assign(generation)
        why = await this.#stable(generation)
        await this.#giveUp(why)
      }
      await this.#depart()
    } catch (cause) {
      await this.#fail(
        cause instanceof MillraceError ? cause : listenerError(this.#options.groupId, 'the membership', cause),
      )
    }
  }

  /** Repeats join and sync until there is an assignment; undefined when the member is to leave. */
  async #joinGeneration(first: string): Promise<Generation | undefined> {
    const { random } = this.#port.scope
    const backoff = new Backoff(random, this.#options.retryBackoffMs, this.#options.retryBackoffMaxMs)
    const startedAt = this.#now()
    let why = first
    for (let attempt = 1; this.#leaving === undefined; attempt++) {
      this.#enter({ at: 'joining', why, attempt })
      this.#heartbeats.stop()
      this.#interrupt = undefined
      const outcome = await this.#tryOnce(why)
      if (this.#fatal !== undefined) throw this.#fatal
      if (this.#leaving !== undefined) return undefined
      if (outcome.kind === 'generation') {
        this.#tellRebalanced(outcome.generation, startedAt)
        return outcome.generation
      }
      if (outcome.cause instanceof MillraceError) why = `after ${outcome.cause.code}`
      if (outcome.atOnce && attempt % 4 !== 0) continue
      const delayMs = backoff.next()
      const { groupId, onEvent } = this.#options
      notify(onEvent, { type: 'retry', groupId, doing: 'JoinGroup', attempt, delayMs, cause: outcome.cause })
      await sleep(this.#port.scope, delayMs, this.#round.signal).catch(() => {})
    }
    return undefined
  }

  /** One join and sync. */
  async #tryOnce(why: string): Promise<RoundOutcome> {
    try {
      const candidate = this.#candidate(why)
      const joinSentAt = this.#now()
      const joined = await this.#joining.join(candidate, this.#round.signal)
      if (joined.kind === 'again') {
        this.#become(joined.memberId, -1)
        return { kind: 'again', atOnce: joined.atOnce, cause: joined.error }
      }
      this.#become(joined.memberId, joined.generation)
      this.#heartbeats.answered(joinSentAt)
      this.#heartbeats.start()
      this.#enter({ at: 'syncing', generation: joined.generation, leader: joined.leads })
      const assignments = await this.#lead(joined)
      const syncSentAt = this.#now()
      const synced = await this.#joining.sync(joined, assignments, this.#round.signal)
      if (synced.kind === 'again') {
        this.#become(synced.memberId, -1)
        return { kind: 'again', atOnce: synced.atOnce, cause: synced.error }
      }
      this.#heartbeats.answered(syncSentAt)
      const { partitions, userData } = synced
      joined.assignor.assigned?.({ partitions, userData }, joined.generation)
      return { kind: 'generation', generation: { joined, partitions } }
    } catch (cause) {
      // The transport failed, perhaps after the coordinator took us in: join again under the same id.
      if (cause instanceof MillraceError && (cause.retriable || this.#leaving !== undefined)) {
        this.#become(this.#memberId, -1)
        return { kind: 'again', atOnce: false, cause }
      }
      throw cause
    }
  }

  #candidate(why: string): Candidate {
    return {
      memberId: this.#memberId,
      topics: this.#topics,
      owned: this.#lastAssignment,
      ownedGeneration: this.#lastGeneration,
      why,
    }
  }

  /** The assignments to bring along: the leader's work, nothing for others. */
  async #lead(joined: Generation['joined']): Promise<readonly { memberId: string; assignment: Buffer }[]> {
    if (!joined.leads) {
      this.#leader.stop()
      return []
    }
    if (!joined.skipAssignment) return this.#leader.assign(joined.assignor, joined.members)
    await this.#leader.watch(this.#topics)
    return []
  }

  async #assign({ joined, partitions }: Generation): Promise<void> {
    this.#assignment = partitions
    this.#lastAssignment = partitions
    this.#lastGeneration = joined.generation
    this.#enter({ at: 'assigning', generation: joined.generation, assignment: partitions })
    try {
      await this.#options.listener.onAssigned(partitions)
    } catch (cause) {
      throw listenerError(this.#options.groupId, 'onAssigned', cause)
    }
  }

  /** Until something happens; returns why the next rebalance is. */
  async #stable({ joined }: Generation): Promise<string> {
    if (!this.#mustMove()) {
      const { generation, leads: leader } = joined
      this.#enter({ at: 'stable', generation, leader, assignment: this.#assignment })
    }
    while (!this.#mustMove()) {
      this.#poked = deferred()
      await this.#poked.promise
    }
    return this.#interrupt?.why ?? 'the member leaves'
  }

  #mustMove(): boolean {
    return this.#interrupt !== undefined || this.#fatal !== undefined || this.#leaving !== undefined
  }

  /** Takes the partitions away from the owner: revoked if there is time, else lost. */
  async #giveUp(why: string): Promise<void> {
    if (this.#fatal !== undefined) throw this.#fatal
    if (this.#interrupt?.kind === 'lost') {
      this.#lose(this.#interrupt)
    } else if (this.#assignment.length > 0) {
      this.#enter({ at: 'revoking', generation: this.#generation, why, assignment: this.#assignment })
      await this.#revoke(this.#assignment)
    }
    this.#assignment = []
    if (this.#fatal !== undefined) throw this.#fatal
  }

  /** Awaits `onRevoked`, at most for the rebalance time-out. */
  async #revoke(partitions: readonly TopicPartition[]): Promise<void> {
    const { listener, rebalanceTimeoutMs, groupId, onEvent } = this.#options
    const { scheduler } = this.#port.scope
    const late = deferred<'late'>()
    const timer = scheduler.setTimer(rebalanceTimeoutMs, () => late.resolve('late'))
    const finish = async (): Promise<'done'> => {
      await listener.onRevoked(partitions)
      return 'done'
    }
    try {
      if ((await Promise.race([finish(), late.promise])) === 'done') return
    } catch (cause) {
      throw listenerError(groupId, 'onRevoked', cause)
    } finally {
      scheduler.clearTimer(timer)
    }
    notify(onEvent, { type: 'revoke-timeout', groupId, afterMs: rebalanceTimeoutMs })
    this.#lose({ kind: 'lost', why: 'onRevoked took longer than rebalanceTimeoutMs', keepId: true })
  }

  /** A loss: the owner is told, and the identity is dropped as far as it is void. */
  #lose({ why, keepId }: Extract<Interrupt, { kind: 'lost' }>): void {
    const lost = this.#assignment
    const { groupId, onEvent } = this.#options
    this.#assignment = []
    this.#become(keepId ? this.#memberId : '', -1)
    this.#heartbeats.forget()
    if (lost.length === 0) return
    notify(onEvent, { type: 'lost', groupId, why, partitions: lost })
    try {
      this.#options.listener.onLost(lost)
    } catch (cause) {
      this.#fatal ??= listenerError(groupId, 'onLost', cause)
    }
  }

  // Interrupts, from timers and answers

  /** What was said about the last generation means nothing while the next is being joined. */
  #hear(verdict: HeartbeatVerdict): void {
    if (verdict.kind === 'fatal' || this.#state.at !== 'joining') this.#interruptBy(verdict)
  }

  #interruptBy(verdict: HeartbeatVerdict): void {
    if (verdict.kind === 'fatal') this.#fatal ??= verdict.error
    else if (verdict.kind === 'lost' && this.#state.at === 'revoking') this.#lose(verdict)
    else if (verdict.kind === 'lost' || this.#interrupt === undefined) this.#interrupt = verdict
    this.#poked.resolve()
  }

  // The end

  #end(how: 'leave' | 'close'): Promise<void> {
    if (this.#leaving !== 'leave') this.#leaving = how
    this.#round.abort()
    this.#poked.resolve()
    if (this.#loop === undefined) {
      if (this.#state.at === 'idle') this.#enter({ at: 'left' })
      this.#release()
      this.#loop = Promise.resolve()
    }
    return this.#loop
  }

  async #depart(): Promise<void> {
    this.#enter({ at: 'leaving' })
    if (this.#leaving === 'leave' || this.#options.instanceId === null) await this.#sendLeave('the member leaves')
    this.#release()
    this.#enter({ at: 'left' })
  }

  async #fail(error: MillraceError): Promise<void> {
    const { listener } = this.#options
    if (this.#assignment.length > 0) this.#lose({ kind: 'lost', why: error.message, keepId: true })
    if (error.code !== 'FENCED_INSTANCE_ID') await this.#sendLeave('the member failed')
    this.#release()
    this.#enter({ at: 'failed', error })
    notify((fatal: MillraceError) => listener.onError(fatal), error)
  }

  /** Tells the coordinator, so that the others need not wait for the session to end. One try, bounded. */
  async #sendLeave(reason: string): Promise<void> {
    const { groupId, instanceId, leaveTimeoutMs, onEvent } = this.#options
    if (this.#memberId === '' || leaveTimeoutMs === 0) return
    const { scheduler } = this.#port.scope
    const bound = new AbortController()
    const timer = scheduler.setTimer(leaveTimeoutMs, () => bound.abort())
    const members = [{ memberId: this.#memberId, groupInstanceId: instanceId, reason }]
    try {
      await this.#coordinator.request(
        leaveGroup,
        { groupId, memberId: this.#memberId, members },
        { lane: 'control', timeoutMs: leaveTimeoutMs, signal: bound.signal },
      )
    } catch (cause) {
      notify(onEvent, { type: 'retry', groupId, doing: 'LeaveGroup', attempt: 1, delayMs: 0, cause })
    } finally {
      scheduler.clearTimer(timer)
    }
  }

  /** Timers, listeners, sockets, identity: nothing stays behind. */
  #release(): void {
    this.#round.abort()
    this.#abort.abort(new ClosedError(`the membership of group ${this.#options.groupId}`))
    this.#leader.stop()
    this.#heartbeats.forget()
    this.#become('', -1)
    this.#port.closeLane(this.#lane)
  }

  // Helpers

  #become(memberId: string, generation: number): void {
    this.#memberId = memberId
    this.#generation = generation
  }

  #tellRebalanced({ joined, partitions }: Generation, startedAt: number): void {
    const { groupId, onEvent } = this.#options
    const { generation, leads: leader } = joined
    const durationMs = this.#now() - startedAt
    notify(onEvent, { type: 'rebalanced', groupId, generation, leader, durationMs, assigned: partitions })
  }

  #now(): number {
    return this.#port.scope.scheduler.monotonic()
  }

  /** The only assignment to the state. */
  #enter(next: MembershipState): void {
    assert(membershipEdges[this.#state.at].includes(next.at), 'a membership took a forbidden edge')
    this.#state = next
    notify(this.#options.onEvent, { type: 'state', groupId: this.#options.groupId, state: next })
  }
}

type RoundOutcome =
  | { readonly kind: 'generation'; readonly generation: Generation }
  | { readonly kind: 'again'; readonly atOnce: boolean; readonly cause: unknown }
