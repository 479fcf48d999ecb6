/** Cases that change what is stored: counters, and batches with the position of a changelog beside them. */
import type { Case } from '../workload.ts'
import { classicLevel, classicLevelStrings } from './classic-level.ts'
import { batchSize, uniform, zipf } from './data.ts'
import { counterOf } from './engine.ts'
import { entriesOf } from './inputs.ts'
import { lmdb, lmdbNoSync } from './lmdb.ts'
import { map } from './map.ts'
import { millrace, millraceFrames, millraceMemory } from './millrace.ts'
import {
  copyOfInput,
  factNotes,
  keys,
  Latencies,
  type Run,
  type StorageContext,
  sized,
  systemsOf,
  values,
  warmUp,
  written,
} from './run.ts'

const counterCount = 100_000

/** Counts keys by Zipf's law in 8-byte counters, 500 to a batch. */
const countBatched: Run = async (kind, context, measure) => {
  const count = sized(context, 1_000_000)
  const picks = zipf(count, sized(context, counterCount), 0.99, 0xfade)
  await warmUp(kind, context)
  const engine = await kind.open(context.dir)
  const batches = new Latencies()
  let first = 0
  const key = (i: number): Buffer => keys.set(picks[first + i]!)
  measure.start()
  for (; first < count; first += batchSize) {
    batches.start()
    await written(engine.count(key, Math.min(batchSize, count - first)))
    batches.stop()
  }
  measure.end(count, { ...batches.notes('ms'), ...factNotes(engine) })
  const { sum } = await engine.scan()
  if (sum !== count) throw new Error(`counted ${sum} of ${count}`)
  await engine.close()
}

/**
 * The same, each increment written on its own as a callback would. The first part gives the times of single increments,
 * the second, without a clock between them, the rate.
 */
const countEach: Run = async (kind, context, measure) => {
  const count = sized(context, 200_000)
  const single = Math.round(count / 5)
  const picks = zipf(count + single, sized(context, counterCount), 0.99, 0xfade)
  await warmUp(kind, context)
  const engine = await kind.open(context.dir)
  const increment = (i: number): Promise<unknown> | undefined => {
    const key = keys.set(picks[i]!)
    return engine.writeOne(key, counterOf(Math.max(0, engine.read(key)) + 1))
  }
  const times = new Latencies()
  for (let i = 0; i < single; i++) {
    times.start()
    const writing = increment(i)
    if (writing !== undefined) await writing
    times.stop()
    if (i % batchSize === 0) await written(undefined)
  }
  measure.start()
  for (let i = single; i < picks.length; i++) {
    const writing = increment(i)
    if (writing !== undefined) await writing
    else if (i % batchSize === 0) await written(undefined)
  }
  measure.end(count, { ...times.notes('µs'), ...factNotes(engine) })
  const { sum } = await engine.scan()
  if (sum !== picks.length) throw new Error(`counted ${sum} of ${picks.length}`)
  await engine.close()
}

/** Batches of 500 puts of existing keys with the position of a changelog; `durable`: each synced before the next. */
function checkpoints(batchCount: number, durable: boolean): Run {
  return async (kind, context, measure) => {
    const total = Math.max(20, Math.round(batchCount * context.scale))
    const warm = Math.ceil(total / 10)
    const picks = uniform((warm + total) * batchSize, entriesOf(context, 'shuffled'), 0xc0de)
    const engine = await kind.open(copyOfInput(context), { durable })
    const batches = new Latencies()
    const writeBatch = (number: number): Promise<void> =>
      written(
        engine.write((put) => {
          for (let i = number * batchSize; i < (number + 1) * batchSize; i++)
            put(keys.set(picks[i]!), values.of(picks[i]!, 1))
        }, number),
      )
    for (let i = 0; i < warm; i++) await writeBatch(i)
    measure.start()
    for (let i = warm; i < warm + total; i++) {
      batches.start()
      await writeBatch(i)
      batches.stop()
    }
    measure.end(total * batchSize, { ...batches.notes('ms'), ...factNotes(engine) })
    const position = engine.position()
    if (position !== warm + total - 1) throw new Error(`the position is ${position}`)
    await engine.close()
  }
}

export const updateCases: readonly Case<StorageContext>[] = [
  {
    name: 'rmw-batched',
    says: '1,000,000 increments of 100,000 counters by Zipf’s law, batches of 500',
    input: 'none',
    systems: systemsOf(
      [millrace, classicLevel, classicLevelStrings, lmdbNoSync, lmdb, millraceMemory, map],
      countBatched,
    ),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 4.5 },
      { ours: 'millrace', against: 'lmdb-nosync', factor: 2.5 },
    ],
    figures: ['p50 ms', 'p99 ms'],
  },
  {
    name: 'rmw-each',
    says: '200,000 increments of 100,000 counters by Zipf’s law, each written on its own',
    input: 'none',
    systems: systemsOf([millrace, millraceFrames, classicLevel, lmdbNoSync, millraceMemory, map], countEach),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 15 },
      { ours: 'millrace', against: 'lmdb-nosync', factor: 5 },
    ],
    figures: ['p50 µs', 'p99 µs'],
  },
  {
    name: 'checkpoint',
    says: 'batches of 500 puts and a position over 1,000,000 entries, synced when the engine likes',
    input: 'shuffled',
    systems: systemsOf([millrace, classicLevel, classicLevelStrings, lmdbNoSync, lmdb], checkpoints(1000, false)),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 6 },
      { ours: 'millrace', against: 'lmdb-nosync', factor: 3.5 },
    ],
    figures: ['p50 ms', 'p99 ms'],
  },
  {
    name: 'checkpoint-fdatasync',
    says: 'batches of 500 puts and a position over 1,000,000 entries, each synced before the next',
    input: 'shuffled',
    systems: systemsOf([millrace, classicLevel, lmdb], checkpoints(300, true)),
    marks: [{ ours: 'millrace', against: 'classic-level', factor: 6 }],
    figures: ['p50 ms', 'p99 ms'],
  },
]
