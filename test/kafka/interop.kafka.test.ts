/**
 * Foreign clients on the embedded broker: kcat (librdkafka), kafkajs and Kafka's own Java client produce in every codec
 * they have, consume, and form groups. The broker must not be our own client's private friend.
 */
import * as assert from 'uvu/assert'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Broker } from '../../src/broker/index.ts'
import { defaultScope } from '../../src/net/index.ts'
import { fetch } from '../../src/protocol/api/fetch.ts'
import { BatchScanner } from '../../src/protocol/record-view.ts'
import { RawClient } from '../broker/support/kit.ts'
import { kafkaJars } from '../support/kafka-jars.ts'
import { suite, until } from '../support/suite.ts'

const test = suite('foreign clients on the embedded broker', { deadlineMs: 60_000 })
const root = join(import.meta.dirname, '..', '..', '..')
const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** A running foreign program. */
class Program {
  out = ''
  err = ''
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess

  constructor(command: string, args: readonly string[], input?: string) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    children.add(this.#child)
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text
    })
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', (cause) =>
        reject(new Error(`cannot run ${command} (apt-get install kcat; JDK 17): ${cause.message}`)),
      )
      this.#child.on('close', (code) => {
        children.delete(this.#child)
        resolve({ code, out: this.out, err: this.err })
      })
    })
    this.ended.catch(() => {})
    this.#child.stdin?.on('error', () => {})
    this.#child.stdin?.end(input ?? '')
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.#child.kill(signal)
    return this.ended
  }
}

