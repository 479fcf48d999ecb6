/** Metadata, CreateTopics, DeleteTopics, DescribeConfigs: names, ids, settings, errors. */
import * as assert from 'uvu/assert'
import { createTopics } from '../../src/protocol/api/create-topics.ts'
import { deleteTopics } from '../../src/protocol/api/delete-topics.ts'
import { describeConfigs } from '../../src/protocol/api/describe-configs.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { BrokerError } from '../../src/protocol/errors.ts'
import { ZERO_UUID } from '../../src/protocol/uuid.ts'
import { Broker } from '../../src/broker/index.ts'
import { rejects, suite } from '../support/suite.ts'
import { batch, named, type RawClient, send, withBroker } from './support/kit.ts'
import { type Asked, creations, longest } from './support/tables.ts'

const test = suite('broker: topics')

async function create(client: RawClient, topics: readonly Asked[], validateOnly = false, version = 7) {
  return await client.ask(createTopics, version, {
    topics: topics.map((topic) => ({
      numPartitions: 1,
      replicationFactor: -1,
      configs: [],
      assignments: [],
      ...topic,
    })),
    validateOnly,
  })
}

for (const { topic, answer, partitions } of creations) {
  const shown = JSON.stringify(topic).replace(longest, 'x…')
  test(
    `create ${shown} → ${answer}`,
    withBroker({ nodes: 2, defaultPartitions: 4, topics: { taken: 1, 'two.parts': 1 } }, async ({ client, broker }) => {
      const raw = await client()
      const dry = (await create(raw, [topic], true)).topics[0]!
      assert.is(named(dry.errorCode), answer, 'validateOnly')
      assert.is(dry.topicId, ZERO_UUID)
      const row = (await create(raw, [topic])).topics[0]!
      assert.is(named(row.errorCode), answer, row.errorMessage ?? '')
      if (answer !== 'ok') {
        assert.ok((row.errorMessage ?? '').length > 5)
        return
      }
      assert.equal([row.numPartitions, row.replicationFactor], [partitions, 1])
      assert.is.not(row.topicId, ZERO_UUID)
      assert.ok(broker.topics.includes(topic.name))
      const asked = await raw.ask(metadata, 12, {
        topics: [{ name: topic.name }, { name: null, topicId: row.topicId }],
      })
      for (const found of asked.topics) {
        assert.equal(
          [found.errorCode, found.name, found.topicId, found.partitions.length],
          [0, topic.name, row.topicId, partitions],
        )
      }
    }),
  )
}

test(
  'a topic named twice in a request is refused, the others are created; all versions',
  withBroker({}, async ({ client, broker }) => {
    const raw = await client()
    const answer = await create(raw, [{ name: 'twice' }, { name: 'once' }, { name: 'twice' }])
    assert.equal(
      answer.topics.map((t) => `${t.name} ${named(t.errorCode)}`),
      ['twice INVALID_REQUEST', 'once ok'],
    )
    assert.equal(broker.topics, ['once'])
    for (let version = createTopics.minVersion; version <= createTopics.maxVersion; version++) {
      const row = (await create(raw, [{ name: `v${version}` }], false, version)).topics[0]!
      assert.is(named(row.errorCode), 'ok')
      if (version >= 5) assert.is(row.configs?.find((c) => c.name === 'cleanup.policy')?.value, 'delete')
    }
  }),
)

test(
  'maxPartitions bounds all topics together',
  withBroker({ maxPartitions: 5, topics: { a: 3 } }, async ({ client }) => {
    const raw = await client()
    assert.is(named((await create(raw, [{ name: 'b', numPartitions: 3 }])).topics[0]!.errorCode), 'POLICY_VIOLATION')
    assert.is(named((await create(raw, [{ name: 'b', numPartitions: 2 }])).topics[0]!.errorCode), 'ok')
  }),
)

