/**
 * ActiveGroup: one group on the coordinator that serves it now.
 * Owns   what is true only here and now: answers that wait, session and rebalance timers, ids handed out but not used.
 *        What must survive is in the GroupState, which changes only by records: decide, append, apply, then answer.
 */
import type { Scheduler, TimerHandle } from '../../base/scope.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { BrokerEvent } from '../events.ts'
import {
  allJoined,
  checkHeartbeat,
  checkIdentity,
  decideComplete,
  decideJoin,
  decideSync,
  type JoinCommand,
  removeMember,
  type SyncCommand,
  subscriptions,
  type Waiting,
} from './classic.ts'
import type { GroupRecord } from './records.ts'
import { GroupState } from './state.ts'

export interface JoinAnswer {
  readonly errorCode: number
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leader: string
  readonly skipAssignment: boolean
  readonly memberId: string
  readonly members: readonly { memberId: string; groupInstanceId: string | null; metadata: Buffer }[]
}

export interface SyncAnswer {
  readonly errorCode: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignment: Buffer
}

/** What a group needs of its coordinator. */
export interface GroupHome {
  readonly scheduler: Scheduler
  readonly maxMembers: number
  readonly initialRebalanceDelayMs: number
  /** Appends to the group's log and calls `then` when the records are safe. */
  append(records: readonly GroupRecord[], then: () => void): void
  freshMemberId(prefix: string): string
  /** The group may have become blank. */
  idle(): void
  notify(event: BrokerEvent): void
}

interface Session {
  deadline: number
  timer: TimerHandle | undefined
}

/** A timer that fires this much too late means that the process stood still: its input is read before anybody is expelled. */
const stallMs = 250
const graceMs = 1_000

const nobody = Buffer.alloc(0)

export function joinError(errorCode: number, memberId: string): JoinAnswer {
  return {
    errorCode,
    generationId: -1,
    protocolType: null,
    protocolName: null,
    leader: '',
    skipAssignment: false,
    memberId,
    members: [],
  }
}

export function syncError(errorCode: number): SyncAnswer {
  return { errorCode, protocolType: null, protocolName: null, assignment: nobody }
}

export class ActiveGroup implements Waiting {
  readonly state: GroupState
  readonly #home: GroupHome
  readonly #joining = new Map<string, (answer: JoinAnswer) => void>()
  readonly #syncing = new Map<string, (answer: SyncAnswer) => void>()
  readonly #pending = new Map<string, TimerHandle>()
  readonly #sessions = new Map<string, Session>()
  /** Members of the current generation that have not asked for their assignment yet. */
  readonly #notSynced = new Set<string>()
  #rebalanceTimer: TimerHandle | undefined
  #syncTimer: TimerHandle | undefined
  /** The first rebalance of an empty group waits a fixed time for more members. */
  #initialUntil: number | undefined
  #joinedSinceTimer = false

  constructor(id: string, home: GroupHome) {
    this.state = new GroupState(id)
    this.#home = home
  }

  isJoining(memberId: string): boolean {
    return this.#joining.has(memberId)
  }

  get joiningCount(): number {
    return this.#joining.size
  }

