/** Classic groups: scenarios of members that say one thing at a time, and tables of what each request gets in each phase. */
import * as assert from 'uvu/assert'
import { joinGroup } from '../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../src/protocol/api/leave-group.ts'
import { suite } from '../support/suite.ts'
import { type Kit, named, withBroker } from './support/kit.ts'
import { formGroup, Member, type MemberOptions } from './support/member.ts'
import { answers, joins, phases, verbs } from './support/tables.ts'

const test = suite('broker: classic groups')
const options = { topics: { t: 2 } }

async function members(kit: Kit, ...names: readonly string[]): Promise<Member[]> {
  return await Promise.all(names.map((name) => Member.create(kit, name)))
}

test(
  'one member: the id is handed out first, it leads, gets what it assigned, leaves',
  withBroker(options, async (kit) => {
    const [a] = (await members(kit, 'a')) as [Member]
    const first = await a.joinOnce()
    assert.is(named(first.errorCode), 'MEMBER_ID_REQUIRED')
    assert.match(first.memberId, /^a-[0-9a-f-]{36}$/)
    assert.is(first.generationId, -1)
    a.memberId = first.memberId
    assert.is(await a.join(), 'ok')
    assert.is(a.generation, 1)
    assert.ok(a.isLeader)
    assert.equal(
      a.joined?.members.map((m) => [m.memberId, m.metadata.toString(), m.groupInstanceId]),
      [[a.memberId, 'a', null]],
    )
    assert.equal([a.joined?.protocolType, a.joined?.protocolName], ['consumer', 'range'])
    assert.is(await a.sync(), `${a.memberId}@1`)
    assert.is(await a.sync(), `${a.memberId}@1`, 'asked again')
    assert.is(await a.heartbeat(), 'ok')
    assert.is(await a.leave(), 'ok')
    assert.is(await a.heartbeat(), 'UNKNOWN_MEMBER_ID')
    assert.equal(kit.broker.describeGroup('g'), { phase: 'Empty', generation: 2, members: [] })
  }),
)

test(
  'a second member makes the first rejoin; the first member leads and sees both',
  withBroker(options, async (kit) => {
    const [a, b] = (await members(kit, 'a', 'b')) as [Member, Member]
    await formGroup(a)
    const waiting = b.join()
    await kit.world.sleep(100)
    assert.is(await a.heartbeat(), 'REBALANCE_IN_PROGRESS')
    assert.is(await a.sync(), 'REBALANCE_IN_PROGRESS')
    assert.is(await a.join(), 'ok')
    assert.is(await waiting, 'ok')
    assert.equal([a.generation, b.generation], [2, 2])
    assert.ok(a.isLeader && !b.isLeader)
    assert.equal(a.joined?.members.length, 2)
    assert.equal(b.joined?.members, [])
    const synced = b.sync()
    await kit.world.sleep(50)
    assert.is(await a.sync(), `${a.memberId}@2`)
    assert.is(await synced, `${b.memberId}@2`)
  }),
)

test(
  'a member that does not rejoin in the rebalance time-out is out',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', { sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 5_000 })
    const b = await Member.create(kit, 'b', { sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 5_000 })
    await formGroup(a)
    const begin = kit.world.now
    assert.is(await b.join(), 'ok')
    const took = kit.world.now - begin
    assert.ok(took >= 5_000 && took < 5_100, `after ${took} ms`)
    assert.ok(b.isLeader)
    assert.is(await a.heartbeat(), 'UNKNOWN_MEMBER_ID')
    assert.is(kit.events.filter((e) => e.type === 'memberExpired').length, 1)
  }),
)

test(
  'a member without heartbeats is out after its session time-out; heartbeats, commits and joins keep it in',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', { sessionTimeoutMs: 6_000 })
    await formGroup(a)
    for (let i = 0; i < 5; i++) {
      await kit.world.sleep(5_000)
      assert.is(await a.heartbeat(), 'ok')
    }
    await kit.world.sleep(5_000)
    assert.is(await a.commit(1), 'ok')
    await kit.world.sleep(5_900)
    assert.is(await a.heartbeat(), 'ok')
    await kit.world.sleep(6_100)
    assert.is(await a.heartbeat(), 'UNKNOWN_MEMBER_ID')
    assert.is(kit.broker.describeGroup('g')?.phase, 'Empty')
  }),
)

