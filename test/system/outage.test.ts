/**
 * A broker that is killed under a running application: processor with table, loop and output, emitter and view go on where
 * they were. Nothing is lost; what is counted twice is nothing, or bounded by what was not committed when a task had to end.
 */
import * as assert from 'uvu/assert'
import { Client, type TopicPartition } from '../../src/client/index.ts'
import { ClosedError, defineGroup, Millrace, type ProcessorEvent, stream } from '../../src/index.ts'
import { integer } from '../../src/streams/codecs/index.ts'
import { rejects, suite, until } from '../support/suite.ts'
import { noOwnBroker, type Target, unique, withTarget } from './target.ts'

const test = suite('system/outage', { deadlineMs: 120_000 })
const partitions = 3
const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`)
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Counts per key, and per key through the loop; emits every input. Notes how often each record was processed. */
class Counting {
  readonly input = stream(unique('outage-in'), integer)
  readonly output = stream(unique('outage-out'), integer)
  readonly #name = unique('outage')
  /** Per topic and partition: offset behind the last processed record. */
  readonly #processed = new Map<string, number>()
  readonly group = defineGroup(this.#name, { table: integer, loop: integer, outputs: [this.output] })
    .on(this.input, (ctx, id) => {
      this.#note(ctx)
      ctx.set((ctx.get() ?? 0) + 1)
      ctx.emit(this.output, ctx.key, id)
      ctx.loopback(`loop-${ctx.key}`, id)
    })
    .onLoop((ctx) => {
      this.#note(ctx)
      ctx.set((ctx.get() ?? 0) + 1)
    })
  readonly loopTopic = `${this.#name}-loop`

  #note({ topic, partition, offset }: TopicPartition & { readonly offset: number }): void {
    this.#processed.set(`${topic}/${partition}`, offset + 1)
  }

  /** How many records have been processed behind the committed offsets. */
  beyond(committed: readonly (TopicPartition & { readonly offset: number })[]): number {
    return committed.reduce((sum, { topic, partition, offset }) => {
      return sum + Math.max(0, (this.#processed.get(`${topic}/${partition}`) ?? 0) - Math.max(0, offset))
    }, 0)
  }
}

/** An application on a broker of its own, under load until `settle`. */
class Outage {
  readonly target: Target
  readonly counting = new Counting()
  readonly app: Millrace
  readonly processor
  readonly view
  readonly events: ProcessorEvent[] = []
  readonly sent = new Map(keys.map((key) => [key, 0]))
  total = 0
  /** Times that a task ended and another began in its place. */
  reopened = 0
  /** The most records that may have been done twice because of that. */
  bound = 0
  #restored = 0
  readonly #client: Client
  readonly #offsets
  readonly #all: readonly TopicPartition[]
  #committed: readonly (TopicPartition & { readonly offset: number })[] = []
  #running = true
  #load: Promise<void> = Promise.resolve()

  constructor(target: Target, sessionTimeoutMs: number) {
    this.target = target
    this.app = new Millrace({ brokers: target.brokers, closeTimeoutMs: 1_000 })
    this.processor = this.app.processor(this.counting.group, {
      sessionTimeoutMs,
      checkpointIntervalMs: 50,
      closeTimeoutMs: 1_000,
      onEvent: (event) => {
        this.events.push(event)
        if (event.kind !== 'restored') return
        if (++this.#restored <= partitions) return
        // A task begins again where its partition was committed. What was known to be committed is less, so the bound holds.
        this.reopened++
        this.bound += this.counting.beyond(this.#committed.filter(({ partition }) => partition === event.partition))
      },
    })
    this.view = this.app.view(this.counting.group.table)
    this.#client = new Client({ brokers: target.brokers })
    this.#offsets = this.#client.consumer({ groupId: this.counting.group.name, autoCommitIntervalMs: 0 })
    this.#all = [this.counting.input.topic, this.counting.loopTopic].flatMap((topic) =>
      Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
    )
  }

  static async run(sessionTimeoutMs: number, body: (outage: Outage) => Promise<void>): Promise<void> {
    await withTarget({ own: true }, async (target) => {
      const outage = new Outage(target, sessionTimeoutMs)
      try {
        await outage.#start()
        await body(outage)
      } finally {
        outage.#running = false
        // The load may be what failed; the test has been told by `settle`, or fails for another reason.
        await outage.app.close().catch(() => {})
        await outage.#load.catch(() => {})
        await outage.#client.close()
      }
    })
  }

  async #start(): Promise<void> {
    await this.app.ensureStreams([this.counting.input, this.counting.output], { partitions, replicationFactor: 1 })
    await this.processor.start()
    await this.view.start()
    this.#load = this.#feed()
    this.#load.catch(() => {}) // awaited by `settle`
  }

  async #feed(): Promise<void> {
    const emitter = this.app.emitter(this.counting.input)
    for (let turn = 0; this.#running; turn++) {
      const batch = Array.from({ length: 40 }, (_, i) => keys[(turn * 17 + i * 7) % keys.length]!)
      await Promise.all(batch.map((key) => emitter.send(key, this.total++)))
      for (const key of batch) this.sent.set(key, this.sent.get(key)! + 1)
      await pause(5)
    }
  }

  async #ends(topic: string): Promise<number> {
    const all = this.#all.map(({ partition }) => ({ topic, partition })).slice(0, partitions)
    const found = await this.#client.listOffsets(all, 'latest')
    return all.reduce((sum, { partition }) => sum + found.get(topic, partition)!.offset, 0)
  }

  async #sumCommitted(): Promise<number> {
    this.#committed = await this.#offsets.committed(this.#all)
    return this.#committed.reduce((sum, { offset }) => sum + Math.max(0, offset), 0)
  }

  /** `count` more records are committed than now. */
  async progress(count: number): Promise<void> {
    const from = await this.#sumCommitted()
    await until(async () => (await this.#sumCommitted()) >= from + count, { deadlineMs: 60_000, what: 'progress' })
  }

  /** kill -9, `downMs` of nothing, and back. */
  async strike(downMs: number): Promise<void> {
    await this.target.kill?.()
    await pause(downMs)
    assert.is(this.view.state.at, 'running', 'a view can be read without its broker')
    assert.ok(this.view.get(keys[0]!) !== undefined)
    await this.target.restart?.()
  }

  /** Ends the load, waits until everything is processed, and compares. */
  async settle(): Promise<void> {
    this.#running = false
    await this.#load
    const { input, output, loopTopic, group } = this.counting
    await until(
      async () => (await this.#sumCommitted()) === (await this.#ends(input.topic)) + (await this.#ends(loopTopic)),
      { deadlineMs: 60_000, what: 'everything is committed' },
    )
    const { bound } = this
    const expected = new Map([...this.sent].flatMap(([key, n]) => [[key, n] as const, [`loop-${key}`, n] as const]))
    await until(() => [...expected].every(([key, n]) => (this.view.get(key) ?? 0) >= n), { what: 'nothing is lost' })

    // An input that is done twice is looped and emitted twice.
    let over = 0
    const running = new Map<string, number>()
    for (const [key, n] of expected) {
      const value = this.processor.get(key) ?? 0
      assert.ok(value >= n, `${key}: ${value} counted, ${n} sent`)
      over += value - n
      running.set(key, value)
    }
    assert.ok(over <= 2 * bound, `${over} counted twice, at most ${2 * bound} were not committed`)
    if (this.reopened === 0) assert.equal(running, expected)

    // The view that lived through it, one that reads everything anew, and the processor agree.
    await until(() => [...running].every(([key, n]) => this.view.get(key) === n), { what: 'the view has caught up' })
    await using fresh = new Millrace({ brokers: this.target.brokers })
    const view = fresh.view(group.table)
    await view.start()
    const entries = new Map<string, number>()
    for await (const [key, value] of view.iterate()) entries.set(key, value)
    assert.equal(entries, new Map([...running].sort(([a], [b]) => (a < b ? -1 : 1))))

    const ids = await this.#outputs(output.topic)
    assert.is(new Set(ids).size, this.total, 'every input was emitted')
    assert.ok(ids.length - this.total <= bound, `${ids.length - this.total} emitted twice, bound ${bound}`)
    if (this.reopened === 0) assert.is(ids.length, this.total)
    console.log(
      `note: ${this.target.name}: ${this.total} inputs, ${this.reopened} tasks began again, ${over} counted twice (bound ${2 * bound})`,
    )
  }

  async #outputs(topic: string): Promise<number[]> {
    const end = await this.#ends(topic)
    const consumer = this.#client.consumer()
    consumer.assign(
      Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset: 'earliest' as const })),
    )
    const ids: number[] = []
    for await (const record of consumer.records()) {
      ids.push(Number(record.value))
      if (ids.length === end) break
    }
    await consumer.close()
    return ids
  }
}

