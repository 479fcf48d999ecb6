/**
 * Syncs fail once, and what was not durable is lost though it can still be read, as systems do it: the store takes no
 * more writes, does not sync that file again, says nothing to be durable that is not, and goes on reading. Opened again
 * in the same process it goes on from what is durable, which then outlives a power loss. `SEED=n` for another history,
 * `SYNC_EVERY=1` for every sync; failed-sync.long.test.ts fails all of several histories.
 */
import * as assert from 'uvu/assert'
import { rejects, suite } from '../../support/suite.ts'
import { changing, FaultFs, type FsCall } from '../support/fault-fs.ts'
import { failSyncs } from '../support/failed-sync.ts'
import { directory, simEngine, storeDir } from '../support/lives.ts'
import { SimFs } from '../support/sim-fs.ts'
import { setImmediate as turn } from 'node:timers/promises'

const test = suite('log engine: failed syncs', { deadlineMs: 170_000 })
const seed = Number(process.env['SEED'] ?? 5)
const given = process.env['SYNC_EVERY']

for (const [sync, every] of [
  ['interval', 1],
  ['batch', 2],
  ['never', 2],
] as const) {
  test(`with sync: ${sync}`, async () => {
    const count = await failSyncs({ seed, sync, every: Number(given ?? every) })
    console.log(`note: SEED=${seed}: ${count} syncs failed`)
  })
}

/** A store whose flush is under way: it has begun with its table. */
async function flushing(fault: FaultFs) {
  const engine = simEngine(fault, { writeBufferBytes: 2 ** 20 })
  const store = await engine.open(directory)
  const value = Buffer.alloc(1000)
  for (let i = 0; i < 600; i++) {
    const key = Buffer.from(`key ${i}`)
    store.writer().put(0, key, 0, key.length, value, 0, value.length)
    store.writer().commit()
  }
  const flush = store.flush()
  const failed = rejects(flush, 'ERR_STORE_POISONED')
  while (fault.bytesWritten < 700_000) await turn()
  return { engine, store, failed }
}

for (const [what, fail] of [
  ['a log', { kinds: ['sync'], path: /\.log$/ }],
  ['the directory', { kinds: ['syncDir'] }],
] as const) {
  test(`${what} cannot be synced while a flush is under way: it ends at once, and closing gives the lock back`, async () => {
    const fs = new SimFs()
    const fault = new FaultFs(fs)
    const { engine, store, failed } = await flushing(fault)
    const later: FsCall[] = []
    fault.fail({ ...fail, onFail: () => (fault.after = (call) => void later.push(call)) })
    await rejects(store.sync(), 'ERR_STORE_POISONED')
    for (let i = 0; i < 50; i++) await turn()
    await failed
    const reads = store.get('key 599')?.length
    assert.is(reads, 1000)
    await engine.close()
    const written = later.filter(({ kind }) => kind !== 'open' && changing.includes(kind))
    const told = written.map(({ kind, path }) => `${kind} ${path.slice(storeDir.length + 1).replace(/^\d+/, '')}`)
    assert.equal(told, ['remove .tbl', 'remove LOCK'], 'the table that was begun goes, and the lock')
    assert.ok(
      later.some(({ path }) => path.endsWith('/UNSYNCED.tmp')),
      'the next owner is told',
    )
  })
}

test.run()
