/**
 * Commits: positions of processed records, kept in the group. Owns the auto-commit timer.
 * Under whose identity a commit is sent is decided by `member`, once the consumer has joined.
 */
import { Backoff } from '../../base/backoff.ts'
import { ClosedError, MillraceError } from '../../base/errors.ts'
import type { Resolved } from '../../base/options.ts'
import { sleep, type TimerHandle } from '../../base/scope.ts'
import { GroupOffsets } from '../group/commit.ts'
import type {
  CommitResult,
  CommittedOffset,
  CommittedOptions,
  GroupMetadata,
  OffsetToCommit,
} from '../group/membership.ts'
import { errorCodes, kafkaError, type KafkaErrorName } from '../../protocol/errors.ts'
import type { Cursor } from './cursor.ts'
import type { ConsumerEvent } from './events.ts'
import type { ConsumerOptions } from './options.ts'
import { PartitionMap, partitionName, type TopicPartition } from './partition-map.ts'
import type { ClientPort } from './port.ts'

/** Who sends commits: a membership, or GroupOffsets without an identity. */
export interface Committer {
  metadata(): GroupMetadata
  commitOnce(offsets: readonly OffsetToCommit[]): Promise<readonly CommitResult[]>
  committed(partitions: readonly TopicPartition[], options?: CommittedOptions): Promise<readonly CommittedOffset[]>
}

/** Some partitions of a commit were refused. `code` is Kafka's name of the first refusal. After a rebalance it is normal. */
export class CommitError extends MillraceError {
  override readonly name = 'CommitError'
  /** The refused partitions. */
  readonly refused: readonly CommitResult[]
  constructor(refused: readonly CommitResult[]) {
    const first = refused[0]!
    super(
      first.error,
      `the group refused the commit of ${partitionName(first.topic, first.partition)}: ${first.error}` +
        `${refused.length > 1 ? ` (and of ${refused.length - 1} more)` : ''}; after a rebalance another member may own it`,
    )
    this.refused = refused
  }
}

export class Commits {
  readonly #port: ClientPort
  readonly #options: Resolved<ConsumerOptions>
  readonly #cursors: () => Iterable<Cursor>
  readonly #tell: (event: ConsumerEvent) => void
  readonly #abort = new AbortController()
  #committer: Committer
  #timer: TimerHandle | undefined
  #running: Promise<void> | undefined

  constructor(
    port: ClientPort,
    options: Resolved<ConsumerOptions>,
    cursors: () => Iterable<Cursor>,
    tell: (event: ConsumerEvent) => void,
  ) {
    const { groupId, retryBackoffMs, retryBackoffMaxMs } = options
    this.#port = port
    this.#options = options
    this.#cursors = cursors
    this.#tell = tell
    const nobody = { groupId, memberId: '', generation: -1, instanceId: null }
    this.#committer = new GroupOffsets(port, () => nobody, {
      retryBackoffMs,
      retryBackoffMaxMs,
      onEvent: (event) => tell({ type: 'group', event }),
    })
  }

  /** From now on under a member's identity. */
  member(committer: Committer): void {
    this.#committer = committer
  }

  /** Begins auto-commit, if it is on. */
  start(): void {
    if (this.#options.autoCommitIntervalMs > 0 && this.#timer === undefined && !this.#abort.signal.aborted) this.#arm()
  }

  /** See Consumer.commit. */
  async commit(offsets: readonly OffsetToCommit[] = this.#processed(undefined)): Promise<void> {
    const { scope } = this.#port
    const backoff = new Backoff(scope.random, this.#options.retryBackoffMs, this.#options.retryBackoffMaxMs)
    const { memberId, generation } = this.#committer.metadata()
    let left = offsets
    while (left.length > 0) {
      // These offsets are of a generation; repeated in the next one they could set back another member's progress.
      const now = this.#committer.metadata()
      if (now.memberId !== memberId || now.generation !== generation) {
        throw new CommitError(left.map(({ topic, partition }) => ({ topic, partition, error: 'ILLEGAL_GENERATION' })))
      }
      let refused: readonly CommitResult[] = []
      try {
        const results = await this.#committer.commitOnce(left)
        refused = results.filter((result) => result.error !== 'NONE')
      } catch (cause) {
        if (!(cause instanceof MillraceError) || !cause.retriable) throw cause
        await sleep(scope, backoff.next(), this.#abort.signal)
        continue
      }
      const fatal = refused.filter((result) => !isTransient(result.error))
      if (fatal.length > 0) throw new CommitError(fatal)
      left = left.filter((o) => refused.some((r) => r.topic === o.topic && r.partition === o.partition))
      if (left.length > 0) await sleep(scope, backoff.next(), this.#abort.signal)
    }
  }

  /** The last commit of partitions that are given up; what fails is told, not thrown. */
  async last(partitions: readonly TopicPartition[]): Promise<void> {
    if (this.#options.autoCommitIntervalMs === 0) return
    try {
      await this.#running
      await this.commit(this.#processed(partitions))
    } catch (cause) {
      this.#tell({ type: 'commit-failed', cause })
    }
  }

  committed(partitions: readonly TopicPartition[]): Promise<readonly CommittedOffset[]> {
    return this.#committer.committed(partitions, { signal: this.#abort.signal })
  }

  close(): void {
    this.#abort.abort(new ClosedError('the consumer'))
    if (this.#timer !== undefined) this.#port.scope.scheduler.clearTimer(this.#timer)
    this.#timer = undefined
  }

  #arm(): void {
    this.#timer = this.#port.scope.scheduler.setTimer(this.#options.autoCommitIntervalMs, () => {
      this.#running = this.#auto()
    })
  }

  async #auto(): Promise<void> {
    try {
      await this.commit()
    } catch (cause) {
      if (!this.#abort.signal.aborted) this.#tell({ type: 'commit-failed', cause })
    }
    if (!this.#abort.signal.aborted) this.#arm()
  }

  /**
   * What was processed, committed before or not: a commit whose answer was lost may be carried out late, after newer ones,
   * and only the next one mends that.
   */
  #processed(only: readonly TopicPartition[] | undefined): OffsetToCommit[] {
    const offsets: OffsetToCommit[] = []
    const wanted = only === undefined ? undefined : new PartitionMap<true>()
    for (const { topic, partition } of only ?? []) wanted?.set(topic, partition, true)
    for (const { topic, partition, processed, processedEpoch } of this.#cursors()) {
      if (processed < 0) continue
      if (wanted?.has(topic, partition) === false) continue
      offsets.push({ topic, partition, offset: processed, leaderEpoch: processedEpoch })
    }
    return offsets
  }
}

function isTransient(error: KafkaErrorName): boolean {
  return kafkaError(errorCodes[error]).retriable
}
