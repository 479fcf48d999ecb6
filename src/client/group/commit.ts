/**
 * Group offsets: commits and look-ups at the coordinator. Owns nothing: the identity is read at the moment of sending.
 * Used by members, and without one by consumers that only keep positions in a group (generation -1, no member id).
 */
import { Backoff } from '../../base/backoff.ts'
import { MillraceError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import { sleep } from '../../base/scope.ts'
import { offsetCommit } from '../../protocol/api/offset-commit.ts'
import { offsetFetch } from '../../protocol/api/offset-fetch.ts'
import { BrokerError, errorCodes, type KafkaErrorName, kafkaError } from '../../protocol/errors.ts'
import type { ResponseOf } from '../../protocol/schema.ts'
import { byTopic, PartitionMap, type TopicPartition } from '../consumer/partition-map.ts'
import type { ClientPort } from '../consumer/port.ts'
import { Coordinator } from './coordinator.ts'
import type { GroupEvent } from './events.ts'
import type { CommitResult, CommittedOffset, CommittedOptions, GroupMetadata, OffsetToCommit } from './membership.ts'

export interface GroupOffsetsOptions {
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  readonly onEvent: (event: GroupEvent) => void
}

export class GroupOffsets {
  readonly #port: ClientPort
  readonly #coordinator: Coordinator
  readonly #identity: () => GroupMetadata
  readonly #options: GroupOffsetsOptions

  constructor(port: ClientPort, identity: () => GroupMetadata, options: GroupOffsetsOptions) {
    this.#port = port
    this.#coordinator = new Coordinator(port, identity().groupId)
    this.#identity = identity
    this.#options = options
  }

  metadata(): GroupMetadata {
    return this.#identity()
  }

  /** One OffsetCommit. A partition that the answer leaves out counts as UNKNOWN_SERVER_ERROR. */
  async commitOnce(offsets: readonly OffsetToCommit[]): Promise<readonly CommitResult[]> {
    if (offsets.length === 0) return []
    const { groupId, memberId, generation, instanceId } = this.#identity()
    const topics = [...byTopic(offsets)].map(([name, list]) => ({
      name,
      partitions: list.map((o) => ({
        partitionIndex: o.partition,
        committedOffset: o.offset,
        committedLeaderEpoch: o.leaderEpoch ?? -1,
        committedMetadata: o.metadata ?? '',
      })),
    }))
    const response = await this.#coordinator.request(
      offsetCommit,
      { groupId, memberId, generationIdOrMemberEpoch: generation, groupInstanceId: instanceId, topics },
      // Version 10 names topics by id only; ids may be unknown here.
      { lane: 'control', maxVersion: 9 },
    )
    const errors = new PartitionMap<KafkaErrorName>()
    for (const topic of response.topics) {
      for (const { partitionIndex, errorCode } of topic.partitions) {
        this.#coordinator.isAway(errorCode)
        errors.set(topic.name, partitionIndex, kafkaError(errorCode).name)
      }
    }
    return offsets.map(({ topic, partition }) => ({
      topic,
      partition,
      error: errors.get(topic, partition) ?? 'UNKNOWN_SERVER_ERROR',
    }))
  }

  /** Committed positions in the order asked for; retries what is transient. Rejects with BrokerError, AbortError. */
  async committed(
    partitions: readonly TopicPartition[],
    options: CommittedOptions = {},
  ): Promise<readonly CommittedOffset[]> {
    const { scope } = this.#port
    const backoff = new Backoff(scope.random, this.#options.retryBackoffMs, this.#options.retryBackoffMaxMs)
    const found = new PartitionMap<CommittedOffset>()
    for (;;) {
      const missing = partitions.filter((p) => !found.has(p.topic, p.partition))
      if (missing.length === 0) return partitions.map((p) => found.get(p.topic, p.partition)!)
      let cause: unknown
      try {
        cause = await this.#fetchOnce(missing, found, options)
      } catch (error) {
        if (!(error instanceof MillraceError) || !error.retriable) throw error
        cause = error
      }
      if (cause === undefined) continue
      const delayMs = backoff.next()
      const { groupId } = this.#coordinator
      notify(this.#options.onEvent, {
        type: 'retry',
        groupId,
        doing: 'OffsetFetch',
        attempt: backoff.attempts,
        delayMs,
        cause,
      })
      await sleep(scope, delayMs, options.signal)
    }
  }

  /** Fills `found`; returns why something is missing, undefined when nothing is. Throws what is not transient. */
  async #fetchOnce(
    partitions: readonly TopicPartition[],
    found: PartitionMap<CommittedOffset>,
    options: CommittedOptions,
  ): Promise<unknown> {
    const { groupId } = this.#coordinator
    const topics = [...byTopic(partitions)].map(([name, list]) => ({
      name,
      partitionIndexes: list.map((p) => p.partition),
    }))
    const response = await this.#coordinator.request(
      offsetFetch,
      { groupId, topics, groups: [{ groupId, topics }], requireStable: options.requireStable ?? true },
      {
        lane: 'control',
        minVersion: 7,
        maxVersion: 9,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
    )
    const group = groupOf(response)
    if (group.errorCode !== 0) return this.#transient(group.errorCode, `offsets of group ${groupId}`)
    let cause: unknown
    for (const { name, partitions: answers } of group.topics) {
      for (const answer of answers) {
        const { partitionIndex: partition, errorCode } = answer
        if (errorCode !== 0) {
          if (errorCode === errorCodes.UNSTABLE_OFFSET_COMMIT) {
            notify(this.#options.onEvent, { type: 'unstable-offset', groupId, topic: name, partition })
          }
          cause = this.#transient(errorCode, `offset of ${name}/${partition} in group ${groupId}`)
          continue
        }
        found.set(name, partition, {
          topic: name,
          partition,
          offset: answer.committedOffset,
          leaderEpoch: answer.committedLeaderEpoch,
          metadata: answer.metadata ?? '',
        })
      }
    }
    const lacking = partitions.find((p) => !found.has(p.topic, p.partition))
    if (lacking === undefined) return undefined
    return (
      cause ??
      new BrokerError(errorCodes.UNKNOWN_SERVER_ERROR, `the answer lacks ${lacking.topic}/${lacking.partition}`)
    )
  }

  #transient(errorCode: number, subject: string): BrokerError {
    const away = this.#coordinator.isAway(errorCode)
    const error = new BrokerError(errorCode, subject)
    if (!away && !error.retriable && errorCode !== errorCodes.UNKNOWN_SERVER_ERROR) throw error
    return error
  }
}

/** Version 8 and above answer per group. */
function groupOf(response: ResponseOf<typeof offsetFetch>): {
  readonly errorCode: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly committedOffset: number
      readonly committedLeaderEpoch: number
      readonly metadata: string | null
      readonly errorCode: number
    }[]
  }[]
} {
  return response.groups[0] ?? response
}
