/** Where reading starts and goes on: look-ups, KIP-320 validation, recreated topics, by hand and by a group's offsets. */
import * as assert from 'uvu/assert'
import { TimeoutError } from '../../../src/base/errors.ts'
import {
  LogTruncatedError,
  NoOffsetError,
  type PartitionError,
  TopicRecreatedError,
} from '../../../src/client/consumer/errors.ts'
import { fetch } from '../../../src/protocol/api/fetch.ts'
import { listOffsets } from '../../../src/protocol/api/list-offsets.ts'
import { offsetFetch } from '../../../src/protocol/api/offset-fetch.ts'
import { offsetForLeaderEpoch } from '../../../src/protocol/api/offset-for-leader-epoch.ts'
import { errorCodes } from '../../../src/protocol/errors.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { suite } from '../../support/suite.ts'
import { idOf } from '../support/fake-port.ts'
import { inWorld, ofType, readSome } from '../support/in-world.ts'

const test = suite('positions')
const tp = { topic: 't', partition: 0 }

for (const [start, options, expected] of [
  ['an offset', { offset: 3 }, 't/0:3'],
  ['earliest', { offset: 'earliest' }, 't/0:2'],
  ['latest', { offset: 'latest' }, 't/0:5'],
  ['startFrom earliest', {}, 't/0:2'],
] as const) {
  test(
    `starts at ${start}`,
    inWorld(async ({ world, log, consumer }) => {
      const [p] = log.topic('t', 1)
      for (let i = 0; i < 5; i++) p!.append([String(i)])
      p!.start = 2
      const c = consumer()
      c.assign([{ ...tp, ...options }])
      await world.sleep(100)
      p!.append(['5'])
      log.wake()
      assert.is((await readSome(c, 1))[0], expected)
    }),
  )
}

test(
  'startFrom error throws for a partition without a position; an assignment with an offset does not',
  inWorld(async ({ log, consumer }) => {
    const [, p] = log.topic('t', 2)
    p!.append(['1'])
    const c = consumer({ startFrom: 'error' })
    c.assign([tp, { topic: 't', partition: 1, offset: 0 }])
    await c.wait()
    assert.throws(
      () => c.take(),
      (e: unknown) => e instanceof NoOffsetError && e.partition === 0,
    )
    assert.equal(await readSome(c, 1), ['t/1:0'])
  }),
)

test(
  'look-ups of many partitions share a request per leader, and are repeated one by one',
  inWorld(async ({ world, port, log, events, consumer }) => {
    const partitions = log.topic('t', 6, [1, 2, 1, 2, 1, 2])
    for (const p of partitions) p.append(['1'])
    partitions[2]!.error = 'NOT_LEADER_OR_FOLLOWER'
    const c = consumer({ maxWaitMs: 50 })
    c.assign(partitions.map((_, partition) => ({ topic: 't', partition })))
    assert.is((await readSome(c, 5)).length, 5)
    const first = port.seen(listOffsets).slice(0, 2)
    const asked = (r: (typeof first)[number]): number[] =>
      (r.body as RequestOf<typeof listOffsets>).topics.flatMap((t) => t.partitions.map((q) => q.partitionIndex))
    assert.equal(first.map(asked), [
      [0, 2, 4],
      [1, 3, 5],
    ])
    await world.sleep(200)
    for (const r of port.seen(listOffsets).slice(2)) assert.equal(asked(r), [2])
    assert.ok(ofType(events, 'partition-retry').every((e) => e.doing === 'list-offsets' && e.partition === 2))
    partitions[2]!.error = undefined
    assert.equal(await readSome(c, 1), ['t/2:0'])
  }),
)

test(
  'a look-up that cannot be sent is repeated',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['1'])
    port.on(listOffsets, () => new TimeoutError('nobody there'))
    const c = consumer()
    c.assign([tp])
    await world.sleep(500)
    const attempts = port.seen(listOffsets).length
    assert.ok(attempts > 3 && attempts < 20, `${attempts} attempts`)
    log.serve()
    assert.equal(await readSome(c, 1), ['t/0:0'])
  }),
)

