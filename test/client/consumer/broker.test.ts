/** A consumer against the embedded broker over TCP. */
import * as assert from 'uvu/assert'
import { Broker } from '../../../src/broker/index.ts'
import { Client } from '../../../src/client/client.ts'
import { Consumer } from '../../../src/client/consumer/consumer.ts'
import { suite } from '../../support/suite.ts'

const test = suite('consumer on the embedded broker')

test('reads what was produced, then waits for more', async () => {
  await using broker = await Broker.start({ topics: { t: 2 } })
  await using client = new Client({ brokers: broker.brokers })
  const producer = client.producer()
  await producer.sendBatch([0, 1, 2, 3, 4].map((i) => ({ topic: 't', partition: i % 2, key: `k${i}`, value: `v${i}` })))
  await using consumer = new Consumer(client)
  consumer.assign([
    { topic: 't', partition: 0 },
    { topic: 't', partition: 1 },
  ])
  const seen: string[] = []
  for await (const record of consumer.records()) {
    seen.push(`${record.partition}:${record.offset}:${record.key?.toString()}=${record.value?.toString()}`)
    if (seen.length === 5) await producer.send({ topic: 't', partition: 1, key: null, value: 'later' })
    if (seen.length === 6) break
  }
  assert.equal(seen.slice(0, 5).sort(), ['0:0:k0=v0', '0:1:k2=v2', '0:2:k4=v4', '1:0:k1=v1', '1:1:k3=v3'])
  assert.is(seen[5], '1:2:undefined=later')
  assert.is(consumer.position({ topic: 't', partition: 1 }), 3)
})

test.run()
