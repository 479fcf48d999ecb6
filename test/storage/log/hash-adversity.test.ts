/**
 * Keys that somebody has chosen against the engine's hashing: everything stays right, only slower. Equal hashes, equal
 * tags in tables, slots that are found past the end; and seeds differ, so that nobody can choose such keys.
 */
import * as assert from 'uvu/assert'
import type { Random } from '../../../src/base/scope.ts'
import { LogEngine, type LogStore, Span, type Store } from '../../../src/storage/index.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import { homeOf, slotCountFor, tagOf } from '../../../src/storage/log/slot-index.ts'
import { slotBase, slotMask, Slots } from '../../../src/storage/slots.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put, remove } from '../contract.ts'
import { SimFs } from '../support/sim-fs.ts'
import { Turns } from '../support/turns.ts'
import { keyWithHash } from './colliding-keys.ts'

const test = suite('log engine: hashes', { deadlineMs: 60_000 })
const at = { group: 'g', table: 't', partition: 0 }

class World {
  readonly fs = new SimFs()
  readonly turns = new Turns(0.5)
  engine!: LogEngine
  store!: LogStore
  seed = 0

  async open(random: Random = new SeededRandom(11)): Promise<void> {
    const { fs, turns } = this
    this.engine = new LogEngine({ dir: '/s', fs, scheduler: turns, random, sync: 'never', writeBufferBytes: 16_384 })
    this.store = await this.engine.open(at)
    this.seed = seedOf(fs, '/s/g/t/0')
  }

  async reopen(): Promise<void> {
    await this.turns.drive(this.engine.close())
    await this.open()
  }
}

/** The seed of a store's hashes, from its manifest, while nobody changes it. */
function seedOf(fs: SimFs, dir: string): number {
  const copy = fs.kill()
  const opened = Manifest.open({ fs: copy, dir, store: 'test', now: () => 0 })
  if (opened === undefined) throw new Error('there is no manifest')
  opened.manifest.close()
  return opened.state.hashSeed
}

/** Puts, overwrites and deletes keys in batches and single writes; what must be there then. */
function write(store: LogStore, keys: readonly Buffer[], space: number, round: number): Map<string, string> {
  const expected = new Map<string, string>()
  keys.forEach((key, i) => {
    const value = `${round} ${i}`
    if ((i + round) % 5 === 0) remove(store, key, space)
    else {
      put(store, key, value, space)
      expected.set(key.toString('latin1'), value)
    }
    if (i % 50 === 49) store.writer().commit(checkpointAt(i))
    // Taken back, in the order of a long chain of equal hashes.
    if (i % 50 === 20) {
      store.writer().commit()
      for (const other of keys.slice(i, i + 30)) put(store, other, 'never', space)
      store.writer().abandon()
    }
  })
  store.writer().commit()
  return expected
}

function check(
  store: Pick<Store, 'getSync' | 'entries'>,
  keys: readonly Buffer[],
  space: number,
  expected: Map<string, string>,
): void {
  const out = new Span()
  for (const key of keys) {
    const found = store.getSync(space, key, 0, key.length, out)
    const value = found ? out.bytes.toString('utf8', out.from, out.to) : undefined
    assert.is(value, expected.get(key.toString('latin1')))
  }
  for (const reverse of [false, true]) {
    const found = [...store.entries({ space, reverse })].map(([key, value]) => [key.toString('latin1'), `${value}`])
    const wanted = [...expected].sort(([a], [b]) => (a < b === reverse ? 1 : -1))
    assert.equal(found, wanted)
  }
}

