/** The worlds that the model test runs in: a simulated disk and clock, or the real ones. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LogEngine, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { alphabetNames, makeUniverse } from './model-keys.ts'
import { ModelRun, type ModelWorld } from './model-run.ts'

const at = { group: 'g', table: 't', partition: 0 }

abstract class World implements ModelWorld {
  readonly writeBufferBytes: number
  readonly sync: 'interval' | 'batch' | 'never'
  readonly counts = { flushed: 0, merged: 0 }
  /** Of background work: nothing may fail here. */
  failure: Error | undefined
  protected readonly random: SeededRandom
  #engine: LogEngine | undefined

  constructor(random: SeededRandom) {
    this.random = random
    this.writeBufferBytes = random.pick([4096, 16_384, 65_536])
    this.sync = random.pick(['interval', 'never', 'never', 'batch'])
  }

  protected abstract makeEngine(onEvent: (event: StoreEvent) => void): LogEngine

  open(): Promise<LogStore> {
    this.#engine = this.makeEngine((event) => {
      if (event.kind === 'failed') this.failure ??= event.error
      else if (event.kind === 'recovered') this.failure ??= new Error(`dropped ${event.droppedBytes} bytes`)
      else this.counts[event.kind] += 1
    })
    return this.#engine.open(at)
  }

  async close(): Promise<void> {
    await this.#engine?.close()
    if (this.failure !== undefined) throw this.failure
  }

  abstract turn(): Promise<void>
  abstract drive<T>(promise: Promise<T>): Promise<T>
  /** Files that are open, if that is known. */
  abstract openFiles(): readonly string[]
  dispose(): void {}
}

class SimWorld extends World {
  readonly #fs = new SimFs()
  readonly #turns = new Turns(0.4)

  protected override makeEngine(onEvent: (event: StoreEvent) => void): LogEngine {
    const { writeBufferBytes, sync, random } = this
    return new LogEngine({ dir: '/s', fs: this.#fs, scheduler: this.#turns, random, writeBufferBytes, sync, onEvent })
  }

  override turn(): Promise<void> {
    if (this.random.chance(0.05)) this.#turns.pass(500)
    return this.#turns.turn()
  }

  override drive = <T>(promise: Promise<T>): Promise<T> => this.#turns.drive(promise)

  override openFiles(): readonly string[] {
    return this.#fs.open
  }
}

class RealWorld extends World {
  readonly #dir = mkdtempSync(join(tmpdir(), 'millrace-model-'))

  protected override makeEngine(onEvent: (event: StoreEvent) => void): LogEngine {
    const { writeBufferBytes, random } = this
    return new LogEngine({ dir: this.#dir, random, writeBufferBytes, sync: 'never', onEvent })
  }

  override turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  override drive = <T>(promise: Promise<T>): Promise<T> => promise

  override openFiles(): readonly string[] {
    return []
  }

  override dispose(): void {
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

/** What a run did. */
export interface RunReport {
  readonly seed: number
  readonly operations: number
  readonly keys: number
  readonly flushed: number
  readonly merged: number
  readonly steps: ReadonlyMap<string, number>
}

/** One run of about so many operations. Rejects with what was not as it should be, naming the seed. */
export async function modelRun(kind: 'sim' | 'real', seed: number, operations: number): Promise<RunReport> {
  const random = new SeededRandom(seed)
  const world = kind === 'sim' ? new SimWorld(random.fork()) : new RealWorld(random.fork())
  const names = alphabetNames.filter(() => random.chance(0.6))
  const spaces = random.pick([[0], [0, 1], [0, 1, 7, 15], [15]])
  const universe = makeUniverse(random, names.length === 0 ? ['numbered'] : names, spaces)
  const run = new ModelRun(random, world, universe)
  let step = 0
  try {
    await run.start()
    for (; run.operations < operations; step++) {
      await run.step()
      if (world.failure !== undefined) throw world.failure
    }
    await run.finish()
    const open = world.openFiles()
    if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`)
  } catch (cause) {
    throw new Error(`seed ${seed}, step ${step}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
  } finally {
    world.dispose()
  }
  const { flushed, merged } = world.counts
  return { seed, operations: run.operations, keys: universe.keys.length, flushed, merged, steps: run.steps }
}

/** `SEED=n`, or so many from the first on. */
export function seedsOf(first: number, count: number): readonly number[] {
  const given = process.env['SEED']
  return given === undefined ? Array.from({ length: count }, (_, i) => first + i) : [Number(given)]
}
