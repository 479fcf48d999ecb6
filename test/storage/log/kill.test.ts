/**
 * A process that writes is killed, and what it left is opened: the store is one that existed, with its checkpoint and at
 * least what commits had returned for, in order, whole, and without files that nobody needs. `SEED=n` runs that seed;
 * kill.long.test.ts runs more rounds.
 */
import { suite } from '../../support/suite.ts'
import { killRounds } from '../support/kill-rounds.ts'

const test = suite('log engine: kill', { deadlineMs: 170_000 })

test('a kill at any moment leaves a store that existed', async () => {
  const seed = Number(process.env['SEED'] ?? 1 + Math.floor(Math.random() * 1e6))
  const tally = await killRounds(seed, Number(process.env['KILL_ROUNDS'] ?? 15))
  const { rounds, openings, atOperation, torn, moves } = tally
  console.log(
    `note: SEED=${seed}: ${rounds} rounds, ${moves} moves: ${openings} killed while opening, ${atOperation} at an operation, ${torn} half-way through a write`,
  )
})

test.run()
