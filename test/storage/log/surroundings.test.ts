/**
 * What can happen around a store that is open: its directory vanishes or becomes something else, the process has no
 * descriptor left, the clock is wrong, somebody puts directories among the files. Nothing of others is removed, an error
 * says what it is about, and what is no failure of the disk is tried again.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, type StoreEvent, StoreError } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { StillScheduler } from '../support/driver.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: surroundings')
const directory = { group: 'g', table: 't', partition: 0 }
let root = ''
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-surroundings-'))
})
test.after.each(() => rmSync(root, { recursive: true, force: true }))

function write(store: LogStore, position: number): void {
  const key = Buffer.from(`key ${position}`)
  store.writer().put(0, key, 0, key.length, key, 0, key.length)
  store.writer().commit({ position, state: Buffer.alloc(0) })
}

const count = (store: LogStore): number => [...store.entries()].length

const vanishings: readonly (readonly [what: string, vanish: (path: string) => void])[] = [
  ['removed', (path) => rmSync(path, { recursive: true })],
  ['removed with all above it', () => rmSync(join(root, 'stores'), { recursive: true })],
  [
    'replaced by a file',
    (path) => {
      rmSync(path, { recursive: true })
      writeFileSync(path, 'a file')
    },
  ],
  ['moved away', (path) => renameSync(path, join(root, 'elsewhere'))],
  [
    'replaced by an empty directory',
    (path) => {
      renameSync(path, join(root, 'elsewhere'))
      mkdirSync(path)
    },
  ],
  [
    'left with a directory in the place of LOCK',
    (path) => {
      rmSync(join(path, 'LOCK'))
      mkdirSync(join(path, 'LOCK'))
    },
  ],
]

for (const [what, vanish] of vanishings) {
  for (const sync of ['interval', 'never'] as const) {
    test(`the directory of an open store is ${what}, sync ${sync}: it is told, and closing is quiet`, async () => {
      const events: StoreEvent[] = []
      const dir = join(root, 'stores')
      const engine = new LogEngine({ dir, sync, worker: false, onEvent: (event) => events.push(event) })
      const store = await engine.open(directory)
      for (let i = 0; i < 50; i++) write(store, i)
      await store.flush()
      write(store, 50)
      const path = engine.pathOf(directory)
      vanish(path)
      const there = existsSync(path) && what !== 'replaced by a file' ? readdirSync(path) : []
      assert.is(count(store), 51, 'what is open can be read')
      const { message, file } = await rejects(store.sync(), StoreError)
      assert.match(message, /the lock .*LOCK was lost: now nobody has it/)
      assert.is(file, 'LOCK')
      assert.throws(
        () => write(store, 51),
        (error: { code?: string }) => error.code === 'ERR_STORE_POISONED',
      )
      assert.is(events.filter(({ kind }) => kind === 'failed').length, 1)
      await engine.close()
      const after = existsSync(path) && what !== 'replaced by a file' ? readdirSync(path) : []
      assert.equal(after, there, 'closing leaves what is there now')
    })
  }
}

test('a directory in the place of LOCK is named, with what to do', async () => {
  const dir = join(root, 'stores')
  const engine = new LogEngine({ dir, sync: 'never', worker: false })
  const lock = join(engine.pathOf(directory), 'LOCK')
  mkdirSync(lock, { recursive: true })
  const { code, message, file } = await rejects(engine.open(directory), StoreError)
  assert.is(code, 'ERR_STORE_IO')
  assert.ok(message.includes(`${lock} is a directory`), message)
  assert.match(message, /remove it/)
  assert.is(file, 'LOCK')
  rmSync(lock, { recursive: true })
  await engine.open(directory)
  await engine.close()
})

test('directories among the files of a store stay, whatever they are called', async () => {
  const dir = join(root, 'stores')
  const engine = new LogEngine({ dir, sync: 'never', worker: false })
  write(await engine.open(directory), 1)
  await engine.close()
  const path = engine.pathOf(directory)
  const names = ['backup', 'backup.tmp', '0000000099.tbl', 'MANIFEST-0000000050', '0000000001.log']
  for (const name of names) {
    mkdirSync(join(path, name))
    writeFileSync(join(path, name, 'precious'), name)
  }
  for (let i = 0; i < 2; i++) {
    const store = await engine.open(directory)
    assert.is(count(store), 1 + i)
    write(store, 2 + i)
    await store.compact()
    await engine.close()
    for (const name of names) assert.is(readFileSync(join(path, name, 'precious'), 'utf8'), name)
  }
})

test('no descriptor left for syncing the directory: that is no failed sync, and is tried again', async () => {
  const events: StoreEvent[] = []
  const disk = new SimFs()
  const fs = new FaultFs(disk)
  const scheduler = new StillScheduler()
  const engine = new LogEngine({
    dir: '/data',
    fs,
    scheduler,
    random: new SeededRandom(1),
    onEvent: (event) => events.push(event),
  })
  const store = await engine.open(directory)
  write(store, 1)
  fs.fail({ kinds: ['syncDir'], code: 'EMFILE', forever: true })
  const tick = async (): Promise<void> => {
    scheduler.tick()
    for (let i = 0; i < 5; i++) await turn()
  }
  await tick()
  const { message } = await rejects(store.sync(), 'ERR_STORE_IO')
  assert.match(message, /EMFILE.*too many files are open.*it is tried again/)
  const flushed = await rejects(store.flush(), 'ERR_STORE_IO')
  assert.match(flushed.message, /EMFILE/)
  write(store, 2)
  assert.is(store.durableCheckpoint, undefined)
  assert.ok(events.some(({ kind }) => kind === 'failed'))
  fs.heal()
  // Nobody writes or asks any more.
  await tick()
  assert.is(store.durableCheckpoint?.position, 2)
  const after = new LogEngine({
    dir: '/data',
    fs: disk.crash(new SeededRandom(2)),
    scheduler,
    random: new SeededRandom(3),
  })
  assert.is(count(await after.open(directory)), 2, 'it outlives a power loss')
  await after.close()
  await store.flush()
  await engine.close()
})

for (const clock of [-5, Number.NaN, 1234.5, 2 ** 60]) {
  test(`a clock that says ${clock} costs nothing but the time in the files`, async () => {
    const scheduler = new (class extends StillScheduler {
      override now(): number {
        return clock
      }
    })()
    const disk = new SimFs()
    const options = { dir: '/data', fs: disk, scheduler, writeBufferBytes: 4096 }
    for (let life = 0; life < 2; life++) {
      const engine = new LogEngine({ ...options, random: new SeededRandom(life) })
      const store = await engine.open(directory)
      for (let i = 0; i < 200; i++) write(store, i)
      await store.compact()
      assert.is(count(store), 200)
      await engine.close()
    }
  })
}

test('a clock that goes back is no matter', async () => {
  const scheduler = new StillScheduler()
  let now = 1_700_000_000_000
  scheduler.now = () => (now -= 3_600_000)
  const disk = new SimFs()
  for (let life = 0; life < 3; life++) {
    const engine = new LogEngine({
      dir: '/data',
      fs: disk,
      scheduler,
      writeBufferBytes: 4096,
      random: new SeededRandom(life),
    })
    const store = await engine.open(directory)
    assert.is(count(store), 200 * life)
    assert.is(store.checkpoint?.position, life === 0 ? undefined : 200 * life - 1)
    for (let i = 0; i < 200; i++) write(store, 200 * life + i)
    await store.flush()
    await engine.close()
  }
})

test.run()
