/** Tables on disk: what a restart reads, and what happens when table and topic do not fit any more. */
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import {
  defineGroup,
  Millrace,
  type MillraceEvent,
  OptionError,
  type ProcessorEvent,
  stream,
  type Table,
  TableDivergedError,
} from '../../src/index.ts'
import { logEngine } from '../../src/storage/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'
import { rejects, suite, until } from '../support/suite.ts'
import { openTarget, type Target, unique } from './target.ts'

const test = suite('system/storage', { deadlineMs: 90_000 })
const root = mkdtempSync(join(tmpdir(), 'millrace-storage-'))
const workerFile = fileURLToPath(import.meta.resolve('./storage-worker.js'))
const cli = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.js')
const running = new Set<ChildProcess>()
let target: Target
let client: Client
let dirs = 0
test.before(async () => {
  target = await openTarget()
  client = new Client({ brokers: target.brokers })
})
test.after(async () => {
  for (const child of running) child.kill('SIGKILL')
  await client.close()
  await target.close()
  rmSync(root, { recursive: true, force: true })
})

type Restored = Extract<ProcessorEvent, { kind: 'restored' }>
interface Message {
  readonly started?: true
  readonly restored?: Restored
  readonly values?: readonly [string, string][]
  readonly failed?: string
}

/** A counting group with an input topic of its own. */
async function counting(partitions: number) {
  const topic = unique('storage-in')
  const groupName = unique('storage')
  const input = stream(topic, string)
  const group = defineGroup(groupName, { table: int64 }).on(input, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))
  await client.admin().createTopics([{ name: topic, partitions, replicationFactor: 1 }])
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  const ends = async (of = topic): Promise<number[]> => {
    const found = await client.listOffsets(
      all.map(({ partition }) => ({ topic: of, partition })),
      'latest',
    )
    return all.map(({ partition }) => found.get(of, partition)!.offset)
  }
  const noListener = { onAssigned() {}, onRevoked() {}, onLost() {}, onError() {} }
  const offsets = client.group({ groupId: groupName, topics: [topic], listener: noListener })
  const behind = async (): Promise<number> => {
    const committed = await offsets.committed(all)
    return sum(await ends()) - sum(committed.map(({ offset }) => Math.max(0, offset)))
  }
  const producer = client.producer()
  const send = (keys: readonly string[]): Promise<unknown> =>
    producer.sendBatch(keys.map((key) => ({ topic, key, value: 'click' })))
  const dir = join(root, String(++dirs))
  return { topic, groupName, group, input, ends, behind, send, dir, tableTopic: group.table.topic }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)
const settings = { sessionTimeoutMs: 6_000, checkpointIntervalMs: 50, groupInstanceId: 'one' } as const

/** One run of the group in this process, with its table in `dir` (undefined: in memory). */
class Run {
  readonly restored: Restored[] = []
  readonly events: MillraceEvent[] = []
  readonly app: Millrace
  readonly processor
  constructor(group: Parameters<Millrace['processor']>[0], dir: string | undefined, seen?: (e: MillraceEvent) => void) {
    const storage = dir === undefined ? {} : { storage: { dir } }
    this.app = new Millrace({
      brokers: target.brokers,
      ...storage,
      onEvent: (event) => {
        this.events.push(event)
        seen?.(event)
      },
    })
    this.processor = this.app.processor(group, {
      ...settings,
      onEvent: (event) => {
        if (event.kind === 'restored') this.restored.push(event)
      },
    })
  }
  /** What every partition's restore says, in the order of the partitions. */
  get byPartition(): Restored[] {
    return [...this.restored].sort((a, b) => a.partition - b.partition)
  }
}

/** Runs `body` in a started run that is closed whatever happens. */
async function inRun(run: Run, body: () => Promise<void> = () => Promise.resolve()): Promise<Run> {
  try {
    await run.processor.start()
    await body()
  } finally {
    await run.app.close()
  }
  return run
}

