/**
 * Lives of a store on a simulated disk: each opens what the crash of the one before left, goes on with the history, and is
 * crashed at every sync and at random other operations, each time in a copy that is opened and looked at. The next life
 * begins with one of these copies as the crash left it. Owns the file systems of a run.
 */
import { LogEngine, type LogEngineOptions, type LogStore, type SyncPolicy } from '../../../src/storage/index.ts'
import { lockName } from '../../../src/storage/log/format.ts'
import { SeededRandom } from '../../sim/random.ts'
import { type Bounds, Driver, StillScheduler } from './driver.ts'
import { FaultFs, type FsCall } from './fault-fs.ts'
import { checkNoOrphans, contentOf } from './inspect.ts'
import { type HistoryOptions, type Model, Oracle, unitsPerMove } from './oracle.ts'
import { SimFs } from './sim-fs.ts'

const root = '/data'
/** The one store of these tests. */
export const directory = { group: 'g', table: 't', partition: 0 }
/** Where it is. */
export const storeDir = `${root}/g/t/0`

export interface LivesOptions {
  readonly lives: number
  /** Moves per life. */
  readonly moves: number
  readonly history?: HistoryOptions
  /** Moments per life that are looked at, at most. Default: all. */
  readonly moments?: number
  /** Probability that an operation which is no sync is a moment. Default 0.02. */
  readonly chance?: number
  /** Default: any. */
  readonly writeBufferBytes?: number
}

/** What was done. */
export interface LivesTally {
  moves: number
  crashes: number
  kills: number
  /** Copies that were killed while they were opened. */
  openings: number
}

export function newTally(): LivesTally {
  return { moves: 0, crashes: 0, kills: 0, openings: 0 }
}

/** A copy of the disk at a moment, and what must be on it. */
interface Moment extends Bounds {
  readonly fs: SimFs
  readonly kind: 'crash' | 'kill'
  readonly what: string
}

let engines = 1

/** An engine for a simulated disk. */
export function simEngine(
  fs: FaultFs | SimFs,
  options: Pick<LogEngineOptions, 'writeBufferBytes' | 'sync' | 'scheduler' | 'onEvent'> = {},
): LogEngine {
  return new LogEngine({
    dir: root,
    fs,
    // Every process its own: locks are told apart by it.
    random: new SeededRandom(engines++),
    scheduler: options.scheduler ?? new StillScheduler(),
    writeBufferBytes: options.writeBufferBytes ?? 4096,
    cacheBytes: 4096,
    sync: options.sync ?? 'never',
    onEvent: options.onEvent ?? null,
  })
}

/** Runs the lives of one seed; throws when a moment leaves what must not be. */
export async function runLives(seed: number, options: LivesOptions, tally: LivesTally): Promise<void> {
  const random = new SeededRandom(seed)
  let oracle = new Oracle(seed, options.history)
  /** Stands where a power loss might put the store back to. */
  let floor = oracle.copy()
  let fs = new SimFs()
  for (let life = 0; life < options.lives; life++) {
    const start = floor
    const all = await live(fs, oracle, start.unit, random, options)
    tally.moves += options.moves
    const looked = some(all, options.moments ?? all.length, random)
    const next = random.pick(looked)
    for (const moment of looked) {
      const found = start.copy()
      const untouched = moment.fs.kill()
      try {
        await look(moment, found, random, tally)
      } catch (cause) {
        const text = `seed ${seed}, life ${life}, ${moment.kind} ${moment.what}: ${messageOf(cause)}`
        throw new Error(text, { cause })
      }
      tally[moment.kind === 'crash' ? 'crashes' : 'kills'] += 1
      if (moment !== next) continue
      fs = untouched
      oracle = found
      floor = start.copy()
      floor.advance(moment.kind === 'crash' ? found.unit : moment.durable)
    }
  }
}

