/**
 * What people hand in by mistake: keys and values that are too large or of another type, directories that cannot be used,
 * stores that are open elsewhere, files that are not this store's. Each is refused with a code and a message that names
 * the store, where there is one the file and the place in it, and the remedy; and nothing is lost by it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, maxKeyBytes, StoreError, type StoreErrorCode } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { StillScheduler } from '../support/driver.ts'
import { FaultFs, type Operation } from '../support/fault-fs.ts'
import {
  commit,
  dir,
  directory,
  diskWith,
  engineOn,
  filesOf,
  type SmallStore,
  smallStore,
  stateOf,
} from '../support/small-store.ts'
import type { SimFs } from '../support/sim-fs.ts'
import { badArguments, type Untyped } from './bad-arguments.ts'

const test = suite('log engine: bad input')
let made: SmallStore
let other: SmallStore
let last = ''
test.before(async () => {
  made = await smallStore(1)
  other = await smallStore(2)
  last = made.states.at(-1)!
})

test(`${badArguments.length} arguments are refused, and change nothing`, async () => {
  const fs = diskWith(made.files)
  const engine = engineOn(fs)
  const store = await engine.open(directory)
  for (const [what, code, says, call] of badArguments) {
    let error: unknown
    try {
      call(store as unknown as Untyped)
    } catch (cause) {
      error = cause
    }
    assert.ok(error instanceof StoreError, `${what}: ${String(error)}`)
    assert.is(error.code, code, `${what}: ${error.message}`)
    assert.match(error.message, says, what)
    assert.match(error.message, /^store g\/t\/0: /, what)
    assert.not.ok(error.retriable, what)
    store.writer().abandon()
    assert.is(stateOf(store), last, what)
  }
  // The store is as good as new.
  commit(store, { '0h': 'after', '0': undefined })
  const after = stateOf(store)
  assert.not.equal(after, last)
  await store.flush()
  await engine.close()
  const again = engineOn(fs.kill())
  assert.is(stateOf(await again.open(directory)), after)
  await again.close()
})

test('the empty key, and keys and values up to their limits, are legal', async () => {
  const fs = diskWith(made.files)
  const engine = engineOn(fs)
  const store = await engine.open(directory)
  const longest = Buffer.alloc(maxKeyBytes, 'k')
  for (const [one, text] of [
    [Buffer.alloc(0), 'of the empty key'],
    [longest, 'of the longest'],
  ] as const) {
    store.put(0, one, 0, one.length, Buffer.from(text), 0, text.length)
  }
  for (const open of [store, undefined]) {
    if (open === undefined) await engine.close()
    const found = open ?? (await engine.open(directory))
    assert.is(found.get('')?.toString(), 'of the empty key')
    assert.is(found.get(longest)?.toString(), 'of the longest')
    assert.is([...found.entries({ prefix: longest.subarray(0, 9) })].length, 1)
    await found.flush()
    assert.is(found.get(longest)?.toString(), 'of the longest')
  }
  await engine.close()
})

// --- opening

/** What is on the disk, and what refuses. */
interface Opening {
  readonly what: string
  readonly code: StoreErrorCode
  readonly says: readonly RegExp[]
  /** Name of the file that is told, if any. */
  readonly file?: string
  /** Makes the mistake; what it returns mends it. */
  readonly mistake: (fs: SimFs, fault: FaultFs) => () => void
}

const named = (part: string): string => [...made.files.keys()].find((name) => name.includes(part))!

function failing(code: string, kinds: readonly Operation[], path = /^\/data/) {
  return (_fs: SimFs, fault: FaultFs): (() => void) => {
    fault.fail({ code, kinds, path, forever: true })
    return () => fault.heal()
  }
}

/** Puts something else in the place of a file. */
function replaced(part: string, make: (content: Buffer) => Buffer) {
  return (fs: SimFs): (() => void) => {
    const path = `${dir}/${named(part)}`
    const before = fs.contentOf(path)
    fs.tamper(path, make(before))
    return () => fs.tamper(path, before)
  }
}

function moved(path: string, put: (fs: SimFs) => void) {
  return (fs: SimFs): (() => void) => {
    fs.renameSync(path, '/aside')
    put(fs)
    return () => {
      fs.removeSync(path)
      fs.renameSync('/aside', path)
    }
  }
}

const rights = /give the process the right to read and write there/
const restore = /Restore the directory of this store from a copy, or remove it/
const changedByte = (content: Buffer): Buffer => {
  const changed = Buffer.from(content)
  changed[80]! ^= 1
  return changed
}

