/**
 * Which seeds a simulation runs. `SEED=n` runs that one; `SIM_SEEDS=n` says how many; `SIM_BASE=n` where they begin
 * (`SIM_BASE=random`: anywhere). By default they are the same each time, so that a red run is red for a reason.
 */
import { World, type WorldOptions } from './world.ts'

export interface SimulateOptions extends WorldOptions {
  /** How many seeds by default. */
  readonly seeds: number
}

/** What a number of runs did, summed by name. */
export type Tally = Map<string, number>

/** A deadline for suites of simulations: that of a test run, longer when more seeds are asked for. */
export function simDeadlineMs(): number {
  return Math.max(170_000, Number(process.env['SIM_SEEDS'] ?? 0) * 170)
}

function seedList(count: number): number[] {
  const one = process.env['SEED']
  if (one !== undefined) return [whole('SEED', one)]
  const wanted = process.env['SIM_SEEDS'] === undefined ? count : whole('SIM_SEEDS', process.env['SIM_SEEDS'])
  const given = process.env['SIM_BASE'] ?? '1'
  const base = given === 'random' ? Math.floor(Math.random() * 2 ** 40) : whole('SIM_BASE', given)
  return Array.from({ length: wanted }, (_, i) => base + i)
}

function whole(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not ${text}`)
  return value
}

/** Runs `body` in one world per seed, and says with which seed it failed. The tally is printed at the end. */
export async function simulate(
  name: string,
  options: SimulateOptions,
  body: (world: World, tally: Tally) => Promise<void>,
): Promise<Tally> {
  const seeds = seedList(options.seeds)
  const tally: Tally = new Map()
  const started = performance.now()
  let events = 0
  for (const seed of seeds) {
    const world = new World(seed, options)
    try {
      await world.run(() => body(world, tally))
    } catch (cause) {
      const error = new Error(`${name}: again with SEED=${seed} npm run sim`)
      error.stack = `${error.message}\n${world.trace()}\n${stackOf(cause)}`
      throw error
    }
    events += world.timeline.count
  }
  const seconds = (performance.now() - started) / 1000
  const sums = [...tally].map(([what, count]) => `${what} ${count}`).join(', ')
  console.log(
    `${name}: ${seeds.length} seeds from ${seeds[0]}, ${events} events in ${seconds.toFixed(1)} s${sums === '' ? '' : `; ${sums}`}`,
  )
  return tally
}

/** Runs a deliberately broken `body` until it is caught; returns how. Fails when it never is. */
export async function simulateBroken(
  name: string,
  options: SimulateOptions,
  body: (world: World, tally: Tally) => Promise<void>,
): Promise<string> {
  for (let seed = 1; seed <= options.seeds; seed++) {
    const world = new World(seed, options)
    try {
      await world.run(() => body(world, new Map()))
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      console.log(`${name}: caught with seed ${seed}: ${message.slice(0, 160)}`)
      return message
    }
  }
  throw new Error(`${name}: not caught in ${options.seeds} seeds: the simulation proves nothing about it`)
}

/** The stacks of an error and of its causes. */
function stackOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const own = cause.stack ?? cause.message
  return cause.cause === undefined ? own : `${own}\ncaused by ${stackOf(cause.cause)}`
}

/** Adds to a tally. */
export function count(tally: Tally, what: string, by = 1): void {
  tally.set(what, (tally.get(what) ?? 0) + by)
}
