/** writeRun: what a cursor gives is in durable tables afterwards, or nothing is left. */
import * as assert from 'uvu/assert'
import type { Scheduler } from '../../../src/base/scope.ts'
import { StoreError } from '../../../src/storage/index.ts'
import { everything } from '../../../src/storage/log/cursor.ts'
import { tableName } from '../../../src/storage/log/format.ts'
import { JobRunner } from '../../../src/storage/log/jobs.ts'
import { compareBounds } from '../../../src/storage/log/levels.ts'
import { Run } from '../../../src/storage/log/run.ts'
import { maxTableBytes, type TableMeta } from '../../../src/storage/log/table-layout.ts'
import { writeRun } from '../../../src/storage/log/write-run.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { failing } from '../support/fault-fs.ts'
import { ListCursor, type ListEntry, randomEntries, readAll, seeds, show } from '../support/list-cursor.ts'
import { runSteps, TableWorld } from '../support/tables.ts'

const test = suite('write run')

/** Ascending keys with values of `valueBytes`. */
function numbered(count: number, valueBytes: number): ListEntry[] {
  return Array.from({ length: count }, (_, i) => ({
    space: 0,
    key: Buffer.from(String(i).padStart(8, '0')),
    value: Buffer.alloc(valueBytes, i & 0xff),
  }))
}

function start(world: TableWorld, cursor: ListCursor, maxTableBytes?: number): ReturnType<typeof writeRun> {
  return writeRun(world.files, world.nextFile, cursor, maxTableBytes === undefined ? {} : { maxTableBytes })
}

/** Nothing of a run is left: no file, nothing open, the cursor closed. */
function assertGone(world: TableWorld, cursor: ListCursor, says: string): void {
  assert.equal(world.sim.readdirSync('store'), [], `${says}: files are left`)
  assert.equal(world.fs.open, [], `${says}: files are open`)
  assert.ok(cursor.closed > 0, `${says}: the cursor is open`)
}

test('random entries come back as they were, in tables that follow each other', () => {
  for (const seed of seeds(30)) {
    const random = new SeededRandom(seed)
    const limit = random.pick([1500, 4000, 20_000, maxTableBytes])
    const entries = randomEntries(random, {
      count: random.int(400),
      spaces: 3,
      deletes: 0.2,
      key: (r) => r.bytes(r.int(r.pick([4, 30]))),
      value: (r) => r.bytes(r.int(r.pick([10, 200]))),
    })
    const world = new TableWorld()
    const metas = runSteps(start(world, new ListCursor(entries), limit))
    const tables = metas.map(world.open)
    const says = `SEED=${seed}`
    assert.equal(show(readAll(new Run(tables).cursor(everything))), show(entries), says)
    for (const [i, { meta }] of tables.entries()) {
      assert.equal(meta, metas[i], `${says}: what was written is what is read`)
      assert.ok(meta.byteLength <= limit || meta.entryCount === 1, `${says}: ${meta.byteLength} of ${limit} bytes`)
      if (i > 0) assert.ok(compareBounds(metas[i - 1]!.max, meta.min) < 0, says)
      assert.ok(world.sim.isDurable(`store/${tableName(meta.fileNumber)}`), `${says}: the data is durable`)
    }
    assert.ok(world.sim.isDurable('store'), `${says}: the names are durable`)
    if (limit < 5000 && entries.length > 100) assert.ok(tables.length > 1, says)
    for (const table of tables) table.close()
    assert.equal(world.fs.open, [], says)
  }
})

test('without entries there is no table, and nothing to sync', () => {
  const world = new TableWorld()
  const cursor = new ListCursor([])
  world.fs.resetCounts()
  assert.equal(runSteps(start(world, cursor)), [])
  assert.is(world.fs.total, 0)
  assertGone(world, cursor, 'no entries')
})

test('a record larger than a table has one of its own', () => {
  const world = new TableWorld()
  const entries = numbered(6, 10).map((entry, i) => (i === 2 ? { ...entry, value: Buffer.alloc(9000, 1) } : entry))
  const metas = runSteps(start(world, new ListCursor(entries), 4096))
  assert.equal(
    metas.map(({ entryCount }) => entryCount),
    [2, 1, 3],
  )
  assert.equal(show(readAll(new Run(metas.map(world.open)).cursor(everything))), show(entries))
})

