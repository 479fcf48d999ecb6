/**
 * Producers and group consumers in a world where everything goes wrong: delays, cuts, lost responses, error codes, stalls,
 * broker crashes, leader and coordinator moves, consumers killed and replaced. In the end: every record is in its log once
 * and in the order it was sent (idempotence within a session), every record was consumed at least once, no committed
 * offset ever passed a record that nobody had consumed, and the committed offsets are the ends of the logs.
 */
import * as assert from 'uvu/assert'
import type { Consumer } from '../../src/client/consumer/consumer.ts'
import { Client } from '../../src/client/index.ts'
import { rejects, suite } from '../support/suite.ts'
import { SimCluster } from './cluster.ts'
import type { Process } from './process.ts'
import type { SeededRandom } from './random.ts'
import { count, simDeadlineMs, simulate, type Tally } from './seeds.ts'
import { traceWire } from './wire-trace.ts'
import type { World } from './world.ts'

const test = suite('simulation: producers and consumers', { deadlineMs: simDeadlineMs() })
const topic = 't'

/** Retriable errors that a healthy cluster may answer at any time. */
const errorsOf = {
  Produce: [
    'NOT_LEADER_OR_FOLLOWER',
    'LEADER_NOT_AVAILABLE',
    'REQUEST_TIMED_OUT',
    'NOT_ENOUGH_REPLICAS',
    'NETWORK_EXCEPTION',
  ],
  Fetch: [
    'NOT_LEADER_OR_FOLLOWER',
    'LEADER_NOT_AVAILABLE',
    'FENCED_LEADER_EPOCH',
    'UNKNOWN_LEADER_EPOCH',
    'KAFKA_STORAGE_ERROR',
  ],
  Metadata: ['LEADER_NOT_AVAILABLE'],
  FindCoordinator: ['COORDINATOR_NOT_AVAILABLE'],
  JoinGroup: ['NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS', 'COORDINATOR_NOT_AVAILABLE', 'UNKNOWN_MEMBER_ID'],
  SyncGroup: ['NOT_COORDINATOR', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION'],
  Heartbeat: ['NOT_COORDINATOR', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION'],
  OffsetCommit: ['NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID'],
  OffsetFetch: ['NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS', 'UNSTABLE_OFFSET_COMMIT'],
  InitProducerId: ['COORDINATOR_LOAD_IN_PROGRESS', 'COORDINATOR_NOT_AVAILABLE', 'NOT_COORDINATOR'],
  ListOffsets: ['NOT_LEADER_OR_FOLLOWER', 'LEADER_NOT_AVAILABLE'],
} as const
type FaultyApi = keyof typeof errorsOf
const faultyApis = Object.keys(errorsOf) as FaultyApi[]

interface Plan {
  readonly partitions: number
  readonly records: number
  readonly consumers: number
  readonly nodes: number
  /** Kinds of trouble that this world knows: swarm testing. */
  readonly kinds: readonly Trouble[]
  readonly troubles: number
}
const troubles = [
  'error',
  'lose',
  'cut',
  'delay',
  'cutAll',
  'isolate',
  'stall',
  'crash',
  'stallBroker',
  'leader',
  'coordinator',
  'killConsumer',
  'closeConsumer',
] as const
type Trouble = (typeof troubles)[number]

function draw(random: SeededRandom): Plan {
  const share = random.pick([0.15, 0.4, 0.8])
  const kinds = troubles.filter(() => random.chance(share))
  return {
    partitions: random.between(1, 4),
    records: random.between(50, 300),
    consumers: random.between(1, 3),
    nodes: random.between(1, 3),
    kinds,
    troubles: kinds.length === 0 ? 0 : random.between(1, 12),
  }
}

/** What all consumers of a world have seen together. */
class Seen {
  /** partition → offset → value. */
  readonly #partitions = new Map<number, Map<number, string>>()

  add(partition: number, offset: number, value: string): void {
    let offsets = this.#partitions.get(partition)
    if (offsets === undefined) {
      offsets = new Map()
      this.#partitions.set(partition, offsets)
    }
    const before = offsets.get(offset)
    if (before !== undefined && before !== value) {
      throw new Error(`partition ${partition}, offset ${offset} was ${before} and is now ${value}`)
    }
    offsets.set(offset, value)
  }

  /** Whether all offsets below `end` were seen. */
  complete(partition: number, end: number): boolean {
    const offsets = this.#partitions.get(partition)
    for (let offset = 0; offset < end; offset++) if (offsets?.has(offset) !== true) return false
    return true
  }
}

const clientOptions = { requestTimeoutMs: 1500, connectTimeoutMs: 1000, metadataMaxAgeMs: 5000 }

class Run {
  readonly world: World
  readonly plan: Plan
  readonly cluster: SimCluster
  readonly tally: Tally
  readonly seen = new Seen()
  readonly #consumers: { process: Process; client: Client; consumer: Consumer }[] = []
  #nextConsumer = 0
  sent = 0
  acked = 0

  constructor(world: World, plan: Plan, cluster: SimCluster, tally: Tally) {
    this.world = world
    this.plan = plan
    this.cluster = cluster
    this.tally = tally
  }

  /** Sends values 0, 1, 2 … under a few keys; resolves when all are acknowledged. */
  async produce(): Promise<void> {
    const process = this.world.process('producer')
    const client = new Client({
      ...clientOptions,
      brokers: this.cluster.brokers,
      scope: process.scope,
      clientId: 'producer',
    })
    const random = this.world.random.fork()
    const producer = client.producer({ deliveryTimeoutMs: 600_000, maxBatchBytes: random.pick([1024, 100_000]) })
    const sends: Promise<void>[] = []
    const pause = (ms: number): Promise<void> =>
      new Promise((resolve) => void process.scope.scheduler.setTimer(ms, resolve))
    while (this.sent < this.plan.records) {
      const burst = random.pick([1, 1, 3, 20])
      for (let i = 0; i < burst && this.sent < this.plan.records; i++) {
        const value = String(this.sent)
        this.sent += 1
        const send = producer.send({ topic, key: `k${random.int(20)}`, value }).then(() => {
          this.acked += 1
        })
        sends.push(send)
      }
      await pause(random.between(1, 100))
    }
    await Promise.all(sends)
    await client.close()
    process.kill()
  }

  /** After each commit: no committed offset may pass a record that nobody was given. */
  watchCommits(): void {
    const check = (): void => {
      for (const [partition, offset] of this.cluster.broker.committedOffsets('g').get(topic) ?? []) {
        if (this.seen.complete(partition, offset)) continue
        this.world.fail(
          new Error(`partition ${partition}: ${offset} is committed, but not all before it were consumed`),
        )
      }
    }
    this.cluster.faults.call('OffsetCommit', 'after', check, { times: Number.POSITIVE_INFINITY })
  }

  startConsumer(): void {
    const name = `consumer-${this.#nextConsumer++}`
    const process = this.world.process(name)
    const client = new Client({ ...clientOptions, brokers: this.cluster.brokers, scope: process.scope, clientId: name })
    const consumer = client.consumer({
      groupId: 'g',
      sessionTimeoutMs: 6000,
      heartbeatIntervalMs: 500,
      rebalanceTimeoutMs: 4000,
      autoCommitIntervalMs: this.world.random.pick([100, 1000]),
      maxWaitMs: 100,
    })
    this.#consumers.push({ process, client, consumer })
    this.#consume(consumer).catch((cause: unknown) => {
      if (process.alive) this.world.fail(new Error(`${name} ended`, { cause }))
    })
  }

  async #consume(consumer: Consumer): Promise<void> {
    consumer.subscribe([topic])
    for await (const chunk of consumer.batches()) {
      for (const record of chunk.records()) this.seen.add(record.partition, record.offset, String(record.value))
    }
  }

  /** One trouble of the kinds this world knows. */
  async trouble(): Promise<void> {
    const { world, cluster, plan } = this
    const { random } = world
    const kind = random.pick(plan.kinds)
    count(this.tally, kind)
    const api = random.pick(faultyApis)
    const match = { times: random.between(1, 4), skip: random.between(0, 3) }
    const someone = random.pick(['producer', ...this.#consumers.map((one) => one.process.name)])
    const partition = random.int(plan.partitions)
    switch (kind) {
      case 'error': {
        const error = random.pick(errorsOf[api] as readonly (typeof errorsOf)[FaultyApi][number][])
        const when = random.pick(['before', 'before', 'after'] as const)
        world.note(`${api} answers ${error} (${when}, ${match.times} times)`)
        const perPartition = api === 'Produce' || api === 'Fetch' || api === 'ListOffsets' || api === 'OffsetCommit'
        cluster.faults.answer(api, error, { ...match, when, ...(perPartition ? { topic } : {}) })
        break
      }
      case 'lose':
        world.note(`${api} loses ${match.times} responses`)
        cluster.faults.loseResponse(api, match)
        break
      case 'cut': {
        const when = random.pick(['before', 'after'] as const)
        world.note(`${api} is cut ${when}, ${match.times} times`)
        cluster.faults.cut(api, when, match)
        break
      }
      case 'delay': {
        const ms = random.pick([10, 500, 3000])
        const when = random.pick(['before', 'after'] as const)
        world.note(`${api} is delayed by ${ms} ms ${when}, ${match.times} times`)
        cluster.faults.delay(api, ms, { ...match, when })
        break
      }
      case 'cutAll':
        world.cut(random.chance(0.5) ? undefined : someone)
        break
      case 'isolate':
        world.isolate(someone, random.pick([100, 1000, 8000]))
        break
      case 'stall': {
        const one = random.pick(this.#consumers)
        const ms = random.pick([100, 2000, 10_000])
        world.note(`${one.process.name} stands still for ${ms} ms`)
        one.process.stall(ms)
        break
      }
      case 'stallBroker':
        cluster.stall(random.pick([50, 1000, 8000]))
        break
      case 'crash':
        cluster.crash()
        await world.sleep(random.pick([10, 500, 5000]))
        await cluster.restart()
        this.watchCommits()
        break
      case 'leader': {
        const node = random.chance(0.2) ? -1 : random.pick(cluster.nodeIds)
        world.note(`the leader of ${partition} is ${node}`)
        cluster.faults.moveLeader(topic, partition, node)
        if (node === -1) {
          await world.sleep(random.between(10, 2000))
          cluster.faults.moveLeader(topic, partition, random.pick(cluster.nodeIds))
        }
        break
      }
      case 'coordinator': {
        const node = random.pick(cluster.nodeIds)
        world.note(`the coordinator is ${node}`)
        cluster.faults.moveCoordinator('g', node)
        break
      }
      case 'killConsumer':
      case 'closeConsumer': {
        const at = random.int(this.#consumers.length)
        const [one] = this.#consumers.splice(at, 1)
        if (one === undefined) break
        world.note(`${one.process.name} is ${kind === 'killConsumer' ? 'killed' : 'closed'}`)
        if (kind === 'closeConsumer') await world.until('it runs', () => !one.process.stalled)
        if (kind === 'killConsumer') one.process.kill()
        else {
          void one.consumer
            .close()
            .then(() => one.client.close())
            .then(() => one.process.kill())
        }
        this.startConsumer()
      }
    }
  }

  /** Ends of the logs. */
  ends(): number[] {
    return Array.from({ length: this.plan.partitions }, (_, i) => this.cluster.broker.offsets(topic, i).next)
  }

  allCommitted(): boolean {
    const committed = this.cluster.broker.committedOffsets('g').get(topic)
    return this.ends().every((end, i) => end === 0 || committed?.get(i) === end)
  }

  async close(): Promise<void> {
    for (const { client, consumer, process } of this.#consumers) {
      await this.world.until(`${process.name} runs again`, () => !process.stalled)
      await this.world.within(`${process.name} closes`, 30_000, consumer.close())
      await this.world.within(`the client of ${process.name} closes`, 5000, client.close())
    }
  }

  /** The whole log of every partition, read by a new consumer. */
  async readBack(): Promise<string[][]> {
    const process = this.world.process('auditor')
    const client = new Client({ ...clientOptions, brokers: this.cluster.brokers, scope: process.scope })
    const consumer = client.consumer({ maxWaitMs: 50 })
    const ends = this.ends()
    consumer.assign(ends.map((_, partition) => ({ topic, partition, offset: 'earliest' })))
    const logs: string[][] = ends.map(() => [])
    const complete = (): boolean => logs.every((log, i) => log.length >= ends[i]!)
    while (!complete()) {
      for (let chunk = consumer.take(); chunk !== undefined; chunk = consumer.take()) {
        for (const record of chunk.records()) logs[record.partition]!.push(String(record.value))
      }
      if (!complete()) await consumer.wait()
    }
    await consumer.close()
    await client.close()
    return logs
  }

  async committed(): Promise<Map<number, number>> {
    const process = this.world.process('committed')
    const client = new Client({ ...clientOptions, brokers: this.cluster.brokers, scope: process.scope })
    const consumer = client.consumer({ groupId: 'g' })
    const partitions = this.ends().map((_, partition) => ({ topic, partition }))
    const offsets = await consumer.committed(partitions)
    await client.close()
    return new Map(offsets.map((one) => [one.partition, one.offset]))
  }
}

async function body(world: World, tally: Tally): Promise<void> {
  const plan = draw(world.random)
  world.note(JSON.stringify(plan))
  const cluster = await SimCluster.start(world, { nodes: plan.nodes, topics: { [topic]: plan.partitions } })
  traceWire(world)
  const run = new Run(world, plan, cluster, tally)
  run.watchCommits()
  const produced = run.produce()
  produced.catch((cause: unknown) => world.fail(new Error('the producer ended', { cause })))
  for (let i = 0; i < plan.consumers; i++) run.startConsumer()
  for (let i = 0; i < plan.troubles; i++) {
    await world.sleep(world.random.pick([5, 100, 1000]) * world.random.next())
    await run.trouble()
  }
  cluster.faults.clear()
  run.watchCommits()
  await world.within('every record is acknowledged', 120_000, produced)
  await world.until('every record is consumed', () => run.ends().every((end, i) => run.seen.complete(i, end)), 120_000)
  await world.until('every record is committed', () => run.allCommitted(), 120_000)
  await run.close()
  const logs = await world.within('the logs are read', 60_000, run.readBack())
  const all: number[] = []
  for (const [partition, log] of logs.entries()) {
    const numbers = log.map(Number)
    for (let i = 1; i < numbers.length; i++) {
      if (numbers[i]! <= numbers[i - 1]!) {
        throw new Error(`partition ${partition} has ${numbers[i - 1]} before ${numbers[i]}: ${log.join()}`)
      }
    }
    all.push(...numbers)
  }
  all.sort((a, b) => a - b)
  assert.equal(
    all,
    Array.from({ length: plan.records }, (_, i) => i),
    'each record is in the log once',
  )
  const committed = await world.within('the committed offsets are read', 60_000, run.committed())
  for (const [i, end] of run.ends().entries()) {
    const offset = committed.get(i) ?? -1
    assert.ok(offset === end || (end === 0 && offset <= 0), `partition ${i}: committed ${offset}, end ${end}`)
  }
  count(tally, 'records', plan.records)
}

test('nothing lost, nothing doubled, everything in order and consumed', async () => {
  await simulate('client', { seeds: 400 }, body)
})

/** Answers that may come although the leader has appended, and one that ends a batch whose first try may be in the log. */
const unsure = [
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'KAFKA_STORAGE_ERROR',
  'TOPIC_AUTHORIZATION_FAILED',
] as const
for (const error of unsure) {
  test(`a sequence that may be in the log is not given to another record (${error})`, async () => {
    await simulate(`sequence after ${error}`, { seeds: 3 }, async (world) => {
      const cluster = await SimCluster.start(world, { nodes: 1, topics: { [topic]: 1 } })
      const { scope } = world.process('producer')
      const client = new Client({ ...clientOptions, brokers: cluster.brokers, scope })
      traceWire(world)
      const producer = client.producer({ deliveryTimeoutMs: 5000 })
      await producer.send({ topic, value: 'before' })
      if (error === 'TOPIC_AUTHORIZATION_FAILED') {
        cluster.faults.cut('Produce', 'after')
        cluster.faults.answer('Produce', error, { topic, skip: 1 })
      } else cluster.faults.answer('Produce', error, { topic, when: 'after', times: Number.POSITIVE_INFINITY })
      await rejects(world.within('the first fails', 10_000, producer.send({ topic, value: 'given up' })))
      cluster.faults.clear()
      await world.within('the second is sent', 20_000, producer.send({ topic, value: 'after' }))
      const values = cluster.broker.records(topic, 0).map((record) => String(record.value))
      assert.ok(values.includes('after'), `acknowledged, but not in the log: ${values.join()}`)
      await client.close()
    })
  })
}

test.run()
