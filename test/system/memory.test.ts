/** Memory is bounded, over as many records as `npm test` has time for; memory.long.test has the millions. */
import { memorySuite } from './memory.ts'

const last = Number(process.env['MEMORY_RECORDS'] || 1_000_000)
memorySuite('memory (system)', { first: last / 5, last, keys: 20_000, deadlineMs: 120_000 }).run()