async function viewed(table: Table<bigint>): Promise<Map<string, bigint>> {
  const app = new Millrace({ brokers: target.brokers })
  try {
    const view = app.view(table)
    await view.start()
    const entries = new Map<string, bigint>()
    for await (const [key, value] of view.iterate()) entries.set(key, value)
    return entries
  } finally {
    await app.close()
  }
}

/** Runs the command; resolves with its exit code and everything it printed. */
function millrace(...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr })
    })
  })
}

test('killed with -9, a worker reads only what came after its last checkpoint, and its table is right', async () => {
  const partitions = 4
  const keys = Array.from({ length: 500 }, (_, i) => `key-${i}`)
  const { topic, groupName, group, ends, behind, send, dir, tableTopic } = await counting(partitions)
  const sent = new Map(keys.map((key) => [key, 0n]))
  const feed = async (count: number): Promise<void> => {
    const batch = Array.from({ length: count }, (_, i) => keys[(i * 7) % keys.length]!)
    await send(batch)
    for (const key of batch) sent.set(key, sent.get(key)! + 1n)
  }
  const messages: Message[] = []
  const start = async (): Promise<ChildProcess> => {
    const child = fork(workerFile, [target.brokers, topic, groupName, dir])
    running.add(child)
    child.on('exit', () => running.delete(child))
    child.on('message', (message: Message) => messages.push(message))
    await until(() => messages.some(({ started, failed }) => started ?? failed !== undefined), { deadlineMs: 40_000 })
    assert.is(messages.find(({ failed }) => failed !== undefined)?.failed, undefined)
    return child
  }
  let worker = await start()
  for (let round = 0; round < 10; round++) {
    await feed(2_000)
    await until(async () => (await behind()) === 0, { deadlineMs: 20_000 })
  }
  const quiet = await ends(tableTopic)
  for (let kill = 1; kill <= 2; kill++) {
    const before = sum(await ends(tableTopic))
    let feeding = true
    const feeder = (async (): Promise<void> => {
      while (feeding) await feed(200)
    })()
    await until(async () => sum(await ends(tableTopic)) > before + 1_000, { deadlineMs: 20_000 })
    worker.kill('SIGKILL')
    await once(worker, 'exit')
    feeding = false
    await feeder
    const written = await ends(tableTopic)
    messages.length = 0
    worker = await start()
    const restored = messages.flatMap((message) => message.restored ?? [])
    assert.is(restored.length, partitions)
    const records = sum(restored.map((one) => one.records))
    // A checkpoint writes each key once, and the next one does not begin before the store has it.
    assert.ok(records <= keys.length, `${records} records read, ${keys.length} keys`)
    for (const { partition, fromOffset, toOffset, rebuilt } of restored) {
      assert.ok(fromOffset >= quiet[partition]!, `${partition}: read from ${fromOffset}, was at ${quiet[partition]}`)
      assert.is(toOffset, written[partition])
      assert.is(rebuilt, undefined)
    }
    assert.ok(sum(restored.map((one) => one.localEntries)) >= keys.length * 0.9)
    console.log(`note: kill ${kill}: ${records} of ${sum(written)} changelog records read`)
  }
  await until(async () => (await behind()) === 0, { deadlineMs: 20_000 })
  messages.length = 0
  worker.send({ get: keys })
  await until(() => messages.some(({ values }) => values !== undefined))
  const table = new Map(messages.find(({ values }) => values !== undefined)!.values!.map(([k, v]) => [k, BigInt(v)]))
  const view = await viewed(group.table)
  assert.equal([...table].sort(), [...view].sort(), 'table and view')
  for (const [key, count] of sent) assert.ok(table.get(key)! >= count, `${key}: ${table.get(key)} of ${count}`)
  const exited = once(worker, 'exit')
  worker.send({ close: true })
  await exited
})

