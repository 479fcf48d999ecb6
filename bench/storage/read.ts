/** Cases that read a store that was filled, closed and opened again: gets, misses, many at once, a scan. */
import type { Case, Mark } from '../workload.ts'
import { classicLevel, classicLevelStrings } from './classic-level.ts'
import { numberOf, shuffled, uniform, zipf } from './data.ts'
import type { Engine, EngineKind } from './engine.ts'
import { entriesOf } from './inputs.ts'
import { lmdbNoSync } from './lmdb.ts'
import { map } from './map.ts'
import { millrace, millraceMemory } from './millrace.ts'
import { checkRead, factNotes, fill, keys, Latencies, type Run, type StorageContext, sized, systemsOf } from './run.ts'

const readers = [millrace, classicLevel, classicLevelStrings, lmdbNoSync, millraceMemory, map]
const largeReaders = [millrace, classicLevel, lmdbNoSync]

/** The filled store; what is not on disk is filled here. */
async function openInput(kind: EngineKind, context: StorageContext, input: string): Promise<Engine> {
  const engine = await kind.open(context.input ?? context.dir)
  if (!kind.onDisk) await fill(engine, shuffled(entriesOf(context, input), 0x5eed1), 0)
  return engine
}

type Picks = (length: number, count: number) => Int32Array
const evenly: Picks = (length, count) => uniform(length, count, 0xabcde)
const popular: Picks = (length, count) => zipf(length, count, 0.99, 0xabcde)

/** Gets of entries that are there. The first part warms up, the second gives the times of single gets, the third the rate. */
function gets(input: string, picksOf: Picks): Run {
  return async (kind, context, measure) => {
    const engine = await openInput(kind, context, input)
    const count = sized(context, 500_000)
    const single = Math.round(count / 5)
    const picks = picksOf(count + 2 * single, entriesOf(context, input))
    for (let i = 0; i < single; i++) checkRead(engine, picks[i]!, 0)
    const times = new Latencies()
    for (let i = single; i < 2 * single; i++) {
      times.start()
      checkRead(engine, picks[i]!, 0)
      times.stop()
    }
    measure.start()
    for (let i = 2 * single; i < picks.length; i++) checkRead(engine, picks[i]!, 0)
    measure.end(count, { ...times.notes('µs'), ...factNotes(engine) })
    await engine.close()
  }
}

const misses: Run = async (kind, context, measure) => {
  const engine = await openInput(kind, context, 'shuffled')
  const count = sized(context, 500_000)
  const single = Math.round(count / 5)
  const picks = evenly(count + 2 * single, entriesOf(context, 'shuffled'))
  const miss = (i: number): void => {
    if (engine.read(keys.setMissing(i)) !== -1) throw new Error(`something is behind entry ${i}`)
  }
  for (let i = 0; i < single; i++) miss(picks[i]!)
  const times = new Latencies()
  for (let i = single; i < 2 * single; i++) {
    times.start()
    miss(picks[i]!)
    times.stop()
  }
  measure.start()
  for (let i = 2 * single; i < picks.length; i++) miss(picks[i]!)
  measure.end(count, { ...times.notes('µs'), ...factNotes(engine) })
  await engine.close()
}

/** Gets of 500 keys at once, one such after another. */
const getsOfMany: Run = async (kind, context, measure) => {
  const size = 500
  const engine = await openInput(kind, context, 'shuffled')
  const rounds = Math.ceil(sized(context, 500_000) / size)
  const warm = Math.ceil(rounds / 5)
  const picks = evenly((warm + rounds) * size, entriesOf(context, 'shuffled'))
  const buffers = Array.from({ length: size }, () => Buffer.alloc(16))
  const times = new Latencies()
  const round = async (number: number): Promise<void> => {
    for (let i = 0; i < size; i++) keys.set(picks[number * size + i]!).copy(buffers[i]!)
    times.start()
    const found = await engine.readMany(buffers)
    times.stop()
    for (let i = 0; i < size; i++) {
      if (found[i] !== numberOf(picks[number * size + i]!, 0)) throw new Error(`a get gave value number ${found[i]}`)
    }
  }
  for (let i = 0; i < warm; i++) await round(i)
  measure.start()
  for (let i = warm; i < warm + rounds; i++) await round(i)
  measure.end(rounds * size, { ...times.notes('ms'), ...factNotes(engine) })
  await engine.close()
}

function scans(input: string): Run {
  return async (kind, context, measure) => {
    const count = entriesOf(context, input)
    const engine = await openInput(kind, context, input)
    let expected = 0
    for (let i = 0; i < count; i++) expected += numberOf(i, 0)
    // The first scan also brings the files into memory and the code up to speed.
    await engine.scan()
    measure.start()
    const { entries, sum } = await engine.scan()
    measure.end(count, factNotes(engine))
    if (entries !== count || sum !== expected) throw new Error(`${entries} entries with the sum ${sum}`)
    await engine.close()
  }
}

const readFigures = ['p50 µs', 'p99 µs']

function marks(level: number, lmdb: number): Mark[] {
  return [
    { ours: 'millrace', against: 'classic-level', factor: level },
    { ours: 'millrace', against: 'lmdb-nosync', factor: lmdb },
  ]
}

const large = { input: 'ordered-10m', extra: true } as const

export const readCases: readonly Case<StorageContext>[] = [
  {
    name: 'get-uniform',
    says: 'gets of 1,000,000 entries, all equally likely',
    input: 'shuffled',
    systems: systemsOf(readers, gets('shuffled', evenly)),
    marks: [
      ...marks(1.5, 1.1),
      { ours: 'millrace', against: 'classic-level', factor: 0.7, figure: 'p99 µs', smaller: true },
    ],
    figures: readFigures,
  },
  {
    name: 'get-zipf',
    says: 'gets of 1,000,000 entries by Zipf’s law, exponent 0.99',
    input: 'shuffled',
    systems: systemsOf(readers, gets('shuffled', popular)),
    marks: marks(2.5, 2),
    figures: readFigures,
  },
  {
    name: 'get-miss',
    says: 'gets of keys that none of 1,000,000 entries has',
    input: 'shuffled',
    systems: systemsOf(readers, misses),
    marks: marks(3, 2),
    figures: readFigures,
  },
  {
    name: 'get-many',
    says: 'gets of 500 keys at once of 1,000,000 entries, all equally likely',
    input: 'shuffled',
    systems: systemsOf(readers, getsOfMany),
    marks: [],
    figures: ['p50 ms', 'p99 ms'],
  },
  {
    name: 'scan',
    says: '1,000,000 entries in key order, each key as a string, each value looked at',
    input: 'shuffled',
    systems: systemsOf(readers, scans('shuffled')),
    marks: marks(6, 2.5),
  },
  {
    name: 'get-uniform-10m',
    says: 'gets of 10,000,000 entries, all equally likely',
    systems: systemsOf(largeReaders, gets('ordered-10m', evenly)),
    marks: marks(1.8, 1),
    figures: readFigures,
    ...large,
  },
  {
    name: 'get-zipf-10m',
    says: 'gets of 10,000,000 entries by Zipf’s law, exponent 0.99',
    systems: systemsOf(largeReaders, gets('ordered-10m', popular)),
    marks: marks(3, 1.8),
    figures: readFigures,
    ...large,
  },
  {
    name: 'scan-10m',
    says: '10,000,000 entries in key order, each key as a string, each value looked at',
    systems: systemsOf(largeReaders, scans('ordered-10m')),
    marks: marks(7, 3.5),
    ...large,
  },
]
