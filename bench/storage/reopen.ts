/** Cases that open a store again: how long until it can be read. */
import type { Case, Mark } from '../workload.ts'
import { classicLevel } from './classic-level.ts'
import { uniform } from './data.ts'
import type { Engine, EngineKind } from './engine.ts'
import { entriesOf, killedInput, unflushed } from './inputs.ts'
import { lmdb, lmdbNoSync } from './lmdb.ts'
import { millrace } from './millrace.ts'
import { checkRead, copyOfInput, factNotes, type Run, type StorageContext, sized, systemsOf, warmUp } from './run.ts'

/** Opens the store and reads one entry; the engine and what took how long. */
async function openAndRead(
  kind: EngineKind,
  dir: string,
  entry: number,
  generation: number,
): Promise<{ engine: Engine; openMs: number; firstGetMs: number }> {
  const started = performance.now()
  const engine = await kind.open(dir)
  const opened = performance.now()
  checkRead(engine, entry, generation)
  return { engine, openMs: opened - started, firstGetMs: performance.now() - opened }
}

/** Loads the code of the system, which is not what is measured: fills a small store, and opens it again as the other one. */
async function loadCode(kind: EngineKind, context: StorageContext): Promise<void> {
  await warmUp(kind, context)
  const { engine } = await openAndRead(kind, `${context.dir}/warm`, 0, 0)
  await engine.close()
}

function reopen(input: string): Run {
  return async (kind, context, measure) => {
    const count = entriesOf(context, input)
    await loadCode(kind, context)
    measure.start()
    const { engine, openMs, firstGetMs } = await openAndRead(kind, context.input!, count >>> 1, 0)
    measure.end(count, { 'open ms': openMs, 'first get ms': firstGetMs, ...factNotes(engine) })
    await engine.close()
  }
}

/** Opens what a killed process left, and then once more: the difference is what the kill costs. */
const reopenAfterKill: Run = async (kind, context, measure) => {
  const count = entriesOf(context, killedInput)
  const writes = uniform(sized(context, unflushed), count, 0x11ed)
  const last = writes[writes.length - 1]!
  const dir = copyOfInput(context)
  await loadCode(kind, context)
  measure.start()
  const { engine, openMs, firstGetMs } = await openAndRead(kind, dir, last, 1)
  measure.stop()
  const facts = factNotes(engine)
  await engine.close()
  const clean = await openAndRead(kind, dir, last, 1)
  await clean.engine.close()
  const notes = { 'open ms': openMs, 'first get ms': firstGetMs, 'for the kill ms': openMs - clean.openMs }
  measure.end(count, { ...notes, ...facts })
}

const openers = [millrace, classicLevel, lmdbNoSync, lmdb]
const figures = ['open ms', 'first get ms']

function mark(factor: number): Mark {
  return { ours: 'millrace', against: 'classic-level', factor, figure: 'open ms', smaller: true }
}

export const reopenCases: readonly Case<StorageContext>[] = [
  {
    name: 'reopen-1m',
    says: 'opening a store of 1,000,000 entries that was closed',
    input: 'shuffled',
    systems: systemsOf(openers, reopen('shuffled')),
    marks: [mark(0.4)],
    figures,
  },
  {
    name: 'reopen-after-kill',
    says: 'opening a store of 1,000,000 entries whose process was killed with 16 MiB not yet in tables',
    input: killedInput,
    systems: systemsOf(openers, reopenAfterKill),
    marks: [{ ours: 'millrace', factor: 300, figure: 'for the kill ms', smaller: true }],
    figures: [...figures, 'for the kill ms'],
  },
  {
    name: 'reopen-10m',
    says: 'opening a store of 10,000,000 entries that was closed',
    input: 'ordered-10m',
    systems: systemsOf([millrace, classicLevel, lmdbNoSync], reopen('ordered-10m')),
    marks: [mark(1)],
    figures,
    extra: true,
  },
]