/** A table that was on disk, whose topic was then deleted and made anew. */
async function lostTopic() {
  const world = await counting(2)
  const { group, dir, send, behind, tableTopic } = world
  await inRun(new Run(group, dir), async () => {
    await send(['a', 'a', 'b', 'c', 'd', 'e'])
    await until(async () => (await behind()) === 0)
  })
  const before = await viewed(group.table)
  assert.is(before.get('a'), 2n)
  await client.admin().deleteTopics([tableTopic])
  const configs = { 'cleanup.policy': 'compact' }
  await until(async () => {
    const made = client.admin().createTopics([{ name: tableTopic, partitions: 2, replicationFactor: 1, configs }])
    return made.then(
      () => true,
      () => false, // it is still being deleted
    )
  })
  return { ...world, before }
}

test('the topic was deleted and made anew: refused with both ways out; republish brings it back', async () => {
  const { group, dir, send, behind, tableTopic, groupName, before } = await lostTopic()
  const refused = new Run(group, dir)
  const error = await rejects(inRun(refused), TableDivergedError)
  assert.match(
    error.message,
    new RegExp(`group ${groupName} of ${tableTopic}/\\d .* to offset \\d+.* next offset is 0`),
  )
  assert.match(error.message, /made anew/)
  assert.is(error.directory, join(dir, groupName, tableTopic, String(error.partition)))
  assert.match(error.message, `millrace store republish ${error.directory} --brokers`)
  assert.match(error.message, `millrace store discard ${error.directory}`)

  const tableDir = join(dir, groupName, tableTopic)
  const done = await millrace('store', 'republish', tableDir, '--brokers', target.brokers)
  assert.is(done.code, 0, done.output)
  assert.match(done.output, new RegExp(`${tableTopic}/0: \\d+ entries written .*goes on from offset \\d+`))
  assert.equal(await viewed(group.table), before, 'the topic has the table again')
  const again = await inRun(new Run(group, dir), async () => {
    await send(['a'])
    await until(async () => (await behind()) === 0)
  })
  assert.equal(
    again.byPartition.map(({ records, rebuilt }) => [records, rebuilt]),
    [
      [0, undefined],
      [0, undefined],
    ],
    'nothing was read: the tables go on from where republishing left them',
  )
  assert.equal(await viewed(group.table), new Map([...before, ['a', 3n]]))

  const twice = await millrace('store', 'republish', tableDir, '--brokers', target.brokers)
  assert.is(twice.code, 1)
  assert.match(twice.output, /is not empty.*--yes/)
})

test('republish over a topic that has other keys deletes them', async () => {
  const { group, dir, tableTopic, groupName, before } = await lostTopic()
  const producer = client.producer()
  await producer.send({ topic: tableTopic, partition: 0, key: 'stranger', value: Buffer.alloc(8) })
  await producer.close()
  const store = join(dir, groupName, tableTopic, '0')
  const args = ['store', 'republish', store, '--brokers', target.brokers, '--topic', tableTopic, '--partition', '0']
  const asked = await millrace(...args)
  assert.is(asked.code, 1)
  assert.match(asked.output, /offsets 0 to 0.* 1 keys/)
  const done = await millrace(...args, '--yes')
  assert.is(done.code, 0, done.output)
  assert.match(done.output, /1 keys deleted/)
  assert.is((await millrace('store', 'republish', join(store, '..', '1'), '--brokers', target.brokers)).code, 0)
  assert.equal(await viewed(group.table), before)
})

test('the topic was deleted and made anew: discard begins again with what the topic has', async () => {
  const { group, dir, send, behind, tableTopic, groupName } = await lostTopic()
  const tableDir = join(dir, groupName, tableTopic)
  const asked = await millrace('store', 'discard', tableDir)
  assert.is(asked.code, 1)
  assert.match(asked.output, new RegExp(`${groupName}/${tableTopic}/0: about \\d+ entries.*followed to offset \\d+`))
  assert.match(asked.output, /--yes/)
  await rejects(inRun(new Run(group, dir)), 'ERR_TABLE_DIVERGED')
  const done = await millrace('store', 'discard', tableDir, '--yes')
  assert.is(done.code, 0, done.output)
  await inRun(new Run(group, dir), async () => {
    await send(['a'])
    await until(async () => (await behind()) === 0)
  })
  assert.equal([...(await viewed(group.table))], [['a', 1n]])
})

