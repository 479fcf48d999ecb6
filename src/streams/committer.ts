/**
 * Committer: sends the offset commits of a processor's tasks, merged: one request at a time carries whatever became ready
 * while the last one was under way. It also knows what each answer means for a task: the table below is all of it.
 * Owner of the commits that are on their way, and of those kept over a rebalance.
 */
import { Backoff } from '../base/backoff.ts'
import { describeError, MillraceError } from '../base/errors.ts'
import { Pump } from '../base/pump.ts'
import { type Scope, sleep } from '../base/scope.ts'
import { StreamsError } from './errors.ts'
import type { GroupMembership, OffsetToCommit, TopicPartition } from './port.ts'

/**
 * - `retry`: the coordinator is moving, loading or did not answer: the same offsets again.
 * - `keep`: the group rebalances: the offsets are kept and, if the next generation gives the partition back without an
 *   owner in between, committed there; else dropped, because another instance has begun from the older offset.
 * - `lost`: this member is not in the group any more: its tasks end without a commit.
 * - `fatal`: no retry helps; the processor ends with the error.
 */
export type CommitReaction = 'done' | 'retry' | 'keep' | 'lost' | 'fatal'

const reactions: ReadonlyMap<string, CommitReaction> = new Map<string, CommitReaction>([
  ['NONE', 'done'],
  ['NOT_COORDINATOR', 'retry'],
  ['COORDINATOR_NOT_AVAILABLE', 'retry'],
  ['COORDINATOR_LOAD_IN_PROGRESS', 'retry'],
  ['REQUEST_TIMED_OUT', 'retry'],
  ['NETWORK_EXCEPTION', 'retry'],
  ['NOT_ENOUGH_REPLICAS', 'retry'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 'retry'],
  ['REBALANCE_IN_PROGRESS', 'keep'],
  ['ILLEGAL_GENERATION', 'keep'],
  ['STALE_MEMBER_EPOCH', 'keep'],
  ['UNKNOWN_MEMBER_ID', 'lost'],
  ['FENCED_INSTANCE_ID', 'lost'],
])

/** What an answer of OffsetCommit means. Names that are not in the table are fatal. */
export function commitReaction(error: string): CommitReaction {
  return reactions.get(error) ?? 'fatal'
}

export type CommitOutcome =
  | { readonly kind: 'committed' }
  | { readonly kind: 'kept' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'failed'; readonly error: MillraceError }

interface Pending {
  readonly offsets: readonly OffsetToCommit[]
  /** In which the partitions were this member's; in another they may have an owner that began from older offsets. */
  readonly generation: number
  readonly done: (outcome: CommitOutcome) => void
}

interface Kept {
  readonly offset: OffsetToCommit
  readonly generation: number
}

export class Committer {
  readonly #scope: Scope
  readonly #membership: GroupMembership
  readonly #backoff: Backoff
  readonly #pump: Pump
  readonly #abort = new AbortController()
  #pending: Pending[] = []
  /** topic/partition → what could not be committed because of a rebalance. */
  readonly #kept = new Map<string, Kept>()

  constructor(scope: Scope, membership: GroupMembership, crash: (cause: unknown) => void) {
    this.#scope = scope
    this.#membership = membership
    this.#backoff = new Backoff(scope.random, 50, 1000)
    this.#pump = new Pump(() => this.#step(), crash)
  }

  /** Commits a task's offsets in the generation of now, or not at all; `done` is called once, later. */
  commit(offsets: readonly OffsetToCommit[], done: (outcome: CommitOutcome) => void): void {
    this.#pending.push({ offsets, done, generation: this.#membership.metadata().generation })
    this.#pump.poke()
  }

  /**
   * Before the committed offsets of a newly assigned partition are read: commits what was kept for it (all its topics) if
   * no generation lies in between, in which it may have had another owner.
   */
  async settleKept(assigned: readonly TopicPartition[]): Promise<void> {
    const { generation } = this.#membership.metadata()
    const offsets: OffsetToCommit[] = []
    for (const name of assigned.map(nameOf)) {
      const kept = this.#kept.get(name)
      if (kept?.generation === generation - 1) offsets.push(kept.offset)
      this.#kept.delete(name)
    }
    if (offsets.length === 0) return
    await new Promise<void>((resolve) => this.commit(offsets, () => resolve()))
  }

