/** Admin and offset look-ups against the embedded broker in a simulated world, with refusals, lost answers and moves. */
import * as assert from 'uvu/assert'
import type { MillraceError } from '../../src/base/errors.ts'
import { type Admin, Client } from '../../src/client/index.ts'
import type { KafkaErrorName } from '../../src/protocol/errors.ts'
import { SimCluster } from '../sim/cluster.ts'
import { World } from '../sim/world.ts'
import { suite } from '../support/suite.ts'

const test = suite('admin')

interface Setup {
  readonly world: World
  readonly cluster: SimCluster
  readonly client: Client
  readonly admin: Admin
}

async function inWorld(body: (setup: Setup) => Promise<void>, topics: Record<string, number> = {}): Promise<void> {
  const world = new World(1)
  await world.run(async () => {
    const cluster = await SimCluster.start(world, { nodes: 3, topics })
    const scope = world.process('app').scope
    const client = new Client({ brokers: cluster.brokers, scope, requestTimeoutMs: 1000 })
    await body({ world, cluster, client, admin: client.admin() })
    await client.close()
  })
}

async function failure(promise: Promise<unknown>): Promise<MillraceError> {
  try {
    await promise
  } catch (cause) {
    return cause as MillraceError
  }
  throw new Error('expected a rejection')
}

test('topics are created with their settings, described and deleted', () =>
  inWorld(async ({ admin, cluster }) => {
    await admin.createTopics([
      { name: 'a', partitions: 3, configs: { 'cleanup.policy': 'compact' } },
      { name: '__proto__', partitions: 1, replicationFactor: 1 },
    ])
    assert.equal(cluster.broker.topics.toSorted(), ['__proto__', 'a'])
    const [a, odd, ...rest] = await admin.describeTopics(['a', '__proto__', 'missing'])
    assert.equal(
      a?.partitions.map(({ index, leader }) => [index, leader > 0]),
      [
        [0, true],
        [1, true],
        [2, true],
      ],
    )
    assert.is(odd?.partitions.length, 1)
    assert.is(rest.length, 0)
    const config = await admin.describeTopicConfig('a', ['cleanup.policy'])
    assert.equal(
      [...config].map(([name, { value }]) => `${name}=${value}`),
      ['cleanup.policy=compact'],
    )
    assert.ok((await admin.describeTopicConfig('a')).size > 10)
    await admin.deleteTopics(['a', '__proto__'])
    assert.equal(cluster.broker.topics, [])
    await admin.createTopics([])
    await admin.deleteTopics([])
  }))

const refusals: { name: string; act: (admin: Admin) => Promise<unknown>; code: string; says: RegExp }[] = [
  {
    name: 'creating what exists',
    act: (admin) => admin.createTopics([{ name: 't', partitions: 1 }]),
    code: 'TOPIC_ALREADY_EXISTS',
    says: /creating topic t/,
  },
  {
    name: 'creating with a bad name',
    act: (admin) => admin.createTopics([{ name: 'a b', partitions: 1 }]),
    code: 'INVALID_TOPIC_EXCEPTION',
    says: /a b/,
  },
  {
    name: 'creating with no partitions',
    act: (admin) => admin.createTopics([{ name: 'z', partitions: 0 }]),
    code: 'INVALID_PARTITIONS',
    says: /z/,
  },
  {
    name: 'creating with a bad setting',
    act: (admin) => admin.createTopics([{ name: 'z', partitions: 1, configs: { 'cleanup.policy': 'maybe' } }]),
    code: 'INVALID_CONFIG',
    says: /z/,
  },
  {
    name: 'deleting what does not exist',
    act: (admin) => admin.deleteTopics(['gone']),
    code: 'UNKNOWN_TOPIC_OR_PARTITION',
    says: /deleting topic gone/,
  },
]
for (const { name, act, code, says } of refusals) {
  test(`${name} → ${code}`, () =>
    inWorld(
      async ({ admin, world }) => {
        const error = await failure(act(admin))
        assert.is(error.code, code)
        assert.match(error.message, says)
        assert.ok(world.now < 5000)
      },
      { t: 1 },
    ))
}

test('a refused topic does not hide that the others were created', () =>
  inWorld(
    async ({ admin, cluster }) => {
      const error = await failure(
        admin.createTopics([
          { name: 'new', partitions: 1 },
          { name: 't', partitions: 1 },
        ]),
      )
      assert.is(error.code, 'TOPIC_ALREADY_EXISTS')
      assert.ok(cluster.broker.topics.includes('new'))
    },
    { t: 1 },
  ))

test('a lost answer is no failure: the second try finds the work done', () =>
  inWorld(async ({ admin, cluster }) => {
    cluster.faults.loseResponse('CreateTopics')
    await admin.createTopics([{ name: 'a', partitions: 1 }])
    cluster.faults.cut('DeleteTopics', 'after')
    await admin.deleteTopics(['a'])
    assert.equal(cluster.broker.topics, [])
  }))

for (const error of ['NOT_CONTROLLER', 'REQUEST_TIMED_OUT', 'COORDINATOR_LOAD_IN_PROGRESS'] as const) {
  test(`${error} is tried again`, () =>
    inWorld(async ({ admin, cluster }) => {
      cluster.faults.answer('CreateTopics', error, { times: 2 })
      await admin.createTopics([{ name: 'a', partitions: 1 }])
      cluster.faults.answer('DeleteTopics', error, { times: 2 })
      await admin.deleteTopics(['a'])
    }))
}

