/**
 * What iterators and snapshots see, whatever happens to the store meanwhile; and that files go when, and only when,
 * nobody reads them any more.
 */
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, Span, type StoreReader } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put, remove, thrown } from '../contract.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'

const test = suite('log engine: snapshots', { deadlineMs: 60_000 })
const dir = '/s/g/t/0'
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const keys = Array.from({ length: 400 }, (_, i) => `key ${String(i).padStart(4, '0')}`)

class World {
  readonly fs = new SimFs()
  readonly turns = new Turns(0.5)
  readonly engine: LogEngine
  store!: LogStore

  constructor() {
    const { fs, turns } = this
    const random = new SeededRandom(3)
    this.engine = new LogEngine({ dir: '/s', fs, scheduler: turns, random, sync: 'never', writeBufferBytes: 8192 })
  }

  async open(): Promise<LogStore> {
    this.store = await this.engine.open({ group: 'g', table: 't', partition: 0 })
    return this.store
  }

  write(round: string, some: readonly string[]): void {
    some.forEach((key, i) => {
      put(this.store, key, `${round} ${key}`)
      if (i % 20 === 19) this.store.writer().commit(checkpointAt(i))
    })
    this.store.writer().commit(checkpointAt(1000))
  }

  drive = <T>(promise: Promise<T>): Promise<T> => this.turns.drive(promise)

  tables(): string[] {
    return this.fs.readdirSync(dir).filter((name) => name.endsWith('.tbl'))
  }

  openTables(): string[] {
    return [...new Set(this.fs.open.filter((path) => path.endsWith('.tbl')))].map((path) => path.slice(dir.length + 1))
  }

  async close(): Promise<void> {
    await this.drive(this.engine.close())
    assert.equal(this.fs.open, [])
  }
}

/** Where the entries are when the readers are opened. */
const places: Record<string, (world: World) => Promise<void>> = {
  'in one memtable': async (world) => world.write('first', keys.slice(0, 80)),
  'in memtables': async (world) => world.write('first', keys),
  'in tables': async (world) => {
    world.write('first', keys)
    await world.drive(world.store.flush())
  },
  'in one run': async (world) => {
    world.write('first', keys)
    await world.drive(world.store.compact())
  },
  'in runs and memtables': async (world) => {
    world.write('old', keys)
    await world.drive(world.store.flush())
    world.write('newer', keys.slice(100, 300))
    for (const key of keys.slice(50, 120)) remove(world.store, key)
    world.store.writer().commit()
    await world.drive(world.store.flush())
    world.write('newest', keys.slice(0, 60))
  },
}

/** What happens then. */
const actions: Record<string, (world: World) => Promise<void>> = {
  overwriting: async (world) => world.write('second', keys),
  deleting: async ({ store }) => {
    for (const key of keys) remove(store, key)
    store.writer().commit(checkpointAt(2000))
  },
  'adding between': async (world) => {
    const between = keys.map((key) => `${key}+`)
    world.write('between', between)
  },
  'a batch that is given up': async ({ store }) => {
    for (const key of keys) put(store, key, 'never')
    store.writer().abandon()
  },
  'single writes': async (world) => {
    for (const key of keys.map(bytes)) world.store.put(0, key, 0, key.length, key, 0, key.length)
    await world.turns.settle()
  },
  flushing: async (world) => world.drive(world.store.flush()),
  'overwriting and merging': async (world) => {
    world.write('second', keys)
    await world.drive(world.store.compact())
    world.write('third', keys.slice(0, 200))
    await world.drive(world.store.compact())
  },
  'deleting and merging': async (world) => {
    for (const key of keys) remove(world.store, key)
    world.store.writer().commit()
    await world.drive(world.store.compact())
  },
  'a bulk load': async (world) => {
    const load = world.store.bulkLoad()
    for (const key of keys.map(bytes)) load.put(0, key, 0, key.length, key, 0, key.length)
    load.finish(checkpointAt(5000))
    await world.turns.settle()
  },
  clearing: async ({ store }) => store.clear(),
  'clearing, writing and merging': async (world) => {
    world.store.clear()
    world.write('second', keys.slice(100))
    await world.drive(world.store.compact())
  },
}

