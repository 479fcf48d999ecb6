/** What the storage cases share: the context, the sizes, filling a store, and times of single operations. */
import { cpSync } from 'node:fs'
import { setImmediate as immediate } from 'node:timers/promises'
import type { Measure, RunContext, System } from '../workload.ts'
import { batchSize, KeyMaker, numberOf, Values } from './data.ts'
import type { Engine, EngineKind } from './engine.ts'

export interface StorageContext extends RunContext {
  /** The directory with the case's input, shared by runs that do not write; undefined: it has none. */
  readonly input: string | undefined
}

export type Run = (kind: EngineKind, context: StorageContext, measure: Measure) => Promise<void>

/** The systems of a case: the same run with each kind of engine. */
export function systemsOf(kinds: readonly EngineKind[], run: Run): Record<string, System<StorageContext>> {
  return Object.fromEntries(
    kinds.map((kind) => [kind.name, (context, measure) => run(kind, context, measure)] as const),
  )
}

/** `count` at scale 1, and never so little that it means nothing. */
export function sized(context: RunContext, count: number): number {
  return Math.max(Math.min(count, 10_000), Math.round(count * context.scale))
}

export const keys = new KeyMaker()
export const values = new Values()

/**
 * Awaits what a write returned. A store that need not be waited for gets a turn of the event loop after each batch, as
 * it has in a program that also reads from the network.
 */
export async function written(promise: Promise<unknown> | undefined): Promise<void> {
  await (promise ?? immediate())
}

/** Writes the entries of `order` in batches; `after` is called behind each with the number of entries written. */
export async function fill(
  engine: Engine,
  order: Int32Array,
  generation: number,
  after: (count: number) => void = () => {},
): Promise<void> {
  for (let at = 0; at < order.length; at += batchSize) {
    const end = Math.min(order.length, at + batchSize)
    await written(
      engine.write((put) => {
        for (let i = at; i < end; i++) put(keys.set(order[i]!), values.of(order[i]!, generation))
      }),
    )
    after(end)
  }
}

/** Runs the code of a store before it is measured, in a store of its own that is closed again. */
export async function warmUp(kind: EngineKind, context: StorageContext): Promise<void> {
  const engine = await kind.open(`${context.dir}/warm`)
  const count = 20_000
  const order = Int32Array.from({ length: count }, (_, i) => (i * 7_919) % count)
  await fill(engine, order, 0)
  await engine.settle()
  for (const i of order) checkRead(engine, i, 0)
  await engine.scan()
  await engine.close()
}

export function checkRead(engine: Engine, i: number, generation: number): void {
  const found = engine.read(keys.set(i))
  if (found !== numberOf(i, generation)) throw new Error(`entry ${i} has the value number ${found}`)
}

/** Compares some entries, spread over all, with what was written last. */
export function checkSome(engine: Engine, count: number, generation: number): void {
  const step = Math.max(1, Math.floor(count / 1000))
  for (let i = 0; i < count; i += step) checkRead(engine, i, generation)
}

/** A copy of the input, for a run that writes. */
export function copyOfInput(context: StorageContext): string {
  const dir = `${context.dir}/copy`
  if (context.input !== undefined) cpSync(context.input, dir, { recursive: true })
  return dir
}

/** Times of single operations. */
export class Latencies {
  readonly #times: number[] = []
  #started = 0

  start(): void {
    this.#started = performance.now()
  }

  stop(): void {
    this.#times.push(performance.now() - this.#started)
  }

  /** p50, p99 and the longest, under these names with the unit: `µs` or `ms`. */
  notes(unit: 'µs' | 'ms'): Record<string, number> {
    const factor = unit === 'ms' ? 1 : 1000
    const sorted = Float64Array.from(this.#times).sort()
    const at = (share: number): number => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0) * factor
    return { [`p50 ${unit}`]: at(0.5), [`p99 ${unit}`]: at(0.99), [`max ${unit}`]: at(1) }
  }
}

/** Facts of the engine as notes, under names that no other note has. */
export function factNotes(engine: Engine): Record<string, number> {
  return Object.fromEntries(Object.entries(engine.facts()).map(([name, value]) => [`store ${name}`, value]))
}
