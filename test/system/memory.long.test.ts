/** Memory is bounded: 5 million records need no more than 1 million. */
import { memorySuite } from './memory.ts'

const last = Number(process.env['MEMORY_RECORDS'] || 5_000_000)
memorySuite('memory (millions)', { first: last / 5, last, keys: 100_000, deadlineMs: 900_000 }).run()
