/** Cases about what a store costs: space on disk, bytes written, memory, delays of the event loop. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Case } from '../workload.ts'
import { classicLevel } from './classic-level.ts'
import { batchSize, entryBytes, shuffled, uniform } from './data.ts'
import type { Engine } from './engine.ts'
import { occupied, quiet } from './files.ts'
import { lmdbNoSync } from './lmdb.ts'
import { map } from './map.ts'
import { millrace, millraceMemory } from './millrace.ts'
import {
  checkRead,
  checkSome,
  factNotes,
  fill,
  keys,
  type Run,
  type StorageContext,
  sized,
  systemsOf,
  values,
  warmUp,
  written,
} from './run.ts'

/** Bytes this process has handed to write calls, and those it made the file system write. Zeros where there is no /proc. */
function bytesWritten(): { calls: number; disk: number } {
  try {
    const text = readFileSync('/proc/self/io', 'utf8')
    const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1] ?? 0)
    return { calls: field('wchar'), disk: field('write_bytes') }
  } catch {
    return { calls: 0, disk: 0 }
  }
}

const overwrites = 5

/**
 * Loads a store and then overwrites every entry five times, each time in another random order. The sizes are those after
 * the background work has ended, which is not in the time.
 */
const space: Run = async (kind, context, measure) => {
  const count = sized(context, 1_000_000)
  await warmUp(kind, context)
  const dir = join(context.dir, 'store')
  mkdirSync(dir)
  const engine = await kind.open(dir)
  const before = bytesWritten()
  let peak = 0
  let batches = 0
  const look = (): void => {
    batches += 1
    if (batches % 40 === 0) peak = Math.max(peak, occupied(dir))
  }
  await fill(engine, shuffled(count, 0x5eed1), 0, look)
  await engine.settle()
  const loaded = occupied(dir)
  const orders = Array.from({ length: overwrites }, (_, i) => shuffled(count, 0xace + i))
  measure.start()
  for (let i = 0; i < overwrites; i++) await fill(engine, orders[i]!, i + 1, look)
  await engine.settle()
  measure.stop()
  const facts = factNotes(engine)
  const end = await quiet(dir, () => {
    peak = Math.max(peak, occupied(dir))
  })
  checkSome(engine, count, overwrites)
  await engine.close()
  const { calls, disk } = bytesWritten()
  const logical = count * entryBytes
  const put = (1 + overwrites) * logical
  const callBytes = calls - before.calls
  measure.end(overwrites * count, {
    'end ×': end / logical,
    'closed ×': occupied(dir) / logical,
    'peak ×': peak / logical,
    'loaded ×': loaded / logical,
    'written ×': callBytes / put,
    'disk written ×': (disk - before.disk) / put,
    ...facts,
  })
}

/** Collects garbage, so that what is left is what is held. */
function collect(): void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  gc()
}

/** What a store of 1,000,000 entries takes: of the heap, of the process, and by its own account for indexes. */
const memory: Run = async (kind, context, measure) => {
  const count = sized(context, 1_000_000)
  const gets = uniform(sized(context, 200_000), count, 0xabcde)
  const order = shuffled(count, 0x5eed1)
  const use = async (name: string, entries: Int32Array): Promise<Engine> => {
    const dir = join(context.dir, name)
    mkdirSync(dir)
    const engine = await kind.open(dir)
    await fill(engine, entries, 0)
    await engine.settle()
    await quiet(dir)
    for (const i of gets) if (i < entries.length) checkRead(engine, entries[i]!, 0)
    return engine
  }
  // Until there are merges: all code is compiled then, which takes as much of the heap however many entries there are.
  await (await use('warm', order.subarray(0, Math.ceil(0.6 * count)))).close()
  collect()
  const before = process.memoryUsage()
  measure.start()
  const engine = await use('store', order)
  measure.stop()
  collect()
  const after = process.memoryUsage()
  const facts = engine.facts()
  // Slots and sparse indexes are what tables hold in memory, all slots being in use by now.
  const indexBytes = (facts['slotBytes'] ?? 0) + (facts['indexBytes'] ?? 0)
  const index = kind === millrace ? { 'index bytes per key': indexBytes / count } : {}
  measure.end(count + gets.length, {
    'heap bytes per key': Math.max(0, after.heapUsed - before.heapUsed) / count,
    'process MiB more': (after.rss - before.rss) / 2 ** 20,
    'process MiB': after.rss / 2 ** 20,
    ...index,
    ...factNotes(engine),
  })
  await engine.close()
}

