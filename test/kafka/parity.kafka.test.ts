/**
 * The embedded broker answers like Apache Kafka: the tables of its own tests, request by request, on the broker of the
 * run. Where Kafka answers differently, the table is wrong, and so is the embedded broker.
 */
import * as assert from 'uvu/assert'
import { configTypes, topicConfigs } from '../../src/broker/topic-config.ts'
import { createTopics } from '../../src/protocol/api/create-topics.ts'
import { describeConfigs } from '../../src/protocol/api/describe-configs.ts'
import { findCoordinator } from '../../src/protocol/api/find-coordinator.ts'
import { initProducerId } from '../../src/protocol/api/init-producer-id.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { defaultScope } from '../../src/net/index.ts'
import { batch, named, RawClient, send } from '../broker/support/kit.ts'
import { formGroup, Member, type MemberKit } from '../broker/support/member.ts'
import { answers, creations, idempotence, joins, longest, phases, refusals, verbs } from '../broker/support/tables.ts'
import { read, reads } from '../broker/support/reads.ts'
import { suite, until } from '../support/suite.ts'
import { noOwnBroker, openTarget, type Target, unique } from '../system/target.ts'

const test = suite('parity with Apache Kafka')
const scope = defaultScope()
let target: Target
let client: RawClient
const open = new Set<RawClient>()

async function dial(address: string, clientId = 'parity'): Promise<RawClient> {
  const raw = await RawClient.dial({ scope }, address, clientId)
  open.add(raw)
  return raw
}

async function makeTopic(
  name: string,
  numPartitions: number,
  config: Readonly<Record<string, string>> = {},
): Promise<void> {
  const configs = Object.entries(config).map(([key, value]) => ({ name: key, value }))
  const topics = [{ name, numPartitions, replicationFactor: -1, assignments: [], configs }]
  const answer = await client.ask(createTopics, 7, { topics })
  const code = named(answer.topics[0]!.errorCode)
  if (code !== 'ok' && code !== 'TOPIC_ALREADY_EXISTS') throw new Error(`cannot create ${name}: ${code}`)
  await until(
    async () => {
      const found = await client.ask(metadata, 12, { topics: [{ name }] })
      return found.topics[0]?.errorCode === 0 && found.topics[0].partitions.every((p) => p.leaderId >= 0)
    },
    { what: `${name} has leaders` },
  )
}

test.before(async () => {
  target = await openTarget({ own: noOwnBroker === undefined }) // its names are fixed: a shared broker may have them
  client = await dial(target.brokers.split(',')[0]!)
  await makeTopic('t', 2)
})
test.after(async () => {
  for (const raw of open) raw.close()
  await target.close()
})

/** A connection to the node that leads the topic's partition 0. */
async function leader(topic: string): Promise<RawClient> {
  const answer = await client.ask(metadata, 12, { topics: [{ name: topic }] })
  const node = answer.brokers.find((b) => b.nodeId === answer.topics[0]?.partitions[0]?.leaderId)
  return await dial(`${node?.host}:${node?.port}`)
}

/** Members of `group` dial its coordinator. */
function kitOf(group: string): MemberKit {
  return {
    client: async (_node, clientId) => {
      let address = ''
      await until(
        async () => {
          const [found] = (await client.ask(findCoordinator, 4, { keyType: 0, coordinatorKeys: [group] })).coordinators
          address = `${found?.host}:${found?.port}`
          return found?.errorCode === 0
        },
        { what: 'a coordinator' },
      )
      return await dial(address, clientId)
    },
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  }
}

/** A new group is refused while its coordinator still loads the log. */
async function ready(member: Member): Promise<void> {
  await until(async () => (await member.committed()) === -1, { what: 'the coordinator has loaded' })
}

for (const { name, bytes, answer } of refusals(Date.now())) {
  // Kafka fails over null records without an answer
  if (answer === 'any' || bytes === null) continue
  test(`produce ${name} → ${answer}`, async () => {
    const topic = unique('parity')
    // 4.x's default, which 3.x does not have
    const ahead = { 'message.timestamp.after.max.ms': '3600000' }
    await makeTopic(topic, 1, { 'max.message.bytes': '1500', ...ahead })
    const row = await send(await leader(topic), topic, 0, bytes)
    assert.is(named(row.errorCode), answer)
  })
}

