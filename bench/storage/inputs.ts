/** The stores that cases begin with. Each is made once per system, in a process of its own, and shared by all its runs. */
import type { Case, Measure, RunContext, Workload } from '../workload.ts'
import { classicLevel, classicLevelStrings } from './classic-level.ts'
import { ascending, shuffled, uniform } from './data.ts'
import type { EngineKind } from './engine.ts'
import { quiet } from './files.ts'
import { lmdb, lmdbNoSync } from './lmdb.ts'
import { millrace } from './millrace.ts'
import { fill, type StorageContext, sized, systemsOf } from './run.ts'

const makers = [millrace, classicLevel, classicLevelStrings, lmdb, lmdbNoSync]

/** Of the inputs that have more than a million. */
const entryCounts: Readonly<Record<string, number>> = { 'ordered-5m': 5_000_000, 'ordered-10m': 10_000_000 }

/** Entries of the store in `input`. */
export function entriesOf(context: RunContext, input: string): number {
  return sized(context, entryCounts[input] ?? 1_000_000)
}

async function make(kind: EngineKind, context: StorageContext, order: Int32Array, measure: Measure): Promise<void> {
  const engine = await kind.open(context.dir)
  measure.start()
  await fill(engine, order, 0)
  await engine.settle()
  measure.end(order.length)
  // Who reads it shall not find work that was left undone.
  await quiet(context.dir)
  await engine.close()
}

/** Writes kept in memory and in the log, 128 bytes each: almost the 16 MiB after which millrace makes a table. */
export const unflushed = 115_000

export const killedInput = 'killed'

const cases: readonly Case<StorageContext>[] = [
  {
    name: 'shuffled',
    says: '1,000,000 entries written in random order',
    input: 'none',
    systems: systemsOf(makers, (kind, context, measure) =>
      make(kind, context, shuffled(entriesOf(context, 'shuffled'), 0x5eed1), measure),
    ),
    marks: [],
  },
  ...Object.entries(entryCounts).map(
    ([name, count]): Case<StorageContext> => ({
      name,
      says: `${count.toLocaleString('en')} entries written in key order`,
      input: 'none',
      systems: systemsOf(makers, (kind, context, measure) =>
        make(kind, context, ascending(entriesOf(context, name)), measure),
      ),
      marks: [],
      deadlineSeconds: 900,
    }),
  ),
  {
    name: killedInput,
    says: 'the same, and as much on top as is kept in memory; then the process is killed',
    input: 'none',
    systems: systemsOf(makers, async (kind, context, measure) => {
      const count = entriesOf(context, killedInput)
      const engine = await kind.open(context.dir)
      measure.start()
      await fill(engine, shuffled(count, 0x5eed1), 0)
      await engine.settle()
      await fill(engine, uniform(sized(context, unflushed), count, 0x11ed), 1)
      measure.end(count)
    }),
    marks: [],
  },
]

export const inputs: Workload<StorageContext> = { name: 'storage-input', cases }
