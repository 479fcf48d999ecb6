/**
 * The worker's code is not where it should be, as after a bundler that makes one file of everything: the work is done in
 * slices, an event says why, and nothing hangs.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as assert from 'uvu/assert'
import { realScheduler } from '../../../src/base/real-scheduler.ts'
import { WorkerPool } from '../../../src/storage/log/worker-pool.ts'
import { suite } from '../../support/suite.ts'

const test = suite('log engine: no worker thread')
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

for (const [name, change, says] of [
  ['there is no such file', (log) => rmSync(join(log, 'worker.js')), /ended \(Cannot find module .*worker\.js/],
  [
    'there is no URL of the code',
    (log) => {
      const file = join(log, 'worker-pool.js')
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll('import.meta.url', 'undefined'))
    },
    /ended \(Invalid URL/,
  ],
  ['its code fails', (log) => writeFileSync(join(log, 'worker.js'), 'throw new Error("boom")'), /ended \(boom\)/],
  ['it ends at once', (log) => writeFileSync(join(log, 'worker.js'), ''), /ended \(it ended with code 0\)/],
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

test("another program's file of that name is not waited for", async () => {
  const file = join(root, 'worker.mjs')
  writeFileSync(file, 'setInterval(() => {}, 1000)')
  const pool = new WorkerPool({ scheduler: realScheduler, url: pathToFileURL(file), longestStartMs: 200 })
  const files = { dir: root, store: 's', storeId: new Uint8Array(16), hashSeed: 1 }
  const limits = { tableBytes: 1, fanIn: 4 } as never
  const task = pool.start({
    kind: 'merge',
    files,
    numbers: [],
    plan: { kind: 'upper', runs: [], dropDeleted: true },
    limits,
  })
  await task.arrival.wait()
  const news = task.take()
  assert.is(news?.kind, 'lost')
  assert.match(String((news as { cause?: unknown }).cause), /worker\.mjs does not answer: it may be another program's/)
  assert.not.ok(pool.isUsable)
  await pool.end()
})

test.run()
