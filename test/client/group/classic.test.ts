/** One member against a scripted coordinator in virtual time: every error of join, sync and heartbeat, and the listener's pace. */
import * as assert from 'uvu/assert'
import { TimeoutError } from '../../../src/base/errors.ts'
import { fatalGroupErrors } from '../../../src/client/group/errors.ts'
import type { MembershipState } from '../../../src/client/group/membership.ts'
import { heartbeat } from '../../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../../src/protocol/api/leave-group.ts'
import { syncGroup } from '../../../src/protocol/api/sync-group.ts'
import { errorCodes, type KafkaErrorName } from '../../../src/protocol/errors.ts'
import { decodeSubscription } from '../../../src/protocol/member-payload.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { suite } from '../../support/suite.ts'
import { inGroup } from '../support/scripted-group.ts'

const test = suite('classic membership')

test(
  'joins, leads, is assigned, beats, leaves',
  inGroup({}, async ({ world, port, member, told, states, stable }) => {
    assert.equal(member.state, { at: 'idle' })
    member.join()
    await stable()
    assert.equal(states, ['joining', 'syncing', 'assigning', 'stable'])
    assert.equal(member.state, {
      at: 'stable',
      generation: 1,
      leader: true,
      assignment: [
        { topic: 't', partition: 0 },
        { topic: 't', partition: 1 },
      ],
    } satisfies MembershipState)
    assert.equal(member.metadata(), { groupId: 'g', memberId: 'm1', generation: 1, instanceId: null })
    const synced = port.seen(syncGroup)[0]!.body as RequestOf<typeof syncGroup>
    assert.equal(synced.assignments.map((a) => a.memberId).sort(), ['m0', 'm1'])
    await world.sleep(10_500)
    const beats = port.seen(heartbeat)
    assert.is(beats.length, 10)
    assert.is(member.lastHeartbeatSentAt, beats.at(-1)!.at)
    const joined = port.seen(joinGroup)[0]!
    assert.match(joined.lane, /^join:g:/)
    assert.is(beats[0]!.lane, 'control')
    await member.leave()
    assert.equal(told, ['assigned 0,1', 'revoked 0,1'])
    assert.equal(member.state, { at: 'left' })
    assert.is(member.lastHeartbeatSentAt, Number.NEGATIVE_INFINITY)
    const left = port.seen(leaveGroup)[0]!.body as RequestOf<typeof leaveGroup>
    assert.equal(
      left.members.map((m) => [m.memberId, m.groupInstanceId]),
      [['m1', null]],
    )
    assert.equal(port.closedLanes, [joined.lane])
    const requests = port.requests.length
    await world.sleep(60_000)
    assert.is(port.requests.length, requests, 'nothing runs on')
  }),
)

test(
  'MEMBER_ID_REQUIRED: joins again at once with the id it was given',
  inGroup({}, async ({ port, coordinator, member, stable }) => {
    coordinator.join.push('MEMBER_ID_REQUIRED')
    member.join()
    await stable()
    const ids = port.seen(joinGroup).map((r) => (r.body as RequestOf<typeof joinGroup>).memberId)
    assert.equal(ids, ['', 'm1'])
  }),
)

const joinErrors: readonly [KafkaErrorName, string][] = [
  ['COORDINATOR_LOAD_IN_PROGRESS', 'keeps its id'],
  ['COORDINATOR_NOT_AVAILABLE', 'keeps its id, looks for the coordinator'],
  ['NOT_COORDINATOR', 'keeps its id, looks for the coordinator'],
  ['UNKNOWN_MEMBER_ID', 'joins as a new member'],
  ['REBALANCE_IN_PROGRESS', 'keeps its id'],
  ['UNKNOWN_SERVER_ERROR', 'keeps its id'],
]
for (const [error, then] of joinErrors) {
  for (const step of ['join', 'sync'] as const) {
    test(
      `${error} from ${step}: ${then}`,
      inGroup({}, async ({ port, coordinator, member, told, stable }) => {
        coordinator.join.push('MEMBER_ID_REQUIRED')
        if (step === 'join') coordinator.join.push(error, error, error)
        else coordinator.sync.push(error, error, error)
        member.join()
        await stable()
        const ids = port.seen(joinGroup).map((r) => (r.body as RequestOf<typeof joinGroup>).memberId)
        assert.is(ids[2], then === 'joins as a new member' ? '' : 'm1')
        assert.is(port.forgotten.length, then.includes('looks') ? 3 : 0)
        assert.equal(told, ['assigned 0,1'])
      }),
    )
  }
}

