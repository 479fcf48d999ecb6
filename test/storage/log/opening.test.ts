/** What opening a store costs: no sync where nothing depends on one, and all of them where the last owner left any out. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, type SyncPolicy } from '../../../src/storage/index.ts'
import { lockName, unsyncedName } from '../../../src/storage/log/format.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { checkpointAt, put } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: opening')
const at = { group: 'g', table: 't', partition: 0 }
const dir = '/s/g/t/0'
let engines = 0

class World {
  readonly fs: FaultFs
  readonly engine: LogEngine
  readonly store: Promise<LogStore>

  constructor(sim: SimFs, sync: SyncPolicy = 'interval') {
    this.fs = new FaultFs(sim)
    engines += 1
    this.engine = new LogEngine({
      dir: '/s',
      fs: this.fs,
      random: new SeededRandom(engines),
      sync,
      writeBufferBytes: 4096,
    })
    this.store = this.engine.open(at)
  }

  get syncs(): number {
    return this.fs.counts.sync + this.fs.counts.syncDir
  }
}

function write(store: LogStore, count: number): void {
  for (let i = 0; i < count; i++) put(store, `key ${i}`, `value ${count}`)
  store.writer().commit(checkpointAt(count))
}

/** A store with tables and a log, closed. */
async function closed(sync: SyncPolicy): Promise<SimFs> {
  const sim = new SimFs()
  const { store, engine } = new World(sim, sync)
  write(await store, 30)
  await (await store).flush()
  write(await store, 31)
  await engine.close()
  return sim
}

const crashes = (sim: SimFs): SimFs[] => Array.from({ length: 10 }, (_, i) => sim.crash(new SeededRandom(i)))

test('a store that was closed durably is opened, read and closed without a sync', async () => {
  const sim = await closed('interval')
  assert.not.ok(sim.readdirSync(dir).includes(unsyncedName))
  for (let round = 0; round < 3; round++) {
    const world = new World(sim)
    const store = await world.store
    assert.is(store.get('key 30')?.toString(), 'value 31')
    assert.is(store.durableCheckpoint, undefined)
    await world.engine.close()
    assert.is(world.syncs, 0)
  }
  for (const after of crashes(sim)) {
    const world = new World(after)
    assert.is((await world.store).checkpoint?.position, 31)
    await world.engine.close()
  }
})

test('the first sync after that makes everything durable', async () => {
  for (const end of ['sync', 'close', 'batch'] as const) {
    const sim = await closed('interval')
    const world = new World(sim, end === 'batch' ? 'batch' : 'interval')
    const store = await world.store
    write(store, 32)
    if (end === 'sync') await store.sync()
    if (end === 'close') await store.close()
    if (end !== 'close') assert.is(store.durableCheckpoint?.position, 32)
    for (const after of crashes(sim)) {
      const again = new World(after)
      assert.is((await again.store).checkpoint?.position, 32)
      await again.engine.close()
    }
    await world.engine.close()
  }
})

test('what its owner did not sync is made durable by the next one', async () => {
  const sim = await closed('never')
  assert.ok(sim.readdirSync(dir).includes(unsyncedName))
  const world = new World(sim, 'never')
  const store = await world.store
  assert.is(store.durableCheckpoint?.position, 31)
  assert.not.ok(sim.readdirSync(dir).includes(unsyncedName))
  for (const after of crashes(sim)) {
    const again = new World(after)
    assert.is((await again.store).checkpoint?.position, 31)
    await again.engine.close()
  }
  await world.engine.close()
  assert.not.ok(sim.readdirSync(dir).includes(unsyncedName), 'nothing was written')
})

test('so it is when its owner died, and when its lock was removed by hand before a sync', async () => {
  const first = new World(await closed('interval'), 'never')
  write(await first.store, 33)
  const killed = (first.fs.inner as SimFs).kill()
  const world = new World(killed.kill())
  assert.is((await world.store).durableCheckpoint?.position, 33)
  assert.ok(world.syncs >= 3)
  await world.engine.close()

  killed.removeSync(`${dir}/${lockName}`)
  const unaware = new World(killed, 'never')
  const store = await unaware.store
  assert.is(store.durableCheckpoint, undefined)
  write(store, 34)
  await store.sync()
  for (const after of crashes(killed)) {
    const again = new World(after)
    assert.is((await again.store).checkpoint?.position, 34)
    await again.engine.close()
  }
  await unaware.engine.close()
  await first.engine.close()
})

test.run()
