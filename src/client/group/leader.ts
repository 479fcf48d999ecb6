/**
 * Leader: computes the assignment of a generation from the members' subscriptions and the cluster's picture, and watches
 * that picture for as long as its member leads: a topic that appears or grows needs another rebalance. Owns the list of
 * watched topics and their partition counts.
 */
import { describeError } from '../../base/errors.ts'
import { notify } from '../../base/events.ts'
import { decodeSubscription, encodeAssignment } from '../../protocol/member-payload.ts'
import { Alarm } from '../consumer/alarm.ts'
import { byTopic, type TopicPartition } from '../consumer/partition-map.ts'
import type { ClientPort } from '../consumer/port.ts'
import type { Assignor, AssignorMember } from './assignors/assignor.ts'
import { compare } from './assignors/assignor.ts'
import { GroupError } from './errors.ts'
import type { ResolvedGroupOptions } from './options.ts'

/** A member as JoinGroup's answer describes it to the leader. */
export interface JoinedMember {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly metadata: Buffer
}

export interface EncodedAssignment {
  readonly memberId: string
  readonly assignment: Buffer
}

/** How often a topic that does not exist is looked for, milliseconds. */
const missingTopicRefreshMs = 2_000

export class Leader {
  readonly #port: ClientPort
  readonly #options: ResolvedGroupOptions
  readonly #changed: (why: string) => void
  readonly #alarm: Alarm
  /** Partition counts the current assignment was made of; 0: the topic is missing. */
  #counts = new Map<string, number>()
  #forget: (() => void) | undefined

  constructor(port: ClientPort, options: ResolvedGroupOptions, changed: (why: string) => void) {
    this.#port = port
    this.#options = options
    this.#changed = changed
    this.#alarm = new Alarm(port.scope.scheduler, () => this.#lookForMissing())
  }

  /** The assignments of all members. Rejects with GroupError when the assignor throws or gives nonsense. */
  async assign(assignor: Assignor, joined: readonly JoinedMember[]): Promise<readonly EncodedAssignment[]> {
    const members = joined.map((member) => this.#member(member))
    await this.watch(members.flatMap((member) => member.topics))
    const counts = new Map([...this.#counts].filter(([, count]) => count > 0))
    try {
      const assignments = assignor.assign(members, counts)
      this.#checkNoneTwice(
        assignor,
        [...assignments.values()].flatMap((a) => a.partitions),
      )
      return members.map(({ memberId }) => {
        const { partitions, userData = null } = assignments.get(memberId) ?? { partitions: [] }
        const assignedPartitions = [...byTopic(partitions)].map(([topic, list]) => ({
          topic,
          partitions: list.map((p) => p.partition),
        }))
        return { memberId, assignment: encodeAssignment({ assignedPartitions, userData }) }
      })
    } catch (cause) {
      if (cause instanceof GroupError) throw cause
      const message = `the assignor ${assignor.name} threw: ${describeError(cause)}`
      throw new GroupError('ERR_ASSIGNOR', this.#options.groupId, message, cause)
    }
  }

  /** Takes the picture of `topics` and follows it. Waits until each was looked up. */
  async watch(topics: readonly string[]): Promise<void> {
    const { metadata } = this.#port
    this.stop()
    const wanted = [...new Set(topics)].sort(compare)
    for (const topic of wanted) metadata.track(topic)
    this.#counts = new Map(wanted.map((topic) => [topic, -1]))
    await metadata.require(wanted)
    for (const topic of wanted) this.#counts.set(topic, this.#count(topic))
    this.#forget ??= metadata.onChange(() => this.#compare())
    if (this.#missing().length > 0) this.#wakeForMissing()
  }

  /** The member leads no more. */
  stop(): void {
    this.#forget?.()
    this.#forget = undefined
    this.#alarm.clear()
    for (const topic of this.#counts.keys()) this.#port.metadata.untrack(topic)
    this.#counts = new Map()
  }

  #member({ memberId, groupInstanceId, metadata }: JoinedMember): AssignorMember {
    try {
      const { topics, ownedPartitions, generationId, rackId, userData } = decodeSubscription(metadata)
      const owned: TopicPartition[] = ownedPartitions.flatMap(({ topic, partitions }) =>
        partitions.map((partition) => ({ topic, partition })),
      )
      return { memberId, instanceId: groupInstanceId, topics, owned, generation: generationId, rackId, userData }
    } catch (cause) {
      // A member that sends nonsense gets nothing; the others are not its hostages.
      const { groupId, onEvent } = this.#options
      notify(onEvent, { type: 'retry', groupId, doing: `subscription of ${memberId}`, attempt: 1, delayMs: 0, cause })
      return {
        memberId,
        instanceId: groupInstanceId,
        topics: [],
        owned: [],
        generation: -1,
        rackId: null,
        userData: null,
      }
    }
  }

  #checkNoneTwice(assignor: Assignor, partitions: readonly TopicPartition[]): void {
    const seen = new Set<string>()
    for (const { topic, partition } of partitions) {
      const key = JSON.stringify([topic, partition])
      if (seen.has(key)) {
        const message = `the assignor ${assignor.name} gave ${topic}/${partition} to two members`
        throw new GroupError('ERR_ASSIGNOR', this.#options.groupId, message)
      }
      seen.add(key)
    }
  }

  #count(topic: string): number {
    return this.#port.metadata.view.topic(topic)?.partitions.length ?? 0
  }

  #missing(): string[] {
    return [...this.#counts].filter(([, count]) => count === 0).map(([topic]) => topic)
  }

  #compare(): void {
    for (const [topic, before] of this.#counts) {
      const now = this.#count(topic)
      if (before < 0 || now === before) continue
      this.#changed(before === 0 ? `topic ${topic} appeared` : `${topic} went from ${before} to ${now} partitions`)
      return
    }
  }

  #wakeForMissing(): void {
    this.#alarm.by(this.#port.scope.scheduler.monotonic() + missingTopicRefreshMs)
  }

  #lookForMissing(): void {
    const missing = this.#missing()
    if (missing.length === 0) return
    this.#port.metadata.refresh(`group ${this.#options.groupId} waits for topic ${missing[0]}`)
    this.#wakeForMissing()
  }
}
