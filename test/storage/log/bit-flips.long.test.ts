/** Every bit of small stores of several seeds flipped, each time with a scrub: none may stay unnoticed. FIRST_SEED, SEEDS. */
import { suite } from '../../support/suite.ts'
import { flipBits, printTallies } from '../support/bit-flips.ts'
import { smallStore } from '../support/small-store.ts'

const test = suite('log engine: all bits flipped', { deadlineMs: 1_800_000 })
const first = Number(process.env['FIRST_SEED'] ?? 1)
const seeds = Number(process.env['SEEDS'] ?? 2)

for (let seed = first; seed < first + seeds; seed++) {
  test(`seed ${seed}`, async () => {
    printTallies(await flipBits(await smallStore(seed), { every: 1, scrubEvery: 1 }))
  })
}

test.run()
