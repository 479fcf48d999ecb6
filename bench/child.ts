/** The process of one system in one round: gets a Job from its parent, runs it, answers with the Measurement or fails. */
import type { Job, Measure, Measurement } from './workload.ts'
import { workloads } from './workloads.ts'

class Stopwatch implements Measure {
  result: Measurement | undefined
  #started = 0n
  #cpu: NodeJS.CpuUsage | undefined

  start(): void {
    this.#cpu = process.cpuUsage()
    this.#started = process.hrtime.bigint()
  }

  end(records: number, notes: Readonly<Record<string, number | string>> = {}): void {
    const seconds = Number(process.hrtime.bigint() - this.#started) / 1e9
    if (this.#cpu === undefined || this.result !== undefined) throw new Error('the time must be taken exactly once')
    const { user, system } = process.cpuUsage(this.#cpu)
    // maxRSS is in KiB.
    const rssMiB = process.resourceUsage().maxRSS / 1024
    this.result = { records, seconds, cpuSeconds: (user + system) / 1e6, rssMiB, notes }
  }
}

async function run(job: Job): Promise<Measurement> {
  const found = workloads.find(({ name }) => name === job.workload)?.cases.find(({ name }) => name === job.case)
  const system = found?.systems[job.system]
  if (system === undefined) throw new Error(`there is no ${job.workload} ${job.case} ${job.system}`)
  const watch = new Stopwatch()
  await system(job.context, watch)
  if (watch.result === undefined) throw new Error('the system took no time')
  return watch.result
}

process.once('message', (job: Job) => {
  run(job).then(
    // Whatever a peer leaves running ends here; a profile is still written.
    (result) => process.send?.({ result }, () => process.exit(0)),
    (cause: unknown) => {
      const error = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
      process.send?.({ error }, () => process.exit(1))
    },
  )
})
