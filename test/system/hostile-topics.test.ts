/** Topics that are missing, uneven or not compacted, on any broker: each is named, with the remedy. */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { type AnyGroup, defineGroup, Millrace, stream, table } from '../../src/index.ts'
import { string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'
import { ends, fast, refused } from './hostile.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('topics that do not fit (system)', { deadlineMs: 60_000 })
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
  const start = (group: AnyGroup) => () => ends(app, group, () => Promise.reject(new Error('it started')), soon)
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
