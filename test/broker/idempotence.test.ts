/** Idempotent producers: what the broker does with sequences and epochs, as tables of appends. */
import * as assert from 'uvu/assert'
import { initProducerId } from '../../src/protocol/api/init-producer-id.ts'
import { addSequence, ProducerState } from '../../src/broker/producer-state.ts'
import { suite } from '../support/suite.ts'
import { batch, named, send, withBroker } from './support/kit.ts'
import { idempotence } from './support/tables.ts'

const test = suite('broker: idempotent producers')
const max = 0x7fff_ffff
for (const { name, steps } of idempotence) {
  test(
    name,
    withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
      const raw = await client()
      let appended = 0
      for (const [producerId, producerEpoch, baseSequence, count, expected] of steps) {
        const more = { producerId: BigInt(producerId), producerEpoch, baseSequence }
        const values = Array.from({ length: count }, (_, i) => `${producerEpoch}/${baseSequence + i}`)
        const row = await send(raw, 't', 0, batch(values, more))
        const got = row.errorCode === 0 ? row.baseOffset : named(row.errorCode)
        assert.is(got, expected, `epoch ${producerEpoch}, sequence ${baseSequence} × ${count}`)
        if (row.errorCode === 0 && row.baseOffset === appended) appended += count
      }
      assert.is(broker.offsets('t', 0).next, appended, 'nothing was appended twice')
    }),
  )
}

test('addSequence wraps like Java’s int', () => {
  assert.is(addSequence(0, 1), 1)
  assert.is(addSequence(max, 1), 0)
  assert.is(addSequence(max - 1, 1), max)
  assert.is(addSequence(max, 5), 4)
})

test('the producer idle longest is forgotten first', () => {
  const state = new ProducerState(2)
  state.record(1, 0, 0, 1, 0, 0)
  state.record(2, 0, 0, 1, 1, 0)
  state.record(1, 0, 1, 1, 2, 0)
  state.record(3, 0, 0, 1, 3, 0)
  assert.is(state.size, 2)
  assert.is(state.check(2, 0, 9, 1).is, 'new') // forgotten: may begin anywhere
  assert.is(state.check(1, 0, 9, 1).is, 'refused')
})

test(
  'duplicates are known after a crash and a restart',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const bytes = batch(['a'], { producerId: 5n, producerEpoch: 0, baseSequence: 0 })
    await send(await client(), 't', 0, bytes)
    broker.crash()
    await broker.restart()
    assert.is((await send(await client(), 't', 0, bytes)).baseOffset, 0)
    assert.is(broker.offsets('t', 0).next, 1)
  }),
)

test(
  'InitProducerId: fresh ids with epoch 0 in all versions, transactional ids refused',
  withBroker({}, async ({ client }) => {
    const raw = await client()
    const ids = new Set<number>()
    for (let version = initProducerId.minVersion; version <= initProducerId.maxVersion; version++) {
      const answer = await raw.ask(initProducerId, version, { transactionalId: null, transactionTimeoutMs: 1 })
      assert.is(answer.errorCode, 0)
      assert.is(answer.producerEpoch, 0)
      ids.add(answer.producerId)
    }
    assert.is(ids.size, initProducerId.maxVersion - initProducerId.minVersion + 1)
    // Kafka gives a fresh id here too: without a transactional id it keeps nothing
    const bumped = await raw.ask(initProducerId, 4, {
      transactionalId: null,
      transactionTimeoutMs: 1,
      producerId: 1,
      producerEpoch: 7,
    })
    assert.not.ok(ids.has(bumped.producerId))
    const refused = await raw.ask(initProducerId, 4, { transactionalId: 'tx', transactionTimeoutMs: 1 })
    assert.is(named(refused.errorCode), 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED')
  }),
)
test.run()
