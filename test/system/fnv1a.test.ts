/**
 * `partitioner: 'fnv1a'` puts every key where goka puts it: emits, group tables, loops and outputs; views and processors
 * look for it there. The expectations are goka's rule written down once more, and partitions known from goka.
 */
import * as assert from 'uvu/assert'
import { defineGroup, Millrace, type ProcessorEvent, StreamsError, stream } from '../../src/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'
import { gokaPartition, placesOf } from './goka-rule.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('system/fnv1a', { deadlineMs: 60_000 })
let target: Target
test.before(async () => {
  target = await openTarget()
})
test.after(() => target.close())

/** Known places, as [key, partition of 6, of 8, of 10, of 20]; the last three have the hash −2³¹. */
const known: readonly (readonly [string, number, number, number, number])[] = [
  ['', 3, 3, 5, 15],
  ['a', 0, 4, 6, 16],
  ['key', 4, 4, 8, 8],
  ['key1', 5, 7, 3, 3],
  ['key2', 4, 2, 2, 2],
  ['0', 3, 7, 3, 3],
  ['02', 1, 7, 3, 3],
  ['user-0', 1, 1, 7, 17],
  ['user-3', 2, 6, 8, 18],
  ['Bob', 0, 4, 6, 16],
  ['Alice', 5, 7, 3, 3],
  ['qqk42v', 2, 0, 8, 8],
  ['afjtjzd', 2, 0, 8, 8],
  ['a01sk58', 2, 0, 8, 8],
]
const counts = [6, 8, 10, 20] as const

const keys = [
  ...known.map(([key]) => key),
  'ключ',
  '鍵',
  '\u{1f511}',
  ...Array.from({ length: 60 }, (_, i) => `k-${i}`),
]

test('the rule gives the known places', () => {
  for (const [key, ...places] of known)
    for (const [i, count] of counts.entries())
      assert.is(gokaPartition(key, count), places[i], `${JSON.stringify(key)} of ${count}`)
})

for (const count of [10, 7]) {
  test(`emits, table, loop and outputs lie where goka has them; views and processors find them (${count} partitions)`, async () => {
    const input = stream(unique('fnv-in'), string)
    const output = stream(unique('fnv-out'), string)
    const name = unique('fnv')
    const group = defineGroup(name, { table: int64, loop: string, outputs: [output] })
      .on(input, (ctx, value) => {
        ctx.set((ctx.get() ?? 0n) + 1n)
        ctx.emit(output, `${value}${ctx.key}`, value)
        ctx.loopback(`loop:${ctx.key}`, value)
      })
      .onLoop((ctx) => ctx.set((ctx.get() ?? 0n) + 10n))
    const expected = new Map(keys.flatMap((key) => [[key, 2n] as const, [`loop:${key}`, 20n] as const]))
    await using app = new Millrace({ brokers: target.brokers, partitioner: 'fnv1a' })
    await app.ensureStreams([input, output], { partitions: count, replicationFactor: 1 })
    const events: ProcessorEvent[] = []
    const processor = app.processor(group, {
      sessionTimeoutMs: 6_000,
      checkpointIntervalMs: 20,
      misroutedKeys: 'fail',
      onEvent: (event) => events.push(event),
    })
    const view = app.view(group.table)
    await Promise.all([processor.start(), view.start()])
    const emitter = app.emitter(input)
    const sent = await Promise.all(keys.flatMap((key) => [emitter.send(key, 'x'), emitter.send(key, 'x')]))
    for (const [i, { partition }] of sent.entries())
      assert.is(partition, gokaPartition(keys[i >> 1]!, count), keys[i >> 1])
    await Promise.all([...expected].map(([key, n]) => view.until(key, (value) => value === n)))
    for (const [key, n] of expected) {
      assert.is(view.get(key), n, key)
      assert.is(view.get(Buffer.from(key)), n, key)
      await until(() => processor.get(key) === n, { what: `${key} in the processor's table` })
    }
    const places: readonly (readonly [string, (key: string) => string])[] = [
      [input.topic, (key) => key],
      [output.topic, (key) => `x${key}`],
      [`${name}-loop`, (key) => `loop:${key}`],
      [group.table.topic, (key) => key],
      [group.table.topic, (key) => `loop:${key}`],
    ]
    for (const [topic, named] of places) {
      const found = await placesOf(target.brokers, topic, count)
      for (const key of keys)
        assert.equal(found.get(named(key))?.partitions, [gokaPartition(named(key), count)], `${topic}: ${named(key)}`)
      assert.is(found.size, topic === group.table.topic ? keys.length * 2 : keys.length, topic)
    }
    // goka writes numbers as decimal text; so do we.
    assert.is((await placesOf(target.brokers, group.table.topic, count)).get('user-3')?.value, '2')
    assert.equal(
      events.filter(({ kind }) => kind === 'misroutedKey'),
      [],
    )
  })
}

test('two applications that disagree about the partitioner are told', async () => {
  const input = stream(unique('fnv-mixed'), string)
  const group = defineGroup(unique('fnv-mixed'), { table: string }).on(input, (ctx, value) => ctx.set(value))
  await using java = new Millrace({ brokers: target.brokers })
  await using goka = new Millrace({ brokers: target.brokers, partitioner: 'fnv1a' })
  await goka.ensureStreams([input], { partitions: 8, replicationFactor: 1 })
  const events: ProcessorEvent[] = []
  const processor = goka.processor(group, {
    sessionTimeoutMs: 6_000,
    checkpointIntervalMs: 20,
    onEvent: (event) => events.push(event),
  })
  await processor.start()
  const emitter = java.emitter(input)
  // One record in 256 is checked.
  await Promise.all(Array.from({ length: 4_000 }, (_, i) => emitter.send(`k-${i}`, 'x')))
  const event = await until(() => events.find((one) => one.kind === 'misroutedKey'), { what: 'a misrouted key' })
  assert.is.not(event.partition, event.expectedPartition)
  assert.is(event.topic, input.topic)

  const strict = goka.processor(group, { sessionTimeoutMs: 6_000, misroutedKeys: 'fail' })
  await processor.close()
  let error: unknown
  const done = strict.done.catch((cause: unknown) => {
    error = cause
  })
  await strict.start().catch(() => {})
  await Promise.all(Array.from({ length: 4_000 }, (_, i) => emitter.send(`k-${i}`, 'x')))
  await done
  assert.instance(error, StreamsError)
  assert.is((error as StreamsError).code, 'ERR_MISROUTED_KEYS')
})

test.run()
