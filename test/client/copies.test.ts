/**
 * What a value costs on its way, counted over TCP against a broker of another process: bytes that JavaScript copies, and
 * who owns the memory. Every function of the platform that copies bytes is watched while records are sent or read.
 */
import * as assert from 'uvu/assert'
import { Socket } from 'node:net'
import { Client, type Consumer, type Producer, type ProducerRecord } from '../../src/client/index.ts'
import { suite } from '../support/suite.ts'
import { BoundedBroker } from '../system/bounded-broker.ts'

const test = suite('copies per value')
let broker: BoundedBroker
let client: Client
test.before(async () => {
  broker = await BoundedBroker.start()
  client = new Client({ brokers: broker.brokers })
  await client.admin().createTopics([{ name: 't', partitions: 1 }])
})
test.after(async () => {
  await client.close()
  await broker.close()
})

const valueBytes = 20_000
const count = 100
const total = valueBytes * count
/** Bytes of one kind; a copy of it is recognised wherever it lies. */
const value = Buffer.alloc(valueBytes, 0xa7)
const text = 'é'.repeat(valueBytes / 2)

type Method = (this: unknown, ...args: never[]) => unknown

/** Calls `body` while all that copies bytes is watched; returns the bytes copied by calls that moved at least `least`. */
async function copied(body: () => Promise<void>, least = 1_000): Promise<{ bytes: number; by: Map<string, number> }> {
  const by = new Map<string, number>()
  let bytes = 0
  let depth = 0
  const undo: (() => void)[] = []
  const note = (name: string, size: number): void => {
    if (!(size >= least)) return
    by.set(name, (by.get(name) ?? 0) + size)
    bytes += size
  }
  const watch = (holder: object, name: string, sizeOf: (self: unknown, args: unknown[], result: unknown) => number) => {
    const own = Object.getOwnPropertyDescriptor(holder, name)
    assert.ok(own !== undefined && typeof own.value === 'function', `there is no ${name} to watch`)
    const original = own!.value as Method
    const watched = function (this: unknown, ...args: never[]): unknown {
      depth += 1
      const result = original.apply(this, args)
      depth -= 1
      // What a watched function does by calling another one counts once.
      if (depth === 0) note(name, sizeOf(this, args, result))
      return result
    }
    Object.defineProperty(holder, name, { ...own, value: Object.assign(watched, original) })
    undo.push(() => Object.defineProperty(holder, name, own!))
  }
  const lengthOf = (thing: unknown): number => (thing as { length?: number } | undefined)?.length ?? 0
  const typed = Object.getPrototypeOf(Uint8Array.prototype) as object
  const result = (_self: unknown, _args: unknown[], made: unknown): number =>
    typeof made === 'number' ? made : lengthOf(made)
  watch(Buffer.prototype, 'copy', result)
  for (const name of ['write', 'utf8Write', 'latin1Write', 'asciiWrite', 'ucs2Write'])
    watch(Buffer.prototype, name, result)
  watch(Buffer, 'concat', result)
  watch(Buffer, 'from', (_self, [first, offset], made) =>
    first instanceof ArrayBuffer || offset instanceof ArrayBuffer ? 0 : lengthOf(made),
  )
  watch(typed, 'set', (_self, [source]) => lengthOf(source))
  watch(typed, 'slice', result)
  watch(typed, 'copyWithin', (self) => lengthOf(self))
  watch(ArrayBuffer.prototype, 'slice', (_self, _args, made) => (made as ArrayBuffer).byteLength)
  try {
    await body()
  } finally {
    for (const one of undo) one()
  }
  return { bytes, by }
}

function shown(by: ReadonlyMap<string, number>): string {
  return [...by].map(([name, bytes]) => `${name} ${(bytes / total).toFixed(2)}`).join(', ')
}

const ways: Readonly<Record<string, (producer: Producer) => Promise<unknown>>> = {
  send: (producer) => Promise.all(each((record) => producer.send(record))),
  'send of text': (producer) => Promise.all(each((record) => producer.send({ ...record, value: text }))),
  sendBatch: (producer) => producer.sendBatch(each((record) => record)),
  enqueue: (producer) => {
    each((record) => producer.enqueue(record))
    return producer.flush()
  },
  append: (producer) => {
    each(() => producer.append('t', 0, 1, null, 0, 0, value, 0, value.length, undefined, undefined))
    return producer.flush()
  },
}

