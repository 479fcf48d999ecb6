/** Producing and consuming on the target: every codec, every shape of record, and a broker that dies in the middle. */
import * as assert from 'uvu/assert'
import { Client, type Producer } from '../../src/client/index.ts'
import { suite } from '../support/suite.ts'
import { noOwnBroker, openTarget, type Target, unique, withTarget } from './target.ts'

const test = suite('system/produce-consume', { deadlineMs: 90_000 })
let target: Target
test.before(async () => {
  target = await openTarget()
})
test.after(() => target.close())

/** All records of a topic, per partition, in order. */
async function readAll(client: Client, topic: string, partitions: number) {
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  const ends = await client.listOffsets(all, 'latest')
  const logs = all.map(() => [] as { offset: number; key: string | null; value: string | null; headers: string[] }[])
  let left = all.filter(({ partition }) => ends.get(topic, partition)!.offset > 0).length
  if (left === 0) return logs
  const consumer = client.consumer({ startFrom: 'earliest' })
  consumer.assign(all.map((at) => ({ ...at, offset: 'earliest' as const })))
  for await (const record of consumer.records()) {
    const { partition, offset, key, value, headers } = record
    logs[partition]!.push({
      offset,
      key: key?.toString() ?? null,
      value: value?.toString() ?? null,
      headers: headers.map((header) => `${header.key}=${header.value?.toString() ?? 'null'}`),
    })
    if (offset + 1 === ends.get(topic, partition)!.offset && --left === 0) break
  }
  await consumer.close()
  return logs
}

for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
  test(`records of every shape survive (${compression})`, async () => {
    await using client = new Client({ brokers: target.brokers })
    const topic = unique('shapes')
    await client.admin().createTopics([{ name: topic, partitions: 2 }])
    let producer: Producer
    try {
      producer = client.producer({ compression })
    } catch (cause) {
      // A Node.js without zstd says so when the producer is made.
      assert.is((cause as { code: string }).code, 'ERR_UNSUPPORTED_COMPRESSION')
      assert.is(compression, 'zstd')
      return
    }
    const big = 'many words '.repeat(2000)
    const records = [
      { topic, partition: 0, key: null, value: null },
      { topic, partition: 0, key: '', value: '' },
      {
        topic,
        partition: 0,
        key: 'ключ',
        value: '\u{1f600}',
        headers: [
          { key: 'a', value: '1' },
          { key: 'a', value: null },
        ],
      },
      ...Array.from({ length: 300 }, (_, i) => ({
        topic,
        partition: 1,
        key: `k${i}`,
        value: `${i} ${big.slice(i * 10)}`,
      })),
    ]
    const results = await Promise.all(records.map((record) => producer.send(record)))
    const logs = await readAll(client, topic, 2)
    records.forEach((record, i) => {
      const { partition, offset } = results[i]!
      const got = logs[partition]![offset]!
      const headers = 'headers' in record ? ['a=1', 'a=null'] : []
      assert.equal(got, { offset, key: record.key, value: record.value, headers })
    })
    assert.is(logs[0]!.length + logs[1]!.length, records.length)
  })
}

for (const name of ['__proto__.', 'constructor', 'x'.repeat(200)]) {
  test(`a topic called ${name.slice(0, 20)} is a topic like any other`, async () => {
    await using client = new Client({ brokers: target.brokers })
    const topic = unique(name)
    await client.admin().createTopics([{ name: topic, partitions: 1 }])
    await client.producer().send({ topic, key: '__proto__', value: 'constructor' })
    const [log] = await readAll(client, topic, 1)
    assert.equal(
      log?.map(({ key, value }) => [key, value]),
      [['__proto__', 'constructor']],
    )
    await client.admin().deleteTopics([topic])
  })
}

test('a value of 1 MB goes through, a larger one fails with topic, size and limit', async () => {
  await using client = new Client({ brokers: target.brokers })
  const topic = unique('large')
  await client.admin().createTopics([{ name: topic, partitions: 1 }])
  const producer = client.producer()
  await producer.send({ topic, value: Buffer.alloc(1_000_000, 1) })
  const sends = await Promise.allSettled([
    producer.send({ topic, value: 'before' }),
    producer.send({ topic, value: Buffer.alloc(1_200_000, 1) }),
    producer.send({ topic, value: 'after' }),
  ])
  assert.equal(
    sends.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  const error = (sends[1] as PromiseRejectedResult).reason
  assert.is(error.code, 'MESSAGE_TOO_LARGE')
  assert.match(error.message, new RegExp(`12000\\d\\d bytes for ${topic}/0 .*max.message.bytes`))
})

test('a missing topic is named, with what to do', async () => {
  await using client = new Client({ brokers: target.brokers })
  const topic = unique('missing')
  const producer = client.producer({ missingTopicTimeoutMs: 500 })
  let error: (Error & { code?: string }) | undefined
  await producer.send({ topic, value: 'v' }).catch((cause) => {
    error = cause
  })
  assert.is(error?.code, 'UNKNOWN_TOPIC_OR_PARTITION')
  assert.match(error!.message, new RegExp(`topic ${topic} does not exist: create it`))
})

if (noOwnBroker !== undefined) test.skip('a broker that dies in the middle', noOwnBroker)
else {
  test('a broker that is killed three times in the middle: everything once and in order', () =>
    withTarget({ own: true }, async (own) => {
      await using client = new Client({ brokers: own.brokers, requestTimeoutMs: 5000 })
      const topic = unique('killed')
      await client.admin().createTopics([{ name: topic, partitions: 3 }])
      const producer = client.producer({ maxBatchBytes: 4096 })
      const failures: unknown[] = []
      let sent = 0
      let acknowledged = 0
      let running = true
      const load = async (): Promise<void> => {
        while (running) {
          const burst = Array.from({ length: 200 }, () => {
            const value = String(sent++)
            return producer.send({ topic, partition: Number(value) % 3, value }).then(
              () => void acknowledged++,
              (cause) => void failures.push(cause),
            )
          })
          await Promise.all(burst)
        }
      }
      const loads = [load(), load()]
      for (let round = 0; round < 3; round++) {
        const from = acknowledged
        while (acknowledged < from + 1000) await new Promise((resolve) => setTimeout(resolve, 10))
        await own.kill?.()
        await own.restart?.()
      }
      running = false
      await Promise.all(loads)
      assert.equal(failures, [])
      assert.is(acknowledged, sent)
      const logs = await readAll(client, topic, 3)
      logs.forEach((log, partition) => {
        const values = log.map(({ value }) => Number(value))
        const expected = Array.from({ length: sent }, (_, i) => i).filter((i) => i % 3 === partition)
        assert.equal(values, expected, `partition ${partition}`)
      })
    }))
}

test.run()
