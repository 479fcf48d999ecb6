/** `millrace store inspect|dump|verify|compact`, as processes of their own, on stores at rest and on one that is open here. */
import { spawn, spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { formatBytes, parseBytes } from '../../src/cli/bytes-text.ts'
import { storeCommand } from '../../src/cli/store.ts'
import { UsageError } from '../../src/cli/usage.ts'
import { LogEngine, type LogStore } from '../../src/storage/index.ts'
import { encodeStoreState } from '../../src/streams/index.ts'
import { SeededRandom } from '../sim/random.ts'
import { rejects, suite } from '../support/suite.ts'

const test = suite('millrace store')
const main = join(import.meta.dirname, '../../src/cli/main.js')
let root = ''
test.before(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-cli-store-'))
})
test.after(() => rmSync(root, { recursive: true, force: true }))

interface Result {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function run(...args: string[]): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'store', ...args], { encoding: 'utf8' })
  assert.not.match(stderr, /^\s+at /m, 'a stack trace is no message')
  return { code: status, out: stdout, err: stderr }
}

function put(store: LogStore, space: number, entries: Record<string, string | undefined>, position?: number): void {
  const batch = store.writer()
  for (const [key, value] of Object.entries(entries)) {
    const bytes = Buffer.from(key)
    if (value === undefined) batch.delete(space, bytes, 0, bytes.length)
    else batch.put(space, bytes, 0, bytes.length, Buffer.from(value), 0, Buffer.byteLength(value))
  }
  batch.commit(position === undefined ? undefined : { position, state: Buffer.from(`state ${position}`) })
}

/** A store with two runs of tables and a log, in `<root>/<name>/table/0`; closed unless `keep` is called with it. */
async function makeStore(group: string, partition = 0, keep?: (store: LogStore) => Promise<void>): Promise<string> {
  const engine = new LogEngine({ dir: root })
  const directory = { group, table: 'table', partition }
  const store = await engine.open(directory)
  // So large that the small run beside it is not merged into it.
  put(store, 5, { padding: 'x'.repeat(5000) })
  put(store, 0, { apple: 'one', banana: 'two', cherry: 'three' }, 100)
  await store.flush()
  put(store, 0, { banana: undefined, date: 'four' }, 200)
  await store.flush()
  put(store, 0, { apple: 'uno', 'e\tf\u001b[31m\u202e\\': 'x\ny' }, 300)
  put(store, 3, { timer: 'later' })
  await keep?.(store)
  await engine.close()
  return engine.pathOf(directory)
}

const dumped = 'apple\tuno\ncherry\tthree\ndate\tfour\ne\\tf\\x1b[31m\\u{202e}\\\\\tx\\ny\n'

/** The file in `dir` that ends so; the first of several. */
const fileIn = (dir: string, end: string): string => join(dir, readdirSync(dir).find((name) => name.endsWith(end))!)

test('inspect says what is there', async () => {
  const dir = await makeStore('inspect')
  const { code, out, err } = run('inspect', dir)
  assert.is(code, 0, err)
  assert.match(out, /^inspect\/table\/0\n/)
  assert.match(out, /id +[0-9a-f]{32}\n/)
  assert.match(out, /format +version 1\n/)
  assert.match(out, /checkpoint +300, just now; state 737461746520333030\n/)
  assert.match(out, /batches +5, of which 3 are in tables\n/)
  assert.match(out, /open +by nobody\n/)
  assert.match(out, /upper 1 +\d{10}\.tbl +2 +1 .* banana … date\n/)
  assert.match(out, /last +\d{10}\.tbl +4 +0 .* apple … 5:padding\n/)
  assert.match(out, /\d{10}\.log +2 +3 /)
  const json = JSON.parse(run('inspect', dir, '--json').out) as Record<string, unknown>
  assert.is(json['name'], 'inspect/table/0')
  assert.is(json['path'], dir)
  assert.is((json['checkpoint'] as { position: number }).position, 300)
  assert.equal(
    (json['runs'] as { level: string }[]).map(({ level }) => level),
    ['upper', 'last'],
  )
  assert.equal(json['faults'], [])
})

test("inspect reads the state of a table's checkpoint", async () => {
  const engine = new LogEngine({ dir: root })
  const store = await engine.open({ group: 'state', table: 'table', partition: 0 })
  store.writer().commit({ position: 7, state: encodeStoreState({ topicId: '00ff', leaderEpoch: 3, wallMs: 4 }) })
  await engine.close()
  const { out } = run('inspect', join(root, 'state/table/0'))
  assert.match(out, /checkpoint +7, just now; state \{"topicId":"00ff","leaderEpoch":3,"wallMs":4\}\n/)
})

