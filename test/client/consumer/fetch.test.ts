/** Fetching against a scripted broker in virtual time: prefetch, budgets, fairness, errors of single partitions, leaders. */
import * as assert from 'uvu/assert'
import { TimeoutError } from '../../../src/base/errors.ts'
import {
  CorruptRecordsError,
  OffsetOutOfRangeError,
  PartitionRefusedError,
} from '../../../src/client/consumer/errors.ts'
import { fetch } from '../../../src/protocol/api/fetch.ts'
import type { KafkaErrorName } from '../../../src/protocol/errors.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { VersionError } from '../../../src/protocol/versions.ts'
import { ZERO_UUID } from '../../../src/protocol/uuid.ts'
import { rejects, suite } from '../../support/suite.ts'
import type { SeenRequest } from '../support/fake-port.ts'
import { inWorld, ofType, readSome } from '../support/in-world.ts'

const test = suite('fetch')
const value = (size: number): string => 'x'.repeat(size)

interface Wanted {
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
}

function partitionsOf(request: SeenRequest): Wanted[] {
  const body = request.body as RequestOf<typeof fetch>
  return body.topics.flatMap((t) =>
    t.partitions.map((p) => ({ partition: p.partition, offset: p.fetchOffset, maxBytes: p.partitionMaxBytes })),
  )
}

function waitOf(request: SeenRequest): number {
  return (request.body as RequestOf<typeof fetch>).maxWaitMs
}

test(
  'the next fetch goes out while the data of the last one is not consumed',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    for (let i = 0; i < 10; i++) p!.append([value(700)])
    const c = consumer({ maxPartitionBytes: 1024, maxBufferedBytes: 100_000 })
    c.assign([{ topic: 't', partition: 0 }])
    await world.sleep(100)
    assert.equal(
      port
        .seen(fetch)
        .slice(0, 4)
        .map((r) => partitionsOf(r)[0]!.offset),
      [0, 1, 2, 3],
      'each fetch begins where the last one ended, though nothing was taken',
    )
    assert.is(c.position({ topic: 't', partition: 0 }), 0)
    await readSome(c, 10)
    assert.is(c.position({ topic: 't', partition: 0 }), 10)
  }),
)

test(
  'buffered bytes stay within maxBufferedBytes, and each partition within its share',
  inWorld(async ({ world, log, consumer }) => {
    const partitions = log.topic('t', 4)
    for (const p of partitions) for (let i = 0; i < 200; i++) p.append([value(900)])
    const c = consumer({ maxPartitionBytes: 4096, maxBufferedBytes: 40_000 })
    c.assign(partitions.map((_, partition) => ({ topic: 't', partition })))
    let largest = 0
    for (let taken = 0; taken < 100; taken++) {
      await world.sleep(20)
      largest = Math.max(largest, c.bufferedBytes)
      assert.ok(c.bufferedBytes <= 40_000 + 4 * 1024, `${c.bufferedBytes} bytes are buffered`)
      c.take()
    }
    assert.ok(largest > 20_000, `the budget is used: ${largest}`)
  }),
)

