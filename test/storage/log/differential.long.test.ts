/** Far more of differential.test.ts: `STEPS` of each seed (default 4000), `SEEDS` (default 6), `SEED=n` for one seed. */
import { suite } from '../../support/suite.ts'
import { compareWithLevel } from '../support/differential.ts'

const test = suite('log engine beside LevelDB, long', { deadlineMs: 1_800_000 })

compareWithLevel(test, Number(process.env['STEPS'] ?? 4000), Number(process.env['SEEDS'] ?? 6))
test.run()
