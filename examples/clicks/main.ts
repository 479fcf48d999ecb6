/**
 * The click counter: an emitter writes clicks of ten users, a processor counts them in its group table, a view of that
 * table is served over HTTP. Runs on the embedded broker, with everything in memory, or on the Kafka that KAFKA_BROKERS
 * names, with its tables on disk: kill it and start it again, and it goes on from there. See arguments.ts.
 */
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Millrace, type Emitter, type View } from 'millrace'
import { type Arguments, parseArguments, usage } from './arguments.ts'
import { drained } from './drained.ts'
import { clicks, counter, users } from './graph.ts'
import { servePage } from './page.ts'

const brokers = process.env['KAFKA_BROKERS'] || 'embedded:'

/** Where the tables are: of each Kafka and group a folder of its own. The embedded broker's end with the process. */
function stateDirectory(given: string | undefined): string | undefined {
  if (brokers === 'embedded:') return undefined
  if (given !== undefined) return resolve(given)
  return join(tmpdir(), `millrace-clicks-${counter.name}-${brokers.replaceAll(/[^\w.-]+/g, '_')}`)
}

/** Clicks sent in this run, by user. */
type Sent = Map<string, number>

/** Sends until `limit` clicks are acknowledged or the signal fires. */
async function click(
  emitter: Emitter<string>,
  { clicks: limit = Infinity, rate }: Arguments,
  sent: Sent,
  signal: AbortSignal,
) {
  const started = performance.now()
  for (let total = 0; total < limit && !signal.aborted; ) {
    const due = Number.isFinite(rate) ? Math.floor(((performance.now() - started) / 1_000) * rate) + 1 - total : 1_000
    const batch = Array.from({ length: Math.max(0, Math.min(due, 1_000, limit - total)) }, async () => {
      const user = users[Math.floor(Math.random() * users.length)]!
      await emitter.send(user, `https://example.com/${Math.floor(Math.random() * 1_000)}`)
      sent.set(user, (sent.get(user) ?? 0) + 1)
    })
    await Promise.all(batch)
    total += batch.length
    if (Number.isFinite(rate) && total < limit)
      await sleep(Math.min(50, 1_000 / rate), undefined, { signal }).catch(() => {})
  }
  return (performance.now() - started) / 1_000
}

/** Whether the table reaches, for every user, exactly what it held before plus what was sent. */
async function verify(
  view: View<bigint>,
  before: Map<string, bigint>,
  sent: Sent,
  signal: AbortSignal,
): Promise<boolean> {
  const expected = new Map(users.map((user) => [user, (before.get(user) ?? 0n) + BigInt(sent.get(user) ?? 0)]))
  for (const [user, count] of expected) {
    if (count > 0n) await view.until(user, (clicks) => clicks >= count, { signal })
  }
  let equal = true
  for (const [user, count] of expected) {
    const found = view.get(user) ?? 0n
    if (found === count) continue
    equal = false
    console.log(
      `${user}: the table says ${found}, expected ${count} (${before.get(user) ?? 0n} before, ${sent.get(user) ?? 0} sent)`,
    )
  }
  return equal
}

async function run(options: Arguments, interrupted: AbortSignal): Promise<boolean> {
  const dir = stateDirectory(options.state)
  const app = new Millrace({ brokers, ...(dir === undefined ? {} : { storage: { dir } }) })
  const sent: Sent = new Map()
  try {
    const began = performance.now()
    await app.ensureStreams([clicks], { partitions: 6 })
    // With an instance id of its own this process takes its partitions up again at once after a restart, even after kill -9.
    let found = 0
    let read = 0
    const processor = app.processor(counter, {
      groupInstanceId: 'clicks-1',
      onEvent: (event) => {
        if (event.kind !== 'restored') return
        found += event.localEntries
        read += event.records
        if (event.rebuilt !== undefined)
          console.log(`${event.topic}/${event.partition} was built anew: ${event.rebuilt}`)
      },
    })
    const ended = new AbortController()
    processor.done.then(
      () => ended.abort(),
      (cause: unknown) => ended.abort(cause),
    )
    const signal = AbortSignal.any([interrupted, ended.signal])
    await processor.start({ signal })
    if (dir !== undefined)
      console.log(`tables in ${dir}: ${found} entries found there, ${read} records read from ${counter.table.topic}`)
    // Clicks that an earlier run sent and nobody counted yet belong to the table we start from.
    if (brokers !== 'embedded:') await drained(brokers, counter.name, clicks.topic, signal)
    const view = app.view(counter.table)
    await view.start({ signal })
    const before = new Map<string, bigint>()
    for await (const [user, count] of view.iterate()) before.set(user, count)

    const page = await servePage({ users, get: (user) => toNumber(view.get(user)) }, options.port)
    try {
      const known = [...before.values()].reduce((sum, count) => sum + count, 0n)
      console.log(
        `on ${brokers} since ${seconds(began)} s, going on from ${known} clicks: ${page.url} and ${page.url}user-3`,
      )
      const tookSeconds = await click(app.emitter(clicks), options, sent, signal)
      if (ended.signal.aborted) throw ended.signal.reason
      if (interrupted.aborted || options.clicks === undefined) return true
      const equal = await verify(view, before, sent, AbortSignal.any([signal, AbortSignal.timeout(60_000)]))
      const rate = Math.round(options.clicks / tookSeconds)
      console.log(
        `${options.clicks} clicks sent in ${tookSeconds.toFixed(2)} s (${rate} per second), counted after ${seconds(began)} s`,
      )
      console.log(equal ? 'the table equals what was sent' : 'THE TABLE DOES NOT EQUAL WHAT WAS SENT')
      return equal
    } finally {
      await page.close()
    }
  } finally {
    await app.close()
  }
}

const toNumber = (count: bigint | undefined): number | undefined => (count === undefined ? undefined : Number(count))
const seconds = (since: number): string => ((performance.now() - since) / 1_000).toFixed(1)

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    interrupted.abort(new Error(name))
    process.once(name, () => process.exit(130)) // twice: at once
  })
}
try {
  const options = parseArguments(process.argv.slice(2))
  process.exitCode = (await run(options, interrupted.signal)) ? 0 : 1
} catch (cause) {
  if (interrupted.signal.aborted) process.exitCode = 0
  else {
    const { message, code } = cause as NodeJS.ErrnoException
    console.error(message)
    if (code === 'EADDRINUSE') console.error('another program has that port: choose one with --port')
    if (String(code).startsWith('ERR_PARSE_ARGS') || /^--/.test(message)) console.error(usage)
    process.exitCode = 1
  }
}