  isPending(memberId: string): boolean {
    return this.#pending.has(memberId)
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  /** Nothing to remember, nobody waits. */
  get isBlank(): boolean {
    return this.state.isBlank && this.#pending.size === 0 && this.#joining.size === 0
  }

  /** No members at all. */
  get isEmpty(): boolean {
    return this.state.members.size === 0
  }

  join(c: JoinCommand, answer: (answer: JoinAnswer) => void): void {
    const before = this.state.phase
    const freshId = (): string => this.#home.freshMemberId(c.instanceId ?? c.clientId)
    const decision = decideJoin(this.state, this, c, freshId, this.#home.maxMembers, this.#home.scheduler.now())
    const { outcome } = decision
    this.#commit(decision.records, () => {
      if (decision.fenced !== undefined) this.#drop(decision.fenced, errorCodes.FENCED_INSTANCE_ID)
      switch (outcome.is) {
        case 'refused':
          answer(joinError(outcome.errorCode, outcome.memberId))
          return
        case 'idRequired':
          this.#expect(outcome.memberId, c.sessionTimeoutMs)
          answer(joinError(errorCodes.MEMBER_ID_REQUIRED, outcome.memberId))
          return
        case 'current':
          this.#touch(outcome.memberId)
          answer(this.#joined(outcome.memberId, outcome.leader, outcome.skipAssignment))
          return
        case 'wait':
          this.#forgetPending(outcome.memberId)
          this.#joining.get(outcome.memberId)?.(joinError(errorCodes.REBALANCE_IN_PROGRESS, outcome.memberId))
          this.#joining.set(outcome.memberId, answer)
          this.#joinedSinceTimer = true
          this.#touch(outcome.memberId)
          this.#entered(before)
          this.#advance()
      }
    })
  }

  sync(c: SyncCommand, answer: (answer: SyncAnswer) => void): void {
    const decision = decideSync(this.state, c, this.#home.scheduler.now())
    const { outcome } = decision
    this.#commit(decision.records, () => {
      switch (outcome.is) {
        case 'refused':
          answer(syncError(outcome.errorCode))
          return
        case 'current':
          this.#synced(c.memberId)
          this.#touch(c.memberId)
          answer(this.#assigned(outcome.assignment))
          return
        case 'wait':
          this.#synced(c.memberId)
          this.#touch(c.memberId)
          this.#syncing.get(c.memberId)?.(syncError(errorCodes.REBALANCE_IN_PROGRESS))
          this.#syncing.set(c.memberId, answer)
          return
        case 'assigned': {
          this.#synced(c.memberId)
          this.#syncing.set(c.memberId, answer)
          const waiting = [...this.#syncing]
          this.#syncing.clear()
          this.#announce()
          for (const [memberId, reply] of waiting) {
            this.#touch(memberId)
            reply(this.#assigned(this.state.members.get(memberId)?.assignment ?? nobody))
          }
        }
      }
    })
  }

  heartbeat(memberId: string, instanceId: string | null, generation: number): number {
    const code = checkHeartbeat(this.state, memberId, instanceId, generation)
    if (code === 0 || code === errorCodes.REBALANCE_IN_PROGRESS) this.#touch(memberId)
    return code
  }

  /** Takes a member out at its own wish. Returns the error, or 0. */
  leave(memberId: string, instanceId: string | null): number {
    if (this.#pending.has(memberId)) {
      this.#forgetPending(memberId)
      this.#advance()
      return 0
    }
    // an administrator may remove a static member by its instance id alone
    const id = memberId === '' && instanceId !== null ? this.state.memberOf(instanceId) : memberId
    if (id === undefined) return errorCodes.UNKNOWN_MEMBER_ID
    const fault = checkIdentity(this.state, id, instanceId)
    if (fault !== 0) return fault
    this.#remove(id)
    return 0
  }

  /** Whether offsets may be committed in this name: 0 or the error. A member that commits is alive. */
  checkCommit(memberId: string, instanceId: string | null, generation: number): number {
    const { state } = this
    if (generation < 0 && state.phase === 'Empty') return 0 // not a member: an administrator, or a consumer without groups
    const fault = checkIdentity(state, memberId, instanceId)
    if (fault !== 0) return fault
    if (generation !== state.generation) return errorCodes.ILLEGAL_GENERATION
    if (state.phase === 'CompletingRebalance') return errorCodes.REBALANCE_IN_PROGRESS
    this.#touch(memberId)
    return 0
  }

  /** Writes records that concern offsets only. */
  store(records: readonly GroupRecord[], then: () => void): void {
    this.#commit(records, then)
  }

  /** The group was read from its log: members get a full session to find this coordinator. */
  resume(): void {
    for (const memberId of this.state.members.keys()) this.#touch(memberId)
    if (this.state.phase === 'PreparingRebalance') this.#startRebalanceTimer()
    if (this.state.phase === 'CompletingRebalance') this.#startSyncTimer()
  }

  /** Another coordinator takes over: whoever waits is told, and nothing more happens here. */
  unload(errorCode: number): void {
    const joining = [...this.#joining]
    const syncing = [...this.#syncing.values()]
    const { scheduler } = this.#home
    for (const timer of this.#pending.values()) scheduler.clearTimer(timer)
    for (const session of this.#sessions.values()) if (session.timer !== undefined) scheduler.clearTimer(session.timer)
    this.#clearTimers()
    this.#joining.clear()
    this.#syncing.clear()
    this.#pending.clear()
    this.#sessions.clear()
    for (const [memberId, answer] of joining) answer(joinError(errorCode, memberId))
    for (const answer of syncing) answer(syncError(errorCode))
  }

  // ---- steps

  #commit(records: readonly GroupRecord[], then: () => void): void {
    if (records.length === 0) {
      then()
      return
    }
    this.#home.append(records, then)
  }

  /** Acts on a phase that was entered by a decision. */
  #entered(before: string): void {
    if (this.state.phase !== 'PreparingRebalance' || before === 'PreparingRebalance') return
    this.#announce()
    this.#clearTimers()
    this.#notSynced.clear()
    const waiting = [...this.#syncing.values()]
    this.#syncing.clear()
    for (const answer of waiting) answer(syncError(errorCodes.REBALANCE_IN_PROGRESS))
    const delay = this.#home.initialRebalanceDelayMs
    if (before === 'Empty' && delay > 0) {
      this.#initialUntil = this.#home.scheduler.monotonic() + Math.max(delay, this.#rebalanceTimeoutMs())
      this.#startInitialTimer(delay)
    } else {
      this.#startRebalanceTimer()
    }
  }

  #startInitialTimer(delayMs: number): void {
    this.#joinedSinceTimer = false
    this.#rebalanceTimer = this.#home.scheduler.setTimer(delayMs, () => {
      this.#rebalanceTimer = undefined
      const left = (this.#initialUntil ?? 0) - this.#home.scheduler.monotonic()
      if (this.#joinedSinceTimer && left > 0) {
        this.#startInitialTimer(Math.min(this.#home.initialRebalanceDelayMs, left))
      } else {
        this.#initialUntil = undefined
        this.#complete()
      }
    })
  }

  #startRebalanceTimer(): void {
    this.#rebalanceTimer = this.#home.scheduler.setTimer(this.#rebalanceTimeoutMs(), () => {
      this.#rebalanceTimer = undefined
      this.#complete()
    })
  }

  #rebalanceTimeoutMs(): number {
    let longest = 0
    for (const member of this.state.members.values()) longest = Math.max(longest, member.rebalanceTimeoutMs)
    return longest
  }

