/**
 * The classic group protocol as decisions: state and request in, records and an outcome out, nothing changed. What must
 * be kept goes into the records, which the caller appends, applies, and only then acts on the outcome.
 * The rules are Apache Kafka's (KIP-62, 345, 394, 814); the state diagram is in docs/design/groups.md.
 */
import { errorCodes } from '../../protocol/errors.ts'
import type { GroupPhase, GroupRecord, GroupValue, MemberProtocol, MemberValue } from './records.ts'
import type { GroupState, Member } from './state.ts'

/** What a decision may ask about answers that wait and ids that were only handed out. */
export interface Waiting {
  /** The member's JoinGroup waits for the rebalance to complete. */
  isJoining(memberId: string): boolean
  readonly joiningCount: number
  /** The id was given with MEMBER_ID_REQUIRED and has not been used yet. */
  isPending(memberId: string): boolean
  readonly pendingCount: number
}

export interface JoinCommand {
  readonly memberId: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocolType: string
  readonly protocols: readonly MemberProtocol[]
  /** From JoinGroup v4 a dynamic member must come back with the id it was given. */
  readonly needsKnownId: boolean
  /** From JoinGroup v9 a leader can be told not to assign. */
  readonly canSkipAssignment: boolean
}

export interface Decision<T> {
  readonly records: readonly GroupRecord[]
  readonly outcome: T
  /** A static member that was replaced: what waits for it is answered FENCED_INSTANCE_ID. */
  readonly fenced?: string
}

export type JoinOutcome =
  | { readonly is: 'refused'; readonly errorCode: number; readonly memberId: string }
  /** Answer MEMBER_ID_REQUIRED and remember the id for a session time-out. */
  | { readonly is: 'idRequired'; readonly memberId: string }
  /** The answer waits until the rebalance completes. */
  | { readonly is: 'wait'; readonly memberId: string }
  /** Answer the current generation. `leader` is who to name; `skipAssignment`: it gets the members but does not assign. */
  | { readonly is: 'current'; readonly memberId: string; readonly leader: string; readonly skipAssignment: boolean }

const nobody = Buffer.alloc(0)

/** The group's value in another phase. */
function inPhase(group: GroupState, phase: GroupPhase, now: number, change: Partial<GroupValue> = {}): GroupRecord {
  return { kind: 'group', group: group.id, value: { ...group.value, ...change, phase, changedAt: now } }
}

function memberRecord(group: GroupState, memberId: string, value: MemberValue | null): GroupRecord {
  return { kind: 'member', group: group.id, memberId, value }
}

/** Records that begin a rebalance, unless one is already waiting for members. */
function rebalanceRecords(group: GroupState, now: number): GroupRecord[] {
  return group.phase === 'PreparingRebalance' || group.phase === 'Empty'
    ? []
    : [inPhase(group, 'PreparingRebalance', now)]
}

/** The protocol most members put first among those that all support; ties go to the one that comes first. */
export function selectProtocol(members: readonly MemberValue[]): string | null {
  const first = members[0]
  if (first === undefined) return null
  const common = first.protocols
    .map((protocol) => protocol.name)
    .filter((name) => members.every((member) => member.protocols.some((protocol) => protocol.name === name)))
  const votes = new Map<string, number>()
  for (const member of members) {
    const favourite = member.protocols.find((protocol) => common.includes(protocol.name))
    if (favourite !== undefined) votes.set(favourite.name, (votes.get(favourite.name) ?? 0) + 1)
  }
  let best: string | null = null
  for (const name of common) if (best === null || (votes.get(name) ?? 0) > (votes.get(best) ?? 0)) best = name
  return best
}

function supports(group: GroupState, c: JoinCommand): boolean {
  if (c.protocolType === '' || c.protocols.length === 0) return false
  if (group.members.size === 0) return true
  if (group.value.protocolType !== c.protocolType) return false
  for (const { name } of c.protocols) {
    let all = true
    for (const member of group.members.values()) {
      // a member that comes back replaces what it said before
      if (member.id === c.memberId || (c.instanceId !== null && member.instanceId === c.instanceId)) continue
      if (!member.protocols.some((protocol) => protocol.name === name)) {
        all = false
        break
      }
    }
    if (all) return true
  }
  return false
}

function sameProtocols(member: MemberValue, c: JoinCommand): boolean {
  return (
    member.protocols.length === c.protocols.length &&
    member.protocols.every((known, i) => {
      const given = c.protocols[i]!
      return known.name === given.name && known.metadata.equals(given.metadata)
    })
  )
}

function refused<T extends { is: 'refused'; errorCode: number; memberId: string }>(
  errorCode: number,
  memberId: string,
): Decision<T> {
  return { records: [], outcome: { is: 'refused', errorCode, memberId } as T }
}

function memberValue(c: JoinCommand, assignment: Buffer): MemberValue {
  return {
    instanceId: c.instanceId,
    clientId: c.clientId,
    clientHost: c.clientHost,
    sessionTimeoutMs: c.sessionTimeoutMs,
    rebalanceTimeoutMs: c.rebalanceTimeoutMs,
    protocols: c.protocols,
    assignment,
  }
}

