/**
 * Reading many keys where the clock tells quick reads from slow ones: which are done at once, and that their answers are of
 * one moment and end with the store, on the real file system.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore } from '../../../src/storage/index.ts'
import { lookup } from '../../../src/storage/log/cursor.ts'
import { type ReadCore, ReadMany } from '../../../src/storage/log/read-many.ts'
import { Run } from '../../../src/storage/log/run.ts'
import type { Version } from '../../../src/storage/log/version.ts'
import { rejects, suite } from '../../support/suite.ts'
import { put } from '../contract.ts'
import { Turns } from '../support/turns.ts'

const test = suite('log engine: many keys at once, by the clock')
const root = mkdtempSync(join(tmpdir(), 'millrace-read-'))
process.on('exit', () => rmSync(root, { recursive: true, force: true }))
const at = { group: 'g', table: 't', partition: 0 }
const value = Buffer.from('value')

/** A core whose tables have every key that is asked at once, and none that is read in the background. */
class FakeCore {
  readonly turns = new Turns(0)
  /** Lookups that were done at once, and those of them that take long. */
  lookups = 0
  slow = new Set<number>()
  late = 0
  readonly reads: ReadMany

  constructor() {
    const version = {
      empty: false,
      upper: [],
      last: new Run([]),
      retain: () => version,
      release: () => {},
      get: (...[, , , , , out]: Parameters<Version['get']>) => {
        this.lookups += 1
        this.late += this.slow.has(this.lookups) ? 5 : 0.01
        out.bytes = value
        out.from = 0
        out.to = value.length
        return lookup.value
      },
    } as unknown as Version
    const core: ReadCore = {
      files: { store: 's', hashSeed: 1 } as ReadCore['files'],
      check: () => {},
      closed: false,
      version,
      tableEra: 0,
      getInMemory: () => undefined,
      remember: () => {},
    }
    const { turns } = this
    this.reads = new ReadMany(core, {
      now: () => 0,
      monotonic: () => this.late,
      immediate: (run) => turns.immediate(run),
      setTimer: (delay, run) => turns.setTimer(delay, run),
      clearTimer: (timer) => turns.clearTimer(timer),
    })
  }

  /** How many of so many keys were looked up at once. */
  async get(count: number): Promise<number> {
    const before = this.lookups
    const keys = Array.from({ length: count }, (_, i) => `key ${i}`)
    const values = await this.turns.drive(this.reads.getMany(keys, {}))
    const found = values.filter((one) => one !== undefined).length
    assert.is(found, this.lookups - before)
    return found
  }
}

test('quick lookups are done at once; after a slow one the next are not', async () => {
  const core = new FakeCore()
  assert.is(await core.get(1000), 1000)
  core.slow.add(1010)
  assert.is(await core.get(100), 10, 'up to the slow one')
  assert.is(await core.get(100), 0)
  assert.is(await core.get(65), 0, '255 in the background so far')
  assert.is(await core.get(1), 0)
  assert.is(await core.get(10), 10, 'then it is tried again')
})

async function filled(): Promise<LogStore> {
  const engine = new LogEngine({ dir: join(root, String(Math.random())), sync: 'never', cacheBytes: 0 })
  const store = await engine.open(at)
  for (let i = 0; i < 3000; i++) put(store, `key ${i}`, `value ${i}`)
  store.writer().commit()
  await store.flush()
  return store
}

test('what is written between its turns is not seen', async () => {
  const store = await filled()
  const keys = Array.from({ length: 3100 }, (_, i) => `key ${i}`)
  const reading = store.getMany(keys)
  for (let i = 0; i < 3100; i++) put(store, `key ${i}`, `later ${i}`)
  store.writer().commit()
  await store.flush()
  store.clear()
  const values = await reading
  for (let i = 0; i < 3100; i++) assert.is(values[i]?.toString(), i < 3000 ? `value ${i}` : undefined)
  await store.close()
})

test('closing ends it', async () => {
  const store = await filled()
  const reading = rejects(store.getMany(Array.from({ length: 3000 }, (_, i) => `key ${i}`)), 'ERR_STORE_CLOSED')
  await store.close()
  await reading
})

test.run()
