/**
 * What an assignor is: a pure function from members and topics to assignments, run by the group's leader. It must be
 * deterministic in its input. Its name is what members agree on, so all members of a group use the same implementation.
 */
import type { TopicPartition } from '../../consumer/partition-map.ts'

/** A member as its leader sees it. */
export interface AssignorMember {
  /** Given by the coordinator; another one after each start of a dynamic member. */
  readonly memberId: string
  /** The name of a static member; null: it is dynamic. */
  readonly instanceId: string | null
  /** What it subscribes to. */
  readonly topics: readonly string[]
  /** What it had in `generation`: a hint for sticky assignors. */
  readonly owned: readonly TopicPartition[]
  /** Generation of `owned`, -1 none. */
  readonly generation: number
  /** Where it runs, if it says so. */
  readonly rackId: string | null
  /** What the assignor of the member put in. */
  readonly userData: Buffer | null
}

/** What a member gets. */
export interface MemberAssignment {
  /** In any order. */
  readonly partitions: readonly TopicPartition[]
  /** Handed to the member's `assigned`. Default none. */
  readonly userData?: Buffer | null
}

/** How partitions are spread over the members of a group. */
export interface Assignor {
  /** The name on the wire, known to all members. */
  readonly name: string
  /** How it wants rebalances. Only 'eager' is supported. */
  readonly protocol: 'eager'
  /** Data for the leader's `assign`, asked for before each join. Default none. */
  userData?(topics: readonly string[]): Buffer | null
  /** By member id; a member that is missing gets nothing. `partitionCounts` lacks topics that do not exist. */
  assign(
    members: readonly AssignorMember[],
    partitionCounts: ReadonlyMap<string, number>,
  ): ReadonlyMap<string, MemberAssignment>
  /** The member's own assignment has arrived. */
  assigned?(assignment: MemberAssignment, generation: number): void
}

/** Members in an order that survives restarts: by instance id, where there is one, before those without. */
export function inStableOrder(members: readonly AssignorMember[]): AssignorMember[] {
  return [...members].sort((a, b) => {
    if (a.instanceId !== null && b.instanceId !== null) return compare(a.instanceId, b.instanceId)
    if (a.instanceId !== null) return -1
    if (b.instanceId !== null) return 1
    return compare(a.memberId, b.memberId)
  })
}

/** By UTF-16 code units, as Java's String.compareTo: the same on every machine. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Topic to members subscribed to it, topics sorted, members in the given order; topics without partitions left out. */
export function subscribersOf(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, AssignorMember[]> {
  const subscribers = new Map<string, AssignorMember[]>()
  const topics = new Set(members.flatMap((member) => member.topics))
  for (const topic of [...topics].sort(compare)) {
    if ((partitionCounts.get(topic) ?? 0) > 0) {
      subscribers.set(
        topic,
        members.filter((member) => member.topics.includes(topic)),
      )
    }
  }
  return subscribers
}
