/** The producer's memory, flush and close; what it leaves behind; what a record costs. */
import * as assert from 'uvu/assert'
import { Broker } from '../../../src/broker/index.ts'
import { Client, type DeliveryObserver } from '../../../src/client/index.ts'
import { suite } from '../../support/suite.ts'
import { failure, numbered, numbers, producerWorld } from '../support/producer-world.ts'

const test = suite('producer: memory, flush and close')
const always = Number.POSITIVE_INFINITY

// ---- memory

test('enqueue takes every record and says when the buffer is above its limit; ready waits for room', () =>
  producerWorld(
    { producer: { maxBufferedBytes: 65_536, maxBatchBytes: 16_384 } },
    async ({ producer, cluster, values, world }) => {
      await producer.send(numbered(1)[0]!)
      const slow = cluster.faults.delay('Produce', 1000, { times: always })
      const value = 'x'.repeat(1000)
      let taken = 1
      while (producer.enqueue({ topic: 't', partition: 0, value })) taken += 1
      assert.ok(producer.bufferedBytes > 65_536 && producer.bufferedBytes <= 65_536 + 16_384 * 2)
      assert.is(producer.enqueue({ topic: 't', partition: 0, value }), false)
      let ready = false
      const waiting = producer.ready().then(() => {
        ready = true
      })
      await world.sleep(300)
      assert.is(ready, false)
      slow.remove()
      await waiting
      assert.ok(producer.bufferedBytes <= 65_536)
      await producer.flush()
      assert.is(values().length, taken + 2)
      assert.is(producer.bufferedBytes, 0)
      await producer.ready()
    },
  ))

test('records that wait for a topic count as buffered too', () =>
  producerWorld({ producer: { missingTopicTimeoutMs: 1000, maxBufferedBytes: 65_536 } }, async ({ producer }) => {
    const value = Buffer.alloc(10_000)
    let taken = 1
    while (producer.enqueue({ topic: 'nope', value })) taken += 1
    assert.is(taken, 7)
    await producer.ready()
    assert.ok(producer.bufferedBytes < 65_536)
  }))

test('somebody who waits for room need not wait for lingerMs', () =>
  producerWorld({ producer: { maxBufferedBytes: 65_536, lingerMs: 60_000 } }, async ({ producer, world }) => {
    const started = world.now
    for (let i = 0; i < 300; i++) {
      if (!producer.enqueue({ topic: 't', partition: 0, value: 'x'.repeat(1000) })) await producer.ready()
    }
    assert.ok(world.now - started < 1000, `${world.now - started}`)
  }))

// ---- flush

test('flush waits for what was given before it, not for what comes after', () =>
  producerWorld({ producer: { maxBatchBytes: 1024 } }, async ({ producer, cluster, values }) => {
    await producer.send(numbered(1)[0]!)
    for (const record of numbered(100, 1)) producer.enqueue(record)
    const flushed = producer.flush()
    cluster.faults.delay('Produce', 100_000, { skip: 3 })
    const later = failure(producer.sendBatch(numbered(200, 101)))
    await flushed
    assert.ok(values().length >= 101)
    cluster.faults.clear()
    void later
    await producer.close({ timeoutMs: 1 })
  }))

test('failures of enqueued records go to the observer and the next flush, once', async () => {
  const told: string[] = []
  await producerWorld(
    {
      producer: {
        onDeliveryError: (error, topic, partition, count) => told.push(`${error.code} ${topic}/${partition} ${count}`),
      },
    },
    async ({ producer, cluster, events }) => {
      cluster.faults.answer('Produce', 'INVALID_RECORD', { topic: 't', partition: 0 })
      for (const record of numbered(3)) producer.enqueue(record)
      assert.is((await failure(producer.flush())).code, 'INVALID_RECORD')
      assert.equal(told, ['INVALID_RECORD t/0 3'])
      assert.ok(events.some((event) => event.type === 'produceFailed' && event.count === 3))
      producer.enqueue(numbered(1)[0]!)
      await producer.flush()
    },
  )
})

test('failures of sends do not reject flush, and a throwing onDeliveryError changes nothing', () =>
  producerWorld(
    {
      producer: {
        onDeliveryError: () => {
          throw new Error('observer')
        },
      },
    },
    async ({ producer, cluster, values }) => {
      const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
      cluster.faults.answer('Produce', 'INVALID_RECORD', { topic: 't', partition: 0 })
      const failed = failure(producer.send(numbered(1)[0]!))
      await producer.flush()
      await failed
      cluster.faults.answer('Produce', 'INVALID_RECORD', { topic: 't', partition: 0 })
      producer.enqueue(numbered(1)[0]!)
      await failure(producer.flush())
      await producer.send(numbered(1)[0]!)
      assert.equal(values(), ['0'])
      assert.match((await warned).message, /observer/)
    },
  ))

test('a flush with nothing to do ends at once', () =>
  producerWorld({}, async ({ producer, world }) => {
    await producer.flush()
    assert.ok(world.now < 10)
  }))

// ---- records that make no sense

