/** Reading many keys without blocking: right at every moment, ordered and bounded on the disk, and ended by close. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, type LogStore, Span, StoreError } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { bytes, put, remove, thrown } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { seedsOf } from './model-worlds.ts'

const test = suite('log engine: many keys at once', { deadlineMs: 60_000 })
const at = { group: 'g', table: 't', partition: 0 }

class World {
  readonly turns = new Turns(0.4)
  /** Reads under way, and the most there were. */
  reading = 0
  mostReading = 0
  /** Where reads of tables were, in their order. */
  readonly reads: number[] = []
  readonly sim = new SimFs({ defer: (run) => this.turns.immediate(run) })
  readonly fs = new FaultFs(this.sim)
  readonly engine: LogEngine
  store!: LogStore

  constructor(options: Partial<LogEngineOptions> = {}) {
    this.engine = new LogEngine({
      dir: '/s',
      fs: this.fs,
      scheduler: this.turns,
      random: new SeededRandom(4),
      sync: 'never',
      writeBufferBytes: 4096,
      ...options,
    })
  }

  async open(): Promise<this> {
    this.store = await this.engine.open(at)
    return this
  }

  drive = <T>(promise: Promise<T>): Promise<T> => this.turns.drive(promise)

  /** `count` keys in tables, with other tables above them for every third. */
  async fill(count: number): Promise<void> {
    for (let i = 0; i < count; i++) put(this.store, `key ${i}`, `value ${i}`)
    this.store.writer().commit()
    await this.drive(this.store.flush())
    for (let i = 0; i < count; i += 3) put(this.store, `key ${i}`, `newer ${i}`)
    for (let i = 1; i < count; i += 30) remove(this.store, `key ${i}`)
    this.store.writer().commit()
    await this.drive(this.store.flush())
  }

  expected(i: number, count: number): string | undefined {
    if (i >= count) return undefined
    if (i % 3 === 0) return `newer ${i}`
    return i % 30 === 1 ? undefined : `value ${i}`
  }
}

function texts(values: readonly (Buffer | undefined)[]): (string | undefined)[] {
  return values.map((value) => value?.toString())
}

test('values from memtables, the cache and tables, in the order of the keys, each with bytes of its own', async () => {
  const world = await new World({ writeBufferBytes: 2 ** 20 }).open()
  const { store, drive } = world
  await world.fill(600)
  put(store, 'key 5', 'in memory')
  remove(store, 'key 7')
  store.writer().commit()
  const asked = Array.from({ length: 800 }, (_, i) => (i * 7) % 800)
  const expected = asked.map((i) => (i === 5 ? 'in memory' : i === 7 ? undefined : world.expected(i, 600)))
  const keys = asked.map((i) => (i % 2 === 0 ? `key ${i}` : bytes(`key ${i}`)))
  for (let round = 0; round < 4; round++) assert.equal(texts(await drive(store.getMany(keys))), expected)
  assert.ok(world.engine.cacheStats.hits > 0)
  assert.equal(await drive(store.getMany([])), [])
  assert.equal(texts(await drive(store.getMany(['key 3', 'key 3']))), ['newer 3', 'newer 3'])
  put(store, 'key 3', 'elsewhere', 2)
  store.writer().commit()
  assert.equal(texts(await drive(store.getMany(['key 3'], { space: 2 }))), ['elsewhere'])
  await rejects(store.getMany(['key'], { space: 16 }), 'ERR_STORE_SPACE')
  await rejects(store.getMany(['key'], { concurrency: 0 }), 'ERR_OPTIONS')
  await drive(world.engine.close())
  await rejects(store.getMany(['key 3']), 'ERR_STORE_CLOSED')
  await rejects(store.prefetch(['key 3']), 'ERR_STORE_CLOSED')
  assert.equal(world.fs.open, [])
})

test('a key that is changed after the call does not change what is read', async () => {
  const world = await new World().open()
  await world.fill(50)
  const key = bytes('key 8')
  const reading = world.store.getMany([key])
  key.write('key 2')
  assert.equal(texts(await world.drive(reading)), ['value 8'])
  await world.drive(world.engine.close())
})

