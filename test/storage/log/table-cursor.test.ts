/** Cursors of tables and runs against sorted lists: any range, both directions; lookups in runs; samples. */
import * as assert from 'uvu/assert'
import { type CursorRange, everything, type KeyBound } from '../../../src/storage/log/cursor.ts'
import { Run } from '../../../src/storage/log/run.ts'
import { Table } from '../../../src/storage/log/table.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import {
  type ListEntry,
  ListSource,
  type RandomEntries,
  randomEntries,
  readAll,
  seeds,
  show,
} from '../support/list-cursor.ts'
import { entry, find, foundAs, makeFiles, writeTable } from '../support/one-table.ts'

const test = suite('table cursor')

/** Opens entries as a run of tables cut at random places. */
function openRun(entries: readonly ListEntry[], tableCount: number, random: SeededRandom): Run {
  const files = makeFiles()
  const tables: Table[] = []
  let from = 0
  for (let i = 1; from < entries.length; i++) {
    const to = i >= tableCount ? entries.length : random.between(from + 1, entries.length)
    writeTable(files, i, entries.slice(from, to))
    tables.push(Table.open(files, i))
    from = to
  }
  return new Run(tables)
}

/** A key that is in the list, or near one, or anywhere; or none. */
function randomBound(random: SeededRandom, entries: readonly ListEntry[], style: RandomEntries): KeyBound | undefined {
  const dice = random.next()
  if (dice < 0.15) return undefined
  if (dice < 0.3) return { space: random.int(style.spaces + 1), key: style.key(random) }
  const { space, key } = random.pick(entries)
  if (dice < 0.6) return { space, key }
  if (dice < 0.8) return { space, key: Buffer.concat([key, Buffer.from([0])]) }
  return { space, key: key.subarray(0, random.int(key.length + 1)) }
}

const styles: readonly (RandomEntries & { readonly name: string })[] = [
  {
    name: 'short keys in several spaces',
    count: 900,
    spaces: 4,
    deletes: 0.2,
    key: (random) => random.bytes(random.int(4)),
    value: (random) => random.bytes(random.int(30)),
  },
  {
    name: 'long common begins',
    count: 400,
    spaces: 2,
    deletes: 0.1,
    key: (random) => Buffer.concat([Buffer.alloc(500 + random.int(2), 0x61), random.bytes(random.int(3))]),
    value: (random) => random.bytes(random.int(300)),
  },
  {
    name: 'blocks of several sizes',
    count: 200,
    spaces: 1,
    deletes: 0,
    key: (random) => random.bytes(5),
    value: (random) => Buffer.alloc(random.int(random.chance(0.05) ? 300_000 : 4000), random.int(256)),
  },
]

