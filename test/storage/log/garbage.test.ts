/** Files of a small store that hold what belongs elsewhere, are missing, or are something else than a file. */
import * as assert from 'uvu/assert'
import { suite } from '../../support/suite.ts'
import {
  dir,
  diskWith,
  type Files,
  filesOf,
  openDisk,
  openFiles,
  type Outcome,
  scrub,
  type SmallStore,
  smallStore,
} from '../support/small-store.ts'

const test = suite('log engine: garbage in files')
let made: SmallStore
/** Another store of the same shape: the same file names, another id. */
let other: SmallStore
let all = 0
let [oldTable, newTable, oldLog, newLog, manifest] = ['', '', '', '', '']
/** States that the tables alone, and the older log with them, hold. */
const [inTables, inOldLog] = [4, 5]

test.before(async () => {
  made = await smallStore(1)
  other = await smallStore(2)
  all = made.states.length - 1
  const named = (part: string): string[] => [...made.files.keys()].filter((name) => name.includes(part))
  ;[oldTable = '', newTable = ''] = named('.tbl')
  ;[oldLog = '', newLog = ''] = named('.log')
  ;[manifest = ''] = named('MANIFEST')
  assert.equal([...other.files.keys()], [...made.files.keys()])
})

const content = (name: string): Buffer => made.files.get(name)!
const changed = (...changes: readonly (readonly [string, Buffer])[]): Files => new Map([...made.files, ...changes])
const without = (name: string): Files => new Map([...made.files].filter(([one]) => one !== name))
const openWith = (...changes: readonly (readonly [string, Buffer])[]): Promise<Outcome> =>
  openFiles(changed(...changes), made.states)

/** Where each frame of a log begins, and its end. */
function framesOf(log: Buffer): number[] {
  const starts = [64]
  for (let at = 64; at < log.length; ) {
    at += log.readUInt32LE(at)
    starts.push(at)
  }
  return starts
}

function assertRefused({ code, error, fs }: Outcome, file: string, files: Files): void {
  assert.is(code, 'ERR_STORE_CORRUPT', error?.message ?? 'it opened')
  assert.is(error?.file, file)
  assert.match(error?.message ?? '', file)
  assert.match(error?.message ?? '', /Restore the directory/)
  for (const [name, bytes] of files) {
    if (name !== 'LOCK') assert.ok(fs.contentOf(`${dir}/${name}`).equals(bytes), `${name} has changed`)
  }
}

for (const bytes of [1, 7, 8, 39, 40, 4096]) {
  test(`${bytes} zeros behind a log mean nothing, behind the manifest a change that never happened`, async () => {
    const zeros = Buffer.alloc(bytes)
    for (const log of [oldLog, newLog]) {
      const { state, recovered } = await openWith([log, Buffer.concat([content(log), zeros])])
      assert.is(state, all)
      assert.equal(recovered, [])
    }
    const { state, recovered } = await openWith([manifest, Buffer.concat([content(manifest), zeros])])
    assert.is(state, all)
    assert.equal(recovered, [{ ...recovered[0], file: manifest, droppedBytes: bytes, reason: 'torn' }])
    for (const name of [oldTable, newTable, 'CURRENT']) {
      const files = changed([name, Buffer.concat([content(name), zeros])])
      assertRefused(await openFiles(files, made.states), name, files)
    }
  })
}

test("an old log's frames behind the newest log are not taken for its own", async () => {
  const tail = content(oldLog).subarray(64)
  const { state, recovered } = await openWith([newLog, Buffer.concat([content(newLog), tail])])
  assert.is(state, all)
  assert.equal(recovered, [{ ...recovered[0], file: newLog, droppedBytes: tail.length, reason: 'corrupt' }])
})

test('a frame that is there twice counts once', async () => {
  const log = content(newLog)
  const starts = framesOf(log)
  for (let i = 0; i + 1 < starts.length; i++) {
    const frame = log.subarray(starts[i], starts[i + 1])
    const rest = log.subarray(starts[i + 1])
    const { state, recovered } = await openWith([newLog, Buffer.concat([log.subarray(0, starts[i + 1]), frame, rest])])
    assert.is(state, inOldLog + 1 + i)
    const droppedBytes = frame.length + rest.length
    assert.equal(recovered, [{ ...recovered[0], file: newLog, droppedBytes, reason: 'gap' }])
  }
})

test('a frame that was taken out ends the log where it was', async () => {
  const log = content(newLog)
  const [first = 0, second = 0] = framesOf(log)
  const { state, recovered } = await openWith([newLog, Buffer.concat([log.subarray(0, first), log.subarray(second)])])
  assert.is(state, inOldLog)
  assert.is(recovered[0]?.reason, 'gap')
})

test('logs under the names of each other do not count', async () => {
  const swapped = await openWith([oldLog, content(newLog)], [newLog, content(oldLog)])
  assert.is(swapped.state, inTables)
  const droppedBytes = content(oldLog).length + content(newLog).length
  assert.equal(swapped.recovered, [{ ...swapped.recovered[0], file: oldLog, droppedBytes, reason: 'corrupt' }])
  const copied = await openWith(['0000000050.log', content(newLog)])
  assert.is(copied.state, all)
  assert.is(copied.recovered[0]?.file, '0000000050.log')
})