function scenario(name: string, body: () => Promise<void>): void {
  if (noOwnBroker !== undefined) test.skip(name, noOwnBroker)
  else test(name, body)
}

scenario('killed three times under load, back within the session: no task ends, everything counts once', () =>
  Outage.run(60_000, async (outage) => {
    for (let i = 0; i < 3; i++) {
      await outage.progress(1_000)
      await outage.strike(i * 300)
    }
    await outage.progress(1_000)
    await outage.settle()
  }),
)

scenario('gone for longer than the session: nothing is lost', () =>
  Outage.run(6_000, async (outage) => {
    await outage.progress(1_000)
    await outage.strike(8_000)
    await outage.progress(1_000)
    await outage.settle()
    // Nobody else could have had the partitions, but the instance could not know.
    assert.ok(outage.events.some(({ kind }) => kind === 'leaseLapsed'))
  }),
)

scenario('closing while the broker is gone ends within its bounds', () =>
  Outage.run(6_000, async (outage) => {
    await outage.progress(1_000)
    await outage.target.kill?.()
    const emitter = outage.app.emitter(outage.counting.input)
    await emitter.ready()
    emitter.enqueue('late', 1)
    const outcomes = Promise.allSettled([emitter.send('later', 2), outage.view.until('no such key')])
    const closed = performance.now()
    // What was handed over and is not acknowledged is reported as lost: by close(), if nobody else is told.
    await rejects(outage.app.close(), ClosedError)
    const took = performance.now() - closed
    // closeTimeoutMs of the processor, 5 s for leaving the group, and some turns.
    assert.ok(took < 8_000, `took ${took} ms`)
    assert.is(outage.processor.state.at, 'closed')
    assert.is(outage.view.state.at, 'closed')
    await outage.processor.done
    for (const outcome of await outcomes) assert.instance((outcome as PromiseRejectedResult).reason, ClosedError)
    console.log(`note: ${outage.target.name}: close() without a broker took ${took.toFixed(0)} ms`)
  }),
)

