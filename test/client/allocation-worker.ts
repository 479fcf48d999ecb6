/**
 * Measures what records cost the whole client in memory, over TCP, in a process whose young generation is so large that
 * nothing is collected meanwhile: growth of the heap is what was allocated. Prints one line of JSON.
 * Usage: node --expose-gc --max-semi-space-size=… allocation-worker.js <brokers> <way>
 */
import { PerformanceObserver } from 'node:perf_hooks'
import { Client, type Consumer, type Producer } from '../../src/client/index.ts'

export interface Cost {
  /** Bytes of objects per record. */
  readonly heap: number
  /** Bytes of buffers per record. */
  readonly buffers: number
}

const count = 50_000
const rounds = 7
const topic = 'cost'
const key = Buffer.from('key-0001')
const value = Buffer.alloc(100, 'v')

const ways: Readonly<Record<string, (producer: Producer) => Promise<unknown>>> = {
  async append(producer) {
    for (let i = 0; i < count; i++) {
      if (!producer.append(topic, 0, i, key, 0, 8, value, 0, 100, undefined, undefined)) await producer.ready()
    }
    await producer.flush()
  },
  async enqueue(producer) {
    const record = { topic, partition: 0, key, value }
    for (let i = 0; i < count; i++) if (!producer.enqueue(record)) await producer.ready()
    await producer.flush()
  },
  async send(producer) {
    const record = { topic, partition: 0, key, value }
    for (let sent = 0; sent < count; sent += 10_000) {
      await Promise.all(Array.from({ length: 10_000 }, () => producer.send(record)))
    }
  },
}

async function read(consumer: Consumer): Promise<void> {
  for (let left = count; left > 0; ) {
    const chunk = consumer.take()
    if (chunk === undefined) {
      await consumer.wait()
      continue
    }
    const cursor = chunk.cursor()
    while (cursor.next()) if (cursor.valueTo > cursor.valueFrom) left -= 1
  }
}

async function measure(work: () => Promise<unknown>): Promise<Cost> {
  let collections = 0
  new PerformanceObserver((list) => {
    collections += list.getEntries().length
  }).observe({ entryTypes: ['gc'] })
  let least: Cost | undefined
  for (let round = 0; round < rounds + 4; round++) {
    // Buffers are freed beside, and collections are told of in a later turn.
    for (let i = 0; i < 2; i++) {
      globalThis.gc!()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const before = collections
    const from = process.memoryUsage()
    await work()
    const to = process.memoryUsage()
    await new Promise((resolve) => setTimeout(resolve, 10))
    // The first rounds compile and warm; a round with a collection in it counts too little.
    if (round < 4 || collections !== before) continue
    const cost = { heap: (to.heapUsed - from.heapUsed) / count, buffers: (to.arrayBuffers - from.arrayBuffers) / count }
    if (least === undefined || cost.heap < least.heap) least = cost
  }
  if (least === undefined) throw new Error('every round was collected: give the young generation more memory')
  return least
}

if (process.argv[1] === import.meta.filename) {
  const [, , brokers = '', way = ''] = process.argv
  await using client = new Client({ brokers })
  await client
    .admin()
    .createTopics([{ name: topic, partitions: 1 }])
    .catch(() => {}) // there since the last run
  const producer = client.producer()
  const produce = ways[way]
  if (produce !== undefined) console.log(JSON.stringify(await measure(() => produce(producer))))
  else {
    const { offset } = await producer.send({ topic, partition: 0, value })
    await ways['append']!(producer)
    const consumer = client.consumer()
    consumer.assign([{ topic, partition: 0, offset: offset + 1 }])
    const again = async (): Promise<void> => {
      consumer.seek({ topic, partition: 0 }, offset + 1)
      await read(consumer)
    }
    console.log(JSON.stringify(await measure(again)))
  }
}
