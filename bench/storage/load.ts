/** Cases that fill a store: in order, at random, restored from a changelog, and many stores at once. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Case } from '../workload.ts'
import { classicLevel, classicLevelStrings } from './classic-level.ts'
import { ascending, batchSize, scatter, shuffled } from './data.ts'
import { lmdb, lmdbNoSync } from './lmdb.ts'
import { map } from './map.ts'
import { millrace, millraceMemory } from './millrace.ts'
import {
  checkSome,
  factNotes,
  fill,
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

const everyone = [millrace, classicLevel, classicLevelStrings, lmdbNoSync, lmdb, millraceMemory, map]

/** Loads `count` entries; the time ends when everything is in files. */
function load(orderOf: (count: number) => Int32Array, entries: number): Run {
  return async (kind, context, measure) => {
    const order = orderOf(sized(context, entries))
    await warmUp(kind, context)
    const engine = await kind.open(context.dir)
    const batches = new Latencies()
    measure.start()
    batches.start()
    await fill(engine, order, 0, () => {
      batches.stop()
      batches.start()
    })
    await engine.settle()
    measure.end(order.length, { ...batches.notes('ms'), ...factNotes(engine) })
    checkSome(engine, order.length, 0)
    await engine.close()
  }
}

const inOrder = load(ascending, 1_000_000)
const atRandom = load((count) => shuffled(count, 0x5eed1), 1_000_000)
const batchFigures = ['p50 ms', 'p99 ms']

/** Loads records in the order of a changelog: a few hundred per turn of the event loop, the position beside them. */
function restore(entries: number): Run {
  return async (kind, context, measure) => {
    const count = sized(context, entries)
    const order = shuffled(count, 0xc4a9)
    await warmUp(kind, context)
    const engine = await kind.open(context.dir)
    const delays = monitorEventLoopDelay({ resolution: 1 })
    delays.enable()
    measure.start()
    for (let at = 0; at < count; at += batchSize) {
      const end = Math.min(count, at + batchSize)
      await written(
        engine.restore((put) => {
          for (let i = at; i < end; i++) put(keys.set(order[i]!), values.of(order[i]!, 0))
        }, end),
      )
    }
    await engine.restored(count)
    measure.end(count, { 'longest stall ms': delays.max / 1e6, ...factNotes(engine) })
    delays.disable()
    checkSome(engine, count, 0)
    const position = engine.position()
    if (position !== count) throw new Error(`restored up to ${position}`)
    await engine.close()
  }
}

function restoreCase(
  name: string,
  entries: number,
  extra: { extra?: true; deadlineSeconds?: number },
): Case<StorageContext> {
  const kinds = extra.extra === true ? [millrace, classicLevel] : [millrace, classicLevel, lmdbNoSync, millraceMemory]
  return {
    name,
    says: `${entries.toLocaleString('en')} records of a changelog in random order, restored until everything is in files`,
    input: 'none',
    systems: systemsOf(kinds, restore(entries)),
    marks: [
      // The mark is for ten million: with one the other's debts are not due yet.
      ...(extra.extra === true ? [{ ours: 'millrace', against: 'classic-level', factor: 3 }] : []),
      { ours: 'millrace', factor: 50, figure: 'longest stall ms', smaller: true },
    ],
    figures: ['longest stall ms'],
    ...extra,
  }
}

/** Fills 64 stores of one process in turn; what counts is the process's memory. */
function manyStores(entries: number): Run {
  return async (kind, context, measure) => {
    const storeCount = 64
    const batches = Math.ceil(sized(context, entries) / storeCount / batchSize) * storeCount
    const total = batches * batchSize
    const engines = await kind.openMany(context.dir, storeCount)
    measure.start()
    for (let batch = 0; batch < batches; batch++) {
      await written(
        engines[batch % storeCount]!.write((put) => {
          for (let i = batch * batchSize; i < (batch + 1) * batchSize; i++) {
            const entry = scatter(i, total)
            put(keys.set(entry), values.of(entry, 0))
          }
        }),
      )
    }
    for (const engine of engines) await engine.settle()
    const peak = process.resourceUsage().maxRSS / 1024
    measure.end(total, { 'peak RSS MiB': peak })
    for (const engine of engines) await engine.close()
  }
}

function manyStoresCase(
  name: string,
  entries: number,
  extra: { extra?: true; deadlineSeconds?: number },
): Case<StorageContext> {
  return {
    name,
    says: `${entries.toLocaleString('en')} entries in 64 stores of one process, at random; memory`,
    input: 'none',
    systems: systemsOf([millrace, classicLevel], manyStores(entries)),
    // 256 MiB for all stores together, and 120 MiB for the process.
    marks: [{ ours: 'millrace', factor: 376, figure: 'peak RSS MiB', smaller: true }],
    ...extra,
  }
}

export const loadCases: readonly Case<StorageContext>[] = [
  {
    name: 'load-seq',
    says: '1,000,000 entries in key order, batches of 500, until everything is in files',
    input: 'none',
    systems: systemsOf(everyone, inOrder),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 2.2 },
      { ours: 'millrace', against: 'lmdb-nosync', factor: 1.1 },
    ],
    figures: batchFigures,
  },
  {
    name: 'load-random',
    says: '1,000,000 entries in random order, batches of 500, until everything is in files',
    input: 'none',
    systems: systemsOf(everyone, atRandom),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 2.2 },
      { ours: 'millrace', against: 'lmdb-nosync', factor: 3 },
    ],
    figures: batchFigures,
  },
  {
    name: 'load-seq-10m',
    says: '10,000,000 entries in key order, batches of 500, until everything is in files',
    input: 'none',
    systems: systemsOf([millrace, classicLevel, lmdbNoSync], load(ascending, 10_000_000)),
    marks: [],
    figures: batchFigures,
    extra: true,
    deadlineSeconds: 900,
  },
  restoreCase('restore', 1_000_000, {}),
  restoreCase('restore-10m', 10_000_000, { extra: true, deadlineSeconds: 1200 }),
  manyStoresCase('many-stores', 2_000_000, {}),
  manyStoresCase('many-stores-20m', 20_000_000, { extra: true, deadlineSeconds: 1800 }),
]