test('dump prints entries in order, safe for a terminal', async () => {
  const dir = await makeStore('dump')
  assert.is(run('dump', dir).out, dumped)
  assert.is(run('dump', dir, '--limit', '1', '--reverse').out, `${dumped.split('\n')[3]}\n`)
  assert.is(run('dump', dir, '--prefix', 'e\\tf').out, `${dumped.split('\n')[3]}\n`)
  assert.is(run('dump', dir, '--space', '3', '--as', 'hex').out, '74696d6572\t6c61746572\n')
  assert.is(run('dump', dir, '--prefix', '64', '--as', 'hex').out, '64617465\t666f7572\n')
  const lines = run('dump', dir, '--json').out.trimEnd().split('\n')
  assert.equal(JSON.parse(lines[0]!), { key: 'YXBwbGU=', value: 'dW5v' })
  assert.is(lines.length, 4)
  assert.is(JSON.parse(run('dump', dir, '--json', '--as', 'text', '--limit', '1').out).key, 'apple')
})

test('dump ends quietly when nobody reads on', async () => {
  const engine = new LogEngine({ dir: root })
  const store = await engine.open({ group: 'pipe', table: 'table', partition: 0 })
  for (let i = 0; i < 200; i++) put(store, 0, { [`key ${i}`]: 'x'.repeat(10_000) })
  await engine.close()
  const child = spawn(process.execPath, [main, 'store', 'dump', join(root, 'pipe/table/0')])
  let err = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  child.stdout.once('data', () => child.stdout.destroy())
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.is(err, '')
  assert.is(code, 0)
})

test('verify reads everything, and changes nothing', async () => {
  const dir = await makeStore('verify')
  const before = readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'hex')])
  const { code, out } = run('verify', dir)
  assert.is(code, 0)
  assert.match(out, /^verify\/table\/0: whole; 4 files read, 9 entries, .*\n$/)
  const { faults, notes, files } = JSON.parse(run('verify', dir, '--json').out) as Record<string, unknown>
  assert.equal([faults, notes, files], [[], [], 4])
  run('inspect', dir)
  run('dump', dir)
  assert.equal(
    readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'hex')]),
    before,
  )
})

test('verify names every damaged file, and what is no damage', async () => {
  const dir = await makeStore('damage')
  for (const end of ['.tbl', '.log']) {
    const file = fileIn(dir, end)
    const bytes = readFileSync(file)
    bytes[end === '.tbl' ? 80 : bytes.length - 1]! ^= 1
    writeFileSync(file, bytes)
  }
  writeFileSync(join(dir, '0000000999.tbl'), 'half')
  writeFileSync(join(dir, 'notes.txt'), 'mine')
  const { code, out, err } = run('verify', dir)
  assert.is(code, 1)
  assert.match(out, /^damage\/table\/0: 2 places damaged; /)
  assert.match(out, /damage: \d{10}\.tbl, byte 64: /)
  assert.match(out, /damage: \d{10}\.log, byte \d+: a batch is damaged; \d+ bytes from here on/)
  assert.match(out, /note: 0000000999\.tbl, byte 0: does not count; it is removed when the store is opened next/)
  assert.match(out, /note: notes\.txt, byte 0: no file of a store/)
  assert.match(err, /millrace store discard/)
  const { faults } = JSON.parse(run('verify', dir, '--json').out) as { faults: object[] }
  assert.is(faults.length, 2)
  assert.is(run('dump', dir).code, 1)
})

test('a batch whose write was broken off is no damage', async () => {
  const dir = await makeStore('torn')
  const log = fileIn(dir, '.log')
  truncateSync(log, readFileSync(log).length - 3)
  const { code, out } = run('verify', dir)
  assert.is(code, 0, out)
  assert.match(out, /note: \d{10}\.log, byte \d+: a batch is not all there: its write was broken off; \d+ bytes/)
  assert.match(run('inspect', dir).out, /torn: \d+ bytes do not count/)
})

