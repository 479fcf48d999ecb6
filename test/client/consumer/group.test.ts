/** Consumers in groups on the embedded broker, in virtual time: joins, leaves, crashes, restarts, commits, moves. */
import * as assert from 'uvu/assert'
import { Client } from '../../../src/client/client.ts'
import { CommitError } from '../../../src/client/consumer/commits.ts'
import type { Consumer } from '../../../src/client/consumer/consumer.ts'
import type { ConsumerEvent } from '../../../src/client/consumer/events.ts'
import type { ConsumerOptions } from '../../../src/client/consumer/options.ts'
import { SimCluster } from '../../sim/cluster.ts'
import type { Process } from '../../sim/process.ts'
import { World } from '../../sim/world.ts'
import { rejects, suite } from '../../support/suite.ts'

const test = suite('consumer groups')

interface Member {
  readonly process: Process
  readonly client: Client
  readonly consumer: Consumer
  readonly events: ConsumerEvent[]
  /** `partition:offset` in the order of processing. */
  readonly seen: string[]
  close(): Promise<void>
}

class Stage {
  readonly world: World
  readonly cluster: SimCluster
  readonly #producer: Client
  readonly #send: ReturnType<Client['producer']>
  #names = 0

  constructor(world: World, cluster: SimCluster) {
    this.world = world
    this.cluster = cluster
    this.#producer = new Client({ brokers: cluster.brokers, scope: world.process('producer').scope })
    this.#send = this.#producer.producer()
  }

  async produce(topic: string, partition: number, values: readonly string[]): Promise<void> {
    await this.#send.sendBatch(values.map((value) => ({ topic, partition, key: null, value })))
  }

  /** A member that reads until it is closed, unless `read` is false. */
  member(options: ConsumerOptions & { topics?: readonly string[]; read?: boolean; name?: string } = {}): Member {
    this.#names += 1
    const { topics = ['t'], read = true, name = `member-${this.#names}`, ...given } = options
    const process = this.world.process(name)
    const client = new Client({
      brokers: this.cluster.brokers,
      scope: process.scope,
      clientId: name,
      requestTimeoutMs: 3_000,
      connectTimeoutMs: 1_000,
    })
    const events: ConsumerEvent[] = []
    const seen: string[] = []
    const consumer = client.consumer({
      groupId: 'g',
      sessionTimeoutMs: 6_000,
      heartbeatIntervalMs: 500,
      rebalanceTimeoutMs: 5_000,
      autoCommitIntervalMs: 200,
      maxWaitMs: 100,
      onEvent: (event) => void events.push(event),
      ...given,
    })
    consumer.subscribe(topics)
    const reading = async (): Promise<void> => {
      for await (const record of consumer.records()) seen.push(`${record.partition}:${record.offset}`)
    }
    if (read) {
      reading().catch((cause: unknown) => {
        if (process.alive) this.world.fail(new Error(`${name} stopped reading`, { cause }))
      })
    }
    return { process, client, consumer, events, seen, close: () => client.close() }
  }

  /** Until the members have all partitions between them, each an even share. */
  async shared(members: readonly Member[], partitions: number): Promise<void> {
    const counts = (): number[] => members.map((m) => m.consumer.assignment().length)
    await this.world.until(
      `${members.length} members share ${partitions} partitions`,
      () =>
        counts().reduce((a, b) => a + b, 0) === partitions &&
        Math.max(...counts()) - Math.min(...counts()) <= 1 &&
        new Set(members.flatMap((m) => m.consumer.assignment().map((p) => `${p.topic}${p.partition}`))).size ===
          partitions,
      30_000,
      5,
    )
  }

  committed(topic = 't'): Map<number, number> {
    return this.cluster.broker.committedOffsets('g').get(topic) ?? new Map()
  }
}

function onStage(
  topics: Record<string, number>,
  body: (stage: Stage, world: World) => Promise<void>,
  nodes = 1,
): () => Promise<void> {
  return async () => {
    const world = new World(7)
    await world.run(async () => {
      const cluster = await SimCluster.start(world, { nodes, topics })
      await body(new Stage(world, cluster), world)
    })
  }
}

