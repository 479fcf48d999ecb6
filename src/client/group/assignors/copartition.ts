/**
 * copartition: the same partition number of every topic goes to the same member, because streams join topics and keep
 * their tables by number. Numbers stay with the member that had them as far as the balance allows: counts of any two
 * members differ by at most one. Topics are taken together when exactly the same members subscribe to them.
 */
import type { TopicPartition } from '../../consumer/partition-map.ts'
import { type Assignor, type AssignorMember, inStableOrder, type MemberAssignment, subscribersOf } from './assignor.ts'

/** Gives one member the same partition number of every topic; numbers stay where they were as far as the balance allows. */
export const copartition: Assignor = {
  name: 'copartition',
  protocol: 'eager',
  assign(members, partitionCounts) {
    const assignments = new Map<string, TopicPartition[]>(members.map((member) => [member.memberId, []]))
    for (const { topics, subscribers } of bySubscribers(members, partitionCounts)) {
      const numbers = Math.max(...topics.map((topic) => partitionCounts.get(topic) ?? 0))
      const owners = spread(numbers, subscribers, new Set(topics))
      for (const topic of topics) {
        for (let partition = 0; partition < (partitionCounts.get(topic) ?? 0); partition++) {
          assignments.get(owners[partition]!.memberId)!.push({ topic, partition })
        }
      }
    }
    return new Map([...assignments].map(([id, partitions]): [string, MemberAssignment] => [id, { partitions }]))
  },
}

interface Company {
  readonly topics: string[]
  readonly subscribers: readonly AssignorMember[]
}

/** Topics with the same subscribers belong together. */
function bySubscribers(members: readonly AssignorMember[], partitionCounts: ReadonlyMap<string, number>): Company[] {
  const companies = new Map<string, Company>()
  for (const [topic, subscribers] of subscribersOf(inStableOrder(members), partitionCounts)) {
    const key = JSON.stringify(subscribers.map((member) => member.memberId))
    const company = companies.get(key)
    if (company === undefined) companies.set(key, { topics: [topic], subscribers })
    else company.topics.push(topic)
  }
  return [...companies.values()]
}

/** The owner of each number: first who had it, within the balance, then whoever has least, in order. */
function spread(numbers: number, members: readonly AssignorMember[], topics: ReadonlySet<string>): AssignorMember[] {
  const each = Math.floor(numbers / members.length)
  let mayHaveOneMore = numbers % members.length
  const counts = new Map<AssignorMember, number>(members.map((member) => [member, 0]))
  const owners = new Array<AssignorMember | undefined>(numbers).fill(undefined)
  const claims = previousOwners(numbers, members, topics)
  for (let number = 0; number < numbers; number++) {
    const member = claims[number]
    if (member === undefined) continue
    const count = counts.get(member)!
    if (count > each || (count === each && mayHaveOneMore === 0)) continue
    if (count === each) mayHaveOneMore -= 1
    counts.set(member, count + 1)
    owners[number] = member
  }
  return owners.map((owner) => owner ?? takeLeast(members, counts))
}

function takeLeast(members: readonly AssignorMember[], counts: Map<AssignorMember, number>): AssignorMember {
  let least = members[0]!
  for (const member of members) if (counts.get(member)! < counts.get(least)!) least = member
  counts.set(least, counts.get(least)! + 1)
  return least
}

/** Who had each number last, by the newest generation; ties go to the first in order. */
function previousOwners(
  numbers: number,
  members: readonly AssignorMember[],
  topics: ReadonlySet<string>,
): (AssignorMember | undefined)[] {
  const claims = new Array<AssignorMember | undefined>(numbers).fill(undefined)
  for (const member of members) {
    for (const { topic, partition } of member.owned) {
      if (partition >= numbers || !topics.has(topic)) continue
      const rival = claims[partition]
      if (rival === undefined || rival.generation < member.generation) claims[partition] = member
    }
  }
  return claims
}