/** Whether a request speaks for a member of the group: 0, or why not. */
export function checkIdentity(group: GroupState, memberId: string, instanceId: string | null): number {
  if (instanceId !== null) {
    const holder = group.memberOf(instanceId)
    if (holder === undefined) return errorCodes.UNKNOWN_MEMBER_ID
    return holder === memberId ? 0 : errorCodes.FENCED_INSTANCE_ID
  }
  return group.members.has(memberId) ? 0 : errorCodes.UNKNOWN_MEMBER_ID
}

/** What to do with a JoinGroup. `freshId` makes a member id when one is needed. */
export function decideJoin(
  group: GroupState,
  waiting: Waiting,
  c: JoinCommand,
  freshId: () => string,
  maxMembers: number,
  now: number,
): Decision<JoinOutcome> {
  if (!supports(group, c)) return refused(errorCodes.INCONSISTENT_GROUP_PROTOCOL, c.memberId)
  if (c.memberId === '') {
    const holder = c.instanceId === null ? undefined : group.memberOf(c.instanceId)
    if (holder !== undefined) return replaceStatic(group, group.members.get(holder)!, freshId(), c, now)
    if (group.members.size + waiting.pendingCount >= maxMembers) return refused(errorCodes.GROUP_MAX_SIZE_REACHED, '')
    if (c.instanceId === null && c.needsKnownId)
      return { records: [], outcome: { is: 'idRequired', memberId: freshId() } }
    return addMember(group, freshId(), c, now)
  }
  if (c.instanceId === null && waiting.isPending(c.memberId)) return addMember(group, c.memberId, c, now)
  const fault = checkIdentity(group, c.memberId, c.instanceId)
  if (fault !== 0) return refused(fault, c.memberId)
  const member = group.members.get(c.memberId)!
  switch (group.phase) {
    case 'PreparingRebalance':
      return rejoin(group, member, c, now)
    case 'CompletingRebalance':
      // the answer was lost, or the member asks again: it gets the same generation
      return sameProtocols(member, c) ? current(group, member.id) : rejoin(group, member, c, now)
    case 'Stable':
      // a leader that joins again wants a new assignment
      return member.id !== group.value.leader && sameProtocols(member, c)
        ? current(group, member.id)
        : rejoin(group, member, c, now)
    case 'Empty':
      return refused(errorCodes.UNKNOWN_MEMBER_ID, c.memberId)
  }
}

function current(group: GroupState, memberId: string): Decision<JoinOutcome> {
  return { records: [], outcome: { is: 'current', memberId, leader: group.value.leader ?? '', skipAssignment: false } }
}

function addMember(group: GroupState, memberId: string, c: JoinCommand, now: number): Decision<JoinOutcome> {
  const records: GroupRecord[] = [memberRecord(group, memberId, memberValue(c, nobody))]
  if (group.phase !== 'PreparingRebalance') {
    const change = group.members.size === 0 ? { protocolType: c.protocolType } : {}
    records.push(inPhase(group, 'PreparingRebalance', now, change))
  }
  return { records, outcome: { is: 'wait', memberId } }
}

function rejoin(group: GroupState, member: Member, c: JoinCommand, now: number): Decision<JoinOutcome> {
  const records: GroupRecord[] = [
    memberRecord(group, member.id, memberValue(c, member.assignment)),
    ...rebalanceRecords(group, now),
  ]
  return { records, outcome: { is: 'wait', memberId: member.id } }
}

/** A static member came back without its id (it was restarted): it takes its old place under a new id. */
function replaceStatic(
  group: GroupState,
  old: Member,
  memberId: string,
  c: JoinCommand,
  now: number,
): Decision<JoinOutcome> {
  const value = memberValue(c, old.assignment)
  const wasLeader = group.value.leader === old.id
  const records: GroupRecord[] = [memberRecord(group, old.id, null), memberRecord(group, memberId, value)]
  const leader = wasLeader ? memberId : group.value.leader
  const others = [...group.members.values()].filter((member) => member.id !== old.id)
  if (group.phase === 'Stable' && selectProtocol([...others, value]) === group.value.protocol) {
    if (wasLeader) records.push({ kind: 'group', group: group.id, value: { ...group.value, leader } })
    // an older client that is named leader would assign anew: it is told that the old id leads, so it takes what it had
    const named = wasLeader && !c.canSkipAssignment ? old.id : (leader ?? '')
    const skipAssignment = wasLeader && c.canSkipAssignment
    return { records, outcome: { is: 'current', memberId, leader: named, skipAssignment }, fenced: old.id }
  }
  if (group.phase === 'PreparingRebalance') {
    if (wasLeader) records.push({ kind: 'group', group: group.id, value: { ...group.value, leader } })
  } else {
    records.push(inPhase(group, 'PreparingRebalance', now, { leader }))
  }
  return { records, outcome: { is: 'wait', memberId }, fenced: old.id }
}

