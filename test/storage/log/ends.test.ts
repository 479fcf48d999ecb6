/**
 * A store is closed, cleared, synced or broken off at every turn of its background work: nothing is lost, no file stays
 * open, and none stays on the disk that does not count.
 */
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put } from '../contract.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'

const test = suite('log engine: ends')
const at = { group: 'g', table: 't', partition: 0 }
const dir = '/s/g/t/0'

class World {
  fs = new SimFs()
  readonly turns = new Turns(1)
  readonly events: StoreEvent[] = []
  engine!: LogEngine
  store!: LogStore

  async open(options: Partial<LogEngineOptions> = {}): Promise<LogStore> {
    const { fs, turns } = this
    const random = new SeededRandom(5)
    const onEvent = (event: StoreEvent): void => void this.events.push(event)
    const settings = {
      dir: '/s',
      fs,
      scheduler: turns,
      random,
      onEvent,
      writeBufferBytes: 4096,
      sync: 'never',
      ...options,
    }
    this.engine = new LogEngine(settings as LogEngineOptions)
    this.store = await this.engine.open(at)
    return this.store
  }

  close(): Promise<void> {
    return this.turns.drive(this.engine.close())
  }

  async turn(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.turns.turn()
  }

  /** Batch `i`: 20 keys, some of them new, about 3 KB. */
  write(i: number): void {
    for (let j = 0; j < 20; j++) put(this.store, `key ${(i * 7 + j) % 60}`, bytes(`${i} `.padEnd(150, 'x')))
    this.store.writer().commit(checkpointAt(i))
  }

  /** Throws unless batches 0 … count − 1 are there. */
  check(count: number): void {
    const expected = new Map<string, string>()
    for (let i = 0; i < count; i++) for (let j = 0; j < 20; j++) expected.set(`key ${(i * 7 + j) % 60}`, `${i} `)
    const found = [...this.store.entries()].map(([key, value]) => [`${key}`, `${value}`.replaceAll('x', '')])
    const wanted = [...expected].sort(([a], [b]) => (a < b ? -1 : 1))
    assert.equal(found, wanted)
    assert.is(this.store.checkpoint?.position, count === 0 ? undefined : count - 1)
    assert.equal(
      this.events.filter(({ kind }) => kind === 'failed' || kind === 'recovered'),
      [],
    )
  }

  /** Throws if there are files on the disk that do not count, or open files that nobody has. */
  async checkFiles(): Promise<void> {
    await this.turns.settle()
    const logs = this.fs.readdirSync(dir).filter((name) => name.endsWith('.log'))
    assert.is(logs.length, 1, `logs: ${logs.join(', ')}`)
    const tables = this.fs.readdirSync(dir).filter((name) => name.endsWith('.tbl'))
    const open = this.fs.open.filter((path) => path.endsWith('.tbl')).map((path) => path.slice(dir.length + 1))
    assert.equal([...tables].sort(), [...open].sort(), 'tables on the disk are those that are open')
  }
}

const moments = 40

test('closing at any moment of a flush or merge loses nothing and leaves nothing open', async () => {
  for (let moment = 0; moment < moments; moment++) {
    const world = new World()
    await world.open()
    for (let i = 0; i < 12; i++) {
      world.write(i)
      if (i % 3 === 0) await world.turn(3)
    }
    await world.turn(moment)
    await world.close()
    assert.equal(world.fs.open, [], `after ${moment} turns`)
    await world.open()
    world.check(12)
    await world.turns.drive(world.store.flush())
    world.check(12)
    await world.checkFiles()
    await world.close()
    assert.equal(world.fs.open, [])
  }
})

test('clearing at any moment leaves nothing, and what is written then stays', async () => {
  for (let moment = 0; moment < moments; moment++) {
    const world = new World()
    await world.open()
    for (let i = 0; i < 12; i++) {
      world.write(i)
      if (i % 3 === 0) await world.turn(3)
    }
    await world.turn(moment)
    world.store.clear()
    world.check(0)
    for (let i = 0; i < 6; i++) world.write(i)
    await world.turn(moment)
    await world.turns.drive(world.store.flush())
    world.check(6)
    await world.checkFiles()
    await world.close()
    await world.open()
    world.check(6)
    await world.close()
    assert.equal(world.fs.open, [])
  }
})

test('making it durable while logs become tables poisons nothing', async () => {
  for (let moment = 0; moment < moments; moment++) {
    const world = new World()
    await world.open({ sync: 'interval', syncIntervalMs: 3 })
    const syncs: Promise<void>[] = []
    for (let i = 0; i < 12; i++) {
      world.write(i)
      syncs.push(world.store.sync())
      if (i % 4 === moment % 4) await world.turn(moment % 7)
    }
    const flushed = world.store.flush()
    await world.turn(moment)
    syncs.push(world.store.sync())
    await world.turns.drive(Promise.all([...syncs, flushed]))
    world.check(12)
    world.write(12)
    await world.turns.drive(world.store.sync())
    assert.is(world.store.durableCheckpoint?.position, 12)
    const afterPowerLoss = world.fs.crash(new SeededRandom(moment), { keep: 0, inOrder: false, torn: 0 })
    await world.close()
    world.fs = afterPowerLoss
    await world.open()
    world.check(13)
    await world.close()
  }
})

test('a store is opened wherever it lies, also when that is not below the directory of the engine', async () => {
  const { fs, turns } = new World()
  const engine = new LogEngine({ dir: 'data', fs, scheduler: turns, sync: 'never' })
  for (const path of ['/elsewhere/g/t/3', 'relative/g/t/4', '/data/g/t/5']) {
    const store = await engine.openPath(path)
    put(store, 'key', 'value')
    store.writer().commit()
    await turns.drive(store.close())
    assert.ok(fs.existsSync(`${path}/CURRENT`), path)
  }
})

test('closing leaves no timer that would keep the process alive', async () => {
  for (const isSingle of [false, true]) {
    const world = new World()
    await world.open({ sync: 'interval' })
    if (isSingle) world.store.put(0, bytes('key'), 0, 3, bytes('value'), 0, 5)
    else world.write(0)
    await world.close()
    assert.is(world.turns.timers, 0, isSingle ? 'after a single write' : 'after a batch')
  }
})

test.run()
