/** Tables: what was written is found, whatever its size; counts, memory and errors of reading and writing. */
import * as assert from 'uvu/assert'
import { Span } from '../../../src/storage/index.ts'
import { everything, lookup } from '../../../src/storage/log/cursor.ts'
import { hashOf } from '../../../src/storage/log/key-hash.ts'
import { recordBytes } from '../../../src/storage/log/record.ts'
import { Run } from '../../../src/storage/log/run.ts'
import { Table } from '../../../src/storage/log/table.ts'
import { readTables, WantedKey } from '../../../src/storage/log/table-reads.ts'
import { TableWriter } from '../../../src/storage/log/table-writer.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { compareEntries, type ListEntry, randomEntries, readAll, seeds, show } from '../support/list-cursor.ts'
import {
  addEntry,
  assertHolds,
  entry,
  find,
  finish,
  foundAs,
  hashSeed,
  makeFiles,
  pathOf,
  verify,
  writeTable,
} from '../support/one-table.ts'

const test = suite('table')

/** Writes the entries as table 1, opens it, checks it, and closes it. */
function roundTrip(entries: readonly ListEntry[]): void {
  const files = makeFiles()
  const meta = writeTable(files, 1, entries)
  assert.is(meta.byteLength, files.fs.contentOf(pathOf(1)).length)
  const table = Table.open(files, 1)
  assert.equal(table.meta, meta)
  const live = entries.filter(({ value }) => value !== undefined)
  const sizes = entries.map(({ key, value }) => recordBytes(key.length, value?.length ?? 0))
  const dataBytes = live.reduce((sum, { key, value }) => sum + key.length + value!.length, 0)
  assert.is(meta.entryCount, entries.length)
  assert.is(meta.tombstoneCount, entries.length - live.length)
  assert.is(meta.dataBytes, dataBytes)
  assert.is(meta.maxRecordBytes, Math.max(...sizes))
  assert.equal([meta.min.space, meta.min.key], [entries[0]!.space, entries[0]!.key])
  assert.equal([meta.max.space, meta.max.key], [entries.at(-1)!.space, entries.at(-1)!.key])
  assertHolds(table, entries)
  table.close()
  assert.equal(files.fs.open, [])
}

test('single entries: empty key, empty value, deleted, any space', () => {
  roundTrip([entry('', '')])
  roundTrip([entry('', 'value')])
  roundTrip([entry('', undefined)])
  roundTrip([entry('key', '', 15)])
  roundTrip([entry('key', undefined, 15)])
  for (let length = 0; length < 20; length++) roundTrip([entry('k'.repeat(length), 'v'.repeat(7))])
})

test('one key in all spaces, and keys that are the begin of others', () => {
  const entries: ListEntry[] = []
  for (let space = 0; space < 16; space++) {
    for (const key of ['', '\0', '\0\0', 'a', 'a\0', 'ab', '\x7f', '\x80', '\xff', '\xff\xff']) {
      entries.push(entry(key, space % 3 === 0 ? undefined : `${space}/${key}`, space))
    }
  }
  roundTrip(entries)
})

test('sizes around every limit: words, checksums, reads, pieces, whole records', () => {
  const random = new SeededRandom(3)
  const sizes = [0, 1, 3, 4, 5, 8, 48, 49, 1000, 4060, 4067, 4068, 4069, 4076, 4084, 4085, 4096, 5000, 32_768]
  sizes.push(65_000, 65_504, 65_512, 65_520, 65_528, 65_536, 65_544, 262_100, 262_144, 300_000, 600_000, 5)
  const entries = sizes.map((size, i) => ({
    space: i < 10 ? 0 : 3,
    key: Buffer.from(`key ${String(i).padStart(3, '0')}`),
    value: random.bytes(size),
  }))
  roundTrip(entries)
  roundTrip([...entries].reverse().map((one, i) => ({ ...one, space: 1, key: Buffer.from([i]) })))
})