test('what is missing is said: manifest, CURRENT, a table', async () => {
  const dir = await makeStore('missing')
  for (const [end, says] of [
    ['0001', /damage: MANIFEST-0000000001, byte 0: it is missing, but CURRENT names it/],
    ['CURRENT', /damage: CURRENT, byte 0: it is missing/],
    ['.tbl', /damage: \d{10}\.tbl, byte 0: there is no such file/],
  ] as const) {
    const copy = `${dir}-${end}`
    cpSync(dir, copy, { recursive: true })
    rmSync(fileIn(copy, end))
    const { code, out } = run('verify', copy)
    assert.is(code, 1)
    assert.match(out, says)
    const inspected = run('inspect', copy)
    assert.is(inspected.code, 0)
    assert.match(inspected.out, /damaged:\n/)
    assert.match(
      inspected.out,
      end === '.tbl' ? / {2}table +entries/ : /checkpoint +not known\n[\s\S]*are not known, as nothing/,
    )
  }
})

test('what cannot be read is not called damaged: nobody is told to remove it', async () => {
  const dir = await makeStore('unreadable')
  const log = fileIn(dir, '.log')
  rmSync(log)
  symlinkSync(log, log)
  const { code, out, err } = run('verify', dir)
  assert.is(code, 1)
  assert.match(out, /^unreadable\/table\/0: 1 file not readable; /)
  assert.match(out, /not readable: \d{10}\.log, byte 0: it cannot be read \(ELOOP\)\n$/)
  assert.match(err, /unreadable\/table\/0 could not be read completely: nothing is known to be damaged/)
  assert.not.match(err, /discard/)
  assert.is((JSON.parse(run('verify', dir, '--json').out) as { faults: { code: string }[] }).faults[0]!.code, 'ELOOP')
  assert.match(run('inspect', dir).out, /\n {2}cannot be read:\n {4}\d{10}\.log/)
  const dump = run('dump', dir)
  assert.is(dump.code, 1)
  assert.match(dump.err, /^millrace: ELOOP: .*\.log'\n$/)
})

test('a store that was closed without a sync is whole, and says that', async () => {
  const engine = new LogEngine({ dir: root, sync: 'never' })
  const store = await engine.open({ group: 'unsynced', table: 'table', partition: 0 })
  put(store, 0, { apple: 'one' })
  await engine.close()
  const { code, out } = run('verify', join(root, 'unsynced/table/0'))
  assert.is(code, 0)
  assert.match(out, /whole; [\s\S]*\n {2}note: UNSYNCED\.tmp, byte 0: not all of it may outlive a power loss, until/)
})

test('dump says when the end of a log does not count', async () => {
  const dir = await makeStore('ends')
  const log = fileIn(dir, '.log')
  const bytes = readFileSync(log)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(log, bytes)
  const { code, out, err } = run('dump', dir)
  assert.is(code, 0)
  assert.is(out, dumped)
  assert.match(err, /^millrace: ends\/table\/0: \d+ bytes at the end of \d{10}\.log do not count \(corrupt\)\n$/)
})

test('a path that is nearly right is answered with the right one', async () => {
  const dir = await makeStore('My Group')
  assert.match(dir, /%4dy%20%47roup/)
  const wrong = run('inspect', join(root, 'My Group/table'))
  assert.is(wrong.code, 1)
  assert.ok(wrong.err.includes(`does not exist; is ${join(dir, '..')} meant? Names are percent-encoded on disk`))
  const above = run('verify', join(dir, '../..'))
  assert.is(above.code, 1)
  assert.ok(above.err.endsWith(`is not a table, but holds some: name one of them\n  ${join(dir, '..')}\n`), above.err)
  assert.ok(run('verify', root).err.includes(`\n  ${join(dir, '..')}\n`) || run('verify', root).err.includes(' more'))
  assert.match(run('verify', join(dir, 'CURRENT')).err, /CURRENT is a file: name the directory of a table/)
})

test('beside a running owner: inspect, dump and verify work, compact says who has it', async () => {
  await makeStore('busy', 0, async (store) => {
    const dir = join(root, 'busy/table/0')
    const who = `process ${process.pid} on ${hostname()}`
    assert.match(run('inspect', dir).out, new RegExp(`open +by ${who}\n`))
    assert.is(run('dump', dir).out, dumped)
    const verified = run('verify', dir)
    assert.is(verified.code, 0)
    assert.match(verified.out, new RegExp(`note: LOCK, byte 0: ${who} has the store open: .* were not checked`))
    const compacted = run('compact', dir)
    assert.is(compacted.code, 1)
    assert.match(compacted.err, new RegExp(`${who} has it open`))
    put(store, 0, { zebra: 'still writable' })
  })
})

test('a reader beside an owner that writes, flushes and merges always sees one moment', async () => {
  await makeStore('race', 0, async (store) => {
    const dir = join(root, 'race/table/0')
    const child = spawn(process.execPath, [main, 'store', 'dump', dir])
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
    })
    let done = false
    const code = new Promise((resolve) => child.once('close', resolve)).finally(() => {
      done = true
    })
    for (let i = 0; !done; i++) {
      put(store, 0, { a: `${i}`, b: `${i}`, [`k${i % 50}`]: 'x'.repeat(500) }, i)
      if (i % 10 === 0) await store.flush()
      if (i % 100 === 0) await store.compact()
    }
    assert.is(await code, 0)
    const [a, b] = ['a', 'b'].map((key) => new RegExp(`^${key}\t(\\d+)$`, 'm').exec(out)?.[1])
    assert.is(a, b)
    const report = await store.verify()
    assert.equal(report.faults, [])
  })
})