test(
  'a group of three: joins, a leave, a crash; every record is processed and committed',
  onStage({ t: 6 }, async (stage, world) => {
    let round = 0
    const produceAll = async (): Promise<void> => {
      round += 1
      for (let p = 0; p < 6; p++) await stage.produce('t', p, [`${round}`])
    }
    const done = (): boolean => [0, 1, 2, 3, 4, 5].every((p) => stage.committed().get(p) === round)
    const one = stage.member()
    await stage.shared([one], 6)
    await produceAll()
    await world.until('one commits all', done)
    const two = stage.member()
    await stage.shared([one, two], 6)
    const three = stage.member()
    await stage.shared([one, two, three], 6)
    await produceAll()
    await world.until('three commit all', done)
    const before = world.now
    await two.close()
    assert.ok(world.now - before < 2_000)
    await stage.shared([one, three], 6)
    assert.ok(world.now - before < 3_000, 'a leave does not wait for the session time-out')
    await produceAll()
    await world.until('two commit all', done)
    three.process.kill()
    await stage.shared([one], 6)
    const sessionMs = world.now - before
    assert.ok(sessionMs > 5_000, `a crash is noticed after the session time-out: ${sessionMs}`)
    await produceAll()
    await world.until('one commits all again', done)
    const seen = new Set([one, two, three].flatMap((m) => m.seen))
    assert.is(seen.size, 6 * round)
    assert.is([one, two, three].flatMap((m) => m.seen).length, 6 * round, 'nothing twice: all was committed in time')
    await one.close()
  }),
)

test(
  'a static member that restarts within the session gets its partitions back without a rebalance',
  onStage({ t: 4 }, async (stage, world) => {
    const one = stage.member({ groupInstanceId: 'i1' })
    const two = stage.member({ groupInstanceId: 'i2' })
    await stage.shared([one, two], 4)
    const had = one.consumer.assignment()
    const generations = two.events.filter((e) => e.type === 'group' && e.event.type === 'rebalanced').length
    one.process.kill()
    await world.sleep(1_000)
    const again = stage.member({ groupInstanceId: 'i1' })
    await stage.shared([again, two], 4)
    assert.equal(again.consumer.assignment(), had)
    assert.is(
      two.events.filter((e) => e.type === 'group' && e.event.type === 'rebalanced').length,
      generations,
      'the other member did not notice',
    )
    for (let p = 0; p < 4; p++) await stage.produce('t', p, ['x'])
    await world.until('all is committed', () => [0, 1, 2, 3].every((p) => stage.committed().get(p) === 1))
    await again.close()
    await two.close()
  }),
)

test(
  'two processes with one instance id: the older one ends with FENCED_INSTANCE_ID',
  onStage({ t: 2 }, async (stage, world) => {
    const old = stage.member({ groupInstanceId: 'i', read: false })
    await stage.shared([old], 2)
    const young = stage.member({ groupInstanceId: 'i' })
    await world.until('the old one is fenced', () => old.consumer.assignment().length === 0)
    await old.consumer.wait()
    assert.throws(() => old.consumer.take(), /FENCED_INSTANCE_ID.*groupInstanceId/)
    assert.throws(() => old.consumer.take(), /FENCED_INSTANCE_ID/, 'for good')
    await stage.shared([young], 2)
    await old.close()
    await young.close()
    await stage.produce('t', 0, ['x'])
  }),
)

test(
  'what is in hand is not committed; what was processed is: at the interval, on revoke, on close',
  onStage({ t: 1 }, async (stage, world) => {
    await stage.produce('t', 0, ['0', '1', '2', '3'])
    const member = stage.member({ read: false, autoCommitIntervalMs: 300 })
    const records = member.consumer.records()
    for (let i = 0; i < 3; i++) assert.is((await records.next()).value?.offset, i)
    await world.sleep(1_000)
    assert.is(stage.committed().get(0), 2, 'record 2 is being processed')
    await records.next()
    await member.close()
    assert.is(stage.committed().get(0), 3, 'record 3 was handed out, and nothing was asked for after it')
    const other = stage.member({ read: false, autoCommitIntervalMs: 3_600_000 })
    const chunk = await take(other.consumer)
    assert.is(chunk.from, 3)
    other.consumer.take() // asking for more says that the chunk is processed
    const third = stage.member({ groupInstanceId: 'a' })
    await stage.shared([third, other], 1)
    await world.until('committed on revoke', () => stage.committed().get(0) === 4)
    await third.close()
    await other.close()
  }),
)

