/**
 * The worker's code is not where it should be, as after a bundler that makes one file of everything: the work is done in
 * slices, an event says why, nothing hangs, and nobody else's file is run in its place.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as assert from 'uvu/assert'
import { realScheduler } from '../../../src/base/real-scheduler.ts'
import { WorkerPool } from '../../../src/storage/log/worker-pool.ts'
import { suite } from '../../support/suite.ts'

const test = suite('log engine: no worker thread')
const workerFile = 'millrace-storage-worker.js'
const root = mkdtempSync(join(tmpdir(), 'millrace-no-worker-'))
process.on('exit', () => rmSync(root, { recursive: true, force: true }))

const program = `
import { logEngine } from './src/storage/index.js'
const failed = []
const onEvent = (event) => event.kind === 'failed' && failed.push(event.error.message)
const engine = logEngine({ dir: process.argv[2], sync: 'never', writeBufferBytes: 4096, onEvent })
const store = await engine.open({ group: 'g', table: 't', partition: 0 })
const value = Buffer.alloc(1000)
for (let i = 0; i < 40; i++) {
  const key = Buffer.from('key ' + i)
  store.writer().put(0, key, 0, key.length, value, 0, value.length)
  store.writer().commit()
}
await store.compact()
console.log([...store.entries()].length, store.logStats().tables)
for (const message of failed) console.log(message)
await engine.close()
`

/** What the program prints with the code of the package changed by `change`. */
function printed(name: string, change: (log: string) => void): string {
  const dir = join(root, name)
  cpSync(join(import.meta.dirname, '../../../src'), join(dir, 'src'), { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(dir, 'main.js'), program)
  change(join(dir, 'src/storage/log'))
  const { stdout, stderr, status } = spawnSync(process.execPath, ['main.js', 'state'], {
    cwd: dir,
    encoding: 'utf8',
    timeout: 15_000,
  })
  assert.is(status, 0, stderr)
  return stdout
}

/** What tells the worker's file, also when it was minified. */
const mark = "'millrace storage worker'"

for (const [name, change, says] of [
  ['there is no such file', (log) => rmSync(join(log, workerFile)), /ended \(ENOENT.*millrace-storage-worker\.js/],
  [
    'there is no URL of the code',
    (log) => {
      const file = join(log, 'worker-pool.js')
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll('import.meta.url', 'undefined'))
    },
    /ended \(Invalid URL/,
  ],
  [
    'its code fails',
    (log) => writeFileSync(join(log, workerFile), `${mark}; throw new Error("boom")`),
    /ended \(boom\)/,
  ],
  ['it ends at once', (log) => writeFileSync(join(log, workerFile), mark), /ended \(it ended with code 0\)/],
  [
    'a part that it needs is not there',
    (log) => writeFileSync(join(log, workerFile), `import './nothing.js'; ${mark}`),
    /ended \(Cannot find module .*nothing\.js/,
  ],
] as const satisfies readonly [string, (log: string) => void, RegExp][]) {
  test(`${name}: the work goes on in slices`, () => {
    const [result = '', ...messages] = printed(name, change).trimEnd().split('\n')
    assert.is(result, '40 1')
    assert.is(messages.length, 1)
    assert.match(messages[0]!, says)
    assert.match(
      messages[0]!,
      /Nothing is lost: the work goes on in the main thread, in slices\. `worker: false` starts/,
    )
  })
}

/** What becomes of a task of a pool whose code is the file `name` with this content. */
async function lossWith(name: string, content: string, longestStartMs: number): Promise<string> {
  const file = join(root, name)
  writeFileSync(file, content)
  const pool = new WorkerPool({ scheduler: realScheduler, url: pathToFileURL(file), longestStartMs })
  const files = { dir: root, store: 's', storeId: new Uint8Array(16), hashSeed: 1 }
  const limits = { tableBytes: 1, fanIn: 4 } as never
  const task = pool.start({
    kind: 'merge',
    files,
    numbers: [],
    plan: { kind: 'upper', runs: [], dropDeleted: true },
    inputBytes: 0,
    limits,
  })
  await task.arrival.wait()
  const news = task.take()
  assert.is(news?.kind, 'lost')
  assert.not.ok(pool.isUsable)
  await pool.end()
  return String((news as { cause?: unknown }).cause)
}

test("another program's file of that name is not run", async () => {
  const ran = join(root, 'ran')
  const run = `import { writeFileSync } from 'node:fs'\nwriteFileSync(${JSON.stringify(ran)}, '')\n`
  for (const [name, content] of [
    ['other.mjs', run],
    ['empty.mjs', ''],
    ['long.mjs', `${run}/*${'x'.repeat(2 ** 21)}*/ ${mark}`],
  ] as const) {
    const cause = await lossWith(name, content, 10_000)
    assert.match(
      cause,
      new RegExp(`${name} is not the worker of millrace: it is another program's file, and is not run`),
    )
  }
  assert.not.ok(existsSync(ran))
})

test('a worker that does not begin is not waited for', async () => {
  const cause = await lossWith('stuck.mjs', `${mark}; setInterval(() => {}, 1000)`, 200)
  assert.match(cause, /stuck\.mjs did not begin to work within 200 ms/)
})

test('the file of the worker, run as a program, says what it is', () => {
  const file = join(import.meta.dirname, '../../../src/storage/log', workerFile)
  const { stderr, status } = spawnSync(process.execPath, [file], { encoding: 'utf8' })
  assert.is(status, 1)
  assert.match(stderr, /this file is the worker thread of millrace's storage, and no program/)
})

test.run()