for (const { name, steps } of idempotence) {
  test(`idempotent producers: ${name}`, async () => {
    const topic = unique('parity')
    await makeTopic(topic, 1)
    const raw = await leader(topic)
    const ids = new Map<number, number>()
    for (const [producer, producerEpoch, baseSequence, count, expected] of steps) {
      if (!ids.has(producer)) {
        const fresh = await raw.ask(initProducerId, 4, { transactionalId: null, transactionTimeoutMs: 1 })
        ids.set(producer, fresh.producerId)
      }
      const values = Array.from({ length: count }, (_, i) => `${i}`)
      const row = await send(
        raw,
        topic,
        0,
        batch(values, { producerId: BigInt(ids.get(producer)!), producerEpoch, baseSequence }),
      )
      const got = row.errorCode === 0 ? row.baseOffset : named(row.errorCode)
      assert.is(got, expected, `epoch ${producerEpoch}, sequence ${baseSequence} × ${count}`)
    }
  })
}

for (const [verb, row] of Object.entries(answers)) {
  phases.forEach((phase, i) => {
    test(`${verb} in ${phase.name} → ${row[i]}`, async () => {
      const group = unique('parity')
      const kit = kitOf(group)
      const a = await Member.create(kit, 'a', { group })
      await ready(a)
      await phase.reach(kit, a)
      assert.is(await verbs[verb]!(a), row[i]!)
    })
  })
}

for (const { name, options, memberId, answer } of joins) {
  // the brokers of tests take shorter sessions than Kafka's default
  if (name === 'a session below the minimum') continue
  test(`join with ${name} → ${answer}`, async () => {
    const group = options.group ?? unique('parity')
    const a = await Member.create(kitOf(group === '' ? 'any' : group), 'a', { ...options, group })
    if (group !== '') await ready(a)
    a.memberId = memberId ?? ''
    assert.is(await a.join(), answer)
  })
}

test('a static member that comes back keeps the generation and its assignment; the old id is fenced', async () => {
  const group = unique('parity')
  const kit = kitOf(group)
  const a = await Member.create(kit, 'a', { group, instanceId: 'one' })
  await ready(a)
  await formGroup(a)
  const again = await Member.create(kit, 'a', { group, instanceId: 'one' })
  assert.is(await again.join(), 'ok')
  assert.equal([again.generation, again.joined?.skipAssignment, again.isLeader], [a.generation, true, true])
  assert.is(await again.sync(), `${a.memberId}@${a.generation}`)
  assert.equal([await a.heartbeat(), await a.commit(1), await a.leave()], Array(3).fill('FENCED_INSTANCE_ID'))
})

for (const { topic, answer } of creations) {
  // what depends on the number of nodes
  if (topic.assignments !== undefined || (topic.replicationFactor ?? 0) > 1 || topic.name === '__consumer_offsets')
    continue
  test(`create ${JSON.stringify(topic).replace(longest, 'x…')} → ${answer}`, async () => {
    if (topic.name === 'taken') await makeTopic('taken', 1)
    if (topic.name === 'two_parts') await makeTopic('two.parts', 1)
    const asked = { numPartitions: 1, replicationFactor: -1, configs: [], assignments: [], ...topic }
    const dry = await client.ask(createTopics, 7, { topics: [asked], validateOnly: true })
    assert.is(named(dry.topics[0]!.errorCode), answer, dry.topics[0]!.errorMessage ?? '')
  })
}
for (const { name, ask, gets } of reads) {
  test(`fetch ${name} → ${gets}`, async () => {
    const topic = unique('parity')
    await makeTopic(topic, 1)
    const raw = await leader(topic)
    for (let i = 0; i < 3; i++) await send(raw, topic, 0, batch(['a', 'b']))
    const { row, offsets } = await read(raw, { topic, ...ask })
    if (typeof gets === 'string') assert.is(named(row.errorCode), gets)
    else assert.equal(offsets[0], gets)
  })
}

test('topic settings: Kafka 4 knows each of ours, with the same type and default', async () => {
  const topic = unique('parity')
  await makeTopic(topic, 1)
  const resources = [{ resourceType: 2, resourceName: topic, configurationKeys: null }]
  const answer = await client.ask(describeConfigs, 4, {
    resources,
    includeSynonyms: false,
    includeDocumentation: false,
  })
  const theirs = new Map(answer.results[0]!.configs.map((config) => [config.name, config]))
  if (theirs.has('message.format.version')) return // 3.x: other defaults
  assert.equal([...theirs.keys()].sort(), [...topicConfigs.keys()].sort())
  // what the settings of the brokers of tests change
  const changed = new Set(['retention.ms', 'segment.bytes'])
  for (const [name, config] of theirs) {
    if (changed.has(name) || target.embedded) continue
    const ours = topicConfigs.get(name)!
    assert.equal([name, config.value, config.configType], [name, ours.default, configTypes[ours.type]])
  }
})
test.run()