test(
  'a seek while a look-up is under way wins',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    for (let i = 0; i < 5; i++) p!.append([String(i)])
    port.latencyMs = 100
    const c = consumer()
    c.assign([tp])
    await world.sleep(50)
    c.seek(tp, 4)
    assert.equal(await readSome(c, 1), ['t/0:4'])
    await world.sleep(1_000)
    assert.is(c.position(tp), 5)
  }),
)

interface Validation {
  readonly name: string
  /** What the new leader says about epoch 3. */
  readonly says: { readonly leaderEpoch: number; readonly endOffset: number }
  readonly startFrom: 'earliest' | 'error'
  readonly so: 'goes on' | 'truncates' | 'resets' | 'throws'
}
const validations: readonly Validation[] = [
  { name: 'the logs agree', says: { leaderEpoch: 3, endOffset: 10 }, startFrom: 'error', so: 'goes on' },
  { name: 'the epoch ended just here', says: { leaderEpoch: 3, endOffset: 5 }, startFrom: 'error', so: 'goes on' },
  { name: 'the log was truncated', says: { leaderEpoch: 3, endOffset: 4 }, startFrom: 'earliest', so: 'truncates' },
  { name: 'the log was truncated', says: { leaderEpoch: 3, endOffset: 4 }, startFrom: 'error', so: 'throws' },
  { name: 'nothing is known', says: { leaderEpoch: -1, endOffset: -1 }, startFrom: 'earliest', so: 'resets' },
  { name: 'nothing is known', says: { leaderEpoch: -1, endOffset: -1 }, startFrom: 'error', so: 'throws' },
]

for (const v of validations) {
  test(
    `after a change of leader, ${v.name}, startFrom ${v.startFrom}: ${v.so}`,
    inWorld(async ({ world, port, log, events, consumer }) => {
      const [p] = log.topic('t', 1)
      p!.leaderEpoch = 3
      port.metadata.set('t', [1], { leaderEpoch: 3 })
      for (let i = 0; i < 5; i++) p!.append([String(i)])
      const c = consumer({ startFrom: v.startFrom })
      c.assign([{ ...tp, offset: 0 }])
      assert.is((await readSome(c, 5)).length, 5)
      await world.sleep(50)
      port.on(offsetForLeaderEpoch, (request) => {
        const asked = request.topics[0]!.partitions[0]!
        assert.equal(
          [request.replicaId, asked.currentLeaderEpoch, asked.leaderEpoch],
          [-1, 4, 3],
          'asked about the epoch of the last record',
        )
        return { throttleTimeMs: 0, topics: [{ topic: 't', partitions: [{ errorCode: 0, partition: 0, ...v.says }] }] }
      })
      port.metadata.set('t', [2], { leaderEpoch: 4 })
      p!.append(['more'])
      log.wake()
      if (v.so === 'throws') {
        await world.until('the error', () => ofType(events, 'partition-failed').length > 0)
        assert.throws(
          () => c.take(),
          (e: unknown) => e instanceof LogTruncatedError && e.offset === 5 && e.divergedAt === v.says.endOffset,
        )
        assert.is(c.position(tp), 5)
        return
      }
      const next = { 'goes on': 't/0:5', truncates: 't/0:4', resets: 't/0:0' }[v.so]
      assert.is((await readSome(c, 1))[0], next)
      assert.is(ofType(events, 'log-truncated').length, v.so === 'truncates' ? 1 : 0)
      assert.equal(
        ofType(events, 'position-reset').map((e) => e.why),
        v.so === 'resets' ? ['truncated'] : [],
      )
    }),
  )
}

