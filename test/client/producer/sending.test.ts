/** The producer when all goes well: what is sent together, where records go, what callers get back. */
import * as assert from 'uvu/assert'
import type { DeliveryObserver, PartitionFunction, ProducerOptions } from '../../../src/client/index.ts'
import { fnv1a, fnv1aPartition } from '../../../src/protocol/hash/fnv1a.ts'
import { murmur2, murmur2Partition } from '../../../src/protocol/hash/murmur2.ts'
import { suite } from '../../support/suite.ts'
import { failure, numbered, numbers, producerWorld } from '../support/producer-world.ts'

const test = suite('producer: sending')

// ---- what leaves together

for (const nodes of [1, 3]) {
  test(`10,000 sends of one turn are at most 2 Produce requests per leader (${nodes} leaders)`, () =>
    producerWorld({ nodes, topics: { t: 6 } }, async ({ producer, requests, broker }) => {
      await producer.send({ topic: 't', key: 'warm', value: 'up' })
      const before = requests()
      const value = 'v'.repeat(100)
      const results = await Promise.all(
        Array.from({ length: 10_000 }, (_, i) => producer.send({ topic: 't', key: `key-${i}`, value })),
      )
      assert.ok(requests() - before <= 2 * nodes, `${requests() - before} requests`)
      const log = Array.from({ length: 6 }, (_, p) => broker.records('t', p))
      assert.ok(results.every(({ partition, offset }, i) => log[partition]![offset]!.key?.toString() === `key-${i}`))
    }))
}

test('the first 10,000 sends, before anything is known, are at most 2 requests as well', () =>
  producerWorld({ topics: { t: 6 } }, async ({ producer, requests }) => {
    const value = 'v'.repeat(100)
    await Promise.all(Array.from({ length: 10_000 }, (_, i) => producer.send({ topic: 't', key: `k${i}`, value })))
    assert.ok(requests() <= 2, `${requests()} requests`)
  }))

test('while a partition waits for its answer the next batch gathers', () =>
  producerWorld({}, async ({ producer, sent, world, values, cluster }) => {
    await producer.send(numbered(1)[0]!)
    cluster.faults.delay('Produce', 40, { times: Number.POSITIVE_INFINITY })
    const sends = []
    for (let i = 1; i <= 100; i++) {
      sends.push(producer.send(numbered(1, i)[0]!))
      await world.sleep(1)
    }
    await Promise.all(sends)
    assert.equal(values(), numbers(101))
    assert.ok(sent.length <= 6, `${sent.length} batches`)
  }))

test('lingerMs gathers over turns; flush does not wait for it', () =>
  producerWorld({ producer: { lingerMs: 500 } }, async ({ producer, sent, world }) => {
    await producer.sendBatch(numbered(1))
    const started = world.now
    const first = producer.send(numbered(1, 1)[0]!)
    await world.sleep(300)
    const second = producer.send(numbered(1, 2)[0]!)
    await Promise.all([first, second])
    assert.ok(world.now - started >= 500 && world.now - started < 520, `${world.now - started} ms`)
    assert.equal(
      sent.map(({ count }) => count),
      [1, 2],
    )
    const third = producer.send(numbered(1, 3)[0]!)
    const flushed = world.now
    await producer.flush()
    assert.ok(world.now - flushed < 20)
    await third
  }))

test('a full batch does not wait for the end of the turn, and batches respect maxBatchBytes', () =>
  producerWorld({ producer: { maxBatchBytes: 10_000 } }, async ({ producer, sent, values }) => {
    await producer.send({ topic: 't', partition: 0, value: 'first' })
    const value = 'x'.repeat(1000)
    await producer.sendBatch(Array.from({ length: 100 }, () => ({ topic: 't', partition: 0, value })))
    assert.is(values().length, 101)
    assert.ok(sent.every(({ bytes }) => bytes <= 10_000))
    assert.is(sent.length, 13)
  }))