test(
  'a member that never asks for its assignment holds the group up for the rebalance time-out at most',
  withBroker(options, async (kit) => {
    const settings = { sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 4_000 }
    const a = await Member.create(kit, 'a', settings)
    const b = await Member.create(kit, 'b', settings)
    await formGroup(a, b)
    // both rejoin, then the leader is silent
    const again = [b.join()]
    again.push(a.join())
    await Promise.all(again)
    const waiting = b.sync()
    const begin = kit.world.now
    assert.is(await waiting, 'REBALANCE_IN_PROGRESS')
    assert.ok(kit.world.now - begin >= 3_900)
    assert.is(await b.join(), 'ok')
    assert.ok(b.isLeader)
    assert.is(await a.heartbeat(), 'UNKNOWN_MEMBER_ID')
  }),
)

test(
  'an id that was handed out holds a rebalance up until it is used or its session is over',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', { rebalanceTimeoutMs: 60_000, sessionTimeoutMs: 60_000 })
    const b = await Member.create(kit, 'b', { sessionTimeoutMs: 7_000 })
    assert.is(named((await b.joinOnce()).errorCode), 'MEMBER_ID_REQUIRED')
    const begin = kit.world.now
    assert.is(await a.join(), 'ok')
    assert.ok(kit.world.now - begin >= 6_900, 'waited for b, who never came')
    assert.equal(a.joined?.members.length, 1)
  }),
)

test(
  'initialRebalanceDelayMs: members that come while the group is new join the first generation',
  withBroker({ ...options, initialRebalanceDelayMs: 3_000 }, async (kit) => {
    const [a, b] = (await members(kit, 'a', 'b')) as [Member, Member]
    const first = a.join()
    await kit.world.sleep(2_000)
    const second = b.join()
    await Promise.all([first, second])
    assert.equal([a.generation, b.generation], [1, 1])
    assert.ok(kit.world.now >= 6_000 && kit.world.now < 6_200, `extended once: ${kit.world.now}`)
  }),
)

test(
  'protocols: the one that all support and most prefer; none in common is refused',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', { protocols: ['copartition', 'range', 'roundrobin'] })
    const b = await Member.create(kit, 'b', { protocols: ['roundrobin', 'range'] })
    const c = await Member.create(kit, 'c', { protocols: ['sticky'] })
    const d = await Member.create(kit, 'd', { protocolType: 'connect' })
    const e = await Member.create(kit, 'e', { protocols: [] })
    assert.is(await e.join(), 'INCONSISTENT_GROUP_PROTOCOL')
    await formGroup(a, b)
    assert.is(a.joined?.protocolName, 'range')
    assert.equal(a.joined?.members.map((m) => m.metadata.toString()).sort(), ['a', 'b'])
    assert.is(await c.join(), 'INCONSISTENT_GROUP_PROTOCOL')
    assert.is(await d.join(), 'INCONSISTENT_GROUP_PROTOCOL')
  }),
)

test(
  'a follower that joins again unchanged gets the same generation; the leader, or a change, makes a rebalance',
  withBroker(options, async (kit) => {
    const [a, b] = (await members(kit, 'a', 'b')) as [Member, Member]
    await formGroup(a, b)
    const { generation } = b
    assert.is(await b.join(), 'ok')
    assert.is(b.generation, generation)
    const leader = a.join()
    await kit.world.sleep(10)
    assert.is(await b.heartbeat(), 'REBALANCE_IN_PROGRESS')
    await Promise.all([leader, b.join()])
    assert.is(b.generation, generation + 1)
  }),
)

// ---- static members

const staticA: MemberOptions = { instanceId: 'host-1' }