const putsPerSecond = 200_000

/**
 * Random puts at a given rate, and how late the event loop is meanwhile: a timer of 1 ms tells, so that 1 ms is the
 * least there can be. Who cannot keep up shows it in the rate.
 */
const loopDelay: Run = async (kind, context, measure) => {
  const seconds = Math.max(2, 10 * context.scale)
  const count = sized(context, 1_000_000)
  const order = shuffled(count, 0xdead)
  await warmUp(kind, context)
  const dir = join(context.dir, 'store')
  mkdirSync(dir)
  const engine = await kind.open(dir)
  const delays = monitorEventLoopDelay({ resolution: 1 })
  let puts = 0
  const batch = (put: (key: Buffer, value: Buffer) => void): void => {
    for (let i = 0; i < batchSize; i++, puts++) {
      const entry = order[puts % count]!
      put(keys.set(entry), values.of(entry, Math.floor(puts / count)))
    }
  }
  delays.enable()
  const started = performance.now()
  measure.start()
  for (;;) {
    const elapsed = (performance.now() - started) / 1000
    if (elapsed >= seconds) break
    if (puts < elapsed * putsPerSecond) await written(engine.write(batch))
    else await sleep(1)
  }
  measure.stop()
  delays.disable()
  measure.end(puts, {
    'p99 ms': delays.percentile(99) / 1e6,
    'p99.9 ms': delays.percentile(99.9) / 1e6,
    'max ms': delays.max / 1e6,
    ...factNotes(engine),
  })
  await engine.close()
}

export const costCases: readonly Case<StorageContext>[] = [
  {
    name: 'space',
    says: '1,000,000 entries overwritten five times in random orders; sizes as multiples of keys and values',
    input: 'none',
    systems: systemsOf([millrace, classicLevel, lmdbNoSync], space),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 1.5 },
      { ours: 'millrace', factor: 1.6, figure: 'end ×', smaller: true },
      { ours: 'millrace', factor: 1.9, figure: 'peak ×', smaller: true },
      { ours: 'millrace', factor: 5, figure: 'written ×', smaller: true },
    ],
    figures: ['end ×', 'closed ×', 'peak ×', 'written ×', 'disk written ×'],
    deadlineSeconds: 600,
  },
  {
    name: 'memory',
    says: 'memory for 1,000,000 entries after loading them and 200,000 gets',
    input: 'none',
    systems: systemsOf([millrace, classicLevel, lmdbNoSync, millraceMemory, map], memory),
    marks: [
      { ours: 'millrace', factor: 6.5, figure: 'index bytes per key', smaller: true },
      { ours: 'millrace', factor: 0.5, figure: 'heap bytes per key', smaller: true },
    ],
    figures: ['index bytes per key', 'heap bytes per key', 'process MiB more', 'process MiB'],
  },
  {
    name: 'loop-delay',
    says: '200,000 random puts a second for 10 seconds in batches of 500; how late a timer of 1 ms is',
    input: 'none',
    systems: systemsOf([millrace, classicLevel, lmdbNoSync, millraceMemory], loopDelay),
    marks: [
      { ours: 'millrace', factor: 10, figure: 'p99 ms', smaller: true },
      { ours: 'millrace', factor: 30, figure: 'max ms', smaller: true },
    ],
    figures: ['p99 ms', 'p99.9 ms', 'max ms'],
  },
]
