/**
 * Power loss and kills on a simulated disk, at every sync and at random other operations, life after life: the store is
 * always one that existed, with its checkpoint, and not older than what was said to be durable. `SEED=n` runs that seed.
 */
import { suite } from '../../support/suite.ts'
import { newTally, runLives, seedsFrom } from '../support/lives.ts'

const test = suite('log engine: power loss', { deadlineMs: 170_000 })

test('a crash at any sync leaves a store that existed', async () => {
  const tally = newTally()
  const seeds = seedsFrom(1, Number(process.env['CRASH_SEEDS'] ?? 50))
  for (const seed of seeds) await runLives(seed, { lives: 2, moves: 24, moments: 8 }, tally)
  const { crashes, kills, openings } = tally
  console.log(
    `note: seeds from ${seeds[0]}: ${seeds.length}; ${crashes} power losses, ${kills} kills, ${openings} of openings`,
  )
})

test.run()
