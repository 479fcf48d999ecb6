/**
 * Restoring tables that lie on disk: what the registry reads, what it keeps aside until the new table is complete, and
 * when it refuses. On a changelog without a broker.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Deferred, deferred } from '../../src/base/deferred.ts'
import { logEngine, memoryEngine, type StorageEngine, type Store } from '../../src/storage/index.ts'
import { TableDivergedError } from '../../src/streams/errors.ts'
import { decodeStoreState, encodeStoreState } from '../../src/streams/store-state.ts'
import type { TableEvent } from '../../src/streams/table-events.ts'
import { TableRegistry } from '../../src/streams/table-registry.ts'
import { rejects, suite, until } from '../support/suite.ts'
import { FakeChangelog } from './fake-changelog.ts'

const test = suite('table restore')
const root = mkdtempSync(join(tmpdir(), 'millrace-restore-'))
test.after(() => rmSync(root, { recursive: true, force: true }))
const place = { group: 'g', table: 't', partition: 0 }
const hour = 3_600_000
let dirs = 0

/** One process: its registry, on an engine that it closes in the end. */
class Life {
  readonly events: TableEvent[] = []
  readonly engine: StorageEngine
  readonly registry: TableRegistry
  readonly #log: FakeChangelog

  constructor(log: FakeChangelog, engine: StorageEngine) {
    this.#log = log
    this.engine = engine
    this.registry = new TableRegistry(log.port(), engine, 1_000, (event) => this.events.push(event))
  }

