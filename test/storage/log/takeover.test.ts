/**
 * A directory that two machines share, and a lock that is taken over although its holder lives: whatever the two do, the
 * store is what its new owner made of it, and the old one is told soon. Also containers of one machine, which see each other's
 * locks but not each other's processes.
 */
import * as assert from 'uvu/assert'
import type { FileHandle } from '../../../src/base/fs.ts'
import {
  LogEngine,
  type LogEngineOptions,
  type LogStore,
  type StoreEvent,
  StoreError,
} from '../../../src/storage/index.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { StillScheduler } from '../support/driver.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { current, filesOf, path, stateOf, storeWith } from '../support/manifests.ts'
import { SimFs } from '../support/sim-fs.ts'
import { scrub } from '../support/small-store.ts'

const test = suite('log engine: a lock that is taken over')
const directory = { group: 'g', table: 't', partition: 0 }
const dir = '/data/g/t/0'

/** The shared disk as one machine, or container, sees it: with a /proc of its own. */
class MachineFs extends FaultFs {
  readonly #name: string

  constructor(disk: SimFs, name: string) {
    super(disk)
    this.#name = name
    disk.mkdirSync(`/${name}`)
  }

  /** A file of its /proc. */
  tell(path: string, text: string): this {
    const disk = this.inner as SimFs
    disk.mkdirSync(`/${this.#name}${path.slice(0, path.lastIndexOf('/'))}`)
    disk.tamper(`/${this.#name}${path}`, Buffer.from(text))
    return this
  }

  override openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle {
    return super.openSync(path.startsWith('/proc/') ? `/${this.#name}${path}` : path, mode)
  }
}

const stat = (startTime: number): string => `1 (node) S ${'0 '.repeat(18)}${startTime} 0\n`

/** A machine that was started at another time than all others. */
function machine(disk: SimFs, name: string): MachineFs {
  return container(disk, name, `boot of ${name}`, 1, 100)
}

/** One of the containers of a machine: process 1 was started with it. */
function container(disk: SimFs, name: string, boot: string, initStart: number, ownStart: number): MachineFs {
  return new MachineFs(disk, name)
    .tell('/proc/sys/kernel/random/boot_id', `${boot}\n`)
    .tell('/proc/1/stat', stat(initStart))
    .tell(`/proc/${process.pid}/stat`, stat(ownStart))
}

let seed = 1

interface Member {
  readonly engine: LogEngine
  readonly store: LogStore
  readonly scheduler: StillScheduler
  readonly events: StoreEvent[]
}

async function member(fs: MachineFs, options: Partial<LogEngineOptions> = {}): Promise<Member> {
  const scheduler = new StillScheduler()
  const events: StoreEvent[] = []
  const engine = new LogEngine({
    dir: '/data',
    fs,
    scheduler,
    random: new SeededRandom(seed++),
    writeBufferBytes: 4096,
    cacheBytes: 0,
    onEvent: (event) => events.push(event),
    ...options,
  })
  return { engine, store: await engine.open(directory), scheduler, events }
}

function write(store: LogStore, from: number, to: number, whose: string): void {
  for (let position = from; position <= to; position++) {
    const key = Buffer.from(`key ${position}`)
    const value = Buffer.from(`${position} of ${whose}`)
    store.writer().put(0, key, 0, key.length, value, 0, value.length)
    store.writer().commit({ position, state: Buffer.from(whose) })
  }
}

function contents(store: LogStore): string[] {
  return [...store.entries()]
    .map(([, value]) => value.toString())
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
}

const numbered = (from: number, to: number, whose: string): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `${from + i} of ${whose}`)

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

