/** Decisions about committed offsets: what a commit writes, what has expired. Pure, like classic.ts. */
import type { GroupRecord } from './records.ts'
import type { GroupState } from './state.ts'

export interface CommitRow {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

/** Records of a commit whose rows were all found good. */
export function commitRecords(group: string, rows: readonly CommitRow[], now: number): GroupRecord[] {
  return rows.map((row) => ({
    kind: 'offset',
    group,
    topic: row.topic,
    partition: row.partition,
    value: { offset: row.offset, leaderEpoch: row.leaderEpoch, metadata: row.metadata, committedAt: now },
  }))
}

/** Tombstones for the offsets of a topic that was deleted. */
export function forgetTopicRecords(group: GroupState, topic: string): GroupRecord[] {
  const partitions = group.offsets.get(topic)
  if (partitions === undefined) return []
  return [...partitions.keys()].map((partition) => ({ kind: 'offset', group: group.id, topic, partition, value: null }))
}

/** Tombstones for what nobody has used for `retentionMs`: only groups without members lose offsets (KIP-211). */
export function expiredRecords(group: GroupState, retentionMs: number, now: number): GroupRecord[] {
  if (group.members.size > 0) return []
  if (group.offsetCount > 0 && now - group.value.changedAt < retentionMs) return []
  const records: GroupRecord[] = []
  let kept = 0
  for (const [topic, partitions] of group.offsets) {
    for (const [partition, value] of partitions) {
      if (now - value.committedAt < retentionMs) kept += 1
      else records.push({ kind: 'offset', group: group.id, topic, partition, value: null })
    }
  }
  if (kept === 0 && group.generation > 0) records.push({ kind: 'group', group: group.id, value: null })
  return records
}