test('requests respect maxRequestBytes over partitions and never have two batches of one', () =>
  producerWorld(
    { topics: { t: 8 }, producer: { maxRequestBytes: 65_536, maxBatchBytes: 30_000 } },
    async ({ producer, sent }) => {
      await producer.sendBatch(Array.from({ length: 8 }, (_, partition) => ({ topic: 't', partition, value: 'w' })))
      sent.length = 0
      const value = 'x'.repeat(1000)
      await producer.sendBatch(Array.from({ length: 400 }, (_, i) => ({ topic: 't', partition: i % 8, value })))
      const byRequest = new Map<number, { bytes: number; partitions: number[] }>()
      for (const { request, bytes, partition } of sent) {
        const entry = byRequest.get(request) ?? { bytes: 0, partitions: [] }
        byRequest.set(request, entry)
        entry.bytes += bytes
        entry.partitions.push(partition)
      }
      for (const { bytes, partitions } of byRequest.values()) {
        assert.ok(bytes <= 65_536, `${bytes} bytes`)
        assert.is(new Set(partitions).size, partitions.length)
      }
    },
  ))

test('at most maxInFlight requests to a broker wait for answers', () =>
  producerWorld(
    { producer: { maxInFlight: 2, maxBatchBytes: 1024 } },
    async ({ producer, requests, cluster, values }) => {
      await producer.send(numbered(1)[0]!)
      const slow = cluster.faults.delay('Produce', 1000, { times: Number.POSITIVE_INFINITY, when: 'after' })
      const before = requests()
      const all = producer.sendBatch(numbered(1000, 1))
      await new Promise<void>((resolve) => void cluster.world.sleep(500).then(resolve))
      assert.is(requests() - before, 2)
      slow.remove()
      await all
      assert.equal(values(), numbers(1001))
    },
  ))

// ---- what comes back

test('send resolves with the place of each record, in order', () =>
  producerWorld({}, async ({ producer }) => {
    const results = await Promise.all(numbered(50).map((record) => producer.send(record)))
    assert.equal(
      results.map(({ topic, partition, offset }) => `${topic}/${partition}@${offset}`),
      Array.from({ length: 50 }, (_, i) => `t/0@${i}`),
    )
  }))

test('sendBatch resolves once with runs; an empty batch with none', () =>
  producerWorld({ topics: { t: 2 } }, async ({ producer }) => {
    await producer.sendBatch([{ topic: 't', partition: 1, value: 'x' }])
    const records = Array.from({ length: 10 }, (_, i) => ({ topic: 't', partition: i % 2, value: `${i}` }))
    const results = await producer.sendBatch(records)
    assert.equal(
      [...results].sort((a, b) => a.partition - b.partition),
      [
        { topic: 't', partition: 0, baseOffset: 0, count: 5 },
        { topic: 't', partition: 1, baseOffset: 1, count: 5 },
      ],
    )
    assert.equal(await producer.sendBatch([]), [])
  }))

test('timestamps: the record’s own, else the clock; LogAppendTime gives the broker’s', () =>
  producerWorld(
    {
      topics: [
        { name: 't', partitions: 1 },
        { name: 'l', partitions: 1, config: { 'message.timestamp.type': 'LogAppendTime' } },
      ],
    },
    async ({ producer, client, broker }) => {
      const now = client.scope.scheduler.now()
      const [own, clock] = await Promise.all([
        producer.send({ topic: 't', value: 'a', timestamp: 12_345 }),
        producer.send({ topic: 't', value: 'b' }),
      ])
      assert.is(own.timestamp, 12_345)
      assert.ok(clock.timestamp >= now && clock.timestamp < now + 100, `${clock.timestamp} ${now}`)
      assert.equal(
        broker.records('t', 0).map(({ timestamp }) => timestamp),
        [12_345, clock.timestamp],
      )
      const appended = await producer.send({ topic: 'l', value: 'c', timestamp: 1 })
      assert.ok(appended.timestamp >= now, `${appended.timestamp}`)
      assert.is(broker.records('l', 0)[0]!.timestamp, appended.timestamp)
    },
  ))