test(
  'ILLEGAL_GENERATION from sync: joins again under its id',
  inGroup({}, async ({ port, coordinator, member, stable }) => {
    coordinator.sync.push('ILLEGAL_GENERATION')
    member.join()
    await stable()
    const ids = port.seen(joinGroup).map((r) => (r.body as RequestOf<typeof joinGroup>).memberId)
    assert.equal(ids, ['', 'm1'])
  }),
)

for (const step of ['join', 'sync'] as const) {
  test(
    `a ${step} that is not answered is repeated for ever, under the same id`,
    inGroup({}, async ({ world, port, coordinator, member, events, stable }) => {
      const failures = Array.from({ length: 30 }, () => new TimeoutError('cut'))
      coordinator.join.push('MEMBER_ID_REQUIRED')
      coordinator[step].push(...failures)
      member.join()
      await stable()
      const ids = port.seen(joinGroup).map((r) => (r.body as RequestOf<typeof joinGroup>).memberId)
      assert.equal(new Set(ids.slice(1)), new Set(['m1']))
      const retries = events.filter((e) => e.type === 'retry' && e.doing === 'JoinGroup')
      assert.is(retries.length, 30)
      assert.ok(world.now > 2_000 && world.now < 8_000, `with backoff: ${world.now} ms`)
    }),
  )
}

for (const error of fatalGroupErrors) {
  test(
    `${error} ends the membership`,
    inGroup({}, async ({ world, port, coordinator, member, told }) => {
      coordinator.join.push(error)
      member.join()
      await world.until('the end', () => member.state.at === 'failed')
      assert.equal(told, [`error ${error}`])
      const requests = port.requests.length
      await world.sleep(10_000)
      assert.is(port.requests.length, requests)
      await member.close()
      assert.is(member.state.at, 'failed')
    }),
  )
}

test(
  'FENCED_INSTANCE_ID from a heartbeat: lost, then the error; no farewell that would remove the successor',
  inGroup({ options: { groupInstanceId: 'i' } }, async ({ world, port, coordinator, member, told, stable }) => {
    member.join()
    await stable()
    coordinator.heartbeat.push('FENCED_INSTANCE_ID')
    await world.until('the end', () => member.state.at === 'failed')
    assert.equal(told, ['assigned 0,1', 'lost 0,1', 'error FENCED_INSTANCE_ID'])
    assert.is(port.seen(leaveGroup).length, 0)
  }),
)

test(
  'REBALANCE_IN_PROGRESS: revokes while it beats on, joins again, is assigned',
  inGroup(
    { listener: { onRevoked: () => new Promise((resolve) => void later(resolve)) } },
    async ({ world, port, coordinator, member, told, states, stable }) => {
      schedule = (ms, callback) => void world.outside.scope.scheduler.setTimer(ms, callback)
      member.join()
      await stable()
      states.length = 0
      coordinator.assignment = [1, 2]
      const before = port.seen(heartbeat).length
      coordinator.heartbeat.push(...Array.from({ length: 5 }, () => 'REBALANCE_IN_PROGRESS' as const))
      await stable(1)
      assert.equal(told, ['assigned 0,1', 'revoked 0,1', 'assigned 1,2'])
      assert.equal(states, ['revoking', 'joining', 'syncing', 'assigning', 'stable'])
      assert.ok(port.seen(heartbeat).length - before >= 4, 'heartbeats go on during onRevoked')
      const again = port.seen(joinGroup).at(-1)!.body as RequestOf<typeof joinGroup>
      assert.is(again.memberId, 'm1')
      const subscription = decodeSubscription(again.protocols[0]!.metadata)
      assert.equal(subscription.ownedPartitions, [{ topic: 't', partitions: [0, 1] }], 'a hint for sticky assignors')
      assert.is(subscription.generationId, 1)
    },
  ),
)
let schedule: (ms: number, callback: () => void) => void = () => {}
function later(callback: () => void): void {
  schedule(4_500, callback)
}

