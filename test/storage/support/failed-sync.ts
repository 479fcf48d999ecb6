/**
 * Every sync fails once, and what was not durable is lost though it can still be read, as systems do it. Shared by the
 * short test and the long one. Stateless.
 */
import * as assert from 'uvu/assert'
import type { LogEngine, SyncPolicy } from '../../../src/storage/index.ts'
import { lockName, tableName, unsyncedName } from '../../../src/storage/log/format.ts'
import { seeManifest } from '../../../src/storage/log/manifest.ts'
import { SeededRandom } from '../../sim/random.ts'
import { type Bounds, Driver } from './driver.ts'
import { changing, FaultFs } from './fault-fs.ts'
import { checkNoOrphans, contentOf } from './inspect.ts'
import { directory, simEngine, storeDir } from './lives.ts'
import { Oracle } from './oracle.ts'
import { runScenario } from './scenario.ts'
import { SimFs } from './sim-fs.ts'

const moves = 30
const history = { weights: { flush: 10, compact: 4, load: 6, clear: 3, sync: 12 } }

interface Start {
  readonly fs: SimFs
  /** Stands where the store stands, and where the power loss of that life would have put it. */
  readonly oracle: Oracle
  readonly floor: Oracle
}

/** A disk on which a life was killed, so that opening has something to sync. */
async function firstLife(seed: number): Promise<Start> {
  const fs = new SimFs()
  const oracle = new Oracle(seed, history)
  const store = await simEngine(fs).open(directory)
  const driver = new Driver(store, new Oracle(seed, history))
  await driver.run(moves)
  const after = fs.kill()
  const { kept, durable, begun } = driver.bounds
  oracle.locate(contentOf(await simEngine(fs.kill()).open(directory)), kept, begun)
  const floor = new Oracle(seed, history)
  floor.advance(durable)
  return { fs: after, oracle, floor }
}

/** False when there is no `at`th sync. */
async function failSync(start: Start, at: number, sync: SyncPolicy, random: SeededRandom): Promise<boolean> {
  const fs = start.fs.kill()
  const fault = new FaultFs(fs)
  const oracle = start.oracle.copy()
  let isPoisoned = false
  const engine = simEngine(fault, {
    sync,
    onEvent: (event) => {
      if (event.kind === 'failed' && event.error.code === 'ERR_STORE_POISONED') isPoisoned = true
    },
  })
  const begins: Bounds = { kept: oracle.unit, durable: start.floor.unit, begun: oracle.unit }
  let failed = ''
  const later: string[] = []
  const named = new Set<string>()
  fault.before = ({ kind, path }) => {
    if (!isPoisoned || !changing.includes(kind) || kind === 'open' || isOfClosing(path)) return
    // A table that was being written counts nowhere; what was there once may count again.
    if (kind === 'remove' && path.endsWith('.tbl') && !named.has(path)) return
    later.push(new Error(`${kind} ${path}`).stack ?? '')
  }
  fault.after = ({ kind, path }) => {
    if (kind === 'write' && path.includes('/MANIFEST-')) for (const table of tablesNow(fs)) named.add(table)
  }
  for (const table of tablesNow(fs)) named.add(table)
  const set = fault.fail({
    kinds: ['sync', 'syncDir'],
    at,
    onFail: ({ kind, path }) => {
      failed = path
      if (kind === 'sync') fs.loseUnsynced(path)
    },
  })
  let claimed: number | undefined
  const end = await runScenario(engine, fault, oracle, {
    endMove: 2 * moves,
    bounds: begins,
    syncsBatches: sync === 'batch',
    beforeClose: async ({ store }) => {
      if (set.failures === 0) return
      claimed = store.durableCheckpoint?.position
      assert.is(takesNothing(store), isPoisoned, 'it is poisoned and says so, or neither')
      if (!isPoisoned) return
      await store.sync().then(
        () => assert.unreachable('a poisoned store says that it synced'),
        () => {},
      )
      assert.is(store.durableCheckpoint?.position, claimed)
    },
  })
  if (set.failures === 0) {
    if (end.errors.length > 0) throw end.errors[0]!
    return false
  }
  if (later.length > 0) throw new Error(`${failed}: the poisoned store is written: ${later.join('\n')}`)
  assert.not.ok(fs.existsSync(`${storeDir}/${lockName}`), 'the lock was given back')
  fault.before = undefined
  fault.after = undefined
  assert.ok((claimed ?? -1) <= end.bounds.begun)
  const unit = await goOn(engine, fs, start.floor.copy(), end.bounds, random)
  if (unit < end.bounds.durable) throw new Error(`behind ${unit}, but ${end.bounds.durable} was durable`)
  return true
}

/** Paths of the tables that the manifest names. */
function tablesNow(fs: SimFs): string[] {
  const seen = seeManifest({ fs, dir: storeDir, store: 's', now: () => 0 })
  return [...(seen?.state.upper.flat() ?? []), ...(seen?.state.last ?? [])].map(
    (number) => `${storeDir}/${tableName(number)}`,
  )
}

/** Files that are made and removed by closing: they say nothing of what the store holds. */
function isOfClosing(path: string): boolean {
  return path === `${storeDir}/${lockName}` || path === `${storeDir}/${unsyncedName}`
}

function takesNothing(store: Driver['store']): boolean {
  try {
    store.writer().put(0, Buffer.from('x'), 0, 1, Buffer.from('y'), 0, 1)
    store.writer().abandon()
    return false
  } catch (error) {
    store.writer().abandon()
    assert.is((error as { code?: string }).code, 'ERR_STORE_POISONED')
    return true
  }
}

/** Opens it again; all it holds then outlives power losses, now and later. */
async function goOn(
  engine: LogEngine,
  fs: SimFs,
  oracle: Oracle,
  { durable, begun }: { readonly durable: number; readonly begun: number },
  random: SeededRandom,
): Promise<number> {
  const store = await engine.open(directory)
  checkNoOrphans(fs, storeDir)
  const unit = oracle.locate(contentOf(store), Math.max(durable, -1), begun)
  for (let i = 0; i < 3; i++) {
    const after = simEngine(fs.crash(random))
    oracle.copy().locate(contentOf(await after.open(directory)), unit, unit)
    await after.close()
  }
  const driver = new Driver(store, oracle)
  await driver.run(2 * moves + 6)
  await store.sync()
  await engine.close()
  const last = simEngine(fs.crash(random))
  oracle.copy().locate(contentOf(await last.open(directory)), oracle.unit, oracle.unit)
  await last.close()
  return unit
}

export interface FailedSyncOptions {
  readonly seed: number
  readonly sync: SyncPolicy
  /** Every so many syncs. Default 1: all. */
  readonly every?: number
}

/** Returns how many syncs there were to fail; throws when a failure leaves what must not be. */
export async function failSyncs({ seed, sync, every = 1 }: FailedSyncOptions): Promise<number> {
  const start = await firstLife(seed)
  const random = new SeededRandom(seed)
  let at = 1
  let count = 0
  try {
    for (; await failSync(start, at, sync, random); at += every) count += 1
  } catch (cause) {
    throw new Error(`SEED=${seed}, sync ${at}: ${(cause as Error).message}`, { cause })
  }
  return count
}
