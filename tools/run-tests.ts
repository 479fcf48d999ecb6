/**
 * Runs the built tests of one tier, each file in a process of its own, and prints one closing line `N passed, N failed`.
 * Usage: node .build/tools/run-tests.js unit|kafka|package|long [part of a path…]
 *   unit     everything that needs Node alone; the system tests run on the embedded broker
 *   kafka    *.kafka.test and the system tests on a real Kafka: KAFKA_BROKERS, or MILLRACE_KAFKA=3.9|4.3 (default 4.3)
 *   package  *.package.test: the packed tarball      long  *.long.test
 * A file that fails shows its whole output, one that passes only lines that begin with `note: ` or `skipped: `. A file
 * that ran no test (no `test.run()`), died or overran counts as a failure.
 * Owns the child processes and the Kafka it started: they end with it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative } from 'node:path'
import { Kafka } from '../test/support/kafka.ts'

const buildDir = join(import.meta.dirname, '..')
const special = /\.(kafka|long|package)\.test\.js$/
const inSystem = /[\\/]test[\\/]system[\\/]/
const endsWith = (suffix: string) => (file: string) => file.endsWith(suffix)
const tiers = {
  unit: { accepts: (file: string) => !special.test(file), parallel: 2, fileDeadlineMs: 180_000 },
  kafka: {
    accepts: (file: string) => file.endsWith('.kafka.test.js') || (inSystem.test(file) && !special.test(file)),
    parallel: 2,
    fileDeadlineMs: 300_000,
  },
  package: { accepts: endsWith('.package.test.js'), parallel: 1, fileDeadlineMs: 300_000 },
  long: { accepts: endsWith('.long.test.js'), parallel: 1, fileDeadlineMs: 3_600_000 },
} as const

interface Outcome {
  readonly passed: number
  readonly failed: number
  readonly output: string
  readonly seconds: number
  readonly fault?: string
}

/** These go first, so that the last worker does not end long after the others. */
const isLong = (file: string): boolean => /\.(sim|kafka)\.test\.js$/.test(file) || inSystem.test(file)

function testFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort((a, b) => Number(isLong(b)) - Number(isLong(a)) || (a < b ? -1 : 1))
}

const running = new Set<ChildProcess>()

function runFile(file: string, deadlineMs: number, env: NodeJS.ProcessEnv): Promise<Outcome> {
  const started = performance.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--enable-source-maps', '--expose-gc', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env, NO_COLOR: '1', FORCE_COLOR: '0' },
    })
    running.add(child)
    let output = ''
    let fault: string | undefined
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (chunk: string) => (output += chunk))
    }
    const timer = setTimeout(() => {
      fault = `killed: not finished after ${deadlineMs / 1000} s`
      child.kill('SIGKILL')
    }, deadlineMs)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      const seconds = (performance.now() - started) / 1000
      resolve({ ...judge(output, code, signal, fault), output, seconds })
    })
  })
}

/** uvu's own exit code is green when a hook throws: the counts of its summary decide, and any doubt is a failure. */
function judge(
  output: string,
  code: number | null,
  signal: string | null,
  fault: string | undefined,
): { passed: number; failed: number; fault?: string } {
  const total = Number(/^ {2}Total: {5}(\d+)$/m.exec(output)?.[1] ?? Number.NaN)
  const passed = Number(/^ {2}Passed: {4}(\d+)$/m.exec(output)?.[1] ?? Number.NaN)
  if (fault !== undefined) return { passed: 0, failed: 1, fault }
  if (Number.isNaN(total) || Number.isNaN(passed)) {
    return {
      passed: 0,
      failed: 1,
      fault: `ended (${signal ?? `code ${code}`}) without a summary: does it call test.run()?`,
    }
  }
  const skipped = Number(/^ {2}Skipped: {3}(\d+)$/m.exec(output)?.[1] ?? 0)
  if (total === 0 && skipped === 0)
    return { passed: 0, failed: 1, fault: 'no test ran: test.run() is missing or nothing is registered' }
  if (total === passed && code !== 0)
    return { passed, failed: 1, fault: `all tests passed, but the process ended with ${signal ?? `code ${code}`}` }
  return { passed, failed: total - passed }
}

/** The unit tier sees no Kafka whatever is set; the kafka tier shares one, started here unless KAFKA_BROKERS names it. */
async function environment(tierName: string, needed: boolean): Promise<{ env: NodeJS.ProcessEnv; kafka?: Kafka }> {
  const { KAFKA_BROKERS: brokers, MILLRACE_KAFKA: version, ...env } = process.env
  if (tierName !== 'kafka') return { env: tierName === 'unit' ? env : process.env }
  if (brokers || !needed) return { env: process.env }
  const kafka = await Kafka.start(version || '4.3')
  console.log(`on Apache Kafka ${kafka.version} at ${kafka.brokers}`)
  return { env: { ...env, KAFKA_BROKERS: kafka.brokers, MILLRACE_KAFKA: version || '4.3' }, kafka }
}

async function main(tierName: string | undefined, filters: readonly string[]): Promise<void> {
  if (tierName === undefined || !Object.hasOwn(tiers, tierName)) {
    console.error(`usage: run-tests ${Object.keys(tiers).join('|')} [part of a path…]`)
    process.exitCode = 2
    return
  }
  const tier = tiers[tierName as keyof typeof tiers]
  const files = testFiles(join(buildDir, 'test')).filter(
    (file) => tier.accepts(file) && (filters.length === 0 || filters.some((part) => file.includes(part))),
  )
  let passed = 0
  let failed = 0
  const { env, kafka } = await environment(tierName, files.length > 0)
  const queue = [...files]
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await runFile(file, tier.fileDeadlineMs, env)
      passed += outcome.passed
      failed += outcome.failed
      const name = relative(buildDir, file).replace(/\.js$/, '.ts')
      const seconds = outcome.seconds.toFixed(1).padStart(6)
      if (outcome.failed === 0) {
        console.log(`ok   ${seconds} s ${String(outcome.passed).padStart(5)}  ${name}`)
        // uvu's bullets stand in front of what a test prints.
        for (const [, line] of outcome.output.matchAll(/(?:^|[•✘] )((?:skipped|note): .*)$/gm))
          console.log(`       ${line}`)
      } else {
        console.log(`FAIL ${seconds} s        ${name}${outcome.fault === undefined ? '' : `: ${outcome.fault}`}`)
        console.log(outcome.output.trimEnd().replaceAll(/^/gm, '     │ '))
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(tier.parallel, Math.max(1, availableParallelism())) }, worker))
  await kafka?.close()
  if (files.length === 0) {
    console.log(`no ${tierName} test matches ${filters.length === 0 ? 'the tier' : filters.join(', ')}`)
    failed += 1
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of running) child.kill('SIGKILL')
    process.exit(130)
  })
}
await main(process.argv[2], process.argv.slice(3))
