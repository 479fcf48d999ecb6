/** Removing a store, whatever gets in the way; and closing many of which some fail. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, StoreError } from '../../../src/storage/index.ts'
import { checkByteOrder, lockName } from '../../../src/storage/log/format.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { put, thrown } from '../contract.ts'
import { changing, FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: destroy')
const at = { group: 'g', table: 't', partition: 0 }
const dir = '/s/g/t/0'
let engines = 0

function engineOn(fs: FaultFs | SimFs): LogEngine {
  engines += 1
  return new LogEngine({ dir: '/s', fs, random: new SeededRandom(engines), writeBufferBytes: 4096 })
}

/** A closed store with tables and a log. */
async function filled(sim = new SimFs()): Promise<SimFs> {
  const engine = engineOn(sim)
  const store = await engine.open(at)
  for (const round of [1, 2]) {
    for (let i = 0; i < 100; i++) put(store, `key ${i}`, `value ${round}`)
    store.writer().commit()
    if (round === 1) await store.flush()
  }
  await engine.close()
  return sim
}

async function countIn(fs: SimFs): Promise<number> {
  const engine = engineOn(fs)
  const store = await engine.open(at)
  const { length } = [...store.entries()]
  if (length > 0) assert.is(store.get('key 99')?.toString(), 'value 2')
  await engine.close()
  return length
}

test('a closed store goes with all its files, and another one may be made in its place', async () => {
  const sim = await filled()
  const engine = engineOn(sim)
  await engine.destroy(at)
  assert.equal(sim.readdirSync('/s/g/t'), [])
  await engine.destroy(at)
  await engine.destroy({ group: 'never', table: 'there', partition: 1 })
  const store = await engine.open(at)
  assert.is(store.checkpoint, undefined)
  assert.equal([...store.entries()], [])
  await rejects(engine.destroy(at), 'ERR_STORE_LOCKED')
  await engine.close()
  for (let i = 0; i < 10; i++) assert.is(await countIn(sim.crash(new SeededRandom(i))), 0)
})

test('one that is open in another process, or holds files of others, stays as it is', async () => {
  const sim = await filled()
  const engine = engineOn(sim)
  const other = engineOn(sim)
  await other.open(at)
  await rejects(engine.destroy(at), 'ERR_STORE_LOCKED')
  await other.close()
  for (const name of ['notes.txt', 'b', 'c', 'd', 'e', 'f']) sim.tamper(`${dir}/${name}`, Buffer.from('mine'))
  const error = await rejects(engine.destroy(at), 'ERR_STORE_IO')
  assert.match(error.message, 'b, c, d, e, f and 1 more')
  assert.not.ok(sim.existsSync(`${dir}/${lockName}`))
  assert.is(await countIn(sim), 100)
  for (const name of ['b', 'c', 'd', 'e', 'f']) sim.removeSync(`${dir}/${name}`)
  assert.match((await rejects(engine.destroy(at), 'ERR_STORE_IO')).message, 'notes.txt')
  sim.removeSync(`${dir}/notes.txt`)
  // The lock of somebody who died does not matter.
  const dead = engineOn(sim)
  await dead.open(at)
  const after = sim.kill()
  await engineOn(after).destroy(at)
  assert.equal(after.readdirSync('/s/g/t'), [])
  await dead.close()
})

test('broken off anywhere it leaves the old store or none', async () => {
  const whole = await filled()
  const random = new SeededRandom(6)
  const left: SimFs[] = []
  const sim = whole.kill()
  const fault = new FaultFs(sim)
  fault.before = ({ kind }) => {
    if (!changing.includes(kind)) return
    left.push(sim.kill())
    for (let i = 0; i < 6; i++) left.push(sim.crash(random))
  }
  await engineOn(fault).destroy(at)
  const counts = new Set<number>()
  for (const fs of left) {
    const count = await countIn(fs)
    counts.add(count)
    assert.ok(count === 0 || count === 100, `${count} entries are left`)
    assert.equal(fs.readdirSync('/s/g/t'), ['0'])
  }
  assert.is(counts.size, 2)
})

test('what the system refuses is told, and it can be tried again', async () => {
  for (let n = 1; n < 100; n++) {
    const fault = new FaultFs((await filled()).kill())
    const engine = engineOn(fault)
    const set = fault.fail({ at: n })
    const error = await engine.destroy(at).then(
      () => undefined,
      (cause: unknown) => cause,
    )
    fault.heal()
    if (set.failures === 0) {
      assert.is(error, undefined)
      assert.ok(n > 8)
      return
    }
    assert.ok(error === undefined || error instanceof StoreError, String(error))
    const count = await countIn((fault.inner as SimFs).kill())
    assert.ok(count === 0 || count === 100, `${count} entries are left`)
    await engine.destroy(at)
    assert.equal(fault.readdirSync('/s/g/t'), [])
  }
})

test('of many stores that are closed each is, and all failures are told', async () => {
  const fault = new FaultFs(new SimFs())
  const engine = engineOn(fault)
  const stores: LogStore[] = []
  for (let partition = 0; partition < 6; partition++) {
    const store = await engine.open({ ...at, partition })
    put(store, 'key', 'value')
    store.writer().commit()
    stores.push(store)
  }
  fault.fail({ kinds: ['sync'], path: /\/[24]\/\d+\.log$/, forever: true })
  const error = await rejects(engine.close(), 'ERR_STORE_POISONED')
  assert.is((error as StoreError).store, 'g/t/2')
  assert.match(error.message, '1 more failed')
  assert.instance(error.cause, AggregateError)
  assert.equal(
    (error.cause as AggregateError).errors.map(({ store }: StoreError) => store),
    ['g/t/2', 'g/t/4'],
  )
  assert.equal(fault.open, [])
  for (const store of stores) thrown(() => store.get('key'), 'ERR_STORE_CLOSED')
  fault.heal()
  await engine.close()

  const second = engineOn(fault)
  await second.open({ ...at, partition: 1 })
  put(await second.open({ ...at, partition: 3 }), 'more', 'value')
  fault.fail({ kinds: ['remove'], path: /3\/LOCK$/ })
  const single = await rejects(second.close(), 'ERR_STORE_IO')
  assert.not.instance(single.cause, AggregateError)
})

test('a store whose lock cannot be read is not cleared, and says so with a code', async () => {
  const fault = new FaultFs(await filled())
  const engine = engineOn(fault)
  const store = await engine.open(at)
  fault.fail({ kinds: ['open'], path: /LOCK$/, code: 'EIO' })
  const error = thrown(() => store.clear(), 'ERR_STORE_IO')
  assert.match(error.message, 'EIO')
  assert.is(store.get('key 99')?.toString(), 'value 2')
  store.clear()
  assert.is(store.get('key 99'), undefined)
  await engine.close()
})

test('a machine with another order of bytes is refused', () => {
  checkByteOrder('g/t/0')
  const error = thrown(() => checkByteOrder('g/t/0', new Uint8Array([0, 1])), 'ERR_STORE_VERSION')
  assert.match(error.message, 'big-endian')
})

test.run()