/** Everything of space 0, as text. */
function all(reader: Pick<StoreReader, 'entries'>, reverse = false): string[] {
  return [...reader.entries({ reverse })].map(([key, value]) => `${key}=${value}`)
}

for (const [place, prepare] of Object.entries(places)) {
  test(`readers keep what they saw: entries ${place}`, async () => {
    for (const [action, act] of Object.entries(actions)) {
      const world = new World()
      const store = await world.open()
      await prepare(world)
      const before = all(store)
      const backwards = before.toReversed()
      const { checkpoint } = store
      const snapshot = store.snapshot()
      const fresh = store.iterate()
      const reverse = store.iterate({ reverse: true })
      const half = store.iterate({ from: keys[10]!, to: keys[300]! })
      const halfOf = before.filter((entry) => entry >= keys[10]! && entry < keys[300]!)
      const ofSnapshot = snapshot.iterate({ reverse: true })
      const read = (iterator: typeof fresh, count = Number.POSITIVE_INFINITY): string[] => {
        const entries: string[] = []
        while (entries.length < count && iterator.next()) {
          entries.push(`${iterator.key.copy()}=${iterator.value.copy()}`)
        }
        return entries
      }
      assert.equal(read(half, 30), halfOf.slice(0, 30))
      assert.equal(read(ofSnapshot, 30), backwards.slice(0, 30))

      await act(world)

      assert.equal(read(fresh), before, `${action}: an iterator`)
      assert.equal(read(reverse), backwards, `${action}: an iterator from the end`)
      assert.equal(read(half), halfOf.slice(30), `${action}: an iterator half-way`)
      assert.equal(read(ofSnapshot), backwards.slice(30), `${action}: an iterator of a snapshot`)
      assert.equal(all(snapshot), before, `${action}: a snapshot`)
      assert.equal(all(snapshot, true), backwards, `${action}: a snapshot from the end`)
      assert.equal(snapshot.checkpoint, checkpoint)
      const known = new Map(before.map((entry) => entry.split('=') as [string, string]))
      for (const key of keys) assert.is(snapshot.get(key)?.toString(), known.get(key), `${action}: ${key}`)
      assert.is(snapshot.has('key 0000+'), false)
      snapshot.release()
      assert.is(store.stats().openSnapshots, 0)
      const after = all(store)
      await world.close()
      await world.open()
      assert.equal(all(world.store), after, `${action}: the store, opened again`)
      await world.close()
    }
  })
}

test('tables that only a snapshot or an iterator needs stay until it ends, and no longer', async () => {
  const world = new World()
  const store = await world.open()
  world.write('first', keys)
  await world.drive(store.compact())
  const first = world.tables()
  const snapshot = store.snapshot()
  world.write('second', keys)
  await world.drive(store.compact())
  const second = world.tables().filter((name) => !first.includes(name))
  assert.ok(second.length > 0)
  assert.equal(world.tables(), [...first, ...second], 'the snapshot pins what it needs')
  const iterator = store.iterate()
  assert.ok(iterator.next())
  world.write('third', keys)
  await world.drive(store.compact())
  const third = world.tables().filter((name) => !first.includes(name) && !second.includes(name))
  assert.equal(world.tables(), [...first, ...second, ...third])
  snapshot.release()
  await turn()
  assert.equal(world.tables(), [...second, ...third], 'what the snapshot had goes')
  let left = 1
  while (iterator.next()) left += 1
  assert.is(left, keys.length)
  await turn()
  assert.equal(world.tables(), third, 'an iterator lets go at its end')
  const early = store.iterate()
  early.next()
  store.clear()
  assert.equal(world.tables(), third)
  early.close()
  await turn()
  assert.equal(world.tables(), [])
  assert.equal(world.openTables(), [])
  await world.close()
})