test('long keys: 64 KiB and more, that differ at their end only', () => {
  const key = (fill: number, length: number, end: number): Buffer => {
    const bytes = Buffer.alloc(length, fill)
    bytes[length - 1] = end
    return bytes
  }
  const entries: ListEntry[] = []
  for (let i = 0; i < 6; i++) entries.push({ space: 0, key: key(0x61, 65_536, i), value: Buffer.from(`a${i}`) })
  for (let i = 0; i < 3; i++) entries.push({ space: 0, key: key(0x62, 200_000, i), value: undefined })
  for (let i = 0; i < 40; i++) entries.push({ space: 2, key: key(0, 3000, i), value: Buffer.alloc(i) })
  roundTrip(entries)
})

test('random entries of many shapes', () => {
  for (const seed of seeds(6)) {
    const random = new SeededRandom(seed)
    const alphabet = random.pick([2, 256])
    const longest = random.pick([2, 6, 30, 1500])
    const largest = random.pick([0, 20, 200, 6000])
    try {
      roundTrip(
        randomEntries(random, {
          count: random.pick([2, 60, 700]),
          spaces: random.pick([1, 16]),
          deletes: random.pick([0, 0.2, 1]),
          key: (from) => from.bytes(from.int(longest + 1)).map((byte) => byte % alphabet) as Buffer,
          value: (from) => from.bytes(from.int(largest + 1)),
        }),
      )
    } catch (cause) {
      throw new Error(`seed ${seed}: ${(cause as Error).message} (again with SEED=${seed})`, { cause })
    }
  }
})

test('a lookup reads the disk once, twice above 4 KiB, and hardly ever for an absent key', () => {
  const files = makeFiles()
  const entries: ListEntry[] = []
  for (let i = 0; i < 5000; i++) entries.push(entry(`key ${String(i).padStart(6, '0')}`, `value ${i}`))
  writeTable(files, 1, entries)
  const table = Table.open(files, 1)
  assert.is(table.slotBytes, 0, 'slots are read when they are needed')
  for (const one of entries) assert.is(find(table, 0, one.key), foundAs(one))
  assert.is(table.preads - table.falsePositives, entries.length)
  assert.ok(table.preads < 1.01 * entries.length, `${table.preads} reads for ${entries.length} keys`)
  assert.ok(table.slotBytes / entries.length < 5.8 && table.indexBytes / entries.length < 1.2)
  const before = table.preads
  let passed = 0
  for (let i = 0; i < 5000; i++) {
    const key = Buffer.from(`key ${i}x`)
    assert.is(find(table, 0, key), 'absent')
    if (table.mayContain(hashOf(hashSeed, 0, key, 0, key.length), 0, key, 0, key.length)) passed += 1
  }
  assert.is(table.preads - before, table.falsePositives - (before - entries.length))
  assert.ok(table.preads - before < 75 && passed < 75, `${table.preads - before} reads for 5000 absent keys`)
  // The key is there, but in another space.
  assert.is(find(table, 1, entries[7]!.key), 'absent')
  table.releaseSlots()
  assert.is(table.slotBytes, 0)
  assert.is(find(table, 0, entries[7]!.key), '=value 7')
  table.close()
  table.close()

  writeTable(files, 2, [entry('a', 'x'.repeat(4096 - 13)), entry('b', 'x'.repeat(4096 - 12))])
  const mixed = Table.open(files, 2)
  find(mixed, 0, Buffer.from('a'))
  assert.is(mixed.preads, 1)
  find(mixed, 0, Buffer.from('b'))
  assert.is(mixed.preads, 3)
  mixed.close()
})

