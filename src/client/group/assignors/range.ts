/**
 * range: each topic alone; its partitions in consecutive ranges over its members in stable order, the first members one
 * more when it does not divide. Gives what the Java client's RangeAssignor gives (without racks), so that members
 * written in other languages may lead.
 */
import type { TopicPartition } from '../../consumer/partition-map.ts'
import { type Assignor, inStableOrder, type MemberAssignment, subscribersOf } from './assignor.ts'

/** Gives each topic's partitions in consecutive ranges, as Java's RangeAssignor does. */
export const range: Assignor = {
  name: 'range',
  protocol: 'eager',
  assign(members, partitionCounts) {
    const assignments = new Map<string, TopicPartition[]>(members.map((member) => [member.memberId, []]))
    for (const [topic, subscribers] of subscribersOf(inStableOrder(members), partitionCounts)) {
      const count = partitionCounts.get(topic) ?? 0
      const each = Math.floor(count / subscribers.length)
      const extra = count % subscribers.length
      let next = 0
      for (const [index, member] of subscribers.entries()) {
        const until = next + each + (index < extra ? 1 : 0)
        for (; next < until; next++) assignments.get(member.memberId)!.push({ topic, partition: next })
      }
    }
    return new Map([...assignments].map(([id, partitions]): [string, MemberAssignment] => [id, { partitions }]))
  },
}