const nonsense: { record: unknown; says: RegExp }[] = [
  { record: { topic: 't', value: 5 }, says: /value of a record for t has type number/ },
  { record: { topic: 't' }, says: /value of a record for t is missing/ },
  { record: { topic: 't', key: {}, value: 'v' }, says: /key of a record for t has type object/ },
  { record: { topic: '', value: 'v' }, says: /name of a topic/ },
  { record: { value: 'v' }, says: /name of a topic/ },
  { record: { topic: 't', value: 'v', timestamp: 1.5 }, says: /timestamp 1\.5/ },
]
for (const { record, says } of nonsense) {
  test(`${JSON.stringify(record)} is refused, before and after the topic is known`, () =>
    producerWorld({}, async ({ producer, values, client }) => {
      const bad = record as never
      for (const round of [1, 2]) {
        const error = await failure(producer.send(bad))
        assert.match(error.message, says)
        assert.match((await failure(producer.sendBatch([numbered(1)[0]!, bad]))).message, says)
        await producer.flush()
        assert.is(values().length, round * 2 - 1)
        await producer.send(numbered(1)[0]!)
      }
      assert.is(producer.bufferedBytes, 0)
      await client.close()
    }))
}

// ---- the end

test('close delivers what is there, then refuses', () =>
  producerWorld({ producer: { lingerMs: 10_000 } }, async ({ producer, values, world }) => {
    const sends = numbered(10).map((record) => producer.send(record))
    await producer.close()
    await Promise.all(sends)
    assert.equal(values(), numbers(10))
    assert.ok(world.now < 100)
    assert.is((await failure(producer.send(numbered(1)[0]!))).code, 'ERR_CLOSED')
    assert.is((await failure(producer.sendBatch(numbered(1)))).code, 'ERR_CLOSED')
    assert.throws(() => producer.enqueue(numbered(1)[0]!), /closed/)
    await producer.close()
  }))

test('close ends in its bound: what is not settled fails, with the reason', () =>
  producerWorld({}, async ({ producer, cluster, world, client }) => {
    await producer.send(numbered(1)[0]!)
    cluster.faults.delay('Produce', 1e6, { times: always })
    const inFlight = failure(producer.send(numbered(1, 1)[0]!))
    await world.sleep(50)
    const waiting = failure(producer.send(numbered(1, 2)[0]!))
    const nowhere = failure(producer.send({ topic: 'nope', value: 'v' }))
    const flushed = producer.flush()
    const started = world.now
    await producer.close({ timeoutMs: 700 })
    assert.ok(world.now - started >= 700 && world.now - started < 800)
    for (const error of await Promise.all([inFlight, waiting, nowhere])) {
      assert.is(error.code, 'ERR_CLOSED')
      assert.match((error.cause as Error).message, /timeoutMs 700/)
    }
    await flushed
    assert.is(producer.bufferedBytes, 0)
    await client.close()
  }))

test('a closed client takes its producers with it', () =>
  producerWorld({}, async ({ producer, client, values }) => {
    const sends = numbered(5).map((record) => producer.send(record))
    await client.close()
    await Promise.all(sends)
    assert.equal(values(), numbers(5))
    assert.throws(() => client.producer(), /closed/)
  }))

test('an observer that throws is loud and harms nobody else', async () => {
  let uncaught: unknown
  await producerWorld({}, async ({ producer, values }) => {
    const observer: DeliveryObserver = {
      delivered: () => {
        throw new Error('observer bug')
      },
      failed: () => {},
    }
    await producer.send(numbered(1)[0]!)
    producer.append('t', 0, 1, null, 0, 0, Buffer.from('a'), 0, 1, undefined, observer)
    const after = producer.send(numbered(1, 1)[0]!)
    await after
    assert.equal(values(), ['0', 'a', '1'])
  }).catch((cause) => {
    uncaught = cause
  })
  assert.match(String((uncaught as { cause?: unknown }).cause), /observer bug/)
})

test('after close over TCP nothing is left: no handle here, no connection there', async () => {
  const before = process.getActiveResourcesInfo().sort()
  const broker = await Broker.start({ topics: { t: 3 }, nodes: 3 })
  const client = new Client({ brokers: broker.brokers })
  const producer = client.producer()
  await Promise.all(Array.from({ length: 100 }, (_, i) => producer.send({ topic: 't', key: `${i}`, value: 'v' })))
  assert.ok(broker.connectionCount > 3)
  await client.close()
  const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 20 && broker.connectionCount > 0; turn++) await turns()
  assert.is(broker.connectionCount, 0)
  await broker.close()
  for (let turn = 0; turn < 5; turn++) await turns()
  assert.equal(process.getActiveResourcesInfo().sort(), before)
})

// ---- what a record costs

test('append allocates nothing per record; send little more than its promise', () =>
  producerWorld({ producer: { maxBufferedBytes: 2 ** 28 } }, async ({ producer }) => {
    const key = Buffer.from('some-key')
    const value = Buffer.alloc(100, 1)
    const observer: DeliveryObserver = { delivered: () => {}, failed: () => {} }
    const cost = async (count: number, step: (i: number) => void): Promise<number> => {
      for (let i = 0; i < count; i++) step(i)
      await producer.flush()
      const before = process.memoryUsage().heapUsed
      for (let i = 0; i < count; i++) step(i)
      const after = process.memoryUsage().heapUsed
      await producer.flush()
      return (after - before) / count
    }
    const put = (): void => void producer.append('t', -1, 5, key, 0, 8, value, 0, 100, undefined, observer)
    await cost(20_000, put)
    // A collection in between makes the figure smaller, never larger.
    const appended = await cost(100_000, put)
    assert.ok(appended < 8, `${appended.toFixed(1)} bytes per appended record`)
    const record = { topic: 't', key: 'some-key', value }
    const sends: Promise<unknown>[] = []
    const sent = await cost(20_000, () => {
      sends.push(producer.send(record))
    })
    assert.ok(sent < 500, `${sent.toFixed(0)} bytes per send`)
    await Promise.all(sends)
  }))

test.run()
