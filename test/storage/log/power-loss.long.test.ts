/**
 * Many seeds of power-loss.test.ts: `CRASH_SEEDS=n` (default 1000), and with manifests that grow long, which takes far
 * more of each, `REWRITE_SEEDS=n` (default 4); `SEED=n` for one.
 */
import { suite } from '../../support/suite.ts'
import { newTally, runLives, seedsFrom } from '../support/lives.ts'

const test = suite('log engine: power loss', { deadlineMs: 3_500_000 })

test('crashes by the thousand', async () => {
  const tally = newTally()
  const seeds = seedsFrom(1001, Number(process.env['CRASH_SEEDS'] ?? 1000))
  for (const seed of seeds) await runLives(seed, { lives: 4, moves: 30, moments: 25, chance: 0.04 }, tally)
  console.log(`note: seeds from ${seeds[0]}: ${seeds.length}; ${JSON.stringify(tally)}`)
})

test('crashes while the manifest is written anew', async () => {
  const tally = newTally()
  const history = { stateBytes: 1024, weights: { flush: 40, batch: 60, turn: 4 } }
  const seeds = seedsFrom(1, Number(process.env['REWRITE_SEEDS'] ?? 4))
  for (const seed of seeds) await runLives(seed, { lives: 2, moves: 700, moments: 40, history }, tally)
  console.log(`note: seeds from ${seeds[0]}: ${seeds.length}; ${JSON.stringify(tally)}`)
})

test.run()
