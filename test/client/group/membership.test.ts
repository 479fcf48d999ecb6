/** One member against a scripted coordinator: its session, what it leads, how it ends, and the offsets it keeps. */
import * as assert from 'uvu/assert'
import { type MillraceError, TimeoutError } from '../../../src/base/errors.ts'
import { ClassicMembership } from '../../../src/client/group/classic.ts'
import type { GroupEvent } from '../../../src/client/group/events.ts'
import { joinGroup } from '../../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../../src/protocol/api/leave-group.ts'
import { offsetCommit } from '../../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../../src/protocol/api/offset-fetch.ts'
import { syncGroup } from '../../../src/protocol/api/sync-group.ts'
import { errorCodes } from '../../../src/protocol/errors.ts'
import { decodeAssignment } from '../../../src/protocol/member-payload.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { World } from '../../sim/world.ts'
import { rejects, suite } from '../../support/suite.ts'
import { FakePort } from '../support/fake-port.ts'
import { Coordinator, inGroup } from '../support/scripted-group.ts'

const test = suite('membership: session, leading, ends, offsets')

test(
  'the session ends by our clock when no heartbeat is answered',
  inGroup({}, async ({ world, coordinator, member, told, stable }) => {
    member.join()
    await stable()
    await world.sleep(3_000)
    const lastAnswered = member.lastHeartbeatSentAt
    coordinator.always = new TimeoutError('cut')
    await world.until('the loss', () => told.includes('lost 0,1'), 20_000, 5)
    const silence = world.now - lastAnswered
    assert.ok(silence >= 6_000 && silence < 7_100, `after ${silence} ms`)
    assert.is(member.metadata().memberId, 'm1', 'the coordinator may still know it')
    coordinator.always = 'NONE'
    await stable(1)
  }),
)

test('a process that stood still concludes nothing: it beats first', async () => {
  const world = new World(1)
  await world.run(async () => {
    const process = world.process('client')
    const port = new FakePort(process.scope)
    port.metadata.set('t', [1])
    const coordinator = new Coordinator(port)
    const told: string[] = []
    const events: GroupEvent[] = []
    const member = new ClassicMembership(port, {
      groupId: 'g',
      topics: ['t'],
      sessionTimeoutMs: 6_000,
      heartbeatIntervalMs: 1_000,
      onEvent: (e) => void events.push(e),
      listener: {
        onAssigned: () => void told.push('assigned'),
        onRevoked: () => void told.push('revoked'),
        onLost: () => void told.push('lost'),
        onError: () => void told.push('error'),
      },
    })
    member.join()
    await world.until('stable', () => member.state.at === 'stable')
    await world.sleep(2_000)
    // The coordinator kept the member (its own clock stood still as well, or it was just restarted).
    process.stall(30_000)
    await world.sleep(31_000)
    assert.equal(told, ['assigned'])
    assert.ok(events.some((e) => e.type === 'stalled-process' && e.gapMs > 20_000))
    assert.ok(world.now - member.lastHeartbeatSentAt < 2_500)
    // The coordinator did not: the first heartbeat says so.
    process.stall(30_000)
    coordinator.heartbeat.push('UNKNOWN_MEMBER_ID')
    await world.sleep(33_000)
    assert.equal(told, ['assigned', 'lost', 'assigned'])
    await member.close()
  })
})

test(
  'heartbeatNow proves the membership of this moment',
  inGroup({}, async ({ world, coordinator, member, stable }) => {
    assert.is(((await rejects(member.heartbeatNow())) as MillraceError).code, 'UNKNOWN_MEMBER_ID')
    member.join()
    await stable()
    const before = world.now
    await member.heartbeatNow()
    assert.ok(member.lastHeartbeatSentAt >= before)
    coordinator.heartbeat.push('REBALANCE_IN_PROGRESS')
    await member.heartbeatNow()
    coordinator.heartbeat.push(new TimeoutError('cut'))
    await stable(1)
    assert.is(((await rejects(member.heartbeatNow())) as MillraceError).code, 'ERR_TIMEOUT')
    coordinator.heartbeat.push('UNKNOWN_MEMBER_ID')
    assert.is(((await rejects(member.heartbeatNow())) as MillraceError).code, 'UNKNOWN_MEMBER_ID')
  }),
)

