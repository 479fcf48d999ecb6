/** All of nth-operation.test.ts for `NTH_SEEDS` histories (default 4), from `FIRST_SEED` on. */
import { suite } from '../../support/suite.ts'
import { failOperations } from '../support/nth-operation.ts'

const test = suite('log engine: every operation fails', { deadlineMs: 1_800_000 })
const first = Number(process.env['FIRST_SEED'] ?? 101)
const seeds = Number(process.env['NTH_SEEDS'] ?? 4)

for (let seed = first; seed < first + seeds; seed++) {
  test(`seed ${seed}`, async () => {
    let count = 0
    for (const code of ['EIO', 'ENOSPC', 'EMFILE', 'EACCES']) {
      for (const forever of [false, true]) count += await failOperations({ seed, code, forever })
    }
    console.log(`note: SEED=${seed}: ${count} operations failed`)
  })
}

test.run()
