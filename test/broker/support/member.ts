/** A group member without logic: it says exactly what a test tells it to, and remembers ids and generation. */
import { heartbeat } from '../../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../../src/protocol/api/leave-group.ts'
import { offsetCommit } from '../../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../../src/protocol/api/offset-fetch.ts'
import { syncGroup } from '../../../src/protocol/api/sync-group.ts'
import { named, type RawClient } from './kit.ts'

/** Where members live: a simulated world, or the real one. */
export interface MemberKit {
  /** A connection to the node that coordinates the group. */
  client(node?: number, clientId?: string): Promise<RawClient>
  sleep(ms: number): Promise<void>
}

export interface MemberOptions {
  readonly group?: string
  readonly instanceId?: string
  readonly sessionTimeoutMs?: number
  readonly rebalanceTimeoutMs?: number
  /** Protocol names, or names with what they carry: `range`, `range=topics:a`. */
  readonly protocols?: readonly string[]
  readonly protocolType?: string
  readonly joinVersion?: number
  readonly node?: number
}

export class Member {
  readonly name: string
  readonly options: MemberOptions
  readonly client: RawClient
  memberId = ''
  generation = -1
  /** The last JoinGroup answer. */
  joined: Awaited<ReturnType<Member['joinOnce']>> | undefined

  constructor(name: string, client: RawClient, options: MemberOptions) {
    this.name = name
    this.client = client
    this.options = options
  }

  static async create(kit: Pick<MemberKit, 'client'>, name: string, options: MemberOptions = {}): Promise<Member> {
    return new Member(name, await kit.client(options.node ?? 1, name), options)
  }

  get group(): string {
    return this.options.group ?? 'g'
  }

  get instanceId(): string | null {
    return this.options.instanceId ?? null
  }

  /** One JoinGroup. */
  async joinOnce() {
    const version = this.options.joinVersion ?? 9
    return await this.client.ask(joinGroup, version, {
      groupId: this.group,
      sessionTimeoutMs: this.options.sessionTimeoutMs ?? 10_000,
      ...(version >= 1 && { rebalanceTimeoutMs: this.options.rebalanceTimeoutMs ?? 20_000 }),
      memberId: this.memberId,
      ...(version >= 5 && { groupInstanceId: this.instanceId }),
      protocolType: this.options.protocolType ?? 'consumer',
      protocols: (this.options.protocols ?? ['range']).map((text) => {
        const [name = '', metadata = this.name] = text.split('=')
        return { name, metadata: Buffer.from(metadata) }
      }),
    })
  }

  /** JoinGroup, again with the id when the broker wants that. Resolves with `ok` or the error's name. */
  async join(): Promise<string> {
    let answer = await this.joinOnce()
    if (named(answer.errorCode) === 'MEMBER_ID_REQUIRED') {
      this.memberId = answer.memberId
      answer = await this.joinOnce()
    }
    this.joined = answer
    if (answer.errorCode === 0) {
      this.memberId = answer.memberId
      this.generation = answer.generationId
    }
    return named(answer.errorCode)
  }

  get isLeader(): boolean {
    return this.joined?.leader === this.memberId
  }

  /** SyncGroup; a leader gives each member `<member id>@<generation>`. Resolves with the assignment or the error's name. */
  async sync(more: { generation?: number; protocolName?: string; protocolType?: string } = {}): Promise<string> {
    const generation = more.generation ?? this.generation
    const answer = await this.client.ask(syncGroup, 5, {
      groupId: this.group,
      generationId: generation,
      memberId: this.memberId,
      groupInstanceId: this.instanceId,
      protocolType: more.protocolType ?? 'consumer',
      protocolName: more.protocolName ?? this.joined?.protocolName ?? 'range',
      assignments: this.isLeader
        ? (this.joined?.members ?? []).map(({ memberId }) => ({
            memberId,
            assignment: Buffer.from(`${memberId}@${generation}`),
          }))
        : [],
    })
    return answer.errorCode === 0 ? answer.assignment.toString() : named(answer.errorCode)
  }

  async heartbeat(more: { generation?: number; memberId?: string; instanceId?: string | null } = {}): Promise<string> {
    const answer = await this.client.ask(heartbeat, 4, {
      groupId: this.group,
      generationId: more.generation ?? this.generation,
      memberId: more.memberId ?? this.memberId,
      groupInstanceId: more.instanceId === undefined ? this.instanceId : more.instanceId,
    })
    return named(answer.errorCode)
  }

  async leave(): Promise<string> {
    const answer = await this.client.ask(leaveGroup, 5, {
      groupId: this.group,
      members: [{ memberId: this.memberId, groupInstanceId: this.instanceId }],
    })
    return named(answer.errorCode === 0 ? (answer.members[0]?.errorCode ?? 0) : answer.errorCode)
  }

  async commit(
    offset: number,
    more: { generation?: number; memberId?: string; topic?: string; partition?: number; metadata?: string | null } = {},
  ): Promise<string> {
    const answer = await this.client.ask(offsetCommit, 9, {
      groupId: this.group,
      generationIdOrMemberEpoch: more.generation ?? this.generation,
      memberId: more.memberId ?? this.memberId,
      groupInstanceId: this.instanceId,
      topics: [
        {
          name: more.topic ?? 't',
          partitions: [
            {
              partitionIndex: more.partition ?? 0,
              committedOffset: offset,
              committedLeaderEpoch: 3,
              committedMetadata: more.metadata === undefined ? 'note' : more.metadata,
            },
          ],
        },
      ],
    })
    return named(answer.topics[0]?.partitions[0]?.errorCode ?? 0)
  }

  /** The committed offset, or the error's name. */
  async committed(topic = 't', partition = 0): Promise<number | string> {
    const answer = await this.client.ask(offsetFetch, 8, {
      groups: [{ groupId: this.group, topics: [{ name: topic, partitionIndexes: [partition] }] }],
    })
    const group = answer.groups[0]!
    const row = group.topics[0]?.partitions[0]
    const code = group.errorCode === 0 ? (row?.errorCode ?? 0) : group.errorCode
    return code === 0 ? (row?.committedOffset ?? -2) : named(code)
  }
}

/** Joins the first, then the others, and syncs all: a stable group. The first is the leader. */
export async function formGroup(...members: readonly Member[]): Promise<void> {
  const [first, ...others] = members
  if (first === undefined) return
  await first.join()
  if (others.length === 0) {
    await first.sync()
    return
  }
  await first.sync()
  // new members make a rebalance, which completes when everybody is there: the first joins again last
  const waiting = others.map((member) => member.join())
  while ((await first.heartbeat()) !== 'REBALANCE_IN_PROGRESS');
  await first.join()
  await Promise.all(waiting)
  const missing = [first, ...others].some((member) => member.generation !== first.generation)
  if (missing) {
    // some came too late for the first rebalance: one more
    await Promise.all(members.map((member) => member.join()))
  }
  await Promise.all(members.map((member) => member.sync()))
}