  /** Completes the join phase as soon as everybody is here. */
  #advance(): void {
    if (this.#initialUntil === undefined && allJoined(this.state, this)) this.#complete()
  }

  #complete(): void {
    const decision = decideComplete(this.state, this, this.#home.scheduler.now())
    const { outcome } = decision
    if (outcome.is === 'extend') {
      this.#startRebalanceTimer()
      return
    }
    this.#commit(decision.records, () => {
      this.#clearTimers()
      for (const memberId of outcome.removed) {
        this.#home.notify({ type: 'memberExpired', group: this.state.id, memberId, why: 'did not rejoin in time' })
        this.#drop(memberId, errorCodes.UNKNOWN_MEMBER_ID)
      }
      this.#announce()
      const joining = [...this.#joining]
      this.#joining.clear()
      if (this.state.phase === 'CompletingRebalance') this.#startSyncTimer()
      for (const [memberId, answer] of joining) {
        this.#touch(memberId)
        answer(this.#joined(memberId, this.state.value.leader ?? '', false))
      }
    })
  }

  /** Members that never ask for their assignment hold the group up: they go after the rebalance time-out. */
  #startSyncTimer(): void {
    this.#notSynced.clear()
    for (const memberId of this.state.members.keys()) this.#notSynced.add(memberId)
    const { generation } = this.state
    this.#syncTimer = this.#home.scheduler.setTimer(this.#rebalanceTimeoutMs(), () => {
      this.#syncTimer = undefined
      if (this.state.generation !== generation) return
      for (const memberId of [...this.#notSynced]) this.#expire(memberId, 'did not ask for its assignment in time')
    })
  }

  #synced(memberId: string): void {
    this.#notSynced.delete(memberId)
    if (this.#notSynced.size > 0 || this.#syncTimer === undefined) return
    this.#home.scheduler.clearTimer(this.#syncTimer)
    this.#syncTimer = undefined
  }

  #expire(memberId: string, why: string): void {
    if (!this.state.members.has(memberId)) return
    this.#home.notify({ type: 'memberExpired', group: this.state.id, memberId, why })
    this.#remove(memberId)
  }

  #remove(memberId: string): void {
    const before = this.state.phase
    this.#commit(removeMember(this.state, memberId, this.#home.scheduler.now()), () => {
      this.#drop(memberId, errorCodes.UNKNOWN_MEMBER_ID)
      this.#entered(before)
      this.#advance()
    })
  }

  /** Forgets what waits for a member that is gone. */
  #drop(memberId: string, errorCode: number): void {
    const session = this.#sessions.get(memberId)
    if (session?.timer !== undefined) this.#home.scheduler.clearTimer(session.timer)
    this.#sessions.delete(memberId)
    this.#synced(memberId)
    const join = this.#joining.get(memberId)
    this.#joining.delete(memberId)
    join?.(joinError(errorCode, memberId))
    const sync = this.#syncing.get(memberId)
    this.#syncing.delete(memberId)
    sync?.(syncError(errorCode))
  }

  /** Waits a session time-out for the member id that was just handed out. */
  #expect(memberId: string, timeoutMs: number): void {
    const timer = this.#home.scheduler.setTimer(timeoutMs, () => {
      this.#pending.delete(memberId)
      this.#advance()
      this.#home.idle()
    })
    this.#pending.set(memberId, timer)
  }

  #forgetPending(memberId: string): void {
    const timer = this.#pending.get(memberId)
    if (timer === undefined) return
    this.#home.scheduler.clearTimer(timer)
    this.#pending.delete(memberId)
  }

  /** The member is alive: its session begins anew. The timer is moved only when it fires. */
  #touch(memberId: string): void {
    const member = this.state.members.get(memberId)
    if (member === undefined) return
    const deadline = this.#home.scheduler.monotonic() + member.sessionTimeoutMs
    const session = this.#sessions.get(memberId)
    if (session === undefined) {
      const fresh: Session = { deadline, timer: undefined }
      this.#sessions.set(memberId, fresh)
      this.#watch(memberId, fresh, member.sessionTimeoutMs, false)
      return
    }
    if (deadline >= session.deadline) {
      session.deadline = deadline
      return
    }
    // a shorter session than before (a static member that was replaced keeps none, but options may change)
    session.deadline = deadline
    if (session.timer !== undefined) this.#home.scheduler.clearTimer(session.timer)
    this.#watch(memberId, session, member.sessionTimeoutMs, false)
  }

  #watch(memberId: string, session: Session, delayMs: number, lastChance: boolean): void {
    const { scheduler } = this.#home
    const expected = scheduler.monotonic() + delayMs
    session.timer = scheduler.setTimer(delayMs, () => {
      session.timer = undefined
      const now = scheduler.monotonic()
      if (this.#joining.has(memberId) || this.#syncing.has(memberId)) {
        // it waits for us, not we for it
        const timeout = this.state.members.get(memberId)?.sessionTimeoutMs ?? delayMs
        session.deadline = now + timeout
        this.#watch(memberId, session, timeout, false)
      } else if (session.deadline > now) {
        this.#watch(memberId, session, session.deadline - now, false)
      } else if (now - expected > stallMs && !lastChance) {
        this.#watch(memberId, session, graceMs, true)
      } else {
        this.#expire(memberId, 'sent no heartbeat within its session time-out')
      }
    })
  }

  #clearTimers(): void {
    const { scheduler } = this.#home
    if (this.#rebalanceTimer !== undefined) scheduler.clearTimer(this.#rebalanceTimer)
    if (this.#syncTimer !== undefined) scheduler.clearTimer(this.#syncTimer)
    this.#rebalanceTimer = undefined
    this.#syncTimer = undefined
    this.#initialUntil = undefined
  }

  #joined(memberId: string, leader: string, skipAssignment: boolean): JoinAnswer {
    const { value } = this.state
    return {
      errorCode: 0,
      generationId: value.generation,
      protocolType: value.protocolType,
      protocolName: value.protocol,
      leader,
      skipAssignment,
      memberId,
      members: memberId === leader ? subscriptions(this.state) : [],
    }
  }

  #assigned(assignment: Buffer): SyncAnswer {
    const { value } = this.state
    return { errorCode: 0, protocolType: value.protocolType, protocolName: value.protocol, assignment }
  }

  #announce(): void {
    const { phase, generation, members } = this.state
    this.#home.notify({ type: 'groupState', group: this.state.id, state: phase, generation, members: members.size })
  }
}