test('at most so many reads at once, in the order of the disk, neighbours together', async () => {
  const world = await new World({ writeBufferBytes: 2 ** 22, cacheBytes: 0 }).open()
  const { store, drive } = world
  for (let i = 0; i < 4000; i++) put(store, `key ${String(i).padStart(5, '0')}`, 'v'.repeat(100))
  store.writer().commit()
  await drive(store.flush())
  const random = new SeededRandom(3)
  const keys = Array.from({ length: 300 }, () => `key ${String(random.int(4000)).padStart(5, '0')}`)
  assert.ok(store.get(keys[0]!) !== undefined)
  const before = store.logStats().preads
  world.fs.before = ({ kind, path }) => {
    if (kind !== 'read' || !path.endsWith('.tbl')) return
    world.reading += 1
    world.mostReading = Math.max(world.mostReading, world.reading)
  }
  world.turns.immediate(function reset() {
    // Every read ends in the turn after the one in which it began.
    world.reading = 0
    world.turns.immediate(reset)
  })
  await drive(store.getMany(keys, { concurrency: 4 }))
  const together = store.logStats().preads - before
  assert.ok(together < 150, `${together} reads for 300 keys`)
  assert.ok(world.mostReading > 1 && world.mostReading <= 4, `${world.mostReading} reads at a time`)
  const few = store.logStats().preads
  await drive(store.getMany(keys.slice(0, 8)))
  assert.ok(store.logStats().preads - few <= 9)
  world.fs.before = undefined
  await drive(world.engine.close())
})

test('short and long records, read one after another into the same buffer, stay each their own', async () => {
  const world = await new World({ writeBufferBytes: 2 ** 23, cacheBytes: 0 }).open()
  const { store, drive } = world
  const random = new SeededRandom(8)
  // Up to beyond what is read at first (4 KiB), and beyond what is read together (64 KiB).
  const lengths = [3, 100, 3000, 4090, 9000, 70_000, 200_000]
  const valueByKey = new Map(
    Array.from({ length: 300 }, (_, i) => [
      `key ${i}`,
      `${i} `.repeat(random.pick(lengths)).slice(0, random.pick(lengths)),
    ]),
  )
  for (const [key, value] of valueByKey) put(store, key, value)
  store.writer().commit()
  await drive(store.flush())
  for (const concurrency of [1, 3, 16]) {
    const keys = Array.from({ length: 200 }, () => `key ${random.int(305)}`)
    assert.equal(
      texts(await drive(store.getMany(keys, { concurrency }))),
      keys.map((key) => valueByKey.get(key)),
    )
  }
  await drive(world.engine.close())
})

test('nothing is read when everything is in memory, and prefetched values are in memory', async () => {
  const world = await new World({ writeBufferBytes: 2 ** 20 }).open()
  const { store, drive } = world
  await world.fill(500)
  const keys = Array.from({ length: 500 }, (_, i) => `key ${i}`)
  await drive(store.prefetch(keys))
  const before = store.logStats().preads
  const { hits } = world.engine.cacheStats
  for (let i = 0; i < 500; i++) assert.is(store.get(`key ${i}`)?.toString(), world.expected(i, 500))
  // Only deletions are looked up in tables again.
  const preads = store.logStats().preads - before
  assert.ok(preads >= 17 && preads < 25, `${preads} reads for 17 deleted keys`)
  assert.is(world.engine.cacheStats.hits - hits, 500 - 17)
  assert.equal(
    texts(await drive(store.getMany(keys))),
    keys.map((_, i) => world.expected(i, 500)),
  )
  await drive(world.engine.close())
})

test('a value is decoded where it lies', async () => {
  const world = await new World().open()
  const { store } = world
  put(store, 'n', '12')
  store.writer().commit()
  const decode = (from: Buffer, begin: number, end: number): number => Number(from.toString('latin1', begin, end))
  assert.is(store.read(0, bytes('#n#'), 1, 2, decode), 12)
  assert.is(store.read(0, bytes('m'), 0, 1, decode), undefined)
  assert.throws(
    () =>
      store.read(0, bytes('n'), 0, 1, () => {
        throw new Error('not readable')
      }),
    'not readable',
  )
  await world.drive(world.engine.close())
  thrown(() => store.read(0, bytes('n'), 0, 1, decode), 'ERR_STORE_CLOSED')
})

test('damage and errors of the disk are told, and nothing stays held', async () => {
  const world = await new World({ cacheBytes: 0 }).open()
  const { store, drive, fs } = world
  await world.fill(300)
  const keys = Array.from({ length: 300 }, (_, i) => `key ${i}`)
  for (let n = 1; n < 12; n++) {
    const fault = fs.fail({ kinds: ['read'], at: n })
    const settled = await drive(store.getMany(keys, { concurrency: 3 }).then(texts, (error: unknown) => error))
    if (fault.failures === 0)
      assert.equal(
        settled,
        keys.map((_, i) => world.expected(i, 300)),
      )
    else assert.is((settled as StoreError).code, 'ERR_STORE_IO')
    fs.heal()
  }
  assert.equal(
    texts(await drive(store.getMany(keys))),
    keys.map((_, i) => world.expected(i, 300)),
  )
  await drive(store.compact())
  const tables = fs.inner.readdirSync('/s/g/t/0').filter((name) => name.endsWith('.tbl'))
  assert.is(tables.length, store.logStats().tables)
  await drive(world.engine.close())
  assert.equal(fs.open, [])
})

