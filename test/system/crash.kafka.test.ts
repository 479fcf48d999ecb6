/**
 * A processor under load that is killed with -9 and stopped past its session time-out, again and again: nothing may be
 * lost, and what is counted twice is bounded by what had not been committed. Sized by CRASH_KILLS and CRASH_STOPS. Each
 * instance is a machine with a disk of its own if MILLRACE_STORAGE says so.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'
import { suite } from '../support/suite.ts'
import { tables, unique, withTarget } from './target.ts'

const kills = Number(process.env['CRASH_KILLS'] ?? 10)
const stops = Number(process.env['CRASH_STOPS'] ?? 3)
const sessionTimeoutMs = 6_000
const partitions = 4
const keys = Array.from({ length: 500 }, (_, i) => `key-${i}`)
const test = suite('crashes', { deadlineMs: 300_000 })
const workerFile = fileURLToPath(import.meta.resolve('./crash-worker.js'))

interface Message {
  readonly started?: true
  readonly values?: readonly [string, string][]
  readonly event?: string
  readonly failed?: string
}

/** Starts instances and remembers what they said. */
class Workers {
  readonly events: string[] = []
  readonly running = new Set<ChildProcess>()
  readonly #args: readonly string[]
  /** Where each instance has its tables. */
  readonly #disks = new Map<string, ReturnType<typeof tables>['storage']>()

  constructor(brokers: string, topic: string, group: string) {
    this.#args = [brokers, topic, group]
  }