test(
  'a full partition does not hold up the others, nor they it',
  inWorld(async ({ world, port, log, consumer }) => {
    const [full, idle] = log.topic('t', 2)
    for (let i = 0; i < 100; i++) full!.append([value(900)])
    const c = consumer({ maxPartitionBytes: 4096, maxBufferedBytes: 20_000, maxWaitMs: 500 })
    c.assign([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    await world.sleep(2_250)
    // Taking some of the full one makes it ready again: it is fetched beside the long poll for the other one.
    const before = world.now
    const from = port.requests.length
    while (c.take() !== undefined);
    await world.until('the full one is fetched again', () => c.bufferedBytes > 0, 1_000, 1)
    assert.ok(world.now - before <= 10, `${world.now - before} ms`)
    assert.is(port.requests[from]?.lane, 'fetch:0:beside')
    idle!.append(['y'])
    log.wake()
    await world.until('the idle one is delivered', () => {
      const chunk = c.take()
      return chunk?.partition === 1
    })
  }),
)

test(
  'beside a long poll, a fetch that leaves a partition out waits shortly, and longer each time nothing came',
  inWorld(async ({ world, port, log, consumer }) => {
    const [, , full] = log.topic('t', 3)
    for (let i = 0; i < 100; i++) full!.append([value(900)])
    const c = consumer({ maxPartitionBytes: 4096, maxBufferedBytes: 20_000, maxWaitMs: 500 })
    const tps = [0, 1, 2].map((partition) => ({ topic: 't', partition }))
    c.assign(tps)
    c.pause([tps[1]!])
    await world.sleep(2_050)
    c.resume([tps[1]!])
    await world.sleep(2_000)
    const beside = port.seen(fetch).filter((r) => r.lane === 'fetch:0:beside')
    assert.equal(beside.map(waitOf).slice(0, 7), [8, 16, 32, 64, 128, 256, 500])
  }),
)

test(
  'a quick consumer never waits for a long poll',
  inWorld(async ({ world, log, consumer }) => {
    const [busy] = log.topic('t', 2)
    for (let i = 0; i < 400; i++) busy!.append([value(900)])
    const c = consumer({ maxPartitionBytes: 2048, maxBufferedBytes: 8_192, maxWaitMs: 500 })
    c.assign([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    let taken = 0
    const begun = world.now
    while (taken < 400) {
      const chunk = c.take()
      if (chunk === undefined) await c.wait()
      else {
        taken += chunk.records().length
        await world.sleep(3) // slower than the fetches, so that the partition is full again and again
      }
    }
    assert.ok(world.now - begun < 6_000, `400 records in ${world.now - begun} ms`)
  }),
)

test(
  'a paused partition costs no fetch; its position and buffer stay',
  inWorld(async ({ world, port, log, consumer }) => {
    const [a, b] = log.topic('t', 2)
    a!.append(['1'])
    b!.append(['1'])
    const c = consumer()
    c.assign([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    await world.sleep(50)
    c.pause([{ topic: 't', partition: 0 }])
    assert.equal(await readSome(c, 1), ['t/1:0'], 'the paused one is not delivered')
    assert.is(c.take(), undefined)
    await world.sleep(1_200) // the long poll that was under way has ended
    const from = port.requests.length
    a!.append(['2'])
    await world.sleep(3_000)
    for (const request of port.requests.slice(from)) {
      if (request.api === 'Fetch')
        assert.equal(
          partitionsOf(request).map((p) => p.partition),
          [1],
        )
    }
    c.pause([{ topic: 't', partition: 1 }])
    await world.sleep(1_000)
    const quiet = port.requests.length
    await world.sleep(60_000)
    assert.is(port.requests.length, quiet, 'all paused: no request at all')
    c.resume([{ topic: 't', partition: 0 }])
    assert.equal(await readSome(c, 2), ['t/0:0', 't/0:1'])
  }),
)

test(
  'seek takes effect at once: buffered records and answers under way are dropped',
  inWorld(async ({ world, log, consumer }) => {
    const [p] = log.topic('t', 1)
    for (let i = 0; i < 10; i++) p!.append([String(i)])
    const tp = { topic: 't', partition: 0 }
    const c = consumer()
    c.assign([tp])
    await world.until('something is buffered', () => c.bufferedBytes > 0, 1_000, 1)
    c.seek(tp, 7)
    assert.is(c.bufferedBytes, 0)
    assert.is(c.position(tp), 7)
    assert.equal(await readSome(c, 3), ['t/0:7', 't/0:8', 't/0:9'])
    c.seek(tp, 'earliest')
    assert.is(c.position(tp), undefined)
    assert.is((await readSome(c, 10)).length, 10)
    c.seek(tp, 'latest')
    p!.append(['new'])
    await world.sleep(5)
    c.seek(tp, 2)
    c.seek(tp, 9)
    assert.equal(await readSome(c, 2), ['t/0:9', 't/0:10'])
  }),
)

test(
  'chunks come from the partitions in turn',
  inWorld(async ({ world, log, consumer }) => {
    const partitions = log.topic('t', 3)
    for (const p of partitions) for (let i = 0; i < 4; i++) p.append([value(900)])
    const c = consumer({ maxPartitionBytes: 1024 })
    c.assign(partitions.map((_, partition) => ({ topic: 't', partition })))
    await world.sleep(200)
    const order: number[] = []
    for (let i = 0; i < 12; i++) order.push(c.take()!.partition)
    const first = order.slice(0, 3)
    assert.equal([...first].sort(), [0, 1, 2])
    assert.equal(order, [...first, ...first, ...first, ...first])
  }),
)

test(
  'a batch larger than maxPartitionBytes gets through, whatever the other partitions have',
  inWorld(async ({ log, consumer }) => {
    const [small, large] = log.topic('t', 2)
    for (let i = 0; i < 50; i++) small!.append([value(500)])
    large!.append([value(20_000)])
    const c = consumer({ maxPartitionBytes: 1024, maxBytes: 100_000 })
    c.assign([
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    const seen = await readSome(c, 51)
    assert.ok(seen.includes('t/1:0'))
  }),
)

test(
  'topics go by id when all ids are known, else by name',
  inWorld(async ({ world, port, log, consumer }) => {
    log.topic('a', 1)
    log.topic('b', 1)
    const c = consumer()
    c.assign([{ topic: 'a', partition: 0 }])
    await world.sleep(700)
    assert.is(port.seen(fetch).at(-1)?.version, fetch.maxVersion)
    port.metadata.set('b', [1], { id: ZERO_UUID })
    c.assign([{ topic: 'b', partition: 0 }])
    await world.sleep(1_200)
    assert.is(port.seen(fetch).at(-1)?.version, 12)
    log.at('b', 0).append(['x'])
    log.wake()
    assert.equal(await readSome(c, 1), ['b/0:0'])
  }),
)

const transient: readonly KafkaErrorName[] = [
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'KAFKA_STORAGE_ERROR',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_TOPIC_ID',
  'INCONSISTENT_TOPIC_ID',
  'UNKNOWN_SERVER_ERROR',
]
for (const error of transient) {
  test(
    `${error} is retried with a new picture; the other partition does not notice`,
    inWorld(async ({ world, port, log, events, consumer }) => {
      const [bad, good] = log.topic('t', 2)
      bad!.append(['1'])
      good!.append(['1'])
      const c = consumer({ maxWaitMs: 50 })
      c.assign([
        { topic: 't', partition: 0, offset: 0 },
        { topic: 't', partition: 1, offset: 0 },
      ])
      bad!.error = error
      assert.equal(await readSome(c, 1), ['t/1:0'])
      await world.sleep(300)
      good!.append(['2'])
      log.wake()
      assert.equal(await readSome(c, 1), ['t/1:1'])
      assert.ok(port.metadata.refreshes.some((why) => why.includes(error)))
      const retries = ofType(events, 'partition-retry')
      assert.ok(retries.length > 1 && retries.length < 20, `${retries.length} retries in 0.3 s`)
      assert.ok(retries.every((e) => e.partition === 0 && e.error === error && e.doing === 'fetch'))
      bad!.error = undefined
      assert.equal(await readSome(c, 1), ['t/0:0'])
    }),
  )
}

for (const [error, type] of [
  ['TOPIC_AUTHORIZATION_FAILED', PartitionRefusedError],
  ['CORRUPT_MESSAGE', CorruptRecordsError],
] as const) {
  test(
    `${error} rests the partition with an error that is thrown once; a seek wakes it`,
    inWorld(async ({ world, log, consumer }) => {
      const [bad, good] = log.topic('t', 2)
      bad!.append(['1'])
      bad!.error = error
      const c = consumer({ maxWaitMs: 50 })
      c.assign([
        { topic: 't', partition: 0, offset: 0 },
        { topic: 't', partition: 1, offset: 0 },
      ])
      await c.wait() // the assignment
      await c.wait()
      assert.throws(
        () => c.take(),
        (e: unknown) => e instanceof type && e.partition === 0 && e.offset === 0,
      )
      assert.is(c.take(), undefined)
      good!.append(['1'])
      log.wake()
      assert.equal(await readSome(c, 1), ['t/1:0'])
      bad!.error = undefined
      await world.sleep(1_000)
      assert.is(c.take(), undefined, 'it rests')
      c.seek({ topic: 't', partition: 0 }, 0)
      assert.equal(await readSome(c, 1), ['t/0:0'])
    }),
  )
}

for (const [startFrom, expected] of [
  ['earliest', 't/0:5'],
  ['latest', 't/0:8'],
] as const) {
  test(
    `OFFSET_OUT_OF_RANGE with startFrom ${startFrom} goes on there`,
    inWorld(async ({ world, log, events, consumer }) => {
      const [p] = log.topic('t', 1)
      for (let i = 0; i < 8; i++) p!.append([String(i)])
      p!.start = 5
      const c = consumer({ startFrom })
      c.assign([{ topic: 't', partition: 0, offset: 2 }])
      await world.sleep(100)
      p!.append(['8'])
      log.wake()
      assert.is((await readSome(c, 1))[0], expected)
      const { why, from, to } = ofType(events, 'position-reset')[0]!
      assert.equal({ why, from, to }, { why: 'out-of-range', from: 2, to: startFrom === 'earliest' ? 5 : 8 })
    }),
  )
}

test(
  'OFFSET_OUT_OF_RANGE with startFrom error is thrown and names the position',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0'])
    p!.start = 1
    p!.append(['1'])
    const c = consumer({ startFrom: 'error' })
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    const iterator = c.records()
    const error = await rejects(iterator.next())
    assert.instance(error, OffsetOutOfRangeError)
    assert.is((error as OffsetOutOfRangeError).offset, 0)
    c.seek({ topic: 't', partition: 0 }, 1)
    assert.is((await iterator.next()).value?.offset, 1, 'the iterator can be used on')
  }),
)

test(
  'a fetch that fails as a whole is repeated with growing delays',
  inWorld(async ({ world, port, log, events, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['1'])
    let failures = 0
    const c = consumer({ retryBackoffMs: 50, retryBackoffMaxMs: 400 })
    port.on(fetch, () => {
      failures += 1
      return new TimeoutError('no answer')
    })
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    await world.sleep(3_000)
    assert.ok(failures > 5 && failures < 14, `${failures} attempts in 3 s`)
    assert.equal(
      ofType(events, 'fetch-failed')
        .slice(0, 3)
        .map((e) => e.attempt),
      [1, 2, 3],
    )
    log.serve()
    assert.equal(await readSome(c, 1), ['t/0:0'])
  }),
)

test(
  'what no repetition can mend ends the consumer, and take() says so for good',
  inWorld(async ({ world, port, log, consumer }) => {
    log.topic('t', 1)
    port.on(fetch, () => new VersionError('the broker speaks Fetch 99 only'))
    const c = consumer()
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    await world.sleep(100)
    for (let i = 0; i < 2; i++) assert.throws(() => c.take(), /Fetch 99/)
    await c.wait()
    assert.is(port.seen(fetch).length, 1)
  }),
)

test(
  'an answer that breaks off in nonsense: what is before it is delivered, then the error',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0'])
    p!.append(['1'])
    p!.damage(1, (bytes) => bytes.writeInt32BE(3, 8))
    const c = consumer()
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    assert.equal(await readSome(c, 1), ['t/0:0'])
    await c.wait()
    assert.throws(
      () => c.take(),
      (e: unknown) => e instanceof CorruptRecordsError && e.offset === 1,
    )
    assert.is(c.position({ topic: 't', partition: 0 }), 1)
  }),
)

test(
  'a broker that answers with nothing but old batches is not asked in a loop',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    const old = Buffer.from(p!.read(p!.append(['0']), 1_000, true))
    p!.append(['1'])
    let answers = 0
    port.on(fetch, (request) => {
      answers += 1
      const { topic, topicId } = request.topics[0]!
      const partition = { partitionIndex: 0, errorCode: 0, highWatermark: 2, abortedTransactions: null, records: old }
      return { throttleTimeMs: 0, responses: [{ topic, topicId, partitions: [partition] }] }
    })
    const c = consumer()
    c.assign([{ topic: 't', partition: 0, offset: 1 }])
    await world.sleep(1_000)
    assert.ok(answers > 3 && answers < 30, `${answers} fetches in a second`)
    log.serve()
    assert.equal(await readSome(c, 1), ['t/0:1'])
  }),
)

test(
  'unassign: nothing more of the partition, and no look-ups; assigned again it starts anew',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 2)
    p!.append(['0'])
    const tps = [0, 1].map((partition) => ({ topic: 't', partition }))
    const c = consumer({ maxWaitMs: 50 })
    c.assign(tps)
    await world.sleep(100)
    c.unassign([tps[0]!])
    assert.equal(c.assignment(), [tps[1]])
    assert.is(c.position(tps[0]!), undefined)
    assert.is(c.take(), undefined)
    assert.throws(() => c.seek(tps[0]!, 0), /t\/0 is not assigned/)
    const from = port.requests.length + 1
    await world.sleep(1_000)
    for (const r of port.requests.slice(from))
      assert.equal(
        partitionsOf(r).map((w) => w.partition),
        [1],
      )
    c.assign([tps[0]!])
    assert.equal(await readSome(c, 1), ['t/0:0'])
    assert.throws(() => c.subscribe(['t']), /groupId/)
    assert.throws(() => c.commit(), /groupId/)
  }),
)

