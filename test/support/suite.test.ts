/** The wrapper itself, judged from outside: small test files run in a process of their own. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as assert from 'uvu/assert'
import { rejects, suite, until } from './suite.ts'

const test = suite('support/suite')
const support = pathToFileURL(join(import.meta.dirname, 'suite.js')).href

/** Runs `body` as a test file and returns how it ended. */
function run(body: string): { code: number | null; output: string } {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-suite-'))
  try {
    const file = join(dir, 'sample.mjs')
    writeFileSync(
      file,
      `import { suite } from '${support}'\nconst test = suite('sample', { deadlineMs: 300 })\n${body}\n`,
    )
    const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1' },
    })
    return { code: status, output: stdout + stderr }
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const cases: { name: string; body: string; code: number; says: RegExp }[] = [
  { name: 'passing tests pass', body: `test('a', () => {}); test.run()`, code: 0, says: /Passed: {4}1/ },
  {
    name: 'a throwing test fails',
    body: `test('a', () => { throw new Error('boom') }); test.run()`,
    code: 1,
    says: /boom/,
  },
  {
    name: 'a thrown non-error fails',
    body: `test('a', () => { throw undefined }); test.run()`,
    code: 1,
    says: /threw undefined/,
  },
  {
    name: 'a test that overruns fails and names what is active',
    body: `test('slow', () => new Promise(() => setInterval(() => {}, 1e4))); test.run()`,
    code: 1,
    says: /slow: not finished after 300 ms; still active: .*Timeout ×1/,
  },
  {
    name: 'a test that waits for nothing fails at once',
    body: `test('dry', () => new Promise(() => {})); test('next', () => {}); test.run()`,
    code: 1,
    says: /dry: waits for something that can never come[\s\S]*Total: {5}2\n {2}Passed: {4}1/,
  },
  {
    name: 'a failing before fails its tests',
    body: `test.before(() => { throw new Error('no server') }); test('a', () => {}); test.run()`,
    code: 1,
    says: /no server/,
  },
  {
    name: 'a failing after.each fails the test',
    body: `test.after.each(() => { throw new Error('leak') }); test('a', () => {}); test.run()`,
    code: 1,
    says: /leak/,
  },
]
for (const c of cases) {
  test(c.name, () => {
    const { code, output } = run(c.body)
    assert.match(output, c.says)
    assert.is(code, c.code, output)
  })
}

test('hooks run around each test', () => {
  const { output } = run(`
    const seen = []
    test.before(() => void seen.push('before')); test.after(() => console.log(seen.join(' ')))
    test.before.each(() => void seen.push('(')); test.after.each(() => void seen.push(')'))
    test('a', () => void seen.push('a')); test('b', () => void seen.push('b')); test.run()`)
  assert.match(output, /before \( a \) \( b \)/)
})

test('rejects() accepts a class, a code or a pattern, and refuses the rest', async () => {
  const error = Object.assign(new TypeError('no such thing'), { code: 'ERR_X' })
  assert.is(await rejects(Promise.reject(error), TypeError), error)
  await rejects(() => Promise.reject(error), 'ERR_X')
  await rejects(Promise.reject(error), /no such/)
  await rejects(rejects(Promise.reject(error), RangeError), /expected a RangeError/)
  await rejects(rejects(Promise.reject(error), 'ERR_Y'), /expected code ERR_Y/)
  await rejects(rejects(Promise.resolve(1)), /resolved/)
})

test('until() resolves with the value, or says what was last seen', async () => {
  let n = 0
  assert.is(await until(() => (++n === 3 ? n : 0)), 3)
  await rejects(
    until(() => 0, { deadlineMs: 20, what: 'the count' }),
    /the count did not hold within 20 ms; last seen: 0/,
  )
  await rejects(
    until(() => Promise.reject(new Error('gone'))),
    /gone/,
  )
})

test('until() with an event looks again only when something changed', async () => {
  let state = 0
  let looks = 0
  let changed = (): void => {}
  let unsubscribed = 0
  const event = (listener: () => void): (() => void) => {
    changed = listener
    return () => void unsubscribed++
  }
  const done = until(() => ++looks && state === 2 && 'there', { event })
  state = 1
  changed()
  state = 2
  changed()
  assert.is(await done, 'there')
  assert.is(looks, 3)
  assert.is(unsubscribed, 1)
})

test.run()