test(
  'metadata: all, none, some; unknown topics are not created',
  withBroker({ nodes: 3, topics: { a: 3, b: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    for (let version = metadata.minVersion; version <= metadata.maxVersion; version++) {
      const all = await raw.ask(metadata, version, { topics: version === 0 ? [] : null })
      assert.equal(
        all.brokers.map((b) => `${b.nodeId}=${b.host}:${b.port}`),
        broker.addresses.map((a, i) => `${i + 1}=${a}`),
      )
      assert.equal(
        all.topics.map((t) => t.name),
        ['a', 'b'],
      )
      assert.equal(
        all.topics[0]!.partitions.map((p) => [p.partitionIndex, p.leaderId, p.replicaNodes, p.isrNodes]),
        [
          [0, 1, [1], [1]],
          [1, 2, [2], [2]],
          [2, 3, [3], [3]],
        ],
      )
      if (version >= 1) assert.equal((await raw.ask(metadata, version, { topics: [] })).topics, [])
      if (version >= 1) assert.is(all.controllerId, 1)
      if (version >= 2) assert.ok((all.clusterId ?? '').length === 22)
      const some = await raw.ask(metadata, version, {
        topics: [{ name: 'b' }, { name: 'missing' }, { name: 'bad/name' }],
        ...(version >= 4 && { allowAutoTopicCreation: true }),
      })
      assert.equal(
        some.topics.map((t) => `${t.name} ${named(t.errorCode)}`),
        ['b ok', 'missing UNKNOWN_TOPIC_OR_PARTITION', 'bad/name INVALID_TOPIC_EXCEPTION'],
      )
    }
    const byId = await raw.ask(metadata, 12, { topics: [{ name: null, topicId: 'ab'.repeat(16) }, { name: null }] })
    assert.equal(
      byId.topics.map((t) => named(t.errorCode)),
      ['UNKNOWN_TOPIC_ID', 'INVALID_REQUEST'],
    )
    assert.equal(broker.topics, ['a', 'b'])
  }),
)

test(
  'a partition without a leader says so',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    broker.faults.moveLeader('t', 0, -1)
    const row = (await raw.ask(metadata, 9, { topics: [{ name: 't' }] })).topics[0]!.partitions[0]!
    assert.equal(
      [named(row.errorCode), row.leaderId, row.replicaNodes, row.offlineReplicas],
      ['LEADER_NOT_AVAILABLE', -1, [1], [1]],
    )
    assert.is(named((await send(raw, 't', 0, batch(['a']))).errorCode), 'NOT_LEADER_OR_FOLLOWER')
  }),
)

test(
  'topics are deleted by name and by id; a new one of the same name is another topic',
  withBroker({ topics: { a: 1, b: 1, c: 1 } }, async ({ client, broker, topicId }) => {
    const raw = await client()
    await send(raw, 'a', 0, batch(['x']))
    const id = await topicId('a')
    const other = await topicId('b')
    const answer = await raw.ask(deleteTopics, 6, {
      topics: [
        { name: 'a', topicId: ZERO_UUID },
        { name: null, topicId: other },
        { name: 'missing', topicId: ZERO_UUID },
        { name: null, topicId: id },
        { name: 'c', topicId: id },
        { topicId: ZERO_UUID },
      ],
      timeoutMs: 1,
    })
    assert.equal(
      answer.responses.map((r) => `${r.name} ${named(r.errorCode)}`),
      [
        'a ok',
        'b ok',
        'missing UNKNOWN_TOPIC_OR_PARTITION',
        'null UNKNOWN_TOPIC_ID',
        'c INVALID_REQUEST',
        'null INVALID_REQUEST',
      ],
    )
    assert.equal(broker.topics, ['c'])
    broker.createTopic('a', 1)
    assert.is.not(await topicId('a'), id)
    assert.is(broker.offsets('a', 0).next, 0)
    for (let version = deleteTopics.minVersion; version < 6; version++) {
      broker.createTopic(`v${version}`)
      const row = (await raw.ask(deleteTopics, version, { topicNames: [`v${version}`], timeoutMs: 1 })).responses[0]!
      assert.is(named(row.errorCode), 'ok')
    }
    assert.equal(broker.topics, ['c', 'a'])
  }),
)

