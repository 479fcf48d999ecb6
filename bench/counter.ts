/**
 * Workload *counter* (A1): per key get, +1, set; 100,000 keys uniform, 6 partitions, 100-byte values, drained from the
 * beginning. The time begins with the first record handed over and ends when the last commit is acknowledged. Against
 * the batched loop that a Node user writes by hand: kafkajs eachBatch, classic-level getMany, one write batch, one send.
 */
import { join } from 'node:path'
import { defineGroup, Millrace, stream } from '../src/index.ts'
import { integer, string } from '../src/streams/codecs/index.ts'
import { keyCount, partitions } from './payload.ts'
import { type KafkaJsMessage, kafkaJs, level } from './peers.ts'
import { type Case, check, type KafkaContext, type Measure, type System, type Workload } from './workload.ts'

export const counterRecords = 1_000_000
export const counterWarmRecords = 200_000

type CountTopic = (
  context: KafkaContext,
  topic: string,
  records: number,
  intervalMs: number,
  measure: Measure | undefined,
) => Promise<void>

function system(count: CountTopic, intervalMs: number): System {
  return async (context, measure) => {
    await count(context, context.warmTopic, Math.round(counterWarmRecords * context.scale), intervalMs, undefined)
    await count(context, context.topic, Math.round(counterRecords * context.scale), intervalMs, measure)
  }
}

const millraceCounter: CountTopic = async (context, topic, records, intervalMs, measure) => {
  const input = stream(topic, string)
  let seen = 0
  let all: () => void = () => {}
  const seenAll = new Promise<void>((resolve) => {
    all = resolve
  })
  const group = defineGroup(`${context.id}-${topic}`, { table: integer }).on(input, (ctx) => {
    if (seen === 0) measure?.start()
    ctx.set((ctx.get() ?? 0) + 1)
    seen += 1
    if (seen === records) all()
  })
  const app = new Millrace({ brokers: context.brokers, clientId: 'bench' })
  const processor = app.processor(group, { checkpointIntervalMs: intervalMs })
  await app.ensureStreams([group.table], { partitions })
  await processor.start()
  await Promise.race([seenAll, processor.done])
  // Closing makes the last checkpoint: what it waits for is its commit.
  await processor.close()
  measure?.end(records, { seen })
  check('records', seen, records)
  const view = app.view(group.table)
  await view.start()
  let sum = 0
  let keys = 0
  for await (const [, count] of view.iterate()) {
    sum += count
    keys += 1
  }
  check('sum of the counts', sum, records)
  if (keys > keyCount) throw new Error(`${keys} keys`)
  await app.close()
  await checkCommitted(context, `${context.id}-${topic}`, topic)
}

const handWritten: CountTopic = async (context, topic, records, intervalMs, measure) => {
  const groupId = `${context.id}-${topic}`
  const changelog = `${groupId}-table`
  const kafka = kafkaJs(context.brokers)
  const admin = kafka.admin()
  await admin.connect()
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
  const spec = { topic: changelog, numPartitions: partitions, replicationFactor: 1, configEntries }
  await admin.createTopics({ waitForLeaders: true, topics: [spec] })
  await admin.disconnect()
  const store = level(join(context.dir, groupId))
  await store.open()
  const producer = kafka.producer()
  await producer.connect()
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let seen = 0
  const ends: string[] = []
  await new Promise<void>((resolve, reject) => {
    const run = consumer.run({
      eachBatchAutoResolve: false,
      autoCommitInterval: intervalMs,
      eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat }) => {
        if (seen === 0) measure?.start()
        const counts = new Map<string, number>()
        for (const { key } of batch.messages) {
          const text = key!.toString()
          counts.set(text, (counts.get(text) ?? 0) + 1)
        }
        const keys = [...counts.keys()]
        const before = await store.getMany(keys)
        const operations: { type: 'put'; key: string; value: string }[] = []
        const messages: KafkaJsMessage[] = []
        for (let i = 0; i < keys.length; i++) {
          const key = keys[i]!
          const value = String(Number(before[i] ?? 0) + counts.get(key)!)
          operations.push({ type: 'put', key, value })
          messages.push({ key, value, partition: batch.partition })
        }
        await producer.send({ topic: changelog, acks: -1, messages })
        await store.batch(operations)
        const last = batch.messages[batch.messages.length - 1]!.offset
        resolveOffset(last)
        ends[batch.partition] = String(Number(last) + 1)
        await commitOffsetsIfNecessary()
        await heartbeat()
        seen += batch.messages.length
        if (seen >= records) resolve()
      },
    })
    run.catch(reject)
  })
  await consumer.commitOffsets(ends.map((offset, partition) => ({ topic, partition, offset })))
  measure?.end(records, { seen })
  check('records', seen, records)
  await consumer.disconnect()
  await producer.disconnect()
  let sum = 0
  for await (const [, value] of store.iterator()) sum += Number(value)
  check('sum of the counts', sum, records)
  await store.close()
  await checkCommitted(context, groupId, topic)
}

/** The group's committed offsets must be the topic's ends. */
async function checkCommitted(context: KafkaContext, groupId: string, topic: string): Promise<void> {
  const admin = kafkaJs(context.brokers).admin()
  await admin.connect()
  const ends = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, offset }) => [partition, offset]))
  const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
  for (const { partition, offset } of committed!.partitions) {
    check(`committed offset of partition ${partition}`, Number(offset), Number(ends.get(partition)))
  }
  await admin.disconnect()
}

function counterCase(intervalMs: number, marks: Case['marks']): Case {
  return {
    name: `a1-${intervalMs}ms`,
    says: `count 1,000,000 records by 100,000 keys, checkpointIntervalMs ${intervalMs}`,
    input: 'keyed',
    systems: { millrace: system(millraceCounter, intervalMs), 'hand-written': system(handWritten, intervalMs) },
    marks,
  }
}

export const counter: Workload = {
  name: 'counter',
  cases: [counterCase(1000, [{ ours: 'millrace', against: 'hand-written', factor: 2.5 }]), counterCase(100, [])],
}
