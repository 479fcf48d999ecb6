/**
 * Memory is bounded: after a collection, heap and buffers are as large after `last` records as after `first`. For the
 * suites memory.test (small) and memory.long.test (millions). The broker is another process: its logs do not count.
 */
import * as assert from 'uvu/assert'
import { Client, type Consumer } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { integer } from '../../src/streams/codecs/index.ts'
import { type Suite, suite, until } from '../support/suite.ts'
import { BoundedBroker } from './bounded-broker.ts'
import { openTarget, unique } from './target.ts'

export interface MemorySizes {
  /** Records after which memory is measured first. */
  readonly first: number
  /** … and last. */
  readonly last: number
  /** Keys of the table. */
  readonly keys: number
  readonly deadlineMs: number
}

/** What may come on top between the two measurements. */
const allowedBytes = 5_000_000
const kilo = (bytes: number): string => `${(bytes / 1_000).toFixed(0)} kB`

/** Heap and buffers in use, after everything that can go has gone. */
async function inUse(): Promise<number> {
  const { gc } = globalThis
  if (gc === undefined) throw new Error('memory is measured with node --expose-gc only')
  for (let i = 0; i < 3; i++) {
    gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

export function memorySuite(name: string, sizes: MemorySizes): Suite {
  const { first, last, keys, deadlineMs } = sizes
  const test = suite(name, { deadlineMs })
  let close: () => Promise<void>
  let brokers: string
  test.before(async () => {
    const target = process.env['KAFKA_BROKERS'] || process.env['MILLRACE_KAFKA'] ? await openTarget() : undefined
    const broker = target ?? (await BoundedBroker.start())
    brokers = broker.brokers
    close = () => broker.close()
  })
  test.after(() => close())

  /** Runs `work` up to `first` and to `last` records and compares. */
  const measure = async (what: string, work: (upTo: number) => Promise<void>): Promise<void> => {
    await work(first)
    const before = await inUse()
    const began = performance.now()
    await work(last)
    const seconds = (performance.now() - began) / 1000
    const after = await inUse()
    const figures = `${kilo(before)} after ${first} records, ${kilo(after)} after ${last} (${((last - first) / seconds / 1000).toFixed(0)} k/s)`
    assert.ok(after - before <= allowedBytes, `${what}: ${figures}`)
    console.log(`note: ${what}: ${figures}`)
  }

  const value = Buffer.alloc(100, 'v')

  test(`producing: after ${last} records at most 5 MB more than after ${first}`, async () => {
    const topic = unique('memory-out')
    await using client = new Client({ brokers })
    await client.admin().createTopics([{ name: topic, partitions: 4 }])
    const producer = client.producer()
    let count = 0
    await measure('producing', async (upTo) => {
      while (count < upTo) {
        const key = `key-${count % 100_000}`
        if (count % 3 === 0 && count % 30_000 < 3_000) await sends(upTo)
        else if (!producer.enqueue({ topic, key, value, headers: [{ key: 'n', value: String(count) }] }))
          await producer.ready()
        count += 1
      }
      await producer.flush()
    })
    async function sends(upTo: number): Promise<void> {
      const size = Math.min(1_000, upTo - count)
      await Promise.all(Array.from({ length: size }, () => producer.send({ topic, key: 'k', value })))
      count += size - 1
    }
  })

  for (const how of ['records', 'cursors'] as const) {
    test(`consuming as ${how}: after ${last} records at most 5 MB more than after ${first}`, async () => {
      const topic = unique('memory-in')
      await using client = new Client({ brokers })
      await client.admin().createTopics([{ name: topic, partitions: 1 }])
      const size = 100_000
      const producer = client.producer()
      const headers = [{ key: 'n', value: 'v' }]
      await producer.sendBatch(Array.from({ length: size }, (_, i) => ({ topic, key: `key-${i}`, value, headers })))
      await producer.close()
      const consumer = client.consumer()
      consumer.assign([{ topic, partition: 0, offset: 0 }])
      let count = 0
      await measure(`consuming as ${how}`, async (upTo) => {
        while (count < upTo) {
          // In front, not behind: at the measurement nothing is read ahead.
          consumer.seek({ topic, partition: 0 }, 0)
          count += await (how === 'records' ? readRecords(consumer, size) : readCursors(consumer, size))
        }
      })
    })
  }

  test(`processing ${keys} keys: after ${last} records at most 5 MB more than after ${first}`, async () => {
    const input = stream(unique('memory-process'), integer)
    const name = unique('memory-group')
    await using client = new Client({ brokers })
    // Deletion lets the small broker forget old changes; nobody restores this table.
    const configs = { 'cleanup.policy': 'compact,delete' }
    await client.admin().createTopics([
      { name: input.topic, partitions: 2 },
      { name: `${name}-table`, partitions: 2, configs },
    ])
    await using app = new Millrace({ brokers })
    let processed = 0
    let wanted = 0
    let reached = (): void => {}
    const group = defineGroup(name, { table: integer }).on(input, (ctx, n) => {
      ctx.set((ctx.get() ?? 0) + n)
      processed += 1
      if (processed === wanted) reached()
    })
    const processor = app.processor(group, { checkpointIntervalMs: 200 })
    await processor.start()
    const producer = client.producer()
    let sent = 0
    await measure('processing', async (upTo) => {
      while (sent < upTo) {
        // Never further ahead than the broker remembers.
        wanted = Math.min(upTo, sent + 50_000)
        const done = new Promise<void>((resolve) => {
          reached = resolve
        })
        for (; sent < wanted; sent++) {
          if (!producer.enqueue({ topic: input.topic, key: `key-${sent % keys}`, value: '1' })) await producer.ready()
        }
        await producer.flush()
        await Promise.race([done, processor.done.then(() => Promise.reject(new Error('the processor has ended')))])
      }
    })
    // What queries see is as of the last checkpoint.
    const total = (): number => {
      let sum = 0
      for (let i = 0; i < keys; i++) sum += processor.get(`key-${i}`) ?? 0
      return sum
    }
    await until(() => total() === last, { what: `the sum of all keys is ${last}` })
  })

  return test
}

async function readRecords(consumer: Consumer, size: number): Promise<number> {
  let count = 0
  for await (const chunk of consumer.batches()) {
    for (const record of chunk.records()) if (record.value !== null) count += record.headers.length
    if (count >= size) return count
  }
  return count
}

async function readCursors(consumer: Consumer, size: number): Promise<number> {
  let count = 0
  while (count < size) {
    const chunk = consumer.take()
    if (chunk === undefined) {
      await consumer.wait()
      continue
    }
    const cursor = chunk.cursor()
    while (cursor.next()) count += 1
  }
  return count
}
