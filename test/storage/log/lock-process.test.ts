/** The lock between processes of the operating system. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { realRandom } from '../../../src/base/real-random.ts'
import { StoreLock } from '../../../src/storage/log/lock.ts'
import { type LockOwner, processIdentity } from '../../../src/storage/log/process-identity.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'
import { suite } from '../../support/suite.ts'

const test = suite('lock: processes')
const store = 'g/t/0'

function codeOf(call: () => unknown): string {
  try {
    call()
    return 'ok'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

let root = ''
const children: ChildProcessWithoutNullStreams[] = []
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-lock-'))
})
test.after.each(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(root, { recursive: true })
})

interface Child {
  readonly process: ChildProcessWithoutNullStreams
  /** The next line it says. */
  says(): Promise<string>
}

function startChild(): Child {
  const script = fileURLToPath(new URL('lock-child.js', import.meta.url))
  const child = spawn(process.execPath, [script, join(root, 'LOCK')])
  child.stderr.pipe(process.stderr)
  children.push(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { process: child, says: async () => String((await lines.next()).value) }
}

test('two processes: the second waits for the first to end, however it ends', async () => {
  const lock = join(root, 'LOCK')
  const fs = nodeFs()
  const acquire = (): string => codeOf(() => StoreLock.acquire(fs, lock, store, processIdentity(realRandom)).release())
  const polite = startChild()
  assert.is(await polite.says(), 'ok')
  assert.is(acquire(), 'ERR_STORE_LOCKED')
  polite.process.stdin.write('check\n')
  assert.is(await polite.says(), 'ok')
  polite.process.stdin.end()
  assert.is(await polite.says(), 'ok')
  await once(polite.process, 'exit')
  assert.equal(readdirSync(root), [])
  assert.is(acquire(), 'ok')

  const killed = startChild()
  assert.is(await killed.says(), 'ok')
  assert.is(acquire(), 'ERR_STORE_LOCKED')
  killed.process.kill('SIGKILL')
  await once(killed.process, 'exit')
  assert.equal(readdirSync(root), ['LOCK'])
  assert.is(acquire(), 'ok')
})

test('a process whose lock was stolen is told; pid and boot of another life are stale', async () => {
  const lock = join(root, 'LOCK')
  const child = startChild()
  assert.is(await child.says(), 'ok')
  const record = JSON.parse(readFileSync(lock, 'utf8')) as LockOwner
  assert.is(record.pid, child.process.pid)
  if (record.startTime !== '') {
    writeFileSync(lock, JSON.stringify({ ...record, startTime: '1' }))
    StoreLock.acquire(nodeFs(), lock, store, processIdentity(realRandom)).check()
    child.process.stdin.write('check\n')
    assert.is(await child.says(), 'ERR_STORE_POISONED')
    writeFileSync(lock, JSON.stringify({ ...record, bootId: 'another' }))
    StoreLock.acquire(nodeFs(), lock, store, processIdentity(realRandom)).check()
  }
  child.process.stdin.end()
  assert.is(await child.says(), 'ok')
  await once(child.process, 'exit')
})

test('four processes after one that died: one of them gets the lock', async () => {
  const lock = join(root, 'LOCK')
  writeFileSync(lock, JSON.stringify({ pid: 2 ** 22 + 1, host: 'h', bootId: 'before', startTime: '1', nonce: 'x' }))
  const rivals = [startChild(), startChild(), startChild(), startChild()]
  const said = await Promise.all(rivals.map((rival) => rival.says()))
  assert.equal([...said].sort(), ['ERR_STORE_LOCKED', 'ERR_STORE_LOCKED', 'ERR_STORE_LOCKED', 'ok'])
  const winner = rivals[said.indexOf('ok')]!
  winner.process.stdin.write('check\n')
  assert.is(await winner.says(), 'ok')
  for (const rival of rivals) rival.process.stdin.end()
  await Promise.all(rivals.map((rival) => once(rival.process, 'exit')))
  // The dead one was of another boot, so the next to open a store there makes its files anew.
  assert.equal(readdirSync(root), ['UNSYNCED.tmp'])
})

test.run()
