/** Fetch, ListOffsets, OffsetForLeaderEpoch: what is read, when the answer comes, which errors. */
import * as assert from 'uvu/assert'
import { fetch } from '../../src/protocol/api/fetch.ts'
import { listOffsets } from '../../src/protocol/api/list-offsets.ts'
import { offsetForLeaderEpoch } from '../../src/protocol/api/offset-for-leader-epoch.ts'
import { suite } from '../support/suite.ts'
import { batch, named, type RawClient, send, withBroker } from './support/kit.ts'
import { offsetsOf, one, read, reads } from './support/reads.ts'

const test = suite('broker: fetch')
const infinite = 0x7fffffff
for (const { name, ask, gets } of reads) {
  test(
    `${name} → ${gets}`,
    withBroker({ topics: { t: 1 } }, async ({ client }) => {
      const raw = await client()
      for (let i = 0; i < 3; i++) await send(raw, 't', 0, batch(['a', 'b']))
      const { row, offsets } = await read(raw, ask)
      if (typeof gets === 'string') assert.is(named(row.errorCode), gets)
      else assert.equal(offsets[0], gets)
      if (row.errorCode !== 0) return
      assert.is(row.highWatermark, 6)
      assert.is(row.lastStableOffset, 6)
      assert.is(row.logStartOffset, 0)
    }),
  )
}

test(
  'only the first partition with records may exceed the limit of the answer',
  withBroker({ topics: { t: 3 } }, async ({ client }) => {
    const raw = await client()
    for (const partition of [1, 2]) await send(raw, 't', partition, batch(['x'.repeat(300)]))
    const { offsets } = await read(raw, { partitions: [0, 1, 2], maxBytes: 100 })
    assert.equal(offsets, [[], [0], []])
  }),
)

test(
  'read_committed gets an empty list of aborted transactions, read_uncommitted none',
  withBroker({ topics: { t: 1 } }, async ({ client }) => {
    const raw = await client()
    assert.equal((await read(raw, { isolationLevel: 1 })).row.abortedTransactions, [])
    assert.is((await read(raw, { isolationLevel: 0 })).row.abortedTransactions, null)
  }),
)

test(
  'sessions are not kept: id 0 comes back, any other is unknown',
  withBroker({ topics: { t: 1 } }, async ({ client }) => {
    const raw = await client()
    assert.is((await read(raw)).answer.sessionId, 0)
    assert.is(named((await read(raw, { sessionId: 5 })).answer.errorCode), 'FETCH_SESSION_ID_NOT_FOUND')
  }),
)

/** When a waiting fetch is answered: ms of the world's time, and what it carries. */
test(
  'a fetch waits for minBytes, at most maxWaitMs',
  withBroker({ topics: { t: 2 } }, async ({ client, world }) => {
    const raw = await client()
    const writer = await client()
    const begin = world.now
    const empty = await read(raw, { maxWaitMs: 700 })
    assert.equal(empty.offsets, [[]])
    assert.ok(world.now - begin >= 700 && world.now - begin < 720, `answered after ${world.now - begin} ms`)

    const started = world.now
    const waiting = read(raw, { maxWaitMs: 10_000, minBytes: one + 1, partitions: [0, 1] })
    await world.sleep(100)
    await send(writer, 't', 1, batch(['a', 'b']))
    await world.sleep(100)
    await send(writer, 't', 0, batch(['c', 'd']))
    assert.equal((await waiting).offsets, [
      [0, 1],
      [0, 1],
    ])
    const took = world.now - started
    assert.ok(took >= 200 && took < 300, `answered after ${took} ms`)
  }),
)

test(
  'appends of one turn are answered together',
  withBroker({ topics: { t: 1 } }, async ({ client }) => {
    const reader = await client()
    const writer = await client()
    const waiting = read(reader, { maxWaitMs: 10_000 })
    await Promise.all([send(writer, 't', 0, batch(['a'])), send(writer, 't', 0, batch(['b']))])
    const first = (await waiting).offsets[0]!
    assert.ok(first.length >= 1)
  }),
)