test(
  'a partition follows its leader; what the old one still says is ignored',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 2)
    p!.append(['1'])
    const c = consumer({ maxWaitMs: 400 })
    c.assign([
      { topic: 't', partition: 0, offset: 0 },
      { topic: 't', partition: 1, offset: 0 },
    ])
    assert.equal(await readSome(c, 1), ['t/0:0'])
    await world.sleep(20)
    port.metadata.set('t', [2, 1], { leaderEpoch: 1 })
    await world.sleep(10)
    const nodes = port.seen(fetch).map((r) => (r.to as { node: number }).node)
    assert.ok(nodes.includes(2), 'fetched from the new leader at once, though the old fetch still waits')
    p!.append(['2'])
    log.wake()
    assert.equal(await readSome(c, 1), ['t/0:1'])
  }),
)

test(
  'without a leader the picture is asked for until there is one',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1, [-1])
    p!.append(['1'])
    const c = consumer()
    c.assign([{ topic: 't', partition: 0 }])
    await world.sleep(1_000)
    assert.ok(port.metadata.refreshes.length >= 5)
    assert.is(port.requests.length, 0)
    port.metadata.set('t', [3])
    assert.equal(await readSome(c, 1), ['t/0:0'])
    const asked = port.metadata.refreshes.length
    await world.sleep(5_000)
    assert.is(port.metadata.refreshes.length, asked)
  }),
)

