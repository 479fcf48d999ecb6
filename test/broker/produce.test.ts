/** Produce: what is taken, what is refused and with which error, and what the log holds afterwards. */
import * as assert from 'uvu/assert'
import { produce } from '../../src/protocol/api/produce.ts'
import { suite } from '../support/suite.ts'
import { batch, named, type RawClient, send, withBroker } from './support/kit.ts'
import { refusals } from './support/tables.ts'

const test = suite('broker: produce')
const worldNow = 1_767_225_600_000n
for (const { name, bytes, answer } of refusals(Number(worldNow))) {
  test(
    `${name} → ${answer}`,
    withBroker(
      { topics: [{ name: 't', partitions: 1, config: { 'max.message.bytes': '1500' } }] },
      async ({ client, broker }) => {
        const row = await send(await client(), 't', 0, bytes)
        if (answer !== 'any') assert.is(named(row.errorCode), answer)
        assert.is(row.baseOffset, row.errorCode === 0 ? 0 : -1)
        const { next } = broker.offsets('t', 0)
        assert.is(next > 0, row.errorCode === 0)
        if (row.errorCode !== 0) assert.ok((row.errorMessage ?? '').length > 10, `says why: ${row.errorMessage}`)
      },
    ),
  )
}

test(
  'base offset and leader epoch are set in place, everything else is kept as sent',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    await send(raw, 't', 0, batch(['a', 'b']))
    broker.faults.moveLeader('t', 0, 1)
    const row = await send(raw, 't', 0, batch(['k:c'], { baseTimestamp: 5n, maxTimestamp: 5n, baseOffset: 77n }))
    assert.is(row.baseOffset, 2)
    assert.is(row.logAppendTimeMs, -1)
    const [, , last] = broker.records('t', 0)
    assert.equal(
      { ...last, key: last?.key?.toString(), value: last?.value?.toString() },
      { offset: 2, timestamp: 5, key: 'k', value: 'c', headers: [], producerId: -1, producerEpoch: -1, leaderEpoch: 1 },
    )
  }),
)

test(
  'LogAppendTime: the broker answers and stores its own time, the checksum is right again',
  withBroker(
    { topics: [{ name: 't', config: { 'message.timestamp.type': 'LogAppendTime' } }] },
    async ({ client, broker, world }) => {
      await world.sleep(1234)
      const row = await send(await client(), 't', 0, batch(['a', 'b'], { baseTimestamp: 5n, maxTimestamp: 9n }))
      assert.ok(row.logAppendTimeMs >= Number(worldNow) + 1234)
      assert.equal(
        broker.records('t', 0).map((r) => r.timestamp),
        [row.logAppendTimeMs, row.logAppendTimeMs],
      )
    },
  ),
)

test(
  'a compacted topic takes no record without a key',
  withBroker({ topics: [{ name: 't', config: { 'cleanup.policy': 'compact' } }] }, async ({ client }) => {
    const raw = await client()
    assert.is(named((await send(raw, 't', 0, batch(['a']))).errorCode), 'INVALID_RECORD')
    assert.is(named((await send(raw, 't', 0, batch(['k:a']))).errorCode), 'ok')
  }),
)

