/**
 * The memory of memtables is used again when they were flushed: by nobody who could still read what was there, within the
 * limit of the engine, and not kept for nothing. What an old memtable left there never reaches a reader or a file.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore, Span, type StoreEvent } from '../../../src/storage/index.ts'
import { freshRoom, MemtableRooms, type Room } from '../../../src/storage/log/rooms.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { WatchedRooms } from '../support/watched-rooms.ts'
import { modelRun, seedsOf } from './model-worlds.ts'

const test = suite('log engine: rooms of memtables', { deadlineMs: 120_000 })
const realTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** An engine whose stores hold what `model` says. */
class World {
  readonly turns = new Turns(0.4)
  readonly fs: FaultFs
  readonly disk: SimFs
  readonly engine: LogEngine
  readonly events: StoreEvent[] = []
  readonly models: Map<string, string>[] = []
  readonly stores: LogStore[] = []

  constructor(options: Partial<LogEngineOptions> = {}, disk = new SimFs()) {
    this.disk = disk
    this.fs = new FaultFs(disk)
    const onEvent = (event: StoreEvent): void => void this.events.push(event)
    const own = { dir: '/s', fs: this.fs, scheduler: this.turns, random: new SeededRandom(4), onEvent }
    this.engine = new LogEngine({ ...own, sync: 'never', cacheBytes: 0, writeBufferBytes: 16_384, ...options })
  }

  async open(count = 1): Promise<this> {
    for (let partition = 0; partition < count; partition++) {
      this.stores[partition] = await this.engine.open({ group: 'g', table: 't', partition })
      this.models[partition] ??= new Map()
    }
    return this
  }

  get store(): LogStore {
    return this.stores[0]!
  }

  /** A batch of 20 keys of 300 in one of the stores: about 2 KB. */
  write(round: number, index = 0): void {
    const store = this.stores[index]!
    for (let j = 0; j < 20; j++) {
      const key = `key ${(round * 13 + j) % 300}`
      const value = `${round} of ${index} `.repeat(1 + ((round + j) % 15))
      put(store, key, value)
      this.models[index]!.set(key, value)
    }
    store.writer().commit(checkpointAt(round, Buffer.alloc(round % 13, 's')))
  }

  /** Fills memtables and has them flushed. */
  async fill(rounds: number, from = 0): Promise<void> {
    for (let round = from; round < from + rounds; round++) {
      this.write(round)
      await this.turns.turn()
      await this.drive(Promise.resolve(this.store.ready()))
    }
  }

  check(when: string): void {
    for (const [index, store] of this.stores.entries()) {
      const found = [...store.entries()].map(([key, value]) => [`${key}`, `${value}`])
      assert.equal(found, sorted(this.models[index]!), `${when}: store ${index}`)
    }
  }

  get flushed(): number {
    return this.events.filter(({ kind }) => kind === 'flushed').length
  }

  get spareBytes(): number {
    return this.engine.memoryStats.spareBytes
  }

  drive = <T>(promise: Promise<T>): Promise<T> => this.turns.drive(promise)

  close(): Promise<void> {
    return this.drive(this.engine.close())
  }
}

function sorted(model: ReadonlyMap<string, string>): (readonly [string, string])[] {
  return [...model].sort(([a], [b]) => (a < b ? -1 : 1))
}

// --- the rooms themselves

function roomsWith(space: { keepable: number; takeable: number; largestRoom: number }): {
  rooms: MemtableRooms
  turns: Turns
} {
  const turns = new Turns()
  return { rooms: new MemtableRooms({ ...space, roomKept: () => {} }, turns), turns }
}

function room(size: number, touched: number): Room {
  return { bytes: freshRoom(size).bytes, touched }
}

test('a room is taken in a later turn than it was given in, the last one first, and only if it fits', async () => {
  const { rooms, turns } = roomsWith({ keepable: 10_000, takeable: 5000, largestRoom: 6000 })
  const [a, b] = [room(8192, 1000), room(4096, 2000)]
  rooms.give(a)
  rooms.give(b)
  assert.is(rooms.take(100, 9999), undefined)
  assert.is(rooms.keptBytes, 3000)
  await turns.turn()
  assert.is(rooms.take(8193, 9999), undefined, 'it is too small')
  assert.is(rooms.take(100, 999), undefined, 'too much of it is in memory')
  assert.is(rooms.take(5000, 9999)?.bytes, a.bytes)
  rooms.give(a)
  assert.is(rooms.take(100, 9999)?.bytes, b.bytes)
  assert.is(rooms.take(100, 9999), undefined)
  await turns.turn()
  assert.is(rooms.take(100, 9999)?.bytes, a.bytes)
  assert.is(rooms.keptBytes, 0)
  rooms.give(room(8192, 5500))
  rooms.give(room(8192, 6001))
  assert.is(rooms.keptBytes, 5500, 'one is too large for ever')
  await turns.turn()
  assert.is(rooms.take(100, 9999), undefined, 'there is no space for it')
})