test('a cluster that is away: TimeoutError with the last reason, within the time given', () =>
  inWorld(async ({ admin, cluster, world }) => {
    cluster.crash()
    const started = world.now
    const error = await failure(admin.createTopics([{ name: 'a', partitions: 1 }], { timeoutMs: 5000 }))
    assert.is(error.code, 'ERR_TIMEOUT')
    assert.match(error.message, /creating a did not succeed within 5000 ms.*ECONNREFUSED/)
    assert.ok(world.now - started < 6500)
  }))

test('a signal ends the wait at once', () =>
  inWorld(async ({ admin, cluster, world }) => {
    cluster.faults.delay('CreateTopics', 1e6)
    const abort = new AbortController()
    const waiting = failure(admin.createTopics([{ name: 'a', partitions: 1 }], { signal: abort.signal }))
    await world.sleep(100)
    abort.abort()
    assert.is((await waiting).code, 'ERR_ABORTED')
    assert.ok(world.now < 500)
  }))

test('a broker tells its own configuration', () =>
  inWorld(async ({ admin, client }) => {
    await client.metadata.require([])
    const config = await admin.describeConfig({ broker: 2 }, ['message.max.bytes'])
    assert.ok(config.size <= 1)
  }))

// ---- offsets

async function fill({ client, cluster }: Setup): Promise<void> {
  const producer = client.producer()
  for (let partition = 0; partition < 6; partition++) {
    cluster.faults.moveLeader('t', partition, (partition % 3) + 1)
    for (let i = 0; i < partition; i++) await producer.send({ topic: 't', partition, value: 'v', timestamp: 1000 + i })
  }
}
const six = Array.from({ length: 6 }, (_, partition) => ({ topic: 't', partition }))

test('offsets by leader: earliest, latest, by time', () =>
  inWorld(
    async (setup) => {
      await fill(setup)
      const { client } = setup
      const offsets = async (at: 'earliest' | 'latest' | number): Promise<number[]> => {
        const found = await client.listOffsets(six, at)
        return six.map(({ topic, partition }) => found.get(topic, partition)!.offset)
      }
      assert.equal(await offsets('earliest'), [0, 0, 0, 0, 0, 0])
      assert.equal(await offsets('latest'), [0, 1, 2, 3, 4, 5])
      assert.equal(await offsets(1002), [-1, -1, -1, 2, 2, 2])
      assert.is((await client.listOffsets([], 'latest')).size, 0)
    },
    { t: 6 },
  ))

const offsetTroubles: { name: string; make: (setup: Setup) => void }[] = [
  ...(['NOT_LEADER_OR_FOLLOWER', 'LEADER_NOT_AVAILABLE', 'FENCED_LEADER_EPOCH'] as KafkaErrorName[]).map((error) => ({
    name: error,
    make: ({ cluster }: Setup) =>
      void cluster.faults.answer('ListOffsets', error, { topic: 't', partition: 4, times: 3 }),
  })),
  { name: 'a lost answer', make: ({ cluster }) => void cluster.faults.loseResponse('ListOffsets', { skip: 1 }) },
  { name: 'a cut', make: ({ cluster }) => void cluster.faults.cut('ListOffsets', 'before', { times: 2 }) },
  {
    name: 'leaders that move',
    make: ({ cluster }) => {
      for (let partition = 0; partition < 6; partition++) cluster.faults.moveLeader('t', partition, 1)
    },
  },
  {
    name: 'no leader for a while',
    make: ({ cluster, world }) => {
      cluster.faults.moveLeader('t', 5, -1)
      void world.sleep(3000).then(() => cluster.faults.moveLeader('t', 5, 2))
    },
  },
  {
    name: 'a crash',
    make: ({ cluster, world }) => {
      cluster.crash()
      void world.sleep(3000).then(() => cluster.restart())
    },
  },
]
for (const { name, make } of offsetTroubles) {
  test(`offsets are found in spite of ${name}`, () =>
    inWorld(
      async (setup) => {
        await fill(setup)
        make(setup)
        const found = await setup.client.listOffsets(six, 'latest')
        assert.equal(
          six.map(({ topic, partition }) => found.get(topic, partition)!.offset),
          [0, 1, 2, 3, 4, 5],
        )
      },
      { t: 6 },
    ))
}

test('an epoch ends where the next began', () =>
  inWorld(
    async (setup) => {
      await fill(setup)
      const { admin, client, cluster } = setup
      const before = (await admin.describeTopics(['t']))[0]!.partitions[5]!.leaderEpoch
      cluster.faults.moveLeader('t', 5, 1)
      await client.producer().sendBatch([0, 1].map(() => ({ topic: 't', partition: 5, value: 'later' })))
      const ends = await admin.offsetForLeaderEpoch([
        { topic: 't', partition: 5, leaderEpoch: before },
        { topic: 't', partition: 1, leaderEpoch: 99 },
      ])
      assert.equal(ends.get('t', 5), { leaderEpoch: before, endOffset: 5 })
      assert.is(ends.get('t', 1)!.endOffset, -1)
    },
    { t: 6 },
  ))

test.run()
