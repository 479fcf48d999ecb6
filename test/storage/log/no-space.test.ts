/**
 * A disk that becomes full at any write of opening, putting, flushing, merging and of the manifest: the store says so, can
 * be read, leaves nothing half-written that counts, and goes on when there is room. `SEED=n` for another history;
 * no-space.long.test.ts runs many, and fills a real disk.
 */
import { suite } from '../../support/suite.ts'
import { fullAtWrite, fullCodes, fullDisk, newFullTally, startOf, toldText } from '../support/no-space.ts'

const test = suite('log engine: no space', { deadlineMs: 170_000 })
const seed = Number(process.env['SEED'] ?? 2)
const moves = Number(process.env['NO_SPACE_MOVES'] ?? 12)

for (const [i, code] of fullCodes.entries()) {
  test(`${code} at each write`, async () => {
    const start = await startOf(seed, moves)
    const tally = newFullTally()
    let at = 1
    try {
      // Nothing of the write fits, half of it, or all but the end.
      for (let goesOn = true; goesOn; at++) {
        const written = [0, 0.5, 0.98][(at + i) % 3]!
        goesOn = await fullAtWrite(start, { at, code, written, told: 1 + (at % 2) }, tally)
      }
    } catch (cause) {
      throw new Error(`SEED=${seed}, write ${at}: ${(cause as Error).message}`, { cause })
    }
    console.log(`note: SEED=${seed}: full at ${at - 2} writes, ${toldText(tally)}`)
  })
}

test('a disk that is full again and again', async () => {
  const start = await startOf(seed, moves)
  const tally = newFullTally()
  for (let i = seed; i < seed + 6; i++) {
    try {
      await fullDisk(start, i, tally)
    } catch (cause) {
      throw new Error(`SEED=${seed}, disk ${i}: ${(cause as Error).message}`, { cause })
    }
  }
  console.log(`note: SEED=${seed}: ${toldText(tally)}`)
})

test.run()
