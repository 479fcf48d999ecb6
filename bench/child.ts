/** The process of one system in one round: gets a Job from its parent, runs it, answers with the Measurement or fails. */
import type { Job, Measure, Measurement, System } from './workload.ts'

class Stopwatch implements Measure {
  result: Measurement | undefined
  #started = 0n
  #cpu: NodeJS.CpuUsage | undefined
  #stopped: { readonly seconds: number; readonly cpuSeconds: number } | undefined

  start(): void {
    this.#cpu = process.cpuUsage()
    this.#started = process.hrtime.bigint()
  }

  stop(): void {
    const seconds = Number(process.hrtime.bigint() - this.#started) / 1e9
    if (this.#cpu === undefined || this.#stopped !== undefined) throw new Error('the time must be taken exactly once')
    const { user, system } = process.cpuUsage(this.#cpu)
    this.#stopped = { seconds, cpuSeconds: (user + system) / 1e6 }
  }

  end(records: number, notes: Readonly<Record<string, number | string>> = {}): void {
    if (this.#stopped === undefined) this.stop()
    // maxRSS is in KiB.
    this.result = { records, ...this.#stopped!, rssMiB: process.resourceUsage().maxRSS / 1024, notes }
  }
}

/** Only the modules of the job's own kind are loaded: the others would be in its memory. */
async function find(job: Job): Promise<System<never> | undefined> {
  const { workloads } = job.workload.startsWith('storage')
    ? await import('./storage/workloads.ts')
    : await import('./workloads.ts')
  for (const { name, cases } of workloads) {
    if (name === job.workload) return cases.find((found) => found.name === job.case)?.systems[job.system]
  }
  return undefined
}

async function run(job: Job): Promise<Measurement> {
  const system = await find(job)
  if (system === undefined) throw new Error(`there is no ${job.workload} ${job.case} ${job.system}`)
  const watch = new Stopwatch()
  // Its ground made the context as its workload wants it.
  await system(job.context as never, watch)
  if (watch.result === undefined) throw new Error('the system took no time')
  return watch.result
}

process.once('message', (job: Job) => {
  run(job).then(
    // Whatever a peer leaves running ends here; a profile is still written.
    (result) => process.send?.({ result }, () => (job.killed ? process.kill(process.pid, 'SIGKILL') : process.exit(0))),
    (cause: unknown) => {
      const error = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
      process.send?.({ error }, () => process.exit(1))
    },
  )
})
