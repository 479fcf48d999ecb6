/** The producer when brokers refuse, vanish, lose answers or move: nothing twice, nothing out of order, nothing unsaid. */
import * as assert from 'uvu/assert'
import { DeliveryTimeoutError, fatalProducerCodes, type ProducerOptions } from '../../../src/client/index.ts'
import type { KafkaErrorName } from '../../../src/protocol/errors.ts'
import { suite } from '../../support/suite.ts'
import { failure, numbered, numbers, type ProducerWorld, producerWorld } from '../support/producer-world.ts'

const test = suite('producer: failures')
const always = Number.POSITIVE_INFINITY

// ---- every error a broker can answer

type End = 'delivered' | 'rejected' | 'fatal'
const answers: { error: KafkaErrorName; when?: 'after'; ends: End; epochs?: number[]; code?: string }[] = [
  { error: 'NOT_LEADER_OR_FOLLOWER', ends: 'delivered' },
  { error: 'UNKNOWN_TOPIC_OR_PARTITION', ends: 'delivered' },
  { error: 'UNKNOWN_TOPIC_ID', ends: 'delivered' },
  { error: 'LEADER_NOT_AVAILABLE', ends: 'delivered' },
  { error: 'FENCED_LEADER_EPOCH', ends: 'delivered' },
  { error: 'KAFKA_STORAGE_ERROR', ends: 'delivered' },
  { error: 'NETWORK_EXCEPTION', ends: 'delivered' },
  { error: 'CORRUPT_MESSAGE', ends: 'delivered' },
  { error: 'REQUEST_TIMED_OUT', ends: 'delivered' },
  { error: 'REQUEST_TIMED_OUT', when: 'after', ends: 'delivered' },
  { error: 'NOT_ENOUGH_REPLICAS', ends: 'delivered' },
  { error: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', when: 'after', ends: 'delivered' },
  { error: 'DUPLICATE_SEQUENCE_NUMBER', when: 'after', ends: 'delivered' },
  { error: 'OUT_OF_ORDER_SEQUENCE_NUMBER', ends: 'delivered', epochs: [0, 1] },
  { error: 'UNKNOWN_PRODUCER_ID', ends: 'delivered', epochs: [0, 1] },
  { error: 'INVALID_PRODUCER_EPOCH', ends: 'delivered', epochs: [0, 1] },
  { error: 'INVALID_RECORD', ends: 'rejected' },
  { error: 'INVALID_TIMESTAMP', ends: 'rejected' },
  { error: 'TOPIC_AUTHORIZATION_FAILED', ends: 'rejected' },
  { error: 'INVALID_TOPIC_EXCEPTION', ends: 'rejected' },
  { error: 'POLICY_VIOLATION', ends: 'rejected' },
  { error: 'UNSUPPORTED_FOR_MESSAGE_FORMAT', ends: 'rejected' },
  { error: 'UNKNOWN_SERVER_ERROR', ends: 'rejected' },
  { error: 'CLUSTER_AUTHORIZATION_FAILED', ends: 'fatal' },
  { error: 'PRODUCER_FENCED', ends: 'fatal' },
]
for (const { error, when, ends, epochs = [0] } of answers) {
  test(`${error}${when === undefined ? '' : ` ${when} the append`} → ${ends}`, () =>
    producerWorld({}, async ({ producer, cluster, values, sent }) => {
      await producer.sendBatch(numbered(2))
      sent.length = 0
      cluster.faults.answer('Produce', error, { topic: 't', partition: 0, ...(when === undefined ? {} : { when }) })
      const hit = producer.send(numbered(1, 2)[0]!)
      if (ends === 'delivered') {
        const { offset } = await hit
        assert.ok(offset === 2 || (error === 'DUPLICATE_SEQUENCE_NUMBER' && offset === -1))
      } else {
        const refusal = await failure(hit)
        assert.is(refusal.code, error)
        assert.match(refusal.message, /t\/0/)
      }
      if (ends === 'fatal') {
        const later = await failure(producer.send(numbered(1, 3)[0]!))
        assert.is(later.code, error)
        assert.ok((fatalProducerCodes as readonly string[]).includes(later.code))
        assert.throws(() => producer.enqueue(numbered(1)[0]!))
        return
      }
      await producer.sendBatch(numbered(2, 3))
      assert.equal(values(), ends === 'delivered' ? numbers(5) : ['0', '1', '3', '4'])
      assert.equal([...new Set(sent.map(({ epoch }) => epoch))], epochs)
      assert.is(producer.bufferedBytes, 0)
    }))
}

// ---- order under retries

const troubles: { name: string; make: (it: ProducerWorld) => void }[] = [
  {
    name: 'the first of five in flight is refused',
    make: ({ cluster }) => cluster.faults.answer('Produce', 'NOT_LEADER_OR_FOLLOWER', { topic: 't', partition: 0 }),
  },
  {
    name: 'the third of five is refused, twice',
    make: ({ cluster }) =>
      cluster.faults.answer('Produce', 'NOT_ENOUGH_REPLICAS', { topic: 't', partition: 0, skip: 2, times: 2 }),
  },
  {
    name: 'the second is written and the answer lost',
    make: ({ cluster }) => cluster.faults.loseResponse('Produce', { skip: 1 }),
  },
  {
    name: 'the connection is cut after the second was written',
    make: ({ cluster }) => cluster.faults.cut('Produce', 'after', { skip: 1 }),
  },
  {
    name: 'the connection is cut before the second',
    make: ({ cluster }) => cluster.faults.cut('Produce', 'before', { skip: 1 }),
  },
  {
    name: 'the broker crashes with everything in flight',
    make: ({ cluster }) => {
      cluster.faults.call('Produce', 'after', () => {
        cluster.crash()
        void cluster.world.sleep(3000).then(() => cluster.restart())
      })
    },
  },
  {
    name: 'the leader moves with everything in flight',
    make: ({ cluster }) =>
      cluster.faults.call('Produce', 'before', () => cluster.faults.moveLeader('t', 0, 2), { skip: 1 }),
  },
  {
    name: 'the leader moves away and back',
    make: ({ cluster }) => {
      cluster.faults.call('Produce', 'before', () => cluster.faults.moveLeader('t', 0, 2), { skip: 1 })
      cluster.faults.call('Produce', 'after', () => cluster.faults.moveLeader('t', 0, 1), { skip: 4 })
    },
  },
  {
    name: 'there is no leader for a while',
    make: ({ cluster }) => {
      cluster.faults.call('Produce', 'before', () => cluster.faults.moveLeader('t', 0, -1), { skip: 1 })
      void cluster.world.sleep(2000).then(() => cluster.faults.moveLeader('t', 0, 2))
    },
  },
  {
    name: 'the broker asks for its patience',
    make: ({ cluster }) => cluster.faults.delay('Produce', 2500, { skip: 1 }),
  },
]
for (const { name, make } of troubles) {
  for (const compression of ['none', 'lz4'] as const) {
    test(`once each and in order when ${name} (${compression})`, () =>
      producerWorld(
        { nodes: 2, client: { requestTimeoutMs: 2000 }, producer: { maxBatchBytes: 1024, compression } },
        async (it) => {
          const { producer, values, cluster } = it
          cluster.faults.moveLeader('t', 0, 1)
          await producer.send(numbered(1)[0]!)
          make(it)
          const results = await Promise.all(numbered(500, 1).map((record) => producer.send(record)))
          assert.equal(values(), numbers(501))
          assert.ok(results.every(({ offset }, i) => offset === i + 1 || offset === -1))
          assert.is(producer.bufferedBytes, 0)
        },
      ))
  }
}

test('an answer that names the new leader is followed without asking the cluster', () =>
  producerWorld({ nodes: 2, client: { metadataMinAgeMs: 60_000 } }, async ({ producer, cluster, values, world }) => {
    cluster.faults.moveLeader('t', 0, 1)
    await producer.send(numbered(1)[0]!)
    cluster.faults.moveLeader('t', 0, 2)
    const started = world.now
    await producer.sendBatch(numbered(10, 1))
    assert.ok(world.now - started < 100, `${world.now - started} ms`)
    assert.equal(values(), numbers(11))
  }))

// ---- giving up

test('a batch that was never sent expires alone; the next ones keep their epoch', () =>
  producerWorld(
    { producer: { deliveryTimeoutMs: 1000 }, client: { requestTimeoutMs: 300 } },
    async ({ producer, cluster, values, sent, world }) => {
      await producer.send(numbered(1)[0]!)
      cluster.crash()
      // Until the connection's end is known, a batch might be written to it.
      await world.sleep(100)
      const error = await failure(producer.send(numbered(1, 1)[0]!))
      assert.instance(error, DeliveryTimeoutError)
      assert.is((error as DeliveryTimeoutError).maybeDelivered, false)
      assert.match(error.message, /t\/0.*deliveryTimeoutMs 1000.*ECONNREFUSED/)
      await cluster.restart()
      await producer.sendBatch(numbered(2, 2))
      assert.equal(values(), ['0', '2', '3'])
      assert.equal([...new Set(sent.map(({ epoch }) => epoch))], [0])
    },
  ))

test('a batch of unknown outcome that is given up costs an epoch, whether it was written or not', async () => {
  for (const written of [true, false]) {
    await producerWorld(
      { producer: { deliveryTimeoutMs: 1000 }, client: { requestTimeoutMs: 2000 } },
      async ({ producer, cluster, values, sent, events }) => {
        await producer.send(numbered(1)[0]!)
        if (written) cluster.faults.loseResponse('Produce')
        else cluster.faults.delay('Produce', 1e6)
        const lost = failure(producer.send(numbered(1, 1)[0]!))
        const error = await lost
        assert.instance(error, DeliveryTimeoutError)
        assert.is((error as DeliveryTimeoutError).maybeDelivered, true)
        await producer.sendBatch(numbered(3, 2))
        assert.equal(values(), written ? numbers(5) : ['0', '2', '3', '4'])
        assert.equal(
          sent.map(({ epoch, sequence }) => `${epoch}:${sequence}`),
          ['0:0', '0:1', '1:0'],
        )
        const bump = events.find((event) => event.type === 'producerEpoch')
        assert.is(bump?.type === 'producerEpoch' && bump.epoch, 1)
      },
    )
  }
})

test('batches behind one that is given up go on with their sequences first, so that none is written twice', () =>
  producerWorld(
    { producer: { deliveryTimeoutMs: 3000, maxBatchBytes: 1024 }, client: { requestTimeoutMs: 2000 } },
    async ({ producer, cluster, values, world, sent }) => {
      await producer.send(numbered(1)[0]!)
      sent.length = 0
      // All are written, twice asked, and never answered. The first batch is old, the others are young.
      const silence = cluster.faults.delay('Produce', 1e6, { when: 'after', times: always })
      const old = failure(producer.send(numbered(1, 1)[0]!))
      await world.sleep(1900)
      const young = producer.sendBatch(numbered(300, 2))
      const error = await old
      silence.remove()
      assert.is(error.code, 'ERR_DELIVERY_TIMEOUT')
      await young
      await producer.sendBatch(numbered(1, 302))
      assert.equal(values(), numbers(303))
      const epochs = sent.map(({ epoch }) => epoch)
      assert.is(epochs.at(-1), 1, 'the gap costs an epoch')
      assert.ok(epochs.slice(0, -1).includes(0))
    },
  ))

test('a refused record among many fails alone; the others follow in order', () =>
  producerWorld({ producer: { maxBatchBytes: 1024 } }, async ({ producer, cluster, values }) => {
    await producer.send(numbered(1)[0]!)
    cluster.faults.answer('Produce', 'INVALID_RECORD', { topic: 't', partition: 0, skip: 1 })
    const settled = await Promise.allSettled(numbered(500, 1).map((record) => producer.send(record)))
    const failed = settled.flatMap(({ status }, i) => (status === 'rejected' ? [String(i + 1)] : []))
    assert.ok(failed.length > 0 && failed.length < 150, `${failed.length}`)
    assert.equal(
      values(),
      numbers(501).filter((value) => !failed.includes(value)),
    )
  }))

test('a broker that is away for an hour: records wait their time and say why; then all is well', () =>
  producerWorld(
    { producer: { deliveryTimeoutMs: 60_000 }, client: { requestTimeoutMs: 2000 } },
    async ({ producer, cluster, values, world }) => {
      await producer.send(numbered(1)[0]!)
      cluster.crash()
      for (let minute = 0; minute < 60; minute++) {
        const started = world.now
        const error = await failure(producer.send(numbered(1, 99)[0]!))
        assert.is(error.code, 'ERR_DELIVERY_TIMEOUT')
        assert.match(error.message, /127\.0\.0\.1:9092/)
        assert.ok(world.now - started < 65_000, `${world.now - started}`)
      }
      await cluster.restart()
      await producer.sendBatch(numbered(2, 1))
      assert.equal(values(), numbers(3))
    },
  ))

test('a topic that does not exist: told by event, failed in time with the remedy; sent when it is created', () =>
  producerWorld({ producer: { missingTopicTimeoutMs: 3000 } }, async ({ producer, broker, world, events, values }) => {
    const started = world.now
    const error = await failure(producer.send({ topic: 'nope', key: 'k', value: 'v' }))
    assert.is(error.code, 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.match(error.message, /topic nope does not exist: create it/)
    assert.ok(world.now - started >= 3000 && world.now - started < 3500)
    assert.ok(events.some((event) => event.type === 'topicMissing' && event.topic === 'nope'))
    const sends = Promise.all([
      producer.send({ topic: 'nope', partition: 0, value: 'a' }),
      producer.sendBatch([{ topic: 'nope', partition: 0, value: 'b' }]),
    ])
    producer.enqueue({ topic: 'nope', partition: 0, value: 'c' })
    const flushed = producer.flush()
    await world.sleep(1500)
    broker.createTopic('nope', 1)
    await sends
    await flushed
    assert.equal(values(0, 'nope'), ['a', 'b', 'c'])
  }))

test('a topic that may not be used fails at once', () =>
  producerWorld({}, async ({ producer, world, cluster }) => {
    cluster.faults.answer('Metadata', 'TOPIC_AUTHORIZATION_FAILED', { topic: 't', times: always })
    const started = world.now
    const error = await failure(producer.send({ topic: 't', value: 'v' }))
    assert.is(error.code, 'TOPIC_AUTHORIZATION_FAILED')
    assert.ok(world.now - started < 500)
  }))

test('no broker at all: records wait for the delivery time, not for the missing topic’s', () =>
  producerWorld(
    { producer: { missingTopicTimeoutMs: 100, deliveryTimeoutMs: 5000 } },
    async ({ producer, cluster, world }) => {
      cluster.crash()
      const started = world.now
      const error = await failure(producer.send({ topic: 't', value: 'v' }))
      assert.is(error.code, 'ERR_DELIVERY_TIMEOUT')
      assert.ok(world.now - started >= 5000)
      const waiting = producer.send({ topic: 't', value: 'v' })
      await cluster.restart()
      await waiting
    },
  ))

test('a partition that does not exist names those that do', () =>
  producerWorld({}, async ({ producer }) => {
    await producer.send(numbered(1)[0]!)
    const error = await failure(producer.send({ topic: 't', partition: 5, value: 'v' }))
    assert.is(error.code, 'UNKNOWN_TOPIC_OR_PARTITION')
    assert.match(error.message, /partitions 0 to 0, not 5/)
  }))

test('a topic that is deleted and made anew, smaller: what has a place is sent, what has none is told', () =>
  producerWorld({ topics: { t: 3 } }, async ({ producer, cluster, broker, client, values }) => {
    await producer.sendBatch([0, 1, 2].map((partition) => ({ topic: 't', partition, value: 'old' })))
    broker.deleteTopic('t')
    broker.createTopic('t', 2)
    cluster.faults.delay('Produce', 50, { times: always })
    const settled = await Promise.allSettled([
      producer.send({ topic: 't', partition: 0, value: 'new' }),
      producer.send({ topic: 't', partition: 1, value: 'new' }),
      client.metadata.refreshed('test').then(() => producer.send({ topic: 't', partition: 2, value: 'new' })),
    ])
    assert.equal(
      settled.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected'],
    )
    assert.is((settled[2] as PromiseRejectedResult).reason.code, 'UNKNOWN_TOPIC_OR_PARTITION')
    await producer.send({ topic: 't', partition: 0, value: 'next' })
    assert.equal(values(0), ['new', 'next'])
    const keyed = await Promise.all(
      Array.from({ length: 20 }, (_, i) => producer.send({ topic: 't', key: `${i}`, value: 'k' })),
    )
    assert.ok(keyed.every(({ partition }) => partition < 2))
  }))

// ---- sizes

test('a batch above the topic’s limit is split until it fits, in order, once each; later ones are smaller', () =>
  producerWorld(
    { topics: [{ name: 't', partitions: 1, config: { 'max.message.bytes': '5000' } }] },
    async ({ producer, values, sent }) => {
      const value = (i: number): string => String(i).padStart(100, '0')
      const make = (from: number) =>
        Array.from({ length: 300 }, (_, i) => ({ topic: 't', partition: 0, value: value(from + i) }))
      const [first, second] = await Promise.all([
        Promise.all(make(0).map((record) => producer.send(record))),
        producer.sendBatch(make(300)),
      ])
      assert.equal(
        values(),
        Array.from({ length: 600 }, (_, i) => value(i)),
      )
      assert.equal(
        first.map(({ offset }) => offset),
        first.map((_, i) => i),
      )
      assert.is(
        second.reduce((sum, { count }) => sum + count, 0),
        300,
      )
      assert.equal([...new Set(sent.map(({ epoch }) => epoch))], [0])
      sent.length = 0
      await producer.sendBatch(make(600))
      assert.ok(sent.filter(({ bytes }) => bytes > 5000).length <= 1, 'it has learned')
      assert.is(producer.bufferedBytes, 0)
    },
  ))

for (const compression of ['none', 'gzip'] as const) {
  test(`split batches keep timestamps, keys and headers (${compression})`, () =>
    producerWorld(
      {
        topics: [{ name: 't', partitions: 1, config: { 'max.message.bytes': '700' } }],
        producer: { compression },
      },
      async ({ producer, broker, client }) => {
        const random = (n: number): string => client.scope.random.bytes(n).toString('hex')
        const records = Array.from({ length: 20 }, (_, i) => ({
          topic: 't',
          partition: 0,
          key: i % 3 === 0 ? null : random(20),
          value: i % 5 === 0 ? null : random(20),
          timestamp: 1000 + ((i * 7) % 20),
          headers: i % 2 === 0 ? [] : [{ key: 'h', value: random(10) }],
        }))
        const results = await Promise.all(records.map((record) => producer.send(record)))
        const log = broker.records('t', 0)
        results.forEach(({ offset, timestamp }, i) => {
          const { key, value, headers } = log[offset]!
          assert.equal(
            [key?.toString() ?? null, value?.toString() ?? null, log[offset]!.timestamp, timestamp, headers.length],
            [
              records[i]!.key,
              records[i]!.value,
              records[i]!.timestamp,
              records[i]!.timestamp,
              records[i]!.headers.length,
            ],
          )
        })
      },
    ))
}

test('one record above the topic’s limit fails with topic, size and limit, and costs no other record', () =>
  producerWorld(
    { topics: [{ name: 't', partitions: 1, config: { 'max.message.bytes': '1000' } }] },
    async ({ producer, values, sent }) => {
      await producer.send(numbered(1)[0]!)
      const settled = await Promise.allSettled([
        producer.send(numbered(1, 1)[0]!),
        producer.send({ topic: 't', partition: 0, value: 'x'.repeat(2000) }),
        producer.send(numbered(1, 2)[0]!),
      ])
      assert.equal(
        settled.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      )
      const error = (settled[1] as PromiseRejectedResult).reason
      assert.is(error.code, 'MESSAGE_TOO_LARGE')
      assert.match(error.message, /a record of 20\d\d bytes for t\/0 is above the topic's max\.message\.bytes/)
      assert.ok(error.size > 2000)
      assert.equal(values(), numbers(3))
      await producer.send(numbered(1, 3)[0]!)
      assert.equal(values(), numbers(4))
      assert.ok(sent.length < 12)
    },
  ))

test('a record above maxRequestBytes is refused before anything is sent', () =>
  producerWorld(
    { producer: { maxRequestBytes: 65_536, maxBatchBytes: 10_000 } },
    async ({ producer, requests, values }) => {
      for (const topic of ['t', 't']) {
        const error = await failure(producer.send({ topic, value: 'x'.repeat(70_000) }))
        assert.is(error.code, 'MESSAGE_TOO_LARGE')
        assert.match(error.message, /for t.* above maxRequestBytes 65536/)
        await producer.send({ topic, value: 'small' })
      }
      const big = Buffer.alloc(70_000)
      assert.throws(
        () => producer.append('t', 0, 1, null, 0, 0, big, 0, big.length, undefined, undefined),
        /maxRequestBytes/,
      )
      await producer.send({ topic: 't', value: 'x'.repeat(60_000) })
      assert.is(values().length, 3)
      assert.is(requests(), 3)
    },
  ))

// ---- identity

test('InitProducerId is asked for when first needed, and again until somebody answers', () =>
  producerWorld({ client: { requestTimeoutMs: 1000 } }, async ({ producer, cluster, values }) => {
    cluster.faults.answer('InitProducerId', 'COORDINATOR_LOAD_IN_PROGRESS', { times: 3 })
    cluster.faults.cut('InitProducerId', 'before', { skip: 3 })
    await producer.sendBatch(numbered(10))
    assert.equal(values(), numbers(10))
  }))

const fatal: { error: KafkaErrorName; options?: ProducerOptions; fails: boolean }[] = [
  { error: 'CLUSTER_AUTHORIZATION_FAILED', fails: true },
  { error: 'CLUSTER_AUTHORIZATION_FAILED', options: { idempotent: false }, fails: false },
]
for (const { error, options, fails } of fatal) {
  test(`InitProducerId ${error} with ${JSON.stringify(options ?? {})} → ${fails ? 'fatal' : 'not asked'}`, () =>
    producerWorld(
      { ...(options === undefined ? {} : { producer: options }) },
      async ({ producer, cluster, values }) => {
        cluster.faults.answer('InitProducerId', error, { times: always })
        if (!fails) {
          await producer.sendBatch(numbered(2))
          assert.equal(values(), numbers(2))
          return
        }
        const refused = await failure(producer.sendBatch(numbered(2)))
        assert.is(refused.name, 'FatalProducerError')
        assert.is(refused.code, error)
        assert.is((await failure(producer.send(numbered(1)[0]!))).code, error)
        assert.is((await failure(producer.ready())).code, error)
      },
    ))
}

test('a broker without InitProducerId is fatal and says so', () =>
  producerWorld({}, async ({ client, cluster }) => {
    const producer = client.producer()
    cluster.faults.answer('InitProducerId', 'UNSUPPORTED_VERSION', { times: always })
    assert.is((await failure(producer.send(numbered(1)[0]!))).code, 'UNSUPPORTED_VERSION')
  }))

test.run()
