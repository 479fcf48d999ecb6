/** Many rounds of kill.test.ts: `KILL_ROUNDS=n` (default 500), `SEED=n`. */
import { suite } from '../../support/suite.ts'
import { killRounds } from '../support/kill-rounds.ts'

const test = suite('log engine: kill', { deadlineMs: 3_500_000 })

test('kills by the hundred', async () => {
  const seed = Number(process.env['SEED'] ?? 1 + Math.floor(Math.random() * 1e6))
  let left = Number(process.env['KILL_ROUNDS'] ?? 500)
  // A history of its own for every hundred: stores do not grow for ever.
  for (let i = 0; left > 0; i++, left -= 100) {
    const tally = await killRounds(seed + i, Math.min(100, left))
    console.log(`note: SEED=${seed + i}: ${JSON.stringify(tally)}`)
  }
})

test.run()
