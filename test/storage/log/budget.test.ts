/** What an engine takes in memory: counted exactly, and kept within its limits whatever is done with many stores. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore } from '../../../src/storage/index.ts'
import { MemoryBudget, type MemtableUser, TableMemory } from '../../../src/storage/log/budget.ts'
import { freshRoom } from '../../../src/storage/log/rooms.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { put, remove } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { WatchedRooms } from '../support/watched-rooms.ts'
import { seedsOf } from './model-worlds.ts'

const test = suite('log engine: memory', { deadlineMs: 60_000 })
const storeCount = 64

class World {
  readonly turns = new Turns(0.4)
  readonly fs = new FaultFs(new SimFs())
  readonly engine: LogEngine
  readonly stores: LogStore[] = []
  /** The most that was spare when somebody looked. */
  mostSpare = 0

  constructor(options: Partial<LogEngineOptions> = {}) {
    const random = new SeededRandom(5)
    const own = { dir: '/s', fs: this.fs, scheduler: this.turns, random, sync: 'never' as const, cacheBytes: 0 }
    this.engine = new LogEngine({ ...own, ...options })
  }

  drive = <T>(promise: Promise<T>): Promise<T> => this.turns.drive(promise)

  async open(count = storeCount): Promise<this> {
    for (let partition = 0; partition < count; partition++) {
      this.stores[partition] = await this.engine.open({ group: 'g', table: 't', partition })
    }
    return this
  }

  /** The counts are those of the stores, and within the limits. */
  check(when: string): void {
    const { activeBytes, frozenBytes, spareBytes, memtableLimit, slotBytes, indexBytes, tableLimit } =
      this.engine.memoryStats
    assert.ok(activeBytes >= 0 && frozenBytes >= 0 && spareBytes >= 0 && slotBytes >= 0 && indexBytes >= 0, when)
    const memtables = activeBytes + frozenBytes + spareBytes
    this.mostSpare = Math.max(this.mostSpare, spareBytes)
    assert.ok(memtables <= memtableLimit, `${when}: memtables take ${memtables} of ${memtableLimit} bytes`)
    assert.ok(slotBytes + indexBytes <= Math.max(tableLimit, indexBytes), `${when}: tables take too much`)
    let slots = 0
    let indexes = 0
    let frozen = 0
    for (const store of this.stores) {
      const stats = store.logStats()
      slots += stats.slotBytes
      indexes += stats.indexBytes
      frozen += stats.frozenMemtables
    }
    assert.ok(slots <= slotBytes && indexes <= indexBytes, `${when}: more is there than was counted`)
    assert.is(frozenBytes > 0, frozen > 0, when)
  }
}

test('64 stores stay within their limits at every step, and lose nothing', async () => {
  for (const seed of seedsOf(1, 2)) {
    using watched = new WatchedRooms()
    const random = new SeededRandom(seed)
    // Every empty memtable has an index, too.
    const world = await new World({ memoryBytes: 900_000, writeBufferBytes: 2 ** 20 }).open()
    const { stores, drive, turns } = world
    const models = stores.map(() => new Map<string, string>())
    for (let step = 0; step < 1500; step++) {
      const index = random.chance(0.5) ? random.int(4) : random.int(storeCount)
      const store = stores[index]!
      const model = models[index]!
      const dice = random.next()
      if (dice < 0.6) {
        for (let left = 1 + random.int(20); left > 0; left--) {
          const key = `key ${random.int(400)}`
          if (random.chance(0.2)) {
            remove(store, key)
            model.delete(key)
          } else {
            const value = `${step} `.repeat(random.int(50))
            put(store, key, value)
            model.set(key, value)
          }
        }
        store.writer().commit()
      } else if (dice < 0.9) {
        for (let left = 10; left > 0; left--) {
          const key = `key ${random.int(410)}`
          assert.is(
            store.get(key)?.toString(),
            model.get(key),
            `seed ${seed}, ${key} of store ${index} at step ${step}`,
          )
        }
      } else if (dice < 0.96) await turns.turn()
      else if (dice < 0.98) {
        const keys = Array.from({ length: 20 }, () => `key ${random.int(410)}`)
        const values = await drive(store.getMany(keys))
        const found = values.map((value) => value?.toString())
        assert.equal(
          found,
          keys.map((key) => model.get(key)),
        )
      } else if (dice < 0.985) {
        await drive(store.close())
        stores[index] = await world.engine.open({ group: 'g', table: 't', partition: index })
      } else if (dice < 0.99) {
        store.clear()
        model.clear()
      } else await drive(store.flush())
      world.check(`seed ${seed}, step ${step}`)
    }
    for (const [index, store] of stores.entries()) {
      const entries = [...store.entries()].map(([key, value]) => [key.toString(), value.toString()])
      assert.equal(
        entries,
        [...models[index]!].sort(([a], [b]) => (a < b ? -1 : 1)),
      )
    }
    await turns.settle()
    const { slotBytes, indexBytes } = world.engine.memoryStats
    assert.is(
      stores.reduce((sum, store) => sum + store.logStats().slotBytes, 0),
      slotBytes,
    )
    assert.is(
      stores.reduce((sum, store) => sum + store.logStats().indexBytes, 0),
      indexBytes,
    )
    await drive(world.engine.close())
    const { activeBytes, frozenBytes, spareBytes, slotBytes: slots, indexBytes: indexes } = world.engine.memoryStats
    assert.equal([activeBytes, frozenBytes, spareBytes, slots, indexes], [0, 0, 0, 0, 0])
    assert.ok(world.mostSpare > 50_000, `${world.mostSpare} bytes were spare at most`)
    assert.ok(watched.taken > 20, `${watched.taken} rooms were used again`)
    assert.equal(world.fs.open, [])
  }
})

