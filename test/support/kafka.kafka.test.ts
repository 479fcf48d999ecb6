/** The harness itself: a node comes up, is killed, comes back with its data, and leaves nothing behind. */
import { existsSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { brokersKnownTo, Kafka } from './kafka.ts'
import { rejects, suite } from './suite.ts'

const test = suite('support/kafka', { deadlineMs: 120_000 })

test('starts, is killed, restarts on its port, and ends without a trace', async () => {
  const kafka = await Kafka.start(process.env['MILLRACE_KAFKA'] ?? '4.3')
  const port = Number(kafka.brokers.split(':')[1])
  assert.is(await brokersKnownTo(port), 1)
  await kafka.kill()
  assert.is(await brokersKnownTo(port), 0)
  await kafka.restart()
  assert.is(await brokersKnownTo(port), 1)
  await kafka.close()
  assert.is(await brokersKnownTo(port), 0)
  assert.not(existsSync(kafka.dataDir))
})

test('says in the broker’s words why it cannot start', async () => {
  const config = { 'log.segment.bytes': 'many' }
  const error = await rejects(Kafka.start('4.3', { config }).then((kafka) => kafka.close()))
  assert.match(error.message, /log\.segment\.bytes/)
})

test.run()