test(
  'deleted topics give their memory back',
  withBroker({ topics: { a: 1 } }, async ({ client, broker }) => {
    const before = broker.memoryBytes
    await send(await client(), 'a', 0, batch(['x'.repeat(10_000)]))
    assert.ok(broker.memoryBytes > before)
    broker.deleteTopic('a')
    assert.is(broker.memoryBytes, before)
  }),
)

test(
  'DescribeConfigs: topic settings with defaults, sources, synonyms, types',
  withBroker({ topics: [{ name: 't', config: { 'cleanup.policy': 'compact' } }] }, async ({ client }) => {
    const raw = await client()
    for (let version = describeConfigs.minVersion; version <= describeConfigs.maxVersion; version++) {
      const answer = await raw.ask(describeConfigs, version, {
        resources: [
          { resourceType: 2, resourceName: 't', configurationKeys: ['cleanup.policy', 'retention.ms', 'unknown'] },
          { resourceType: 2, resourceName: 't', configurationKeys: null },
          { resourceType: 2, resourceName: 'missing', configurationKeys: null },
          { resourceType: 4, resourceName: '1', configurationKeys: ['auto.create.topics.enable', 'message.max.bytes'] },
          { resourceType: 4, resourceName: '2', configurationKeys: null },
          { resourceType: 99, resourceName: 'x', configurationKeys: null },
        ],
        includeSynonyms: true,
        ...(version >= 3 && { includeDocumentation: true }),
      })
      const [some, all, missing, node, other, strange] = answer.results
      assert.equal(
        some?.configs.map((c) => [c.name, c.value, c.configSource]),
        [
          ['cleanup.policy', 'compact', 1],
          ['retention.ms', '604800000', 5],
        ],
      )
      assert.equal(some?.configs[0]?.synonyms, [
        { name: 'cleanup.policy', value: 'compact', source: 1 },
        { name: 'log.cleanup.policy', value: 'delete', source: 5 },
      ])
      if (version >= 3) assert.equal([some?.configs[0]?.configType, some?.configs[1]?.configType], [7, 5])
      if (version >= 3) assert.ok((some?.configs[0]?.documentation ?? '') !== '')
      assert.ok((all?.configs.length ?? 0) > 25)
      assert.is(named(missing?.errorCode ?? 0), 'UNKNOWN_TOPIC_OR_PARTITION')
      assert.equal(
        node?.configs.map((c) => [c.name, c.value]),
        [
          ['auto.create.topics.enable', 'false'],
          ['message.max.bytes', '1048588'],
        ],
      )
      assert.equal(
        [named(other?.errorCode ?? 0), named(strange?.errorCode ?? 0)],
        ['INVALID_REQUEST', 'INVALID_REQUEST'],
      )
    }
  }),
)

test('Broker.createTopic and Broker.start say what is wrong', async () => {
  await withBroker({ topics: { t: 1 } }, async ({ broker }) => {
    assert.throws(
      () => broker.createTopic('t'),
      (e: unknown) => e instanceof BrokerError && e.code === 'TOPIC_ALREADY_EXISTS',
    )
    assert.throws(() => broker.createTopic('u', 1, { 'retention.ms': 'x' }), /retention.ms/)
    assert.throws(
      () => broker.deleteTopic('nope'),
      (e: unknown) => e instanceof BrokerError && e.code === 'UNKNOWN_TOPIC_OR_PARTITION',
    )
    assert.throws(() => broker.records('nope', 0), /nope/)
  })()
  const faults: readonly (readonly [options: object, says: RegExp])[] = [
    [{ host: '0.0.0.0' }, /insecure/],
    [{ host: '192.168.0.1' }, /insecure/],
    [{ host: '0.0.0.0', insecure: true }, /advertisedHost/],
    [{ prot: 1 }, /did you mean port/],
    [{ port: 70_000 }, /port/],
    [{ nodes: 0 }, /nodes/],
    [{ minSessionTimeoutMs: 10, maxSessionTimeoutMs: 5 }, /minSessionTimeoutMs/],
    [{ topics: [{ partitions: 3 }] }, /needs a name/],
    [{ topics: { 'a/b': 1 } }, /a\/b/],
  ]
  for (const [options, says] of faults) await rejects(Broker.start(options), says)
})
test.run()
