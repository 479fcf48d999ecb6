/** Where a consumer reads, on any target: committed offsets, seek, pause, lag, offsets that do not exist. */
import * as assert from 'uvu/assert'
import { Client, MillraceError } from '../../src/client/index.ts'
import { rejects, suite, until } from '../support/suite.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('system/positions', { deadlineMs: 60_000 })
let target: Target
let client: Client
test.before(async () => {
  target = await openTarget()
  client = new Client({ brokers: target.brokers })
})
test.after(async () => {
  await client.close()
  await target.close()
})

/** A topic of one partition with these values. */
async function topicOf(values: readonly string[]): Promise<string> {
  const topic = unique('positions')
  await client.admin().createTopics([{ name: topic, partitions: 1 }])
  const producer = client.producer()
  await producer.sendBatch(values.map((value) => ({ topic, partition: 0, value })))
  await producer.close()
  return topic
}

test('what was committed by hand is where the group begins; seek, pause and lag', async () => {
  const topic = await topicOf(Array.from({ length: 10 }, (_, i) => String(i)))
  const groupId = unique('group')
  const tp = { topic, partition: 0 }
  const first = client.consumer({ groupId, autoCommitIntervalMs: 0 })
  await first.commit([{ ...tp, offset: 4, metadata: 'a note' }])
  const [found] = await first.committed([tp])
  assert.equal([found!.offset, found!.metadata], [4, 'a note'])
  first.assign([tp])
  const records = first.records()
  const next = async (): Promise<string> => String((await records.next()).value?.value)
  assert.is(await next(), '4')
  first.seek(tp, 8)
  assert.is(await next(), '8')
  first.seek(tp, 'earliest')
  assert.is(await next(), '0')
  first.seek(tp, 'latest')
  const last = next()
  await until(() => first.position(tp) === 10)
  const producer = client.producer()
  await producer.send({ topic, partition: 0, key: null, value: 'new' })
  await producer.close()
  assert.is(await last, 'new')
  assert.is(first.lag(tp), 0)
  first.pause([tp])
  first.seek(tp, 2)
  await until(() => first.position(tp) === 2)
  assert.is(first.take(), undefined)
  first.resume([tp])
  assert.is(await next(), '2')
  await first.close()

  const second = client.consumer({ groupId, sessionTimeoutMs: 6_000 })
  second.subscribe([topic])
  assert.is(String((await second.records().next()).value?.value), '4')
  await second.close()
})

test('an offset that does not exist is reset, or thrown with the position', async () => {
  const topic = await topicOf(['only'])
  const careless = client.consumer()
  careless.assign([{ topic, partition: 0, offset: 1_000 }])
  assert.is(String((await careless.records().next()).value?.value), 'only')
  await careless.close()
  const careful = client.consumer({ startFrom: 'error' })
  careful.assign([{ topic, partition: 0, offset: 1_000 }])
  const error = await rejects(careful.records().next())
  assert.instance(error, MillraceError)
  assert.equal([(error as MillraceError).code, (error as { offset?: number }).offset], ['OFFSET_OUT_OF_RANGE', 1_000])
  await careful.close()
})

test('a position with an old leader epoch is validated before it is read', async () => {
  const topic = await topicOf(['a', 'b', 'c'])
  const consumer = client.consumer()
  consumer.assign([{ topic, partition: 0, offset: 1, leaderEpoch: 0 }])
  assert.is(String((await consumer.records().next()).value?.value), 'b')
  await consumer.close()
})

test.run()
