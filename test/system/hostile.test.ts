/** Names, keys, headers, values and topics that nobody should use, on any broker: a right result, or a typed error that says what, where and what to do. */
import * as assert from 'uvu/assert'
import { MillraceError } from '../../src/base/errors.ts'
import { Client } from '../../src/client/index.ts'
import { type AnyGroup, defineGroup, Millrace, type ProcessorOptions, stream, table } from '../../src/index.ts'
import { bytes, int64, integer, json, string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('hostile inputs (system)', { deadlineMs: 60_000 })
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

const fast = { sessionTimeoutMs: 6_000, checkpointIntervalMs: 20 } as const

/** What is thrown or rejected with; it must be one of ours, with this code, and its message must say all of `says`. */
async function refused(
  what: string,
  run: () => unknown,
  code: string,
  says: readonly (string | RegExp)[],
): Promise<MillraceError> {
  let error: unknown
  try {
    await run()
  } catch (cause) {
    error = cause
  }
  assert.instance(error, MillraceError, `${what}: ${String(error)}`)
  const { code: actual, message } = error as MillraceError
  assert.is(actual, code, `${what}: ${message}`)
  for (const part of says) {
    const found = typeof part === 'string' ? message.includes(part) : part.test(message)
    assert.ok(found, `${what}: the message does not say ${String(part)}: ${message}`)
  }
  return error as MillraceError
}

/** Starts a processor of `group` and resolves with what ends it. */
async function ends(group: AnyGroup, feed: () => Promise<unknown>, options: ProcessorOptions = {}): Promise<void> {
  const processor = app.processor(group as never, { ...fast, ...options })
  try {
    await processor.start()
    await feed()
    await processor.done
  } finally {
    await processor.close().catch(() => {})
  }
}

const at = (topic: string, offset: number): string => `${topic}/0, offset ${offset}`
const longest = 'n'.repeat(249)
/** Names of Object.prototype, of devices, and the longest: legal everywhere. */
const strange = ['__proto__', 'constructor', 'hasOwnProperty', 'CON', '...', '-', longest]

// ---- names

for (const name of strange) {
  const shown = name.length > 20 ? `${name.length} characters` : name
  test(`a topic and a group named ${shown}: records pass, offsets are committed`, async () => {
    // The broker may have it from an earlier run: keys tell the runs apart.
    const key = unique('run')
    const topic = stream(name, string)
    const results = stream(unique('results'), string)
    await app.ensureStreams([topic, results], { partitions: 2 })
    const group = defineGroup(name, { outputs: [results] }).on(topic, (ctx, value) => {
      ctx.emit(results, ctx.key, `${value} of ${ctx.topic}`)
    })
    const processor = app.processor(group, { ...fast, onEvent: () => {} })
    await processor.start()
    const sent = await app.emitter(topic).send(key, 'v')
    const consumer = client.consumer()
    consumer.assign([0, 1].map((partition) => ({ topic: results.topic, partition, offset: 'earliest' })))
    for await (const record of consumer.records()) {
      if (record.key?.toString() !== key) continue
      assert.is(record.value?.toString(), `v of ${name}`)
      break
    }
    await processor.close()
    const reader = client.consumer({ groupId: name })
    const [committed] = await reader.committed([{ topic: name, partition: sent.partition }])
    assert.is(committed?.offset, sent.offset + 1)
    await Promise.all([consumer.close(), reader.close()])
  })
}

for (const name of strange.filter((one) => one !== longest)) {
  test(`a group with table and loop named ${name}: its view tells what it set`, async () => {
    const key = unique('run')
    const input = stream(unique('input'), integer)
    await app.ensureStreams([input], { partitions: 2 })
    const group = defineGroup(`t.${name}`, { table: integer, loop: integer })
      .on(input, (ctx, n) => ctx.loopback(ctx.key, n))
      .onLoop((ctx, n) => ctx.set((ctx.get() ?? 0) + n))
    const processor = app.processor(group, fast)
    const view = app.view(group.table)
    await Promise.all([processor.start(), view.start()])
    await app.emitter(input).send(key, 5)
    await app.emitter(input).send(key, 6)
    assert.is(await view.until(key, (n) => n === 11), 11)
    await Promise.all([processor.close(), view.close()])
  })
}

for (const [name, says] of [
  ['..', "must not be '..'"],
  ['.', "must not be '.'"],
  ['', 'must not be empty'],
  ['n'.repeat(250), /has 250 characters, at most 249/],
  ['a/b', /may contain letters, digits/],
  ['a b', /may contain letters, digits/],
  ['naïve', /may contain letters, digits/],
  ['a\0b', /may contain letters, digits/],
  ['a\n', /may contain letters, digits/],
] as const) {
  const shown = JSON.stringify(name.slice(0, 20))
  test(`${shown} is no topic: every way in says so`, async () => {
    await refused('stream()', () => stream(name, string), 'ERR_TOPIC_NAME', [JSON.stringify(name).slice(0, 70), says])
    await refused('table()', () => table(name, string), 'ERR_TOPIC_NAME', [JSON.stringify(name).slice(0, 70), says])
    const input = stream('input', string)
    const group = defineGroup(name, {}).on(input, () => {})
    await refused('a group', () => app.processor(group), 'ERR_GRAPH', [`group ${name}`, says])
    const admin = client.admin()
    const code = 'INVALID_TOPIC_EXCEPTION'
    await refused('createTopics', () => admin.createTopics([{ name, partitions: 1 }]), code, [name])
    if (name === '') return
    const producer = client.producer()
    await refused('send', () => producer.send({ topic: name, value: 'v' }), code, [`topic ${name}`])
    await producer.close()
    const consumer = client.consumer()
    consumer.assign([{ topic: name, partition: 0, offset: 0 }])
    const read = async (): Promise<void> => {
      for await (const record of consumer.records()) throw new Error(`a record: ${record.offset}`)
    }
    await refused('read', read, code, [name])
    await consumer.close()
  })
}

test('a group whose own topics would be too long names them', async () => {
  const input = stream('input', string)
  const group = defineGroup(longest, { table: string, loop: string })
    .on(input, () => {})
    .onLoop(() => {})
  await refused('a group of 249 characters', () => app.processor(group), 'ERR_GRAPH', [
    `${longest}-table has 255 characters, at most 249`,
    `${longest}-loop has 254 characters, at most 249`,
  ])
})

// ---- keys and headers

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
    await refused('ctx.emit', () => ends(group, async () => {}), 'ERR_CODEC', [at(input.topic, 0), output.topic, says])
  }
})

