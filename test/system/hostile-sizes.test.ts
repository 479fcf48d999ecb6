/** Records of 1 MB, and records above what a topic or a request takes, on any broker. */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { bytes, integer, string } from '../../src/streams/codecs/index.ts'
import { suite } from '../support/suite.ts'
import { at, ends, fast, refused } from './hostile.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('large records (system)', { deadlineMs: 60_000 })
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

test('a value above the limit: emitter.send names topic, size and limit; others are not harmed', async () => {
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
    await refused(what, () => ends(app, group, feed), code, [at(input.topic, 20), 'key "big"', ...says])
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
    await refused(what, () => ends(app, group, feed, options), code, [at(input.topic, 1), 'key "big"', ...says])
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
    () => ends(app, group, () => app.emitter(input).send('k', 'v'), { maxCallbackBytes: 50_000 }),
    'ERR_CALLBACK_LIMIT',
    [at(input.topic, 0), 'maxCallbackBytes (50000 bytes)', 'raise the limit'],
  )
})

test.run()