for (const [what, first, second] of [
  ['another machine', (disk: SimFs) => machine(disk, 'one'), (disk: SimFs) => machine(disk, 'two')],
  [
    'another container of the machine',
    (disk: SimFs) => container(disk, 'one', 'boot', 500, 500),
    (disk: SimFs) => container(disk, 'two', 'boot', 900, 900),
  ],
] as const) {
  for (const sync of ['interval', 'batch', 'never'] as const) {
    test(`taken over by ${what}, sync ${sync}: what the old owner still writes is no part of the store`, async () => {
      const disk = new SimFs()
      const old = await member(first(disk), { sync })
      write(old.store, 1, 3, 'old')
      const next = await member(second(disk), { sync })
      assert.equal(contents(next.store), numbered(1, 3, 'old'))
      // Frames of the same length, as those of two members are that do the same.
      let told: unknown
      try {
        write(old.store, 4, 8, 'old')
      } catch (error) {
        told = error
      }
      write(next.store, 4, 6, 'new')
      if (sync === 'batch') assert.is((told as { code?: string } | undefined)?.code, 'ERR_STORE_POISONED')
      if (sync === 'interval') {
        old.scheduler.tick()
        await turn()
        assert.throws(
          () => write(old.store, 9, 9, 'old'),
          (error: Error) => /was lost: now process \d+ on .* has it/.test(error.message),
        )
        assert.is(old.events.filter(({ kind }) => kind === 'failed').length, 1)
      }
      const third = await member(machine(disk.kill(), 'three'))
      assert.equal(contents(third.store), [...numbered(1, 3, 'old'), ...numbered(4, 6, 'new')])
      assert.is(third.store.checkpoint?.position, 6)
      assert.equal(
        third.events.filter(({ kind }) => kind === 'recovered'),
        [],
      )
      await third.engine.close()
      await old.engine.close().catch(() => undefined)
      await next.engine.close()
      assert.not.ok(disk.existsSync(`${dir}/LOCK`))
      const last = await member(machine(disk.kill(), 'four'))
      assert.equal(contents(last.store), [...numbered(1, 3, 'old'), ...numbered(4, 6, 'new')])
      await last.engine.close()
    })
  }
}

test('the old owner begins no new log, and makes no tables and no manifest', async () => {
  const disk = new SimFs()
  const old = await member(machine(disk, 'one'), { sync: 'never' })
  write(old.store, 1, 3, 'old')
  const next = await member(machine(disk, 'two'), { sync: 'never' })
  const before = disk.readdirSync(dir)
  // Above the write buffer: it would freeze the memtable.
  assert.throws(
    () => write(old.store, 4, 300, 'old'),
    (error: { code?: string }) => error.code === 'ERR_STORE_POISONED',
  )
  assert.is(old.events.filter(({ kind }) => kind === 'failed').length, 1, 'it is told once')
  await rejects(old.store.flush(), 'ERR_STORE_POISONED')
  await rejects(old.store.compact(), 'ERR_STORE_POISONED')
  assert.throws(
    () => old.store.clear(),
    (error: { code?: string }) => error.code === 'ERR_STORE_POISONED',
  )
  assert.equal(disk.readdirSync(dir), before)
  assert.is(
    contents(old.store).length,
    3 + contents(old.store).filter((value) => !/^[123] /.test(value)).length,
    'it reads on',
  )
  await old.engine.close().catch(() => undefined)
  write(next.store, 4, 300, 'new')
  await next.store.compact()
  await next.engine.close()
  const last = await member(machine(disk.kill(), 'three'))
  assert.equal(contents(last.store), [...numbered(1, 3, 'old'), ...numbered(4, 300, 'new')])
  await last.engine.close()
  assert.equal(scrub(disk).faults, [])
})

/**
 * The old owner stands still before its `at`th operation of a flush and a merge while the new one opens the store, writes,
 * and goes on; then it goes on, too. False: there is no such operation.
 */
async function stopAt(at: number): Promise<boolean> {
  const disk = new SimFs()
  const fs = machine(disk, 'one')
  const old = await member(fs, { sync: 'never' })
  write(old.store, 1, 60, 'old')
  await old.store.flush()
  write(old.store, 61, 70, 'old')
  let reached = false
  let next: Member | undefined
  const start = fs.total
  const others = machine(disk, 'two')
  let opening: Promise<void> | undefined
  fs.before = ({ count }) => {
    if (count !== start + at) return
    fs.before = undefined
    reached = true
    // Opening is done before anything is awaited.
    opening = member(others, { sync: 'never' }).then((opened) => {
      next = opened
    })
  }
  const compacted = old.store.compact().catch(() => undefined)
  await compacted
  await opening
  if (!reached || next === undefined) {
    await old.engine.close()
    return false
  }
  const what = `stopped before operation ${at}`
  assert.equal(contents(next.store), numbered(1, 70, 'old'), what)
  write(next.store, 71, 80, 'new')
  await old.engine.close().catch(() => undefined)
  const expected = [...numbered(1, 70, 'old'), ...numbered(71, 80, 'new')]
  assert.equal(contents(next.store), expected, what)
  for (const then of ['killed', 'closed'] as const) {
    if (then === 'closed') await next.engine.close()
    const last = await member(machine(disk.kill(), 'three'))
    assert.equal(contents(last.store), expected, `${what}, then ${then}`)
    await last.engine.close()
  }
  return true
}

test('taken over at any step of a flush and a merge of the old owner: nothing of the new one is lost', async () => {
  let at = 1
  while (await stopAt(at)) at += 1
  assert.ok(at > 30, `${at} steps`)
  console.log(`note: ${at - 1} steps`)
})

