/**
 * Syncs fail once, and what was not durable is lost though it can still be read, as systems do it: the store takes no
 * more writes, does not sync that file again, says nothing to be durable that is not, and goes on reading. Opened again
 * in the same process it goes on from what is durable, which then outlives a power loss. `SEED=n` for another history,
 * `SYNC_EVERY=1` for every sync; failed-sync.long.test.ts fails all of several histories.
 */
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../sim/random.ts'
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

for (const isKilled of [false, true]) {
  const end = isKilled ? 'is killed' : 'closes it'
  test(`a failed sync, the process ${end}, and another one opens the store: what that one calls durable is`, () =>
    openedByAnother(isKilled))
}

async function openedByAnother(isKilled: boolean): Promise<void> {
  const disk = new SimFs()
  const fault = new FaultFs(disk)
  const engine = simEngine(fault)
  const store = await engine.open(directory)
  const put = (to: typeof store, position: number): void => {
    const key = Buffer.from(`key ${position}`)
    to.writer().put(0, key, 0, key.length, key, 0, key.length)
    to.writer().commit({ position, state: Buffer.alloc(0) })
  }
  for (let i = 1; i <= 3; i++) put(store, i)
  fault.fail({ kinds: ['sync'], path: /\.log$/, onFail: ({ path }) => disk.loseUnsynced(path) })
  await rejects(store.sync(), 'ERR_STORE_POISONED')
  let later = disk
  if (isKilled) later = disk.kill()
  else await engine.close()
  const next = simEngine(later)
  const again = await next.open(directory)
  put(again, 4)
  await again.sync()
  assert.is(again.durableCheckpoint?.position, 4)
  for (let seed = 0; seed < 5; seed++) {
    const after = simEngine(later.crash(new SeededRandom(seed)))
    const found = await after.open(directory)
    assert.is([...found.entries()].length, 4)
    assert.is(found.checkpoint?.position, 4)
    await after.close()
  }
  await next.close()
}

test('a sync fails while a store is opened, and another process opens it: what that one calls durable is', async () => {
  const disk = new SimFs()
  const first = await simEngine(disk).open(directory)
  for (let i = 1; i <= 3; i++) {
    const key = Buffer.from(`key ${i}`)
    first.writer().put(0, key, 0, key.length, key, 0, key.length)
    first.writer().commit({ position: i, state: Buffer.alloc(0) })
  }
  const killed = disk.kill()
  let failures = 0
  for (let at = 1; ; at++) {
    const fs = killed.kill()
    const fault = new FaultFs(fs)
    const onFail = ({ kind, path }: FsCall): void => void (kind === 'sync' && fs.loseUnsynced(path))
    const set = fault.fail({ kinds: ['sync', 'syncDir'], at, onFail })
    const broken = simEngine(fault)
    const isOpened = await broken.open(directory).then(
      () => true,
      () => false,
    )
    await broken.close()
    assert.is(isOpened, set.failures === 0)
    if (isOpened) break
    failures += 1
    const next = simEngine(fs)
    const store = await next.open(directory)
    assert.is([...store.entries()].length, 3)
    assert.not.ok(fs.readdirSync(storeDir).some(isMark), 'it was told of once')
    await store.sync()
    assert.is(store.durableCheckpoint?.position, 3)
    for (let seed = 0; seed < 5; seed++) {
      const after = simEngine(fs.crash(new SeededRandom(seed)))
      const found = await after.open(directory)
      assert.is([...found.entries()].length, 3, `sync ${at}`)
      await after.close()
    }
    await next.close()
  }
  assert.ok(failures > 1)
})

const isMark = (path: string): boolean => path.endsWith('UNSYNCED.tmp')

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
    const written = later.filter(({ kind, path }) => kind !== 'open' && changing.includes(kind) && !isMark(path))
    const told = written.map(({ kind, path }) => `${kind} ${path.slice(storeDir.length + 1).replace(/^\d+/, '')}`)
    assert.equal(told, ['remove .tbl', 'remove LOCK'], 'the table that was begun goes, and the lock')
    assert.ok(
      later.some(({ path }) => isMark(path)),
      'the next owner is told',
    )
  })
}

test.run()
