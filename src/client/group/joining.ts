/**
 * Joining: one round of JoinGroup and SyncGroup, and what each of their errors means. Owns nothing but the requests in
 * flight; the identity is given and returned.
 */
import { joinGroup } from '../../protocol/api/join-group.ts'
import { syncGroup } from '../../protocol/api/sync-group.ts'
import { BrokerError, errorCodes } from '../../protocol/errors.ts'
import { decodeAssignment, encodeSubscription } from '../../protocol/member-payload.ts'
import type { ResponseOf } from '../../protocol/schema.ts'
import { byTopic, type TopicPartition } from '../consumer/partition-map.ts'
import type { PortRequestOptions } from '../consumer/port.ts'
import type { Assignor } from './assignors/assignor.ts'
import type { Coordinator } from './coordinator.ts'
import { fatalGroupError, GroupError } from './errors.ts'
import type { EncodedAssignment } from './leader.ts'
import type { ResolvedGroupOptions } from './options.ts'

export const protocolType = 'consumer'
/** Kafka's own clients cut it here (KIP-800). */
const maxReasonLength = 255

/** What the coordinator said to a join. */
export type JoinOutcome =
  | {
      readonly kind: 'joined'
      readonly memberId: string
      readonly generation: number
      readonly assignor: Assignor
      readonly leads: boolean
      /** The leader of an unchanged group brings no new assignment (KIP-814). */
      readonly skipAssignment: boolean
      readonly members: ResponseOf<typeof joinGroup>['members']
    }
  /** Join again, with this id ('' = as a new member), at once or after the backoff. */
  | { readonly kind: 'again'; readonly memberId: string; readonly atOnce: boolean; readonly error: BrokerError }

/** What the coordinator said to a sync. */
export type SyncOutcome =
  | { readonly kind: 'assigned'; readonly partitions: readonly TopicPartition[]; readonly userData: Buffer | null }
  | { readonly kind: 'again'; readonly memberId: string; readonly atOnce: boolean; readonly error: BrokerError }

/** What a member tells about itself. */
export interface Candidate {
  readonly memberId: string
  readonly topics: readonly string[]
  /** Its last assignment and the generation of it, for sticky assignors. */
  readonly owned: readonly TopicPartition[]
  readonly ownedGeneration: number
  readonly why: string
}

export class Joining {
  readonly #coordinator: Coordinator
  readonly #options: ResolvedGroupOptions
  readonly #lane: string

  /** Joins and syncs wait at the broker: `lane` is the member's own, so that not even a member of the same client waits for it. */
  constructor(coordinator: Coordinator, options: ResolvedGroupOptions, lane: string) {
    this.#coordinator = coordinator
    this.#options = options
    this.#lane = lane
  }

  /** Rejects with GroupError (fatal), or with what the transport says. */
  async join(candidate: Candidate, signal: AbortSignal): Promise<JoinOutcome> {
    const { groupId, instanceId, sessionTimeoutMs, rebalanceTimeoutMs, assignors } = this.#options
    const { memberId } = candidate
    const response = await this.#coordinator.request(
      joinGroup,
      {
        groupId,
        sessionTimeoutMs,
        rebalanceTimeoutMs,
        memberId,
        groupInstanceId: instanceId,
        protocolType,
        protocols: assignors.map((assignor) => ({
          name: assignor.name,
          metadata: this.#subscription(candidate, assignor),
        })),
        reason: candidate.why.slice(0, maxReasonLength),
      },
      this.#patiently(signal),
    )
    const { errorCode } = response
    if (errorCode === 0) return this.#joined(response)
    const again = (id: string, atOnce: boolean): JoinOutcome => ({
      kind: 'again',
      memberId: id,
      atOnce,
      error: new BrokerError(errorCode, `joining group ${groupId}`),
    })
    if (this.#coordinator.isAway(errorCode)) return again(memberId, false)
    const fatal = fatalGroupError(errorCode, groupId)
    if (fatal !== undefined) throw fatal
    if (errorCode === errorCodes.MEMBER_ID_REQUIRED) return again(response.memberId, true)
    if (errorCode === errorCodes.UNKNOWN_MEMBER_ID) return again('', memberId !== '')
    return again(memberId, false)
  }

  /** Rejects with GroupError (fatal), or with what the transport says. */
  async sync(
    joined: Extract<JoinOutcome, { kind: 'joined' }>,
    assignments: readonly EncodedAssignment[],
    signal: AbortSignal,
  ): Promise<SyncOutcome> {
    const { groupId, instanceId } = this.#options
    const { memberId, generation, assignor } = joined
    const response = await this.#coordinator.request(
      syncGroup,
      {
        groupId,
        generationId: generation,
        memberId,
        groupInstanceId: instanceId,
        protocolType,
        protocolName: assignor.name,
        assignments,
      },
      this.#patiently(signal),
    )
    const { errorCode } = response
    if (errorCode === 0) {
      const { assignedPartitions, userData } = decodeAssignment(response.assignment)
      const partitions = assignedPartitions.flatMap((t) =>
        t.partitions.map((partition) => ({ topic: t.topic, partition })),
      )
      return { kind: 'assigned', partitions, userData }
    }
    const away = this.#coordinator.isAway(errorCode)
    const fatal = fatalGroupError(errorCode, groupId)
    if (fatal !== undefined) throw fatal
    const unknown = errorCode === errorCodes.UNKNOWN_MEMBER_ID
    return {
      kind: 'again',
      memberId: unknown ? '' : memberId,
      atOnce: !away && errorCode !== errorCodes.UNKNOWN_SERVER_ERROR,
      error: new BrokerError(errorCode, `syncing group ${groupId}`),
    }
  }

  #joined(response: ResponseOf<typeof joinGroup>): JoinOutcome {
    const { groupId, assignors } = this.#options
    const { memberId, generationId: generation, protocolName, leader, skipAssignment, members } = response
    const assignor = assignors.find((a) => a.name === protocolName)
    if (assignor === undefined) {
      const message = `the group chose the assignor ${protocolName}, which was not offered`
      throw new GroupError('INCONSISTENT_GROUP_PROTOCOL', groupId, message)
    }
    return { kind: 'joined', memberId, generation, assignor, leads: leader === memberId, skipAssignment, members }
  }

  #subscription(candidate: Candidate, assignor: Assignor): Buffer {
    const { topics, owned, ownedGeneration } = candidate
    const ownedPartitions = [...byTopic(owned)].map(([topic, list]) => ({
      topic,
      partitions: list.map((p) => p.partition),
    }))
    const userData = assignor.userData?.(topics) ?? null
    return encodeSubscription({
      topics,
      userData,
      ownedPartitions,
      generationId: ownedGeneration,
      rackId: this.#options.rackId,
    })
  }

  /** The coordinator answers when all members are here, at the latest after the rebalance time-out. */
  #patiently(signal: AbortSignal): PortRequestOptions {
    return { lane: this.#lane, extraWaitMs: this.#options.rebalanceTimeoutMs, signal }
  }
}