test('reading without blocking finds the same, many at a time', async () => {
  const files = makeFiles()
  const entries = [entry('', 'empty'), entry('deleted'), entry('large', 'v'.repeat(100_000)), entry('small', 'v')]
  writeTable(files, 1, entries)
  const table = Table.open(files, 1)
  const keys = ['', 'deleted', 'large', 'small', 'absent', 'absent too'].map((text) => Buffer.from(text))
  const wanted = keys.map((key, i) => new WantedKey(hashOf(hashSeed, 0, key, 0, key.length), 0, key, i))
  const results: (string | undefined)[] = keys.map(() => undefined)
  await readTables([new Run([table])], wanted, {
    concurrency: 3,
    check: () => {},
    found: ({ index }, value) => {
      results[index] = value.copy().toString()
    },
  })
  assert.equal(results, ['empty', undefined, 'v'.repeat(100_000), 'v', undefined, undefined])
  table.close()
})

/** The inverse of an odd number modulo 2^32. */
function inverse(odd: number): number {
  let x = odd
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x))
  return x
}

/** Keys of 8 bytes whose hashes are all equal: the second half undoes what the first one did. */
function collidingKeys(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    const key = Buffer.alloc(8)
    key.writeInt32LE(i, 0)
    let k = Math.imul(i, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    let h = hashSeed ^ 8 ^ Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
    k = Math.imul(h ^ 0x12345678, inverse(0x1b873593))
    k = (k >>> 15) | (k << 17)
    key.writeInt32LE(Math.imul(k, inverse(0xcc9e2d51)), 4)
    return key
  })
}

test('keys with equal hashes, and keys with equal tags', () => {
  const colliding = collidingKeys(120)
  const hashes = new Set(colliding.map((key) => hashOf(hashSeed, 0, key, 0, 8)))
  assert.is(hashes.size, 1)
  const entries = colliding
    .slice(0, 100)
    .map((key, i) => ({ space: 0, key, value: i % 7 === 0 ? undefined : Buffer.from(`value ${i}`) }))
    .sort(compareEntries)
  const files = makeFiles()
  writeTable(files, 1, entries)
  const table = Table.open(files, 1)
  assertHolds(table, entries)
  for (const key of colliding.slice(100)) assert.is(find(table, 0, key), 'absent')
  assert.ok(table.falsePositives > 1000)
  table.close()

  const random = new SeededRandom(5)
  const tagged: ListEntry[] = []
  while (tagged.length < 60) {
    const key = random.bytes(9)
    if ((hashOf(hashSeed, 0, key, 0, 9) & 0x3ff) === 77) tagged.push({ space: 0, key, value: key })
  }
  roundTrip(tagged.sort(compareEntries))
})

test('a table takes records up to its limit, or a single one above it', () => {
  const files = makeFiles()
  const limit = 64 * 1024
  const writer = new TableWriter(files, 1, limit)
  assert.ok(writer.fits(10 * limit), 'the first one always fits')
  const entries: ListEntry[] = []
  for (let i = 0; writer.fits(recordBytes(8, 90)); i++) {
    const one = entry(String(i).padStart(8, '0'), 'v'.repeat(90))
    addEntry(writer, one)
    entries.push(one)
  }
  assert.ok(writer.byteLength <= limit && writer.byteLength > limit - 300, `${writer.byteLength} bytes`)
  const expected = writer.byteLength
  const meta = finish(writer)
  assert.is(meta.byteLength, expected, 'it knows its size beforehand')
  const table = Table.open(files, 1)
  assertHolds(table, entries)
  table.close()

  const large = new TableWriter(files, 2, limit)
  const one = entry('large', 'v'.repeat(5 * limit))
  addEntry(large, one)
  assert.not.ok(large.fits(16))
  finish(large)
  const alone = Table.open(files, 2)
  assertHolds(alone, [one])
  alone.close()
})