async function run(command: string, args: readonly string[], input?: string): Promise<string> {
  const { code, out, err } = await new Program(command, args, input).ended
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${err}`)
  return out
}

const kcat = (args: readonly string[], input?: string): Promise<string> => run('kcat', args, input)

/** Codecs of the batches of a partition, as the wire has them. */
async function codecs(broker: Broker, topic: string, partition: number): Promise<string[]> {
  const client = await RawClient.dial({ scope: defaultScope() }, broker.addresses[0]!)
  const partitions = [{ partition, fetchOffset: 0, partitionMaxBytes: 1 << 26 }]
  const answer = await client.ask(fetch, 11, {
    maxWaitMs: 0,
    minBytes: 0,
    topics: [{ topic, partitions }],
    forgottenTopicsData: [],
  })
  client.close()
  const scanner = new BatchScanner(answer.responses[0]?.partitions[0]?.records ?? Buffer.alloc(0))
  const found: string[] = []
  for (let view = scanner.next(); view !== undefined; view = scanner.next()) {
    view.checkCrc()
    found.push(view.compression)
  }
  return found
}

// ---- kcat

/** Compressible, so that no codec gives up on it. */
const lines = Array.from({ length: 200 }, (_, i) => `key-${i}:${'value '.repeat(20)}${i}`)

for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
  test(`kcat produces and consumes with ${codec}`, async () => {
    await using broker = await Broker.start({ topics: { t: 1 } })
    await kcat(
      ['-b', broker.brokers, '-P', '-t', 't', '-K', ':', '-z', codec, '-H', 'who=kcat', '-X', 'linger.ms=20'],
      lines.join('\n'),
    )
    const used = new Set(await codecs(broker, 't', 0))
    assert.equal([...used], [codec])
    const out = await kcat(['-b', broker.brokers, '-C', '-t', 't', '-e', '-q', '-f', '%o|%k:%s|%h\n'])
    assert.equal(
      out.trim().split('\n'),
      lines.map((line, i) => `${i}|${line}|who=kcat`),
    )
  })
}

test('kcat: idempotent and acks 0, 1, all; several partitions; metadata; offsets by time', async () => {
  await using broker = await Broker.start({ topics: { t: 3 }, nodes: 2 })
  for (const settings of [['enable.idempotence=true'], ['acks=0'], ['acks=1'], ['acks=all']]) {
    const flags = settings.flatMap((setting) => ['-X', setting])
    await kcat(['-b', broker.brokers, '-P', '-t', 't', '-K', ':', ...flags], lines.join('\n'))
  }
  // acks 0 says nothing: it may still be on its way
  await until(() => [0, 1, 2].reduce((sum, p) => sum + broker.offsets('t', p).next, 0) === lines.length * 4)
  const read = await kcat(['-b', broker.brokers, '-C', '-t', 't', '-e', '-q', '-f', '%k\n'])
  assert.is(read.trim().split('\n').length, lines.length * 4)
  const listed = JSON.parse(await kcat(['-b', broker.brokers, '-L', '-J'])) as {
    brokers: { id: number; name: string }[]
    topics: { topic: string; partitions: { partition: number; leader: number }[] }[]
  }
  assert.equal(listed.brokers.map((b) => b.name).sort(), [...broker.addresses].sort())
  assert.equal(
    listed.topics.map((t) => [t.topic, t.partitions.map((p) => p.leader).sort()]),
    [['t', [1, 1, 2]]],
  )
  const offsets = await kcat(['-b', broker.brokers, '-Q', '-t', 't:0:-1', '-t', 't:0:-2', '-t', 't:0:1'])
  assert.match(offsets, /t \[0\] offset/)
})

/** The partitions a kcat in group mode says it has now. */
function assigned(program: Program): string[] {
  const last =
    program.err
      .split('\n')
      .filter((line) => /rebalanced .*(assigned|revoked)/.test(line))
      .pop() ?? ''
  return last.includes('assigned') ? [...last.matchAll(/t \[(\d)\]/g)].map((match) => match[1]!) : []
}

test('kcat: two members share a group, one leaves, one is static and comes back', async () => {
  await using broker = await Broker.start({ topics: { t: 4 } })
  const member = (...more: readonly string[]): Program =>
    new Program('kcat', [
      '-b',
      broker.brokers,
      '-u',
      '-G',
      'g',
      '-X',
      'auto.offset.reset=earliest',
      '-X',
      'heartbeat.interval.ms=200',
      '-X',
      'session.timeout.ms=6000',
      '-X',
      'auto.commit.interval.ms=200',
      ...more.flatMap((setting) => ['-X', setting]),
      '-f',
      '%k\n',
      't',
    ])
  const first = member()
  await until(() => assigned(first).length === 4, { what: 'the first has all', deadlineMs: 20_000 })
  const second = member('group.instance.id=fixed')
  await until(() => assigned(first).length === 2 && assigned(second).length === 2, {
    what: 'they share',
    deadlineMs: 20_000,
  })
  await kcat(['-b', broker.brokers, '-P', '-t', 't', '-K', ':'], lines.join('\n'))
  const seen = (): number => (first.out + second.out).split('\n').filter(Boolean).length
  await until(() => seen() === lines.length, { what: 'all was read once' })
  assert.ok(first.out !== '' && second.out !== '')
  await until(
    () => [...(broker.committedOffsets('g').get('t')?.values() ?? [])].reduce((a, b) => a + b, 0) === lines.length,
    { what: 'all is committed' },
  )
  const before = broker.describeGroup('g')
  await second.stop('SIGKILL')
  const again = member('group.instance.id=fixed')
  await until(() => assigned(again).length === 2, { what: 'the static member has its partitions again' })
  assert.is(broker.describeGroup('g')?.generation, before?.generation, 'without a rebalance')
  await first.stop()
  await until(() => assigned(again).length === 4, { what: 'the last has all', deadlineMs: 20_000 })
  await again.stop()
  assert.is(again.out, '', 'nothing was read twice')
})

test('kcat follows a leader that moves to another node', async () => {
  await using broker = await Broker.start({ topics: { t: 1 }, nodes: 2 })
  const reader = new Program('kcat', ['-b', broker.brokers, '-u', '-C', '-t', 't', '-f', '%s\n'])
  const settings = ['-X', 'enable.idempotence=true']
  await kcat(['-b', broker.brokers, '-P', '-t', 't', ...settings], 'before')
  await until(() => reader.out === 'before\n')
  broker.faults.moveLeader('t', 0, 2)
  await kcat(['-b', broker.brokers, '-P', '-t', 't', ...settings], 'after')
  await until(() => reader.out === 'before\nafter\n', { deadlineMs: 20_000 })
  await reader.stop()
})

// ---- kafkajs: the little of it that is used here

interface KafkaJs {
  Kafka: new (config: {
    brokers: string[]
    clientId: string
    logLevel: number
    retry?: object
  }) => {
    admin(): KafkaJsAdmin
    producer(options: object): KafkaJsProducer
    consumer(options: object): KafkaJsConsumer
  }
}
interface Connectable {
  connect(): Promise<void>
  disconnect(): Promise<void>
}
interface KafkaJsAdmin extends Connectable {
  createTopics(options: object): Promise<boolean>
  listTopics(): Promise<string[]>
  deleteTopics(options: object): Promise<void>
  fetchTopicMetadata(options: object): Promise<{ topics: { name: string; partitions: unknown[] }[] }>
  fetchOffsets(options: object): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>
  fetchTopicOffsets(topic: string): Promise<{ partition: number; offset: string; low: string; high: string }[]>
  describeConfigs(
    options: object,
  ): Promise<{ resources: { configEntries: { configName: string; configValue: string }[] }[] }>
}
interface KafkaJsProducer extends Connectable {
  send(options: object): Promise<{ partition: number; baseOffset: string; errorCode: number }[]>
}
interface KafkaJsMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly offset: string
  readonly headers: Record<string, Buffer>
}
interface KafkaJsConsumer extends Connectable {
  subscribe(options: object): Promise<void>
  run(options: { eachMessage(payload: { partition: number; message: KafkaJsMessage }): Promise<void> }): Promise<void>
  on(event: string, listener: (event: { payload: { memberAssignment: Record<string, number[]> } }) => void): void
}

const benchPackage = join(root, 'bench', 'package.json')
process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'

function kafkaJs(brokers: string) {
  const path = join(root, 'bench', 'node_modules', 'kafkajs')
  if (!existsSync(path)) throw new Error('kafkajs is missing: npm ci --prefix bench')
  const { Kafka } = createRequire(benchPackage)('kafkajs') as KafkaJs
  return new Kafka({
    brokers: brokers.split(','),
    clientId: 'interop',
    logLevel: 0,
    retry: { initialRetryTime: 50, retries: 8 },
  })
}

test('kafkajs: topics, configs, offsets by its admin client', async () => {
  await using broker = await Broker.start({ nodes: 2 })
  const admin = kafkaJs(broker.brokers).admin()
  await admin.connect()
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
  assert.is(await admin.createTopics({ topics: [{ topic: 'made', numPartitions: 3, configEntries }] }), true)
  assert.is(await admin.createTopics({ topics: [{ topic: 'made', numPartitions: 3 }] }), false)
  assert.equal(await admin.listTopics(), ['made'])
  assert.is((await admin.fetchTopicMetadata({ topics: ['made'] })).topics[0]?.partitions.length, 3)
  const described = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: 'made', configNames: ['cleanup.policy'] }],
  })
  assert.is(described.resources[0]?.configEntries[0]?.configValue, 'compact')
  assert.equal(
    (await admin.fetchTopicOffsets('made')).map((row) => [row.low, row.high]),
    [
      ['0', '0'],
      ['0', '0'],
      ['0', '0'],
    ],
  )
  await admin.deleteTopics({ topics: ['made'] })
  assert.equal(await admin.listTopics(), [])
  await admin.disconnect()
  await until(() => broker.connectionCount === 0)
})

for (const [what, compression, idempotent, codec] of [
  ['plain', 0, false, 'none'],
  ['gzip', 1, false, 'gzip'],
  ['idempotent gzip', 1, true, 'gzip'],
] as const) {
  test(`kafkajs produces and consumes: ${what}`, async () => {
    await using broker = await Broker.start({ topics: { t: 2 } })
    const kafka = kafkaJs(broker.brokers)
    const producer = kafka.producer({ idempotent, maxInFlightRequests: 1, allowAutoTopicCreation: false })
    await producer.connect()
    const expected: string[] = []
    for (let round = 0; round < 3; round++) {
      const messages = Array.from({ length: 50 }, (_, i) => ({
        key: `k${i}`,
        value: `${round}/${i} ${'v'.repeat(100)}`,
        headers: { h: 'x' },
      }))
      expected.push(...messages.map((message) => `${message.key}=${message.value}`))
      for (const row of await producer.send({ topic: 't', compression, acks: -1, messages }))
        assert.is(row.errorCode, 0)
    }
    await producer.send({ topic: 't', acks: -1, messages: [{ key: 'gone', value: null }] })
    await producer.disconnect()
    assert.ok((await codecs(broker, 't', 0)).includes(codec))
    const consumer = kafka.consumer({ groupId: 'g', sessionTimeout: 10_000, maxWaitTimeInMs: 100 })
    const got: string[] = []
    await consumer.connect()
    await consumer.subscribe({ topics: ['t'], fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) => {
        got.push(`${message.key?.toString()}=${message.value?.toString() ?? null}`)
        if (message.value !== null) assert.is(message.headers['h']?.toString(), 'x')
      },
    })
    await until(() => got.length >= expected.length + 1, { what: 'all was read', deadlineMs: 20_000 })
    await consumer.disconnect()
    assert.equal(got.sort(), [...expected, 'gone=null'].sort())
    await until(() => broker.connectionCount === 0)
  })
}

test('kafkajs: a group of two shares partitions, commits, and goes on where it was', async () => {
  await using broker = await Broker.start({ topics: { t: 4 } })
  const kafka = kafkaJs(broker.brokers)
  const got: string[] = []
  const shares = new Map<string, number>()
  const join = async (name: string): Promise<KafkaJsConsumer> => {
    const consumer = kafka.consumer({
      groupId: 'g',
      sessionTimeout: 10_000,
      heartbeatInterval: 200,
      maxWaitTimeInMs: 100,
    })
    consumer.on(
      'consumer.group_join',
      ({ payload }) => void shares.set(name, payload.memberAssignment['t']?.length ?? 0),
    )
    await consumer.connect()
    await consumer.subscribe({ topics: ['t'], fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => void got.push(message.value?.toString() ?? '') })
    return consumer
  }
  const first = await join('first')
  await until(() => shares.get('first') === 4, { what: 'the first has all', deadlineMs: 20_000 })
  const second = await join('second')
  await until(() => shares.get('first') === 2 && shares.get('second') === 2, { what: 'they share', deadlineMs: 20_000 })
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  const send = (prefix: string) =>
    producer.send({
      topic: 't',
      messages: Array.from({ length: 40 }, (_, i) => ({ key: `${i}`, value: `${prefix}${i}` })),
    })
  await send('a')
  await until(() => got.length === 40, { what: 'all was read once' })
  await first.disconnect()
  await until(() => shares.get('second') === 4, { what: 'the second has all', deadlineMs: 20_000 })
  await second.disconnect()
  const admin = kafka.admin()
  await admin.connect()
  const rows = (await admin.fetchOffsets({ groupId: 'g', topics: ['t'] }))[0]?.partitions ?? []
  assert.is(
    rows.reduce((sum, row) => sum + Math.max(0, Number(row.offset)), 0),
    40,
  )
  await admin.disconnect()
  await send('b')
  const third = await join('third')
  await until(() => got.length >= 80, { what: 'the rest was read', deadlineMs: 20_000 })
  assert.equal(got.slice(40).sort(), Array.from({ length: 40 }, (_, i) => `b${i}`).sort())
  await third.disconnect()
  await producer.disconnect()
})

test('kafkajs survives a broker that crashes and comes back', async () => {
  await using broker = await Broker.start({ topics: { t: 1 } })
  const kafka = kafkaJs(broker.brokers)
  const got: string[] = []
  const consumer = kafka.consumer({
    groupId: 'g',
    sessionTimeout: 10_000,
    heartbeatInterval: 200,
    maxWaitTimeInMs: 100,
  })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false })
  await Promise.all([consumer.connect(), producer.connect()])
  await consumer.subscribe({ topics: ['t'], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => void got.push(message.value?.toString() ?? '') })
  const send = (value: string) => producer.send({ topic: 't', acks: -1, messages: [{ value }] })
  await send('before')
  await until(() => got.length === 1, { what: 'the first was read' })
  broker.crash()
  const sending = send('after')
  await broker.restart()
  await sending
  await until(() => got.includes('after'), { what: 'the second was read', deadlineMs: 30_000 })
  assert.equal(
    broker.records('t', 0).map((record) => record.value?.toString()),
    ['before', 'after'],
  )
  await Promise.all([consumer.disconnect(), producer.disconnect()])
})

// ---- Java

for (const version of ['3.9', '4.3']) {
  test(
    `Kafka's Java client ${version}: admin, every codec, a group of two, commits`,
    async () => {
      await using broker = await Broker.start({ nodes: 2 })
      const classPath = join(await kafkaJars(version), '*')
      const program = join(root, 'test', 'kafka', 'java', 'BrokerInterop.java')
      const jvm = [
        '-Xmx256m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
      ]
      const out = await run('java', [...jvm, '-cp', classPath, program, broker.brokers, 'java-topic'])
      assert.match(out, /^ok 1000$/m)
      const used = new Set<string>()
      for (let p = 0; p < 4; p++)
        for (const codec of await codecs(broker, 'java-topic', p).catch(() => [])) used.add(codec)
      assert.ok(used.size >= 4, [...used].join())
    },
    { deadlineMs: 120_000 },
  )
}
test.run()
