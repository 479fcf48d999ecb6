/**
 * The log engine against a model: what model-run.ts does, on a simulated disk and clock and on the real ones. The same
 * seeds each time, or `SEED=n` for one. model.long.test.ts does more of it.
 */
import { suite } from '../../support/suite.ts'
import { modelRun, seedsOf } from './model-worlds.ts'

const test = suite('log engine against a model', { deadlineMs: 60_000 })

for (const [kind, first, runs, operations] of [
  ['sim', 1, 12, 1500],
  ['real', 101, 2, 1000],
] as const) {
  test(`${runs} runs, ${kind} disk and clock`, async () => {
    let total = 0
    let flushed = 0
    let merged = 0
    const seeds = seedsOf(first, runs)
    for (const seed of seeds) {
      const report = await modelRun(kind, seed, operations)
      total += report.operations
      flushed += report.flushed
      merged += report.merged
    }
    console.log(`  seeds ${seeds[0]}–${seeds.at(-1)}: ${total} operations, ${flushed} flushes, ${merged} merges`)
  })
}

test.run()
