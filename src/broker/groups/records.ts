/**
 * What is written down about groups, as keyed records: the state of a group is the fold of its records, the last one of
 * a key wins, and a record without a value removes its key. So the log may be compacted or rewritten by key, and a
 * coordinator that takes a group over has all that is needed.
 *
 * Offsets have Kafka's own layout (OffsetCommitKey v1, OffsetCommitValue v3). Kafka writes a group as one record with all
 * its members; here a member is a record of its own, so that a join of a large group does not rewrite it. The key
 * versions of these (1001, 1002) are ones that Kafka's tools skip.
 */
import { MillraceError } from '../../base/errors.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'

export type GroupPhase = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable'

export interface GroupValue {
  readonly phase: GroupPhase
  readonly generation: number
  readonly protocolType: string | null
  readonly protocol: string | null
  readonly leader: string | null
  /** When the phase was entered, wall clock. */
  readonly changedAt: number
}

export interface MemberProtocol {
  readonly name: string
  readonly metadata: Buffer
}

export interface MemberValue {
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocols: readonly MemberProtocol[]
  readonly assignment: Buffer
}

export interface OffsetValue {
  readonly offset: number
  /** −1: not given. */
  readonly leaderEpoch: number
  readonly metadata: string
  /** Wall clock of the commit. */
  readonly committedAt: number
}

export type GroupRecord =
  | { readonly kind: 'group'; readonly group: string; readonly value: GroupValue | null }
  | { readonly kind: 'member'; readonly group: string; readonly memberId: string; readonly value: MemberValue | null }
  | {
      readonly kind: 'offset'
      readonly group: string
      readonly topic: string
      readonly partition: number
      readonly value: OffsetValue | null
    }

const phases: readonly GroupPhase[] = ['Empty', 'PreparingRebalance', 'CompletingRebalance', 'Stable']
const offsetKey = 1
const groupKey = 1001
const memberKey = 1002

export function encodeKey(record: GroupRecord): Buffer {
  const w = new Writer()
  switch (record.kind) {
    case 'offset':
      w.int16(offsetKey)
      w.string(record.group)
      w.string(record.topic)
      w.int32(record.partition)
      break
    case 'group':
      w.int16(groupKey)
      w.string(record.group)
      break
    case 'member':
      w.int16(memberKey)
      w.string(record.group)
      w.string(record.memberId)
      break
  }
  return Buffer.concat(w.finish())
}

export function encodeValue(record: GroupRecord): Buffer | null {
  if (record.value === null) return null
  const w = new Writer()
  switch (record.kind) {
    case 'offset': {
      w.int16(3)
      w.int64(record.value.offset)
      w.int32(record.value.leaderEpoch)
      w.string(record.value.metadata)
      w.int64(record.value.committedAt)
      break
    }
    case 'group': {
      w.int16(0)
      w.int8(phases.indexOf(record.value.phase))
      w.int32(record.value.generation)
      w.nullableString(record.value.protocolType)
      w.nullableString(record.value.protocol)
      w.nullableString(record.value.leader)
      w.int64(record.value.changedAt)
      break
    }
    case 'member': {
      w.int16(0)
      w.nullableString(record.value.instanceId)
      w.string(record.value.clientId)
      w.string(record.value.clientHost)
      w.int32(record.value.sessionTimeoutMs)
      w.int32(record.value.rebalanceTimeoutMs)
      w.int32(record.value.protocols.length)
      for (const protocol of record.value.protocols) {
        w.string(protocol.name)
        writeBytes(w, protocol.metadata)
      }
      writeBytes(w, record.value.assignment)
      break
    }
  }
  return Buffer.concat(w.finish())
}

/** Reads a record back; undefined for kinds this broker does not know. Throws on damage. */
export function decodeRecord(key: Buffer, value: Buffer | null): GroupRecord | undefined {
  const k = new Reader(key)
  const version = k.int16()
  const group = k.string()
  const v = value === null ? undefined : new Reader(value)
  let record: GroupRecord
  switch (version) {
    case offsetKey: {
      const topic = k.string()
      const partition = k.int32()
      record = { kind: 'offset', group, topic, partition, value: v === undefined ? null : readOffset(v) }
      break
    }
    case groupKey:
      record = { kind: 'group', group, value: v === undefined ? null : readGroup(v) }
      break
    case memberKey:
      record = { kind: 'member', group, memberId: k.string(), value: v === undefined ? null : readMember(v) }
      break
    default:
      return undefined
  }
  k.check('group record key')
  v?.check('group record value')
  return record
}

function writeBytes(w: Writer, bytes: Buffer): void {
  w.int32(bytes.length)
  w.raw(bytes)
}

/** A copy, so that a small value does not keep the frame it came in. */
function readBytes(v: Reader): Buffer {
  return Buffer.from(v.span(Math.max(v.bytesLength(), 0)))
}

function expectVersion(reader: Reader, version: number): void {
  const found = reader.int16()
  if (found !== version) {
    throw new MillraceError(
      'ERR_GROUP_RECORD',
      `group record of version ${found}, expected ${version}: the log was written by a newer millrace`,
    )
  }
}

function readOffset(v: Reader): OffsetValue {
  expectVersion(v, 3)
  return { offset: v.int64(), leaderEpoch: v.int32(), metadata: v.string(), committedAt: v.int64() }
}

function readGroup(v: Reader): GroupValue {
  expectVersion(v, 0)
  return {
    phase: phases[v.int8()] ?? 'Empty',
    generation: v.int32(),
    protocolType: v.nullableString(),
    protocol: v.nullableString(),
    leader: v.nullableString(),
    changedAt: v.int64(),
  }
}

function readMember(v: Reader): MemberValue {
  expectVersion(v, 0)
  const instanceId = v.nullableString()
  const clientId = v.string()
  const clientHost = v.string()
  const sessionTimeoutMs = v.int32()
  const rebalanceTimeoutMs = v.int32()
  const protocols: MemberProtocol[] = []
  for (let left = v.int32(); left > 0 && !v.failed; left--) protocols.push({ name: v.string(), metadata: readBytes(v) })
  return { instanceId, clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs, protocols, assignment: readBytes(v) }
}
