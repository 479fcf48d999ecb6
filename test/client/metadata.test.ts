/** Metadata: one owner, merged requests, views that never go back; against a scripted broker on a virtual clock. */
import * as assert from 'uvu/assert'
import type { MillraceError } from '../../src/base/errors.ts'
import { Client, type ClientEvent, ClusterView } from '../../src/client/index.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { errorCodes } from '../../src/protocol/errors.ts'
import { World } from '../sim/world.ts'
import { suite } from '../support/suite.ts'
import { FakePeer } from './support/fake-peer.ts'

const test = suite('metadata')
const idA = 'a'.repeat(32)
const idB = 'b'.repeat(32)
const zero = '0'.repeat(32)

// ---- views: what a response does to what was believed

interface Believed {
  readonly id: string
  readonly leaders: readonly (readonly [leader: number, epoch: number])[]
  readonly error?: number
}
const views: { name: string; before: Believed; news: Believed; after: string }[] = [
  {
    name: 'a newer epoch wins',
    before: { id: idA, leaders: [[1, 4]] },
    news: { id: idA, leaders: [[2, 5]] },
    after: '2@5',
  },
  {
    name: 'an older epoch is not believed',
    before: { id: idA, leaders: [[2, 5]] },
    news: { id: idA, leaders: [[1, 4]] },
    after: '2@5',
  },
  {
    name: 'the same epoch is believed: leaders may come and go in it',
    before: { id: idA, leaders: [[2, 5]] },
    news: { id: idA, leaders: [[-1, 5]] },
    after: '-1@5',
  },
  {
    name: 'an unknown epoch is believed',
    before: { id: idA, leaders: [[2, 5]] },
    news: { id: idA, leaders: [[1, -1]] },
    after: '1@-1',
  },
  {
    name: 'a topic made anew begins its epochs anew',
    before: { id: idA, leaders: [[2, 5]] },
    news: { id: idB, leaders: [[1, 0]] },
    after: '1@0',
  },
  {
    name: 'a broker without ids is still compared by epoch',
    before: { id: zero, leaders: [[2, 5]] },
    news: { id: zero, leaders: [[1, 4]] },
    after: '2@5',
  },
  {
    name: 'each partition is judged alone',
    before: {
      id: idA,
      leaders: [
        [1, 3],
        [2, 3],
      ],
    },
    news: {
      id: idA,
      leaders: [
        [3, 4],
        [3, 2],
      ],
    },
    after: '3@4 2@3',
  },
  {
    name: 'new partitions appear',
    before: { id: idA, leaders: [[1, 3]] },
    news: {
      id: idA,
      leaders: [
        [1, 3],
        [2, 0],
      ],
    },
    after: '1@3 2@0',
  },
  {
    name: 'fewer partitions of the same topic are a broker that lags behind',
    before: {
      id: idA,
      leaders: [
        [1, 3],
        [2, 0],
      ],
    },
    news: { id: idA, leaders: [[1, 4]] },
    after: '1@4 2@0',
  },
  {
    name: 'a topic made anew may have fewer partitions',
    before: {
      id: idA,
      leaders: [
        [1, 3],
        [2, 0],
      ],
    },
    news: { id: idB, leaders: [[1, 0]] },
    after: '1@0',
  },
  {
    name: 'a topic that is gone has no partitions',
    before: { id: idA, leaders: [[1, 3]] },
    news: { id: zero, leaders: [], error: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
    after: 'UNKNOWN_TOPIC_OR_PARTITION',
  },
  {
    name: 'another error says nothing about the partitions',
    before: { id: idA, leaders: [[1, 3]] },
    news: { id: idA, leaders: [], error: errorCodes.LEADER_NOT_AVAILABLE },
    after: '1@3 LEADER_NOT_AVAILABLE',
  },
]
for (const { name, before, news, after } of views) {
  test(`view: ${name}`, () => {
    const topicOf = ({ id, leaders, error = 0 }: Believed) => ({
      errorCode: error,
      name: 't',
      id,
      // Brokers do not promise an order.
      partitions: leaders.map(([leader, leaderEpoch], index) => ({ index, leader, leaderEpoch })).reverse(),
    })
    const cluster = { clusterId: 'c', controller: 1, nodes: [] }
    const first = ClusterView.empty().merge({ ...cluster, topics: [topicOf(before)] }, () => true)
    const second = first.merge({ ...cluster, topics: [topicOf(news)] }, () => true)
    const topic = second.topic('t')!
    const words = topic.partitions.map(({ leader, leaderEpoch }) => `${leader}@${leaderEpoch}`)
    if (topic.error !== undefined) words.push(topic.error)
    assert.is(words.join(' '), after)
    assert.ok(second.version > first.version)
    assert.is(first.topic('t')!.partitions[0]!.leader, before.leaders[0]![0], 'the earlier view is as it was')
    if (topic.id !== zero) assert.is(second.topicById(topic.id), topic)
  })
}

test('view: partitions are dense even when a broker leaves one out', () => {
  const topics = [{ errorCode: 0, name: 't', id: idA, partitions: [{ index: 2, leader: 1, leaderEpoch: 0 }] }]
  const view = ClusterView.empty().merge({ clusterId: null, controller: -1, nodes: [], topics }, () => true)
  assert.equal(
    view.topic('t')!.partitions.map(({ index, leader }) => [index, leader]),
    [
      [0, -1],
      [1, -1],
      [2, 1],
    ],
  )
})

test('view: another cluster id starts from nothing', () => {
  const partitions = [{ index: 0, leader: 1, leaderEpoch: 9 }]
  const topics = [{ errorCode: 0, name: 't', id: idA, partitions }]
  const first = ClusterView.empty().merge({ clusterId: 'one', controller: 1, nodes: [], topics }, () => true)
  const older = [{ errorCode: 0, name: 't', id: idA, partitions: [{ index: 0, leader: 2, leaderEpoch: 1 }] }]
  const second = first.merge({ clusterId: 'two', controller: 1, nodes: [], topics: older }, () => true)
  assert.is(second.topic('t')?.partitions[0]?.leader, 2)
})

const hints: { name: string; said: readonly [number, number, number]; after: string; news: boolean }[] = [
  { name: 'a newer leader is believed', said: [0, 2, 6], after: '2@6', news: true },
  { name: 'the same epoch is no news', said: [0, 2, 5], after: '1@5', news: false },
  { name: 'an older epoch is no news', said: [0, 2, 4], after: '1@5', news: false },
  { name: 'a partition nobody heard of is no news', said: [9, 2, 6], after: '1@5', news: false },
]
for (const { name, said, after, news } of hints) {
  test(`view: a hint with a refusal: ${name}`, () => {
    const topics = [{ errorCode: 0, name: 't', id: idA, partitions: [{ index: 0, leader: 1, leaderEpoch: 5 }] }]
    const first = ClusterView.empty().merge({ clusterId: 'c', controller: 1, nodes: [], topics }, () => true)
    const [index, leader, leaderEpoch] = said
    const node = { id: 2, host: 'h', port: 1, rack: null }
    const second = first.withLeader('t', { index, leader, leaderEpoch }, [node])
    const at = second.partition('t', 0)!
    assert.is(`${at.leader}@${at.leaderEpoch}`, after)
    assert.is(second !== first, news)
    assert.is(second.node(2) !== undefined, news)
    assert.is(second.topicById(idA)?.partitions[0], at)
    assert.is(first.partition('t', 0)?.leader, 1)
  })
}

for (const name of ['__proto__', 'constructor', 'toString', '..', 'x'.repeat(249)]) {
  test(`view: a topic called ${name.slice(0, 12)} is a topic like any other`, () => {
    const empty = ClusterView.empty()
    assert.is(empty.topic(name), undefined)
    const topics = [{ errorCode: 0, name, id: idA, partitions: [{ index: 0, leader: 1, leaderEpoch: 0 }] }]
    const view = empty.merge({ clusterId: null, controller: 1, nodes: [], topics }, () => true)
    assert.is(view.topic(name)?.partitions.length, 1)
  })
}

// ---- the loop

interface Setup {
  readonly world: World
  readonly peer: FakePeer
  readonly client: Client
  readonly events: ClientEvent[]
  /** Topic names of each Metadata request so far. */
  readonly asked: () => string[][]
}

async function inWorld(
  body: (setup: Setup) => Promise<void>,
  options: Omit<ClientOptions, 'brokers'> = {},
): Promise<void> {
  const world = new World(1, { latencyMs: [1, 1] })
  await world.run(async () => {
    const peer = await FakePeer.start(world.process('peer').scope)
    peer.on(metadata, ({ topics }) =>
      peer.clusterOf(
        (topics ?? []).map(({ name }) => ({
          errorCode: name === 'missing' ? errorCodes.UNKNOWN_TOPIC_OR_PARTITION : 0,
          name,
          topicId: name === 'missing' ? zero : idA,
          isInternal: false,
          partitions:
            name === 'missing'
              ? []
              : [
                  {
                    errorCode: 0,
                    partitionIndex: 0,
                    leaderId: 1,
                    leaderEpoch: 0,
                    replicaNodes: [1],
                    isrNodes: [1],
                    offlineReplicas: [],
                  },
                ],
        })),
      ),
    )
    const events: ClientEvent[] = []
    const scope = world.process('app').scope
    const client = new Client({ brokers: peer.address, scope, onEvent: (event) => events.push(event), ...options })
    const asked = (): string[][] =>
      peer.calls
        .filter(({ api }) => api === 'Metadata')
        .map(({ request }) => (request as { topics: { name: string }[] }).topics.map(({ name }) => name))
    await body({ world, peer, client, events, asked })
    await client.close()
  })
}

test('require asks once for what is new, and not at all for what is known', () =>
  inWorld(async ({ client, asked }) => {
    const [one, two] = await Promise.all([client.metadata.require(['a']), client.metadata.require(['b', 'missing'])])
    assert.is(one.topic('a')?.partitions.length, 1)
    assert.is(two.topic('missing')?.error, 'UNKNOWN_TOPIC_OR_PARTITION')
    await client.metadata.require(['a', 'b', 'missing'])
    assert.equal(asked(), [['a', 'b', 'missing']])
  }))

test('a hundred wishes for a refresh are one request; the next waits for the minimum age', () =>
  inWorld(
    async ({ client, world, peer, asked }) => {
      await client.metadata.require(['a'])
      const first = peer.calls.at(-1)!.at
      for (let i = 0; i < 100; i++) client.metadata.refresh(`reason ${i}`)
      await world.sleep(1000)
      assert.is(asked().length, 2)
      assert.ok(peer.calls.at(-1)!.at - first >= 300)
      for (let i = 0; i < 10; i++) {
        client.metadata.refresh('again')
        await world.sleep(100)
      }
      assert.ok(asked().length <= 6, `${asked().length}`)
    },
    { metadataMinAgeMs: 300 },
  ))

test('a topic that nobody asked for yet does not wait for the minimum age', () =>
  inWorld(
    async ({ client, world }) => {
      await client.metadata.require(['a'])
      const started = world.now
      await client.metadata.require(['b'])
      assert.ok(world.now - started < 100)
    },
    { metadataMinAgeMs: 30_000 },
  ))

test('refreshed resolves with a request that began after the call', () =>
  inWorld(async ({ client, peer, world, asked }) => {
    await client.metadata.require(['a'])
    client.metadata.refresh('before')
    await world.until('the refresh is on its way', () => asked().length === 2)
    const count = peer.calls.length
    await client.metadata.refreshed('after')
    assert.ok(peer.calls.length > count)
  }))

test('the cluster is asked again at the maximum age; forgotten topics are left out', () =>
  inWorld(
    async ({ client, world, asked }) => {
      client.metadata.track('kept')
      await client.metadata.require(['once'])
      await world.sleep(5500)
      assert.is(asked().length, 6)
      assert.equal(asked()[1], ['kept', 'once'])
      assert.equal(asked().at(-1), ['kept'])
      assert.is(client.metadata.view.topic('once'), undefined)
      client.metadata.untrack('kept')
    },
    { metadataMaxAgeMs: 1000 },
  ))

test('listeners hear each new view in the turn it is made, until they stop', () =>
  inWorld(async ({ client }) => {
    const heard: number[] = []
    const stop = client.metadata.onChange((view) => {
      assert.is(view, client.metadata.view)
      heard.push(view.version)
    })
    await client.metadata.refreshed('one')
    stop()
    await client.metadata.refreshed('two')
    assert.equal(heard, [1])
  }))

test('when no known broker answers, the addresses of `brokers` are asked again', () =>
  inWorld(
    async ({ client, peer, world }) => {
      await client.metadata.require(['a'])
      assert.is(client.metadata.view.node(1)?.port, 9092)
      // The whole cluster moves; only the name in `brokers` leads to it.
      peer.on(metadata, () => ({
        ...peer.clusterOf([]),
        brokers: [{ nodeId: 7, host: '127.0.0.1', port: 9999, rack: null }],
      }))
      await client.metadata.refreshed('now broker 7 at a port where nobody is')
      peer.on(metadata, () => peer.clusterOf([]))
      const started = world.now
      const view = await client.metadata.refreshed('again')
      assert.is(view.node(1)?.port, 9092)
      assert.ok(world.now - started < 1000)
    },
    { connectTimeoutMs: 500 },
  ))

test('REBOOTSTRAP_REQUIRED sends it back to the addresses of `brokers`', () =>
  inWorld(async ({ client, peer, world }) => {
    await client.metadata.require(['a'])
    const other = await FakePeer.start(world.process('other').scope, { port: 9200 })
    other.on(metadata, () => ({ ...other.clusterOf([]), errorCode: errorCodes.REBOOTSTRAP_REQUIRED }))
    peer.on(metadata, () => ({
      ...peer.clusterOf([]),
      brokers: [{ nodeId: 1, host: '127.0.0.1', port: 9200, rack: null }],
    }))
    await client.metadata.refreshed('moved')
    peer.on(metadata, () => peer.clusterOf([]))
    const view = await client.metadata.refreshed('rebootstrap')
    assert.is(view.node(1)?.port, 9092)
    assert.ok(other.asked.includes('Metadata'))
  }))

test('while nobody answers it tries for ever, says so, and those who wait get the first answer', () =>
  inWorld(async ({ client, peer, world, events }) => {
    await peer.stop()
    const waiting = client.metadata.require(['a'])
    await world.sleep(600_000)
    const failed = events.filter((event) => event.type === 'metadataFailed')
    assert.ok(failed.length > 100 && failed.length < 1200, `${failed.length} tries in ten minutes`)
    await peer.listen(9092)
    assert.is((await waiting).topic('a')?.partitions.length, 1)
  }))

test('what no retry mends is told to those who wait', () =>
  inWorld(
    async ({ client }) => {
      let error: MillraceError | undefined
      await client.metadata.require(['a']).catch((cause) => {
        error = cause
      })
      assert.is(error?.code, 'ERR_NO_COMMON_VERSION')
    },
    { maxVersions: { Metadata: 0 } },
  ))

test.run()
