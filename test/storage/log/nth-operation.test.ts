/**
 * Operations of the file system fail, one after the other, once and for ever, in a life that opens, writes, loads, flushes,
 * merges, reads and closes: errors have codes, nothing stays open, and what is opened afterwards is a store that existed,
 * with everything that was kept. `SEED=n` for another history, `NTH_EVERY=1` for every operation;
 * nth-operation.long.test.ts fails all of several histories.
 */
import { suite } from '../../support/suite.ts'
import { failOperations } from '../support/nth-operation.ts'

const test = suite('log engine: the Nth operation fails', { deadlineMs: 170_000 })
const seed = Number(process.env['SEED'] ?? 12)
const given = process.env['NTH_EVERY']

for (const [code, forever, every] of [
  ['EIO', false, 1],
  ['EIO', true, 3],
  ['ENOSPC', false, 3],
  ['ENOSPC', true, 3],
] as const) {
  test(`${code}, ${forever ? 'for ever' : 'once'}`, async () => {
    const count = await failOperations({ seed, code, forever, every: Number(given ?? every) })
    console.log(`note: SEED=${seed}: ${count} operations failed ${forever ? 'for ever' : 'once'} with ${code}`)
  })
}

test.run()