  start(instance: string): ChildProcess {
    const storage = this.#disks.get(instance) ?? tables().storage
    if (storage !== undefined) this.#disks.set(instance, storage)
    const dir = storage !== undefined && 'dir' in storage ? storage.dir : ''
    const child = fork(workerFile, [...this.#args, instance, String(sessionTimeoutMs), dir])
    this.running.add(child)
    child.on('message', (message: Message) => {
      if (message.event !== undefined) this.events.push(`${instance}: ${message.event}`)
      if (message.failed !== undefined) this.events.push(`${instance}: failed: ${message.failed}`)
    })
    child.on('exit', () => this.running.delete(child))
    return child
  }

  async kill(child: ChildProcess): Promise<void> {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  async close(child: ChildProcess): Promise<void> {
    const exited = once(child, 'exit')
    child.send({ close: true })
    await exited
  }

  /** What all running instances hold. */
  async table(): Promise<Map<string, bigint>> {
    const all = new Map<string, bigint>()
    for (const child of this.running) for (const [key, value] of await this.values(child)) all.set(key, value)
    return all
  }

  async values(child: ChildProcess): Promise<Map<string, bigint>> {
    const answered = new Promise<Message>((resolve) => {
      const listen = (message: Message): void => {
        if (message.values === undefined) return
        child.off('message', listen)
        resolve(message)
      }
      child.on('message', listen)
    })
    child.send({ get: keys })
    return new Map(((await answered).values ?? []).map(([key, value]) => [key, BigInt(value)]))
  }
}

function differences(running: ReadonlyMap<string, bigint>, viewed: ReadonlyMap<string, bigint>): string[] {
  return [...new Set([...running.keys(), ...viewed.keys()])]
    .filter((key) => running.get(key) !== viewed.get(key))
    .map((key) => `${key}: ${running.get(key)} in the processor, ${viewed.get(key)} in the view`)
}

test(`${kills} kills and ${stops} stops past the session time-out lose nothing`, async () => {
  await withTarget({}, async (target) => {
    const topic = unique('crash-input')
    const groupName = unique('crash-group')
    const client = new Client({ brokers: target.brokers })
    const workers = new Workers(target.brokers, topic, groupName)
    const noListener = { onAssigned() {}, onRevoked() {}, onLost() {}, onError() {} }
    const offsets = client.group({ groupId: groupName, topics: [topic], listener: noListener })
    const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
    const committed = async (): Promise<number> =>
      (await offsets.committed(all)).reduce((sum, one) => sum + Math.max(0, one.offset), 0)
    const ends = async (): Promise<number> => {
      const found = await client.listOffsets(all, 'latest')
      return all.reduce((sum, at) => sum + found.get(at.topic, at.partition)!.offset, 0)
    }
    /** Resolves with the milliseconds until `condition` holds; the broker is asked every 20 ms. */
    const until = async (condition: () => Promise<boolean>): Promise<number> => {
      const from = performance.now()
      while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20))
      return performance.now() - from
    }

    await client.admin().createTopics([{ name: topic, partitions, replicationFactor: 1 }])
    const sent = new Map(keys.map((key) => [key, 0n]))
    const producer = client.producer()
    let feeding = true
    const feeder = (async (): Promise<void> => {
      for (let turn = 0; feeding; turn++) {
        const batch = Array.from({ length: 100 }, (_, i) => keys[(turn * 37 + i * 7) % keys.length]!)
        await producer.sendBatch(batch.map((key) => ({ topic, key, value: 'click' })))
        for (const key of batch) sent.set(key, sent.get(key)! + 1n)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()

    try {
      let bound = 0
      const restarts: number[] = []
      let worker = workers.start('one')
      await until(async () => (await committed()) > 0)
      for (let kill = 1; kill <= kills; kill++) {
        const before = await committed()
        await until(async () => (await committed()) > before + 1_000)
        await workers.kill(worker)
        const done = await committed()
        const uncommitted = (await ends()) - done
        bound += uncommitted
        worker = workers.start('one')
        const took = await until(async () => (await committed()) > done)
        restarts.push(took)
        console.log(`kill ${kill}: at most ${uncommitted} inputs not committed; progress after ${took.toFixed(0)} ms`)
      }
      for (let stop = 1; stop <= stops; stop++) {
        const other = workers.start('two')
        const before = await committed()
        await until(async () => (await committed()) > before + 500)
        const uncommitted = (await ends()) - (await committed())
        worker.kill('SIGSTOP')
        // The other instance has everything once the coordinator has thrown the stopped one out.
        const stopped = await committed()
        await new Promise((resolve) => setTimeout(resolve, sessionTimeoutMs + 2_000))
        await until(async () => (await committed()) > stopped + 500)
        worker.kill('SIGCONT')
        const resumed = await committed()
        await until(async () => (await committed()) > resumed + 1_000)
        bound += uncommitted
        await workers.kill(worker)
        bound += (await ends()) - (await committed())
        worker = other
        console.log(`stop ${stop}: at most ${uncommitted} inputs not committed when it was stopped`)
        if (stop < stops) {
          // The killed instance's place is taken up by a new one with the same name.
          worker = workers.start('one')
          await once(worker, 'message')
          await workers.close(other)
        }
      }
      feeding = false
      await feeder
      const total = await ends()
      await until(async () => (await committed()) === total)

      // An instance that was killed with nothing uncommitted keeps its partitions until its session ends.
      let running = new Map<string, bigint>()
      await until(async () => {
        running = await workers.table()
        return running.size === keys.length
      })
      const input = stream(topic, string)
      const group = defineGroup(groupName, { table: int64 }).on(input, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))
      const app = new Millrace({ brokers: target.brokers })
      try {
        const view = app.view(group.table)
        await view.start()
        const viewed = new Map<string, bigint>()
        for await (const [key, value] of view.iterate()) viewed.set(key, value)
        let over = 0n
        for (const [key, count] of sent) {
          const got = viewed.get(key) ?? 0n
          assert.ok(got >= count, `${key}: ${got} counted, ${count} sent`)
          over += got - count
        }
        console.log(
          `${total} inputs, ${over} counted twice (bound ${bound}); restarts ${restarts.map((ms) => ms.toFixed(0)).join(', ')} ms; ` +
            `events: ${workers.events.join(', ') || 'none'}`,
        )
        assert.ok(over <= BigInt(bound), `${over} counted twice, more than the ${bound} that were not committed`)
        assert.equal(differences(running, viewed), [], "the running processors' tables differ from a fresh view")
        for (const child of [...workers.running]) await workers.close(child)
        const processor = app.processor(group, { sessionTimeoutMs, groupInstanceId: 'restored' })
        await processor.start()
        await until(async () => processor.state.at === 'running' && processor.state.partitions.length === partitions)
        const restored = new Map(keys.map((key) => [key, processor.get(key) ?? -1n]))
        for (const [key, value] of viewed) assert.is(restored.get(key), value, key)
        const sorted = [...restarts].sort((a, b) => a - b)
        assert.ok((sorted[Math.floor(sorted.length / 2)] ?? 0) <= 3_000, `restarts took ${restarts.join(', ')} ms`)
        assert.equal(
          workers.events.filter((event) => event.includes('failed')),
          [],
        )
      } finally {
        await app.close()
      }
    } finally {
      feeding = false
      await feeder
      for (const child of workers.running) child.kill('SIGKILL')
      await offsets.close()
      await client.close()
    }
  })
})

test.run()
