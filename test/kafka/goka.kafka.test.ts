/**
 * goka itself (Go) beside millrace: each reads the table that the other wrote, and one goes on with the other's group. The
 * Go program is built here in a temporary directory; its modules come from the module proxy.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as assert from 'uvu/assert'
import { Broker } from '../../src/broker/index.ts'
import { Client } from '../../src/client/index.ts'
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'
import { suite, until } from '../support/suite.ts'
import { gokaPartition, placesOf } from '../system/goka-rule.ts'
import { openTarget, unique } from '../system/target.ts'

const test = suite('goka', { deadlineMs: 180_000 })
const partitions = 10
const source = join(import.meta.dirname, '..', '..', '..', 'test', 'kafka', 'goka-peer.go')
const goMod = 'module peer\n\ngo 1.25.0\n\nrequire github.com/lovoo/goka v1.1.16\n'
const hasGo = spawnSync('go', ['version']).status === 0

/** Its hash is −2³¹: goka's own views fail on it, its producers do not. */
const hard = ['qqk42v', 'afjtjzd', 'a01sk58']
const easy = ['', 'a', 'key', 'user-3', 'Alice', 'ключ', '\u{1f511}', ...Array.from({ length: 30 }, (_, i) => `k-${i}`)]
const keys = [...easy, ...hard]

let dir = ''
const peer = (): string => join(dir, 'peer')
const children = new Set<ChildProcess>()

/** A goka processor that does what `groupOf` does. */
class GokaProcessor {
  readonly #child
  #out = ''
  #err = ''
  #ended: number | string | undefined

