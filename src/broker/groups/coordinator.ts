/**
 * GroupCoordinator: all groups of the broker, over all its nodes. A group belongs to a partition of
 * `__consumer_offsets`, and the leader of that partition is the node that answers for it.
 * Owns   the active groups. Loads them from the log at start and when a partition changes its leader, so that a restart
 *        or a move of the coordinator is nothing but reading the log.
 */
import { assert } from '../../base/assert.ts'
import type { Random, Scheduler } from '../../base/scope.ts'
import { errorCodes } from '../../protocol/errors.ts'
import { type Cluster, offsetsTopic, type Topic } from '../cluster.ts'
import type { BrokerEvent } from '../events.ts'
import type { Partition } from '../partition.ts'
import { ActiveGroup, type GroupHome, type JoinAnswer, joinError, type SyncAnswer, syncError } from './active-group.ts'
import type { JoinCommand, SyncCommand } from './classic.ts'
import { Journal } from './journal.ts'
import { type CommitRow, commitRecords, expiredRecords, forgetTopicRecords } from './offsets.ts'
import type { GroupRecord, OffsetValue } from './records.ts'

export interface CoordinatorOptions {
  readonly minSessionTimeoutMs: number
  readonly maxSessionTimeoutMs: number
  readonly initialRebalanceDelayMs: number
  readonly maxGroupMembers: number
  readonly maxMemberMetadataBytes: number
  readonly maxGroups: number
  readonly offsetsRetentionMs: number
  readonly offsetsTopicPartitions: number
}

export interface LeaveResult {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly errorCode: number
}

/** How often, at most, expired offsets are looked for: when something is committed. */
const sweepMs = 600_000

export class GroupCoordinator {
  readonly #cluster: Cluster
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #options: CoordinatorOptions
  readonly #notify: (event: BrokerEvent) => void
  readonly #journal: Journal
  readonly #groups = new Map<string, ActiveGroup>()
  #nextSweep: number

  constructor(
    cluster: Cluster,
    scheduler: Scheduler,
    random: Random,
    options: CoordinatorOptions,
    notify: (event: BrokerEvent) => void,
  ) {
    this.#cluster = cluster
    this.#scheduler = scheduler
    this.#random = random
    this.#options = options
    this.#notify = notify
    this.#journal = new Journal((partition, bytes) => cluster.appended(partition, bytes, scheduler.now()))
    this.#nextSweep = scheduler.now() + sweepMs
    for (const partition of cluster.topic(offsetsTopic)?.partitions ?? []) this.#load(partition)
  }

  get groupCount(): number {
    return this.#groups.size
  }

  /** A group's state, for tests and tools. */
  group(id: string): ActiveGroup | undefined {
    return this.#groups.get(id)
  }

  /** The partition that a group is kept in. */
  partitionOf(groupId: string): Partition {
    const { partitions } = this.#cluster.offsetsTopic(this.#options.offsetsTopicPartitions)
    const partition = partitions[javaHash(groupId) % partitions.length]
    assert(partition !== undefined, 'the offsets topic has partitions')
    return partition
  }

  /** Whether `node` answers for the group: 0 or the error. */
  checkNode(node: number, groupId: string): number {
    return this.partitionOf(groupId).leader === node ? 0 : errorCodes.NOT_COORDINATOR
  }

  /** A partition of the offsets topic has another leader: its groups are given up and read again. */
  moved(partition: Partition): void {
    if (partition.topic.name !== offsetsTopic) return
    for (const [id, group] of [...this.#groups]) {
      if (this.partitionOf(id) !== partition) continue
      this.#groups.delete(id)
      group.unload(errorCodes.NOT_COORDINATOR)
    }
    if (partition.leader !== -1) this.#load(partition)
  }

  #load(partition: Partition): void {
    const loaded = new Set<ActiveGroup>()
    for (const record of this.#journal.read(partition)) {
      const group = this.#groups.get(record.group) ?? this.#open(record.group)
      group.state.apply(record)
      loaded.add(group)
    }
    for (const group of loaded) {
      if (group.isBlank) this.#groups.delete(group.state.id)
      else group.resume()
    }
  }

