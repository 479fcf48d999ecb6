/** Far more of model.test.ts: `MODEL_OPERATIONS` operations (default 1 000 000), seeds from `FIRST_SEED` on, or `SEED=n`. */
import { suite } from '../../support/suite.ts'
import { modelRun } from './model-worlds.ts'

const test = suite('log engine against a model, long', { deadlineMs: 3_500_000 })
const wanted = Number(process.env['MODEL_OPERATIONS'] ?? 1_000_000)
const given = process.env['SEED']
const perRun = 20_000

test(`${wanted} operations`, async () => {
  let total = 0
  let flushed = 0
  let merged = 0
  const steps = new Map<string, number>()
  let seed = Number(given ?? process.env['FIRST_SEED'] ?? 1000)
  for (let runs = 0; total < wanted && (given === undefined || runs === 0); runs++, seed++) {
    const report = await modelRun(seed % 10 === 9 ? 'real' : 'sim', seed, Math.min(perRun, wanted))
    total += report.operations
    flushed += report.flushed
    merged += report.merged
    for (const [kind, count] of report.steps) steps.set(kind, (steps.get(kind) ?? 0) + count)
    if (runs % 10 === 9) console.log(`  up to seed ${seed}: ${total} operations, ${flushed} flushes, ${merged} merges`)
  }
  console.log(`  ${total} operations, ${flushed} flushes, ${merged} merges; the last seed was ${seed - 1}`)
  console.log(`  steps: ${[...steps].map(([kind, count]) => `${kind} ${count}`).join(', ')}`)
})

test.run()
