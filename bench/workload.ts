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

/** What every system gets to run. */
export interface RunContext {
  /** A name no earlier run used. */
  readonly id: string
  /** Factor on sizes and durations; 1 unless asked otherwise. */
  readonly scale: number
  /** A directory of the run's own. */
  readonly dir: string
}

/** What a system of a Kafka workload gets. */
export interface KafkaContext extends RunContext {
  readonly brokers: string
  /** The topic that the case reads or writes; made by the ground. */
  readonly topic: string
  /** A smaller one of the same shape, for the warm-up. */
  readonly warmTopic: string
}

export type System<C extends RunContext = KafkaContext> = (context: C, measure: Measure) => Promise<void>

/** Takes the time of the timed part. Called by the system around it, exactly once. */
export interface Measure {
  start(): void
  /** Ends the timed part before its result is known. */
  stop(): void
  /** Gives the result, and ends the timed part if it goes on. `notes` are printed into the result. */
  end(records: number, notes?: Readonly<Record<string, number | string>>): void
}

/** A target: `ours` must reach `factor` × what `against` has. */
export interface Mark {
  readonly ours: string
  /** Absent: `factor` itself is the limit. */
  readonly against?: string
  readonly factor: number
  /** Name of a note that is a number. Absent: the rate. */
  readonly figure?: string
  /** Less is better: `ours` may have at most that much. */
  readonly smaller?: true
}

export interface Case<C extends RunContext = KafkaContext> {
  readonly name: string
  readonly says: string
  readonly systems: Readonly<Record<string, System<C>>>
  readonly marks: readonly Mark[]
  /** What the ground has ready before, the same for every system: its own names for it; `none`: nothing. */
  readonly input: string
  /** Notes that are columns of the table. */
  readonly figures?: readonly string[]
  /** Runs only when it is named: it takes long or needs more than a machine and its disk. */
  readonly extra?: true
  /** A run that takes longer is killed. Default 300 seconds. */
  readonly deadlineSeconds?: number
}

export interface Workload<C extends RunContext = KafkaContext> {
  readonly name: string
  readonly cases: readonly Case<C>[]
}

/** What a workload stands on: makes what its runs need and removes it again. */
export interface Ground<C extends RunContext> {
  /** Versions of what the systems talk to. */
  readonly versions: Readonly<Record<string, string>>
  /** Gives one run of `system` what it needs, and checks what it left. */
  around(
    found: Case<C>,
    system: string,
    own: RunContext,
    run: (context: C) => Promise<Measurement>,
  ): Promise<Measurement>
}

/** What the parent sends to a child. */
export interface Job {
  readonly workload: string
  readonly case: string
  readonly system: string
  readonly context: RunContext
  /** Killed after it has answered, with whatever it has open. */
  readonly killed?: true
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
