/**
 * Every operation of the file system fails, one after the other, once and for ever, in a life that opens, writes, loads,
 * flushes, merges, reads and closes: errors have codes, nothing stays open, and what is opened afterwards is a store that
 * existed, with everything that was kept.
 */
import { suite } from '../../support/suite.ts'
import { FaultFs, failing, type Operation } from '../support/fault-fs.ts'
import { checkNoOrphans, contentOf } from '../support/inspect.ts'
import { directory, simEngine, storeDir } from '../support/lives.ts'
import { Oracle } from '../support/oracle.ts'
import { runScenario } from '../support/scenario.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: the Nth operation fails', { deadlineMs: 170_000 })

const seed = Number(process.env['SEED'] ?? 12)
const moves = 16
/** The second life has something to read and to merge. */
const history = { weights: { flush: 14, compact: 6, load: 6, clear: 2, sync: 8, read: 8 } }

/** A disk on which a life has ended well, and where the history stands. */
async function firstLife(): Promise<{ fs: SimFs; oracle: Oracle }> {
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

for (const code of ['EIO', 'ENOSPC']) {
  for (const forever of [false, true]) {
    test(`${code}, ${forever ? 'for ever' : 'once'}`, async () => {
      const start = await firstLife()
      let at = 1
      try {
        while (await failNth(start, failing, at, forever, code)) at += 1
      } catch (cause) {
        throw new Error(`SEED=${seed}, operation ${at}: ${(cause as Error).message}`, { cause })
      }
      console.log(`note: SEED=${seed}: ${at - 1} operations failed ${forever ? 'for ever' : 'once'} with ${code}`)
    })
  }
}

test.run()
