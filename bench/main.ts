/**
 * `npm run bench -- [workload | workload/case …] [--rounds N] [--systems a,b] [--scale F] [--profile] [--dry]`
 *
 * Measures millrace and its peers on a real Kafka: the one in KAFKA_BROKERS (its version in KAFKA_VERSION), or one that is
 * fetched and started for it. Prints a table per case, writes bench/results/, and exits 1 when a mark is missed.
 * `--profile` leaves CPU profiles in bench/.profiles; with `--dry` nothing is written to bench/results.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Kafka } from '../test/support/kafka.ts'
import { consumedRecords, warmRecords } from './consumer.ts'
import { counterRecords, counterWarmRecords } from './counter.ts'
import { type Inputs, runCase, type Settings } from './harness.ts'
import { benchRoot } from './paths.ts'
import { tableOf, writeResult } from './report.ts'
import { deleteTopics, fillTopic } from './topics.ts'
import { workloads } from './workloads.ts'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    systems: { type: 'string', default: '' },
    scale: { type: 'string', default: '1' },
    profile: { type: 'boolean', default: false },
    dry: { type: 'boolean', default: false },
  },
})

function wanted(workload: string, name: string): boolean {
  if (positionals.length === 0) return true
  return positionals.some((text) => text === workload || text === `${workload}/${name}`)
}

/** The heap and collector of a usual broker, not the quick start of the tests. */
const brokerJvm = ['-Xms1g', '-Xmx1g', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20']
const brokerConfig = { 'log.segment.bytes': '268435456', 'group.initial.rebalance.delay.ms': '0' }

async function main(): Promise<void> {
  if (!existsSync(join(benchRoot, 'node_modules'))) {
    console.log('installing the peers into bench/node_modules')
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: benchRoot, stdio: 'inherit' })
  }
  const chosen = workloads.flatMap((workload) =>
    workload.cases.filter(({ name }) => wanted(workload.name, name)).map((found) => ({ workload, found })),
  )
  if (chosen.length === 0) {
    const names = workloads.flatMap(({ name, cases }) => cases.map((found) => `${name}/${found.name}`))
    throw new Error(`nothing is called ${positionals.join(', ')}; there are ${names.join(', ')}`)
  }
  const address = process.env['KAFKA_BROKERS']
  const kafka = address === undefined ? await Kafka.start('4.3', { jvm: brokerJvm, config: brokerConfig }) : undefined
  try {
    const profileDir = given.profile ? join(benchRoot, '.profiles') : undefined
    if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
    const settings: Settings = {
      brokers: kafka?.brokers ?? address!,
      kafkaVersion: kafka?.version ?? process.env['KAFKA_VERSION'] ?? 'unknown',
      rounds: Number(given.rounds),
      scale: Number(given.scale),
      systems: given.systems === '' ? [] : given.systems.split(','),
      profileDir,
    }
    await warmBroker(settings.brokers)
    const inputs = new Map<string, Inputs>()
    for (const { workload, found } of chosen) {
      console.log(`${workload.name} · ${found.name}: ${found.says}`)
      if (found.input !== 'none' && !inputs.has(found.input)) {
        inputs.set(found.input, await prepare(found.input, settings))
      }
      const result = await runCase(workload, found, inputs.get(found.input), settings, console.log)
      console.log(`\n${tableOf(result)}`)
      if (result.marks.some(({ reached, factor }) => reached < factor)) process.exitCode = 1
      if (!given.dry) console.log(`written to ${writeResult(result)}`)
      console.log()
    }
  } finally {
    await kafka?.close()
  }
}

/** A broker that has just been started is slow: whoever is measured first would pay for its compiler. */
async function warmBroker(brokers: string): Promise<void> {
  const topic = `bench-${process.pid}-${Date.now().toString(36)}-warm`
  await fillTopic(brokers, topic, 2_000_000)
  await deleteTopics(brokers, [topic])
}

/** The topics that all systems of a case read. */
async function prepare(input: 'plain' | 'keyed', { brokers, scale }: Settings): Promise<Inputs> {
  const id = `bench-${process.pid}-${Date.now().toString(36)}`
  const [count, warm] = input === 'plain' ? [consumedRecords, warmRecords] : [counterRecords, counterWarmRecords]
  const inputs = { topic: `${id}-${input}`, warmTopic: `${id}-${input}-warm` }
  await fillTopic(brokers, inputs.topic, Math.round(count * scale))
  await fillTopic(brokers, inputs.warmTopic, Math.round(warm * scale))
  return inputs
}

await main()
