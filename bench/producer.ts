/** Workload *producer*: many concurrent single sends, and batches of 1,000; acks=all, 8-byte keys, 100-byte values. */
import { Client } from '../src/client/index.ts'
import { makeKeys, makeValues } from './payload.ts'
import { kafkaJs, kafkaTs } from './peers.ts'
import { type Case, check, type KafkaContext, type Measure, repeat, type System, type Workload } from './workload.ts'

const keys = makeKeys(10_000)
const values = makeValues(1_000)

/** Sends one record, or a batch from `first` on; resolves when it is acknowledged. */
interface Sender {
  single(i: number): Promise<unknown>
  batch(first: number, count: number): Promise<unknown>
  close(): Promise<void>
}

async function millraceSender(brokers: string, topic: string): Promise<Sender> {
  const client = new Client({ brokers, clientId: 'bench' })
  const producer = client.producer()
  const record = (i: number): { topic: string; key: Buffer; value: Buffer } => ({
    topic,
    key: keys[i % keys.length]!,
    value: values[i % values.length]!,
  })
  return {
    single: (i) => producer.send(record(i)),
    batch: (first, count) => producer.sendBatch(Array.from({ length: count }, (_, i) => record(first + i))),
    close: () => client.close(),
  }
}

async function kafkaJsSender(brokers: string, topic: string): Promise<Sender> {
  const producer = kafkaJs(brokers).producer()
  await producer.connect()
  const message = (i: number): { key: Buffer; value: Buffer } => ({
    key: keys[i % keys.length]!,
    value: values[i % values.length]!,
  })
  return {
    single: (i) => producer.send({ topic, acks: -1, messages: [message(i)] }),
    batch: (first, count) =>
      producer.send({ topic, acks: -1, messages: Array.from({ length: count }, (_, i) => message(first + i)) }),
    close: () => producer.disconnect(),
  }
}

/** Its defaults suit batches best; single sends are faster without its linger of 5 ms. */
async function kafkaTsSender(brokers: string, topic: string, concurrent: boolean): Promise<Sender> {
  const client = await kafkaTs(brokers)
  const producer = client.producer({ acks: 'all', ...(concurrent ? { lingerMs: 0 } : {}) })
  await producer.connect?.()
  const message = (i: number): { key: Buffer; value: Buffer } => ({
    key: keys[i % keys.length]!,
    value: values[i % values.length]!,
  })
  return {
    single: (i) => producer.send(topic, message(i)),
    batch: (first, count) =>
      producer.send(
        topic,
        Array.from({ length: count }, (_, i) => message(first + i)),
      ),
    async close() {
      await producer.disconnect()
      await client.disconnect()
    },
  }
}

/** `concurrent`: for single sends. */
type MakeSender = (brokers: string, topic: string, concurrent: boolean) => Promise<Sender>

/** Waves of `concurrency` sends at once, each wave awaited. */
function singles(make: MakeSender, concurrency: number): System {
  return async (context, measure) => {
    const wave = (sender: Sender) => async (): Promise<void> => {
      const sends: Promise<unknown>[] = []
      for (let i = 0; i < concurrency; i++) sends.push(sender.single(i))
      check('acknowledged', (await Promise.all(sends)).length, concurrency)
    }
    await run(context, measure, (brokers, topic) => make(brokers, topic, true), wave, concurrency)
  }
}

/** Batches of 1,000 by `loops` loops at once, each awaiting its own. */
function batches(make: MakeSender, loops: number): System {
  const size = 1_000
  const perWave = 20
  return async (context, measure) => {
    const wave = (sender: Sender) => async (): Promise<void> => {
      let next = 0
      const loop = async (): Promise<void> => {
        while (next < perWave) {
          const first = next * size
          next += 1
          await sender.batch(first, size)
        }
      }
      await Promise.all(Array.from({ length: loops }, loop))
    }
    await run(context, measure, (brokers, topic) => make(brokers, topic, false), wave, perWave * size)
  }
}

async function run(
  context: KafkaContext,
  measure: Measure,
  make: (brokers: string, topic: string) => Promise<Sender>,
  wave: (sender: Sender) => () => Promise<void>,
  perWave: number,
): Promise<void> {
  const warm = await make(context.brokers, context.warmTopic)
  await repeat(3 * context.scale, 3, wave(warm))
  await warm.close()
  const sender = await make(context.brokers, context.topic)
  // Connections, metadata and whatever else a first send brings are not in the time.
  await sender.single(0)
  measure.start()
  const waves = await repeat(4 * context.scale, 3, wave(sender))
  measure.end(waves * perWave, { waves, expectedInTopic: waves * perWave + 1 })
  await sender.close()
}

function singleCase(concurrency: number): Case {
  return {
    name: `single-${concurrency}`,
    says: `${concurrency.toLocaleString('en')} concurrent sends of one record`,
    input: 'none',
    systems: {
      millrace: singles(millraceSender, concurrency),
      kafkajs: singles(kafkaJsSender, concurrency),
      kafkats: singles(kafkaTsSender, concurrency),
    },
    marks: concurrency === 10_000 ? [{ ours: 'millrace', against: 'kafkajs', factor: 15 }] : [],
  }
}

export const producer: Workload = {
  name: 'producer',
  cases: [
    singleCase(10_000),
    singleCase(1_024),
    {
      name: 'batch-1000',
      says: 'batches of 1,000 records, as many at a time as suits each: millrace five, the others one',
      input: 'none',
      systems: {
        millrace: batches(millraceSender, 5),
        kafkajs: batches(kafkaJsSender, 1),
        kafkats: batches(kafkaTsSender, 1),
      },
      marks: [{ ours: 'millrace', against: 'kafkats', factor: 2 }],
    },
    {
      name: 'batch-1000-serial',
      says: 'batches of 1,000 records, one after another',
      input: 'none',
      systems: { millrace: batches(millraceSender, 1), kafkats: batches(kafkaTsSender, 1) },
      marks: [],
    },
  ],
}
