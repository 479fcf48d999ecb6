/** One member against a scripted coordinator in virtual time: every error of join, sync and heartbeat, and the listener's pace. */
import * as assert from 'uvu/assert'
import { type MillraceError, TimeoutError } from '../../../src/base/errors.ts'
import { ClassicMembership } from '../../../src/client/group/classic.ts'
import { fatalGroupErrors } from '../../../src/client/group/errors.ts'
import type { GroupEvent } from '../../../src/client/group/events.ts'
import type { GroupListener, MembershipState } from '../../../src/client/group/membership.ts'
import type { GroupOptions } from '../../../src/client/group/options.ts'
import { heartbeat } from '../../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../../src/protocol/api/leave-group.ts'
import { offsetCommit } from '../../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../../src/protocol/api/offset-fetch.ts'
import { syncGroup } from '../../../src/protocol/api/sync-group.ts'
import { errorCodes, type KafkaErrorName } from '../../../src/protocol/errors.ts'
import { decodeSubscription, encodeAssignment, encodeSubscription } from '../../../src/protocol/member-payload.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { World } from '../../sim/world.ts'
import { rejects, suite } from '../../support/suite.ts'
import { FakePort } from '../support/fake-port.ts'

const test = suite('classic membership')

/** A coordinator with one member: says yes unless told otherwise. */
class Coordinator {
  readonly port: FakePort
  generation = 0
  /** Answers of the next requests, first to last: an error's name, or a transport failure. */
  readonly join: (KafkaErrorName | Error)[] = []
  readonly sync: (KafkaErrorName | Error)[] = []
  readonly heartbeat: (KafkaErrorName | Error)[] = []
  /** Answer of all heartbeats when none is scripted. */
  always: KafkaErrorName | Error | 'silence' = 'NONE'
  leads = true
  skipAssignment = false
  assignment: readonly number[] = [0, 1]

  constructor(port: FakePort) {
    this.port = port
    port.on(joinGroup, (request) => this.#join(request))
    port.on(syncGroup, () => this.#sync())
    port.on(heartbeat, () => {
      const next = this.heartbeat.shift() ?? this.always
      if (next === 'silence' || next instanceof Error) return next
      return { throttleTimeMs: 0, errorCode: errorCodes[next] }
    })
    port.on(leaveGroup, () => ({ throttleTimeMs: 0, errorCode: 0, members: [] }))
  }

  #join(request: RequestOf<typeof joinGroup>) {
    const next = this.join.shift()
    if (next instanceof Error) return next
    const base = { throttleTimeMs: 0, protocolType: 'consumer', protocolName: 'range', generationId: -1 }
    const memberId = next === 'MEMBER_ID_REQUIRED' ? 'm1' : request.memberId || 'm1'
    if (next !== undefined) {
      return { ...base, errorCode: errorCodes[next], leader: '', memberId, members: [] }
    }
    this.generation += 1
    const member = { memberId, metadata: request.protocols[0]!.metadata }
    const other = { memberId: 'm0', metadata: encodeSubscription({ topics: ['t'], userData: null }) }
    return {
      ...base,
      errorCode: 0,
      generationId: this.generation,
      leader: this.leads ? memberId : 'm0',
      skipAssignment: this.skipAssignment,
      memberId,
      members: this.leads ? [member, other] : [],
    }
  }

  #sync() {
    const next = this.sync.shift()
    if (next instanceof Error) return next
    const assignment = encodeAssignment({
      assignedPartitions: [{ topic: 't', partitions: [...this.assignment] }],
      userData: null,
    })
    return {
      throttleTimeMs: 0,
      errorCode: next === undefined ? 0 : errorCodes[next],
      protocolType: 'consumer',
      protocolName: 'range',
      assignment,
    }
  }
}

interface Scene {
  readonly world: World
  readonly port: FakePort
  readonly coordinator: Coordinator
  readonly member: ClassicMembership
  /** What the listener was told. */
  readonly told: string[]
  readonly states: string[]
  readonly events: GroupEvent[]
  /** Until the member is stable with a generation beyond `after`. */
  stable(after?: number): Promise<void>
}

interface Setup {
  readonly options?: Partial<GroupOptions>
  readonly listener?: Partial<GroupListener>
}

const show = (partitions: readonly { partition: number }[]): string => partitions.map((p) => p.partition).join()

function inGroup(setup: Setup, body: (scene: Scene) => Promise<void>): () => Promise<void> {
  return async () => {
    const world = new World(1)
    await world.run(async () => {
      const port = new FakePort(world.process('client').scope)
      port.metadata.set('t', [1, 1, 1, 1])
      const told: string[] = []
      const states: string[] = []
      const events: GroupEvent[] = []
      const coordinator = new Coordinator(port)
      const { listener = {} } = setup
      const member = new ClassicMembership(port, {
        groupId: 'g',
        topics: ['t'],
        sessionTimeoutMs: 6_000,
        heartbeatIntervalMs: 1_000,
        rebalanceTimeoutMs: 10_000,
        retryBackoffMs: 10,
        retryBackoffMaxMs: 100,
        onEvent: (event) => {
          events.push(event)
          if (event.type === 'state') states.push(event.state.at)
        },
        listener: {
          onAssigned: (added) => {
            told.push(`assigned ${show(added)}`)
            return listener.onAssigned?.(added)
          },
          onRevoked: (removed) => {
            told.push(`revoked ${show(removed)}`)
            return listener.onRevoked?.(removed)
          },
          onLost: (removed) => {
            told.push(`lost ${show(removed)}`)
            listener.onLost?.(removed)
          },
          onError: (error) => {
            told.push(`error ${error.code}`)
            listener.onError?.(error)
          },
        },
        ...setup.options,
      })
      const stable = (after = 0): Promise<void> =>
        world.until(
          `stable after generation ${after}`,
          () => member.state.at === 'stable' && member.state.generation > after,
          30_000,
          5,
        )
      await body({ world, port, coordinator, member, told, states, events, stable })
      await member.close()
    })
  }
}

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
