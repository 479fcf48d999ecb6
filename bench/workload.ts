/** What a benchmark consists of: workloads, their cases, the systems that run them, and what a child process reports. */

/** What one system did in one process, measured by itself. */
export interface Measurement {
  /** Records of the timed part. */
  readonly records: number
  readonly seconds: number
  /** User and system time of the process in the timed part, seconds. */
  readonly cpuSeconds: number
  /** Highest resident set of the process's life, MiB. */
  readonly rssMiB: number
  /** What else the case wants to keep: counts that were checked, latencies. */
  readonly notes: Readonly<Record<string, number | string>>
}

/** What a system needs to run. */
export interface RunContext {
  readonly brokers: string
  /** The topic that the case reads or writes; made by the harness. */
  readonly topic: string
  /** A smaller one of the same shape, for the warm-up. */
  readonly warmTopic: string
  /** A name no earlier run used. */
  readonly id: string
  /** Factor on sizes and durations; 1 unless asked otherwise. */
  readonly scale: number
  /** A directory of the run's own. */
  readonly dir: string
}

export type System = (context: RunContext, measure: Measure) => Promise<void>

/** Takes the time of the timed part. Called by the system around it, exactly once. */
export interface Measure {
  start(): void
  /** Ends the timed part. `notes` are printed into the result. */
  end(records: number, notes?: Readonly<Record<string, number | string>>): void
}

/** A target: `ours` must reach `factor` × the rate of `against`. */
export interface Mark {
  readonly ours: string
  readonly against: string
  readonly factor: number
}

export interface Case {
  readonly name: string
  readonly says: string
  readonly systems: Readonly<Record<string, System>>
  readonly marks: readonly Mark[]
  /** Records the harness puts into the topics before, so that every system reads the same. 0: none. */
  readonly input: 'none' | 'plain' | 'keyed'
}

export interface Workload {
  readonly name: string
  readonly cases: readonly Case[]
}

/** What the parent sends to a child. */
export interface Job {
  readonly workload: string
  readonly case: string
  readonly system: string
  readonly context: RunContext
}

/** Runs `work` until both limits are reached; returns how often. */
export async function repeat(minSeconds: number, minTimes: number, work: () => Promise<void>): Promise<number> {
  const started = process.hrtime.bigint()
  let times = 0
  while (times < minTimes || Number(process.hrtime.bigint() - started) < minSeconds * 1e9) {
    await work()
    times += 1
  }
  return times
}

/** Throws unless the system did what it says. */
export function check(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${what}: ${found}, expected ${expected}`)
}
