/** The fault port: what it makes the broker do, how often, and to whom. */
import * as assert from 'uvu/assert'
import { fetch } from '../../src/protocol/api/fetch.ts'
import { heartbeat } from '../../src/protocol/api/heartbeat.ts'
import { listOffsets } from '../../src/protocol/api/list-offsets.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { allApis, apisByKey } from '../../src/protocol/api/index.ts'
import { BrokerError, errorCodes } from '../../src/protocol/errors.ts'
import type { Api } from '../../src/protocol/schema.ts'
import { randomInput } from '../protocol/random-message.ts'
import { SeededRandom } from '../sim/random.ts'
import { rejects, suite } from '../support/suite.ts'
import { batch, named, send, withBroker } from './support/kit.ts'
import { formGroup, Member } from './support/member.ts'

const test = suite('broker: faults')
const options = { topics: { t: 2, u: 1 }, nodes: 2 }

test(
  'delay: before the request is processed, or its answer',
  withBroker(options, async ({ client, broker, world }) => {
    const raw = await client()
    broker.faults.delay('Produce', 500)
    broker.faults.delay('Produce', 300, { when: 'after', skip: 1 })
    const first = send(raw, 't', 0, batch(['a']))
    await world.sleep(400)
    assert.is(broker.offsets('t', 0).next, 0)
    await first
    assert.ok(world.now >= 500)
    const second = send(raw, 't', 0, batch(['b']))
    await world.sleep(100)
    assert.is(broker.offsets('t', 0).next, 2)
    await second
    assert.ok(world.now >= 800)
  }),
)

for (const when of ['before', 'after'] as const) {
  test(
    `cut ${when} processing`,
    withBroker(options, async ({ client, broker }) => {
      broker.faults.cut('Produce', when)
      const raw = await client()
      await rejects(send(raw, 't', 0, batch(['a'])))
      assert.is(broker.offsets('t', 0).next, when === 'before' ? 0 : 1)
      assert.is((await send(await client(), 't', 0, batch(['b']))).errorCode, 0, 'once only')
    }),
  )
}

test(
  'a lost response: processed, and nothing more on that connection',
  withBroker(options, async ({ client, broker, world }) => {
    broker.faults.loseResponse('Produce')
    const raw = await client()
    let answered = false
    for (let i = 0; i < 3; i++) {
      send(raw, 't', 0, batch(['a'])).then(
        () => {
          answered = true
        },
        () => {},
      )
    }
    await world.sleep(10_000)
    assert.not.ok(answered)
    assert.is(broker.offsets('t', 0).next, 1)
    assert.is(broker.connectionCount, 1)
    raw.close()
    await world.until('the connection is gone', () => broker.connectionCount === 0)
  }),
)

test(
  'an error answer: instead of processing, or after it; n times; for one partition only',
  withBroker(options, async ({ client, broker }) => {
    const [one, two] = [await client(1), await client(2)]
    const fault = broker.faults.answer('Produce', 'KAFKA_STORAGE_ERROR', { times: 2 })
    assert.is(named((await send(one, 't', 0, batch(['a']))).errorCode), 'KAFKA_STORAGE_ERROR')
    assert.is(named((await send(one, 't', 0, batch(['a']))).errorCode), 'KAFKA_STORAGE_ERROR')
    assert.is(named((await send(one, 't', 0, batch(['a']))).errorCode), 'ok')
    assert.is(fault.hits, 2)
    assert.is(broker.offsets('t', 0).next, 1)

    broker.faults.answer('Produce', 'REQUEST_TIMED_OUT', { when: 'after' })
    assert.is(named((await send(one, 't', 0, batch(['b']))).errorCode), 'REQUEST_TIMED_OUT')
    assert.is(broker.offsets('t', 0).next, 2)

    const forever = broker.faults.answer('Produce', 'NOT_LEADER_OR_FOLLOWER', {
      topic: 't',
      partition: 1,
      times: Infinity,
    })
    for (let i = 0; i < 3; i++) {
      assert.is(named((await send(one, 't', 0, batch(['c']))).errorCode), 'ok')
      assert.is(named((await send(two, 't', 1, batch(['c']))).errorCode), 'NOT_LEADER_OR_FOLLOWER')
    }
    assert.is(forever.hits, 3)
    forever.remove()
    assert.is(named((await send(two, 't', 1, batch(['c']))).errorCode), 'ok')

    broker.faults.answer('Produce', 'REQUEST_TIMED_OUT', { topic: 't', partition: 1, when: 'after' })
    assert.is(named((await send(two, 't', 1, batch(['d']))).errorCode), 'REQUEST_TIMED_OUT')
    assert.is(broker.offsets('t', 1).next, 2)
  }),
)

