/** The topics of the benchmark: made, filled with the same records for every system, counted, removed. */
import { describeError } from '../src/base/errors.ts'
import { Client } from '../src/client/index.ts'
import { keyCount, makeKeys, makeValues, Numbers, partitions } from './payload.ts'
import { kafkaJs } from './peers.ts'

export async function createTopic(brokers: string, topic: string): Promise<void> {
  const admin = kafkaJs(brokers).admin()
  await admin.connect()
  await admin.createTopics({
    waitForLeaders: true,
    topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }],
  })
  await admin.disconnect()
}

/** Removes topics. That is only tidying up: what cannot be removed is said and left. */
export async function deleteTopics(brokers: string, topics: readonly string[]): Promise<void> {
  const client = new Client({ brokers, clientId: 'bench-topics' })
  await client
    .admin()
    .deleteTopics(topics, { timeoutMs: 15_000 })
    .catch((cause: unknown) => console.warn(`not removed: ${describeError(cause)}`))
  await client.close()
}

/** Records in a topic, by its end offsets, as a foreign client sees them. */
export async function countTopic(brokers: string, topic: string): Promise<number> {
  const admin = kafkaJs(brokers).admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return offsets.reduce((sum, { offset }) => sum + Number(offset), 0)
}

/** Creates `topic` with `count` records: 8-byte keys (uniform over 100,000), 100-byte values, batches of up to 64 KiB. */
export async function fillTopic(brokers: string, topic: string, count: number): Promise<void> {
  await createTopic(brokers, topic)
  const client = new Client({ brokers, clientId: 'bench-fill' })
  const producer = client.producer({ maxBatchBytes: 65_536 })
  const keys = makeKeys(keyCount)
  const values = makeValues(1_000)
  const numbers = new Numbers(0x2545f491)
  for (let i = 0; i < count; i++) {
    const key = keys[numbers.next(keyCount)]!
    if (!producer.enqueue({ topic, key, value: values[i % 1_000]! })) await producer.ready()
  }
  await producer.flush()
  await client.close()
  const found = await countTopic(brokers, topic)
  if (found !== count) throw new Error(`${topic} was filled with ${found} records instead of ${count}`)
}