/** One life; the moments at which it might have ended. */
async function live(
  fs: SimFs,
  oracle: Oracle,
  durable: number,
  random: SeededRandom,
  options: LivesOptions,
): Promise<Moment[]> {
  const moments: Moment[] = []
  const opening: Bounds = { kept: oracle.unit, durable, begun: oracle.unit }
  let driver: Driver | undefined
  const fault = new FaultFs(fs)
  const chance = options.chance ?? 0.02
  const take = (when: string, { kind, path, count }: FsCall): void => {
    const isSync = kind === 'sync' || kind === 'syncDir'
    if (!isSync && !random.chance(chance)) return
    const { kept, durable: lasting, begun } = driver?.bounds ?? opening
    const how = random.chance(isSync ? 0.85 : 0.5) ? 'crash' : 'kill'
    const copy = how === 'crash' ? fs.crash(random) : fs.kill()
    moments.push({ fs: copy, kind: how, kept, durable: lasting, begun, what: `${when} ${kind} ${path} (${count})` })
  }
  fault.before = (call) => take('before', call)
  fault.after = (call) => take('after', call)
  const scheduler = new StillScheduler()
  const sync = random.pick<SyncPolicy>(['never', 'interval', 'batch'])
  const writeBufferBytes = options.writeBufferBytes ?? random.pick([4096, 8192, 32_768])
  const engine = simEngine(fault, { scheduler, writeBufferBytes, sync })
  // A lock that somebody removed by hand: nothing says then that its owner has died.
  const lock = `${storeDir}/${lockName}`
  if (random.chance(0.4) && fs.existsSync(lock)) fs.removeSync(lock)
  const store = await engine.open(directory)
  const begins = contentOf(store)
  if (!begins.equals(oracle.model)) throw new Error(`opened again: ${begins.difference(oracle.model)}`)
  driver = new Driver(store, oracle, { syncsBatches: sync === 'batch', tick: () => scheduler.tick() }, { ...opening })
  const first = Math.floor((oracle.unit + 1) / unitsPerMove)
  await driver.run(first + options.moves)
  driver.checkReads()
  await engine.close()
  if (sync !== 'never') driver.bounds.durable = oracle.unit
  if (fault.open.length > 0) throw new Error(`left open: ${fault.open.join(' ')}`)
  const { bounds } = driver
  moments.push({ fs: fs.crash(random), kind: 'crash', ...bounds, what: 'after closing' })
  moments.push({ fs: fs.kill(), kind: 'kill', ...bounds, kept: oracle.unit, what: 'after closing' })
  return moments
}

/** Opens what a moment left, twice. */
async function look(moment: Moment, oracle: Oracle, random: SeededRandom, tally: LivesTally): Promise<void> {
  const low = moment.kind === 'crash' ? moment.durable : moment.kept
  if (random.chance(0.03)) await killOpening(moment, oracle.copy(), low, random, tally)
  const first = await opened(moment.fs)
  oracle.locate(first, low, moment.begun)
  const second = await opened(moment.fs)
  if (!second.equals(first)) throw new Error(`opened twice: ${second.difference(first)}`)
}

async function opened(fs: SimFs): Promise<Model> {
  const engine = simEngine(fs)
  const store = await engine.open(directory)
  checkNoOrphans(fs, storeDir)
  const found = contentOf(store)
  await engine.close()
  return found
}

/** Opening is killed, or loses the power, at any of its operations: the next opening finds the same. */
async function killOpening(
  moment: Moment,
  oracle: Oracle,
  low: number,
  random: SeededRandom,
  tally: LivesTally,
): Promise<void> {
  const fs = moment.fs.kill()
  const fault = new FaultFs(fs)
  const copies: { fs: SimFs; kind: string; what: string }[] = []
  fault.before = ({ kind, path }) => {
    copies.push({ fs: fs.kill(), kind: 'kill', what: `${kind} ${path}` })
    // What a kill left is not durable before it was opened.
    if (moment.kind === 'crash') copies.push({ fs: fs.crash(random), kind: 'crash', what: `${kind} ${path}` })
  }
  const engine = simEngine(fault)
  const store: LogStore = await engine.open(directory)
  const found = contentOf(store)
  oracle.locate(found, low, moment.begun)
  fault.before = undefined
  await engine.close()
  for (const copy of some(copies, 12, random)) {
    const again = await opened(copy.fs)
    tally.openings += 1
    if (again.equals(found)) continue
    throw new Error(`opening ended by a ${copy.kind} before ${copy.what}: ${again.difference(found)}`)
  }
}

/** Up to `count` of a list, in their order. */
function some<T>(list: readonly T[], count: number, random: SeededRandom): T[] {
  let left = list.length
  let wanted = count
  return list.filter(() => {
    const isTaken = random.int(left) < wanted
    left -= 1
    if (isTaken) wanted -= 1
    return isTaken
  })
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

/** The seeds of a run: `SEED=n` is that one. */
export function seedsFrom(first: number, count: number): number[] {
  const one = process.env['SEED']
  if (one !== undefined) return [Number(one)]
  return Array.from({ length: count }, (_, i) => first + i)
}