test(
  'a topic that does not exist yet is read once it does',
  inWorld(async ({ world, log, consumer }) => {
    const c = consumer()
    c.assign([{ topic: 'later', partition: 0 }])
    await world.sleep(10_000)
    const [p] = log.topic('later', 1)
    p!.append(['1'])
    assert.equal(await readSome(c, 1), ['later/0:0'])
  }),
)

test(
  'the watchdog reports a partition that is assigned and not fetched, once, and its recovery',
  inWorld(async ({ world, log, events, consumer }) => {
    const [p, paused] = log.topic('t', 2)
    const c = consumer({ stallTimeoutMs: 4_000, maxWaitMs: 100 })
    c.assign([
      { topic: 't', partition: 0, offset: 0 },
      { topic: 't', partition: 1, offset: 0 },
    ])
    c.pause([{ topic: 't', partition: 1 }])
    await world.sleep(20_000)
    assert.is(ofType(events, 'partition-stalled').length, 0)
    p!.error = 'NOT_LEADER_OR_FOLLOWER'
    paused!.error = 'NOT_LEADER_OR_FOLLOWER'
    await world.sleep(20_000)
    const stalled = ofType(events, 'partition-stalled')
    assert.equal(
      stalled.map((e) => [e.partition, e.state]),
      [[0, 'usable']],
    )
    assert.ok(stalled[0]!.stalledMs >= 4_000 && stalled[0]!.stalledMs <= 6_000)
    p!.error = undefined
    await world.sleep(5_000)
    assert.equal(
      ofType(events, 'partition-recovered').map((e) => e.partition),
      [0],
    )
  }),
)