test('64 rooms are kept, the oldest go first, and those that nobody takes go in time', async () => {
  const { rooms, turns } = roomsWith({ keepable: 12_000, takeable: 10_000, largestRoom: 10_000 })
  for (let i = 1; i <= 6; i++) rooms.give(room(8192, 1000 * i))
  assert.is(rooms.keptBytes, 5000 + 6000, 'there was no space for the rest')
  rooms.shrink(6000)
  assert.is(rooms.keptBytes, 6000)
  for (let i = 0; i < 70; i++) rooms.give(room(8192, 10 + i))
  assert.is(rooms.keptBytes, ((16 + 79) * 64) / 2, '64 of them')
  await turns.turn()
  rooms.age()
  rooms.give(room(8192, 500))
  await turns.turn()
  assert.is(rooms.take(100, 9999)?.touched, 500)
  rooms.give(room(8192, 501))
  rooms.age()
  assert.is(rooms.keptBytes, 501)
  rooms.age()
  assert.is(rooms.keptBytes, 0)
})

// --- in stores

test('what readers saw before a flush stays, however often the rooms are used again', async () => {
  using watched = new WatchedRooms()
  const world = await new World().open()
  const { store } = world
  await world.fill(5)
  // Some is in tables, some in frozen memtables, some in the active one.
  for (let round = 5; round < 25; round++) world.write(round)
  const before = sorted(world.models[0]!)
  const snapshot = store.snapshot()
  const iterator = store.iterate({ reverse: true })
  const entries = store.entries()
  for (let i = 0; i < 7; i++) assert.ok(iterator.next())
  const first = `${entries.next().value?.[0]}`
  const { key, value } = iterator
  const text = [key.copy(), value.copy()].map(String)
  await world.fill(200, 25)
  await world.drive(store.flush())
  await world.fill(200, 225)
  assert.ok(watched.taken > 10, `${watched.taken} rooms were used again`)
  assert.equal([key.copy(), value.copy()].map(String), text)
  assert.equal(text, before.at(-7))
  for (let i = before.length - 8; i >= 0; i--) {
    assert.ok(iterator.next())
    assert.equal([key.copy(), value.copy()].map(String), before[i])
  }
  assert.is(iterator.next(), false)
  assert.equal(
    [first, ...[...entries].map(([one]) => `${one}`)],
    before.map(([one]) => one),
  )
  assert.equal(
    [...snapshot.entries()].map(([k, v]) => [`${k}`, `${v}`]),
    before,
  )
  for (const [k, v] of before) assert.is(snapshot.get(k)?.toString(), v)
  snapshot.release()
  world.check('in the end')
  await world.close()
})

test('what a span points at is not written over before the end of the turn, however much is written', async () => {
  using watched = new WatchedRooms()
  const world = await new World().open()
  let flushedBetween = 0
  for (let round = 0; round < 3000; ) {
    const key = bytes(`key ${(round * 13) % 300}`)
    world.write(round)
    const text = world.models[0]!.get(`${key}`)
    const out = new Span()
    assert.ok(world.store.getSync(0, key, 0, key.length, out))
    const { flushed } = world
    // Writers have to help: memtables are flushed in this turn, the one with the span as well.
    for (const end = round + 300; round < end; ) world.write(++round)
    flushedBetween += world.flushed - flushed
    assert.is(out.copy().toString(), text)
    await world.turns.turn()
  }
  world.check('in the end')
  assert.ok(flushedBetween > 20, `${flushedBetween} memtables were flushed within a turn`)
  assert.ok(watched.taken > 10, `${watched.taken} rooms were used again`)
  await world.close()
})

test('an order that was begun before a flush is no harm after it', async () => {
  using watched = new WatchedRooms()
  const world = await new World({ writeBufferBytes: 2 ** 17 }).open()
  const fill = (from: number): void => {
    for (let i = 0; i < 1500; i++) put(world.store, `key ${from + ((i * 7) % 1500)}`, `value ${from}`)
    world.store.writer().commit()
  }
  fill(0)
  const job = world.store.ordering()!
  assert.not.ok(job.step(100))
  for (let round = 1; round < 6; round++) {
    fill(1500 * round)
    await world.drive(world.store.flush())
    await world.turns.turn()
  }
  assert.ok(watched.taken > 0)
  for (let left = 100; !job.step(1000); left--) assert.ok(left > 0)
  assert.is([...world.store.entries()].length, 9000)
  await world.close()
})

