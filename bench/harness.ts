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
import type { Case, Ground, Job, Mark, Measurement, RunContext, Workload } from './workload.ts'

export interface Settings {
  readonly rounds: number
  readonly scale: number
  /** Only these systems; empty: all. */
  readonly systems: readonly string[]
  /** Where CPU profiles of the children go; undefined: none. */
  readonly profileDir: string | undefined
}

export interface SystemResult {
  readonly system: string
  readonly rounds: readonly Measurement[]
  /** Medians. */
  readonly recordsPerSecond: number
  readonly cpuSecondsPerMillion: number
  readonly rssMiB: number
  /** Of the notes that are numbers. */
  readonly figures: Readonly<Record<string, number>>
}

export interface MarkResult extends Mark {
  /** Median of the rounds: of the ratios, or of the figure where there is nothing to compare with. */
  readonly reached: number
  readonly met: boolean
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
  /** Notes that are columns of the table. */
  readonly columns: readonly string[]
  readonly systems: readonly SystemResult[]
  readonly marks: readonly MarkResult[]
}

const defaultDeadlineSeconds = 300

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >>> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const rateOf = ({ records, seconds }: Measurement): number => records / seconds

/** Runs one system once, in its own process. Rejects with the child's error, or when it takes longer than the deadline. */
export function runChild(job: Job, settings: Settings, deadlineSeconds = defaultDeadlineSeconds): Promise<Measurement> {
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
    const timer = setTimeout(() => child.kill('SIGKILL'), deadlineSeconds * 1000)
    child.once('message', (message) => {
      answer = message as { result?: Measurement; error?: string }
    })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (answer?.result !== undefined) resolve(answer.result)
      else {
        const why = signal === 'SIGKILL' ? `killed after ${deadlineSeconds} s` : `ended with ${code ?? signal}`
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

async function runOnce<C extends RunContext>(
  workload: Workload<C>,
  found: Case<C>,
  system: string,
  ground: Ground<C>,
  settings: Settings,
): Promise<Measurement> {
  ids += 1
  const id = `bench-${process.pid}-${Date.now().toString(36)}-${ids}`
  const dir = mkdtempSync(join(tmpdir(), 'millrace-bench-'))
  try {
    return await ground.around(found, system, { id, scale: settings.scale, dir }, (context) =>
      runChild({ workload: workload.name, case: found.name, system, context }, settings, found.deadlineSeconds),
    )
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The figure of a mark in one run; undefined when the run has none. */
function figureOf({ figure }: Mark, result: Measurement): number | undefined {
  if (figure === undefined) return rateOf(result)
  const value = result.notes[figure]
  return typeof value === 'number' ? value : undefined
}

/** What `measured` says of a mark; undefined when one of its systems was not run. */
function judge(mark: Mark, measured: ReadonlyMap<string, readonly Measurement[]>): MarkResult | undefined {
  const ours = measured.get(mark.ours)
  const against = mark.against === undefined ? undefined : measured.get(mark.against)
  if (ours === undefined || (mark.against !== undefined && against === undefined)) return undefined
  const values = ours.map((result, i) => {
    const value = figureOf(mark, result) ?? Number.NaN
    return against === undefined ? value : value / (figureOf(mark, against[i]!) ?? Number.NaN)
  })
  const reached = median(values)
  return { ...mark, reached, met: mark.smaller === true ? reached <= mark.factor : reached >= mark.factor }
}

/** Whether `--systems` asks for `name`: itself, or the ways of one system. */
function isWanted(name: string, { systems }: Settings): boolean {
  return systems.length === 0 || systems.some((wanted) => name === wanted || name.startsWith(`${wanted} `))
}

/** Runs a case: every system once per round, the order turning with each round. `progress` is told of each run. */
export async function runCase<C extends RunContext>(
  workload: Workload<C>,
  found: Case<C>,
  ground: Ground<C>,
  settings: Settings,
  progress: (text: string) => void,
): Promise<CaseResult> {
  const names = Object.keys(found.systems).filter((name) => isWanted(name, settings))
  const measured = new Map<string, Measurement[]>(names.map((name) => [name, []]))
  for (let round = 0; round < settings.rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const system = names[(i + round) % names.length]!
      const result = await runOnce(workload, found, system, ground, settings)
      measured.get(system)!.push(result)
      const rate = Math.round(rateOf(result) / 100) / 10
      progress(
        `  round ${round + 1}  ${system.padEnd(18)} ${String(rate).padStart(8)} k/s  ${result.seconds.toFixed(1)} s`,
      )
    }
  }
  const systems = names.map((system) => summarize(system, measured.get(system)!))
  const marks = found.marks.flatMap((mark) => judge(mark, measured) ?? [])
  return {
    workload: workload.name,
    case: found.name,
    says: found.says,
    date: new Date().toISOString(),
    commit: commitNow(),
    machine: machineNow(),
    versions: versionsNow(ground.versions),
    scale: settings.scale,
    columns: found.figures ?? [],
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
    figures: figuresOf(rounds),
  }
}

function figuresOf(rounds: readonly Measurement[]): Record<string, number> {
  const figures: Record<string, number> = {}
  for (const name of Object.keys(rounds[0]?.notes ?? {})) {
    const values = rounds.map(({ notes }) => notes[name])
    if (values.every((value) => typeof value === 'number')) figures[name] = median(values)
  }
  return figures
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

function versionsNow(ground: Readonly<Record<string, string>>): Record<string, string> {
  const { version } = JSON.parse(readFileSync(join(benchRoot, '..', 'package.json'), 'utf8')) as { version: string }
  return { node: process.version, ...ground, millrace: version, ...peerVersions() }
}