const openings: readonly Opening[] = [
  ...(['/data/g/t', '/data/g/t/0'] as const).map(
    (path): Opening => ({
      what: `${path} is a file`,
      code: 'ERR_STORE_IO',
      says: [/\/data\/g\/t\/0 cannot be opened/, /a part of the path is a file: choose another directory/],
      mistake: moved(path, (fs) => fs.tamper(path, Buffer.from('a file'))),
    }),
  ),
  ...(['EACCES', 'EPERM'] as const).flatMap((code): Opening[] => {
    const refused = {
      code: 'ERR_STORE_IO',
      says: [/\/data\/g\/t\/0 cannot be opened/, new RegExp(code), rights],
    } as const
    return [
      { ...refused, what: `no right to list (${code})`, mistake: failing(code, ['readdir'], /^\/data\/g\/t\/0$/) },
      {
        ...refused,
        what: `no right to make the directory (${code})`,
        mistake: (fs, fault) => {
          fs.renameSync(dir, '/aside')
          fault.fail({ code, kinds: ['mkdir'], forever: true })
          return () => {
            fault.heal()
            fs.renameSync('/aside', dir)
          }
        },
      },
    ]
  }),
  ...(['LOCK', 'CURRENT', 'MANIFEST', '.tbl', '.log'] as const).map(
    (part): Opening => ({
      what: `no right to open ${part}`,
      code: 'ERR_STORE_IO',
      says: [new RegExp(`/data/g/t/0/\\S*${part}`), /EACCES/, rights],
      mistake: failing('EACCES', ['open'], new RegExp(`${part}[^/]*$`)),
    }),
  ),
  {
    what: 'a read-only file system',
    code: 'ERR_STORE_IO',
    says: [/\/data\/g\/t\/0 cannot be opened/, /EROFS/, /the file system is mounted read-only/],
    mistake: failing('EROFS', ['mkdir', 'write', 'rename', 'remove']),
  },
  {
    what: 'too many open files',
    code: 'ERR_STORE_IO',
    says: [/too many files are open/, /raise the limit of the process/],
    mistake: failing('EMFILE', ['open'], /\.tbl$/),
  },
  ...(['ENOSPC', 'EDQUOT'] as const).map(
    (code): Opening => ({
      what: `a full disk (${code})`,
      code: 'ERR_STORE_NOSPACE',
      says: [/\/data\/g\/t\/0 cannot be opened/, new RegExp(`the disk is full \\(${code}\\)`), /make room, then open/],
      mistake: failing(code, ['write']),
    }),
  ),
  {
    what: 'a manifest of a newer version',
    code: 'ERR_STORE_VERSION',
    says: [/format version/, /Use the release that wrote it, or remove the directory of this store/],
    file: 'MANIFEST',
    mistake: replaced('MANIFEST', (content) => {
      const newer = Buffer.from(content)
      newer.writeUInt16LE(2, newer.writeUInt16LE(2, 8))
      newer.writeUInt32LE(crc32(newer.subarray(0, 60)), 60)
      return newer
    }),
  },
  {
    what: 'a table of another store',
    code: 'ERR_STORE_CORRUPT',
    says: [/it belongs to another store/, restore],
    file: '.tbl',
    mistake: replaced('.tbl', () => other.files.get(named('.tbl'))!),
  },
  {
    what: 'a photo in the place of a table',
    code: 'ERR_STORE_CORRUPT',
    says: [/is damaged at byte 0/, restore],
    file: '.tbl',
    mistake: replaced('.tbl', (content) => Buffer.alloc(content.length, 'JFIF')),
  },
  {
    what: 'a manifest with a changed byte',
    code: 'ERR_STORE_CORRUPT',
    says: [/is damaged at byte \d+/, restore],
    file: 'MANIFEST',
    mistake: replaced('MANIFEST', changedByte),
  },
  {
    what: 'a CURRENT that somebody has edited',
    code: 'ERR_STORE_CORRUPT',
    says: [/is damaged at byte \d+/, restore],
    file: 'CURRENT',
    mistake: replaced('CURRENT', (content) => Buffer.from(content.toString().replace('1\n', '2\n'))),
  },
]