test('the model holds where every room was used before, in slices and with the worker thread', async () => {
  using watched = new WatchedRooms()
  for (const seed of seedsOf(31, 6)) {
    await modelRun('sim', seed, 5000)
  }
  const inSlices = watched.taken
  for (const seed of seedsOf(32, 3)) await modelRun('real', seed, 5000)
  assert.ok(inSlices > 50 && watched.taken > inSlices + 10, `${inSlices} of ${watched.taken} rooms were used again`)
})

test('the files are the same, byte by byte, whether rooms were used before or are fresh; and a kill loses nothing', async () => {
  const run = async (isUsed: boolean): Promise<{ files: string[]; used: number }> => {
    using watched = new WatchedRooms(isUsed)
    const random = new SeededRandom(6)
    const world = await new World({ writeBufferBytes: 4096 }).open()
    const { store, turns } = world
    const files: string[] = []
    for (let round = 0; round < 400; round++) {
      const dice = random.next()
      if (dice < 0.6) world.write(round)
      else if (dice < 0.7) {
        put(store, 'given up', 'x'.repeat(random.int(9000)))
        store.writer().abandon()
      } else if (dice < 0.8) {
        for (let i = random.int(30); i >= 0; i--) {
          const key = `key ${random.int(300)}`
          const value = 'single '.repeat(random.int(20))
          store.put(0, bytes(key), 0, key.length, bytes(value), 0, value.length)
          world.models[0]!.set(key, value)
        }
      } else if (dice < 0.82) {
        const load = store.bulkLoad()
        for (let i = 0; i < 60; i++) {
          const key = bytes(`key ${i}`)
          load.put(0, key, 0, key.length, key, 0, key.length)
          world.models[0]!.set(`key ${i}`, `key ${i}`)
        }
        load.finish(checkpointAt(round))
        await world.drive(store.flush())
      } else if (dice < 0.95) await turns.turn()
      else await world.drive(store.flush())
      if (round % 20 !== 0) continue
      await turns.turn()
      const dir = '/s/g/t/0'
      const { disk } = world
      for (const name of disk.readdirSync(dir).sort()) {
        files.push(`${round} ${name} ${disk.contentOf(`${dir}/${name}`).toString('latin1')}`)
      }
      const after = await new World({}, disk.kill()).open()
      after.models[0] = world.models[0]!
      after.check(`killed in round ${round}`)
      assert.equal(after.events, [], 'nothing was dropped')
      const report = await after.drive(after.store.verify())
      assert.equal(report.faults, [])
      await after.close()
    }
    await world.close()
    return { files, used: watched.taken }
  }
  const [used, fresh] = [await run(true), await run(false)]
  assert.ok(used.used > 10 && fresh.used === 0, `${used.used} rooms were used again`)
  assert.is(used.files.length, fresh.files.length)
  for (const [i, file] of used.files.entries()) assert.ok(file === fresh.files[i], file.slice(0, 40))
})

// --- ends

test('clearing and closing while memtables are flushed gives no room back that is read', async () => {
  for (let turnsBefore = 0; turnsBefore < 12; turnsBefore++) {
    using watched = new WatchedRooms()
    const world = await new World().open(2)
    for (let round = 0; round < 24; round++) world.write(round)
    const other = world.stores[1]!
    for (let i = turnsBefore; i > 0; i--) await world.turns.turn()
    const { flushed } = world
    const installed = watched.given
    assert.ok(installed >= flushed && installed <= flushed + 1)
    if (turnsBefore % 2 === 0) {
      world.store.clear()
      world.models[0]!.clear()
    } else await world.drive(world.store.close())
    assert.is(watched.given - installed <= 1, true, 'what was not in tables is dropped with its memory')
    for (let round = 0; round < 60; round++) {
      world.write(round, 1)
      await world.turns.turn()
    }
    assert.ok([...other.entries()].length > 0)
    if (turnsBefore % 2 === 1) world.stores[0] = await world.engine.open({ group: 'g', table: 't', partition: 0 })
    world.check(`after ${turnsBefore} turns`)
    await world.close()
    assert.is(world.spareBytes, 0)
  }
})