  constructor(brokers: string, input: string, group: string, output: string) {
    const child = spawn(peer(), ['process', brokers, input, group, output], { stdio: ['pipe', 'pipe', 'pipe'] })
    children.add(child)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#err += text
    })
    child.on('close', (code, signal) => {
      children.delete(child)
      this.#ended = code ?? signal ?? 'unknown'
    })
    this.#child = child
  }

  async said(word: string): Promise<void> {
    await until(
      () => {
        if (this.#ended !== undefined) throw new Error(`goka ended with ${this.#ended}: ${this.#err}`)
        return this.#out.split('\n').includes(word)
      },
      { deadlineMs: 30_000, what: `goka says ${word}` },
    )
  }

  /** Sends by a goka emitter. */
  async emit(records: readonly (readonly [key: string, value: string])[]): Promise<void> {
    this.#child.stdin.end(records.map(([key, value]) => `${key}\t${value}\n`).join(''))
    await this.said('emitted')
  }

  /** Ends it in good order: what it did is committed. */
  async stop(): Promise<void> {
    this.#child.kill('SIGINT')
    await until(() => this.#ended !== undefined, { deadlineMs: 20_000, what: 'the end of goka' })
    assert.is(this.#ended, 0, this.#err)
  }
}

async function gokaView(brokers: string, table: string, asked: readonly string[]): Promise<Map<string, bigint | null>> {
  const { stdout } = await promisify(execFile)(peer(), ['view', brokers, table, ...asked], { timeout: 30_000 })
  const lines = stdout.split('\n').filter((line) => line.includes('\t'))
  return new Map(
    lines.map((line) => {
      const [key = '', value = ''] = line.split('\t')
      return [key, value === '<nil>' ? null : BigInt(value)] as const
    }),
  )
}

/** Counts inputs by one, and by ten through the loop; emits every input. */
function groupOf(name: string, input: ReturnType<typeof streamOf>, output: ReturnType<typeof streamOf>) {
  return defineGroup(name, { table: int64, loop: string, outputs: [output] })
    .on(input, (ctx, value) => {
      ctx.set((ctx.get() ?? 0n) + 1n)
      ctx.emit(output, `out:${ctx.key}`, value)
      ctx.loopback(`loop:${ctx.key}`, value)
    })
    .onLoop((ctx) => ctx.set((ctx.get() ?? 0n) + 10n))
}

function streamOf(topic: string) {
  return stream(topic, string)
}

async function bothWays(brokers: string): Promise<void> {
  const input = streamOf(unique('goka-in'))
  const output = streamOf(unique('goka-out'))
  const name = unique('goka')
  const group = groupOf(name, input, output)
  await using app = new Millrace({ brokers, partitioner: 'fnv1a' })
  const loop = streamOf(`${name}-loop`)
  await app.ensureStreams([input, output, loop, group.table], { partitions, replicationFactor: 1 })
  // goka begins at the end of its inputs unless something is committed.
  const client = new Client({ brokers })
  const offsets = client.consumer({ groupId: name })
  const all = [input.topic, loop.topic].flatMap((topic) =>
    Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
  )
  await offsets.commit(all.map((at) => ({ ...at, offset: 0 })))
  const caughtUp = async (): Promise<boolean> => {
    const ends = await client.listOffsets(all, 'latest')
    return (await offsets.committed(all)).every((at) => at.offset === ends.get(at.topic, at.partition)!.offset)
  }
  const view = app.view(group.table)
  await view.start()
  /** Our view has these values at every key. */
  const holds = async (n: bigint): Promise<void> => {
    for (const key of keys) {
      await view.until(key, (value) => value === n)
      await view.until(`loop:${key}`, (value) => value === n * 10n)
    }
  }
  const emitter = app.emitter(input)

  const first = new GokaProcessor(brokers, input.topic, name, output.topic)
  await first.said('ready')
  await first.emit(keys.map((key) => [key, 'by goka']))
  await Promise.all(keys.map((key) => emitter.send(key, 'by millrace')))
  await holds(2n)
  await until(caughtUp, { what: 'goka has committed' })
  await first.stop()

  // The same group, now ours: it goes on where goka was, with goka's table.
  const processor = app.processor(group, { sessionTimeoutMs: 6_000, checkpointIntervalMs: 50, misroutedKeys: 'fail' })
  await processor.start()
  for (const key of keys) assert.is(processor.get(key), 2n, key)
  await Promise.all(keys.map((key) => emitter.send(key, 'once more')))
  await holds(3n)
  await processor.close()
  assert.ok(await caughtUp())

  // goka reads what we wrote, and goes on.
  const asked = easy.flatMap((key) => [key, `loop:${key}`])
  const seen = await gokaView(brokers, group.table.topic, [...asked, 'nobody'])
  for (const key of easy) assert.equal([seen.get(key), seen.get(`loop:${key}`)], [3n, 30n], key)
  assert.is(seen.get('nobody'), null)
  const second = new GokaProcessor(brokers, input.topic, name, output.topic)
  await second.said('ready')
  await second.emit(keys.map((key) => [key, 'at last']))
  await holds(4n)
  await second.stop()

  const places: readonly (readonly [string, string])[] = [
    [input.topic, ''],
    [output.topic, 'out:'],
    [loop.topic, 'loop:'],
    [group.table.topic, ''],
    [group.table.topic, 'loop:'],
  ]
  for (const [topic, prefix] of places) {
    const found = await placesOf(brokers, topic, partitions)
    for (const key of keys.map((one) => prefix + one))
      assert.equal(found.get(key)?.partitions, [gokaPartition(key, partitions)], `${topic}: ${key}`)
  }
  await client.close()
}

if (!hasGo && process.env['CI'] !== 'true') {
  test.skip('goka and millrace share a group', 'there is no go: install Go 1.25 or later')
} else {
  test.before(async () => {
    if (!hasGo) throw new Error('there is no go: install Go 1.25 or later')
    dir = mkdtempSync(join(tmpdir(), 'millrace-goka-'))
    cpSync(source, join(dir, 'main.go'))
    writeFileSync(join(dir, 'go.mod'), goMod)
    const env = { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' }
    // goka requires its indirect dependencies itself; -mod=mod notes their sums.
    const began = performance.now()
    await promisify(execFile)('go', ['build', '-o', peer(), '.'], { cwd: dir, env })
    console.log(`note: goka built in ${((performance.now() - began) / 1_000).toFixed(1)} s`)
  })
  test.after(() => {
    for (const child of children) child.kill('SIGKILL')
    if (dir !== '') rmSync(dir, { recursive: true, force: true })
  })

  test('goka and millrace read each other’s tables and take over each other’s group', async () => {
    await using target = await openTarget()
    await bothWays(target.brokers)
  })

  test('the same on the embedded broker', async () => {
    await using broker = await Broker.start()
    await bothWays(broker.brokers)
  })
}

test.run()