const whole: { readonly name: string; readonly acks: number; readonly id: string | null; readonly answer: string }[] = [
  { name: 'acks 2', acks: 2, id: null, answer: 'INVALID_REQUIRED_ACKS' },
  { name: 'acks 1', acks: 1, id: null, answer: 'ok' },
  { name: 'a transactional id', acks: -1, id: 'tx', answer: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED' },
]
for (const { name, acks, id, answer } of whole) {
  test(
    `${name} → ${answer}`,
    withBroker({ topics: { t: 1 } }, async ({ client }) => {
      const topicData = [{ name: 't', partitionData: [{ index: 0, records: batch(['a']) }] }]
      const response = await (await client()).ask(produce, 9, { transactionalId: id, acks, timeoutMs: 1, topicData })
      assert.is(named(response.responses[0]!.partitionResponses[0]!.errorCode), answer)
    }),
  )
}

test(
  'unknown topics and partitions, and foreign nodes, by name and by id',
  withBroker({ topics: { t: 2 }, nodes: 2 }, async ({ client, topicId }) => {
    const raw = await client(1)
    assert.is(named((await send(raw, 'missing', 0, batch(['a']))).errorCode), 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.is(named((await send(raw, 't', 9, batch(['a']))).errorCode), 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.is(named((await send(raw, 't', -1, batch(['a']))).errorCode), 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.is(named((await send(raw, 't', 1, batch(['a']))).errorCode), 'NOT_LEADER_OR_FOLLOWER')
    const id = await topicId('t')
    const ask = (topic: string, index: number) =>
      raw.ask(produce, 13, {
        acks: -1,
        timeoutMs: 1,
        topicData: [{ topicId: topic, partitionData: [{ index, records: batch(['a']) }] }],
      })
    assert.is(named((await ask('f'.repeat(32), 0)).responses[0]!.partitionResponses[0]!.errorCode), 'UNKNOWN_TOPIC_ID')
    assert.is(named((await ask('0'.repeat(32), 0)).responses[0]!.partitionResponses[0]!.errorCode), 'UNKNOWN_TOPIC_ID')
    assert.is(named((await ask(id, 0)).responses[0]!.partitionResponses[0]!.errorCode), 'ok')
    const elsewhere = await ask(id, 1)
    assert.equal(elsewhere.responses[0]!.partitionResponses[0]!.currentLeader, { leaderId: 2, leaderEpoch: 0 })
    assert.is(elsewhere.nodeEndpoints?.[0]?.nodeId, 2)
  }),
)

test(
  'acks 0: no answer, the next request is answered first; a failure closes the connection',
  withBroker({ topics: { t: 1 } }, async ({ client, broker, world }) => {
    const raw = await client()
    const data = (bytes: Buffer) => [{ name: 't', partitionData: [{ index: 0, records: bytes }] }]
    raw.tell(produce, 7, { acks: 0, timeoutMs: 1, topicData: data(batch(['a'])) })
    assert.is((await send(raw, 't', 0, batch(['b']))).baseOffset, 1)
    assert.is(raw.frames.length, 1)
    raw.tell(produce, 7, { acks: 0, timeoutMs: 1, topicData: data(Buffer.from('nonsense')) })
    await raw.ended
    assert.is(broker.offsets('t', 0).next, 2)
    await world.until('the broker counts no connection', () => broker.connectionCount === 0)
  }),
)

test(
  'pipelined requests are answered in their order, whatever each takes',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    broker.faults.delay('Produce', 500)
    const order: number[] = []
    const sent = [1, 2, 3].map(async (n) => {
      const row = await send(raw, 't', 0, batch([`v${n}`]))
      order.push(row.baseOffset)
    })
    await Promise.all(sent)
    assert.equal(order, [0, 1, 2])
  }),
)

test(
  'clients do not write to the broker’s own topics',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    broker.faults.moveCoordinator('g', 1) // makes the topic
    assert.is(named((await send(raw, '__consumer_offsets', 0, batch(['k:a']))).errorCode), 'INVALID_TOPIC_EXCEPTION')
  }),
)

test(
  'all versions of Produce',
  withBroker({ topics: { t: 1 } }, async ({ client, topicId }) => {
    const raw: RawClient = await client()
    const id = await topicId('t')
    let next = 0
    for (let version = produce.minVersion; version <= produce.maxVersion; version++) {
      const place = version >= 13 ? { topicId: id } : { name: 't' }
      const response = await raw.ask(produce, version, {
        acks: 1,
        timeoutMs: 1,
        topicData: [{ ...place, partitionData: [{ index: 0, records: batch(['a']) }] }],
      })
      const row = response.responses[0]!.partitionResponses[0]!
      assert.is(`${version}: ${row.errorCode} ${row.baseOffset}`, `${version}: 0 ${next++}`)
    }
  }),
)
test.run()