test('the same with the worker thread', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-rooms-'))
  using watched = new WatchedRooms()
  try {
    const engine = new LogEngine({ dir, sync: 'never', writeBufferBytes: 16_384, cacheBytes: 0 })
    const open = (partition: number): Promise<LogStore> => engine.open({ group: 'g', table: 't', partition })
    const stores = [await open(0), await open(1)]
    const models = stores.map(() => new Map<string, string>())
    const random = new SeededRandom(8)
    for (let step = 0; step < 900; step++) {
      const index = random.int(2)
      const store = stores[index]!
      const model = models[index]!
      for (let i = 0; i < 40; i++) {
        const key = `key ${random.int(500)}`
        const value = `${step} `.repeat(random.int(40))
        put(store, key, value)
        model.set(key, value)
      }
      store.writer().commit()
      const dice = random.next()
      if (dice < 0.5) await realTurn()
      else if (dice < 0.53) {
        store.clear()
        model.clear()
      } else if (dice < 0.55) {
        await store.close()
        stores[index] = await open(index)
      }
      if (step % 30 !== 0) continue
      const found = [...stores[index]!.entries()].map(([key, value]) => [`${key}`, `${value}`])
      assert.equal(found, sorted(model), `step ${step}`)
    }
    assert.ok(watched.taken > 20, `${watched.taken} rooms were used again`)
    await engine.close()
    assert.is(engine.memoryStats.spareBytes, 0)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

test('a store that is poisoned keeps what is not in tables, and reads on', async () => {
  for (const path of [/MANIFEST/, /\.tbl$/, /\.log$/]) {
    using watched = new WatchedRooms()
    const world = await new World().open(2)
    await world.fill(30)
    world.fs.fail({ kinds: path.source === '\\.log$' ? ['write'] : ['sync', 'write'], path, forever: true })
    let failed = 0
    for (let round = 30; round < 60; round++) {
      const before = new Map(world.models[0]!)
      try {
        world.write(round)
      } catch {
        failed += 1
        world.store.writer().abandon()
        world.models[0] = before
      }
      await world.turns.turn()
    }
    if (path.source !== '\\.tbl$') assert.ok(failed > 0, `${path}: it is poisoned`)
    world.fs.heal()
    const { given } = watched
    for (let round = 0; round < 100; round++) {
      world.write(round, 1)
      await world.turns.turn()
    }
    world.check(`${path}: while another store is written`)
    assert.ok(watched.given > given)
    await world.close().catch(() => {})
  }
})

// --- the budget

test('what nobody writes is not kept for it', async () => {
  const world = await new World({ writeBufferBytes: 2 ** 18 }).open(2)
  const { turns } = world
  const look = async (): Promise<void> => {
    turns.pass(5000)
    await turns.turn()
  }
  const write = async (from: number): Promise<void> => {
    for (let round = from; round < from + 600 || world.spareBytes < 2 ** 17; round += 20) await world.fill(20, round)
    await turns.settle()
  }
  await write(0)
  assert.ok(world.spareBytes >= 2 ** 17)
  const snapshot = world.store.snapshot()
  const before = sorted(world.models[0]!)
  for (let i = 0; i < 3; i++) await look()
  assert.is(world.spareBytes, 0)
  world.check('when the room was left')
  world.write(20_000)
  world.check('and written')
  assert.equal(
    [...snapshot.entries()].map(([k, v]) => [`${k}`, `${v}`]),
    before,
  )
  snapshot.release()
  await write(30_000)
  assert.ok(world.spareBytes >= 2 ** 17, 'written again, it has spare memory again')
  await world.close()
  assert.is(world.spareBytes, 0)
  assert.is(turns.timers, 0, 'nothing waits for time to pass')
})

test('memtables that need memory get it from what is spare, before any is flushed for it', async () => {
  const world = await new World({ memoryBytes: 2 ** 21, writeBufferBytes: 2 ** 17 }).open(8)
  const { memtableLimit } = world.engine.memoryStats
  await world.fill(300)
  let most = 0
  for (let round = 0; round < 1200; round++) {
    world.write(round, round % 8)
    if (round % 3 === 0) await world.turns.turn()
    const { activeBytes, frozenBytes, spareBytes } = world.engine.memoryStats
    assert.ok(activeBytes + frozenBytes + spareBytes <= memtableLimit, `round ${round}`)
    most = Math.max(most, spareBytes)
  }
  assert.ok(most > memtableLimit / 8, `at most ${most} bytes were spare`)
  world.check('in the end')
  await world.close()
})

test.run()