test(
  'a static member that comes back without its id takes its place: no rebalance, the old id is fenced',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', staticA)
    const b = await Member.create(kit, 'b', { instanceId: 'host-2' })
    await formGroup(a, b)
    const before = b.generation
    const again = await Member.create(kit, 'b', { instanceId: 'host-2' })
    assert.is(await again.join(), 'ok')
    assert.is(again.generation, before)
    assert.is.not(again.memberId, b.memberId)
    assert.is(await again.sync(), `${b.memberId}@${before}`, 'the assignment of its predecessor')
    assert.is(await b.heartbeat(), 'FENCED_INSTANCE_ID')
    assert.is(await b.commit(3), 'FENCED_INSTANCE_ID')
    assert.is(await b.sync(), 'FENCED_INSTANCE_ID')
    assert.is(await b.join(), 'FENCED_INSTANCE_ID')
    assert.is(await b.leave(), 'FENCED_INSTANCE_ID')
    assert.is(await a.heartbeat(), 'ok')
    assert.is(await again.heartbeat(), 'ok')
  }),
)

for (const [joinVersion, skips] of [
  [9, true],
  [8, false],
] as const) {
  test(
    `a static leader that comes back with JoinGroup v${joinVersion} ${skips ? 'skips the assignment' : 'is not told that it leads'}`,
    withBroker(options, async (kit) => {
      const a = await Member.create(kit, 'a', staticA)
      const b = await Member.create(kit, 'b', { instanceId: 'host-2' })
      await formGroup(a, b)
      const again = await Member.create(kit, 'a', { ...staticA, joinVersion })
      assert.is(await again.join(), 'ok')
      assert.is(again.joined?.skipAssignment, skips)
      assert.is(again.isLeader, skips)
      assert.is(again.joined?.members.length, skips ? 2 : 0)
      assert.is(await again.sync(), `${a.memberId}@${a.generation}`)
      assert.is(await b.heartbeat(), 'ok')
    }),
  )
}

test(
  'a static member that comes back with other protocols makes a rebalance',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', { ...staticA, protocols: ['range', 'sticky'] })
    await formGroup(a)
    const again = await Member.create(kit, 'a', { ...staticA, protocols: ['sticky'] })
    assert.is(await again.join(), 'ok')
    assert.is(again.generation, a.generation + 1)
    assert.is(again.joined?.protocolName, 'sticky')
  }),
)

test(
  'a static member that was away during a rebalance is in the new generation, and out when it does not sync in time',
  withBroker(options, async (kit) => {
    const settings = { sessionTimeoutMs: 30_000, rebalanceTimeoutMs: 2_000 }
    const a = await Member.create(kit, 'a', { ...staticA, ...settings })
    const b = await Member.create(kit, 'b', settings)
    await formGroup(a)
    assert.is(await b.join(), 'ok')
    assert.is(b.joined?.members.length, 2, 'a is still counted')
    await b.sync()
    await kit.world.sleep(1_900)
    assert.is(await b.heartbeat(), 'ok')
    await kit.world.sleep(200)
    assert.is(await b.heartbeat(), 'REBALANCE_IN_PROGRESS')
    assert.is(await b.join(), 'ok')
    assert.is(b.joined?.members.length, 1)
  }),
)

test(
  'two processes with one instance id: the later wins, and the answer the first waits for is FENCED_INSTANCE_ID',
  withBroker(options, async (kit) => {
    const other = await Member.create(kit, 'o')
    await formGroup(other)
    const first = await Member.create(kit, 'x', staticA)
    const second = await Member.create(kit, 'x', staticA)
    const waiting = first.join()
    await kit.world.sleep(10)
    const winner = second.join()
    assert.is(await waiting, 'FENCED_INSTANCE_ID')
    await other.join()
    assert.is(await winner, 'ok')
    assert.is(second.generation, 2)
  }),
)

