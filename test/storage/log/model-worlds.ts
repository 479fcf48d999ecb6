/** The worlds that the model test runs in: a simulated disk and clock, or the real ones. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LogEngine, type LogEngineOptions, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { alphabetNames, makeUniverse } from './model-keys.ts'
import { ModelRun, type ModelWorld } from './model-run.ts'

/** One engine, whose stores live in it side by side. */
abstract class World {
  readonly writeBufferBytes: number
  readonly counts = { flushed: 0, merged: 0 }
  /** Of background work: nothing may fail here. */
  failure: Error | undefined
  protected readonly random: SeededRandom
  protected readonly options: Pick<
    LogEngineOptions,
    'random' | 'writeBufferBytes' | 'sync' | 'cacheBytes' | 'memoryBytes' | 'onEvent'
  >
  #engine: LogEngine | undefined

  constructor(random: SeededRandom) {
    this.random = random
    this.writeBufferBytes = random.pick([4096, 16_384, 65_536])
    this.options = {
      random,
      writeBufferBytes: this.writeBufferBytes,
      sync: random.pick(['interval', 'never', 'never', 'batch']),
      cacheBytes: random.pick([0, 4096, 65_536, 2 ** 20]),
      memoryBytes: random.pick([2 ** 18, 2 ** 28]),
      onEvent: (event) => this.#told(event),
    }
  }

  #told(event: StoreEvent): void {
    if (event.kind === 'failed') this.failure ??= event.error
    else if (event.kind === 'recovered') this.failure ??= new Error(`dropped ${event.droppedBytes} bytes`)
    else this.counts[event.kind] += 1
  }

  protected abstract makeEngine(): LogEngine

  store(partition: number): ModelWorld {
    let store: LogStore | undefined
    return {
      writeBufferBytes: this.writeBufferBytes,
      open: async () => {
        this.#engine ??= this.makeEngine()
        store = await this.#engine.open({ group: 'g', table: 't', partition })
        return store
      },
      close: async () => {
        await store?.close()
        if (this.failure !== undefined) throw this.failure
      },
      turn: () => this.turn(),
      drive: this.drive,
    }
  }

  abstract turn(): Promise<void>
  abstract drive: <T>(promise: Promise<T>) => Promise<T>
  /** Files that are open, if that is known. */
  abstract openFiles(): readonly string[]
  dispose(): void {}
}

class SimWorld extends World {
  readonly #fs = new SimFs()
  readonly #turns = new Turns(0.4)

  protected override makeEngine(): LogEngine {
    return new LogEngine({ ...this.options, dir: '/s', fs: this.#fs, scheduler: this.#turns })
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

  protected override makeEngine(): LogEngine {
    return new LogEngine({ ...this.options, dir: this.#dir, sync: 'never' })
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

/**
 * Random operations, about so many, on one or two stores of an engine with the same keys. Rejects with what was not as it
 * should be, naming the seed.
 */
export async function modelRun(kind: 'sim' | 'real', seed: number, operations: number): Promise<RunReport> {
  const random = new SeededRandom(seed)
  const world = kind === 'sim' ? new SimWorld(random.fork()) : new RealWorld(random.fork())
  const names = alphabetNames.filter(() => random.chance(0.6))
  const spaces = random.pick([[0], [0, 1], [0, 1, 7, 15], [15]])
  const universe = makeUniverse(random, names.length === 0 ? ['numbered'] : names, spaces)
  const runs = Array.from({ length: random.pick([1, 1, 2]) }, (_, partition) => {
    return new ModelRun(random.fork(), world.store(partition), universe)
  })
  const done = (): number => runs.reduce((sum, run) => sum + run.operations, 0)
  let step = 0
  try {
    for (const run of runs) await run.start()
    for (; done() < operations; step++) {
      await random.pick(runs).step()
      if (world.failure !== undefined) throw world.failure
    }
    for (const run of runs) await run.finish()
    const open = world.openFiles()
    if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`)
  } catch (cause) {
    throw new Error(`seed ${seed}, step ${step}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
  } finally {
    world.dispose()
  }
  const steps = new Map<string, number>()
  for (const run of runs) for (const [name, count] of run.steps) steps.set(name, (steps.get(name) ?? 0) + count)
  return { seed, operations: done(), keys: universe.keys.length, ...world.counts, steps }
}

/** `SEED=n`, or so many from the first on. */
export function seedsOf(first: number, count: number): readonly number[] {
  const given = process.env['SEED']
  return given === undefined ? Array.from({ length: count }, (_, i) => first + i) : [Number(given)]
}
