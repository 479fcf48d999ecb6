/** Open files: as many tables as allowed, whatever is done with many stores, and nothing lost when the system allows fewer. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { FileHandles, RoomyFs } from '../../../src/storage/log/handles.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { put, thrown } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs, systemError } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'

const test = suite('log engine: open files', { deadlineMs: 60_000 })

class World {
  readonly turns = new Turns(0.4)
  readonly fs = new FaultFs(new SimFs({ defer: (run) => this.turns.immediate(run) }))
  readonly events: StoreEvent[] = []
  readonly engine: LogEngine
  readonly stores: LogStore[] = []
  /** Files that may be open at once, as far as the system is concerned. */
  limit = Infinity
  /** The most tables that were open. */
  most = 0

  constructor(options: Partial<LogEngineOptions> = {}) {
    const random = new SeededRandom(5)
    const onEvent = (event: StoreEvent): void => void this.events.push(event)
    const own = { dir: '/s', fs: this.fs, scheduler: this.turns, random, sync: 'never' as const, onEvent }
    this.engine = new LogEngine({ ...own, writeBufferBytes: 4096, cacheBytes: 0, ...options })
    this.fs.before = ({ kind, path }) => {
      // A directory is opened to be synced or read.
      const opens = kind === 'open' || kind === 'syncDir' || kind === 'readdir'
      if (opens && this.fs.open.length >= this.limit) throw systemError('EMFILE', 'open', path)
    }
    this.fs.after = () => {
      this.most = Math.max(this.most, this.tables)
    }
  }

  get tables(): number {
    return this.fs.open.filter((path) => path.endsWith('.tbl')).length
  }

  drive = <T>(promise: Promise<T>): Promise<T> => this.turns.drive(promise)

  async open(count: number): Promise<this> {
    for (let partition = 0; partition < count; partition++) {
      this.stores[partition] = await this.engine.open({ group: 'g', table: 't', partition })
    }
    return this
  }

  /** Three runs of tables in each store. */
  async fill(): Promise<void> {
    for (const store of this.stores) {
      for (const round of [0, 1, 2]) {
        for (let i = round; i < 60; i++) put(store, `key ${i}`, `value ${i} of ${round}`)
        store.writer().commit()
        await this.drive(store.flush())
      }
    }
  }

  checkValues(): void {
    for (const store of this.stores) {
      for (let i = 0; i < 60; i += 7) assert.is(store.get(`key ${i}`)?.toString(), `value ${i} of ${Math.min(i, 2)}`)
    }
  }
}

test('64 stores keep no more tables open than allowed, and read all of them', async () => {
  const world = await new World({ maxOpenFiles: 8 }).open(64)
  await world.fill()
  await world.turns.settle()
  const tables = world.stores.reduce((sum, store) => sum + store.logStats().tables, 0)
  assert.ok(tables >= 64, `${tables} tables`)
  world.most = 0
  world.checkValues()
  for (const store of world.stores) assert.is([...store.entries()].length, 60)
  assert.ok(world.most <= 9, `${world.most} tables were open`)
  assert.ok(world.tables <= 8)
  const keys = Array.from({ length: 60 }, (_, i) => `key ${i}`)
  const all = await world.drive(Promise.all(world.stores.map((store) => store.getMany(keys, { concurrency: 2 }))))
  for (const values of all) assert.is(values[59]?.toString(), 'value 59 of 2')
  world.checkValues()
  assert.ok(world.tables <= 8, `${world.tables} tables are open`)
  await world.drive(world.engine.close())
  assert.equal(world.fs.open, [])
})

test('when the system allows fewer files, tables are closed to make room', async () => {
  const world = await new World().open(6)
  await world.fill()
  await world.turns.settle()
  // Each store's log and manifest stay open, and a table that is written.
  world.limit = 30
  world.checkValues()
  for (const store of world.stores) put(store, 'more', 'value')
  for (const store of world.stores) store.writer().commit()
  for (const store of world.stores) await world.drive(store.flush())
  for (const store of world.stores) await world.drive(store.compact())
  world.checkValues()
  assert.equal(
    world.events.filter(({ kind }) => kind === 'failed'),
    [],
  )
  await world.drive(world.engine.close())
  assert.equal(world.fs.open, [])
})

test('when there is no room for any file that is told, nothing is lost, and it goes on when there is', async () => {
  const world = await new World({ maxOpenFiles: 8 }).open(20)
  const [store, other] = world.stores as [LogStore, LogStore]
  await world.fill()
  await world.turns.settle()
  world.limit = 0
  const error = thrown(() => world.checkValues(), 'ERR_STORE_IO')
  assert.match(error.message, 'EMFILE')
  assert.match(error.message, 'ulimit -n')
  assert.match(error.message, 'maxOpenFiles')
  await rejects(store.getMany(['key 1']), 'ERR_STORE_IO')
  // No new log can be made, so the memtable goes on growing.
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 60; i++) put(store, `more ${i}`, `value ${round}`)
    store.writer().commit()
    await world.turns.turn()
  }
  const told = world.events.filter((event) => event.kind === 'failed')
  assert.ok(told.length > 0)
  for (const { error: one } of told) assert.is(one.code, 'ERR_STORE_IO', one.message)
  await rejects(world.engine.open({ group: 'g', table: 't', partition: 20 }), 'ERR_STORE_IO')
  assert.is(store.get('more 3')?.toString(), 'value 4')
  world.limit = Infinity
  world.checkValues()
  put(other, 'k', 'v')
  other.writer().commit()
  await world.drive(store.flush())
  await world.drive(store.close())
  const again = await world.engine.open({ group: 'g', table: 't', partition: 0 })
  assert.is(again.get('more 59')?.toString(), 'value 4')
  assert.is([...again.entries()].length, 120)
  await world.drive(world.engine.close())
  assert.equal(world.fs.open, [])
})

test('the file that was not used for longest is closed, and none that is being read', () => {
  const handles = new FileHandles(2)
  const closed: string[] = []
  const user = (name: string, isBusy = false): { lastUse: number; isBusy: boolean; closeHandle(): void } => ({
    lastUse: 0,
    isBusy,
    closeHandle() {
      closed.push(name)
      handles.closed(this)
    },
  })
  const [a, b] = [user('a'), user('b', true)]
  handles.opened(a)
  handles.opened(b)
  a.lastUse = handles.tick()
  handles.opened(user('c'))
  assert.equal(closed, ['a'])
  handles.opened(user('d', true))
  handles.opened(user('e'))
  assert.equal(closed, ['a', 'c'])
  assert.is(handles.count, 3)
  assert.ok(handles.makeRoom())
  assert.not.ok(handles.makeRoom())
  const fs = new FaultFs(new SimFs())
  fs.fail({ kinds: ['open'], code: 'ENFILE', forever: true })
  assert.throws(() => new RoomyFs(fs, handles).openSync('/file', 'create'), /ENFILE/)
})

test.run()
