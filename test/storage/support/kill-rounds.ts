/**
 * Rounds of killing: a process goes on with a history on a real disk and is killed, by chance or at an operation of the
 * file system; what it left is opened here, as a copy, and the next process begins with the original. Owns a
 * temporary directory and one child at a time.
 */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LogEngine } from '../../../src/storage/index.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'
import { SeededRandom } from '../../sim/random.ts'
import type { WorkerOrder } from '../log/kill-worker.ts'
import { checkNoOrphans, contentOf } from './inspect.ts'
import { directory } from './lives.ts'
import { type Model, Oracle, unitsPerMove } from './oracle.ts'

const worker = join(import.meta.dirname, '..', 'log', 'kill-worker.js')

/** What was done. */
export interface KillTally {
  rounds: number
  /** Killed while the store was being opened. */
  openings: number
  /** At an operation of the file system; half-way through a write. */
  atOperation: number
  torn: number
  /** Lives that came to their end before. */
  survived: number
  moves: number
}

/** What a process told before it ended. */
interface Told {
  readonly kept: number
  readonly lastMove: number
  readonly isOpen: boolean
  readonly error: string | undefined
  readonly wasKilled: boolean
}

/** Runs so many rounds; throws when one leaves what must not be. */
export async function killRounds(seed: number, rounds: number): Promise<KillTally> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-kill-'))
  const tally: KillTally = { rounds: 0, openings: 0, atOperation: 0, torn: 0, survived: 0, moves: 0 }
  const random = new SeededRandom(seed)
  const oracle = new Oracle(seed)
  try {
    for (let round = 0; round < rounds; round++) {
      const order = orderOf(join(root, 'live'), seed, oracle.unit, random)
      const told = await kill(order, random)
      if (told.error !== undefined) throw new Error(`seed ${seed}, round ${round}: the process failed: ${told.error}`)
      const high = Math.max(oracle.unit, (told.lastMove + 1) * unitsPerMove - 1)
      const before = oracle.unit
      try {
        const found = await look(root, order)
        oracle.locate(found, Math.max(told.kept, oracle.unit), high)
      } catch (cause) {
        const text = `seed ${seed}, round ${round}, ${JSON.stringify(order)}: ${(cause as Error).message}`
        throw new Error(text, { cause })
      }
      count(tally, order, told)
      tally.moves += Math.floor((oracle.unit - before) / unitsPerMove)
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  return tally
}

function count(tally: KillTally, order: WorkerOrder, told: Told): void {
  tally.rounds += 1
  if (!told.wasKilled) tally.survived += 1
  else if (!told.isOpen) tally.openings += 1
  if (told.wasKilled && order.at > 0) tally[order.when === 'torn' ? 'torn' : 'atOperation'] += 1
}

function orderOf(dir: string, seed: number, unit: number, random: SeededRandom): WorkerOrder {
  const when = random.pick(['before', 'after', 'torn'] as const)
  // By chance, while it opens, or at one of the operations of some hundred moves.
  const at = random.pick([0, random.between(1, 60), random.between(1, 400), random.between(100, 2500)])
  return {
    dir,
    seed,
    unit,
    moves: 300,
    writeBufferBytes: random.pick([4096, 4096, 16_384, 65_536]),
    sync: random.pick(['never', 'interval', 'batch'] as const),
    at: when === 'torn' ? Math.ceil(at / 4) : at,
    when,
  }
}

/** Starts a process and kills it, unless it does so itself. */
function kill(order: WorkerOrder, random: SeededRandom): Promise<Told> {
  const child = spawn(process.execPath, ['--enable-source-maps', worker, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  let timer: NodeJS.Timeout | undefined
  const killAfter = (ms: number): void => {
    timer ??= setTimeout(() => child.kill('SIGKILL'), ms)
  }
  // One that dies by itself gets the time to come there.
  const delay = random.int(120)
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    if (text.startsWith('o')) killAfter(order.at > 0 ? 2000 : delay)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (_code, signal) => {
      clearTimeout(timer)
      // The last line may be cut.
      const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
      const last = (letter: string): string | undefined =>
        lines.findLast((line) => line.startsWith(`${letter} `))?.slice(2)
      resolve({
        kept: Number(last('k') ?? -1),
        lastMove: Number(last('m') ?? -1),
        isOpen: lines[0] === 'o',
        error: last('e'),
        wasKilled: signal === 'SIGKILL',
      })
    })
  })
}

/** What a copy of the store holds, opened twice. */
async function look(root: string, { dir, writeBufferBytes }: WorkerOrder): Promise<Model> {
  const copy = join(root, 'copy')
  if (!existsSync(dir)) return new Oracle(0).model
  cpSync(dir, copy, { recursive: true })
  let first: Model | undefined
  for (let i = 0; i < 2; i++) {
    const engine = new LogEngine({ dir: copy, writeBufferBytes, sync: 'never', cacheBytes: 0 })
    const store = await engine.open(directory)
    checkNoOrphans(nodeFs(), join(copy, 'g', 't', '0'))
    const found = contentOf(store)
    await engine.close()
    if (first !== undefined && !first.equals(found)) throw new Error(`opened twice: ${found.difference(first)}`)
    first = found
  }
  rmSync(copy, { recursive: true })
  return first!
}
