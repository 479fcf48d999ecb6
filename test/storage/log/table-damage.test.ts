/**
 * Damaged tables. Whatever happens to a file, each read gives what was written or ERR_STORE_CORRUPT with file and place;
 * never other data, another error, or a missing entry.
 */
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import type { StoreError } from '../../../src/storage/index.ts'
import { everything } from '../../../src/storage/log/cursor.ts'
import { crcSeed, fileHeaderBytes, tableName } from '../../../src/storage/log/format.ts'
import { Table } from '../../../src/storage/log/table.ts'
import { decodeFooter, encodeFooter, footerBytes, type Sections } from '../../../src/storage/log/table-layout.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { currentEntry, type ListEntry, randomEntries, show } from '../support/list-cursor.ts'
import {
  assertHolds,
  entry,
  find,
  foundAs,
  makeFiles,
  pathOf,
  storeErrorOf,
  verify,
  writeTable,
} from '../support/one-table.ts'

const test = suite('damaged tables')

/** Small enough to flip each bit. */
const smallEntries: readonly ListEntry[] = [
  entry('', 'the empty key'),
  entry('aaa', ''),
  entry('aab'),
  entry('abc', 'a value that takes a few words'),
  entry('b', 'x'),
  entry('b', 'the same key, elsewhere', 1),
  entry('deleted', undefined, 1),
  entry('last', '12345678', 15),
]

/** A table, its bytes, and ways to open it with others. */
class Patient {
  readonly files = makeFiles()
  readonly entries: readonly ListEntry[]
  readonly healthy: Buffer
  readonly sections: Sections
  readonly seed: number
  /** Bytes of the largest content so far: no place lies behind it. */
  #largest: number

  constructor(entries: readonly ListEntry[]) {
    this.entries = entries
    writeTable(this.files, 1, entries)
    this.healthy = this.files.fs.contentOf(pathOf(1))
    this.#largest = this.healthy.length
    this.seed = crcSeed(this.files.storeId, 1)
    const footer = this.healthy.subarray(-footerBytes)
    this.sections = decodeFooter(footer, this.healthy.length, this.seed, 'store', 'file')
  }

  tamper(content: Buffer): void {
    this.#largest = Math.max(this.#largest, content.length)
    this.files.fs.tamper(pathOf(1), content)
  }

  open(): Table {
    return Table.open(this.files, 1)
  }

  /** Opens the table; undefined if that found damage and said so properly. */
  tryOpen(what: string): Table | undefined {
    const opened: Table[] = []
    this.survives(what, () => void opened.push(this.open()))
    return opened[0]
  }

  /** A copy with a change, all of whose checksums but those of records are right again: what a bug could write. */
  resealed(change: (content: Buffer, sections: Sections) => void): Buffer {
    const content = Buffer.from(this.healthy)
    const { recordsEnd, spansEnd, slotsEnd, indexEnd, propertiesEnd } = this.sections
    change(content, this.sections)
    const crcOf = (from: number, to: number): number => crc32(content.subarray(from, to), this.seed)
    for (let at = fileHeaderBytes, i = 0; at < recordsEnd; at += 32_768, i++) {
      content.writeUInt32LE(crcOf(at, Math.min(at + 32_768, recordsEnd)), recordsEnd + 4 * i)
    }
    const sections = {
      ...this.sections,
      spansCrc: crcOf(recordsEnd, spansEnd),
      slotsCrc: crcOf(spansEnd, slotsEnd),
      indexCrc: crcOf(slotsEnd, indexEnd),
      propertiesCrc: crcOf(indexEnd, propertiesEnd),
    }
    encodeFooter(sections, this.seed).copy(content, propertiesEnd)
    return content
  }