test(
  'a validation that is refused for now is repeated, and nothing is fetched before it succeeds',
  inWorld(async ({ world, port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    port.metadata.set('t', [1], { leaderEpoch: 7 })
    for (let i = 0; i < 5; i++) p!.append([String(i)])
    port.on(offsetForLeaderEpoch, () => ({
      throttleTimeMs: 0,
      topics: [{ topic: 't', partitions: [{ errorCode: errorCodes.FENCED_LEADER_EPOCH, partition: 0 }] }],
    }))
    const c = consumer()
    c.assign([{ ...tp, offset: 2, leaderEpoch: 5 }])
    await world.sleep(1_000)
    assert.is(port.seen(fetch).length, 0)
    const attempts = port.seen(offsetForLeaderEpoch).length
    assert.ok(attempts > 3 && attempts < 40, `${attempts} attempts`)
    log.serve()
    assert.is((await readSome(c, 1))[0], 't/0:2')
  }),
)

test(
  'a position of the current leader epoch needs no validation',
  inWorld(async ({ port, log, consumer }) => {
    const [p] = log.topic('t', 1)
    port.metadata.set('t', [1], { leaderEpoch: 7 })
    p!.append(['1'])
    const c = consumer()
    c.assign([{ ...tp, offset: 0, leaderEpoch: 7 }])
    assert.equal(await readSome(c, 1), ['t/0:0'])
    assert.is(port.seen(offsetForLeaderEpoch).length, 0)
  }),
)

test(
  'a topic that was deleted and made again starts anew, or throws',
  inWorld(async ({ world, port, log, events, consumer }) => {
    const [p] = log.topic('t', 1)
    for (let i = 0; i < 5; i++) p!.append([String(i)])
    const careless = consumer({ startFrom: 'earliest', maxWaitMs: 50 })
    const careful = consumer({ startFrom: 'error', maxWaitMs: 50 })
    careless.assign([{ ...tp, offset: 0 }])
    careful.assign([{ ...tp, offset: 0 }])
    await readSome(careless, 5)
    await readSome(careful, 5)
    const [again] = log.topic('t', 1)
    for (let i = 0; i < 9; i++) again!.append([String(i)])
    log.rename('t', idOf('another incarnation'))
    assert.is((await readSome(careless, 1))[0], 't/0:0')
    assert.is(ofType(events, 'position-reset').at(-1)?.why, 'recreated')
    const error = await new Promise<PartitionError>((resolve) => {
      const look = (): void => {
        try {
          careful.take()
          port.scope.scheduler.setTimer(10, look)
        } catch (cause) {
          resolve(cause as PartitionError)
        }
      }
      look()
    })
    assert.instance(error, TopicRecreatedError)
    assert.is(error.offset, 5)
    await world.sleep(100)
  }),
)

test(
  'with a groupId, assigned partitions start where the group has committed',
  inWorld(async ({ port, log, consumer }) => {
    const [a, b] = log.topic('t', 2)
    for (let i = 0; i < 5; i++) {
      a!.append([String(i)])
      b!.append([String(i)])
    }
    let loading = 2
    port.on(offsetFetch, (request) => {
      loading -= 1
      const { topics } = request.groups[0]!
      return {
        throttleTimeMs: 0,
        groups: [
          {
            groupId: 'g',
            errorCode: loading >= 0 ? errorCodes.COORDINATOR_LOAD_IN_PROGRESS : 0,
            topics: (topics ?? []).map(({ name, partitionIndexes }) => ({
              name,
              partitions: partitionIndexes.map((partitionIndex) => ({
                partitionIndex,
                committedOffset: partitionIndex === 0 ? 3 : -1,
                metadata: '',
                errorCode: 0,
              })),
            })),
          },
        ],
      }
    })
    const c = consumer({ groupId: 'g', autoCommitIntervalMs: 0 })
    c.assign([tp, { topic: 't', partition: 1 }])
    const seen = await readSome(c, 7)
    assert.equal(
      seen.filter((s) => s.startsWith('t/0')),
      ['t/0:3', 't/0:4'],
    )
    assert.is(seen.filter((s) => s.startsWith('t/1')).length, 5)
  }),
)

test.run()