test('a record above 32 MiB has a table of its own', () => {
  const files = makeFiles()
  const writer = new TableWriter(files, 1)
  const value = Buffer.alloc(33 * 1024 * 1024, 'large ')
  writer.add(2, Buffer.from('key'), 0, 3, value, 0, value.length, false)
  assert.not.ok(writer.fits(16))
  assert.throws(() => addEntry(writer, entry('next', 'v', 3)), /takes no more records/)
  finish(writer)
  const table = Table.open(files, 1)
  const out = new Span()
  const key = Buffer.from('key')
  assert.is(table.get(hashOf(hashSeed, 2, key, 0, 3), 2, key, 0, 3, out), lookup.value)
  assert.ok(out.bytes.subarray(out.from, out.to).equals(value))
  const cursor = table.cursor({ ...everything, reverse: true })
  assert.ok(cursor.next() && cursor.valueTo - cursor.valueFrom === value.length && !cursor.next())
  verify(table)
  table.close()
})

test('records come in ascending order, and deleted ones have no value', () => {
  const writer = new TableWriter(makeFiles(), 1)
  addEntry(writer, entry('b', '', 3))
  for (const one of [entry('b', '', 3), entry('a', '', 3), entry('', '', 3), entry('c', '', 2)]) {
    assert.throws(() => addEntry(writer, one), /not ascending/)
  }
  const key = Buffer.from('c')
  assert.throws(() => writer.add(3, key, 0, 1, key, 0, 1, true), /has a value/)
  writer.abandon()
})

test('files: an existing one is not overwritten, an abandoned one is gone, none stays open', () => {
  const files = makeFiles()
  writeTable(files, 1, [entry('a', 'b')])
  assert.throws(() => new TableWriter(files, 1), /EEXIST/)
  const writer = new TableWriter(files, 2)
  addEntry(writer, entry('a', 'b'))
  assert.equal(files.fs.readdirSync('store'), ['0000000001.tbl', '0000000002.tbl'])
  writer.abandon()
  assert.equal(files.fs.readdirSync('store'), ['0000000001.tbl'])
  const empty = new TableWriter(files, 3)
  assert.throws(() => finish(empty), /empty/)
  empty.abandon()
  empty.close()
  assert.equal(files.fs.open, [])
})

test('what the file system says passes through: a full disk while writing, a failed read', () => {
  const files = makeFiles()
  const entries: ListEntry[] = []
  for (let i = 0; i < 3000; i++) entries.push(entry(String(i).padStart(8, '0'), 'v'.repeat(200)))
  for (const capacity of [0, 1000, 300_000, 680_000]) {
    files.fs.capacity = capacity
    const writer = new TableWriter(files, 1)
    assert.throws(() => {
      for (const one of entries) addEntry(writer, one)
      finish(writer)
    }, /ENOSPC/)
    writer.abandon()
    assert.equal(files.fs.readdirSync('store'), [])
  }
  files.fs.capacity = Infinity
  writeTable(files, 1, entries)
  const faults = new FaultFs(files.fs)
  const table = Table.open({ ...files, fs: faults }, 1)
  assert.is(find(table, 0, entries[5]!.key), foundAs(entries[5]!))
  faults.fail({ kinds: ['read'], code: 'EIO' })
  assert.throws(() => find(table, 0, entries[5]!.key), /EIO/)
  faults.fail({ kinds: ['read'], code: 'EIO' })
  const cursor = table.cursor(everything)
  assert.throws(() => cursor.next(), /EIO/)
  assert.equal(show(readAll(cursor)), show(entries), 'a cursor goes on where it was')
  assert.is(find(table, 0, entries[5]!.key), foundAs(entries[5]!))
  table.close()
})

test('opening fails without a trace when files are used up', () => {
  const files = makeFiles()
  writeTable(files, 1, [entry('a', 'b')])
  const faults = new FaultFs(files.fs)
  faults.fail({ kinds: ['open'], code: 'EMFILE' })
  assert.throws(() => Table.open({ ...files, fs: faults }, 1), /EMFILE/)
  faults.fail({ kinds: ['read'], code: 'EIO' })
  assert.throws(() => Table.open({ ...files, fs: faults }, 1), /EIO/)
  assert.equal(files.fs.open, [])
})

test.run()
