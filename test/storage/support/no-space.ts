/**
 * Lives of a store on a disk that becomes full: at a write of choice, short or not, or when its bytes are used up. Whoever
 * writes is told so; everything can be read, and what the disk holds at that moment is a store that existed; when there is
 * room again the same open store goes on. Shared by the short test and the long one. Owns the file systems of a run.
 */
import * as assert from 'uvu/assert'
import { type LogEngine, type LogStore, StoreError, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { type Bounds, Driver, StillScheduler, turn } from './driver.ts'
import { FaultFs } from './fault-fs.ts'
import { checkNoOrphans, contentOf } from './inspect.ts'
import { directory, simEngine, storeDir } from './lives.ts'
import { Oracle } from './oracle.ts'
import { runScenario } from './scenario.ts'
import { SimFs } from './sim-fs.ts'

/** What a system says: no room, or no more room for this user. */
export const fullCodes = ['ENOSPC', 'EDQUOT'] as const
export type FullCode = (typeof fullCodes)[number]

/** Much to flush and to merge, and a manifest that grows. */
const history = { weights: { flush: 12, compact: 6, load: 5, clear: 2, sync: 8, read: 4 } }

/** A disk on which a life has ended well, and where the history stands. */
export interface FullStart {
  readonly fs: SimFs
  readonly oracle: Oracle
  readonly moves: number
}

/** The life before: so many moves of the history of a seed. */
export async function startOf(seed: number, moves: number): Promise<FullStart> {
  const fs = new SimFs()
  const oracle = new Oracle(seed, history)
  await runScenario(simEngine(fs, { sync: 'interval' }), new FaultFs(fs), oracle, { endMove: moves })
  return { fs, oracle, moves }
}

/** What was done. */
export interface FullTally {
  /** Writes that failed. */
  failures: number
  /** Errors that somebody was told, by what was being done: `open`, a kind of move, `background`. */
  readonly told: Map<string, number>
}

export function newFullTally(): FullTally {
  return { failures: 0, told: new Map() }
}

export function toldText({ failures, told }: FullTally): string {
  const kinds = [...told].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, count]) => `${what} ${count}`)
  return `${failures} writes failed; told in ${kinds.join(', ')}`
}

/** A life on a disk that may become full. */
class FullLife {
  readonly fs: SimFs
  readonly fault: FaultFs
  readonly engine: LogEngine
  readonly tally: FullTally
  /** Called after each error that somebody was told. */
  onFull: () => void = () => {}
  readonly #oracle: Oracle
  readonly #start: FullStart
  readonly #random: SeededRandom
  readonly #scheduler = new StillScheduler()
  #driver: Driver | undefined

