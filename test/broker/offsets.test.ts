/** OffsetCommit, OffsetFetch, FindCoordinator, and what a coordinator that moves or restarts still knows. */
import * as assert from 'uvu/assert'
import { findCoordinator } from '../../src/protocol/api/find-coordinator.ts'
import { offsetCommit } from '../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../src/protocol/api/offset-fetch.ts'
import { suite } from '../support/suite.ts'
import { named, withBroker } from './support/kit.ts'
import { formGroup, Member } from './support/member.ts'

const test = suite('broker: offsets and coordinators')
const options = { topics: { t: 2, u: 1 } }

test(
  'offsets are committed and fetched in all versions',
  withBroker(options, async ({ client, topicId }) => {
    const raw = await client()
    const id = await topicId('t')
    let offset = 100
    for (let version = offsetCommit.minVersion; version <= offsetCommit.maxVersion; version++) {
      offset += 1
      const place = version >= 10 ? { topicId: id } : { name: 't' }
      const epoch = version >= 6 ? { committedLeaderEpoch: 4 } : {}
      const partitions = [{ partitionIndex: 1, committedOffset: offset, committedMetadata: 'm', ...epoch }]
      const committed = await raw.ask(offsetCommit, version, {
        groupId: 'g',
        memberId: '',
        topics: [{ ...place, partitions }],
      })
      assert.is(named(committed.topics[0]!.partitions[0]!.errorCode), 'ok', `commit ${version}`)
      for (let reading = offsetFetch.minVersion; reading <= offsetFetch.maxVersion; reading++) {
        const rows = await fetchRows(reading)
        assert.equal(
          rows,
          [
            [1, offset, reading >= 5 && version >= 6 ? 4 : -1, 'm', 0],
            [0, -1, -1, '', 0],
          ],
          `commit ${version}, fetch ${reading}`,
        )
      }
    }

    async function fetchRows(version: number) {
      const indexes = { partitionIndexes: [1, 0] }
      if (version < 8) {
        const answer = await raw.ask(offsetFetch, version, { groupId: 'g', topics: [{ name: 't', ...indexes }] })
        return answer.topics[0]!.partitions.map(flat)
      }
      const place = version >= 10 ? { topicId: id } : { name: 't' }
      const answer = await raw.ask(offsetFetch, version, {
        groups: [{ groupId: 'g', topics: [{ ...place, ...indexes }] }],
      })
      return answer.groups[0]!.topics[0]!.partitions.map(flat)
    }
  }),
)

interface Row {
  readonly partitionIndex: number
  readonly committedOffset: number
  readonly committedLeaderEpoch: number
  readonly metadata: string | null
  readonly errorCode: number
}
function flat(row: Row) {
  return [row.partitionIndex, row.committedOffset, row.committedLeaderEpoch, row.metadata, row.errorCode]
}

const commits: readonly (readonly [name: string, more: Parameters<Member['commit']>[1], answer: string])[] = [
  ['an unknown topic', { topic: 'missing' }, 'UNKNOWN_TOPIC_OR_PARTITION'],
  ['an unknown partition', { partition: 2 }, 'UNKNOWN_TOPIC_OR_PARTITION'],
  ['metadata at the limit', { metadata: 'ü'.repeat(50) }, 'ok'],
  ['metadata above the limit', { metadata: 'ü'.repeat(51) }, 'OFFSET_METADATA_TOO_LARGE'],
  ['null metadata', { metadata: null }, 'ok'],
]
for (const [name, more, answer] of commits) {
  test(
    `a commit of ${name} → ${answer}`,
    withBroker({ ...options, maxOffsetMetadataBytes: 100 }, async (kit) => {
      const a = await Member.create(kit, 'a')
      await formGroup(a)
      assert.is(await a.commit(5, more), answer)
      assert.is(await a.committed(), answer === 'ok' ? 5 : -1)
    }),
  )
}