test(
  'the leader asks for a rebalance when a topic grows or appears, others do not',
  inGroup({ options: { topics: ['t', 'later'] } }, async ({ world, port, coordinator, member, stable }) => {
    member.join()
    await stable()
    port.metadata.set('t', [1, 1, 1, 1])
    await world.sleep(3_000)
    assert.is(coordinator.generation, 1, 'the same count means nothing')
    assert.ok(
      port.metadata.refreshes.some((why) => why.includes('later')),
      'it looks for the missing topic',
    )
    port.metadata.set('later', [1])
    await stable(1)
    port.metadata.set('t', [1, 1, 1, 1, 1])
    await stable(2)
    coordinator.leads = false
    member.subscribe(['t', 'later', 'u'])
    await stable(3)
    port.metadata.set('t', [1])
    await world.sleep(5_000)
    assert.is(coordinator.generation, 4)
  }),
)

test(
  'a static leader that comes back brings no assignment, and still watches the topics',
  inGroup({ options: { groupInstanceId: 'i' } }, async ({ port, coordinator, member, told, stable }) => {
    coordinator.skipAssignment = true
    member.join()
    await stable()
    assert.is((port.seen(syncGroup)[0]!.body as RequestOf<typeof syncGroup>).assignments.length, 0)
    assert.equal(told, ['assigned 0,1'])
    port.metadata.set('t', [1])
    await stable(1)
  }),
)

for (const [how, instance, leaves] of [
  ['close', '', 1],
  ['close', 'i', 0],
  ['leave', 'i', 1],
] as const) {
  test(
    `${how} of a ${instance === '' ? 'dynamic' : 'static'} member ${leaves === 1 ? 'leaves' : 'does not leave'} the group`,
    inGroup({ options: { groupInstanceId: instance } }, async ({ port, member, told, stable }) => {
      member.join()
      await stable()
      await member[how]()
      assert.is(port.seen(leaveGroup).length, leaves)
      assert.equal(told, ['assigned 0,1', 'revoked 0,1'])
      assert.is(member.state.at, 'left')
    }),
  )
}

test(
  'close ends a join that waits, and a coordinator that is silent',
  inGroup({ options: { leaveTimeoutMs: 700 } }, async ({ world, port, member, told }) => {
    port.on(joinGroup, () => 'silence')
    port.on(leaveGroup, () => 'silence')
    member.join()
    await world.sleep(1_000)
    const before = world.now
    await member.close()
    assert.ok(world.now - before < 800)
    assert.equal(told, [])
    assert.is(member.state.at, 'left')
  }),
)

test(
  'close before join does nothing; join after close neither',
  inGroup({}, async ({ port, member }) => {
    await member.close()
    member.join()
    assert.is(port.requests.length, 0)
    assert.is(member.state.at, 'left')
  }),
)

test(
  'commitOnce: one attempt under the identity of the moment, errors by partition',
  inGroup({ options: { groupInstanceId: 'i' } }, async ({ port, coordinator, member, stable }) => {
    const offsets = [
      { topic: 't', partition: 0, offset: 5, leaderEpoch: 2, metadata: 'note' },
      { topic: 't', partition: 1, offset: 6 },
      { topic: 'u', partition: 0, offset: 7 },
    ]
    port.on(offsetCommit, (request) => ({
      throttleTimeMs: 0,
      topics: request.topics.slice(0, 1).map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((p) => ({
          partitionIndex: p.partitionIndex,
          errorCode: p.partitionIndex === 0 ? 0 : errorCodes.NOT_COORDINATOR,
        })),
      })),
    }))
    const outside = await member.commitOnce(offsets)
    assert.equal(
      outside.map((r) => r.error),
      ['UNKNOWN_MEMBER_ID', 'UNKNOWN_MEMBER_ID', 'UNKNOWN_MEMBER_ID'],
    )
    assert.is(port.seen(offsetCommit).length, 0, 'no commit from outside the group, which it would believe')
    member.join()
    await stable()
    const results = await member.commitOnce(offsets)
    assert.equal(
      results.map((r) => `${r.topic}${r.partition} ${r.error}`),
      ['t0 NONE', 't1 NOT_COORDINATOR', 'u0 UNKNOWN_SERVER_ERROR'],
    )
    assert.equal(port.forgotten, ['g: NOT_COORDINATOR'])
    const sent = port.seen(offsetCommit)[0]!
    const body = sent.body as RequestOf<typeof offsetCommit>
    assert.equal([sent.version, body.memberId, body.generationIdOrMemberEpoch, body.groupInstanceId], [9, 'm1', 1, 'i'])
    assert.equal(
      body.topics[0]!.partitions.map((p) => [p.committedOffset, p.committedLeaderEpoch, p.committedMetadata]),
      [
        [5, 2, 'note'],
        [6, -1, ''],
      ],
    )
    port.on(offsetCommit, () => new TimeoutError('cut'))
    assert.is(((await rejects(member.commitOnce(offsets))) as MillraceError).code, 'ERR_TIMEOUT')
    assert.is(coordinator.generation, 1)
  }),
)