test(
  'an unknown instance id is an unknown member; administrators remove static members by instance id',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a', staticA)
    await formGroup(a)
    assert.is(await a.heartbeat({ instanceId: 'nobody' }), 'UNKNOWN_MEMBER_ID')
    const answer = await a.client.ask(leaveGroup, 3, {
      groupId: 'g',
      members: [
        { memberId: '', groupInstanceId: 'nobody' },
        { memberId: '', groupInstanceId: 'host-1' },
        { memberId: 'ghost', groupInstanceId: null },
      ],
    })
    assert.equal(
      answer.members.map((m) => named(m.errorCode)),
      ['UNKNOWN_MEMBER_ID', 'ok', 'UNKNOWN_MEMBER_ID'],
    )
    assert.is(kit.broker.describeGroup('g')?.members.length, 0)
  }),
)

// ---- every request in every phase

for (const [verb, row] of Object.entries(answers)) {
  phases.forEach((phase, i) => {
    test(
      `${verb} in ${phase.name} → ${row[i]}`,
      withBroker(options, async (kit) => {
        const a = await Member.create(kit, 'a')
        await phase.reach(kit, a)
        assert.is(await verbs[verb]!(a), row[i]!)
      }),
    )
  })
}

for (const { name, options: given, memberId, answer } of joins) {
  test(
    `join with ${name} → ${answer}`,
    withBroker(options, async (kit) => {
      const a = await Member.create(kit, 'a', given)
      a.memberId = memberId ?? ''
      assert.is(await a.join(), answer)
    }),
  )
}

test(
  'maxGroupMembers and maxGroups',
  withBroker({ ...options, maxGroupMembers: 1, maxGroups: 2 }, async (kit) => {
    const [a, b] = (await members(kit, 'a', 'b')) as [Member, Member]
    await formGroup(a)
    assert.is(await b.join(), 'GROUP_MAX_SIZE_REACHED')
    const c = await Member.create(kit, 'c', { group: 'second' })
    assert.is(await c.join(), 'ok')
    const d = await Member.create(kit, 'd', { group: 'third' })
    assert.is(await d.join(), 'GROUP_MAX_SIZE_REACHED')
  }),
)

test(
  'JoinGroup in all versions; before v4 no id is asked for first',
  withBroker(options, async (kit) => {
    for (let version = joinGroup.minVersion; version <= joinGroup.maxVersion; version++) {
      const a = await Member.create(kit, 'a', { group: `g${version}`, joinVersion: version })
      const first = await a.joinOnce()
      assert.is(named(first.errorCode), version >= 4 ? 'MEMBER_ID_REQUIRED' : 'ok', `version ${version}`)
      a.memberId = first.memberId
      if (version >= 4) assert.is(await a.join(), 'ok')
    }
  }),
)

test(
  'maxMemberMetadataBytes bounds subscriptions and assignments',
  withBroker({ ...options, maxMemberMetadataBytes: 100 }, async (kit) => {
    const large = await Member.create(kit, 'a', { protocols: [`range=${'x'.repeat(96)}`] })
    assert.is(await large.join(), 'MESSAGE_TOO_LARGE')
    const a = await Member.create(kit, 'a', { protocols: [`range=${'x'.repeat(95)}`], instanceId: 'i'.repeat(200) })
    assert.is(await a.join(), 'ok')
    assert.is(await a.sync(), 'MESSAGE_TOO_LARGE', 'the assignment holds the long member id')
  }),
)

test(
  'hostile names are ordinary names',
  withBroker({ topics: { constructor: 1, __proto__x: 1, CON: 1 } }, async (kit) => {
    for (const group of ['__proto__', 'constructor', 'toString', '..', 'CON', 'x'.repeat(249), 'ü\u0000 ']) {
      const a = await Member.create(kit, 'a', { group, instanceId: '__proto__' })
      await formGroup(a)
      assert.is(await a.committed('constructor'), -1)
      assert.is(await a.commit(5, { topic: 'constructor' }), 'ok')
      assert.is(await a.committed('constructor'), 5)
    }
  }),
)
test.run()