test('compact leaves one table without what was overwritten', async () => {
  const dir = await makeStore('compact')
  const { code, out, err } = run('compact', dir)
  assert.is(code, 0, err)
  assert.match(out, /^compact\/table\/0: .* in 3 files, 9 entries → .* in \d files, 6 entries\n$/)
  assert.is(run('dump', dir).out, dumped)
  assert.is(run('verify', dir).code, 0)
  const { before, after } = JSON.parse(run('compact', dir, '--json').out) as Record<string, { entries: number }>
  assert.equal([before?.entries, after?.entries], [6, 6])
})

test('all partitions of a table at once', async () => {
  await makeStore('several', 0)
  await makeStore('several', 10)
  await makeStore('several', 9)
  const { code, out } = run('verify', join(root, 'several/table'))
  assert.is(code, 0)
  assert.equal(
    [...out.matchAll(/table\/(\d+):/g)].map(([, n]) => n),
    ['0', '9', '10'],
  )
  assert.is(run('inspect', join(root, 'several/table'), '--json').out.trimEnd().split('\n').length, 3)
  const { code: wrong, err } = run('dump', join(root, 'several/table'))
  assert.is(wrong, 2)
  assert.match(err, /several partitions: name one/)
})

for (const [args, says] of [
  [['inspect'], /DIR is missing/],
  [['dump', '/nowhere', '--as', 'octal'], /--as must be text, hex or base64/],
  [['dump', '/nowhere', '--space', '16'], /--space must be 0 to 15/],
  [['dump', '/nowhere', '--limit', 'many'], /--limit must be a whole number/],
  [['dump', '/nowhere', '--as', 'hex', '--prefix', 'xy'], /--prefix is not hex/],
  [['compact', '/nowhere', '--now'], /--now/],
  [['verify', '/nowhere', '/else'], /only one DIR/],
] as const) {
  test(`millrace store ${args.join(' ')} is wrong usage`, async () => {
    const error = await rejects(storeCommand(args), UsageError)
    assert.match(error.message, says)
    assert.match(error.usage, `usage: millrace store ${args[0]} DIR`)
  })
}

test('exit codes: 1 when there is nothing to look at, 2 when called wrongly, 0 for help', () => {
  const missing = run('verify', '/nowhere/at/all')
  assert.is(missing.code, 1)
  assert.match(missing.err, /does not exist/)
  assert.is(run('dump').code, 2)
  assert.match(run('inspect', '--help').out, /^usage: millrace store inspect DIR/)
})

test('bytes as text: one line, nothing that a terminal acts on, and back again', () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  const random = new SeededRandom(seed)
  for (let i = 0; i < 3000; i++) {
    const length = random.int(12)
    let bytes = random.bytes(length)
    if (random.chance(0.5)) {
      const character = () =>
        String.fromCodePoint(random.pick([0x20, 0x5c, 0x7f, 0x9b, 0xe4, 0x2028, 0x202e, 0xfffd, 0x1f600]))
      bytes = Buffer.from(Array.from({ length }, character).join(''))
    }
    for (const format of ['text', 'hex', 'base64'] as const) {
      const text = formatBytes(bytes, format)
      assert.not.match(text, /[\p{C}\p{Zl}\p{Zp}]/u, `SEED=${seed}`)
      assert.is(parseBytes(text, format)?.toString('hex'), bytes.toString('hex'), `SEED=${seed}: ${text}`)
    }
  }
  assert.is(parseBytes('a\\q', 'text'), undefined)
  assert.is(parseBytes('\\u{110000}', 'text'), undefined)
  assert.is(formatBytes(Buffer.from('größe 😀'), 'text'), 'größe 😀')
  assert.is(formatBytes(Buffer.from([0x61, 0xff, 0xc3, 0xa4]), 'text'), 'a\\xffä')
})

test.run()
