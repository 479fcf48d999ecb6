/**
 * GroupReader: joins membership and reading. Partitions come with the group's committed offsets and go after a last
 * commit. Owns the membership; the cursors belong to Reading, the commits to Commits.
 */
import type { MillraceError } from '../../base/errors.ts'
import type { Resolved } from '../../base/options.ts'
import { ClassicMembership } from '../group/classic.ts'
import type { CommittedOffset, GroupListener, GroupMembership } from '../group/membership.ts'
import type { Commits } from './commits.ts'
import type { ConsumerOptions } from './options.ts'
import { PartitionMap, type TopicPartition } from './partition-map.ts'
import type { ClientPort } from './port.ts'
import type { Reading } from './reading.ts'

export interface GroupReaderParts {
  readonly reading: Reading
  readonly commits: Commits
  /** Partitions the user paused. */
  readonly paused: PartitionMap<true>
  failed(error: MillraceError): void
}

export class GroupReader implements GroupListener {
  readonly membership: GroupMembership
  readonly #options: Resolved<ConsumerOptions>
  readonly #parts: GroupReaderParts

  constructor(
    port: ClientPort,
    options: Resolved<ConsumerOptions>,
    topics: readonly string[],
    parts: GroupReaderParts,
  ) {
    this.#options = options
    this.#parts = parts
    this.membership = new ClassicMembership(port, {
      groupId: options.groupId,
      groupInstanceId: options.groupInstanceId,
      topics,
      sessionTimeoutMs: options.sessionTimeoutMs,
      heartbeatIntervalMs: options.heartbeatIntervalMs,
      rebalanceTimeoutMs: options.rebalanceTimeoutMs,
      assignors: options.assignors,
      retryBackoffMs: options.retryBackoffMs,
      retryBackoffMaxMs: options.retryBackoffMaxMs,
      listener: this,
      onEvent: (event) => parts.reading.event({ type: 'group', event }),
    })
    parts.commits.member(this.membership)
    this.membership.join()
  }

  async onAssigned(added: readonly TopicPartition[]): Promise<void> {
    const { reading, commits, paused } = this.#parts
    const offsets = new PartitionMap<CommittedOffset>()
    for (const found of await commits.committed(added)) offsets.set(found.topic, found.partition, found)
    for (const { topic, partition } of [...paused.keys()]) {
      if (!offsets.has(topic, partition)) paused.delete(topic, partition)
    }
    for (const cursor of reading.add(added, (p) => paused.has(p.topic, p.partition))) {
      const found = offsets.get(cursor.topic, cursor.partition)
      const offset = found === undefined || found.offset < 0 ? undefined : found.offset
      reading.place(cursor, offset, found?.leaderEpoch)
    }
    reading.event({ type: 'assigned', partitions: added })
    await this.#options.onAssigned(added)
  }

  async onRevoked(removed: readonly TopicPartition[]): Promise<void> {
    const { reading, commits } = this.#parts
    for (const { topic, partition } of removed) reading.withhold(topic, partition)
    try {
      await this.#options.onRevoked(removed)
      await commits.last(removed)
    } finally {
      this.#remove(removed)
    }
  }

  onLost(removed: readonly TopicPartition[]): void {
    this.#remove(removed)
    this.#options.onLost(removed)
  }

  onError(fatal: MillraceError): void {
    this.#parts.failed(fatal)
  }

  #remove(removed: readonly TopicPartition[]): void {
    this.#parts.reading.remove(removed)
    this.#parts.reading.event({ type: 'unassigned', partitions: removed })
  }
}
