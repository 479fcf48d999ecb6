/**
 * The checkpoint, at least once, in a world that breaks it at every step: instances are killed, cut off, stalled and
 * rebalanced, answers are lost or errors, brokers crash and leaders move, before and after each step; callbacks change
 * values in place, forget `set`, throw after `set`. The invariants of ARCHITECTURE.md hold at every commit, store and
 * callback, and in the end the table, the outputs and the committed offsets are complete (see oracle.ts).
 */
import * as assert from 'uvu/assert'
import { json } from '../../src/streams/codecs/index.ts'
import type { DeliveryObserver, KafkaPort } from '../../src/streams/port.ts'
import { suite } from '../support/suite.ts'
import { catalogue, nameOf } from './injection.ts'
import { type State, topics } from './oracle.ts'
import { type Broken, processorWorld } from './processor-run.ts'
import { simDeadlineMs, simulate, simulateBroken } from './seeds.ts'

const test = suite('simulation: checkpoints', { deadlineMs: simDeadlineMs() })

test('the invariants hold in every world', async () => {
  const fired = new Set<string>()
  const seeds = Math.max(1000, catalogue.length * 3)
  const { size } = await simulate('checkpoint', { seeds }, (world, tally) => processorWorld(world, tally, fired))
  const missing = catalogue.map(nameOf).filter((name) => !fired.has(name))
  console.log(
    `checkpoint: ${fired.size} of ${catalogue.length} troubles have happened; not: ${missing.join(', ') || 'none'}`,
  )
  if (size > 0 && process.env['SEED'] === undefined && process.env['SIM_SEEDS'] === undefined) {
    assert.ok(missing.length < catalogue.length / 20, `too many troubles never happened: ${missing.join(', ')}`)
  }
})

/** Passes a port on, with some of it replaced. */
function changed(kafka: KafkaPort, changes: Partial<KafkaPort>): KafkaPort {
  return { ...kafka, metadata: kafka.metadata, scope: kafka.scope, close: () => kafka.close(), ...changes }
}

const broken: [name: string, seeds: number, finds: RegExp, broken: Broken][] = [
  [
    'records are taken for acknowledged when they are appended',
    100,
    /^\((a|b|e)\)|is lost/,
    {
      wrap: (kafka) =>
        changed(kafka, {
          producer: (settings) => {
            const inner = kafka.producer(settings)
            const ignore: DeliveryObserver = { delivered: () => {}, failed: () => {} }
            return {
              append(topic, partition, timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers, observer) {
                queueMicrotask(() => observer?.delivered(topic, partition, -1, 1, 0))
                return inner.append(
                  topic,
                  partition,
                  timestamp,
                  key,
                  keyFrom,
                  keyTo,
                  value,
                  valueFrom,
                  valueTo,
                  headers,
                  ignore,
                )
              },
              ready: () => inner.ready(),
              close: (options) => inner.close(options),
            }
          },
        }),
    },
  ],
  [
    'the offset of the next record is committed too',
    100,
    /^\(a\)|is lost/,
    {
      wrap: (kafka) =>
        changed(kafka, {
          group: (settings) => {
            const inner = kafka.group(settings)
            return {
              join: () => inner.join(),
              metadata: () => inner.metadata(),
              get lastHeartbeatSentAt() {
                return inner.lastHeartbeatSentAt
              },
              heartbeatNow: () => inner.heartbeatNow(),
              commitOnce: (offsets) =>
                inner.commitOnce(offsets.map((one) => ({ ...one, offset: one.offset === 0 ? 0 : one.offset + 1 }))),
              committed: (partitions, options) => inner.committed(partitions, options),
              close: () => inner.close(),
            }
          },
        }),
    },
  ],
  [
    'a table is restored to the end of its log minus one',
    200,
    /^\((b|e)\)|processor of .* ended/,
    {
      wrap: (kafka) =>
        changed(kafka, {
          listOffsets: async (partitions, at, signal) => {
            const found = await kafka.listOffsets(partitions, at, signal)
            const isTable = partitions[0]?.topic === topics.table && at === 'latest'
            return isTable ? found.map((offset) => Math.max(0, offset - 1)) : found
          },
        }),
    },
  ],
  [
    'objects that a callback changes in place are trusted',
    100,
    /has left a trace|^\(b\)/,
    { codec: { ...json<State>(), immutable: true } },
  ],
]
for (const [name, seeds, finds, how] of broken) {
  test(`found, if it were so: ${name}`, async () => {
    const message = await simulateBroken(name, { seeds }, (world, tally) =>
      processorWorld(world, tally, new Set(), how),
    )
    assert.match(message, finds)
  })
}

test.run()
