/**
 * Workload *consumer*: one million records of 100 bytes from the beginning of six partitions, every key and value looked
 * at. The time begins with the first records delivered, which are not counted: joining a group is in nobody's time.
 */
import { Client } from '../src/client/index.ts'
import { partitions, valueBytes } from './payload.ts'
import { kafkaJs, kafkaTs } from './peers.ts'
import { check, type KafkaContext, type Measure, type System, type Workload } from './workload.ts'

export const consumedRecords = 1_000_000
export const warmRecords = 1_000_000

/** Counts what one system reads. */
class Reader {
  records = 0
  bytes = 0
  /** Sum of a byte of each key and value: what is read must be looked at. */
  sum = 0
  first = 0
  readonly expected: number
  readonly #measure: Measure | undefined
  readonly done: Promise<void>
  #finish: () => void = () => {}

  constructor(expected: number, measure: Measure | undefined) {
    this.expected = expected
    this.#measure = measure
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  /** Called before the records of a delivery are read. */
  begin(): void {
    if (this.records === 0) this.#measure?.start()
  }

  /** Called after a delivery; true when everything has been read. */
  end(): boolean {
    if (this.first === 0) this.first = this.records
    if (this.records < this.expected) return false
    this.#measure?.end(this.records - this.first, { firstDelivery: this.first, sum: this.sum })
    check('records', this.records, this.expected)
    check('bytes', this.bytes, this.expected * (valueBytes + 8))
    this.#finish()
    return true
  }
}

/** Reads `topic` from its beginning to its end. */
type ReadTopic = (context: KafkaContext, topic: string, reader: Reader) => Promise<void>

function system(read: ReadTopic): System {
  return async (context, measure) => {
    await read(context, context.warmTopic, new Reader(Math.round(warmRecords * context.scale), undefined))
    await read(context, context.topic, new Reader(Math.round(consumedRecords * context.scale), measure))
  }
}

function openConsumer(
  context: KafkaContext,
  topic: string,
): { client: Client; consumer: ReturnType<Client['consumer']> } {
  const client = new Client({ brokers: context.brokers, clientId: 'bench' })
  const consumer = client.consumer()
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset: 'earliest' as const }))
  consumer.assign(all)
  return { client, consumer }
}

const millraceObjects: ReadTopic = async (context, topic, reader) => {
  const { client, consumer } = openConsumer(context, topic)
  for await (const chunk of consumer.batches()) {
    reader.begin()
    const records = chunk.records()
    for (let i = 0; i < records.length; i++) {
      const { key, value } = records[i]!
      reader.bytes += key!.length + value!.length
      reader.sum = (reader.sum + key![7]! + value![0]!) | 0
    }
    reader.records += records.length
    if (reader.end()) break
  }
  await client.close()
}

const millraceViews: ReadTopic = async (context, topic, reader) => {
  const { client, consumer } = openConsumer(context, topic)
  for await (const chunk of consumer.batches()) {
    reader.begin()
    const cursor = chunk.cursor()
    let count = 0
    let bytes = 0
    let sum = reader.sum
    while (cursor.next()) {
      bytes += cursor.keyTo - cursor.keyFrom + cursor.valueTo - cursor.valueFrom
      sum = (sum + cursor.bytes[cursor.keyFrom + 7]! + cursor.bytes[cursor.valueFrom]!) | 0
      count += 1
    }
    reader.records += count
    reader.bytes += bytes
    reader.sum = sum
    if (reader.end()) break
  }
  await client.close()
}

const kafkaJsBatches: ReadTopic = async (context, topic, reader) => {
  const consumer = kafkaJs(context.brokers).consumer({
    groupId: `${context.id}-${topic}`,
    maxBytesPerPartition: 1_048_576,
    maxWaitTimeInMs: 100,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: true,
    partitionsConsumedConcurrently: partitions,
    eachBatch: async ({ batch }) => {
      reader.begin()
      for (const { key, value } of batch.messages) {
        reader.bytes += key!.length + value!.length
        reader.sum = (reader.sum + key![7]! + value![0]!) | 0
      }
      reader.records += batch.messages.length
      reader.end()
    },
  })
  await reader.done
  await consumer.disconnect()
}

const kafkaTsBatches: ReadTopic = async (context, topic, reader) => {
  const client = await kafkaTs(context.brokers)
  // Larger polls than its default of 500 records are faster.
  const consumer = client.consumer({
    groupId: `${context.id}-${topic}`,
    autoOffsetReset: 'earliest',
    maxRecords: 10_000,
    maxWaitMs: 100,
  })
  const running = consumer.runBatch(
    topic,
    async (batch) => {
      reader.begin()
      for (const { key, value } of batch) {
        reader.bytes += key!.length + value.length
        reader.sum = (reader.sum + key![7]! + value[0]!) | 0
      }
      reader.records += batch.length
      reader.end()
    },
    {
      autoCommit: false,
      commitOffsets: false,
      partitionConcurrency: 1,
      assignment: Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset: 0n })),
    },
  )
  await Promise.race([reader.done, running])
  await consumer.stop()
  await running
  await client.disconnect()
}

const peers = { kafkajs: system(kafkaJsBatches), kafkats: system(kafkaTsBatches) }

export const consumer: Workload = {
  name: 'consumer',
  cases: [
    {
      name: 'consume',
      says: '1,000,000 records of 100 bytes; millrace as objects and over views',
      input: 'plain',
      systems: { 'millrace objects': system(millraceObjects), 'millrace views': system(millraceViews), ...peers },
      marks: [
        { ours: 'millrace objects', against: 'kafkats', factor: 2 },
        { ours: 'millrace views', against: 'kafkats', factor: 3 },
      ],
    },
  ],
}
