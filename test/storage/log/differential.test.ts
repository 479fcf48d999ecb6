/** The same operations on LevelDB and on the log engine. `STEPS` of each seed (default 300), `SEED=n` for one seed. */
import { suite } from '../../support/suite.ts'
import { compareWithLevel } from '../support/differential.ts'

const test = suite('log engine beside LevelDB', { deadlineMs: 60_000 })

compareWithLevel(test, Number(process.env['STEPS'] ?? 300), 2)
test.run()