for (const [what, forever, code] of [
  ['an operation fails', false, 'EIO'],
  ['the disk is full', false, 'ENOSPC'],
  ['the new owner dies', true, 'EIO'],
] as const) {
  test(`${what} while a store is taken over, and another process opens it: the old owner is shut out`, async () => {
    let failures = 0
    for (let at = 1; ; at++) {
      const disk = new SimFs()
      const old = await member(machine(disk, 'one'), { sync: 'never' })
      write(old.store, 1, 60, 'old')
      await old.store.flush()
      write(old.store, 61, 70, 'old')
      const fs = machine(disk, 'two')
      const fault = fs.fail({ path: /\/data\/g\/t\/0/, at, code, forever })
      const next = await member(fs, { sync: 'never' }).catch(() => undefined)
      fs.heal()
      const again = next ?? (await member(fs, { sync: 'never' }))
      const whose = (): void => write(old.store, 71, 71, 'old')
      // It does not know yet, or has been told.
      if (at % 2 === 0) assert.not.throws(whose)
      write(again.store, 71, 73, 'new')
      if (at % 2 === 1) assert.not.throws(whose)
      const last = await member(machine(disk.kill(), 'three'))
      assert.equal(contents(last.store), [...numbered(1, 70, 'old'), ...numbered(71, 73, 'new')], `operation ${at}`)
      await last.engine.close()
      await old.engine.close().catch(() => undefined)
      await again.engine.close()
      if (fault.failures === 0) break
      failures += 1
    }
    assert.ok(failures > 20, `${failures} failures`)
  })
}

test('what a process knew of the files when it lost the lock says nothing of what the next owner has written', async () => {
  const disk = new SimFs()
  const first = await member(machine(disk, 'one'))
  write(first.store, 1, 3, 'old')
  const next = await member(machine(disk, 'two'))
  write(next.store, 4, 6, 'new')
  await next.engine.close()
  await first.store.sync().catch(() => undefined)
  await first.store.close().catch(() => undefined)
  const again = await first.engine.open(directory)
  assert.equal(contents(again), [...numbered(1, 3, 'old'), ...numbered(4, 6, 'new')])
  await first.engine.close()
})

for (const isClosed of [true, false]) {
  const end = isClosed ? 'closed' : 'killed'
  test(`the same after a failed sync, when another process has had the store since and was ${end}`, async () => {
    const disk = new SimFs()
    const fs = machine(disk, 'one')
    const first = await member(fs)
    write(first.store, 1, 3, 'old')
    fs.fail({ kinds: ['sync'], path: /\.log$/ })
    await rejects(first.store.sync(), 'ERR_STORE_POISONED')
    await first.store.close()
    const next = await member(machine(disk, 'two'))
    write(next.store, 4, 6, 'new')
    await next.store.sync()
    const expected = contents(next.store)
    if (isClosed) await next.engine.close()
    const again = await first.engine.open(directory)
    assert.equal(contents(again), expected)
    await first.engine.close()
  })
}

test('who lost the lock does not replace the manifest of the new owner, whenever it was lost', () => {
  for (const lostAt of [1, 2]) {
    const { fs } = storeWith(1)
    let checks = 0
    const opened = Manifest.open(
      filesOf(fs, () => {
        checks += 1
        if (checks >= lostAt) throw new StoreError('ERR_STORE_POISONED', 's', 'the lock was lost')
      }),
    )
    const [before, ...more] = [current, path(1)].map((name) => fs.contentOf(name).toString('hex'))
    assert.throws(
      () => opened!.manifest.rewrite(stateOf(2), 7),
      (error: { code?: string }) => error.code === 'ERR_STORE_POISONED',
    )
    assert.equal(
      [current, path(1)].map((name) => fs.contentOf(name).toString('hex')),
      [before, ...more],
    )
    assert.not.ok(fs.existsSync(path(7)))
    opened!.manifest.close()
  }
})

test('a container that was started again takes its own lock over, and so does a pod on another machine', async () => {
  const disk = new SimFs()
  const before = await member(container(disk, 'one', 'boot', 500, 500))
  write(before.store, 1, 3, 'old')
  // Each left its lock when it was killed.
  for (const [name, boot, init] of [
    ['again', 'boot', 700],
    ['elsewhere', 'another boot', 10],
  ] as const) {
    const killed = disk.kill()
    const after = await member(container(killed, name, boot, init, init))
    assert.equal(contents(after.store), numbered(1, 3, 'old'))
    await after.engine.close()
  }
})

test.run()