test(
  'one bad partition does not spoil the others; null topics fetch all',
  withBroker(options, async ({ client, broker }) => {
    const raw = await client()
    const at = (partitionIndex: number, committedOffset: number) => ({
      partitionIndex,
      committedOffset,
      committedMetadata: null,
    })
    const answer = await raw.ask(offsetCommit, 8, {
      groupId: 'g',
      memberId: '',
      topics: [
        { name: 't', partitions: [at(0, 1), at(7, 2), at(1, 3)] },
        { name: 'u', partitions: [at(0, 4)] },
      ],
    })
    assert.equal(
      answer.topics.map((t) => t.partitions.map((p) => named(p.errorCode))),
      [['ok', 'UNKNOWN_TOPIC_OR_PARTITION', 'ok'], ['ok']],
    )
    const all = await raw.ask(offsetFetch, 8, {
      groups: [
        { groupId: 'g', topics: null },
        { groupId: 'other', topics: null },
      ],
    })
    assert.equal(
      all.groups.map((g) =>
        g.topics.map((t) => [t.name, t.partitions.map((p) => [p.partitionIndex, p.committedOffset])]),
      ),
      [
        [
          [
            't',
            [
              [0, 1],
              [1, 3],
            ],
          ],
          ['u', [[0, 4]]],
        ],
        [],
      ],
    )
    const old = await raw.ask(offsetFetch, 2, { groupId: 'g', topics: null })
    assert.is(old.topics.length, 2)
    assert.equal(
      [...broker.committedOffsets('g')].map(([t, p]) => [t, [...p]]),
      [
        [
          't',
          [
            [0, 1],
            [1, 3],
          ],
        ],
        ['u', [[0, 4]]],
      ],
    )
  }),
)

test(
  'topic ids: unknown ones are UNKNOWN_TOPIC_ID',
  withBroker(options, async ({ client }) => {
    const raw = await client()
    const topicId = 'ee'.repeat(16)
    const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: '' }]
    const committed = await raw.ask(offsetCommit, 10, { groupId: 'g', memberId: '', topics: [{ topicId, partitions }] })
    assert.is(named(committed.topics[0]!.partitions[0]!.errorCode), 'UNKNOWN_TOPIC_ID')
    const fetched = await raw.ask(offsetFetch, 10, {
      groups: [{ groupId: 'g', topics: [{ topicId, partitionIndexes: [0] }] }],
    })
    assert.is(named(fetched.groups[0]!.topics[0]!.partitions[0]!.errorCode), 'UNKNOWN_TOPIC_ID')
  }),
)

test(
  'the offsets of a deleted topic go with it',
  withBroker(options, async (kit) => {
    const a = await Member.create(kit, 'a')
    await formGroup(a)
    await a.commit(9)
    kit.broker.deleteTopic('t')
    kit.broker.createTopic('t', 1)
    assert.is(await a.committed(), -1)
  }),
)

test(
  'offsets of a group without members expire; those of a live group do not',
  withBroker({ ...options, offsetsRetentionMs: 3_600_000 }, async (kit) => {
    const live = await Member.create(kit, 'live', { group: 'live', sessionTimeoutMs: 1_800_000 })
    const left = await Member.create(kit, 'left', { group: 'left' })
    await formGroup(live)
    await formGroup(left)
    await live.commit(1)
    await left.commit(2)
    await left.leave()
    for (let i = 0; i < 3; i++) {
      await kit.world.sleep(1_500_000)
      assert.is(await live.commit(3), 'ok') // commits make the broker look for expired offsets
    }
    assert.is(await left.committed(), -1)
    assert.is(await live.committed(), 3)
    assert.is(kit.broker.describeGroup('left'), undefined)
  }),
)

