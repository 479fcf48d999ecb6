/**
 * Tables cannot be written for a long time: memtables do not pile up without a limit, writers are told why, and go on as
 * soon as there is room. Nothing that was accepted is lost.
 */
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { suite } from '../../support/suite.ts'
import { thrown } from '../contract.ts'
import { StillScheduler } from '../support/driver.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'

const test = suite('log engine: tables that cannot be written')
const at = { group: 'g', table: 't', partition: 0 }
const value = Buffer.alloc(1000, 'v')

/** One way of writing entry `i`; returns when it counts. */
type Write = (store: LogStore, i: number) => void
const ways: Readonly<Record<string, () => Write>> = {
  batches: () => (store, i) => {
    const key = Buffer.from(`key ${i}`)
    try {
      store.writer().put(0, key, 0, key.length, value, 0, value.length)
      store.writer().commit()
    } catch (error) {
      store.writer().abandon()
      throw error
    }
  },
  'single writes': () => (store, i) => {
    const key = Buffer.from(`key ${i}`)
    store.put(0, key, 0, key.length, value, 0, value.length)
  },
  'a bulk load': () => {
    let load: ReturnType<LogStore['bulkLoad']> | undefined
    return (store, i) => {
      const key = Buffer.from(`key ${i}`)
      load ??= store.bulkLoad()
      load.put(0, key, 0, key.length, value, 0, value.length)
      if (i === 3999) load.finish({ position: i, state: Buffer.alloc(0) })
    }
  },
}

for (const [name, way] of Object.entries(ways)) {
  for (const code of ['ENOSPC', 'EMFILE']) {
    test(`${name}, ${code}: writes fail before memory is full, and go on when they can`, async () => {
      const fs = new FaultFs(new SimFs())
      let failures = 0
      const onEvent = (event: StoreEvent): void => void (event.kind === 'failed' && failures++)
      const scheduler = new StillScheduler()
      const engine = new LogEngine({ dir: '/s', fs, scheduler, writeBufferBytes: 65_536, sync: 'never', onEvent })
      const store = await engine.open(at)
      const write = way()
      let refused: number | undefined
      for (let i = 0; i < 4000; i++) {
        if (i === 200) fs.fail({ kinds: ['open'], path: /\.tbl/, forever: true, code })
        try {
          write(store, i)
        } catch (error) {
          assert.is((error as { code?: string }).code, code === 'ENOSPC' ? 'ERR_STORE_NOSPACE' : 'ERR_STORE_IO')
          assert.match((error as Error).message, /a table could not be written .*Nothing is lost/)
          assert.is(refused, undefined, 'it is refused once')
          refused = i
          assert.ok(store.logStats().frozenMemtables < 12, `${store.logStats().frozenMemtables} memtables wait`)
          // Still so; what is in memory can be read.
          thrown(() => write(store, i), (error as { code: string }).code)
          // Waiting is no use then: who waits until it is would do so for ever, without a turn of the event loop.
          let waits = 0
          for (let ready = store.ready(); ready !== undefined && waits < 1000; ready = store.ready()) {
            await ready
            waits += 1
          }
          assert.ok(waits < 1000)
          assert.ok(store.get(`key ${i - 1}`)?.equals(value))
          fs.heal()
          i -= 1
        }
        if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      assert.ok(refused !== undefined && refused > 500 && refused < 1200, `refused at ${refused}`)
      assert.ok(failures < 100, `${failures} events`)
      await store.flush()
      assert.is([...store.entries()].length, 4000)
      await engine.close()
    })
  }
}

test('a merge that fails does not make a flush fail that has succeeded', async () => {
  let failedBeside = 0
  for (let opening = 1; opening <= 40; opening += 2) {
    const fs = new FaultFs(new SimFs())
    let failures = 0
    const onEvent = ({ kind }: StoreEvent): void => void (kind === 'failed' && failures++)
    const engine = new LogEngine({ dir: '/s', fs, scheduler: new StillScheduler(), sync: 'never', onEvent })
    const store = await engine.open(at)
    const write = ways['batches']!()
    // Some of these openings are of flushes, others of merges.
    fs.fail({ kinds: ['open'], path: /\.tbl/, at: opening, code: 'ENOSPC' })
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 40; i++) write(store, i)
      const before = failures
      const isFlushed = await store.flush().then(
        () => true,
        () => false,
      )
      assert.is(isFlushed, store.logStats().frozenMemtables === 0, `opening ${opening}, round ${round}`)
      if (isFlushed && failures > before) failedBeside += 1
    }
    fs.heal()
    await store.compact()
    assert.is(store.logStats().runs, 1)
    await engine.close()
  }
  assert.ok(failedBeside > 0)
})

