/**
 * Every operation of the file system fails, one after the other, once or for ever, in a life that opens, writes, loads,
 * flushes, merges, reads and closes. Shared by the short test and the long one. Stateless.
 */
import { FaultFs, failing, type Operation } from './fault-fs.ts'
import { checkNoOrphans, contentOf } from './inspect.ts'
import { directory, simEngine, storeDir } from './lives.ts'
import { Oracle } from './oracle.ts'
import { runScenario } from './scenario.ts'
import { SimFs } from './sim-fs.ts'

const moves = 16
/** The second life has something to read and to merge. */
const history = { weights: { flush: 14, compact: 6, load: 6, clear: 2, sync: 8, read: 8 } }

/** A disk on which a life has ended well, and where the history stands. */
async function firstLife(seed: number): Promise<{ fs: SimFs; oracle: Oracle }> {
  const fs = new SimFs()
  const oracle = new Oracle(seed, history)
  await runScenario(simEngine(fs), new FaultFs(fs), oracle, { endMove: moves })
  return { fs, oracle }
}

async function failNth(
  start: { fs: SimFs; oracle: Oracle },
  kinds: readonly Operation[],
  at: number,
  forever: boolean,
  code: string,
): Promise<boolean> {
  const fs = start.fs.kill()
  const fault = new FaultFs(fs)
  const oracle = start.oracle.copy()
  const engine = simEngine(fault, { sync: 'interval' })
  // Not of what the system says of processes: a lock that was made without knowing cannot be judged later.
  const set = fault.fail({ kinds, at, forever, code, path: /^\/data/, written: at % 3 === 0 ? 0.5 : 0 })
  const end = await runScenario(engine, fault, oracle, { endMove: 2 * moves })
  if (set.failures === 0) {
    if (end.errors.length > 0) throw end.errors[0]!
    return false
  }
  fault.heal()
  const { kept, durable, begun } = end.bounds
  // A new process, and this one: it does not believe what it could not sync.
  for (const [engineAgain, low] of [
    [simEngine(fs.kill()), kept],
    [engine, durable],
  ] as const) {
    const store = await engineAgain.open(directory)
    if (engineAgain === engine) checkNoOrphans(fs, storeDir)
    const found = contentOf(store)
    start.oracle.copy().locate(found, low, begun)
    await engineAgain.close()
  }
  if (fault.open.length > 0) throw new Error(`left open: ${fault.open.join(' ')}`)
  return true
}

export interface NthOptions {
  readonly seed: number
  readonly code: string
  readonly forever: boolean
  /** Every so many operations; from a different one for each. Default 1: all. */
  readonly every?: number
}

/** Returns how many operations there were to fail; throws when a failure leaves what must not be. */
export async function failOperations({ seed, code, forever, every = 1 }: NthOptions): Promise<number> {
  const start = await firstLife(seed)
  let at = 1 + ((code.length + (forever ? 1 : 0)) % every)
  let count = 0
  try {
    for (; await failNth(start, failing, at, forever, code); at += every) count += 1
  } catch (cause) {
    throw new Error(`SEED=${seed}, operation ${at}: ${(cause as Error).message}`, { cause })
  }
  return count
}