/** Every member waits for the rebalance and no id is outstanding. */
export function allJoined(group: GroupState, waiting: Waiting): boolean {
  return (
    group.phase === 'PreparingRebalance' && waiting.pendingCount === 0 && waiting.joiningCount >= group.members.size
  )
}

/** `extend`: only static members are left and none has come back yet: wait again. */
export type CompleteOutcome =
  | { readonly is: 'completed'; readonly removed: readonly string[] }
  | { readonly is: 'extend' }

/** Ends the join phase: who has not rejoined is out (static members stay until their session ends). */
export function decideComplete(group: GroupState, waiting: Waiting, now: number): Decision<CompleteOutcome> {
  const removed: string[] = []
  const remaining: Member[] = []
  let leader: string | null = null
  for (const member of group.members.values()) {
    if (member.instanceId === null && !waiting.isJoining(member.id)) removed.push(member.id)
    else remaining.push(member)
  }
  const records: GroupRecord[] = removed.map((id) => memberRecord(group, id, null))
  const generation = group.generation + 1
  if (remaining.length === 0) {
    records.push(inPhase(group, 'Empty', now, { generation, protocol: null, leader: null }))
    return { records, outcome: { is: 'completed', removed } }
  }
  const joined = remaining.filter((member) => waiting.isJoining(member.id))
  if (joined.some((member) => member.id === group.value.leader)) leader = group.value.leader
  else leader = joined[0]?.id ?? null
  if (leader === null) return { records: [], outcome: { is: 'extend' } }
  const protocol = selectProtocol(remaining)
  records.push(inPhase(group, 'CompletingRebalance', now, { generation, protocol, leader }))
  return { records, outcome: { is: 'completed', removed } }
}

export interface SyncCommand {
  readonly memberId: string
  readonly instanceId: string | null
  readonly generation: number
  /** From SyncGroup v5; null: not given. */
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignments: ReadonlyMap<string, Buffer>
}

export type SyncOutcome =
  | { readonly is: 'refused'; readonly errorCode: number; readonly memberId: string }
  | { readonly is: 'wait' }
  /** The leader has assigned: everyone who waits gets an answer. */
  | { readonly is: 'assigned' }
  | { readonly is: 'current'; readonly assignment: Buffer }

export function decideSync(group: GroupState, c: SyncCommand, now: number): Decision<SyncOutcome> {
  const fault = checkIdentity(group, c.memberId, c.instanceId)
  if (fault !== 0) return refused(fault, c.memberId)
  if (c.generation !== group.generation) return refused(errorCodes.ILLEGAL_GENERATION, c.memberId)
  if (
    (c.protocolType !== null && c.protocolType !== group.value.protocolType) ||
    (c.protocolName !== null && c.protocolName !== group.value.protocol)
  ) {
    return refused(errorCodes.INCONSISTENT_GROUP_PROTOCOL, c.memberId)
  }
  switch (group.phase) {
    case 'Empty':
      return refused(errorCodes.UNKNOWN_MEMBER_ID, c.memberId)
    case 'PreparingRebalance':
      return refused(errorCodes.REBALANCE_IN_PROGRESS, c.memberId)
    case 'CompletingRebalance': {
      if (c.memberId !== group.value.leader) return { records: [], outcome: { is: 'wait' } }
      const records: GroupRecord[] = []
      for (const member of group.members.values()) {
        records.push(memberRecord(group, member.id, { ...member, assignment: c.assignments.get(member.id) ?? nobody }))
      }
      records.push(inPhase(group, 'Stable', now))
      return { records, outcome: { is: 'assigned' } }
    }
    case 'Stable':
      return { records: [], outcome: { is: 'current', assignment: group.members.get(c.memberId)!.assignment } }
  }
}

/** The error of a heartbeat, or 0. */
export function checkHeartbeat(
  group: GroupState,
  memberId: string,
  instanceId: string | null,
  generation: number,
): number {
  const fault = checkIdentity(group, memberId, instanceId)
  if (fault !== 0) return fault
  if (generation !== group.generation) return errorCodes.ILLEGAL_GENERATION
  if (group.phase === 'Empty') return errorCodes.UNKNOWN_MEMBER_ID
  return group.phase === 'PreparingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : 0
}

/** Records that take a member out and make the others rebalance. */
export function removeMember(group: GroupState, memberId: string, now: number): readonly GroupRecord[] {
  return [memberRecord(group, memberId, null), ...rebalanceRecords(group, now)]
}

/** The members that get a JoinGroup answer with subscriptions: the leader's view. */
export function subscriptions(
  group: GroupState,
): { memberId: string; groupInstanceId: string | null; metadata: Buffer }[] {
  const protocol = group.value.protocol
  return [...group.members.values()].map((member) => ({
    memberId: member.id,
    groupInstanceId: member.instanceId,
    metadata: member.protocols.find((p) => p.name === protocol)?.metadata ?? nobody,
  }))
}