scenario('starting and closing without a broker', () =>
  withTarget({ own: true }, async (target) => {
    await target.kill?.()
    const input = stream(unique('nowhere'), integer)
    const group = defineGroup(unique('nowhere'), { table: integer }).on(input, () => {})
    const app = new Millrace({ brokers: target.brokers, closeTimeoutMs: 1_000 })
    const processor = app.processor(group)
    const view = app.view(group.table)
    const starts = Promise.allSettled([processor.start(), view.start()])
    await pause(500)
    assert.is(processor.state.at, 'waitingForTopics')
    assert.is(view.state.at, 'waitingForTopic')
    const closed = performance.now()
    await app.close()
    assert.ok(performance.now() - closed < 3_000, `took ${performance.now() - closed} ms`)
    for (const start of await starts) {
      assert.is(start.status, 'rejected')
      assert.instance((start as PromiseRejectedResult).reason, ClosedError)
    }
  }),
)

scenario('consumers and producers closed without a broker end within their bounds', () =>
  withTarget({ own: true }, async (target) => {
    const client = new Client({ brokers: target.brokers })
    const topic = unique('gone')
    await client.admin().createTopics([{ name: topic, partitions: 1, replicationFactor: 1 }])
    const producer = client.producer()
    await producer.send({ topic, value: 'arrives' })
    const consumer = client.consumer({ groupId: unique('gone'), sessionTimeoutMs: 6_000, closeTimeoutMs: 1_000 })
    consumer.subscribe([topic])
    for await (const _ of consumer.records()) break
    await target.kill?.()
    const send = producer.send({ topic, value: 'does not' })
    send.catch(() => {})
    const closed = performance.now()
    await Promise.all([consumer.close(), producer.close({ timeoutMs: 1_000 })])
    await rejects(send, ClosedError)
    await client.close()
    assert.ok(performance.now() - closed < 3_000, `took ${performance.now() - closed} ms`)
  }),
)

test.run()