function each<T>(give: (record: ProducerRecord) => T): T[] {
  return Array.from({ length: count }, () => give({ topic: 't', partition: 0, value }))
}

for (const [name, way] of Object.entries(ways)) {
  test(`producing with ${name}: each value is copied once, into the batch that the socket sends`, async () => {
    const producer = client.producer()
    // The first batches find out how large they become, and grow.
    await way(producer)
    const write = Socket.prototype._writev!
    const sent: Buffer[] = []
    // Values that lie whole in one buffer: the batch itself was handed over, not pieces of it.
    const seen = (data: Buffer): void => void (data.length >= valueBytes && sent.push(data))
    const single = Socket.prototype._write
    Socket.prototype._writev = function (chunks, done) {
      for (const { chunk } of chunks) seen(chunk as Buffer)
      write.call(this, chunks, done)
    }
    Socket.prototype._write = function (chunk, encoding, done) {
      seen(chunk as Buffer)
      single.call(this, chunk, encoding, done)
    }
    try {
      const { bytes, by } = await copied(() => way(producer).then(() => {}))
      const copies = bytes / total
      assert.ok(copies <= 1.01, `${copies.toFixed(2)} copies per value: ${shown(by)}`)
      assert.ok(copies >= 0.99, `the watch saw only ${copies.toFixed(2)} copies per value: ${shown(by)}`)
      const handed = sent.reduce((sum, { length }) => sum + length, 0)
      assert.ok(handed >= total && handed < total * 1.01, `${handed} bytes were handed to the socket for ${total}`)
    } finally {
      Socket.prototype._writev = write
      Socket.prototype._write = single
    }
    await producer.close()
  })
}

async function read(
  consumer: Consumer,
  visit: (chunk: NonNullable<ReturnType<Consumer['take']>>) => number,
): Promise<void> {
  for (let left = count; left > 0; ) {
    const chunk = consumer.take()
    if (chunk === undefined) await consumer.wait()
    else left -= visit(chunk)
  }
}

for (const [name, compression] of [
  ['plain', 'none'],
  ['gzip', 'gzip'],
] as const) {
  test(`consuming ${name} batches: values are views of the received frame, copied at most once on their way into it`, async () => {
    const topic = `in-${name}`
    await client.admin().createTopics([{ name: topic, partitions: 1 }])
    const producer = client.producer({ compression })
    await producer.sendBatch(Array.from({ length: count }, () => ({ topic, value })))
    await producer.close()
    for (const how of ['cursor', 'records'] as const) {
      const consumer = client.consumer()
      consumer.assign([{ topic, partition: 0, offset: 0 }])
      const owners = new Set<ArrayBufferLike>()
      const chunks = new Set<unknown>()
      const { bytes, by } = await copied(() =>
        read(consumer, (chunk) => {
          chunks.add(chunk)
          let visited = 0
          if (how === 'records') {
            for (const record of chunk.records()) {
              assert.ok(record.value!.equals(value))
              owners.add(record.value!.buffer)
              visited += 1
            }
            return visited
          }
          const cursor = chunk.cursor()
          while (cursor.next()) {
            assert.is(cursor.bytes.compare(value, 0, valueBytes, cursor.valueFrom, cursor.valueTo), 0)
            owners.add(cursor.bytes.buffer)
            visited += 1
          }
          return visited
        }),
      )
      const copies = bytes / total
      assert.ok(copies <= 1.01, `${how}: ${copies.toFixed(2)} copies per value: ${shown(by)}`)
      // Frames hold many values; a value with memory of its own was copied once more.
      assert.ok(owners.size <= 10, `${how}: ${count} values lie in ${owners.size} buffers`)
      await consumer.close()
    }
  })
}

test('the watch sees copies of every kind', async () => {
  const kinds: Readonly<Record<string, () => unknown>> = {
    'Buffer.from': () => Buffer.from(value),
    'Buffer.concat': () => Buffer.concat([value]),
    copy: () => value.copy(Buffer.alloc(valueBytes)),
    set: () => Buffer.alloc(valueBytes).set(value),
    slice: () => Uint8Array.prototype.slice.call(value),
    write: () => Buffer.alloc(valueBytes).write(text),
  }
  for (const [kind, copy] of Object.entries(kinds)) {
    const { bytes } = await copied(() => Promise.resolve(void copy()))
    assert.ok(bytes >= valueBytes, `${kind} was not seen`)
  }
  const { bytes } = await copied(() => Promise.resolve(void value.subarray(1)))
  assert.is(bytes, 0)
})

test.run()