test("another store's files do not count, and are named", async () => {
  for (const name of [oldTable, newTable]) {
    const files = changed([name, other.files.get(name)!])
    const outcome = await openFiles(files, made.states)
    assertRefused(outcome, name, files)
    assert.match(outcome.error?.message ?? '', 'it belongs to another store')
  }
  for (const [name, state] of [
    [oldLog, inTables],
    [newLog, inOldLog],
  ] as const) {
    const outcome = await openWith([name, other.files.get(name)!])
    assert.is(outcome.state, state)
    assert.is(outcome.recovered[0]?.reason, 'corrupt')
  }
  // Then every table is another store's.
  const files = changed([manifest, other.files.get(manifest)!])
  assertRefused(await openFiles(files, made.states), newTable, files)
})

test("a table under another one's name is refused", async () => {
  const files = changed([oldTable, content(newTable)])
  assertRefused(await openFiles(files, made.states), oldTable, files)
})

test('an old state of the manifest behind the newest one does not count', async () => {
  const bytes = content(manifest)
  const first = bytes.subarray(64, 64 + ((8 + bytes.readUInt32LE(64) + 7) & ~7))
  const { state, recovered } = await openWith([manifest, Buffer.concat([bytes, first])])
  assert.is(state, all)
  assert.is(recovered[0]?.file, manifest)
})

test('files without content', async () => {
  const nothing = Buffer.alloc(0)
  for (const name of [oldTable, newTable, manifest, 'CURRENT']) {
    const files = changed([name, nothing])
    assertRefused(await openFiles(files, made.states), name, files)
  }
  const older = await openWith([oldLog, nothing])
  assert.is(older.state, inTables)
  assert.is(older.recovered[0]?.droppedBytes, content(newLog).length - 64)
  assert.is((await openWith([newLog, nothing])).state, inOldLog)
  assert.is((await openWith(['LOCK', nothing])).state, all)
})

test('missing files', async () => {
  for (const name of [oldTable, newTable, manifest, 'CURRENT']) {
    const files = without(name)
    assertRefused(await openFiles(files, made.states), name, files)
    assert.ok(scrub(diskWith(files)).faults.some(({ file }) => file === name))
  }
  const older = await openFiles(without(oldLog), made.states)
  assert.is(older.state, inTables)
  assert.is(older.recovered[0]?.reason, 'gap')
  // Nothing tells that there ever was a newest log: it is made before anything says so.
  assert.is((await openFiles(without(newLog), made.states)).state, inOldLog)
  assert.is((await openFiles(without('LOCK'), made.states)).state, all)
})

test("files that are not the store's stay; its own that do not count go, and their numbers are not used again", async () => {
  const foreign = [
    'README',
    'data.log',
    '12.log',
    '0000000000.log',
    'MANIFEST-7',
    `${oldTable}.bak`,
    '.hidden',
    'LOCK~',
  ]
  const leftovers = ['0000000099.tbl', '0000000001.log', 'MANIFEST-0000000050', 'CURRENT.tmp', '0000000077.tbl.tmp']
  const bytes = Buffer.from('garbage')
  const extra = [...foreign, ...leftovers].map((name) => [name, bytes] as const)
  const outcome = await openWith(...extra)
  assert.is(outcome.state, all)
  assert.equal(outcome.recovered, [])
  const names = outcome.fs.readdirSync(dir)
  for (const name of foreign)
    assert.ok(names.includes(name) && outcome.fs.contentOf(`${dir}/${name}`).equals(bytes), name)
  for (const name of leftovers) assert.not.ok(names.includes(name), name)
  const again = await openFiles(filesOf(outcome.fs), made.states)
  assert.is(again.state, all)
  const numbers = again.fs
    .readdirSync(dir)
    .map((name) => (/^\d{10}\.(tbl|log)$/.test(name) ? Number.parseInt(name, 10) : 0))
  assert.ok(
    numbers.every((number) => number <= 8 || number > 99),
    `${numbers}`,
  )
})

test('a directory where a file should be is named, and nothing is removed', async () => {
  for (const name of [oldTable, newTable, oldLog, newLog, manifest, 'CURRENT', 'LOCK']) {
    const fs = diskWith(without(name))
    fs.mkdirSync(`${dir}/${name}`)
    const before = fs.readdirSync(dir)
    const { code, error } = await openDisk(fs, made.states)
    assert.is(code, name === 'LOCK' ? 'ERR_STORE_IO' : 'ERR_STORE_CORRUPT', `${name}: ${error?.message}`)
    assert.match(error?.message ?? '', name)
    if (name !== 'LOCK') assert.is(error?.file, name)
    assert.equal(
      fs.readdirSync(dir).filter((one) => one !== 'LOCK'),
      before.filter((one) => one !== 'LOCK'),
    )
    if (name !== 'LOCK') assert.ok(scrub(fs).faults.some(({ file }) => file === name))
  }
})

test.run()