for (const [what, gets] of [
  ['the leader moves', 'NOT_LEADER_OR_FOLLOWER'],
  ['the topic is deleted', 'UNKNOWN_TOPIC_OR_PARTITION'],
] as const) {
  test(
    `a waiting fetch is answered at once when ${what}`,
    withBroker({ topics: { t: 1 }, nodes: 2 }, async ({ client, broker, world }) => {
      const waiting = read(await client(), { maxWaitMs: 60_000 })
      await world.sleep(50)
      if (gets === 'NOT_LEADER_OR_FOLLOWER') broker.faults.moveLeader('t', 0, 2)
      else broker.deleteTopic('t')
      const { row, answer } = await waiting
      assert.is(named(row.errorCode), gets)
      assert.ok(world.now < 1000)
      if (gets === 'NOT_LEADER_OR_FOLLOWER') assert.equal(row.currentLeader, { leaderId: 2, leaderEpoch: 1 })
      assert.is(answer.nodeEndpoints?.length ?? 0, 0) // version 12 does not carry them
    }),
  )
}

test(
  'a waiting fetch whose connection ends is forgotten',
  withBroker({ topics: { t: 1 } }, async ({ client, broker, world }) => {
    const raw = await client()
    read(raw, { maxWaitMs: 100_000 }).catch(() => {})
    await world.sleep(10)
    raw.close()
    await world.until('the connection is gone', () => broker.connectionCount === 0)
    await send(await client(), 't', 0, batch(['a']))
  }),
)

test(
  'a slow reader does not hold up others',
  withBroker({ topics: { t: 1 }, maxUnsentBytes: 65_536 }, async ({ client, world }) => {
    const slow = await client()
    const other = await client()
    await send(other, 't', 0, batch(['x'.repeat(100_000)]))
    const answers = Array.from({ length: 50 }, () => read(slow))
    for (let i = 0; i < 20; i++) assert.is((await send(other, 't', 0, batch(['y']))).errorCode, 0)
    assert.is((await Promise.all(answers)).length, 50)
    assert.ok(world.now < 1000)
  }),
)

test(
  'fetch by id, and unknown ids, in all versions',
  withBroker({ topics: { t: 1 } }, async ({ client, topicId }) => {
    const raw = await client()
    await send(raw, 't', 0, batch(['a']))
    const id = await topicId('t')
    for (let version = fetch.minVersion; version <= fetch.maxVersion; version++) {
      for (const known of [true, false]) {
        const place = version >= 13 ? { topicId: known ? id : 'e'.repeat(32) } : { topic: known ? 't' : 'missing' }
        const answer = await raw.ask(fetch, version, {
          maxWaitMs: 5000,
          minBytes: 1,
          topics: [{ ...place, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: infinite }] }],
          ...(version >= 7 && { forgottenTopicsData: [] }),
        })
        const row = answer.responses[0]!.partitions[0]!
        const unknown = version >= 13 ? 'UNKNOWN_TOPIC_ID' : 'UNKNOWN_TOPIC_OR_PARTITION'
        assert.is(`${version} ${named(row.errorCode)}`, `${version} ${known ? 'ok' : unknown}`)
        if (known) assert.equal(offsetsOf(row.records), [0])
      }
    }
  }),
)

/** Epoch 0: offsets 0–1 · epoch 1: 2–3 · epoch 2: nothing · epoch 3: 4. */
async function threeEpochs(client: RawClient, move: () => void): Promise<void> {
  await send(client, 't', 0, batch(['a', 'b']))
  move()
  await send(client, 't', 0, batch(['c', 'd']))
  move()
  move()
  await send(client, 't', 0, batch(['e']))
}

const epochs: readonly (readonly [asked: number, epoch: number, end: number])[] = [
  [0, 0, 2],
  [1, 1, 4],
  [2, 2, 4],
  [3, 3, 5],
  [4, -1, -1],
  [-1, -1, -1],
]
test(
  'OffsetForLeaderEpoch: where each epoch ends',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    await threeEpochs(raw, () => broker.faults.moveLeader('t', 0, 1))
    for (let version = offsetForLeaderEpoch.minVersion; version <= offsetForLeaderEpoch.maxVersion; version++) {
      for (const [leaderEpoch, epoch, end] of epochs) {
        const topics = [{ topic: 't', partitions: [{ partition: 0, currentLeaderEpoch: 3, leaderEpoch }] }]
        const row = (await raw.ask(offsetForLeaderEpoch, version, { topics })).topics[0]!.partitions[0]!
        assert.equal([row.errorCode, row.leaderEpoch, row.endOffset], [0, epoch, end])
      }
    }
    const fenced = [{ topic: 't', partitions: [{ partition: 0, currentLeaderEpoch: 2, leaderEpoch: 1 }] }]
    const row = (await raw.ask(offsetForLeaderEpoch, 4, { topics: fenced })).topics[0]!.partitions[0]!
    assert.is(named(row.errorCode), 'FENCED_LEADER_EPOCH')
  }),
)