for (const { what, code, says, file, mistake } of [...openings]) {
  test(`opening: ${what}`, async () => {
    const fs = diskWith(made.files)
    const fault = new FaultFs(fs)
    const engine = new LogEngine({
      dir: '/data',
      fs: fault,
      random: new SeededRandom(4),
      scheduler: new StillScheduler(),
    })
    const mend = mistake(fs, fault)
    const error = await rejects(engine.open(directory), StoreError)
    assert.is(error.code, code, error.message)
    for (const pattern of [/^store g\/t\/0: /, ...says]) assert.match(error.message, pattern)
    if (file !== undefined) {
      assert.is(error.file, named(file))
      assert.match(error.message, named(file))
      assert.type(error.offset, 'number')
    }
    assert.is(error.retriable, code === 'ERR_STORE_NOSPACE')
    assert.equal(fault.open, [], 'files that stay open')
    mend()
    assert.is(stateOf(await engine.open(directory)), last)
    await engine.close()
    const later = engineOn(fs.kill())
    assert.is(stateOf(await later.open(directory)), last)
    await later.close()
  })
}

test('opened twice: by an engine, by another of the process; the first goes on', async () => {
  const fs = diskWith(made.files)
  const first = engineOn(fs, undefined, 3)
  const store: LogStore = await first.open(directory)
  for (const engine of [first, engineOn(fs, undefined, 4)]) {
    const { message } = await rejects(engine.open(directory), 'ERR_STORE_LOCKED')
    assert.match(message, /^store g\/t\/0: \/data\/g\/t\/0/)
    assert.match(message, /is open already in this process/)
    assert.match(message, /close it first/)
  }
  commit(store, { '0h': 'after' })
  const after = stateOf(store)
  await first.close()
  const again = engineOn(fs, undefined, 5)
  assert.is(stateOf(await again.open(directory)), after)
  await again.close()
})

test('opened by another process: named, with what to do; when that one has ended, everything is there', async () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-bad-input-'))
  const engine = new LogEngine({ dir: root, sync: 'never', worker: false })
  const lock = join(root, 'g', 't', '0', 'LOCK')
  try {
    const store = await engine.open(directory)
    commit(store, { '0a': 'one' }, 7)
    const before = stateOf(store)
    await store.close()
    const child = spawn(process.execPath, [join(import.meta.dirname, 'lock-child.js'), lock])
    const said = createInterface({ input: child.stdout })
    const ended = once(child, 'exit')
    assert.equal(await once(said, 'line'), ['ok'])
    const error = await rejects(engine.open(directory), StoreError)
    assert.is(error.code, 'ERR_STORE_LOCKED')
    assert.is(error.file, 'LOCK')
    assert.ok(error.message.includes(`${lock} is locked: process ${child.pid} on `), error.message)
    assert.match(error.message, /Stop that process; if it is none of yours, remove/)
    assert.match(readFileSync(lock, 'utf8'), `"pid":${child.pid}`)
    child.stdin.end()
    await ended
    assert.is(stateOf(await engine.open(directory)), before)
  } finally {
    await engine.close()
    rmSync(root, { recursive: true })
  }
})

test('a directory full of other things becomes a store beside them', async () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-bad-input-'))
  const engine = new LogEngine({ dir: root, sync: 'never', worker: false })
  try {
    await (await engine.open({ ...directory, partition: 1 })).close()
    const path = engine.pathOf({ ...directory, partition: 1 })
    const others = ['README.md', 'app.log', '1.log', 'data.tbl', 'current', '.DS_Store']
    for (const name of others) writeFileSync(join(path, name), name)
    const store = await engine.open({ ...directory, partition: 1 })
    commit(store, { '0a': 'one' })
    const before = stateOf(store)
    await store.compact()
    await store.close()
    assert.is(stateOf(await engine.open({ ...directory, partition: 1 })), before)
    for (const name of others) assert.is(readFileSync(join(path, name), 'utf8'), name)
  } finally {
    await engine.close()
    rmSync(root, { recursive: true })
  }
})

test('what is open refuses a directory that is taken away, and says which file', async () => {
  const fs = diskWith(made.files)
  const engine = engineOn(fs)
  const store = await engine.open(directory)
  const files = filesOf(fs)
  fs.removeSync(`${dir}/LOCK`)
  const error = await rejects(store.compact(), StoreError)
  assert.is(error.code, 'ERR_STORE_POISONED', error.message)
  assert.is(error.file, 'LOCK')
  assert.is(stateOf(store), last, 'reads go on')
  await engine.close().catch(() => undefined)
  const again = engineOn(diskWith(files))
  assert.is(stateOf(await again.open(directory)), last)
  await again.close()
})

test.run()