test('keys, values and headers arrive as they are: null, empty, bytes, text, repeated headers', () =>
  producerWorld({}, async ({ producer, broker }) => {
    const at = { topic: 't', partition: 0 }
    const bytes = new Uint8Array([0, 255, 128])
    await producer.sendBatch([
      { ...at, key: null, value: null },
      { ...at, value: '' },
      { ...at, key: '', value: 'ключ ✓' },
      { ...at, key: bytes, value: bytes },
      {
        ...at,
        key: '__proto__',
        value: 'h',
        headers: [
          { key: 'a', value: '1' },
          { key: 'a', value: bytes },
          { key: '__proto__', value: null },
        ],
      },
    ])
    const log = broker.records('t', 0)
    assert.equal(
      log.map(({ key, value }) => [key?.toString('hex') ?? null, value?.toString('hex') ?? null]),
      [
        [null, null],
        [null, ''],
        ['', Buffer.from('ключ ✓').toString('hex')],
        ['00ff80', '00ff80'],
        [Buffer.from('__proto__').toString('hex'), '68'],
      ],
    )
    assert.equal(
      log[4]!.headers.map(({ key, value }) => [key, value?.toString('hex') ?? null]),
      [
        ['a', '31'],
        ['a', '00ff80'],
        ['__proto__', null],
      ],
    )
  }))

test('append takes spans and tells its observer once per run, in order', () =>
  producerWorld({ topics: { t: 2 } }, async ({ producer, values }) => {
    await producer.sendBatch([0, 1].map((partition) => ({ topic: 't', partition, value: 'w' })))
    const told: string[] = []
    const observer = (name: string): DeliveryObserver => ({
      delivered: (_topic, partition, baseOffset, count) =>
        void told.push(`${name} ${partition}@${baseOffset}+${count}`),
      failed: () => void told.push(`${name} failed`),
    })
    const [a, b] = [observer('a'), observer('b')]
    const bytes = Buffer.from('..value..')
    const put = (partition: number, who: DeliveryObserver | undefined): boolean =>
      producer.append('t', partition, 1, null, 0, 0, bytes, 2, 7, undefined, who)
    for (const who of [a, a, b, a, undefined]) assert.is(put(0, who), true)
    put(1, b)
    await producer.flush()
    assert.equal(told.sort(), ['a 0@1+2', 'a 0@4+1', 'b 0@3+1', 'b 1@1+1'])
    assert.equal(values().slice(1), Array(5).fill('value'))
  }))

test('bytes are copied during the call', () =>
  producerWorld({}, async ({ producer, values }) => {
    const bytes = Buffer.from('before')
    const first = producer.send({ topic: 't', value: bytes })
    bytes.fill('x')
    await first
    bytes.write('second')
    const second = producer.send({ topic: 't', value: bytes })
    bytes.fill('y')
    await second
    assert.equal(values(), ['before', 'second'])
  }))

// ---- where records go

const keys = ['', 'a', 'user-3', 'ключ', 'x'.repeat(40), 'x'.repeat(2000), '\u{1f600}']
const partitioners: { name: string; option: ProducerOptions['partitioner']; expect: (key: Buffer) => number }[] = [
  { name: 'murmur2', option: undefined, expect: (key) => murmur2Partition(murmur2(key, 0, key.length), 7) },
  { name: 'fnv1a', option: 'fnv1a', expect: (key) => fnv1aPartition(fnv1a(key, 0, key.length), 7) },
  { name: 'a function', option: ((key, n) => key.length % n) as PartitionFunction, expect: (key) => key.length % 7 },
]
for (const { name, option, expect } of partitioners) {
  test(`partitioner ${name}: the same partition for text, bytes and spans`, () =>
    producerWorld(
      { topics: { t: 7 }, producer: option === undefined ? {} : { partitioner: option } },
      async ({ producer, broker }) => {
        for (const key of keys) {
          const bytes = Buffer.from(key)
          const partition = expect(bytes)
          assert.is((await producer.send({ topic: 't', key, value: 'text' })).partition, partition, key)
          assert.is(
            (await producer.send({ topic: 't', key: new Uint8Array(bytes), value: 'bytes' })).partition,
            partition,
          )
          const before = broker.offsets('t', partition).next
          const padded = Buffer.concat([Buffer.from('<'), bytes, Buffer.from('>')])
          producer.append('t', -1, 1, padded, 1, 1 + bytes.length, null, 0, 0, undefined, undefined)
          await producer.flush()
          assert.is(broker.offsets('t', partition).next, before + 1)
        }
      },
    ))
}