test(
  'a fetch that last read another epoch learns where the logs part',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    await threeEpochs(raw, () => broker.faults.moveLeader('t', 0, 1))
    const parted = await read(raw, { offset: 3, lastFetchedEpoch: 0, maxWaitMs: 5000 })
    assert.equal(parted.row.divergingEpoch, { epoch: 0, endOffset: 2 })
    assert.is(parted.row.errorCode, 0)
    assert.equal((await read(raw, { offset: 2, lastFetchedEpoch: 0 })).offsets, [[2, 3, 4]])
    assert.equal((await read(raw, { offset: 4, lastFetchedEpoch: 1 })).offsets, [[4]])
  }),
)

const times: readonly (readonly [name: string, timestamp: number, offset: number, time: number, epoch: number])[] = [
  ['latest', -1, 5, -1, 3],
  ['earliest', -2, 0, -1, 0],
  ['largest timestamp', -3, 3, 90, 1],
  ['earliest local', -4, 0, -1, 0],
  ['tiered: there is none', -5, -1, -1, -1],
  ['at 0', 0, 0, 10, 0],
  ['at 10', 10, 0, 10, 0],
  ['after 10', 11, 1, 20, 0],
  ['after 30', 31, 3, 90, 1],
  ['after all', 91, -1, -1, -1],
]
for (const [name, timestamp, offset, time, epoch] of times) {
  test(
    `ListOffsets ${name} → ${offset}`,
    withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
      const raw = await client()
      const pair = (first: number, delta: number, max: number): Buffer => {
        const records = [0, delta].map((d, i) => ({ key: null, value: Buffer.from(`${i}`), timestampDelta: BigInt(d) }))
        return batch([], {
          records,
          baseTimestamp: BigInt(first),
          maxTimestamp: BigInt(max),
          lastOffsetDelta: 1,
          count: 2,
        })
      }
      await send(raw, 't', 0, pair(10, 10, 20))
      broker.faults.moveLeader('t', 0, 1)
      await send(raw, 't', 0, pair(30, 60, 90))
      broker.faults.moveLeader('t', 0, 1)
      broker.faults.moveLeader('t', 0, 1)
      await send(raw, 't', 0, batch(['e'], { baseTimestamp: 40n, maxTimestamp: 40n }))
      for (let version = listOffsets.minVersion; version <= listOffsets.maxVersion; version++) {
        const topics = [{ name: 't', partitions: [{ partitionIndex: 0, timestamp }] }]
        const row = (await raw.ask(listOffsets, version, { replicaId: -1, topics })).topics[0]!.partitions[0]!
        const got = [row.errorCode, row.offset, row.timestamp, version >= 4 ? row.leaderEpoch : epoch]
        assert.equal(got, [0, offset, time, epoch], `version ${version}`)
      }
    }),
  )
}

test(
  'ListOffsets errors',
  withBroker({ topics: { t: 2 }, nodes: 2 }, async ({ client }) => {
    const raw = await client(1)
    const ask = async (name: string, partitionIndex: number, currentLeaderEpoch: number) => {
      const topics = [{ name, partitions: [{ partitionIndex, timestamp: -1, currentLeaderEpoch }] }]
      return named((await raw.ask(listOffsets, 5, { replicaId: -1, topics })).topics[0]!.partitions[0]!.errorCode)
    }
    assert.is(await ask('missing', 0, -1), 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.is(await ask('t', 2, -1), 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.is(await ask('t', 1, -1), 'NOT_LEADER_OR_FOLLOWER')
    assert.is(await ask('t', 0, 1), 'UNKNOWN_LEADER_EPOCH')
  }),
)
test.run()
