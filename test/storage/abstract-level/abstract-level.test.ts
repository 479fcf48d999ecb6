/** The public suite of abstract-level, run on the log engine through the adapter: once in memory, once on tables. */
import { createRequire } from 'node:module'
import { suite } from '../../support/suite.ts'
import { MillraceLevel } from './adapter.ts'
import { type Register, TapeRun } from './tape.ts'

const test = suite('log engine: abstract-level', { deadlineMs: 120_000 })
type PublicSuite = (options: { test: Register; factory: (options?: Record<string, unknown>) => MillraceLevel }) => void
const publicSuite = createRequire(import.meta.url)('abstract-level/test') as PublicSuite

for (const flushes of [false, true]) {
  test(flushes ? 'reads from tables' : 'reads from memory', async () => {
    const run = new TapeRun()
    publicSuite({
      test: run.register,
      factory: (options) => new MillraceLevel({ flushes }, options),
    })
    await run.run()
    console.log(`  ${run.tests} tests, ${run.assertions} assertions, ${run.failures.length} failures`)
    if (run.failures.length === 0) return
    throw new Error(run.failures.map(({ name, text }) => `${name}: ${text}`).join('\n'))
  })
}

test.run()