test('the store with most in memory is written into a table, also while another one is written to', async () => {
  const world = await new World({ memoryBytes: 2 ** 20, writeBufferBytes: 2 ** 20 }).open(3)
  const [small, large, other] = world.stores as [LogStore, LogStore, LogStore]
  put(small, 'small', 's'.repeat(1000))
  small.writer().commit()
  for (let i = 0; i < 150; i++) put(large, `key ${i}`, 'l'.repeat(1000))
  large.writer().commit()
  // A batch that is open cannot be frozen.
  put(small, 'open', 'batch')
  for (let i = 0; i < 120; i++) put(other, `key ${i}`, 'o'.repeat(1000))
  other.writer().commit()
  await world.turns.settle()
  assert.equal(
    world.stores.map((store) => store.logStats().tables),
    [0, 1, 0],
  )
  assert.is(small.writer().count, 1)
  small.writer().commit()
  assert.is(small.get('open')?.toString(), 'batch')
  await world.drive(world.engine.close())
})

test('writers are told to wait while there is too much, and go on when it cannot be written', async () => {
  const world = await new World({ memoryBytes: 2 ** 20, writeBufferBytes: 2 ** 20 }).open(2)
  const [first, second] = world.stores as [LogStore, LogStore]
  assert.is(second.ready(), undefined)
  const fill = (store: LogStore, count: number): void => {
    for (let i = 0; i < count; i++) put(store, `key ${store.name} ${i}`, 'v'.repeat(1000))
    store.writer().commit()
  }
  fill(first, 240)
  fill(second, 200)
  const waiting = second.ready()
  assert.ok(waiting !== undefined)
  await world.drive(waiting)
  assert.is(second.ready(), undefined)
  world.fs.fail({ kinds: ['write'], path: /\.tbl$/, code: 'ENOSPC', forever: true })
  for (let i = 0; i < 6; i++) {
    fill(first, 240)
    fill(second, 200)
    await world.drive(Promise.resolve(second.ready()))
  }
  const { activeBytes, frozenBytes, memtableLimit } = world.engine.memoryStats
  assert.ok(activeBytes + frozenBytes > memtableLimit)
  world.fs.heal()
  fill(first, 1)
  await world.turns.settle()
  fill(first, 1)
  await world.turns.settle()
  world.check('when there is room again')
  assert.is(first.get('key g/t/0 239')?.length, 1000)
  await world.drive(world.engine.close())
})