  /** Stops retrying; what is pending is told that it is lost. */
  close(): void {
    this.#abort.abort(new StreamsError('ERR_STATE', 'the processor was closed'))
    this.#kept.clear()
  }

  async #step(): Promise<void> {
    while (this.#pending.length > 0) {
      const round = this.#pending
      this.#pending = []
      await this.#commitRound(round)
    }
  }

  async #commitRound(round: readonly Pending[]): Promise<void> {
    let open = round
    for (;;) {
      if (this.#abort.signal.aborted) {
        for (const one of open) one.done({ kind: 'lost' })
        return
      }
      open = this.#ofThisGeneration(open)
      if (open.length === 0) return
      const errors = await this.#attempt(open.flatMap((one) => one.offsets))
      const again: Pending[] = []
      for (const one of open) {
        const outcome = this.#outcome(one, errors)
        if (outcome === undefined) again.push(one)
        else one.done(outcome)
      }
      if (again.length === 0) {
        this.#backoff.reset()
        return
      }
      open = again
      await sleep(this.#scope, this.#backoff.next(), this.#abort.signal).catch(() => {})
    }
  }

  /** The coordinator would take the offsets of a partition that has another owner by now: it asks for the generation only. */
  #ofThisGeneration(pending: readonly Pending[]): readonly Pending[] {
    const { generation } = this.#membership.metadata()
    return pending.filter((one) => {
      if (one.generation === generation) return true
      one.done({ kind: 'lost' })
      return false
    })
  }

  /** Error name per partition, or one for all of them. */
  async #attempt(offsets: readonly OffsetToCommit[]): Promise<Map<string, string> | MillraceError> {
    try {
      const answers = await this.#membership.commitOnce(offsets)
      return new Map(answers.map((answer) => [nameOf(answer), answer.error]))
    } catch (cause) {
      if (cause instanceof MillraceError) return cause
      return new MillraceError('ERR_COMMIT', `an offset commit failed: ${describeError(cause)}`, { cause })
    }
  }

  /** Undefined: try again. */
  #outcome(one: Pending, errors: Map<string, string> | MillraceError): CommitOutcome | undefined {
    if (errors instanceof MillraceError) {
      const reaction = errors.retriable ? 'retry' : commitReaction(errors.code)
      if (reaction === 'fatal') return { kind: 'failed', error: errors }
      return this.#react(one, reaction)
    }
    let worst: CommitReaction = 'done'
    for (const offset of one.offsets) {
      const name = errors.get(nameOf(offset)) ?? 'NETWORK_EXCEPTION'
      const reaction = commitReaction(name)
      if (reaction === 'fatal') {
        const what = `the offset commit of ${nameOf(offset)} was refused with ${name}`
        return { kind: 'failed', error: new MillraceError(name, what) }
      }
      if (severity[reaction] > severity[worst]) worst = reaction
    }
    return this.#react(one, worst)
  }

  #react(one: Pending, reaction: CommitReaction): CommitOutcome | undefined {
    if (reaction === 'retry') return undefined
    // What was kept before is older.
    for (const offset of one.offsets) this.#kept.delete(nameOf(offset))
    if (reaction === 'done') return { kind: 'committed' }
    if (reaction === 'lost') return { kind: 'lost' }
    for (const offset of one.offsets) this.#kept.set(nameOf(offset), { offset, generation: one.generation })
    void this.#membership.heartbeatNow().catch(() => {}) // the membership acts on its own failures: this only hurries it
    return { kind: 'kept' }
  }
}

const severity: Readonly<Record<CommitReaction, number>> = { done: 0, retry: 1, keep: 2, lost: 3, fatal: 4 }

function nameOf(at: TopicPartition): string {
  return `${at.topic}/${at.partition}`
}
