/**
 * Gets of many keys at once from tables that do not fit into memory: each run joins a control group whose limit is a
 * quarter of the data, and reads for so many seconds, however many gets these are. Who runs it makes the group
 * (`mkdir /sys/fs/cgroup/memory/bench`, BENCH_CGROUP=that) and removes it.
 */
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { Numbers } from '../payload.ts'
import type { Case } from '../workload.ts'
import { classicLevel } from './classic-level.ts'
import { entryBytes, numberOf } from './data.ts'
import type { Engine } from './engine.ts'
import { entriesOf } from './inputs.ts'
import { millrace } from './millrace.ts'
import { copyOfInput, factNotes, keys, Latencies, type Run, type StorageContext, systemsOf } from './run.ts'

const input = 'ordered-5m'
const batchKeys = 500
/** By then the pages in memory are those that random gets leave there, and not those of the copy. */
const warmSeconds = 20
const measuredSeconds = 30
/** The limit is this share of keys and values. */
const share = 1 / 4
/**
 * But not less: what a system takes itself counts too (8 to 16 MiB of cache, the JavaScript heap, millrace's 6.5 bytes of
 * index per key, a copy of each batch's values), and with less than this there would be no pages of tables at all.
 */
const leastMiB = 96

/** The file with the limit: of the first version of control groups, and of the second. */
const limitFiles = ['memory.limit_in_bytes', 'memory.max']

/** Moves this process into the group that BENCH_CGROUP names and limits it; the limit, MiB. */
function joinGroup(entries: number): number {
  const group = process.env['BENCH_CGROUP']
  if (group === undefined)
    throw new Error('BENCH_CGROUP must be the directory of a control group for memory, open to us')
  const limitFile = limitFiles.map((name) => join(group, name)).find((path) => existsSync(path))
  if (limitFile === undefined) throw new Error(`${group} is no control group that limits memory`)
  const limitMiB = Math.max(leastMiB, Math.round((entries * entryBytes * share) / 2 ** 20))
  writeFileSync(limitFile, String(limitMiB * 2 ** 20))
  writeFileSync(join(group, 'cgroup.procs'), String(process.pid))
  if (!readFileSync('/proc/self/cgroup', 'utf8').includes(basename(group))) throw new Error(`not in ${group}`)
  return limitMiB
}

/**
 * The input, copied inside the group so that its pages count there: those of the input itself count for whoever read
 * them first. Synced, so that nothing is written while gets are measured.
 */
function copyInGroup(context: StorageContext): string {
  const dir = copyOfInput(context)
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const fd = openSync(join(entry.parentPath, entry.name), 'r+')
    fdatasyncSync(fd)
    closeSync(fd)
  }
  return dir
}

/** Bytes that this process had read from the disk, into the page cache or past it, by now. */
function bytesFromDisk(): number {
  return Number(/^read_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
}

/**
 * How far the system reads ahead on the disk of `dir`, KiB: 128 unless somebody set it. It counts for a peer that maps
 * its files, where the system guesses from page faults what is read next.
 */
function readAheadKiB(dir: string): number {
  const { dev } = statSync(dir)
  const major = (dev >>> 8) & 0xfff
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00)
  return Number(readFileSync(`/sys/class/bdi/${major}:${minor}/read_ahead_kb`, 'utf8'))
}

/** Reads batches of keys, all equally likely. */
class Reader {
  times = new Latencies()
  batches = 0
  readonly #engine: Engine
  readonly #entries: number
  readonly #numbers = new Numbers(0xabcde)
  readonly #picks = new Int32Array(batchKeys)
  readonly #keys = Array.from({ length: batchKeys }, () => Buffer.alloc(16))

  constructor(engine: Engine, entries: number) {
    this.#engine = engine
    this.#entries = entries
  }

  /** Batch after batch until the time is over. */
  async read(seconds: number): Promise<void> {
    this.times = new Latencies()
    this.batches = 0
    const end = performance.now() + 1000 * seconds
    while (performance.now() < end) await this.#batch()
  }

  async #batch(): Promise<void> {
    const picks = this.#picks
    for (let i = 0; i < batchKeys; i++) {
      picks[i] = this.#numbers.next(this.#entries)
      keys.set(picks[i]!).copy(this.#keys[i]!)
    }
    this.times.start()
    const found = await this.#engine.readMany(this.#keys)
    this.times.stop()
    this.batches += 1
    for (let i = 0; i < batchKeys; i++) {
      if (found[i] !== numberOf(picks[i]!, 0)) throw new Error(`a get gave value number ${found[i]}`)
    }
  }
}

const getsInLittleMemory: Run = async (kind, context, measure) => {
  const entries = entriesOf(context, input)
  const limitMiB = joinGroup(entries)
  const dir = copyInGroup(context)
  const engine = await kind.open(dir)
  const reader = new Reader(engine, entries)
  const preads = (): number | undefined => engine.facts()['preads']
  await reader.read(Math.max(1, warmSeconds * context.scale))
  const before = { preads: preads(), bytes: bytesFromDisk() }
  measure.start()
  await reader.read(Math.max(2, measuredSeconds * context.scale))
  measure.stop()
  const gets = reader.batches * batchKeys
  const after = preads()
  measure.end(gets, {
    ...reader.times.notes('ms'),
    ...(after === undefined || before.preads === undefined ? {} : { 'preads per hit': (after - before.preads) / gets }),
    'disk bytes per get': (bytesFromDisk() - before.bytes) / gets,
    'limit MiB': limitMiB,
    'read-ahead KiB': readAheadKiB(dir),
    ...factNotes(engine),
  })
  await engine.close()
}

/**
 * Five million entries are the fewest with a limit that is a quarter of them (138 MiB) and still leaves most of itself to
 * pages of tables: 31 MiB are millrace's index, 16 its cache.
 */
export const coldCases: readonly Case<StorageContext>[] = [
  {
    name: 'get-many-cold',
    says: 'gets of 500 keys at once of 5,000,000 entries, all equally likely, in memory for a quarter of them',
    input,
    systems: systemsOf([millrace, classicLevel], getsInLittleMemory),
    marks: [
      { ours: 'millrace', against: 'classic-level', factor: 1 },
      { ours: 'millrace', factor: 1.05, figure: 'preads per hit', smaller: true },
    ],
    figures: ['p50 ms', 'p99 ms', 'preads per hit', 'disk bytes per get', 'limit MiB', 'read-ahead KiB'],
    extra: true,
  },
]
