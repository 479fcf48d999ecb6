/** Processors, views and emitters against any broker: what a user sees of them. */
import * as assert from 'uvu/assert'
import { deferred } from '../../src/base/deferred.ts'
import { defineGroup, Millrace, RecordError, stream, StreamsError, table } from '../../src/index.ts'
import { int64, integer, json, string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'
import { openTarget, tables, type Target, unique } from './target.ts'

const test = suite('processor (system)', { deadlineMs: 60_000 })
let target: Target
test.before(async () => {
  target = await openTarget()
})
test.after(() => target.close())

const fast = { sessionTimeoutMs: 6_000, checkpointIntervalMs: 20 } as const

function application(): Millrace {
  return new Millrace({ brokers: target.brokers, ...tables() })
}

/** Runs `body` with an application that is closed whatever happens. */
async function withApp(body: (app: Millrace) => Promise<void>): Promise<void> {
  const app = application()
  try {
    await body(app)
  } finally {
    await app.close()
  }
}

test('the first program: a click is counted and seen in a view', async () => {
  const clicks = stream(unique('user-click'), string)
  const counter = defineGroup(unique('user-clicks'), { table: int64 }).on(clicks, (ctx) =>
    ctx.set((ctx.get() ?? 0n) + 1n),
  )
  await withApp(async (app) => {
    await app.ensureStreams([clicks], { partitions: 6 })
    const emitter = app.emitter(clicks)
    const processor = app.processor(counter, fast)
    const view = app.view(counter.table)
    await Promise.all([processor.start(), view.start()])
    await emitter.send('user-3', 'https://example.com/')
    assert.is(await view.until('user-3', (n) => n === 1n), 1n)
    await emitter.send('user-3', 'https://example.com/')
    assert.is(await view.until('user-3', (n) => n === 2n), 2n)
    assert.is(view.get('user-4'), undefined)
    assert.is(view.has('user-3'), true)
    // The view may be ahead: the processor's own store follows when the checkpoint is acknowledged.
    await until(() => processor.get('user-3') === 2n)
    assert.equal(processor.state, { at: 'running', partitions: [0, 1, 2, 3, 4, 5] })
  })
})

test('a table, a loop, outputs, a join and a lookup in one group', async () => {
  const orders = stream(unique('orders'), json<{ cents: number }>())
  const alerts = stream(unique('alerts'), json<{ who: string; total: number }>())
  const profilesIn = stream(unique('profiles-in'), string)
  const ratesIn = stream(unique('rates-in'), integer)
  const profiles = defineGroup(unique('profiles'), { table: string }).on(profilesIn, (ctx, name) => ctx.set(name))
  const rates = defineGroup(unique('rates'), { table: integer }).on(ratesIn, (ctx, rate) => ctx.set(rate))
  const totals = defineGroup(unique('totals'), {
    table: json<{ total: number; echoes: number }>(),
    loop: integer,
    outputs: [alerts],
    joins: [profiles.table],
    lookups: [rates.table],
  })
    .on(orders, (ctx, order) => {
      const state = ctx.get() ?? { total: 0, echoes: 0 }
      state.total += order.cents * (ctx.lookup(rates.table, 'eur') ?? 1)
      ctx.set(state)
      ctx.emit(alerts, ctx.key, { who: ctx.join(profiles.table) ?? '?', total: state.total })
      ctx.loopback(`echo-of-${ctx.key}`, state.total)
    })
    .onLoop((ctx, total) => ctx.set({ total, echoes: (ctx.get()?.echoes ?? 0) + 1 }))
  const alertsSeen = defineGroup(unique('alerts-seen'), { table: json<{ who: string; total: number }>() }).on(
    alerts,
    (ctx, alert) => ctx.set(alert),
  )
  await withApp(async (app) => {
    await app.ensureStreams([orders, alerts, profilesIn, ratesIn], { partitions: 3 })
    await app.ensureStreams([profiles.table, rates.table], { partitions: 3 })
    await Promise.all([app.processor(profiles, fast).start(), app.processor(rates, fast).start()])
    await app.emitter(profilesIn).send('ann', 'Ann')
    await app.emitter(ratesIn).send('eur', 10)
    const profileView = app.view(profiles.table)
    const rateView = app.view(rates.table)
    await Promise.all([profileView.start(), rateView.start()])
    await profileView.until('ann')
    await rateView.until('eur')
    await Promise.all([app.processor(totals, fast).start(), app.processor(alertsSeen, fast).start()])
    const emitter = app.emitter(orders)
    await emitter.send('ann', { cents: 5 })
    await emitter.send('ann', { cents: 7 })
    const view = app.view(totals.table)
    const seen = app.view(alertsSeen.table)
    await Promise.all([view.start(), seen.start()])
    assert.equal(await view.until('ann', (state) => state.total === 120), { total: 120, echoes: 0 })
    assert.equal(await view.until('echo-of-ann', (state) => state.echoes === 2), { total: 120, echoes: 2 })
    assert.equal(await seen.until('ann', (alert) => alert.total === 120), { who: 'Ann', total: 120 })
  })
})

test('a restart recovers the table and goes on from the committed offsets', async () => {
  const numbers = stream(unique('numbers'), integer)
  const sums = defineGroup(unique('sums'), { table: integer }).on(numbers, (ctx, n) => ctx.set((ctx.get() ?? 0) + n))
  const expected = new Map<string, number>()
  for (let round = 0; round < 3; round++) {
    await withApp(async (app) => {
      await app.ensureStreams([numbers], { partitions: 4 })
      const processor = app.processor(sums, { ...fast, groupInstanceId: 'only' })
      const view = app.view(sums.table)
      const emitter = app.emitter(numbers)
      const sends = []
      for (let i = 0; i < 200; i++) {
        const key = `k${i % 17}`
        expected.set(key, (expected.get(key) ?? 0) + i)
        sends.push(emitter.send(key, i))
      }
      await Promise.all(sends)
      await Promise.all([processor.start(), view.start()])
      for (const [key, sum] of expected) assert.is(await view.until(key, (n) => n === sum), sum)
      await processor.close()
      const entries: [string, number][] = []
      for await (const entry of view.iterate()) entries.push(entry)
      assert.equal(new Map(entries), expected)
      assert.equal(
        entries.map(([key]) => key),
        [...expected.keys()].sort(),
      )
    })
  }
})

test('two instances share the partitions, and one takes over when the other ends', async () => {
  const numbers = stream(unique('shared'), integer)
  const sums = defineGroup(unique('shared-sums'), { table: integer }).on(numbers, (ctx, n) =>
    ctx.set((ctx.get() ?? 0) + n),
  )
  await withApp(async (first) => {
    await first.ensureStreams([numbers], { partitions: 4 })
    const alone = first.processor(sums, fast)
    await alone.start()
    assert.equal(alone.state, { at: 'running', partitions: [0, 1, 2, 3] })
    const emitter = first.emitter(numbers)
    const view = first.view(sums.table)
    await view.start()
    const feed = async (n: number): Promise<void> => {
      await Promise.all(Array.from({ length: 40 }, (_, i) => emitter.send(`k${i}`, n)))
    }
    const all = async (n: number): Promise<void> => {
      await Promise.all(Array.from({ length: 40 }, (_, i) => view.until(`k${i}`, (sum) => sum === n)))
    }
    await feed(1)
    await all(1)
    await withApp(async (second) => {
      const shared = deferred<readonly number[]>()
      const other = second.processor(sums, {
        ...fast,
        onStateChange: (state) => {
          if (state.at === 'running' && state.partitions.length === 2) shared.resolve(state.partitions)
        },
      })
      await other.start()
      assert.is((await shared.promise).length, 2)
      await feed(10)
      await all(11)
    })
    await feed(100)
    await all(111)
  })
})

test('a callback that throws ends the processor with an error that names the record; what was before is committed', async () => {
  const words = stream(unique('words'), string)
  const group = defineGroup(unique('throws'), { table: string }).on(words, (ctx, word) => {
    ctx.set(word)
    if (word === 'bad') throw new Error('no such word')
  })
  await withApp(async (app) => {
    await app.ensureStreams([words], { partitions: 1 })
    const emitter = app.emitter(words)
    const processor = app.processor(group, fast)
    await processor.start()
    await emitter.send('a', 'good')
    await emitter.send('b', 'bad')
    let error: unknown
    await processor.done.catch((cause: unknown) => {
      error = cause
    })
    assert.instance(error, RecordError)
    const thrown = error as RecordError
    assert.equal(
      [thrown.code, thrown.topic, thrown.partition, thrown.offset, thrown.key],
      ['ERR_CALLBACK', words.topic, 0, 1, 'b'],
    )
    assert.is((thrown.cause as Error).message, 'no such word')
    assert.is(processor.state.at, 'failed')
    const view = app.view(group.table)
    await view.start()
    assert.is(view.get('a'), 'good')
    assert.is(view.get('b'), undefined)
  })
})

test('asynchronous callbacks keep the order of their partition', async () => {
  const words = stream(unique('async'), string)
  const group = defineGroup(unique('async-group'), { table: json<string[]>() }).on(words, async (ctx, word) => {
    const list = ctx.get() ?? []
    await Promise.resolve()
    ctx.set([...list, word])
  })
  await withApp(async (app) => {
    await app.ensureStreams([words], { partitions: 2 })
    const emitter = app.emitter(words)
    const all = Array.from({ length: 50 }, (_, i) => `w${i}`)
    await Promise.all(all.map((word) => emitter.send('k', word)))
    const view = app.view(group.table)
    await Promise.all([app.processor(group, fast).start(), view.start()])
    assert.equal(await view.until('k', (list) => list.length === 50), all)
  })
})

test('topics that do not fit are refused with errors that say what to do', async () => {
  const two = stream(unique('two'), string)
  const three = stream(unique('three'), string)
  const missing = stream(unique('missing'), string)
  const plain = stream(unique('plain'), string)
  await withApp(async (app) => {
    await app.ensureStreams([two, plain], { partitions: 2 })
    await app.ensureStreams([three], { partitions: 3 })
    const uneven = defineGroup(unique('uneven'), { table: string })
      .on(two, () => {})
      .on(three, () => {})
    const joinsPlain = defineGroup(unique('joins-plain'), { table: string, joins: [table(plain.topic, string)] }).on(
      two,
      () => {},
    )
    const cases: readonly [string, () => Promise<void>, string][] = [
      ['uneven counts', () => app.processor(uneven).start(), 'ERR_PARTITION_COUNT'],
      ['a table that is not compacted', () => app.processor(joinsPlain).start(), 'ERR_TABLE_NOT_COMPACTED'],
      ['a view of such a table', () => app.view(table(plain.topic, string)).start(), 'ERR_TABLE_NOT_COMPACTED'],
      [
        'a missing input',
        () =>
          app
            .processor(
              defineGroup(unique('no-input'), {}).on(missing, () => {}),
              { missingTopicTimeoutMs: 100 },
            )
            .start(),
        'ERR_TOPIC_MISSING',
      ],
    ]
    for (const [name, run, code] of cases) {
      let error: unknown
      await run().catch((cause: unknown) => {
        error = cause
      })
      assert.instance(error, StreamsError, name)
      assert.is((error as StreamsError).code, code, `${name}: ${(error as Error).message}`)
    }
  })
})

test.run()
