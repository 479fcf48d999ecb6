/** Keys, headers and values that nobody should send, on any broker: a right result, or a typed error that names the record. */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, type ProcessorOptions, stream, table } from '../../src/index.ts'
import { bytes, int64, json, string } from '../../src/streams/codecs/index.ts'
import { suite } from '../support/suite.ts'
import { at, ends, fast, refused, strange } from './hostile.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('hostile records (system)', { deadlineMs: 60_000 })
let target: Target
let app: Millrace
let client: Client
test.before(async () => {
  target = await openTarget()
  app = new Millrace({ brokers: target.brokers })
  client = new Client({ brokers: target.brokers })
})
test.after(async () => {
  await app.close().catch(() => {}) // the refused records are told once more, by flush
  await client.close()
  await target.close()
})

const keys = [
  ...strange,
  '..',
  '',
  '\0',
  '\n',
  '\ufeffmark',
  '\ufffd',
  'ключ',
  '🎲'.repeat(3),
  'e\u0301',
  '\u00e9',
  '"},{"',
  'k'.repeat(100_000),
]

test('keys of any text reach the table and the view as they are, each its own', async () => {
  const input = stream(unique('keys'), json<{ key: string }>())
  await app.ensureStreams([input], { partitions: 3 })
  const group = defineGroup(unique('keys'), { table: json<{ key: string; n: number }>() }).on(input, (ctx, value) => {
    assert.is(ctx.key, value.key)
    ctx.set({ key: ctx.key, n: (ctx.get()?.n ?? 0) + 1 })
  })
  const processor = app.processor(group, fast)
  const view = app.view(group.table)
  const emitter = app.emitter(input)
  await Promise.all([processor.start(), view.start()])
  for (let round = 1; round <= 2; round++) {
    await Promise.all(keys.map((key) => emitter.send(key, { key })))
    for (const key of keys) assert.equal(await view.until(key, ({ n }) => n === round), { key, n: round })
  }
  assert.is(view.size, keys.length)
  const seen: string[] = []
  for await (const [key, value] of view.iterate()) {
    assert.is(value.key, key)
    seen.push(key)
  }
  assert.equal(
    seen,
    [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
  )
  for (const key of keys) {
    assert.ok(view.has(key))
    assert.is(processor.get(key)?.key, key)
  }
  for (const key of ['toString', 'valueOf', '.', ' ', 'n'.repeat(248), 'e'])
    assert.is(view.get(key), undefined, JSON.stringify(key))
  await Promise.all([processor.close(), view.close()])
})

test('header names and values of any kind pass, in order, repeated ones too', async () => {
  const headers = [
    ...strange.map((key, i) => ({ key, value: Buffer.from(String(i)) })),
    { key: '', value: Buffer.alloc(0) },
    { key: '__proto__', value: null },
    { key: '__proto__', value: Buffer.from([0xff, 0xfe, 0]) },
    { key: 'ключ', value: Buffer.from('значение') },
    { key: 'large', value: Buffer.alloc(100_000, 7) },
  ]
  const input = stream(unique('headers'), string)
  const output = stream(unique('headers-out'), string)
  await app.ensureStreams([input, output], { partitions: 1 })
  const group = defineGroup(unique('headers'), { outputs: [output] }).on(input, (ctx, value) => {
    ctx.emit(output, ctx.key, value, { headers: ctx.headers() })
  })
  const processor = app.processor(group, fast)
  await processor.start()
  await app.emitter(input).send('k', 'v', { headers })
  const consumer = client.consumer()
  consumer.assign([{ topic: output.topic, partition: 0, offset: 0 }])
  for await (const record of consumer.records()) {
    assert.equal(
      record.headers.map(({ key, value }) => [key, value?.toString('hex')]),
      headers.map(({ key, value }) => [key, value?.toString('hex')]),
    )
    break
  }
  await Promise.all([processor.close(), consumer.close()])
})

test('what is no key or no header is refused where it is given', async () => {
  const input = stream(unique('no-keys'), string)
  await app.ensureStreams([input], { partitions: 1 })
  const emitter = app.emitter(input)
  await emitter.ready()
  for (const [key, says] of [
    ['\ud800', /lone surrogate/],
    [undefined, /takes a string, not a value of type undefined/],
    [null, /takes a string, not null/],
    [7, /takes a string, not a value of type number/],
    [{}, /takes a string, not an object/],
  ] as const) {
    await refused(`key ${String(key)}`, () => emitter.send(key as string, 'v'), 'ERR_CODEC', [input.topic, says])
    await refused(`key ${String(key)}`, () => emitter.enqueue(key as string, 'v'), 'ERR_CODEC', [input.topic, says])
  }
  await emitter.send('k', 'v')
  for (const [headers, says] of [
    [[{ key: 5, value: null }], /its key must be a string/],
    [[{ key: 'a', value: 5 }], /its value a string, bytes or null/],
    [[{ key: 'a' }], /its value a string, bytes or null/],
  ] as const) {
    const output = stream(unique('never'), string)
    await app.ensureStreams([output], { partitions: 1 })
    const group = defineGroup(unique('bad-headers'), { outputs: [output] }).on(input, (ctx, value) => {
      ctx.emit(output, ctx.key, value, { headers: headers as never })
    })
    await refused('ctx.emit', () => ends(app, group, async () => {}), 'ERR_CODEC', [
      at(input.topic, 0),
      output.topic,
      says,
    ])
  }
})

test('what a type checker would refuse is refused at run time, and spoils nothing for others', async () => {
  const input = stream(unique('untyped'), string)
  const output = stream(unique('untyped-out'), string)
  await app.ensureStreams([input, output], { partitions: 1 })
  const emitter = app.emitter(input)
  const producer = client.producer()
  const send = (options: object) => () => emitter.send('k', 'v', options as never)
  const odd = (topic: unknown) => () => producer.send({ topic, value: 'v' } as never)
  const cases: readonly [string, () => unknown, string, readonly (string | RegExp)[]][] = [
    [
      'a header without a key',
      send({ headers: [{ value: 'v' }] }),
      'ERR_RECORD',
      [input.topic, /no key: it must be a string/],
    ],
    ['no header', send({ headers: [undefined] }), 'ERR_RECORD', [input.topic, /no key: it must be a string/]],
    [
      'a header with a number',
      send({ headers: [{ key: 'a', value: 5 }] }),
      'ERR_RECORD',
      ['"a"', input.topic, /must be a string, bytes/],
    ],
    [
      'a header without a value',
      send({ headers: [{ key: 'a' }] }),
      'ERR_RECORD',
      ['"a"', input.topic, /must be a string, bytes/],
    ],
    ['headers that are no list', send({ headers: { a: '1' } }), 'ERR_RECORD', [input.topic, /must be an array/]],
    ['a timestamp of NaN', send({ timestamp: Number.NaN }), 'ERR_TIMESTAMP', [/not whole milliseconds/]],
    ['half a millisecond', send({ timestamp: 1.5 }), 'ERR_TIMESTAMP', [/1\.5 is not whole milliseconds/]],
    ['a topic that is undefined', odd(undefined), 'ERR_RECORD', [/needs the name of a topic/]],
    ['a topic that is a number', odd(7), 'ERR_RECORD', [/needs the name of a topic/]],
    [
      'names instead of handles',
      () => app.ensureStreams(['x'] as never),
      'ERR_OPTIONS',
      [/handles made by stream\(\) or table\(\)/],
    ],
    [
      'half a partition',
      () => app.ensureStreams([input], { partitions: 1.5 }),
      'ERR_OPTIONS',
      [/partitions must be a whole number/],
    ],
    [
      'partitions as text',
      () => app.ensureStreams([input], { partitions: '3' as never }),
      'ERR_OPTIONS',
      [/partitions must be a whole number/],
    ],
    ['an emitter of nothing', () => app.emitter(undefined as never), 'ERR_OPTIONS', [/made by stream\(\)/]],
    ['a view of a stream', () => app.view(input as never), 'ERR_OPTIONS', [/made by table\(\)/]],
    ['a processor of nothing', () => app.processor(undefined as never), 'ERR_GRAPH', [/make one with defineGroup/]],
    [
      'a consumer of no topic',
      () => client.consumer().assign([{ partition: 0 } as never]),
      'ERR_TOPIC_NAME',
      [/must be a string, not undefined/],
    ],
    [
      'metadata of no topic',
      () => client.metadata.require([null as never]),
      'ERR_TOPIC_NAME',
      [/must be a string, not null/],
    ],
  ]
  for (const [what, run, code, says] of cases) {
    await refused(what, run, code, says)
    // The same producer, batch and metadata serve the next caller.
    const [sent] = await Promise.all([emitter.send('k', 'good'), producer.send({ topic: output.topic, value: 'v' })])
    assert.is(sent.partition, 0, what)
  }
  const elsewhere = await emitter.send('k', 'v', { topic: output.topic, key: 'other' } as never)
  assert.is(elsewhere.topic, input.topic)
  const group = defineGroup(unique('untyped'), { outputs: [output] }).on(input, (ctx) =>
    ctx.emit(output, 'k', 'v', { timestamp: 0.5 }),
  )
  await refused('ctx.emit', () => ends(app, group, async () => {}), 'ERR_CODEC', [
    at(input.topic, 0),
    output.topic,
    /whole milliseconds/,
  ])
  const empty = table(unique('empty'), string)
  await app.ensureStreams([empty], { partitions: 1 })
  const view = app.view(empty)
  await view.start()
  for (const key of ['\ud800', undefined, 5]) await refused('view.get', () => view.get(key as string), 'ERR_CODEC', [])
  await producer.close()
})

test('a key that is not UTF-8 ends the processor, naming topic, partition and offset; with a bytes codec it is a key', async () => {
  const key = Buffer.from([0xc3, 0x28, 0xff])
  const input = stream(unique('utf8'), string)
  await app.ensureStreams([input], { partitions: 1 })
  const producer = client.producer()
  await producer.send({ topic: input.topic, key: 'good', value: 'v' })
  await producer.send({ topic: input.topic, key, value: 'v' })
  const strict = defineGroup(unique('utf8'), { table: string }).on(input, (ctx, value) => ctx.set(value))
  const error = await refused('strict', () => ends(app, strict, async () => {}), 'ERR_RECORD', [
    at(input.topic, 1),
    'its key cannot be decoded',
    'not valid UTF-8',
    /defineGroup/,
  ])
  assert.equal(
    { ...error, cause: undefined },
    { ...error, topic: input.topic, partition: 0, offset: 1, cause: undefined },
  )
  const open = defineGroup(unique('bytes'), { key: bytes, table: string }).on(input, (ctx, value) =>
    ctx.set(`${Buffer.from(ctx.key).toString('hex')}=${value}`),
  )
  const processor = app.processor(open, fast)
  const view = app.view(open.table)
  await Promise.all([processor.start(), view.start()])
  assert.is(await view.until(key), 'c328ff=v')
  assert.is(view.get(key), 'c328ff=v')
  // Text that a lax decoder would make of it is another key.
  assert.is(view.get(key.toString()), undefined)
  const iterate = async (): Promise<void> => {
    for await (const [text] of view.iterate()) assert.is(text, 'good')
  }
  await refused('iterate', iterate, 'ERR_CODEC', ['not valid UTF-8'])
  await Promise.all([processor.close(), view.close(), producer.close()])
})

// ---- nulls

test('null keys: fail, skip or empty; null values: skip or fail', async () => {
  const input = stream(unique('nulls'), string)
  await app.ensureStreams([input], { partitions: 1 })
  const producer = client.producer()
  for (const [key, value] of [
    ['a', '1'],
    [null, '2'],
    ['', '3'],
    ['b', null],
    ['c', '4'],
  ] as const) {
    await producer.send({ topic: input.topic, key, value })
  }
  await producer.close()
  const cases: readonly [ProcessorOptions, readonly [string, string][] | readonly [number, RegExp]][] = [
    [{}, [1, /its key is null \(nullKeys: 'skip' or 'empty'\)/]],
    [{ nullKeys: 'fail' }, [1, /its key is null \(nullKeys: 'skip' or 'empty'\)/]],
    [{ nullKeys: 'skip', nullValues: 'fail' }, [3, /its value is null \(nullValues: 'skip'\)/]],
    [
      { nullKeys: 'skip' },
      [
        ['', '3'],
        ['a', '1'],
        ['c', '4'],
      ],
    ],
    [
      { nullKeys: 'empty', nullValues: 'skip' },
      [
        ['', '23'],
        ['a', '1'],
        ['c', '4'],
      ],
    ],
  ]
  for (const [options, expected] of cases) {
    const what = JSON.stringify(options)
    const group = defineGroup(unique('nulls'), { table: string }).on(input, (ctx, value) =>
      ctx.set((ctx.get() ?? '') + value),
    )
    const [first, says] = expected
    if (typeof first === 'number') {
      await refused(what, () => ends(app, group, async () => {}, options), 'ERR_RECORD', [
        at(input.topic, first),
        says as RegExp,
      ])
      continue
    }
    const processor = app.processor(group, { ...fast, ...options })
    const view = app.view(group.table)
    await Promise.all([processor.start(), view.start()])
    await view.until('c')
    const entries: [string, string][] = []
    for await (const entry of view.iterate()) entries.push(entry)
    assert.equal(entries, expected, what)
    await Promise.all([processor.close(), view.close()])
  }
})

test('a value that its codec refuses ends the processor, naming the record', async () => {
  const texts = stream(unique('texts'), string)
  const numbers = stream(texts.topic, int64)
  await app.ensureStreams([texts], { partitions: 1 })
  await app.emitter(texts).send('k', '12')
  await app.emitter(texts).send('__proto__', 'not a number')
  const group = defineGroup(unique('numbers'), { table: int64 }).on(numbers, (ctx, n) => ctx.set(n))
  const says = [
    at(texts.topic, 1),
    'key "__proto__"',
    'its value cannot be decoded',
    'codec int64',
    'not a decimal number',
  ]
  await refused('decode', () => ends(app, group, async () => {}), 'ERR_RECORD', says)
})

test.run()