test(
  'faults of a group, a client, a node; call backs at that point',
  withBroker(options, async (kit) => {
    const { broker, client } = kit
    broker.faults.moveCoordinator('g', 1)
    broker.faults.moveCoordinator('h', 1)
    const a = await Member.create(kit, 'a')
    const b = await Member.create(kit, 'b', { group: 'h' })
    await formGroup(a)
    await formGroup(b)
    broker.faults.answer('Heartbeat', 'COORDINATOR_LOAD_IN_PROGRESS', { group: 'h' })
    assert.equal(
      [await a.heartbeat(), await b.heartbeat(), await b.heartbeat()],
      ['ok', 'COORDINATOR_LOAD_IN_PROGRESS', 'ok'],
    )
    broker.faults.answer('OffsetCommit', 'REQUEST_TIMED_OUT', { group: 'g', topic: 't', when: 'after' })
    assert.is(await a.commit(5, { topic: 'u' }), 'ok')
    assert.is(await a.commit(6), 'REQUEST_TIMED_OUT')
    assert.is(await a.committed(), 6)
    broker.faults.answer('OffsetCommit', 'NOT_COORDINATOR', { clientId: 'b' })
    assert.equal([await a.commit(7), await b.commit(7)], ['ok', 'NOT_COORDINATOR'])
    broker.faults.answer('Metadata', 'LEADER_NOT_AVAILABLE', { node: 2, topic: 't' })
    const ask = async (node: number) =>
      (await (await client(node)).ask(metadata, 9, { topics: [{ name: 't' }, { name: 'u' }] })).topics.map((t) =>
        named(t.errorCode),
      )
    assert.equal(
      [await ask(1), await ask(2), await ask(2)],
      [
        ['ok', 'ok'],
        ['LEADER_NOT_AVAILABLE', 'ok'],
        ['ok', 'ok'],
      ],
    )
    const order: string[] = []
    broker.faults.call('OffsetCommit', 'before', () =>
      order.push(`before: ${broker.committedOffsets('g').get('t')?.get(0)}`),
    )
    broker.faults.call('OffsetCommit', 'after', () =>
      order.push(`after: ${broker.committedOffsets('g').get('t')?.get(0)}`),
    )
    await a.commit(8)
    assert.equal(order, ['before: 7', 'after: 8'])
  }),
)

test(
  'a crash inside a call back: nothing is answered, nothing goes on',
  withBroker(options, async ({ client, broker, world }) => {
    const raw = await client()
    broker.faults.call('Produce', 'before', () => broker.crash())
    await rejects(send(raw, 't', 0, batch(['a'])))
    await world.sleep(1000)
    assert.equal(broker.addresses, [])
    await rejects(client(), 'ERR_CONNECT_FAILED').catch(() => {})
    await broker.restart()
    assert.is(broker.offsets('t', 0).next, 0)
    assert.is((await send(await client(), 't', 0, batch(['b']))).baseOffset, 0)
  }),
)