test(
  'committed: waits for stable offsets, retries what is transient, keeps the order asked for',
  inGroup({}, async ({ port, member, events }) => {
    let attempt = 0
    port.on(offsetFetch, (request) => {
      attempt += 1
      if (attempt === 1) return new TimeoutError('cut')
      const [group] = request.groups
      const errorCode = attempt === 2 ? errorCodes.NOT_COORDINATOR : 0
      return {
        throttleTimeMs: 0,
        groups: [
          {
            groupId: 'g',
            errorCode,
            topics: (group!.topics ?? []).map(({ name, partitionIndexes }) => ({
              name,
              partitions: partitionIndexes.map((partitionIndex) => ({
                partitionIndex,
                committedOffset: partitionIndex === 1 ? -1 : 40 + partitionIndex,
                committedLeaderEpoch: 3,
                metadata: 'm',
                errorCode: partitionIndex === 2 && attempt < 5 ? errorCodes.UNSTABLE_OFFSET_COMMIT : 0,
              })),
            })),
          },
        ],
      }
    })
    const found = await member.committed([
      { topic: 't', partition: 2 },
      { topic: 't', partition: 1 },
    ])
    assert.equal(found, [
      { topic: 't', partition: 2, offset: 42, leaderEpoch: 3, metadata: 'm' },
      { topic: 't', partition: 1, offset: -1, leaderEpoch: 3, metadata: 'm' },
    ])
    assert.is(attempt, 5)
    const last = port.seen(offsetFetch).at(-1)!.body as RequestOf<typeof offsetFetch>
    assert.is(last.requireStable, true)
    assert.equal(last.groups[0]!.topics![0]!.partitionIndexes, [2], 'only what is missing is asked again')
    assert.ok(events.some((e) => e.type === 'unstable-offset' && e.partition === 2))
    port.on(offsetFetch, () => ({
      throttleTimeMs: 0,
      groups: [{ groupId: 'g', errorCode: errorCodes.GROUP_AUTHORIZATION_FAILED, topics: [] }],
    }))
    const refused = await rejects(member.committed([{ topic: 't', partition: 0 }]))
    assert.is((refused as MillraceError).code, 'GROUP_AUTHORIZATION_FAILED')
  }),
)

test(
  'a member whose subscription is nonsense gets nothing; the others are not its hostages',
  inGroup({}, async ({ port, coordinator, member, stable }) => {
    coordinator.otherSubscription = Buffer.from([0, 1, 0xff, 0xff, 0xff])
    member.join()
    await stable()
    const synced = port.seen(syncGroup)[0]!.body as RequestOf<typeof syncGroup>
    const given = synced.assignments.map(({ memberId, assignment }) => {
      const { assignedPartitions } = decodeAssignment(assignment)
      return `${memberId} ${assignedPartitions.flatMap((t) => t.partitions).join()}`
    })
    assert.equal(given.sort(), ['m0 ', 'm1 0,1,2,3'])
  }),
)

test('an assignor that throws, or gives a partition twice, ends the membership and says so', async () => {
  for (const assign of [
    () => {
      throw new Error('no idea')
    },
    (members: readonly { memberId: string }[]) =>
      new Map(members.map((m) => [m.memberId, { partitions: [{ topic: 't', partition: 0 }] }])),
  ]) {
    await inGroup(
      { options: { assignors: [{ name: 'range', protocol: 'eager', assign }] } },
      async ({ world, member, told }) => {
        member.join()
        await world.until('the end', () => member.state.at === 'failed')
        assert.equal(told, ['error ERR_ASSIGNOR'])
      },
    )()
  }
})

test.run()