test('with little memory for slots everything is found, with more reads', async () => {
  const world = await new World({ memoryBytes: 256 * 1024, writeBufferBytes: 2 ** 20 }).open(8)
  const { stores, drive } = world
  for (const store of stores) {
    for (let i = 0; i < 6000; i++) put(store, `key ${String(i).padStart(6, '0')}`, `value ${i}`)
    store.writer().commit()
    await drive(store.flush())
  }
  const preads = (): number => stores.reduce((sum, store) => sum + store.logStats().preads, 0)
  const before = preads()
  let reads = 0
  for (let round = 0; round < 300; round++) {
    const store = stores[round % 8]!
    const i = (round * 37) % 6000
    assert.is(store.get(`key ${String(i).padStart(6, '0')}`)?.toString(), `value ${i}`)
    assert.is(store.get(`key ${i}x`), undefined)
    remove(store, 'nothing there')
    assert.is(store.writer().count, 0)
    reads += 3
    world.check(`round ${round}`)
  }
  assert.ok(preads() - before <= reads, 'one read for each lookup')
  const { slotBytes, tableLimit } = world.engine.memoryStats
  assert.ok(slotBytes > tableLimit / 2, `${slotBytes} of ${tableLimit} bytes are used`)
  // One table that is used all the time gets its slots.
  const store = stores[3]!
  for (let i = 0; i < 100; i++) store.get(`key 00${1000 + i}`)
  assert.ok(store.logStats().slotBytes > 0)
  const found = await drive(store.getMany(['key 000001', 'key 005999', 'key 1']))
  assert.equal(
    found.map((value) => value?.toString()),
    ['value 1', 'value 5999', undefined],
  )
  await drive(world.engine.close())
})

test('lookups in many tables without slots read some at a time, and all of them in the end', () => {
  const memory = new TableMemory(2 ** 30)
  const slotBytes = 2 ** 20
  const without = new Set(Array.from({ length: 100 }, (_, i) => i))
  let lookups = 0
  for (; without.size > 0; lookups++) {
    let read = 0
    // A key that no table has: each is asked.
    for (const table of without) {
      if (!memory.admitsNow(slotBytes, 0)) continue
      without.delete(table)
      read += slotBytes
    }
    assert.ok(read <= 14 * 2 ** 20, `${read} bytes of slots in one lookup`)
    assert.ok(lookups < 100, `${without.size} tables are left`)
  }
  assert.ok(lookups > 10)
  // The slots of one table are read however large they are, but not before others have gone without.
  while (memory.admitsNow(2 ** 20, 0));
  let refused = 0
  while (!memory.admitsNow(12 * 2 ** 20, 0)) refused += 1
  assert.ok(refused > 100 && refused < 200, `${refused} lookups without`)
  assert.not.ok(memory.admitsNow(2 ** 20, 0))
})

test('slots of the tables that were not used for longest are given back first', () => {
  const memory = new TableMemory(100)
  const released: string[] = []
  const user = (name: string): { slotsUsed: boolean; releaseSlots(): void } => ({
    slotsUsed: false,
    releaseSlots() {
      released.push(name)
      memory.slotsReleased(this)
    },
  })
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(user) as [
    ReturnType<typeof user>,
    ReturnType<typeof user>,
    ReturnType<typeof user>,
    ReturnType<typeof user>,
  ]
  memory.indexOpened(10)
  for (const one of [a, b, c]) {
    assert.ok(memory.admits(30, 0))
    memory.slotsLoaded(one, 30)
  }
  assert.is(memory.slotBytes, 90)
  assert.not.ok(memory.admits(30, 29))
  assert.ok(memory.admits(30, 30))
  assert.not.ok(memory.admits(91, 1000))
  for (const one of [a, b, c]) one.slotsUsed = false
  a.slotsUsed = true
  memory.slotsLoaded(d, 30)
  assert.equal(released, ['b'])
  memory.indexOpened(30)
  assert.equal(released, ['b', 'c'])
  assert.is(memory.slotBytes + memory.indexBytes, 100)
  memory.indexOpened(100)
  assert.is(memory.slotBytes, 0)
  memory.indexClosed(100)
  memory.slotsReleased(d)
  assert.is(memory.slotBytes + memory.indexBytes, 40)
})

/** A store of which only the counts are there; it has room for as much as it has not filled. */
class Counted implements MemtableUser {
  active = 0
  frozen = 0
  unfilled = 0
  readonly told: string[] = []
  readonly #budget: MemoryBudget

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  have(active: number, frozen: number, unfilled: number): void {
    Object.assign(this, { active, frozen, unfilled })
    this.#budget.account(this, active, frozen, unfilled)
  }

  freezeEarly(): boolean {
    this.told.push('freeze')
    this.have(0, this.frozen + this.active + this.unfilled, 0)
    return true
  }