  constructor(start: FullStart, tally: FullTally, random: SeededRandom) {
    this.#start = start
    this.#random = random
    this.tally = tally
    this.fs = start.fs.kill()
    this.fault = new FaultFs(this.fs)
    this.#oracle = start.oracle.copy()
    const onEvent = (event: StoreEvent): void => {
      if (event.kind === 'failed') this.#told('background', event.error)
    }
    this.engine = simEngine(this.fault, { sync: 'interval', scheduler: this.#scheduler, onEvent })
  }

  #told(what: string, error: unknown): void {
    assert.instance(error, StoreError)
    const { code, message, retriable } = error as StoreError
    assert.is(code, 'ERR_STORE_NOSPACE', message)
    assert.match(message, /the disk is full/)
    assert.match(message, /ENOSPC|EDQUOT/)
    assert.ok(retriable, 'it can be tried again')
    this.tally.told.set(what, (this.tally.told.get(what) ?? 0) + 1)
  }

  /** The whole life. `end`: from now on there is room. */
  async run(end: () => void): Promise<void> {
    const oracle = this.#oracle
    const store = await this.#open()
    const driver = new Driver(store, oracle, {
      tick: () => this.#scheduler.tick(),
      onError: async (cause, move) => {
        this.#told(move.kind, cause)
        this.#driver!.oracle.copy().locate(contentOf(store), oracle.unit, driver.bounds.begun)
        await this.#lookAtCopies(driver.bounds)
        this.onFull()
        // A promise that waits for background work must see it go on.
        await turn()
      },
    })
    this.#driver = driver
    await driver.run(2 * this.#start.moves)
    end()
    driver.checkReads()
    await store.flush()
    while (this.engine.jobStats.jobs > 0) await turn()
    driver.checkReads()
    this.#checkFiles()
    await this.engine.close()
    assert.equal(this.fault.open, [], 'files that stay open')
    const again = simEngine(this.fs.kill())
    const found = contentOf(await again.open(directory))
    checkNoOrphans(this.fs, storeDir)
    if (!found.equals(oracle.model)) throw new Error(`opened again: ${found.difference(oracle.model)}`)
    await again.close()
  }

  async #open(): Promise<LogStore> {
    for (;;) {
      try {
        return await this.engine.open(directory)
      } catch (error) {
        this.#told('open', error)
        assert.equal(this.fault.open, [], 'files that stay open')
        const { unit } = this.#oracle
        await this.#lookAtCopies({ kept: unit, durable: unit, begun: unit })
        this.onFull()
      }
    }
  }

  /** What a kill and a power loss at this moment would leave, on a disk that has room again, or still has none. */
  async #lookAtCopies({ kept, durable, begun }: Bounds): Promise<void> {
    for (const how of ['kill', 'crash'] as const) {
      const fs = how === 'kill' ? this.fs.kill() : this.fs.crash(this.#random)
      const low = how === 'kill' ? kept : durable
      await this.#openFull(fs.kill(), low, begun)
      fs.capacity = Infinity
      const dropped: string[] = []
      const onEvent = (event: StoreEvent): void => {
        // What was logged behind a load that is not in tables yet does not count: a gap.
        if (event.kind !== 'recovered' || event.reason === 'gap') return
        dropped.push(`${event.droppedBytes} bytes of ${event.file}, ${event.reason}`)
      }
      const found = contentOf(await simEngine(fs, { onEvent }).open(directory))
      this.#start.oracle.copy().locate(found, low, begun)
      checkNoOrphans(fs, storeDir)
      if (how === 'kill') assert.is(dropped.join('; '), '', 'what did not fit was cut off at once')
    }
  }

  /** Opened while there is no room: it opens or says why, and takes nothing away. */
  async #openFull(fs: SimFs, low: number, begun: number): Promise<void> {
    if (fs.capacity === Infinity) return
    try {
      const engine = simEngine(fs)
      this.#start.oracle.copy().locate(contentOf(await engine.open(directory)), low, begun)
      await engine.close()
    } catch (error) {
      this.#told('open without room', error)
    }
    fs.capacity = Infinity
    const found = contentOf(await simEngine(fs.kill()).open(directory))
    this.#start.oracle.copy().locate(found, low, begun)
  }

  /** Broken-off flushes and merges left nothing: every table on the disk is one that is open, and there is one log. */
  #checkFiles(): void {
    const names = this.fs.readdirSync(storeDir)
    const tables = names.filter((name) => name.endsWith('.tbl'))
    const open = this.fault.open.filter((path) => path.endsWith('.tbl')).map((path) => path.slice(storeDir.length + 1))
    assert.equal([...tables].sort(), [...open].sort(), 'tables on the disk are those that are open')
    assert.is(names.filter((name) => name.endsWith('.log')).length, 1, 'logs')
    assert.equal(
      names.filter((name) => name.endsWith('.tmp')),
      [],
    )
  }
}

export interface FullAt {
  /** The how-manieth write fails, and all later ones, until somebody was told `told` times. */
  readonly at: number
  readonly code: FullCode
  /** The part of the write that still fits. */
  readonly written: number
  readonly told: number
}

/** A life in which there is no room from a certain write on. False when there are not so many writes. */
export async function fullAtWrite(
  start: FullStart,
  { at, code, written, told }: FullAt,
  tally: FullTally,
): Promise<boolean> {
  const life = new FullLife(start, tally, new SeededRandom(at))
  const set = life.fault.fail({ kinds: ['write'], path: /^\/data/, at, forever: true, code, written })
  let left = told
  life.onFull = () => {
    left -= 1
    if (left === 0) life.fault.heal()
  }
  await life.run(() => life.fault.heal())
  tally.failures += set.failures
  return set.failures > 0
}

/** A life on a disk with room for some hundred bytes or KiB more, each time it is full. */
export async function fullDisk(start: FullStart, seed: number, tally: FullTally): Promise<void> {
  const random = new SeededRandom(seed)
  const life = new FullLife(start, tally, random)
  const more = (): void => {
    const { usedBytes, capacity } = life.fs
    // What was broken off has given its room back, and may need more of it than there was.
    const before = capacity === Infinity || random.chance(0.3) ? usedBytes : Math.max(usedBytes, capacity)
    life.fs.capacity = before + random.int(random.pick([100, 3000, 20_000, 60_000]))
  }
  more()
  life.onFull = () => {
    tally.failures += 1
    more()
  }
  await life.run(() => {
    life.fs.capacity = Infinity
  })
}