test('closing ends reads that are under way, and waits for them', async () => {
  const ends: string[] = []
  for (let turns = 0; turns < 8; turns++) {
    const world = await new World({ cacheBytes: 0 }).open()
    const { store, drive, fs } = world
    await world.fill(300)
    const keys = Array.from({ length: 300 }, (_, i) => `key ${i}`)
    const reading = store.getMany(keys, { concurrency: 2 }).then(
      () => 'done',
      (error: unknown) => (error as StoreError).code,
    )
    for (let i = 0; i < turns; i++) await world.turns.turn()
    await drive(store.close())
    assert.equal(fs.open, [])
    ends.push(await drive(reading))
  }
  assert.ok(ends.lastIndexOf('ERR_STORE_CLOSED') >= 1, String(ends))
  assert.ok(
    ends.every((end, i) => end === 'ERR_STORE_CLOSED' || (end === 'done' && i > 1)),
    String(ends),
  )
})

/** Random writes with getMany and prefetch under way all the time: each answers with what was there when it was called. */
async function property(seed: number): Promise<void> {
  const random = new SeededRandom(seed)
  const world = await new World({
    random,
    writeBufferBytes: random.pick([4096, 16_384]),
    cacheBytes: random.pick([0, 4096, 65_536]),
  }).open()
  const { turns, drive } = world
  const keyCount = random.pick([30, 300])
  const model = new Map<string, string>()
  let checks: Promise<unknown>[] = []
  const out = new Span()
  const someKeys = (): string[] => Array.from({ length: random.int(60) }, () => `key ${random.int(keyCount + 5)}`)
  for (let step = 0; step < 400; step++) {
    const { store } = world
    const dice = random.next()
    if (dice < 0.35) {
      for (let left = random.int(30); left > 0; left--) {
        const key = `key ${random.int(keyCount)}`
        if (random.chance(0.2)) {
          remove(store, key)
          model.delete(key)
        } else {
          const value = `${step} `.repeat(1 + random.int(40))
          put(store, key, value)
          model.set(key, value)
        }
      }
      store.writer().commit()
    } else if (dice < 0.55) {
      const keys = someKeys()
      const expected = keys.map((key) => model.get(key))
      const reading = store.getMany(keys, { concurrency: 1 + random.int(5) })
      checks.push(reading.then((values) => assert.equal(texts(values), expected)))
    } else if (dice < 0.65) checks.push(store.prefetch(someKeys(), { concurrency: 1 + random.int(5) }))
    else if (dice < 0.85) for (let left = random.int(4); left > 0; left--) await turns.turn()
    else if (dice < 0.9) checks.push(store.flush())
    else if (dice < 0.92) await drive(store.compact())
    else if (dice < 0.94) {
      store.clear()
      model.clear()
      // What was waited for was cleared with the rest.
      checks = [Promise.allSettled(checks)]
    } else if (dice < 0.96) {
      await drive(Promise.all(checks))
      checks = []
      const reading = store.getMany(someKeys()).catch((error: unknown) => {
        if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_CLOSED') throw error
      })
      await drive(store.close())
      await drive(reading)
      await drive(world.open())
    } else {
      for (const key of someKeys()) {
        const bytesOf = bytes(key)
        const found = world.store.getSync(0, bytesOf, 0, bytesOf.length, out)
        assert.is(found ? out.copy().toString() : undefined, model.get(key), `${key} at step ${step}`)
      }
    }
  }
  await drive(Promise.all(checks))
  for (let i = 0; i < keyCount; i++) assert.is(world.store.get(`key ${i}`)?.toString(), model.get(`key ${i}`))
  await drive(world.engine.close())
  assert.equal(world.fs.open, [])
}

test('beside writes, flushes, merges, clear and close every answer is of one moment', async () => {
  for (const seed of seedsOf(1, 12)) {
    try {
      await property(seed)
    } catch (cause) {
      throw new Error(`seed ${seed}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
    }
  }
})

test.run()
