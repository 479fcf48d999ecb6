/** A producer on three real brokers of which one after another is killed or stopped: everything once and in order. */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { Kafka } from '../support/kafka.ts'
import { suite } from '../support/suite.ts'

const test = suite('failover on a real cluster', { deadlineMs: 120_000 })
const version = process.env['MILLRACE_KAFKA'] || '4.3'

test('leaders die and freeze under load; nothing is lost, doubled or reordered', async () => {
  const kafka = await Kafka.start(version, {
    nodes: 3,
    config: {
      'min.insync.replicas': '2',
      'broker.session.timeout.ms': '3000',
      'broker.heartbeat.interval.ms': '500',
      'replica.lag.time.max.ms': '3000',
    },
  })
  try {
    await using client = new Client({ brokers: kafka.brokers, requestTimeoutMs: 4000 })
    const topic = 'failover'
    await client.admin().createTopics([{ name: topic, partitions: 6, replicationFactor: 3 }])
    const producer = client.producer({ maxBatchBytes: 8192 })
    const failures: unknown[] = []
    let sent = 0
    let acknowledged = 0
    let running = true
    const load = async (): Promise<void> => {
      while (running) {
        await Promise.all(
          Array.from({ length: 300 }, () => {
            const value = String(sent++)
            return producer.send({ topic, partition: Number(value) % 6, value }).then(
              () => void acknowledged++,
              (cause) => void failures.push(cause),
            )
          }),
        )
      }
    }
    const loads = [load(), load()]
    const progress = async (count: number): Promise<void> => {
      const from = acknowledged
      while (acknowledged < from + count) await new Promise((resolve) => setTimeout(resolve, 10))
    }
    for (let node = 1; node <= 3; node++) {
      await progress(2000)
      await kafka.kill(node)
      await progress(2000)
      await kafka.restart(node)
      await progress(2000)
    }
    // A frozen broker keeps its connections: only time-outs tell.
    kafka.pause(2)
    await progress(2000)
    kafka.resume(2)
    await progress(2000)
    running = false
    await Promise.all(loads)
    assert.equal(failures, [])
    assert.is(acknowledged, sent)
    const all = Array.from({ length: 6 }, (_, partition) => ({ topic, partition }))
    const ends = await client.listOffsets(all, 'latest')
    const logs = all.map(() => [] as number[])
    const consumer = client.consumer({ startFrom: 'earliest' })
    consumer.assign(all.map((at) => ({ ...at, offset: 'earliest' as const })))
    let left = 6
    for await (const { partition, offset, value } of consumer.records()) {
      logs[partition]!.push(Number(value))
      if (offset + 1 === ends.get(topic, partition)!.offset && --left === 0) break
    }
    for (const [partition, values] of logs.entries()) {
      const expected = Array.from({ length: sent }, (_, i) => i).filter((i) => i % 6 === partition)
      assert.equal(values, expected, `partition ${partition}`)
    }
  } finally {
    await kafka.close()
  }
})

test.run()
