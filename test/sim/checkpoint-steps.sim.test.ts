/**
 * Checkpoints, at least once, with trouble before and after each step: kills, cuts, lost answers, stalls past the session,
 * every answer to a commit, members that enter, leave or take another's place; callbacks that misbehave. What must hold is
 * said by the oracle (checkpoint-oracle.ts). The last tests break the rules on purpose: the oracle must notice.
 */
import * as assert from 'uvu/assert'
import type { DeliveryObserver, KafkaPort, ProducerPort } from '../../src/streams/port.ts'
import { suite } from '../support/suite.ts'
import { names } from './checkpoint-group.ts'
import { drawPlan, sessionTimeoutMs } from './checkpoint-plan.ts'
import { runWorld } from './checkpoint-run.ts'
import { simulate } from './seeds.ts'
import { World } from './world.ts'

const test = suite('simulation: steps of checkpoints', { deadlineMs: 170_000 })

test('the invariants hold in every world', async () => {
  await simulate('checkpoint steps', { seeds: 300 }, (world, tally) => runWorld(world, tally))
})

test('a batch held up on the wire until all else is done is found and written over', async () => {
  const repaired = new Map<string, number>()
  for (let seed = 1; seed < 60; seed += 2) {
    const world = new World(seed)
    const isolated = { step: 'changelog', when: 'before', does: 'isolate', ms: 3 * sessionTimeoutMs } as const
    const plan = {
      ...drawPlan(world.random),
      partitions: 1,
      members: 2,
      keys: 1,
      records: 40,
      orders: ['add'],
      troubles: [{ ...isolated, nth: world.random.between(2, 6), error: 'NONE', times: 1 }],
      paceMs: 80,
    } as const
    try {
      await world.run(() => runWorld(world, repaired, { plan: () => plan }))
    } catch (cause) {
      throw new Error(`seed ${seed}\n${world.trace()}`, { cause })
    }
  }
  assert.ok((repaired.get('foreignChangelogWrite') ?? 0) >= 5, JSON.stringify([...repaired]))
})

/** A producer that says of some topics' records that they were delivered before it sends them. */
function hasty(kafka: KafkaPort, lies: (topic: string) => boolean): KafkaPort {
  const wrapped = (inner: ProducerPort): ProducerPort => ({
    append: (...record) => {
      const [topic, partition, timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers, observer] = record
      if (!lies(topic)) return inner.append(...record)
      const k = Buffer.from(key?.subarray(keyFrom, keyTo) ?? '')
      const v = value === null ? null : Buffer.from(value.subarray(valueFrom, valueTo))
      const silent: DeliveryObserver = { delivered: () => {}, failed: () => {} }
      kafka.scope.scheduler.setTimer(30, () => {
        inner.append(topic, partition, timestamp, k, 0, k.length, v, 0, v?.length ?? 0, headers, silent)
      })
      queueMicrotask(() => observer?.delivered(topic, partition, -1, 1, 0))
      return true
    },
    ready: () => inner.ready(),
    close: (options) => inner.close(options),
  })
  return replaced(kafka, { producer: (settings) => wrapped(kafka.producer(settings)) })
}

/** The port with some methods replaced. */
function replaced(kafka: KafkaPort, methods: Partial<KafkaPort>): KafkaPort {
  return {
    scope: kafka.scope,
    metadata: kafka.metadata,
    admin: kafka.admin,
    listOffsets: (...args) => kafka.listOffsets(...args),
    epochEnd: (...args) => kafka.epochEnd(...args),
    producer: (settings) => kafka.producer(settings),
    consumer: (settings) => kafka.consumer(settings),
    group: (settings) => kafka.group(settings),
    close: () => kafka.close(),
    ...methods,
  }
}

const broken: readonly { name: string; finding: RegExp; wrap: (kafka: KafkaPort) => KafkaPort }[] = [
  {
    name: 'commits before the changelog is acknowledged',
    finding: /\((a|b)\)/,
    wrap: (kafka) => hasty(kafka, (topic) => topic === names.table),
  },
  {
    name: 'commits before emits are acknowledged',
    finding: /\(a\).*was not emitted/,
    wrap: (kafka) => hasty(kafka, (topic) => topic === names.output),
  },
  {
    name: 'commits before loopbacks are acknowledged',
    finding: /\(a\).*was not looped/,
    wrap: (kafka) => hasty(kafka, (topic) => topic === names.loop),
  },
  {
    name: 'asks for the end of the changelog and hears an old one',
    finding: /\(e\)/,
    wrap: (kafka) =>
      replaced(kafka, {
        listOffsets: async (partitions, at, signal) => {
          const found = await kafka.listOffsets(partitions, at, signal)
          return partitions.map(({ topic }, i) => (topic === names.table && at === 'latest' ? 0 : found[i]!))
        },
      }),
  },
  {
    name: 'keeps its partitions when they are revoked',
    finding: /\(d\)|processed again|a store has two users|\(b\)|\(e\)/,
    wrap: (kafka) =>
      replaced(kafka, {
        group: (settings) =>
          kafka.group({ ...settings, listener: { ...settings.listener, onRevoked: () => {}, onLost: () => {} } }),
      }),
  },
]

for (const { name, finding, wrap } of broken) {
  test(`the oracle notices a processor that ${name}`, async () => {
    const findings: string[] = []
    for (let seed = 1; seed <= 40 && !findings.some((one) => finding.test(one)); seed++) {
      const world = new World(seed, { maxEvents: 200_000 })
      const plan = { ...drawPlan(world.random), members: 2, records: 60 }
      try {
        await world.run(() => runWorld(world, new Map(), { plan: () => plan, wrap }))
      } catch (cause) {
        findings.push(cause instanceof Error ? cause.message : String(cause))
      }
    }
    assert.ok(
      findings.some((one) => finding.test(one)),
      `nothing like ${finding} in ${findings.slice(0, 5).join('\n') || 'no findings'}`,
    )
  })
}

test.run()
