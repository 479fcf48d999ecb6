/**
 * Lease: may this member still write? Offset commits are fenced by the coordinator, produced records are not: a process
 * that was stopped for longer than its session must not write to partitions that have a new owner. So a task writes only
 * while the last heartbeat the coordinator answered was sent recently enough that a request sent now still arrives before
 * the membership can end there: now − sent < membershipMs − requestTimeoutMs, where membershipMs is the session time-out, or
 * the rebalance time-out if that is shorter: a rebalance may have begun right after the heartbeat.
 * Reads the membership; owns nothing but the one renewal under way.
 */
import type { Scheduler } from '../base/scope.ts'
import type { GroupMembership } from './port.ts'

export class Lease {
  readonly #scheduler: Scheduler
  readonly #membership: Pick<GroupMembership, 'lastHeartbeatSentAt' | 'heartbeatNow'>
  readonly #validMs: number
  #renewal: Promise<void> | undefined

  constructor(
    scheduler: Scheduler,
    membership: Pick<GroupMembership, 'lastHeartbeatSentAt' | 'heartbeatNow'>,
    membershipMs: number,
    requestTimeoutMs: number,
  ) {
    this.#scheduler = scheduler
    this.#membership = membership
    this.#validMs = membershipMs - requestTimeoutMs
  }

  /** Reads the clock: call once per slice, not per record. */
  get valid(): boolean {
    return this.#scheduler.monotonic() - this.#membership.lastHeartbeatSentAt < this.#validMs
  }

  /** One heartbeat now, however many tasks ask; a failure is the membership's to act on. */
  renew(): Promise<void> {
    this.#renewal ??= this.#membership
      .heartbeatNow()
      .catch(() => {})
      .finally(() => {
        this.#renewal = undefined
      })
    return this.#renewal
  }
}
