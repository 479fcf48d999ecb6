/** After close() nothing is left: no handle in this process, no connection at the broker; also when the broker is gone. */
import * as assert from 'uvu/assert'
import { Broker } from '../../src/broker/index.ts'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { integer, string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'

const test = suite('after close (system)')

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** What keeps the process alive, without its standard streams. */
const resources = (): string[] =>
  process
    .getActiveResourcesInfo()
    .filter((name) => name !== 'PipeWrap' && name !== 'TTYWrap')
    .sort()

/** Something that was opened and does something; `busy` leaves work undone. */
interface Subject {
  close(): Promise<void>
  /** Gives it work that only a broker could end. */
  busy?(): void
}

type Opener = (brokers: string) => Promise<Subject>

/** Failing is what work does that the broker never ends. */
const unheard = (promise: Promise<unknown>): void => void promise.catch(() => {})

function ofClient(open: (client: Client) => Promise<(() => void) | undefined>): Opener {
  return async (brokers) => {
    const client = new Client({ brokers, requestTimeoutMs: 2_000 })
    const busy = await open(client)
    return { close: () => client.close(), ...(busy === undefined ? {} : { busy }) }
  }
}

const input = stream('input', integer)
const output = stream('output', string)
const other = defineGroup('other', { table: string }).on(output, (ctx, value) => ctx.set(value))
const group = defineGroup('all', {
  table: integer,
  loop: integer,
  outputs: [output],
  joins: [other.table],
  lookups: [other.table],
})
  .on(input, (ctx, n) => {
    ctx.set((ctx.get() ?? 0) + n)
    ctx.emit(output, ctx.key, ctx.join(other.table) ?? 'none')
    ctx.loopback(`${ctx.key}-again`, n)
  })
  .onLoop((ctx, n) => ctx.set(n))

const quick = { sessionTimeoutMs: 6_000, checkpointIntervalMs: 20, closeTimeoutMs: 200 } as const

async function makeStreams(app: Millrace): Promise<void> {
  await app.ensureStreams([input, output, other.table], { partitions: 2 })
}

function ofApp(open: (app: Millrace) => Promise<(() => void) | undefined>): Opener {
  return async (brokers) => {
    const app = new Millrace({ brokers, requestTimeoutMs: 2_000, closeTimeoutMs: 200 })
    await makeStreams(app)
    const busy = await open(app)
    // What was lost is told, after everything was closed.
    return { close: () => app.close().catch(() => {}), ...(busy === undefined ? {} : { busy }) }
  }
}

const openers: Readonly<Record<string, Opener>> = {
  'a client that did nothing': ofClient(async () => {}),
  'a producer': ofClient(async (client) => {
    const producer = client.producer({ deliveryTimeoutMs: 500 })
    await Promise.all(Array.from({ length: 100 }, (_, i) => producer.send({ topic: 't', key: `${i}`, value: 'v' })))
    return () => unheard(producer.send({ topic: 't', value: 'late' }))
  }),
  'a producer of a topic that does not exist': ofClient(async (client) => {
    unheard(client.producer({ deliveryTimeoutMs: 500 }).send({ topic: 'nowhere', value: 'v' }))
  }),
  'a consumer in a long poll': ofClient(async (client) => {
    const consumer = client.consumer()
    consumer.assign([0, 1, 2].map((partition) => ({ topic: 't', partition, offset: 'latest' })))
    return () => unheard(consumer.batches().next())
  }),
  'a consumer of a topic that does not exist': ofClient(async (client) => {
    client.consumer().assign([{ topic: 'nowhere', partition: 0 }])
  }),
  'a consumer in a group': ofClient(async (client) => {
    const consumer = client.consumer({ groupId: 'g', sessionTimeoutMs: 6_000, closeTimeoutMs: 500 })
    consumer.subscribe(['t'])
    await until(() => consumer.assignment().length === 3)
    return () => unheard(consumer.commit([{ topic: 't', partition: 0, offset: 0 }]))
  }),
  'a membership': ofClient(async (client) => {
    const listener = { onAssigned: () => {}, onRevoked: () => {}, onLost: () => {}, onError: () => {} }
    const member = client.group({ groupId: 'm', topics: ['t'], sessionTimeoutMs: 6_000, listener })
    member.join()
    await until(() => member.state.at === 'stable')
  }),
  'an admin': ofClient(async (client) => {
    const admin = client.admin()
    await admin.createTopics([{ name: 'made', partitions: 2 }]).catch(() => {})
    await admin.describeTopicConfig('t')
    return () => unheard(admin.createTopics([{ name: 'never', partitions: 2 }], { timeoutMs: 500 }))
  }),
  'an application that did nothing': ofApp(async () => {}),
  'an emitter': ofApp(async (app) => {
    const emitter = app.emitter(input)
    await emitter.send('k', 1)
    return () => void emitter.enqueue('k', 2)
  }),
  'a view': ofApp(async (app) => {
    const view = app.view(other.table)
    await view.start()
    return () => unheard(view.until('never'))
  }),
  'a view that waits for its topic': ofApp(async (app) => {
    unheard(app.view(defineGroup('nobody', { table: string }).table).start())
  }),
  'processors with tables, loop, join and lookup': ofApp(async (app) => {
    const processor = app.processor(group, quick)
    await Promise.all([processor.start(), app.processor(other, quick).start()])
    const emitter = app.emitter(input)
    await Promise.all(Array.from({ length: 100 }, (_, i) => emitter.send(`k${i}`, i)))
    unheard(processor.done)
    return () => void emitter.enqueue('k', 1)
  }),
  'a processor that waits for its topic': ofApp(async (app) => {
    unheard(
      app
        .processor(
          defineGroup('w', {}).on(stream('nowhere', string), () => {}),
          quick,
        )
        .start(),
    )
  }),
  'a processor that failed': ofApp(async (app) => {
    const bad = defineGroup('bad', {}).on(input, () => {
      throw new Error('no')
    })
    const processor = app.processor(bad, quick)
    await processor.start()
    await app.emitter(input).send('k', 1)
    await processor.done.catch(() => {})
  }),
}

/** Close must not take longer, milliseconds: the options above, and leaving a group whose coordinator is gone. */
const bound = 8_000

const moments: Readonly<Record<string, (subject: Subject, broker: Broker) => void>> = {
  'in peace': () => {},
  'at work': (subject) => subject.busy?.(),
  'when the broker is gone': (_subject, broker) => broker.crash(),
  'at work when the broker is gone': (subject, broker) => {
    broker.crash()
    subject.busy?.()
  },
  'at work when the broker goes': (subject, broker) => {
    subject.busy?.()
    broker.crash()
  },
}

for (const [what, open] of Object.entries(openers)) {
  test(`${what}: closed at any moment, with or without a broker`, async () => {
    const before = resources()
    const faults: string[] = []
    await Promise.all(
      Object.entries(moments).map(async ([when, moment]) => {
        const broker = await Broker.start({ topics: { t: 3 }, nodes: 2 })
        const subject = await open(broker.brokers)
        moment(subject, broker)
        const began = performance.now()
        await subject.close()
        const took = performance.now() - began
        if (took > bound) faults.push(`${when}: close took ${took.toFixed(0)} ms`)
        // The broker hears of the closed sockets in a later turn.
        for (let i = 0; i < 50 && broker.connectionCount > 0; i++) await turn()
        if (broker.connectionCount > 0) faults.push(`${when}: the broker counts ${broker.connectionCount} connections`)
        await broker.close()
      }),
    )
    for (let i = 0; i < 10; i++) await turn()
    assert.equal(faults, [])
    assert.equal(resources(), before)
  })
}

test('an embedded broker ends with its application', async () => {
  const before = resources()
  const app = new Millrace({ brokers: 'embedded:' })
  const processor = app.processor(group, quick)
  await Promise.all([processor.start(), app.processor(other, quick).start()])
  await app.emitter(input).send('k', 1)
  const view = app.view(other.table)
  await view.start()
  await app.close()
  for (let i = 0; i < 10; i++) await turn()
  assert.equal(resources(), before)
})

test.run()