async function everywhere(
  makeKeys: (seed: number, space: number) => Buffer[],
  spaces: readonly number[],
): Promise<void> {
  const world = new World()
  await world.open()
  for (const space of spaces) {
    const keys = makeKeys(world.seed, space)
    const never = makeKeys(world.seed, space).map((key) => Buffer.concat([key, bytes('x')]))
    const first = write(world.store, keys, space, 1)
    check(world.store, [...keys, ...never], space, first)
    const snapshot = world.store.snapshot()
    await world.turns.drive(world.store.flush())
    check(world.store, keys, space, first)
    const second = write(world.store, keys, space, 2)
    check(snapshot, keys, space, first)
    check(world.store, keys, space, second)
    await world.turns.drive(world.store.flush())
    await world.turns.drive(world.store.compact())
    check(world.store, [...keys, ...never], space, second)
    check(snapshot, keys, space, first)
    snapshot.release()
    const third = write(world.store, keys, space, 3)
    await world.reopen()
    check(world.store, keys, space, third)
    await world.turns.drive(world.store.flush())
    await world.reopen()
    check(world.store, keys, space, third)
  }
  await world.turns.drive(world.engine.close())
}

const count = 150
const numbers = Array.from({ length: count }, (_, i) => Math.imul(i + 1, 0x9e3779b1))

test('all keys have the same hash', async () => {
  for (const hash of [0, -1]) {
    await everywhere((seed, space) => numbers.map((n) => keyWithHash(seed, space, hash, n)), [0, 3])
  }
})

test('all keys have the same tag in tables', async () => {
  await everywhere(
    (seed, space) => numbers.map((n, i) => keyWithHash(seed, space, (Math.imul(i, 0x9e3779b1) << 10) | 0x2a5, n)),
    [0],
  )
})

test('all keys belong into the last slots of a table', async () => {
  await everywhere(
    (seed, space) => numbers.map((n, i) => keyWithHash(seed, space, 0xffffffff - (Math.imul(i, 4099) % 2 ** 20), n)),
    [0],
  )
})

test('slots of a table: every home is in range, and every tag leaves room for a place', () => {
  for (const entries of [0, 1, 2, 3, 4, 7, 100, 1023, 1024, 4_000_000]) {
    const slots = slotCountFor(entries)
    assert.ok(slots > entries, `${slots} slots for ${entries} entries leave none empty`)
    for (const hash of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 0x7ffffffe]) {
      const home = homeOf(hash, slots)
      assert.ok(home >= 0 && home < slots, `home ${home} of ${slots}`)
      assert.is(tagOf(hash) & 0x3fffff, 0)
    }
  }
})

test('slots of a memtable: 50 000 entries whose hashes begin with the same 16 bits, added and taken out', () => {
  // More than a segment takes, and no bit that it is split by tells them apart.
  const slots = new Slots()
  const entries = 50_000
  const same = (entry: number): number => 0x5bd10000 | (Math.imul(entry, 40_503) & 0xffff)
  const holds = (entry: number): boolean => {
    const hash = same(entry)
    const segment = slots.segmentOf(hash)
    const mask = slotMask(segment)
    for (let at = hash & mask; segment[slotBase + 2 * at + 1] !== 0; at = (at + 1) & mask) {
      if (segment[slotBase + 2 * at + 1] === entry + 1) return true
    }
    return false
  }
  for (let i = 0; i < entries; i++) slots.insert(same(i), i)
  slots.insert(0x7fffffff, entries)
  for (let i = 0; i < entries; i++) assert.ok(holds(i))
  for (let i = 0; i < entries; i += 2) assert.ok(slots.remove(same(i), i))
  assert.not(slots.remove(same(0), 0))
  for (let i = 0; i < entries; i++) assert.is(holds(i), i % 2 === 1)
  assert.ok(slots.remove(0x7fffffff, entries))
})

test('two stores have different seeds, and a store keeps its own', async () => {
  const fs = new SimFs()
  const turns = new Turns()
  const engine = new LogEngine({ dir: '/s', fs, scheduler: turns, sync: 'never' })
  const seeds = new Set<number>()
  for (let partition = 0; partition < 20; partition++) {
    const store = await engine.open({ ...at, partition })
    seeds.add(seedOf(fs, `/s/g/t/${partition}`))
    await turns.drive(store.close())
  }
  assert.is(seeds.size, 20)
  const before = seedOf(fs, '/s/g/t/7')
  const store = await engine.open({ ...at, partition: 7 })
  put(store, 'key', 'value')
  store.writer().commit()
  await turns.drive(store.flush())
  store.clear()
  assert.is(seedOf(fs, '/s/g/t/7'), before)
  await turns.drive(engine.close())
})

test.run()