  #open(id: string): ActiveGroup {
    const home: GroupHome = {
      scheduler: this.#scheduler,
      maxMembers: this.#options.maxGroupMembers,
      initialRebalanceDelayMs: this.#options.initialRebalanceDelayMs,
      append: (records, then) => this.#append(group, records, then),
      freshMemberId: (prefix) => this.#freshMemberId(prefix),
      idle: () => this.#collect(group),
      notify: this.#notify,
    }
    const group = new ActiveGroup(id, home)
    this.#groups.set(id, group)
    return group
  }

  /** The log is in memory, so what is appended is safe at once; a log on disk would call `then` after its sync. */
  #append(group: ActiveGroup, records: readonly GroupRecord[], then: () => void): void {
    const partition = this.partitionOf(group.state.id)
    const now = this.#scheduler.now()
    this.#journal.append(partition, records, now)
    for (const record of records) group.state.apply(record)
    this.#journal.maybeRewrite(partition, () => this.#liveRecords(partition), now)
    then()
  }

  *#liveRecords(partition: Partition): IterableIterator<GroupRecord> {
    for (const [id, group] of this.#groups) if (this.partitionOf(id) === partition) yield* group.state.records()
  }

  #freshMemberId(prefix: string): string {
    const hex = this.#random.bytes(16).toString('hex')
    const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    return `${prefix}-${parts.join('-')}`
  }

  // ---- requests

  join(groupId: string, c: JoinCommand, answer: (answer: JoinAnswer) => void): void {
    this.#maybeSweep()
    const fault = this.#checkJoin(groupId, c)
    if (fault !== 0) {
      answer(joinError(fault, c.memberId))
      return
    }
    const group = this.#groups.get(groupId) ?? this.#open(groupId)
    group.join(c, answer)
    this.#collect(group)
  }

  /** What is wrong with a join before its group is asked: 0 or the error. */
  #checkJoin(groupId: string, c: JoinCommand): number {
    if (groupId === '') return errorCodes.INVALID_GROUP_ID
    const { minSessionTimeoutMs, maxSessionTimeoutMs, maxGroups, maxMemberMetadataBytes } = this.#options
    if (c.sessionTimeoutMs < minSessionTimeoutMs || c.sessionTimeoutMs > maxSessionTimeoutMs) {
      return errorCodes.INVALID_SESSION_TIMEOUT
    }
    let bytes = 0
    for (const { name, metadata } of c.protocols) bytes += name.length + metadata.length
    if (bytes > maxMemberMetadataBytes) return errorCodes.MESSAGE_TOO_LARGE
    if (this.#groups.has(groupId)) return 0
    if (c.memberId !== '') return errorCodes.UNKNOWN_MEMBER_ID
    return this.#groups.size >= maxGroups ? errorCodes.GROUP_MAX_SIZE_REACHED : 0
  }

  sync(groupId: string, c: SyncCommand, answer: (answer: SyncAnswer) => void): void {
    const group = this.#groups.get(groupId)
    const tooLarge = [...c.assignments.values()].some((bytes) => bytes.length > this.#options.maxMemberMetadataBytes)
    if (groupId === '') answer(syncError(errorCodes.INVALID_GROUP_ID))
    else if (tooLarge) answer(syncError(errorCodes.MESSAGE_TOO_LARGE))
    else if (group === undefined) answer(syncError(errorCodes.UNKNOWN_MEMBER_ID))
    else group.sync(c, answer)
  }

  heartbeat(groupId: string, memberId: string, instanceId: string | null, generation: number): number {
    if (groupId === '') return errorCodes.INVALID_GROUP_ID
    return this.#groups.get(groupId)?.heartbeat(memberId, instanceId, generation) ?? errorCodes.UNKNOWN_MEMBER_ID
  }

  leave(
    groupId: string,
    members: readonly { readonly memberId: string; readonly groupInstanceId: string | null }[],
  ): { errorCode: number; members: LeaveResult[] } {
    if (groupId === '') return { errorCode: errorCodes.INVALID_GROUP_ID, members: [] }
    const group = this.#groups.get(groupId)
    const results = members.map(({ memberId, groupInstanceId }) => ({
      memberId,
      groupInstanceId,
      errorCode: group === undefined ? errorCodes.UNKNOWN_MEMBER_ID : group.leave(memberId, groupInstanceId),
    }))
    if (group !== undefined) this.#collect(group)
    return { errorCode: 0, members: results }
  }

  /** Whether offsets may be committed in this name: 0 or the error. */
  checkCommit(groupId: string, memberId: string, instanceId: string | null, generation: number): number {
    this.#maybeSweep()
    const group = this.#groups.get(groupId)
    if (group !== undefined) return group.checkCommit(memberId, instanceId, generation)
    if (generation >= 0) return errorCodes.ILLEGAL_GENERATION
    return this.#groups.size >= this.#options.maxGroups ? errorCodes.GROUP_MAX_SIZE_REACHED : 0
  }

  /** Stores rows after `checkCommit` said 0; `then` is called when they are safe. */
  commit(groupId: string, rows: readonly CommitRow[], then: () => void): void {
    if (rows.length === 0) {
      then()
      return
    }
    const group = this.#groups.get(groupId) ?? this.#open(groupId)
    group.store(commitRecords(groupId, rows, this.#scheduler.now()), then)
  }

  offset(groupId: string, topic: string, partition: number): OffsetValue | undefined {
    return this.#groups.get(groupId)?.state.offset(topic, partition)
  }

  offsets(groupId: string): ReadonlyMap<string, ReadonlyMap<number, OffsetValue>> {
    return this.#groups.get(groupId)?.state.offsets ?? new Map()
  }

  /** The offsets of a deleted topic go with it. */
  topicDeleted(topic: Topic): void {
    for (const group of [...this.#groups.values()]) {
      const records = forgetTopicRecords(group.state, topic.name)
      if (records.length > 0) group.store(records, () => this.#collect(group))
    }
  }

  #maybeSweep(): void {
    const now = this.#scheduler.now()
    if (now < this.#nextSweep) return
    this.#nextSweep = now + sweepMs
    for (const group of [...this.#groups.values()]) {
      const records = expiredRecords(group.state, this.#options.offsetsRetentionMs, now)
      if (records.length > 0) group.store(records, () => this.#collect(group))
    }
  }

  /** Forgets a group of which nothing is left. */
  #collect(group: ActiveGroup): void {
    if (group.isBlank && this.#groups.get(group.state.id) === group) this.#groups.delete(group.state.id)
  }
}

/** Java's `String.hashCode`, not negative: where Kafka puts a group. */
function javaHash(text: string): number {
  let hash = 0
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
  return hash & 0x7fff_ffff
}
