/** All of failed-sync.test.ts for `SYNC_SEEDS` histories (default 10), from `FIRST_SEED` on. */
import { suite } from '../../support/suite.ts'
import { failSyncs } from '../support/failed-sync.ts'

const test = suite('log engine: every sync fails', { deadlineMs: 1_800_000 })
const first = Number(process.env['FIRST_SEED'] ?? 201)
const seeds = Number(process.env['SYNC_SEEDS'] ?? 10)

for (const sync of ['interval', 'batch', 'never'] as const) {
  test(`with sync: ${sync}`, async () => {
    let count = 0
    for (let seed = first; seed < first + seeds; seed++) count += await failSyncs({ seed, sync })
    console.log(`note: seeds ${first}–${first + seeds - 1}: ${count} syncs failed`)
  })
}

test.run()