test('the end of a snapshot ends its iterators: they hold nothing', async () => {
  const world = new World()
  const store = await world.open()
  world.write('first', keys)
  await world.drive(store.compact())
  const first = world.tables()
  const snapshot = store.snapshot()
  const iterator = snapshot.iterate()
  assert.ok(iterator.next())
  const unused = snapshot.iterate()
  world.write('second', keys)
  await world.drive(store.compact())
  snapshot.release()
  assert.is(store.stats().openSnapshots, 0)
  assert.equal(
    world.tables().filter((name) => first.includes(name)),
    [],
  )
  thrown(() => iterator.next(), 'ERR_STORE_CLOSED')
  iterator.close()
  assert.is(iterator.next(), false)
  thrown(() => unused.next(), 'ERR_STORE_CLOSED')
  unused.close()
  await world.close()
})

test('an iterator that came upon damage says so each time, and holds nothing', async () => {
  const world = new World()
  const store = await world.open()
  world.write('first', keys)
  await world.drive(store.compact())
  const [table] = world.tables()
  const path = `${dir}/${table}`
  const content = world.fs.contentOf(path)
  const damaged = Buffer.from(content)
  damaged[damaged.indexOf(`first ${keys[200]}`)]! ^= 1
  world.fs.tamper(path, damaged)
  thrown(() => {
    for (const [key] of store.entries()) assert.ok(key.toString() < keys[200]!)
  }, 'ERR_STORE_CORRUPT')
  assert.is(store.stats().openSnapshots, 0)
  const iterator = store.iterate({ reverse: true })
  thrown(() => {
    while (iterator.next()) assert.ok(iterator.key.copy().toString() > keys[200]!)
  }, 'ERR_STORE_CORRUPT')
  thrown(() => iterator.next(), 'ERR_STORE_CORRUPT')
  assert.is(store.stats().openSnapshots, 0)
  iterator.close()
  world.fs.tamper(path, content)
  assert.is(all(store).length, keys.length)
  await world.close()
})

test('closing a store ends what is open, and every table closes', async () => {
  const world = new World()
  const store = await world.open()
  world.write('first', keys)
  await world.drive(store.compact())
  world.write('second', keys.slice(0, 50))
  const snapshot = store.snapshot()
  const iterators = [store.iterate(), store.iterate({ reverse: true }), snapshot.iterate()]
  for (const iterator of iterators.slice(1)) assert.ok(iterator.next())
  world.write('third', keys)
  await world.drive(store.compact())
  await world.close()
  for (const iterator of iterators) thrown(() => iterator.next(), 'ERR_STORE_CLOSED')
  const key = bytes('key')
  thrown(() => snapshot.getSync(0, key, 0, 3, new Span()), 'ERR_STORE_CLOSED')
  thrown(() => snapshot.iterate(), 'ERR_STORE_CLOSED')
  for (const iterator of iterators) iterator.close()
  snapshot.release()
  snapshot.release()
  await world.open()
  assert.equal(
    all(world.store),
    keys.map((one) => `${one}=third ${one}`),
  )
  const tables = world.tables()
  await world.drive(world.store.compact())
  assert.equal(world.tables(), tables, 'what only the snapshot had is gone')
  await world.close()
})

test('a value that is read stays whole while the store is written and merged', async () => {
  const world = new World()
  const store = await world.open()
  world.write('first', keys)
  await world.drive(store.compact())
  const iterator = store.iterate()
  const values: { span: Span; key: string }[] = []
  while (iterator.next()) {
    const span = new Span()
    Object.assign(span, { bytes: iterator.value.bytes, from: iterator.value.from, to: iterator.value.to })
    values.push({ span, key: iterator.key.copy().toString() })
    if (values.length % 100 === 0) world.write(`round ${values.length}`, keys)
  }
  await world.drive(store.compact())
  // Within one entry this is promised; that chunks are never written again is what makes it so.
  for (const { span, key } of values) assert.is(span.copy().toString(), `first ${key}`)
  await world.close()
})

test.run()
