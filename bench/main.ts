/**
 * `npm run bench -- [workload | workload/case …] [--rounds N] [--systems a,b] [--scale F] [--profile] [--dry] [--chart]`
 *
 * Measures millrace and its peers: the Kafka workloads on a real Kafka, the one in KAFKA_BROKERS (its version in
 * KAFKA_VERSION) or one that is fetched and started for it; `storage` on the disk of the temporary directory (TMPDIR).
 * Prints a table per case, writes bench/results/, and exits 1 when a mark is missed or a case fails. Cases marked as
 * extra run only when they are named. `--profile` leaves CPU profiles in bench/.profiles; with `--dry` nothing is written
 * to bench/results; `storage --chart` measures nothing and draws docs/storage-ratios.svg from bench/results.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeError } from '../src/base/errors.ts'
import { runCase, type Settings } from './harness.ts'
import { benchRoot } from './paths.ts'
import { tableOf, writeResult } from './report.ts'
import { drawChart } from './storage/chart.ts'
import { StorageGround } from './storage/ground.ts'
import type { StorageContext } from './storage/run.ts'
import { storage } from './storage/workloads.ts'
import type { Case, Ground, KafkaContext, RunContext, Workload } from './workload.ts'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    systems: { type: 'string', default: '' },
    scale: { type: 'string', default: '1' },
    profile: { type: 'boolean', default: false },
    dry: { type: 'boolean', default: false },
    chart: { type: 'boolean', default: false },
  },
})

interface Chosen<C extends RunContext> {
  readonly workload: Workload<C>
  readonly found: Case<C>
}

function choose<C extends RunContext>(from: readonly Workload<C>[]): Chosen<C>[] {
  const wanted = (workload: string, found: Case<C>): boolean =>
    positionals.includes(`${workload}/${found.name}`) ||
    (found.extra !== true && (positionals.length === 0 || positionals.includes(workload)))
  return from.flatMap((workload) =>
    workload.cases.filter((found) => wanted(workload.name, found)).map((found) => ({ workload, found })),
  )
}

/** Whether no workload on Kafka can be meant: then its code is not even loaded. */
const onlyStorage = positionals.length > 0 && positionals.every((text) => text.split('/')[0] === storage.name)

async function main(): Promise<void> {
  if (given.chart) {
    console.log(`written to ${drawChart()}`)
    return
  }
  const workloads = onlyStorage ? [] : (await import('./workloads.ts')).workloads
  const onKafka = choose(workloads)
  const onDisk = choose([storage])
  if (onKafka.length + onDisk.length === 0) {
    const names = [...workloads, storage].flatMap(({ name, cases }) => cases.map((found) => `${name}/${found.name}`))
    throw new Error(`nothing is called ${positionals.join(', ')}; there are ${names.join(', ')}`)
  }
  if (!existsSync(join(benchRoot, 'node_modules'))) {
    console.log('installing the peers into bench/node_modules')
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: benchRoot, stdio: 'inherit' })
  }
  const profileDir = given.profile ? join(benchRoot, '.profiles') : undefined
  if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
  const settings: Settings = {
    rounds: Number(given.rounds),
    scale: Number(given.scale),
    systems: given.systems === '' ? [] : given.systems.split(','),
    profileDir,
  }
  if (onDisk.length > 0) await measureOnDisk(onDisk, settings)
  if (onKafka.length > 0) await measureOnKafka(onKafka, settings)
}

async function measureOnDisk(chosen: readonly Chosen<StorageContext>[], settings: Settings): Promise<void> {
  const ground = new StorageGround(settings)
  try {
    await measure(chosen, ground, settings)
  } finally {
    ground.remove()
  }
}

async function measureOnKafka(chosen: readonly Chosen<KafkaContext>[], settings: Settings): Promise<void> {
  const { withKafka } = await import('./kafka-ground.ts')
  await withKafka(settings.scale, (ground) => measure(chosen, ground, settings))
}

async function measure<C extends RunContext>(
  chosen: readonly Chosen<C>[],
  ground: Ground<C>,
  settings: Settings,
): Promise<void> {
  for (const { workload, found } of chosen) {
    console.log(`${workload.name} · ${found.name}: ${found.says}`)
    try {
      const result = await runCase(workload, found, ground, settings, console.log)
      console.log(`\n${tableOf(result)}`)
      if (result.marks.some(({ met }) => !met)) process.exitCode = 1
      if (!given.dry) console.log(`written to ${writeResult(result)}`)
    } catch (cause) {
      // The cases after it are measured nevertheless.
      console.error(`${workload.name} · ${found.name} failed: ${describeError(cause)}`)
      process.exitCode = 1
    }
    console.log()
  }
}

await main()