for (const wrong of [-1, 7, 1.5, Number.NaN]) {
  test(`a partition function that returns ${wrong} fails its record with a typed error`, () =>
    producerWorld({ topics: { t: 7 }, producer: { partitioner: () => wrong } }, async ({ producer }) => {
      const error = await failure(producer.send({ topic: 't', key: 'k', value: 'v' }))
      assert.is(error.code, 'ERR_RECORD')
      assert.match(error.message, /partitions 0 to 6/)
      await producer.send({ topic: 't', partition: 3, key: 'k', value: 'v' })
    }))
}

test('null keys stick to a partition within a turn and spread over turns', () =>
  producerWorld({ topics: { t: 4 } }, async ({ producer }) => {
    await producer.send({ topic: 't', value: 'x' })
    const used = new Set<number>()
    for (let turn = 0; turn < 40; turn++) {
      const results = await Promise.all(Array.from({ length: 20 }, () => producer.send({ topic: 't', value: 'x' })))
      assert.is(new Set(results.map(({ partition }) => partition)).size, 1)
      used.add(results[0]!.partition)
    }
    assert.is(used.size, 4)
  }))

test('null keys avoid a partition without a leader', () =>
  producerWorld({ topics: { t: 3 } }, async ({ producer, cluster, client }) => {
    cluster.faults.moveLeader('t', 1, -1)
    await client.metadata.require(['t'])
    for (let turn = 0; turn < 30; turn++) {
      assert.is.not((await producer.send({ topic: 't', value: 'x' })).partition, 1)
    }
  }))

// ---- versions, codecs, acks

for (const [maxVersions, version] of [
  [{}, 13],
  [{ Metadata: 9 }, 12],
  [{ Produce: 7 }, 7],
  [{ Produce: 3 }, 3],
] as const) {
  test(`Produce is spoken in version ${version} with ${JSON.stringify(maxVersions)}`, () =>
    producerWorld({ client: { maxVersions } }, async ({ producer, sent, values }) => {
      await producer.sendBatch(numbered(3))
      assert.is(sent[0]!.version, version)
      assert.equal(values(), numbers(3))
    }))
}

for (const compression of ['gzip', 'snappy', 'lz4'] as const) {
  test(`batches travel compressed: ${compression}`, () =>
    producerWorld({ producer: { compression } }, async ({ producer, sent, values }) => {
      const value = 'abcdefgh'.repeat(50)
      await producer.sendBatch(Array.from({ length: 100 }, () => ({ topic: 't', partition: 0, value })))
      assert.is(sent[0]!.compression, compression)
      assert.ok(sent[0]!.bytes < 20_000)
      assert.equal(values(), Array(100).fill(value))
    }))
}

for (const acks of ['leader', 'none'] as const) {
  test(`acks '${acks}': delivered, without sequences`, () =>
    producerWorld({ producer: { acks } }, async ({ producer, sent, values, world }) => {
      const [first] = await producer.sendBatch(numbered(10))
      assert.is(first!.baseOffset, acks === 'none' ? -1 : 0)
      assert.is(sent[0]!.sequence, -1)
      await world.until('they are there', () => values().length === 10)
      assert.equal(values(), numbers(10))
    }))
}

const refusedOptions: { options: ProducerOptions; says: RegExp }[] = [
  { options: { acks: 'leader', idempotent: true }, says: /idempotent needs acks 'all'/ },
  { options: { maxInFlight: 6 }, says: /at most 5 when idempotent/ },
  { options: { maxBatchBytes: 2_000_000, maxRequestBytes: 1_000_000 }, says: /must not exceed maxRequestBytes/ },
  { options: { lingerMs: -1, acks: 'some' } as unknown as ProducerOptions, says: /acks must be.*lingerMs must be/ },
]
for (const { options, says } of refusedOptions) {
  test(`options ${JSON.stringify(options)} are refused`, () =>
    producerWorld({}, async ({ client }) => {
      assert.throws(
        () => client.producer(options),
        (cause: Error & { code: string }) => cause.code === 'ERR_OPTIONS' && says.test(cause.message),
      )
    }))
}

test.run()