test(
  'commit by hand: offsets given or everything processed; refused after a rebalance',
  onStage({ t: 1 }, async (stage, world) => {
    await stage.produce('t', 0, ['0', '1', '2', '3'])
    const member = stage.member({ read: false, autoCommitIntervalMs: 0 })
    const tp = { topic: 't', partition: 0 }
    await take(member.consumer)
    await member.consumer.commit()
    assert.is(stage.committed().get(0), undefined)
    await member.consumer.commit([{ ...tp, offset: 2, leaderEpoch: 0, metadata: 'half' }])
    const [found] = await member.consumer.committed([tp])
    assert.equal([found!.offset, found!.metadata], [2, 'half'])
    member.consumer.take()
    await member.consumer.commit()
    assert.is(stage.committed().get(0), 4)
    const other = stage.member({ read: false, autoCommitIntervalMs: 0, groupInstanceId: '0' })
    await stage.shared([other, member], 1)
    await world.until('other has it', () => other.consumer.assignment().length === 1)
    await member.close()
    await other.close()
    const closed = await rejects(Promise.resolve().then(() => member.consumer.commit()))
    assert.match(closed.message, /closed/)
  }),
)

test(
  'pauses last over a rebalance that keeps the partition',
  onStage({ t: 2 }, async (stage, world) => {
    const one = stage.member({ assignors: ['copartition'] })
    await stage.shared([one], 2)
    one.consumer.pause([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    const two = stage.member({ assignors: ['copartition'] })
    await stage.shared([one, two], 2)
    const kept = one.consumer.assignment()[0]!
    assert.equal(one.consumer.paused(), [kept])
    await stage.produce('t', kept.partition, ['x'])
    await world.sleep(2_000)
    assert.equal(one.seen, [])
    one.consumer.resume([kept])
    await world.until('it is read', () => one.seen.length === 1)
    await two.close()
    await one.close()
  }),
)

test(
  'onRevoked may finish and commit: the next owner begins there',
  onStage({ t: 2 }, async (stage, world) => {
    for (const p of [0, 1]) await stage.produce('t', p, ['0', '1'])
    const log: string[] = []
    const one = stage.member({
      read: false,
      autoCommitIntervalMs: 0,
      onAssigned: (tps) => void log.push(`assigned ${tps.length}`),
      onRevoked: async (tps) => {
        log.push(`revoking ${tps.length}`)
        assert.is(one.consumer.take(), undefined, 'nothing more is handed out')
        await world.sleep(800)
        await one.consumer.commit(tps.map((tp) => ({ ...tp, offset: 1 })))
        log.push('revoked')
      },
      onLost: () => void log.push('lost'),
    })
    await stage.shared([one], 2)
    await take(one.consumer)
    const two = stage.member()
    await stage.shared([one, two], 2)
    await world.until('two has read', () => two.seen.length === 1)
    assert.match(two.seen[0]!, /:1$/)
    assert.equal(log, ['assigned 2', 'revoking 2', 'revoked', 'assigned 1'])
    await one.close()
    await two.close()
  }),
)

test(
  'a topic that appears or grows is shared anew',
  onStage({ t: 1 }, async (stage, world) => {
    const one = stage.member({ topics: ['t', 'later'] })
    const two = stage.member({ topics: ['t', 'later'] })
    await stage.shared([one, two], 1)
    stage.cluster.broker.createTopic('later', 3)
    await world.until('later is read', () => one.consumer.assignment().length + two.consumer.assignment().length === 4)
    await one.close()
    await two.close()
  }),
)

test(
  'subscribe again changes the topics',
  onStage({ t: 1, u: 1 }, async (stage, world) => {
    const one = stage.member({ topics: ['t'] })
    await stage.shared([one], 1)
    one.consumer.subscribe(['u'])
    await world.until('u', () => one.consumer.assignment()[0]?.topic === 'u')
    await one.close()
  }),
)

test(
  'copartition on a real coordinator: the same numbers together, and they stay through a crash and a join',
  onStage({ t: 6, u: 6 }, async (stage, world) => {
    const options = { assignors: ['copartition'] as const, topics: ['t', 'u'] }
    const one = stage.member(options)
    const two = stage.member(options)
    const three = stage.member(options)
    await stage.shared([one, two, three], 12)
    const numbers = (m: Member): { t: string; u: string } => {
      const of = (topic: string): string =>
        m.consumer
          .assignment()
          .filter((p) => p.topic === topic)
          .map((p) => p.partition)
          .sort()
          .join()
      return { t: of('t'), u: of('u') }
    }
    const before = [one, two].map(numbers)
    for (const n of before) assert.is(n.t, n.u)
    three.process.kill()
    await stage.shared([one, two], 12)
    for (const [i, m] of [one, two].entries()) {
      const now = numbers(m)
      assert.is(now.t, now.u)
      for (const n of before[i]!.t.split(',')) assert.ok(now.t.split(',').includes(n), 'what it had it still has')
    }
    const four = stage.member(options)
    await stage.shared([one, two, four], 12)
    await world.sleep(100)
    await one.close()
    await two.close()
    await four.close()
  }),
)

test(
  'the coordinator moves and loads while members join, beat and commit',
  onStage(
    { t: 4 },
    async (stage, world) => {
      const members = [stage.member(), stage.member()]
      await stage.shared(members, 4)
      for (let i = 0; i < 6; i++) {
        stage.cluster.faults.moveCoordinator('g', 1 + (i % 3))
        if (i % 2 === 0) stage.cluster.faults.answer('Heartbeat', 'COORDINATOR_LOAD_IN_PROGRESS', { times: 2 })
        for (let p = 0; p < 4; p++) await stage.produce('t', p, [String(i)])
        await world.until('committed', () => [0, 1, 2, 3].every((p) => stage.committed().get(p) === i + 1), 30_000)
      }
      const losses = members.flatMap((m) => m.events).filter((e) => e.type === 'group' && e.event.type === 'lost')
      assert.is(losses.length, 0, 'nobody lost anything')
      for (const m of members) await m.close()
    },
    3,
  ),
)

test(
  'the broker is killed and comes back: the group goes on by itself',
  onStage({ t: 2 }, async (stage, world) => {
    const members = [stage.member(), stage.member()]
    await stage.shared(members, 2)
    await stage.produce('t', 0, ['a'])
    await world.until('committed', () => stage.committed().get(0) === 1)
    stage.cluster.crash()
    await world.sleep(3_000)
    await stage.cluster.restart()
    await stage.produce('t', 0, ['b'])
    await world.until('committed again', () => stage.committed().get(0) === 2, 60_000)
    await stage.shared(members, 2)
    for (const m of members) await m.close()
  }),
)

test(
  'a member that stood still past its session comes back without committing what it lost',
  onStage({ t: 1 }, async (stage, world) => {
    await stage.produce('t', 0, ['0', '1', '2'])
    const one = stage.member({ read: false, autoCommitIntervalMs: 500 })
    const chunk = await take(one.consumer)
    assert.is(chunk.nextOffset, 3)
    one.process.stall(20_000)
    const two = stage.member()
    await world.until('two has processed all', () => stage.committed().get(0) === 3, 30_000)
    await stage.produce('t', 0, ['3'])
    await world.until('and the new one', () => stage.committed().get(0) === 4, 30_000)
    await world.sleep(20_000)
    assert.ok((stage.committed().get(0) ?? 0) >= 4, 'the sleeper took nothing back')
    assert.ok(one.events.some((e) => e.type === 'group' && e.event.type === 'lost'))
    await one.close()
    await two.close()
  }),
)

test(
  'client.close() leaves the group: the other member need not wait for the session time-out',
  onStage({ t: 2 }, async (stage, world) => {
    const one = stage.member()
    const two = stage.member()
    await stage.shared([one, two], 2)
    const before = world.now
    await one.client.close()
    await stage.shared([two], 2)
    assert.ok(world.now - before < 2_000, `${world.now - before} ms`)
    await two.close()
  }),
)

test(
  'two members in one client do not wait for each other at the broker',
  onStage({ t: 2 }, async (stage, world) => {
    const one = stage.member()
    const second = one.client.consumer({ groupId: 'g', sessionTimeoutMs: 6_000, maxWaitMs: 100 })
    second.subscribe(['t'])
    const two = { ...one, consumer: second }
    const before = world.now
    await stage.shared([one, two], 2)
    assert.ok(world.now - before < 2_000, `${world.now - before} ms`)
    await one.close()
  }),
)

test(
  'a commit that is being repeated when the generation ends is given up, not carried into the next',
  onStage({ t: 1 }, async (stage, world) => {
    await stage.produce('t', 0, ['0', '1'])
    const member = stage.member({ read: false, autoCommitIntervalMs: 0 })
    await take(member.consumer)
    stage.cluster.faults.answer('OffsetCommit', 'COORDINATOR_LOAD_IN_PROGRESS', { times: Infinity })
    const committing = rejects(member.consumer.commit([{ topic: 't', partition: 0, offset: 1 }]))
    await world.sleep(500)
    member.consumer.subscribe(['t']) // a rebalance
    const refused = await world.within('the commit is given up', 10_000, committing)
    assert.instance(refused, CommitError)
    assert.is((refused as CommitError).code, 'ILLEGAL_GENERATION')
    stage.cluster.faults.clear()
    await world.sleep(2_000)
    assert.is(stage.committed().get(0), undefined)
    await member.close()
  }),
)

async function take(consumer: Consumer): Promise<NonNullable<ReturnType<Consumer['take']>>> {
  for (;;) {
    const chunk = consumer.take()
    if (chunk !== undefined) return chunk
    await consumer.wait()
  }
}

test.run()
