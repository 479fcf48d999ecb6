/** Names of topics and groups that nobody should use, on any broker: they work, or every way in says what is wrong with them. */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream, table } from '../../src/index.ts'
import { integer, string } from '../../src/streams/codecs/index.ts'
import { suite } from '../support/suite.ts'
import { fast, longest, refused, strange } from './hostile.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('hostile names (system)', { deadlineMs: 60_000 })
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

test.run()