  /** Runs a read; returns false if it found damage and said so properly. */
  survives(what: string, read: () => void): boolean {
    try {
      read()
      return true
    } catch (error) {
      const { code, file, offset, message } = error as StoreError
      assert.is(code, 'ERR_STORE_CORRUPT', `${what}: ${String(error)}`)
      assert.is(file, tableName(1), what)
      assert.ok(Number.isInteger(offset) && offset! >= 0 && offset! <= this.#largest, `${what}: at ${offset}`)
      assert.match(message, `group/table/0: ${tableName(1)} is damaged at byte ${offset}: `)
      return false
    }
  }

  /** Reads everything in all ways. Returns whether any of them noticed. */
  examine(what: string): boolean {
    let noticed = false
    const survives = (read: () => void): boolean => {
      const fine = this.survives(what, read)
      noticed ||= !fine
      return fine
    }
    const table = this.tryOpen(what)
    if (table === undefined) {
      assert.equal(this.files.fs.open, [], `${what}: the file stays open`)
      return true
    }
    for (const one of this.entries) {
      survives(() => assert.is(find(table, one.space, one.key), foundAs(one), what))
    }
    survives(() => assert.is(find(table, 0, Buffer.from('absent')), 'absent', what))
    for (const reverse of [false, true]) {
      const cursor = table.cursor({ ...everything, reverse })
      const expected = reverse ? [...this.entries].reverse() : this.entries
      const seen: ListEntry[] = []
      const ended = survives(() => {
        while (cursor.next()) seen.push(currentEntry(cursor))
      })
      assert.equal(show(seen), show(ended ? expected : expected.slice(0, seen.length)), what)
      // A cursor that has met damage never goes on behind it.
      if (!ended)
        assert.not.ok(
          this.survives(what, () => void cursor.next()),
          what,
        )
    }
    survives(() => verify(table))
    table.close()
    return noticed
  }
}

test('every bit of a small table flipped', () => {
  const patient = new Patient(smallEntries)
  assert.not.ok(patient.examine('healthy'))
  for (let bit = 0; bit < 8 * patient.healthy.length; bit++) {
    const content = Buffer.from(patient.healthy)
    content[bit >>> 3]! ^= 1 << (bit & 7)
    patient.tamper(content)
    assert.ok(patient.examine(`bit ${bit & 7} of byte ${bit >>> 3}`), `bit ${bit} was not noticed`)
  }
})

test('a bit in each byte of a table with large records and several blocks', () => {
  const random = new SeededRandom(7)
  const patient = new Patient([
    entry('a', 'v'.repeat(4100)),
    ...Array.from({ length: 2 }, (_, i) => ({ space: 0, key: Buffer.from(`b${i}`), value: random.bytes(300) })),
    entry('c', 'w'.repeat(500)),
    entry('d', 'last'),
  ])
  for (let at = 0; at < patient.healthy.length; at += 1) {
    const content = Buffer.from(patient.healthy)
    content[at]! ^= 1 << random.int(8)
    patient.tamper(content)
    assert.ok(patient.examine(`byte ${at}`), `byte ${at} was not noticed`)
  }
})

test('random damage: bytes, words, stretches of zeros, parts moved', () => {
  const random = new SeededRandom(11)
  const entries = randomEntries(random, {
    count: 150,
    spaces: 3,
    deletes: 0.2,
    key: (from) => from.bytes(from.int(12)),
    value: (from) => from.bytes(from.int(120)),
  })
  const patient = new Patient(entries)
  const { healthy } = patient
  for (let round = 0; round < 150; round++) {
    const content = Buffer.from(healthy)
    const at = random.int(healthy.length)
    const length = Math.min(random.between(1, 600), healthy.length - at)
    const kind = random.int(4)
    if (kind === 0) content[at]! = random.int(256)
    else if (kind === 1) random.bytes(Math.min(length, 4)).copy(content, at)
    else if (kind === 2) content.fill(0, at, at + length)
    else content.copyWithin(at & ~7, random.int(healthy.length) & ~7, healthy.length)
    if (content.equals(healthy)) continue
    patient.tamper(content)
    assert.ok(patient.examine(`round ${round}, kind ${kind} at ${at}`), `round ${round} was not noticed`)
  }
})

test('cut at every byte, before and after it was opened', () => {
  const patient = new Patient(smallEntries)
  const { healthy } = patient
  for (let length = 0; length < healthy.length; length++) {
    patient.tamper(healthy.subarray(0, length))
    assert.not.ok(patient.survives(`${length} bytes`, () => patient.open()))
    patient.tamper(healthy)
    const table = patient.open()
    patient.tamper(healthy.subarray(0, length))
    for (const one of smallEntries) {
      patient.survives(`cut to ${length}`, () => assert.is(find(table, one.space, one.key), foundAs(one)))
    }
    const cursor = table.cursor(everything)
    patient.survives(`cut to ${length}`, () => {
      let count = 0
      while (cursor.next()) count += 1
      assert.is(count, smallEntries.length)
    })
    table.close()
  }
  for (const more of [1, 7, 8, 64, 5000]) {
    patient.tamper(Buffer.concat([healthy, Buffer.alloc(more)]))
    assert.not.ok(patient.survives(`${more} more bytes`, () => patient.open()))
  }
})

test('no file, an empty one, zeros, noise, a directory, a file never finished', () => {
  const patient = new Patient(smallEntries)
  const { fs } = patient.files
  const random = new SeededRandom(13)
  for (const size of [0, 1, 64, 128, 1000, 100_000]) {
    patient.tamper(Buffer.alloc(size))
    assert.not.ok(patient.survives('zeros', () => patient.open()))
    patient.tamper(random.bytes(size))
    assert.not.ok(patient.survives('noise', () => patient.open()))
  }
  const content = Buffer.from(patient.healthy)
  content.fill(0, 0, fileHeaderBytes)
  patient.tamper(content)
  assert.not.ok(patient.survives('never finished', () => patient.open()))
  fs.removeSync(pathOf(1))
  assert.match(storeErrorOf(() => patient.open()).message, /damaged at byte 0: there is no such file/)
  fs.mkdirSync(pathOf(1))
  assert.not.ok(patient.survives('a directory', () => patient.open()))
  assert.equal(fs.open, [])
})

test('another store’s table, and another table of this store', () => {
  const patient = new Patient(smallEntries)
  const foreign = { ...patient.files, storeId: Buffer.alloc(16, 0xaa) }
  assert.match(storeErrorOf(() => Table.open(foreign, 1)).message, /another store/)
  const { healthy, files } = patient
  writeTable(files, 2, smallEntries)
  patient.tamper(files.fs.contentOf(pathOf(2)))
  assert.match(storeErrorOf(() => patient.open()).message, /it is file 2 under the name of file 1/)
  // Even where only a part of it is another's, at the very place where it belongs.
  for (const [from, to] of [
    [0, fileHeaderBytes],
    [fileHeaderBytes, patient.sections.recordsEnd],
    [patient.sections.recordsEnd, patient.sections.slotsEnd],
    [patient.sections.slotsEnd, healthy.length],
  ] as const) {
    const mixed = Buffer.from(healthy)
    files.fs.contentOf(pathOf(2)).copy(mixed, from, from, to)
    patient.tamper(mixed)
    assert.ok(patient.examine(`bytes ${from} to ${to} of another table`))
  }
  patient.tamper(healthy)
  const seeded = storeErrorOf(() => Table.open({ ...files, hashSeed: 1 }, 1))
  assert.match(seeded.message, /its hashes have another seed/)
})

test('a table of a newer version is refused as such', () => {
  const patient = new Patient(smallEntries)
  const content = Buffer.from(patient.healthy)
  content.writeUInt16LE(2, 8)
  content.writeUInt16LE(2, 10)
  content.writeUInt32LE(crc32(content.subarray(0, 60)), 60)
  patient.tamper(content)
  const error = storeErrorOf(() => patient.open())
  assert.equal([error.code, error.file], ['ERR_STORE_VERSION', tableName(1)])
  assert.equal(patient.files.fs.open, [])
})

test('verify finds parts that do not agree although each has the right checksum', () => {
  const patient = new Patient(smallEntries)
  const cases: readonly (readonly [
    what: string,
    says: RegExp,
    change: (content: Buffer, sections: Sections) => void,
  ])[] = [
    [
      'a slot with another tag',
      /its slots do not find the record at byte/,
      (content, { spansEnd, slotsEnd }) => {
        for (let at = spansEnd; at < slotsEnd; at += 4) {
          const slot = content.readUInt32LE(at)
          if (slot !== 0) return void content.writeInt32LE(slot ^ 0x80000000, at)
        }
      },
    ],
    [
      'a slot that is gone',
      /7 of its slots are taken by 8/,
      (content, { spansEnd, slotsEnd }) => {
        for (let at = spansEnd; at < slotsEnd; at += 4) {
          if (content.readUInt32LE(at) !== 0) return void content.writeUInt32LE(0, at)
        }
      },
    ],
    [
      'a slot too many',
      /of its slots are taken by/,
      (content, { spansEnd, slotsEnd }) => {
        for (let at = slotsEnd - 4; at >= spansEnd; at -= 4) {
          if (content.readUInt32LE(at) === 0) return void content.writeUInt32LE(9, at)
        }
      },
    ],
    ['entries', /8 of its slots are taken/, (content, { indexEnd }) => void content.writeUInt32LE(7, indexEnd)],
    ['tombstones', /its properties/, (content, { indexEnd }) => void content.writeUInt32LE(1, indexEnd + 4)],
    ['data bytes', /its properties/, (content, { indexEnd }) => void content.writeUInt32LE(1, indexEnd + 8)],
    ['the smallest key', /its first key/, (content, { indexEnd }) => void content.writeUInt8(1, indexEnd + 24)],
    ['the largest key', /its properties/, (content, { indexEnd }) => void content.writeUInt8(0x7a, indexEnd + 36)],
  ]
  for (const [what, says, change] of cases) {
    patient.tamper(patient.resealed(change))
    const table = patient.open()
    const error = storeErrorOf(() => verify(table))
    assert.is(error.code, 'ERR_STORE_CORRUPT')
    assert.match(error.message, says, what)
    table.close()
  }
})

test('parts that cannot be are refused when the table is opened, whatever their checksums say', () => {
  const patient = new Patient(smallEntries)
  const random = new SeededRandom(17)
  const { slotsEnd, indexEnd, propertiesEnd } = patient.sections
  let refused = 0
  for (let at = slotsEnd; at < propertiesEnd; at++) {
    for (const value of [0, 0x7f, 0xff, random.int(256)]) {
      patient.tamper(patient.resealed((content) => void content.writeUInt8(value, at)))
      // It may be opened where the change is no contradiction; nothing but damage may come of it.
      const table = patient.tryOpen(`byte ${at} is ${value}`)
      if (table === undefined) {
        refused += 1
        continue
      }
      for (const one of smallEntries) patient.survives(`byte ${at}`, () => void find(table, one.space, one.key))
      patient.survives(`byte ${at} is ${value}`, () => verify(table))
      table.close()
    }
  }
  assert.ok(refused > 2 * (propertiesEnd - indexEnd), `${refused} were refused`)
})

test('tables of version 1 can be read for ever', () => {
  const golden = new Patient(smallEntries)
  assert.is(golden.healthy.toString('base64'), goldenTable)
  const files = makeFiles()
  files.fs.tamper(pathOf(1), Buffer.from(goldenTable, 'base64'))
  const table = Table.open(files, 1)
  assertHolds(table, smallEntries)
  table.close()
})

/** `smallEntries` as the first release wrote them. */
const goldenTable = [
  'TVJMVEJMAAEBAAEAAAAAAB0dHR0dHR0dHR0dHR0dHR0BAAAAAAAAAKDwGQAAAAAAAAAAAAAAAAAAAAAA8hDhnO8A1HkAAAAADQAA',
  'AHRoZSBlbXB0eSBrZXkAAAAAAAAAtltjAgMAAAAAAAAAYWFhAKoSXLQDAACAAAAAAGFhYgAtAq7XAwAAAB4AAABhYmNhIHZhbHVl',
  'IHRoYXQgdGFrZXMgYSBmZXcgd29yZHMAAABdSHo0AQAAAAEAAABieAAAX3nA0wEAAAEXAAAAYnRoZSBzYW1lIGtleSwgZWxzZXdo',
  'ZXJlAAAAAJOJ/loHAACBAAAAAGRlbGV0ZWQAAAAAADTwqpkEAAAPCAAAAGxhc3QxMjM0NTY3OCBNdV8AAAAAIAAAFBYAgLQAAAAA',
  'DAAABQAAAAAAAAAAAAAAABgAgCwQAMCrHQCAowAAAAAOAIBACACAcgAAAAABAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAIAAAAAgAA',
  'AFcAAAAAAAAAMAAAAO1eAAAADwAAAAAAAAQAAABsYXN0GAEAACABAABYAQAAcAEAAJgBAAAQhoWWvxr9ll0s10n1zi2YAAAAAAAA',
  'AAAAAAAAAAAAABCMD0ZNUkxFTkQAAQ==',
].join('')

test.run()
