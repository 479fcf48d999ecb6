/**
 * The harness: each system in a process of its own, in alternating rounds, and the medians. Owns the children (one at a
 * time) and the temporary directories.
 */
import { execFileSync, fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { benchRoot, projectRoot } from './paths.ts'
import { peerVersions } from './peers.ts'
import { countTopic, createTopic, deleteTopics } from './topics.ts'
import type { Case, Job, Measurement, Workload } from './workload.ts'

export interface Settings {
  readonly brokers: string
  readonly kafkaVersion: string
  readonly rounds: number
  readonly scale: number
  /** Only these systems; empty: all. */
  readonly systems: readonly string[]
  /** Where CPU profiles of the children go; undefined: none. */
  readonly profileDir: string | undefined
}

/** The filled topics of a case. */
export interface Inputs {
  readonly topic: string
  readonly warmTopic: string
}

export interface SystemResult {
  readonly system: string
  readonly rounds: readonly Measurement[]
  /** Medians. */
  readonly recordsPerSecond: number
  readonly cpuSecondsPerMillion: number
  readonly rssMiB: number
}

export interface MarkResult {
  readonly ours: string
  readonly against: string
  readonly factor: number
  /** Median of the ratios of the rounds. */
  readonly reached: number
}

export interface CaseResult {
  readonly workload: string
  readonly case: string
  readonly says: string
  readonly date: string
  readonly commit: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly scale: number
  readonly systems: readonly SystemResult[]
  readonly marks: readonly MarkResult[]
}

/** A child that takes longer is killed, seconds. */
const childDeadline = 300

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >>> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const rateOf = ({ records, seconds }: Measurement): number => records / seconds

/** Runs one system once, in its own process. Rejects with the child's error. */
function runChild(job: Job, settings: Settings): Promise<Measurement> {
  const execArgv =
    settings.profileDir === undefined
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${settings.profileDir}`, `--cpu-prof-name=${fileName(job)}.cpuprofile`]
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('./child.js', import.meta.url)), [], {
      execArgv,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let said = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000)
    })
    let answer: { result?: Measurement; error?: string } | undefined
    const timer = setTimeout(() => child.kill('SIGKILL'), childDeadline * 1000)
    child.once('message', (message) => {
      answer = message as { result?: Measurement; error?: string }
    })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (answer?.result !== undefined) resolve(answer.result)
      else {
        const why = signal === 'SIGKILL' ? `killed after ${childDeadline} s` : `ended with ${code ?? signal}`
        reject(new Error(`${job.workload} ${job.case} ${job.system}: ${answer?.error ?? `${why}\n${said}`}`))
      }
    })
    child.send(job)
  })
}

function fileName(job: Job): string {
  return `${job.workload}-${job.case}-${job.system}`.replaceAll(/[^a-z0-9-]/g, '_')
}

let ids = 0

async function runOnce(
  workload: Workload,
  found: Case,
  system: string,
  inputs: Inputs | undefined,
  settings: Settings,
): Promise<Measurement> {
  ids += 1
  const id = `bench-${process.pid}-${Date.now().toString(36)}-${ids}`
  const own = inputs === undefined ? { topic: `${id}-out`, warmTopic: `${id}-warm` } : undefined
  const dir = mkdtempSync(join(tmpdir(), 'millrace-bench-'))
  try {
    if (own !== undefined) {
      await createTopic(settings.brokers, own.topic)
      await createTopic(settings.brokers, own.warmTopic)
    }
    const topics = own ?? inputs!
    const context = { brokers: settings.brokers, ...topics, id, scale: settings.scale, dir }
    const result = await runChild({ workload: workload.name, case: found.name, system, context }, settings)
    const expected = result.notes['expectedInTopic']
    if (own !== undefined && expected !== undefined) {
      const count = await countTopic(settings.brokers, own.topic)
      if (count !== expected)
        throw new Error(`${found.name} ${system}: ${count} records arrived instead of ${expected}`)
    }
    return result
  } finally {
    if (own !== undefined) await deleteTopics(settings.brokers, [own.topic, own.warmTopic])
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Runs a case: every system once per round, the order turning with each round. `progress` is told of each run. */
export async function runCase(
  workload: Workload,
  found: Case,
  inputs: Inputs | undefined,
  settings: Settings,
  progress: (text: string) => void,
): Promise<CaseResult> {
  const names = Object.keys(found.systems).filter(
    (name) => settings.systems.length === 0 || settings.systems.some((wanted) => name.startsWith(wanted)),
  )
  const measured = new Map<string, Measurement[]>(names.map((name) => [name, []]))
  for (let round = 0; round < settings.rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const system = names[(i + round) % names.length]!
      const result = await runOnce(workload, found, system, inputs, settings)
      measured.get(system)!.push(result)
      const rate = Math.round(rateOf(result) / 100) / 10
      progress(
        `  round ${round + 1}  ${system.padEnd(18)} ${String(rate).padStart(8)} k/s  ${result.seconds.toFixed(1)} s`,
      )
    }
  }
  const systems = names.map((system) => summarize(system, measured.get(system)!))
  const marks = found.marks.flatMap((mark) => {
    const ours = measured.get(mark.ours)
    const against = measured.get(mark.against)
    if (ours === undefined || against === undefined) return []
    return [{ ...mark, reached: median(ours.map((result, i) => rateOf(result) / rateOf(against[i]!))) }]
  })
  return {
    workload: workload.name,
    case: found.name,
    says: found.says,
    date: new Date().toISOString(),
    commit: commitNow(),
    machine: machineNow(),
    versions: versionsNow(settings.kafkaVersion),
    scale: settings.scale,
    systems,
    marks,
  }
}

function summarize(system: string, rounds: readonly Measurement[]): SystemResult {
  return {
    system,
    rounds,
    recordsPerSecond: median(rounds.map(rateOf)),
    cpuSecondsPerMillion: median(rounds.map(({ cpuSeconds, records }) => (cpuSeconds / records) * 1e6)),
    rssMiB: median(rounds.map(({ rssMiB }) => rssMiB)),
  }
}

function git(...args: string[]): string {
  return execFileSync('git', ['-C', projectRoot, ...args], { encoding: 'utf8' }).trim()
}

function commitNow(): string {
  try {
    const dirty = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes'
    return `${git('rev-parse', '--short', 'HEAD')}${dirty}`
  } catch {
    return 'unknown'
  }
}

function machineNow(): Record<string, string | number> {
  const processors = cpus()
  return {
    processor: processors[0]?.model ?? 'unknown',
    processors: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
  }
}

function versionsNow(kafka: string): Record<string, string> {
  const { version } = JSON.parse(readFileSync(join(benchRoot, '..', 'package.json'), 'utf8')) as { version: string }
  return { node: process.version, kafka, millrace: version, ...peerVersions() }
}