test('steps are short: at most 256 records, or about 128 KiB', () => {
  for (const [count, valueBytes, most] of [
    [3000, 10, 256],
    [300, 10_000, 14],
  ] as const) {
    const world = new TableWorld()
    const cursor = new ListCursor(numbered(count, valueBytes))
    let taken = 0
    const next = cursor.next.bind(cursor)
    cursor.next = () => {
      taken += 1
      return next()
    }
    let before = 0
    let longest = 0
    runSteps(start(world, cursor), () => {
      longest = Math.max(longest, taken - before)
      before = taken
    })
    assert.ok(longest <= most, `${longest} records of ${valueBytes} bytes in one step`)
  }
})

test('each file is synced before the directory is', () => {
  const world = new TableWorld()
  const calls: string[] = []
  world.fs.after = ({ kind, path }) => {
    if (kind === 'sync' || kind === 'syncDir') calls.push(`${kind} ${path}`)
  }
  runSteps(start(world, new ListCursor(numbered(60, 50)), 2500))
  assert.equal(calls, [...[1, 2, 3].map((number) => `sync store/${tableName(number)}`), 'syncDir store'])
})

test('returned at any step it leaves nothing', () => {
  const entries = numbered(2000, 20)
  const count = (): number => {
    let steps = 0
    runSteps(start(new TableWorld(), new ListCursor(entries), 40_000), () => {
      steps += 1
    })
    return steps
  }
  const steps = count()
  assert.ok(steps > 10)
  for (let at = 1; at <= steps; at++) {
    const world = new TableWorld()
    const cursor = new ListCursor(entries)
    const run = start(world, cursor, 40_000)
    for (let i = 0; i < at; i++) {
      const { done, value } = run.next()
      if (done !== true) value?.block()
    }
    run.return([])
    assertGone(world, cursor, `after ${at} steps`)
  }
})

test('when the Nth operation fails, its error comes out and nothing is left', () => {
  const entries = numbered(150, 20)
  let failures = 0
  for (let at = 1; ; at++) {
    const world = new TableWorld()
    const cursor = new ListCursor(entries)
    const fault = world.fs.fail({ kinds: [...failing, 'close'], at, code: 'ENOSPC', written: 0.5 })
    let error: unknown
    let metas: TableMeta[] = []
    try {
      metas = runSteps(start(world, cursor, 2500))
    } catch (cause) {
      error = cause
    }
    if (fault.failures === 0) {
      assert.ok(metas.length > 1)
      break
    }
    failures += 1
    // A directory that could not be synced concerns more files than these.
    const system = error instanceof StoreError && error.code === 'ERR_STORE_POISONED' ? error.cause : error
    assert.is((system as { code?: unknown } | undefined)?.code, 'ENOSPC', `operation ${at}`)
    // A file system that cannot close a file leaves it open.
    if (world.fs.open.length > 0) world.fs.open.length = 0
    assertGone(world, cursor, `operation ${at}`)
  }
  assert.ok(failures > 10, `${failures} operations`)
})

test('an error of the source comes out and nothing is left', () => {
  for (const failAt of [0, 1, 40, 99]) {
    const world = new TableWorld()
    const cursor = new ListCursor(numbered(100, 20))
    cursor.failAt = failAt
    assert.throws(
      () => runSteps(start(world, cursor, 2500)),
      (error: unknown) => error === cursor.failure,
    )
    assertGone(world, cursor, `entry ${failAt}`)
  }
})

test('on a runner: syncs do not block, and cancelling removes what there is', async () => {
  const turns: (() => void)[] = []
  const scheduler: Scheduler = {
    now: () => 0,
    monotonic: () => 0,
    immediate: (callback) => void turns.push(callback),
    setTimer: () => ({ timer: undefined }),
    clearTimer: () => {},
  }
  const turn = async (): Promise<void> => {
    turns.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const runner = new JobRunner(scheduler)
  const owner = {}
  for (let stopAt = 0; ; stopAt++) {
    const world = new TableWorld()
    const cursor = new ListCursor(numbered(20_000, 0))
    let result: TableMeta[] | undefined
    const job = runner.start(start(world, cursor, 200_000), {
      owner,
      done: (metas) => {
        result = metas
      },
      failed: (error) => assert.unreachable(String(error)),
    })
    for (let i = 0; i < stopAt && job.state !== 'ended'; i++) await turn()
    if (stopAt > 0 && job.state === 'ended') {
      assert.ok(result!.length > 2)
      break
    }
    const cancelled = runner.cancel(owner)
    while (job.state !== 'ended') await turn()
    await cancelled
    if (stopAt > 0) assertGone(world, cursor, `cancelled in turn ${stopAt}`)
  }
})

test.run()