for (const style of styles) {
  test(`ranges: ${style.name}`, () => {
    for (const seed of seeds(3)) {
      const random = new SeededRandom(seed)
      try {
        const entries = randomEntries(random, style)
        const list = new ListSource(entries)
        const run = openRun(entries, random.pick([1, 2, 7]), random)
        const ranges: CursorRange[] = [everything, { ...everything, reverse: true }]
        for (let i = 0; i < 60; i++) {
          const from = randomBound(random, entries, style)
          ranges.push({ from, to: randomBound(random, entries, style), reverse: random.chance(0.5) })
        }
        for (const range of ranges) assert.equal(show(readAll(run.cursor(range))), show(readAll(list.cursor(range))))
        for (const one of entries) assert.is(find(run, one.space, one.key), foundAs(one))
        for (const table of run.tables) table.close()
      } catch (cause) {
        throw new Error(`seed ${seed}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
      }
    }
  })
}

test('empty and single ranges, at every key, both ways', () => {
  const entries = ['', 'a', 'aa', 'b', 'c'].map((key) => entry(key, `=${key}`, 1))
  const list = new ListSource(entries)
  const run = openRun(entries, 3, new SeededRandom(1))
  const keys = ['', '\0', 'a', 'a\0', 'aa', 'ab', 'b', 'bb', 'c', 'c\0', 'd']
  const bounds = keys.flatMap((key) => [0, 1, 2].map((space) => ({ space, key: Buffer.from(key) })))
  for (const from of [undefined, ...bounds]) {
    for (const to of [undefined, ...bounds]) {
      for (const reverse of [false, true]) {
        const range = { from, to, reverse }
        assert.equal(show(readAll(run.cursor(range))), show(readAll(list.cursor(range))))
      }
    }
  }
})

test('an ended or closed cursor stays so; bytes it gave are kept by who holds them', () => {
  const entries = Array.from({ length: 3000 }, (_, i) => entry(String(i).padStart(6, '0'), `value ${i}`))
  const run = openRun(entries, 2, new SeededRandom(2))
  for (const reverse of [false, true]) {
    const cursor = run.cursor({ ...everything, reverse })
    const held: Buffer[] = []
    while (cursor.next()) held.push(cursor.valueBytes.subarray(cursor.valueFrom, cursor.valueTo))
    assert.equal([cursor.next(), cursor.next()], [false, false])
    cursor.close()
    const values = held.map((value) => value.toString())
    assert.equal(
      reverse ? values.reverse() : values,
      show(entries).map((text) => text.slice(text.indexOf('=') + 1)),
    )
    const closed = run.cursor({ ...everything, reverse })
    assert.ok(closed.next())
    closed.close()
    closed.close()
    assert.not.ok(closed.next())
  }
})

test('a short range reads little', () => {
  const files = makeFiles()
  const entries = Array.from({ length: 20_000 }, (_, i) => entry(String(i).padStart(8, '0'), 'v'.repeat(100)))
  writeTable(files, 1, entries)
  const table = Table.open(files, 1)
  let bytes = 0
  const { fill } = table.file
  table.file.fill = (chunk, at, length, offset) => {
    bytes += length
    fill.call(table.file, chunk, at, length, offset)
  }
  const at = (i: number): KeyBound => ({ space: 0, key: entries[i]!.key })
  for (const reverse of [false, true]) {
    bytes = 0
    assert.is(readAll(table.cursor({ from: at(7000), to: at(7010), reverse })).length, 10)
    assert.ok(bytes <= 3 * 4096, `${bytes} bytes for 10 entries`)
    bytes = 0
    const cursor = table.cursor({ from: reverse ? undefined : at(7000), to: reverse ? at(7000) : undefined, reverse })
    for (let i = 0; i < 10; i++) assert.ok(cursor.next())
    assert.ok(bytes <= 16 * 1024, `${bytes} bytes for the first ten entries of many`)
  }
  table.close()
})

test('a run finds keys in the only table that can have them', () => {
  const random = new SeededRandom(4)
  for (const prefix of ['', 'user:', 'x'.repeat(70)]) {
    const entries = Array.from({ length: 300 }, (_, i) =>
      entry(prefix + String(3 * i).padStart(5, '0'), `value ${i}`, prefix === '' ? Math.floor(i / 100) : 2),
    )
    const run = openRun(entries, 12, random)
    assert.is(run.entryCount, 300)
    assert.is(
      run.byteLength,
      run.tables.reduce((sum, { meta }) => sum + meta.byteLength, 0),
    )
    for (const one of entries) assert.is(find(run, one.space, one.key), foundAs(one))
    for (const one of entries) {
      for (const key of [one.key.subarray(0, -1), Buffer.concat([one.key, Buffer.from('\0')])]) {
        assert.is(find(run, one.space, key), 'absent')
      }
    }
    for (const key of ['', 'use', 'user:', 'vvv', 'x', 'x'.repeat(69), 'x'.repeat(200), '\xff']) {
      for (const space of [0, 2, 9]) assert.is(find(run, space, Buffer.from(key, 'latin1')), 'absent')
    }
  }
  const nothing = new Run([])
  assert.is(nothing.entryCount, 0)
  assert.is(find(nothing, 0, Buffer.from('key')), 'absent')
  assert.not.ok(nothing.mayContain(1, 0, Buffer.from('key'), 0, 3))
  assert.equal(readAll(nothing.cursor(everything)), [])
})

test('a sample has about so many of its keys, from everywhere in it', () => {
  const random = new SeededRandom(6)
  const entries = Array.from({ length: 12_000 }, (_, i) => entry(String(i).padStart(8, '0'), 'v'.repeat(80)))
  const run = openRun(entries, 5, random)
  for (const count of [1, 10, 100, 1000, 50_000]) {
    const sample = [...run.sample(count)].map(({ key }) => Number(key.toString()))
    const wanted = Math.min(count, entries.length)
    assert.ok(sample.length >= wanted && sample.length <= 2 * wanted, `${sample.length} for ${count}`)
    assert.equal(
      [...new Set(sample)].sort((a, b) => a - b),
      sample,
    )
    const middle = sample.filter((i) => i < 6000).length
    if (count >= 10) assert.ok(Math.abs(middle / sample.length - 0.5) < 0.15, `${middle} of ${sample.length} are low`)
  }
  assert.equal([...new Run([]).sample(5)], [])
})

test.run()
