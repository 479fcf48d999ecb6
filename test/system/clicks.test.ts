/** The click example as a user runs it: a process of its own, on the embedded broker and on the target. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { suite, until } from '../support/suite.ts'
import { openTarget, type Target } from './target.ts'

const test = suite('system/clicks', { deadlineMs: 90_000 })
const program = join(import.meta.dirname, '..', '..', 'examples', 'clicks', 'main.js')
/** A port may come back with another broker: each test has tables of its own. */
const root = mkdtempSync(join(tmpdir(), 'millrace-clicks-test-'))
const state = (name: string): string[] => ['--state', join(root, name)]
let target: Target
const running = new Set<ChildProcess>()
test.before(async () => {
  target = await openTarget()
})
test.after(async () => {
  for (const child of running) child.kill('SIGKILL')
  await target.close()
  rmSync(root, { recursive: true, force: true })
})

interface Run {
  readonly child: ChildProcess
  output(): string
  /** Exit code, or the signal's name. */
  readonly ended: Promise<number | string>
}

/** Runs the example; `brokers` undefined: on its own embedded broker. */
function start(brokers: string | undefined, args: string[], env: NodeJS.ProcessEnv = {}): Run {
  const { KAFKA_BROKERS: _, ...rest } = process.env
  const given = brokers === undefined ? rest : { ...rest, KAFKA_BROKERS: brokers }
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...given, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const ended = new Promise<number | string>((resolve) => {
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal ?? 'unknown')
    })
  })
  return { child, output: () => output, ended }
}

/** The page's address, once the program serves it. */
async function pageOf(run: Run): Promise<string> {
  const found = (): RegExpExecArray | null => /http:\/\/localhost:\d+\//.exec(run.output())
  const ended = run.ended.then((code) => Promise.reject(new Error(`ended with ${code}:\n${run.output()}`)))
  const [url] = await Promise.race([until(found, { deadlineMs: 60_000, what: 'the page' }), ended])
  return url
}

async function clicksOf(url: string, user: string): Promise<number> {
  const response = await fetch(`${url}${user}`)
  const { Clicks } = (await response.json()) as { Clicks?: number }
  return Clicks ?? 0
}

async function sumOf(url: string): Promise<number> {
  const counts = await Promise.all(Array.from({ length: 10 }, (_, i) => clicksOf(url, `user-${i}`)))
  return counts.reduce((a, b) => a + b)
}

test('10,000 clicks on the embedded broker: the table equals what was sent', async () => {
  const run = start(undefined, ['--clicks', '10000', '--port', '0'])
  assert.is(await run.ended, 0, run.output())
  assert.match(run.output(), /on embedded: .* going on from 0 clicks/)
  assert.match(run.output(), /10000 clicks sent .*\n.*the table equals what was sent/)
  assert.not.match(run.output(), /tables in/)
})

test('10,000 clicks on the target, and once more on top of them', async () => {
  const first = start(target.brokers, ['--clicks', '10000', '--port', '0', ...state('twice')])
  assert.is(await first.ended, 0, first.output())
  assert.match(first.output(), /the table equals what was sent/)
  const before = Number(/going on from (\d+) clicks/.exec(first.output())?.[1])
  const second = start(target.brokers, ['--clicks', '100', '--rate', '500', '--port', '0', ...state('twice')])
  assert.is(await second.ended, 0, second.output())
  assert.match(second.output(), new RegExp(`going on from ${before + 10_000} clicks[\\s\\S]*the table equals`))
})

test('killed with -9 and started again it goes on counting, and ends on SIGTERM', async () => {
  const first = start(target.brokers, ['--rate', '300', '--port', '0', ...state('killed')])
  const firstUrl = await pageOf(first)
  const begun = await sumOf(firstUrl)
  await until(async () => (await sumOf(firstUrl)) > begun + 300, { deadlineMs: 30_000 })
  const before = await sumOf(firstUrl)
  first.child.kill('SIGKILL')
  await first.ended
  const restarted = performance.now()
  const second = start(target.brokers, ['--rate', '300', '--port', '0', ...state('killed')])
  const url = await pageOf(second)
  const after = await sumOf(url)
  assert.ok(after >= before, `${after} clicks after the restart, ${before} before`)
  await until(async () => (await sumOf(url)) > after, { deadlineMs: 10_000 })
  const seconds = (performance.now() - restarted) / 1_000
  console.log(
    `note: restart on ${target.name}: counting again after ${seconds.toFixed(1)} s, ${before} → ${after} clicks`,
  )
  const tables = /^tables in (.*): (\d+) entries found there, (\d+) records read from user-clicks-table$/m
  const [, dir, found, read] = tables.exec(second.output()) ?? []
  assert.is(dir, join(root, 'killed'))
  assert.is(found, '10', second.output())
  // At most one checkpoint that the store did not have: each user once.
  assert.ok(Number(read) <= 10, second.output())
  assert.ok(seconds < 10, `took ${seconds} s: a static member needs no new session`)
  second.child.kill('SIGTERM')
  assert.is(await second.ended, 0, second.output())
})

test('says what is wrong: arguments, a taken port, the embedded broker in production', async () => {
  const wrong = start(undefined, ['--clicks', 'many'])
  assert.is(await wrong.ended, 1)
  assert.match(wrong.output(), /--clicks must be a whole number[\s\S]*usage: npm start/)
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const taken = start(undefined, ['--port', String((server.address() as { port: number }).port)])
  assert.is(await taken.ended, 1)
  assert.match(taken.output(), /EADDRINUSE[\s\S]*--port/)
  await new Promise((resolve) => server.close(resolve))
  const production = start(undefined, [], { NODE_ENV: 'production' })
  assert.is(await production.ended, 1)
  assert.match(production.output(), /allowEmbedded/)
})

test.run()