  async restore(signal = new AbortController().signal): Promise<Store> {
    await this.registry.acquire('g', 't', 0)
    const at = { group: 'g', topic: 't', partition: 0, target: this.#log.end, askedMs: Date.now() + this.#log.skewMs }
    return (await this.registry.restore(at, signal)).copy.store
  }

  get restored(): Extract<TableEvent, { type: 'tableRestored' }> {
    const event = this.events.find(({ type }) => type === 'tableRestored')
    assert.ok(event?.type === 'tableRestored', 'it was restored')
    return event
  }

  close(): Promise<void> {
    return this.registry.close()
  }
}

/** A changelog, and a disk for the processes that follow each other. */
function world() {
  const log = new FakeChangelog()
  const dir = join(root, String(++dirs))
  const path = join(dir, 'g', 't', '0')
  const life = (): Life => new Life(log, logEngine({ dir }))
  /** A process that restores, and ends. */
  const once = async (): Promise<Life> => {
    const one = life()
    await one.restore()
    await one.close()
    return one
  }
  return { log, path, life, once }
}

const entriesOf = (store: Store): Record<string, string> =>
  Object.fromEntries([...store.entries()].map(([key, value]) => [String(key), String(value)]))

test('a second start reads only what came since, the third nothing', async () => {
  const { log, life, once } = world()
  log.epoch = 2
  log.append(['a', '1'], ['b', '1'], ['c', '1'])
  const first = await once()
  assert.equal([first.restored.records, first.restored.fromOffset, first.restored.localEntries], [3, 0, 0])
  log.append(['b', undefined], ['d', '4'])
  const second = life()
  const store = await second.restore()
  assert.equal(entriesOf(store), { a: '1', c: '1', d: '4' })
  const { records, fromOffset, toOffset, localEntries, rebuilt } = second.restored
  assert.equal([records, fromOffset, toOffset, localEntries, rebuilt], [2, 3, 5, 3, undefined])
  assert.is(decodeStoreState(store.checkpoint!.state)!.leaderEpoch, 2)
  await second.close()
  assert.is((await once()).restored.records, 0)
  assert.is(log.fetched, 5)
})

test('what is older than deletions are kept is built anew, and the old table stays until that is complete', async () => {
  const { log, path, life, once } = world()
  log.append(['a', '1'], ['gone', '1'])
  await once()
  log.append(['gone', undefined])
  log.records = log.records.filter(({ key }) => key !== 'gone') // compacted, and the deletion forgotten
  log.append(['b', '2'])
  log.skewMs = 25 * hour
  log.fetchLimit = 1
  const second = life()
  const restoring = second.restore()
  await until(() => log.fetched === 3)
  assert.equal(
    second.events.map(({ type }) => type),
    ['tableRebuild'],
  )
  const old = await second.engine.aside!.open(place)
  assert.equal(entriesOf(old), { a: '1', gone: '1' }, 'nothing of the old table is lost yet')
  await old.close()
  log.fetchLimit = Number.POSITIVE_INFINITY
  log.wake()
  assert.equal(entriesOf(await restoring), { a: '1', b: '2' })
  assert.is(existsSync(`${path}.old`), false)
  assert.match(second.restored.rebuilt ?? '', /25 h ago.*24 h/)
  assert.equal([second.restored.fromOffset, second.restored.localEntries], [0, 0])
  await second.close()
  assert.is((await once()).restored.rebuilt, undefined)
})

test('a store that does not keep up is waited for', async () => {
  const log = new FakeChangelog()
  log.append(['a', '1'], ['b', '1'], ['c', '1'])
  log.fetchLimit = 1
  const engine = memoryEngine()
  const store = await engine.open(place)
  let busy: Deferred | undefined = deferred()
  const slow = Object.assign(store, { ready: () => busy?.promise })
  engine.open = async () => slow
  const one = new Life(log, engine)
  const restoring = one.restore()
  await until(() => slow.checkpoint?.position === 1)
  log.fetchLimit = Number.POSITIVE_INFINITY
  log.wake()
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.is(slow.checkpoint?.position, 1, 'nothing more is written meanwhile')
  const { resolve } = busy
  busy = undefined
  resolve()
  assert.equal(entriesOf(await restoring), { a: '1', b: '1', c: '1' })
  await one.close()
})

test('while a table is restored for the first time, its age is that of the beginning', async () => {
  const { log, life } = world()
  log.append(['a', '1'], ['b', '1'])
  log.fetchLimit = 1
  const first = life()
  const began = Date.now()
  const abort = new AbortController()
  const restoring = first.restore(abort.signal)
  await until(() => log.fetched === 1)
  await until(() => first.events.length === 0)
  abort.abort(new Error('enough'))
  await rejects(restoring, /enough/)
  await first.close()
  const second = life()
  const store = await second.engine.open(place)
  const state = decodeStoreState(store.checkpoint!.state)!
  assert.is(store.checkpoint!.position, 1)
  assert.ok(Math.abs(state.wallMs - began) < 5_000)
  await second.close()
  // What was deleted meanwhile is missing in the tail: a day later the beginning is too old.
  log.skewMs = 25 * hour
  log.fetchLimit = Number.POSITIVE_INFINITY
  const third = life()
  assert.equal(entriesOf(await third.restore()), { a: '1', b: '1' })
  assert.match(third.restored.rebuilt ?? '', /delete\.retention\.ms/)
  await third.close()
})

test('a rebuild that is broken off goes on at the next start, and the old table goes then', async () => {
  const { log, path, life, once } = world()
  log.append(['a', '1'])
  await once()
  log.remake()
  log.append(['x', '1'], ['y', '2'])
  log.fetchLimit = 1
  const second = life()
  const abort = new AbortController()
  const restoring = second.restore(abort.signal)
  await until(() => log.fetched === 2)
  abort.abort(new Error('killed'))
  await rejects(restoring, /killed/)
  await second.close()
  assert.is(existsSync(`${path}.old`), true)
  log.fetchLimit = Number.POSITIVE_INFINITY
  const third = life()
  assert.equal(entriesOf(await third.restore()), { x: '1', y: '2' })
  assert.equal([third.restored.fromOffset, third.restored.records], [1, 1], 'it goes on where it was broken off')
  assert.is(existsSync(`${path}.old`), false)
  await third.close()
})

test('a rebuild that is broken off, and then the topic is lost: the old table is the only copy, and is named', async () => {
  const { log, path, life, once } = world()
  log.append(['a', '1'])
  await once()
  log.remake()
  log.append(['x', '1'], ['y', '2'])
  log.fetchLimit = 0
  const second = life()
  const abort = new AbortController()
  const restoring = second.restore(abort.signal)
  await until(() => second.events.length === 1)
  abort.abort(new Error('killed'))
  await rejects(restoring, /killed/)
  await second.close()
  log.remake()
  log.fetchLimit = Number.POSITIVE_INFINITY
  const third = life()
  const error = await rejects(third.restore(), TableDivergedError)
  assert.match(error.message, /0\.old --brokers/)
  assert.is(error.directory, `${path}.old`)
  await third.close()
  assert.is(existsSync(`${path}.old`), true)
})

const divergences: readonly { name: string; change(log: FakeChangelog): void; says: RegExp }[] = [
  { name: 'made anew and empty', change: (log) => log.remake(), says: /is empty.*deleted and made anew/ },
  {
    name: 'made anew and shorter',
    change: (log) => {
      log.remake()
      log.append(['z', '1'])
    },
    says: /ends at offset 1.*deleted and made anew/,
  },
  { name: 'cut', change: (log) => log.truncate(1), says: /ends at offset 1: the topic has lost its end/ },
]

for (const { name, change, says } of divergences) {
  test(`a topic that was ${name}: refused with both ways out, and nothing is changed`, async () => {
    const { log, path, life, once } = world()
    log.append(['a', '1'], ['b', '2'])
    await once()
    change(log)
    for (let start = 1; start <= 2; start++) {
      const next = life()
      const error = await rejects(next.restore(), TableDivergedError)
      assert.is(error.code, 'ERR_TABLE_DIVERGED')
      assert.match(error.message, says)
      assert.equal(
        [error.group, error.topic, error.partition, error.position, error.end, error.directory],
        ['g', 't', 0, 2, log.end, path],
      )
      assert.match(error.message, /^the local table of group g of t\/0 has followed its topic to offset 2/)
      assert.match(error.message, `millrace store republish ${path} --brokers HOST:PORT --topic t --partition 0`)
      assert.match(error.message, `millrace store discard ${path}`)
      await next.close()
    }
    const last = life()
    assert.equal(entriesOf(await last.engine.open(place)), { a: '1', b: '2' })
    await last.close()
  })
}

test('an unclean leader has written over what was read: built anew', async () => {
  const { log, life, once } = world()
  log.append(['a', '1'], ['b', '2'])
  await once()
  log.truncate(1)
  log.epoch = 1
  log.append(['c', '3'], ['d', '4'])
  const next = life()
  assert.equal(entriesOf(await next.restore()), { a: '1', c: '3', d: '4' })
  assert.match(next.restored.rebuilt ?? '', /leader epoch 0.*ends at 1/)
  await next.close()
})

test('an engine that keeps nothing aside clears, and offers no commands', async () => {
  const log = new FakeChangelog()
  const engine = memoryEngine()
  log.append(['a', '1'])
  const life = new Life(log, engine)
  await life.restore()
  life.registry.release('g', 't', 0)
  log.remake()
  log.append(['x', '1'], ['y', '2'])
  assert.equal(entriesOf(await life.restore()), { x: '1', y: '2' })
  life.registry.release('g', 't', 0)
  log.remake()
  const error = await rejects(life.restore(), /Restart the process/)
  assert.not.match(error.message, /millrace store/)
  await life.close()
})

test('a followed copy is brought up to date the same way, and refuses the same way', async () => {
  const { log, life } = world()
  log.append(['a', '1'])
  const first = life()
  const copy = await first.registry.follow('t', 0)
  await copy.whenRecovered()
  log.append(['b', '2'])
  await until(() => copy.store.has('b'))
  await first.close()
  log.append(['c', '3'])
  const second = life()
  const again = await second.registry.follow('t', 0)
  await again.whenRecovered()
  assert.equal([again.from, again.applied, again.store.entryCount], [2, 1, 3])
  await second.close()
  log.remake()
  const third = life()
  await rejects(third.registry.follow('t', 0), /^the local copy of t\/0/)
  await third.close()
})

test('a store of the first version, which knew only the topic, goes on', async () => {
  const { log, life } = world()
  log.append(['a', '1'], ['b', '2'])
  const first = life()
  const store = await first.engine.open(place)
  const batch = store.writer()
  batch.put(0, Buffer.from('a'), 0, 1, Buffer.from('1'), 0, 1)
  batch.commit({ position: 1, state: Buffer.from(`1;${log.topicId}`) })
  await first.close()
  const second = life()
  const restored = await second.restore()
  assert.equal([second.restored.fromOffset, second.restored.records], [1, 1])
  assert.equal(
    restored.checkpoint!.state,
    encodeStoreState({ ...decodeStoreState(restored.checkpoint!.state)!, topicId: log.topicId }),
  )
  await second.close()
})

test.run()