test('of two flushes at a time the second waits for the first, and is made again when that fails', async () => {
  let madeAgain = 0
  for (let opening = 1; opening <= 12; opening++) {
    const fs = new FaultFs(new SimFs())
    const failures: string[] = []
    const onEvent = (event: StoreEvent): void => void (event.kind === 'failed' && failures.push(event.error.message))
    const turns = new Turns()
    const engine = new LogEngine({ dir: '/s', fs, scheduler: turns, writeBufferBytes: 65_536, sync: 'never', onEvent })
    const store = await engine.open(at)
    const write = ways['batches']!()
    fs.fail({ kinds: ['open'], path: /\.tbl/, at: opening, code: 'ENOSPC' })
    let written = 0
    for (; written < 1200 && failures.length === 0; written++) {
      write(store, written)
      // Enough turns for one flush, too few for two: there are two at a time.
      if (written % 50 === 49) await turns.turn()
    }
    assert.is(failures.length, 1, failures.join('; '))
    assert.match(failures[0]!, /a table could not be written/)
    const { frozenMemtables } = store.logStats()
    // The next writes try again, without being told of anything.
    for (let more = 0; more < 200; more++, written++) write(store, written)
    await turns.drive(store.flush())
    if (frozenMemtables > 1) madeAgain += 1
    assert.is(failures.length, 1, failures.join('; '))
    assert.is([...store.entries()].length, written)
    await turns.drive(engine.close())
    const tables = fs.inner.readdirSync('/s/g/t/0').filter((name) => name.endsWith('.tbl'))
    const again = new LogEngine({ dir: '/s', fs, scheduler: turns, sync: 'never' })
    const reopened = await turns.drive(again.open(at))
    assert.is([...reopened.entries()].length, written)
    assert.is(reopened.logStats().tables, tables.length, 'a table that does not count was left')
    await turns.drive(again.close())
  }
  assert.ok(madeAgain > 0)
})

test('after a flush that failed once, the next memtable that is full starts all of them again', async () => {
  const fs = new FaultFs(new SimFs())
  const turns = new Turns()
  const engine = new LogEngine({ dir: '/s', fs, scheduler: turns, writeBufferBytes: 65_536, sync: 'never' })
  const store = await engine.open(at)
  const write = ways['batches']!()
  const fault = fs.fail({ kinds: ['open'], path: /\.tbl/, code: 'ENOSPC' })
  let written = 0
  const fill = (): void => {
    for (let i = 0; i < 64; i++) write(store, written++)
  }
  fill()
  await turns.settle()
  assert.is(fault.failures, 1)
  assert.is(store.logStats().frozenMemtables, 1)
  for (let memtables = 0; memtables < 3; memtables++) fill()
  assert.ok(store.logStats().frozenMemtables > 2)
  await turns.settle()
  assert.is(store.logStats().frozenMemtables, 0)
  await turns.drive(engine.close())
})

test('a flush does not wait for merges, and runs that a load has left do not hinder who writes next', async () => {
  // A step of a job takes a millisecond, so that there are some in a turn.
  const turns = new Turns(1)
  const fs = new SimFs()
  const options = { dir: '/s', fs, scheduler: turns, writeBufferBytes: 65_536, sync: 'never' as const }
  const engine = new LogEngine(options)
  const store = await engine.open(at)
  const load = store.bulkLoad()
  for (let i = 0; i < 2000; i++) {
    // Every memtable reaches over all keys, so that none can be moved to the last level.
    const key = Buffer.from(`key ${(i * 7919) % 2000}`)
    load.put(0, key, 0, key.length, value, 0, value.length)
    // The last memtables wait when the load is over.
    if (i % 20 === 19 && i < 1300) await turns.turn()
  }
  load.finish({ position: 2000, state: Buffer.alloc(0) })
  assert.ok(store.logStats().frozenMemtables > 7)
  await turns.drive(store.flush())
  const { runs } = store.logStats()
  assert.ok(runs > 24, `${runs} runs`)
  assert.is(store.ready(), undefined)
  const write = ways['batches']!()
  for (let i = 0; i < 50; i++) write(store, i)
  assert.is(store.ready(), undefined)
  for (let left = 5000; store.logStats().runs > 8; left--) {
    assert.ok(left > 0, `${store.logStats().runs} runs are left: merges do not go on after the flush`)
    await turns.turn()
  }
  assert.is([...store.entries()].length, 2000)
  await turns.drive(engine.close())
})

test.run()