test('a table that is older than deletions are kept is built anew; the old one goes when that is done', async () => {
  const world = await counting(1)
  const { group, dir, send, behind, tableTopic, groupName } = world
  const configs = { 'cleanup.policy': 'compact', 'delete.retention.ms': '500' }
  await client.admin().createTopics([{ name: tableTopic, partitions: 1, replicationFactor: 1, configs }])
  const work = async (): Promise<void> => {
    await send(['a', 'b', 'c'])
    await until(async () => (await behind()) === 0)
  }
  await inRun(new Run(group, dir), work)
  await inRun(new Run(group, undefined), work) // elsewhere
  const began = performance.now()
  await until(() => performance.now() - began > 600)
  const old = join(dir, groupName, tableTopic, '0.old')
  const there: boolean[] = []
  const run = await inRun(
    new Run(group, dir, ({ type }) => {
      if (type === 'tableRestored') there.push(existsSync(old))
    }),
    work,
  )
  assert.match(run.restored[0]!.rebuilt ?? '', /delete\.retention\.ms/)
  assert.equal([run.restored[0]!.fromOffset, run.restored[0]!.localEntries], [0, 0])
  const rebuild = run.events.find(({ type }) => type === 'tableRebuild')
  assert.ok(rebuild?.type === 'tableRebuild')
  assert.equal([rebuild.group, rebuild.topic, rebuild.partition], [groupName, tableTopic, 0])
  assert.equal(there, [true], 'the old table was there until the new one was complete')
  assert.is(existsSync(old), false)
  assert.equal([...(await viewed(group.table))].sort(), [
    ['a', 3n],
    ['b', 3n],
    ['c', 3n],
  ])
  assert.is((await inRun(new Run(group, dir))).restored[0]!.records, 0)
})

test('a table beyond the end of its topic is refused; the topic is not touched', async () => {
  const { group, dir, send, behind, tableTopic, groupName, ends } = await counting(1)
  await inRun(new Run(group, dir), async () => {
    await send(['a', 'b'])
    await until(async () => (await behind()) === 0)
  })
  const [end] = await ends(tableTopic)
  const engine = logEngine({ dir })
  const store = await engine.open({ group: groupName, table: tableTopic, partition: 0 })
  const { position, state } = store.checkpoint!
  assert.is(position, end)
  store.writer().commit({ position: position + 7, state })
  await engine.close()
  const error = await rejects(inRun(new Run(group, dir)), TableDivergedError)
  assert.equal([error.position, error.end], [position + 7, position])
  assert.match(error.message, /lost its end/)
  assert.equal(await ends(tableTopic), [end])
})

test('views keep their copies on disk, too; two processes cannot share one; embedded: refuses a directory', async () => {
  const { group, dir, send, behind } = await counting(2)
  const events: MillraceEvent[] = []
  const open = async (body: (app: Millrace) => Promise<void>): Promise<void> => {
    const app = new Millrace({ brokers: target.brokers, storage: { dir }, onEvent: (event) => events.push(event) })
    try {
      await body(app)
    } finally {
      await app.close()
    }
  }
  await inRun(new Run(group, undefined), async () => {
    await send(['a', 'b', 'c'])
    await until(async () => (await behind()) === 0)
    await open(async (app) => {
      const view = app.view(group.table)
      await view.start()
      assert.is(view.get('a'), 1n)
      const other = new Millrace({ brokers: target.brokers, storage: { dir } })
      await rejects(other.view(group.table).start(), 'ERR_STORE_LOCKED')
      await other.close()
    })
    await send(['a'])
    await until(async () => (await behind()) === 0)
    events.length = 0
    await open(async (app) => {
      const view = app.view(group.table)
      await view.start()
      await view.until('a', (count) => count === 2n)
    })
  })
  const restored = events.filter((event) => event.type === 'tableRestored')
  assert.is(sum(restored.map((event) => event.records)), 1, 'only the tail')
  assert.throws(
    () => new Millrace({ brokers: 'embedded:', storage: { dir } }),
    (error: Error) => error instanceof OptionError && /end with the process/.test(error.message),
  )
})

test.run()