test(
  'FindCoordinator in all versions; batched from v4',
  withBroker({ ...options, nodes: 2 }, async ({ client, broker }) => {
    const raw = await client()
    for (let version = findCoordinator.minVersion; version <= findCoordinator.maxVersion; version++) {
      if (version < 4) {
        const answer = await raw.ask(findCoordinator, version, { key: 'g', ...(version >= 1 && { keyType: 0 }) })
        assert.is(`${answer.host}:${answer.port}`, broker.addresses[answer.nodeId - 1])
        if (version >= 1)
          assert.is(
            named((await raw.ask(findCoordinator, version, { key: 'x', keyType: 1 })).errorCode),
            'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
          )
        continue
      }
      const answer = await raw.ask(findCoordinator, version, { keyType: 0, coordinatorKeys: ['g', '', '__proto__'] })
      assert.equal(
        answer.coordinators.map((c) => `${c.key} ${named(c.errorCode)}`),
        ['g ok', ' INVALID_GROUP_ID', '__proto__ ok'],
      )
      const transactions = await raw.ask(findCoordinator, version, { keyType: 1, coordinatorKeys: ['x'] })
      assert.is(named(transactions.coordinators[0]!.errorCode), 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED')
      assert.match(transactions.coordinators[0]!.errorMessage ?? '', /transactions/)
    }
  }),
)

test(
  'a coordinator that moves: who waits is told, the new one knows members, assignments and offsets',
  withBroker({ ...options, nodes: 2 }, async (kit) => {
    const { broker } = kit
    broker.faults.moveCoordinator('g', 1)
    const a = await Member.create(kit, 'a')
    const b = await Member.create(kit, 'b')
    await formGroup(a, b)
    await a.commit(42)
    const joining = b.options
    assert.is(joining.group, undefined)
    const late = await Member.create(kit, 'late')
    const waiting = late.join()
    await kit.world.sleep(10)
    broker.faults.moveCoordinator('g', 2)
    assert.is(await waiting, 'NOT_COORDINATOR')
    assert.is(await a.heartbeat(), 'NOT_COORDINATOR')
    assert.is(await a.commit(1), 'NOT_COORDINATOR')
    assert.is(await a.committed(), 'NOT_COORDINATOR')
    assert.is(await a.sync(), 'NOT_COORDINATOR')
    assert.is(await a.leave(), 'NOT_COORDINATOR')
    assert.is(await a.join(), 'NOT_COORDINATOR')

    const there = new Member('a', await kit.client(2, 'a'), {})
    there.memberId = a.memberId
    there.generation = a.generation
    assert.is(await there.committed(), 42)
    // the late member had begun a rebalance; the new coordinator goes on with it
    assert.is(await there.heartbeat(), 'REBALANCE_IN_PROGRESS')
    const other = new Member('b', await kit.client(2, 'b'), {})
    other.memberId = b.memberId
    const found = await kit.client(2)
    const where = await found.ask(findCoordinator, 4, { keyType: 0, coordinatorKeys: ['g'] })
    assert.is(where.coordinators[0]!.nodeId, 2)
    await Promise.all([there.join(), other.join()])
    assert.is(there.generation, a.generation + 1)
  }),
)

test(
  'without a coordinator nobody answers for the group',
  withBroker(options, async ({ client, broker }) => {
    broker.faults.moveCoordinator('g', -1)
    const raw = await client()
    const answer = await raw.ask(findCoordinator, 4, { keyType: 0, coordinatorKeys: ['g'] })
    assert.is(named(answer.coordinators[0]!.errorCode), 'COORDINATOR_NOT_AVAILABLE')
  }),
)

for (const phase of ['Stable', 'CompletingRebalance', 'PreparingRebalance'] as const) {
  test(
    `a broker that crashes in ${phase} knows the group when it is back`,
    withBroker(options, async (kit) => {
      const a = await Member.create(kit, 'a', { instanceId: 'one' })
      await formGroup(a)
      await a.commit(7)
      if (phase === 'CompletingRebalance') await a.join()
      if (phase === 'PreparingRebalance') {
        const b = await Member.create(kit, 'b')
        b.join().catch(() => {})
        await kit.world.sleep(10)
      }
      assert.is(kit.broker.describeGroup('g')?.phase, phase)
      const before = kit.broker.describeGroup('g')
      kit.broker.crash()
      await kit.world.sleep(5_000)
      await kit.broker.restart()
      assert.equal(kit.broker.describeGroup('g'), before)
      const again = await Member.create(kit, 'a', { instanceId: 'one' })
      again.memberId = a.memberId
      again.generation = a.generation
      again.joined = a.joined
      assert.is(await again.committed(), 7)
      const beat = phase === 'PreparingRebalance' ? 'REBALANCE_IN_PROGRESS' : 'ok'
      assert.is(await again.heartbeat(), beat)
      if (phase !== 'PreparingRebalance') assert.is(await again.sync(), `${a.memberId}@${a.generation}`)
      // a member that does not come back within a session time-out of the restart is out
      await kit.world.sleep(10_001)
      assert.is(await again.heartbeat(), 'UNKNOWN_MEMBER_ID')
    }),
  )
}

test(
  'the log of a group that commits for ever stays bounded, and still holds everything',
  withBroker({ topics: { t: 1 } }, async (kit) => {
    const a = await Member.create(kit, 'a', { sessionTimeoutMs: 1_800_000 })
    await formGroup(a)
    const metadata = 'x'.repeat(4_000)
    let most = 0
    for (let i = 1; i <= 3_000; i++) {
      await a.commit(i, { metadata })
      most = Math.max(most, kit.broker.memoryBytes)
    }
    assert.ok(most < 6 * 1024 * 1024, `${most} bytes for 12 MB of commits`)
    kit.broker.crash()
    await kit.broker.restart()
    const again = new Member('a', await kit.client(), {})
    again.memberId = a.memberId
    again.generation = a.generation
    assert.is(await again.committed(), 3_000)
    assert.is(await again.heartbeat(), 'ok')
  }),
)
test.run()