test('a key that is not UTF-8 ends the processor, naming topic, partition and offset; with a bytes codec it is a key', async () => {
  const key = Buffer.from([0xc3, 0x28, 0xff])
  const input = stream(unique('utf8'), string)
  await app.ensureStreams([input], { partitions: 1 })
  const producer = client.producer()
  await producer.send({ topic: input.topic, key: 'good', value: 'v' })
  await producer.send({ topic: input.topic, key, value: 'v' })
  const strict = defineGroup(unique('utf8'), { table: string }).on(input, (ctx, value) => ctx.set(value))
  const error = await refused('strict', () => ends(strict, async () => {}), 'ERR_RECORD', [
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
      await refused(what, () => ends(group, async () => {}, options), 'ERR_RECORD', [
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
  await refused('decode', () => ends(group, async () => {}), 'ERR_RECORD', says)
})

// ---- sizes

const MB = 1_000_000
/** Above every default limit of a topic, below that of a request. */
const oversize = 1_100_000
/** Above what one request of ours may carry. */
const huge = 17 * 1024 * 1024

test('values of 1 MB pass from end to end, and through the table', async () => {
  const input = stream(unique('large'), bytes)
  const output = stream(unique('large-out'), bytes)
  await app.ensureStreams([input, output], { partitions: 1 })
  const group = defineGroup(unique('large'), { table: bytes, outputs: [output] }).on(input, (ctx, value) => {
    ctx.set(value)
    ctx.emit(output, ctx.key, value)
  })
  const processor = app.processor(group, fast)
  const view = app.view(group.table)
  await Promise.all([processor.start(), view.start()])
  const emitter = app.emitter(input)
  const values = [1, 2, 3].map((fill) => Buffer.alloc(MB, fill))
  await Promise.all(values.map((value, i) => emitter.send(`k${i}`, value)))
  for (const [i, value] of values.entries()) assert.ok(value.equals((await view.until(`k${i}`)) as Buffer))
  const consumer = client.consumer()
  consumer.assign([{ topic: output.topic, partition: 0, offset: 0 }])
  let count = 0
  for await (const record of consumer.records()) {
    assert.ok(values[count]!.equals(record.value!))
    count += 1
    if (count === values.length) break
  }
  await Promise.all([processor.close(), view.close(), consumer.close()])
})

test('a value above the limit: emitter.send and sendBatch name topic, size and limit; others are not harmed', async () => {
  const input = stream(unique('oversize'), bytes)
  await app.ensureStreams([input], { partitions: 1 })
  const emitter = app.emitter(input)
  const sends = [MB, oversize, 10, huge, 20].map((size) => emitter.send('k', Buffer.alloc(size)))
  const outcomes = await Promise.allSettled(sends)
  assert.equal(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
  )
  await refused('above the topic', () => sends[1], 'MESSAGE_TOO_LARGE', [
    `${input.topic}/0`,
    /a record of 1100\d\d\d bytes/,
    /max\.message\.bytes/,
    /raise it, or send a smaller record/,
  ])
  await refused('above the request', () => sends[3], 'MESSAGE_TOO_LARGE', [
    input.topic,
    /a record of 178258\d\d bytes/,
    'maxRequestBytes 16777216',
    /raise it, or send a smaller record/,
  ])
  assert.equal(
    outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.offset] : [])),
    [0, 1, 2],
  )
})

for (const [what, size, code, says] of [
  [
    'ctx.set above the topic’s limit',
    oversize,
    'ERR_CHANGELOG',
    [/the value it set \(110000\d bytes/, '-table/0', /max\.message\.bytes: raise it/],
  ],
  [
    'ctx.set above what a request carries',
    huge,
    'ERR_CHANGELOG',
    [/the value it set \(1782579\d bytes/, '-table/0', 'maxRequestBytes 16777216: raise it'],
  ],
] as const) {
  test(`${what}: the error names the key and the input that set it; what was before is kept`, async () => {
    const input = stream(unique('sets'), integer)
    await app.ensureStreams([input], { partitions: 1 })
    const group = defineGroup(unique('sets'), { table: bytes }).on(input, (ctx, n) => ctx.set(Buffer.alloc(n, 1)))
    const emitter = app.emitter(input)
    const feed = async (): Promise<void> => {
      await Promise.all([
        ...Array.from({ length: 20 }, (_, i) => emitter.send(`k${i}`, 1_000 + i)),
        emitter.send('big', size),
        emitter.send('after', 5),
      ])
    }
    await refused(what, () => ends(group, feed), code, [at(input.topic, 20), 'key "big"', ...says])
  })
}

for (const [what, size, code, says] of [
  [
    'ctx.emit above the topic’s limit',
    oversize,
    'ERR_CHANGELOG',
    [/what it emitted to emitted-\S+ \(110000\d bytes\)/, /max\.message\.bytes: raise it/],
  ],
  [
    'ctx.emit above what a request carries',
    huge,
    'ERR_CALLBACK_LIMIT',
    [/a record of 178\d+ bytes for emitted-/, 'emit smaller records'],
  ],
] as const) {
  test(`${what}: the error names the input that emitted it`, async () => {
    const input = stream(unique('emits'), integer)
    const output = stream(unique('emitted'), bytes)
    await app.ensureStreams([input, output], { partitions: 1 })
    const group = defineGroup(unique('emits'), { outputs: [output] }).on(input, (ctx, n) => {
      ctx.emit(output, 'a', Buffer.alloc(10))
      ctx.emit(output, ctx.key, Buffer.alloc(n))
    })
    const emitter = app.emitter(input)
    const feed = async (): Promise<void> => {
      await Promise.all([emitter.send('small', 5), emitter.send('big', size), emitter.send('after', 5)])
    }
    const options = { maxCallbackBytes: 32 * 1024 * 1024 }
    await refused(what, () => ends(group, feed, options), code, [at(input.topic, 1), 'key "big"', ...says])
  })
}

test('a callback that emits too much altogether is told by ctx.emit', async () => {
  const input = stream(unique('floods'), string)
  const output = stream(unique('flooded'), bytes)
  await app.ensureStreams([input, output], { partitions: 1 })
  const group = defineGroup(unique('floods'), { outputs: [output] }).on(input, (ctx) => {
    for (let i = 0; i < 100; i++) ctx.emit(output, 'k', Buffer.alloc(1_000))
  })
  await refused(
    'flood',
    () => ends(group, () => app.emitter(input).send('k', 'v'), { maxCallbackBytes: 50_000 }),
    'ERR_CALLBACK_LIMIT',
    [at(input.topic, 0), 'maxCallbackBytes (50000 bytes)', 'raise the limit'],
  )
})

// ---- topics that do not fit

test('topics that are missing, uneven or not compacted: each is named, with the remedy', async () => {
  const two = stream(unique('two'), string)
  const three = stream(unique('three'), string)
  const plain = stream(unique('plain'), string)
  const missing = stream(unique('missing'), string)
  const plainTable = table(plain.topic, string)
  const missingTable = table(missing.topic, string)
  const unevenName = unique('uneven')
  const plainName = unique('plain-group')
  await app.ensureStreams([two, plain, stream(`${plainName}-table`, string)], { partitions: 2 })
  await app.ensureStreams([three, table(`${unevenName}-table`, string)], { partitions: 3 })
  const soon = { missingTopicTimeoutMs: 50 }
  const nothing = (): void => {}
  const start = (group: AnyGroup) => () => ends(group, () => Promise.reject(new Error('it started')), soon)
  const cases: readonly [string, () => unknown, string, readonly (string | RegExp)[]][] = [
    [
      'inputs with uneven counts',
      start(defineGroup(unique('g'), {}).on(two, nothing).on(three, nothing)),
      'ERR_PARTITION_COUNT',
      [`${two.topic} has 2`, `${three.topic} has 3`, /equal partition counts.*copy the topic/],
    ],
    [
      'a table topic with another count',
      start(defineGroup(unevenName, { table: string }).on(two, nothing)),
      'ERR_PARTITION_COUNT',
      [`${two.topic} has 2`, `${unevenName}-table has 3`, /copy the topic/],
    ],
    [
      'a join with another count',
      start(defineGroup(unique('g'), { joins: [table(`${unevenName}-table`, string)] }).on(two, nothing)),
      'ERR_PARTITION_COUNT',
      [`${two.topic} has 2`, `${unevenName}-table has 3`, /copy the topic/],
    ],
    [
      'a group table that is not compacted',
      start(defineGroup(plainName, { table: string }).on(two, nothing)),
      'ERR_TABLE_NOT_COMPACTED',
      [`${plainName}-table`, 'cleanup.policy=delete', 'Set cleanup.policy=compact'],
    ],
    [
      'a join that is not compacted',
      start(defineGroup(unique('g'), { joins: [plainTable] }).on(two, nothing)),
      'ERR_TABLE_NOT_COMPACTED',
      [plain.topic, 'Set cleanup.policy=compact'],
    ],
    [
      'a lookup that is not compacted',
      start(defineGroup(unique('g'), { lookups: [plainTable] }).on(two, nothing)),
      'ERR_TABLE_NOT_COMPACTED',
      [plain.topic, 'Set cleanup.policy=compact'],
    ],
    [
      'a view of what is not compacted',
      () => app.view(plainTable).start(),
      'ERR_TABLE_NOT_COMPACTED',
      [plain.topic, 'Set cleanup.policy=compact'],
    ],
    [
      'a missing input',
      start(defineGroup(unique('g'), {}).on(missing, nothing)),
      'ERR_TOPIC_MISSING',
      [missing.topic, 'ensureStreams'],
    ],
    [
      'a missing output',
      start(defineGroup(unique('g'), { outputs: [missing] }).on(two, nothing)),
      'ERR_TOPIC_MISSING',
      [missing.topic, 'ensureStreams'],
    ],
    [
      'a missing join',
      start(defineGroup(unique('g'), { joins: [missingTable] }).on(two, nothing)),
      'ERR_TOPIC_MISSING',
      [missing.topic, 'ensureStreams'],
    ],
    [
      'a missing lookup',
      start(defineGroup(unique('g'), { lookups: [missingTable] }).on(two, nothing)),
      'ERR_TOPIC_MISSING',
      [missing.topic, 'ensureStreams'],
    ],
    [
      'a view of what is missing',
      () => app.view(missingTable, soon).start(),
      'ERR_TOPIC_MISSING',
      [missing.topic, 'ensureStreams'],
    ],
    [
      'a send to what is missing',
      () => client.producer(soon).send({ topic: missing.topic, value: 'v' }),
      'UNKNOWN_TOPIC_OR_PARTITION',
      [missing.topic, 'create it'],
    ],
    [
      'a send to a missing partition',
      () => client.producer(soon).send({ topic: two.topic, partition: 7, value: 'v' }),
      'UNKNOWN_TOPIC_OR_PARTITION',
      [two.topic, '7', /0 to 1/],
    ],
    ['no partitions', () => app.ensureStreams([missing], { partitions: 0 }), 'INVALID_PARTITIONS', [missing.topic]],
    [
      'fewer than no partitions',
      () => app.ensureStreams([missing], { partitions: -7 }),
      'INVALID_PARTITIONS',
      [missing.topic],
    ],
    [
      'more replicas than brokers',
      () => app.ensureStreams([missing], { partitions: 1, replicationFactor: 99 }),
      'INVALID_REPLICATION_FACTOR',
      [missing.topic],
    ],
    [
      'a topic that is there',
      () => client.admin().createTopics([{ name: two.topic, partitions: 2 }]),
      'TOPIC_ALREADY_EXISTS',
      [two.topic],
    ],
    [
      'a setting that makes no sense',
      () =>
        client.admin().createTopics([{ name: missing.topic, partitions: 1, configs: { 'cleanup.policy': 'shred' } }]),
      'INVALID_CONFIG',
      [missing.topic, 'shred'],
    ],
  ]
  const failures: string[] = []
  for (const [what, run, code, says] of cases) {
    await refused(what, run, code, says).catch((cause: Error) => failures.push(cause.message))
  }
  assert.equal(failures, [])
})

test('a topic that appears late is waited for', async () => {
  const late = stream(unique('late'), string)
  const group = defineGroup(unique('late'), { table: string }).on(late, (ctx, value) => ctx.set(value))
  const states: string[] = []
  const processor = app.processor(group, { ...fast, onStateChange: ({ at: state }) => states.push(state) })
  const view = app.view(group.table)
  const started = Promise.all([processor.start(), view.start()])
  started.catch(() => {})
  await until(() => states.length > 0)
  await app.ensureStreams([late], { partitions: 1 })
  await started
  await app.emitter(late).send('k', 'v')
  assert.is(await view.until('k'), 'v')
  await Promise.all([processor.close(), view.close()])
})

test.run()