  flushNow(): void {
    this.told.push('flush')
    this.have(this.active, 0, this.unfilled)
  }

  leaveRoom(): void {
    this.told.push('leave')
    this.have(this.active, this.frozen, 0)
  }

  flushed(): undefined {}
}

test('what is spare goes first when memtables need it: kept rooms, then rooms that are not filled', async () => {
  const turns = new Turns()
  const budget = new MemoryBudget(24_000, 0, turns)
  const user = new Counted(budget)
  const other = new Counted(budget)
  const stats = (): number[] => {
    const { activeBytes, frozenBytes, spareBytes, memtableLimit } = budget.stats
    assert.is(memtableLimit, 12_000)
    return [activeBytes, frozenBytes, spareBytes]
  }
  user.have(1000, 2000, 0)
  other.have(500, 500, 3000)
  for (const touched of [2000, 1500, 4001]) budget.rooms.give({ bytes: freshRoom(8192).bytes, touched })
  assert.equal(stats(), [1500, 2500, 6500], 'a room that is too large for ever was not kept')
  await turns.turn()
  // 7000 of 12000 are taken without kept rooms; and at most a half may be unfilled.
  assert.is(budget.takeable, 3000)
  assert.is(budget.rooms.take(100, 1499), undefined)
  user.have(1000, 2001, 0)
  user.have(3000, 1500, 0)
  assert.equal(stats(), [3500, 2000, 6500])
  user.have(3000, 1501, 0)
  assert.equal(stats(), [3500, 2001, 4500], 'the older one went')
  assert.equal(budget.ready(), undefined)
  user.have(3000, 4000, 0)
  assert.equal(stats(), [3500, 4500, 3000])
  budget.balance()
  assert.equal(other.told, [])
  user.have(3000, 6000, 0)
  budget.balance()
  assert.equal([user.told, other.told], [[], ['leave']])
  assert.equal(stats(), [3500, 6500, 0])
  user.have(3000, 8500, 0)
  budget.balance()
  assert.equal([user.told, other.told], [['flush'], ['leave']])
  user.have(5600, 0, 0)
  budget.balance()
  assert.equal(user.told, ['flush', 'freeze'])
  budget.leave(user)
  budget.leave(other)
  assert.equal([...stats(), turns.timers], [0, 0, 0, 0])
})

test('who fills a room slowly leaves it, who fills it goes on, and rooms that wait go', async () => {
  const turns = new Turns()
  const budget = new MemoryBudget(24_000, 0, turns)
  const [slow, fast, next] = [new Counted(budget), new Counted(budget), new Counted(budget)]
  const look = async (): Promise<void> => {
    turns.pass(5000)
    await turns.turn()
  }
  budget.rooms.give({ bytes: freshRoom(8192).bytes, touched: 500 })
  assert.is(turns.timers, 1)
  await look()
  assert.is(budget.stats.spareBytes, 500)
  await look()
  assert.equal([budget.stats.spareBytes, turns.timers], [0, 0])
  slow.have(100, 0, 1000)
  fast.have(100, 0, 1000)
  next.have(800, 0, 200)
  assert.is(turns.timers, 1)
  await look()
  assert.equal([slow.told, fast.told, next.told], [[], [], []], 'perhaps they have just begun')
  slow.have(200, 0, 900)
  fast.have(225, 0, 875)
  next.have(0, 1000, 1000)
  budget.rooms.give({ bytes: freshRoom(8192).bytes, touched: 1000 })
  await look()
  assert.equal([slow.told, fast.told, next.told], [['leave'], [], []])
  fast.have(1100, 0, 0)
  next.have(1000, 0, 0)
  assert.is(budget.stats.spareBytes, 1000)
  await look()
  assert.equal([fast.told, next.told, budget.stats.spareBytes], [[], [], 0])
  await look()
  assert.is(turns.timers, 0, 'there is nothing to look at')
})

test('the cache takes a quarter of the memory at most', async () => {
  const engine = new LogEngine({ dir: '/s', fs: new SimFs(), memoryBytes: 2 ** 20, cacheBytes: 2 ** 20 })
  assert.is(engine.memoryStats.cacheLimit, 2 ** 18)
  await engine.close()
  await rejects(async () => new LogEngine({ dir: '/s', memoryBytes: 1000 }), 'ERR_OPTIONS')
})

test.run()