test(
  'leaders move between nodes: epochs grow, the old leader refuses',
  withBroker(options, async ({ client, broker }) => {
    const [one, two] = [await client(1), await client(2)]
    await send(one, 't', 0, batch(['a']))
    broker.faults.moveLeader('t', 0, 2)
    assert.is(named((await send(one, 't', 0, batch(['b']))).errorCode), 'NOT_LEADER_OR_FOLLOWER')
    assert.is((await send(two, 't', 0, batch(['b']))).baseOffset, 1)
    const ask = {
      replicaId: -1,
      topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp: -1, currentLeaderEpoch: 0 }] }],
    }
    assert.is(named((await two.ask(listOffsets, 5, ask)).topics[0]!.partitions[0]!.errorCode), 'FENCED_LEADER_EPOCH')
    assert.throws(() => broker.faults.moveLeader('t', 0, 3), /no node 3/)
    assert.throws(
      () => broker.faults.moveLeader('t', 9, 1),
      (e: unknown) => e instanceof BrokerError,
    )
  }),
)

test(
  'cutConnections: of a node or of a client',
  withBroker(options, async ({ client, broker, world }) => {
    const raws = [await client(1, 'x'), await client(2, 'x'), await client(2, 'y')]
    for (const raw of raws) await raw.ask(metadata, 9, { topics: [] })
    assert.is(broker.connectionCount, 3)
    assert.is(broker.faults.cutConnections({ node: 2, clientId: 'x' }), 1)
    await raws[1]!.ended
    await world.until('one is gone', () => broker.connectionCount === 2)
    assert.is(broker.faults.cutConnections(), 2)
    await Promise.all(raws.map((raw) => raw.ended))
  }),
)

test(
  'wrong faults are refused in words',
  withBroker(options, async ({ broker }) => {
    assert.throws(() => broker.faults.cut('Prodcue', 'before'), /unknown API 'Prodcue'/)
    assert.throws(() => broker.faults.cut('Produce', 'before', { partition: 1 }), /partition needs topic/)
  }),
)

test(
  'every API answers a scripted error in every version, in the shape of that version',
  withBroker({ ...options, nodes: 1 }, async ({ client, broker }) => {
    const raw = await client()
    const random = new SeededRandom(11)
    const code = errorCodes.COORDINATOR_LOAD_IN_PROGRESS
    const heard = new Set<string>()
    for (const { key } of allApis) {
      const api = apisByKey.get(key) as Api<unknown, unknown, unknown, unknown>
      for (let version = api.minVersion; version <= api.maxVersion; version++) {
        const input = randomInput(api.request.fields, version, random) as Record<string, unknown>
        if (api.name === 'Produce') Object.assign(input, { acks: -1 })
        const fault = broker.faults.answer(api.name, 'COORDINATOR_LOAD_IN_PROGRESS')
        const answer = await raw.ask(api, version, input)
        assert.is(fault.hits, 1)
        // what was asked about nothing has no place for an error
        const told = [...new Set(rowErrors(answer, true))]
        assert.ok(told.length === 0 || (told.length === 1 && told[0] === code), `${api.name} v${version}: ${told}`)
        if (told.length > 0) heard.add(api.name)
      }
    }
    assert.is(heard.size, allApis.length, 'every API said it')
  }),
)

/** The errors of an answer's rows, or of the answer if it has none. */
function rowErrors(value: unknown, isRoot: boolean): number[] {
  if (Array.isArray(value)) return value.flatMap((each) => rowErrors(each, false))
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return []
  const fields = value as Record<string, unknown>
  const nested = Object.values(fields).flatMap((each) => rowErrors(each, false))
  const own = typeof fields['errorCode'] === 'number' ? [fields['errorCode']] : []
  if (!isRoot) return [...own, ...nested]
  return nested.length > 0 || own[0] === 0 ? nested : own
}

test(
  'a heartbeat that is never answered does not hold up other connections',
  withBroker(options, async ({ client, broker, world }) => {
    broker.faults.delay('Heartbeat', 60_000)
    const stuck = await client()
    stuck.ask(heartbeat, 4, { groupId: 'g', generationId: 1, memberId: 'm' }).catch(() => {})
    const other = await client()
    await send(other, 't', 0, batch(['a']))
    const topics = [{ topic: 't', partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1000 }] }]
    const answer = await other.ask(fetch, 11, { maxWaitMs: 0, minBytes: 1, topics, forgottenTopicsData: [] })
    assert.is(answer.responses[0]!.partitions[0]!.errorCode, 0)
    assert.ok(world.now < 1000)
  }),
)
test.run()