test(
  'what is said about the last generation while the next is joined does not start another rebalance',
  inGroup({}, async ({ world, port, coordinator, member, stable }) => {
    member.join()
    await stable()
    // A heartbeat is under way when the join begins, and is answered during it.
    port.latencyMs = 300
    const beats = port.seen(heartbeat).length
    await world.until('a heartbeat is under way', () => port.seen(heartbeat).length > beats, 5_000, 1)
    coordinator.heartbeat.push('REBALANCE_IN_PROGRESS')
    member.subscribe(['t'])
    await stable(1)
    await world.sleep(3_000)
    assert.is(coordinator.generation, 2)
  }),
)

test(
  'a late answer to a heartbeat of the last generation loses nothing in the next',
  inGroup({}, async ({ world, port, member, told, stable }) => {
    member.join()
    await stable()
    port.on(heartbeat, async (request) => {
      if (request.generationId > 1) return { throttleTimeMs: 0, errorCode: 0 }
      await world.sleep(2_000)
      return { throttleTimeMs: 0, errorCode: errorCodes.UNKNOWN_MEMBER_ID }
    })
    await world.sleep(1_500)
    member.subscribe(['t'])
    await stable(1)
    await world.sleep(5_000)
    assert.equal(told, ['assigned 0,1', 'revoked 0,1', 'assigned 0,1'])
  }),
)

for (const [error, id] of [
  ['ILLEGAL_GENERATION', 'm1'],
  ['UNKNOWN_MEMBER_ID', ''],
] as const) {
  test(
    `${error} from a heartbeat: lost, joins again ${id === '' ? 'as a new member' : 'under its id'}`,
    inGroup({}, async ({ port, coordinator, member, told, stable }) => {
      member.join()
      await stable()
      coordinator.heartbeat.push(error)
      await stable(1)
      assert.equal(told, ['assigned 0,1', 'lost 0,1', 'assigned 0,1'])
      assert.is((port.seen(joinGroup).at(-1)!.body as RequestOf<typeof joinGroup>).memberId, id)
    }),
  )
}

test(
  'removed from the group while onRevoked runs: lost is told at once',
  inGroup(
    { listener: { onRevoked: () => new Promise((resolve) => void later(resolve)) } },
    async ({ world, coordinator, member, told, stable }) => {
      schedule = (ms, callback) => void world.outside.scope.scheduler.setTimer(ms, callback)
      member.join()
      await stable()
      coordinator.heartbeat.push('REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID')
      await world.until('lost', () => told.includes('lost 0,1'))
      assert.is(member.state.at, 'revoking')
      await stable(1)
      assert.equal(told, ['assigned 0,1', 'revoked 0,1', 'lost 0,1', 'assigned 0,1'])
    },
  ),
)

test(
  'onRevoked that never returns is given up after the rebalance time-out',
  inGroup(
    { listener: { onRevoked: () => new Promise(() => {}) }, options: { rebalanceTimeoutMs: 3_000 } },
    async ({ coordinator, member, told, events, stable }) => {
      member.join()
      await stable()
      coordinator.heartbeat.push('REBALANCE_IN_PROGRESS')
      await stable(1)
      assert.equal(told, ['assigned 0,1', 'revoked 0,1', 'lost 0,1', 'assigned 0,1'])
      assert.ok(events.some((e) => e.type === 'revoke-timeout'))
      member.subscribe(['t'])
    },
  ),
)

for (const which of ['onAssigned', 'onRevoked', 'onLost'] as const) {
  test(
    `a listener whose ${which} throws ends the membership; the group is left`,
    inGroup(
      {
        listener: {
          [which]: () => {
            throw new Error('boom')
          },
        },
      },
      async ({ world, port, coordinator, member, told }) => {
        member.join()
        await world.sleep(500)
        coordinator.heartbeat.push(which === 'onLost' ? 'UNKNOWN_MEMBER_ID' : 'REBALANCE_IN_PROGRESS')
        await world.until('the end', () => member.state.at === 'failed')
        assert.is(told.at(-1), 'error ERR_GROUP_LISTENER')
        const { state } = member
        assert.ok(state.at === 'failed' && state.error.message.includes(which) && state.error.message.includes('boom'))
        if (which !== 'onLost') assert.is(port.seen(leaveGroup).length, 1)
      },
    ),
  )
}

test.run()