test(
  'wait never misses what happened since the last wait',
  inWorld(async ({ world, log, consumer }) => {
    const [p] = log.topic('t', 1)
    const c = consumer({ maxWaitMs: 100 })
    c.assign([{ topic: 't', partition: 0, offset: 0 }])
    await c.wait() // the assignment
    const first = c.wait()
    p!.append(['1'])
    log.wake()
    await first
    assert.is(c.take()?.nextOffset, 1)
    p!.append(['2'])
    log.wake()
    await world.sleep(500) // it arrives while nobody waits
    await world.within('the wake-up was kept', 1, c.wait())
    assert.is(c.take()?.nextOffset, 2)
    await c.wait(AbortSignal.abort('enough')).then(
      () => assert.unreachable(),
      (e: { code?: string; cause?: unknown }) => assert.equal([e.code, e.cause], ['ERR_ABORTED', 'enough']),
    )
    const stop = new AbortController()
    const waiting = rejects(c.wait(stop.signal))
    stop.abort()
    assert.is(((await waiting) as Error & { code: string }).code, 'ERR_ABORTED')
  }),
)

test(
  'close ends waits and iterations, and leaves nothing behind',
  inWorld(async ({ world, port, log, consumer }) => {
    log.topic('t', 1)
    const c = consumer()
    c.assign([{ topic: 't', partition: 0 }])
    const iteration = (async () => {
      let count = 0
      for await (const _ of c.batches()) count += 1
      return count
    })()
    await world.sleep(100)
    await c.close()
    assert.is(await iteration, 0)
    assert.throws(() => c.take(), /closed/)
    assert.throws(() => c.assign([]), /closed/)
    assert.equal(port.closedLanes, ['fetch:0', 'fetch:0:beside'])
    assert.is(port.metadata.tracked.get('t'), 0)
    const requests = port.requests.length
    await world.sleep(60_000)
    assert.is(port.requests.length, requests)
  }),
)

test.run()
