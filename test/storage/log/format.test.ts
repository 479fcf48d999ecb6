/** Names, headers and seeds of the files of a store. */
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import {
  align8,
  checkFileHeader,
  corrupt,
  crcSeed,
  encodeFileHeader,
  type FileKind,
  fileHeaderBytes,
  logName,
  manifestName,
  parseFileName,
  readU64,
  tableName,
  writeU64,
} from '../../../src/storage/log/format.ts'
import { suite } from '../../support/suite.ts'
import { storeErrorOf } from '../support/one-table.ts'

const test = suite('format')
const storeId = Buffer.from('0123456789abcdef')
const where = { store: 'g/t/3', file: 'a-file' }
const about = { storeId, fileNumber: 2 ** 40 + 7, createdMs: 1_790_000_000_123 }

/** A header with one change, and its checksum made right again. */
function resealed(change: (header: Buffer) => void): Buffer {
  const header = encodeFileHeader('table', about)
  change(header)
  header.writeUInt32LE(crc32(header.subarray(0, 60)), 60)
  return header
}

test('headers tell what they were made of', () => {
  for (const kind of ['log', 'table', 'manifest'] satisfies FileKind[]) {
    const header = encodeFileHeader(kind, about)
    assert.is(header.length, fileHeaderBytes)
    const read = checkFileHeader(kind, header, { storeId, fileNumber: about.fileNumber }, where)
    assert.equal(read, { storeId, createdMs: about.createdMs })
    // Opening a manifest is how the store's id becomes known.
    assert.equal(checkFileHeader(kind, header, { fileNumber: about.fileNumber }, where).storeId, storeId)
    for (const other of ['log', 'table', 'manifest'] satisfies FileKind[]) {
      if (other === kind) continue
      const error = storeErrorOf(() => checkFileHeader(other, header, about, where))
      assert.is(error.code, 'ERR_STORE_CORRUPT')
    }
  }
})

test('the bytes of a header are these, for ever', () => {
  const expected =
    '4d524c54424c0001 0100010000000000 30313233343536373839616263646566 0700000000010000 7b6c50c4a0010000 000000000000000000000000'
  const header = encodeFileHeader('table', about)
  assert.is(header.toString('hex', 0, 60), expected.replaceAll(' ', ''))
  assert.is(crcSeed(storeId, about.fileNumber), crc32(Buffer.concat([storeId, header.subarray(32, 40)])))
})

test('any bit of a header that is flipped is noticed, and any cut', () => {
  const header = encodeFileHeader('log', about)
  for (let bit = 0; bit < 8 * header.length; bit++) {
    const damaged = Buffer.from(header)
    damaged[bit >>> 3]! ^= 1 << (bit & 7)
    const error = storeErrorOf(() => checkFileHeader('log', damaged, about, where))
    assert.is(error.code, 'ERR_STORE_CORRUPT')
    assert.is(error.file, 'a-file')
    assert.ok(error.offset! <= fileHeaderBytes)
  }
  for (let length = 0; length < header.length; length++) {
    const error = storeErrorOf(() => checkFileHeader('log', header.subarray(0, length), about, where))
    assert.is(error.code, 'ERR_STORE_CORRUPT')
    assert.is(error.offset, length)
  }
})

test('a file of another store, or under another name, is refused', () => {
  const header = encodeFileHeader('log', about)
  const other = storeErrorOf(() =>
    checkFileHeader('log', header, { ...about, storeId: Buffer.from('0123456789abcdeg') }, where),
  )
  assert.is(other.code, 'ERR_STORE_CORRUPT')
  assert.match(other.message, 'another store')
  const renamed = storeErrorOf(() => checkFileHeader('log', header, { storeId, fileNumber: 12 }, where))
  assert.is(renamed.code, 'ERR_STORE_CORRUPT')
  assert.match(renamed.message, `it is file ${about.fileNumber} under the name of file 12`)
})

test('a newer version is refused if it says that it must be', () => {
  const newer = resealed((header) => {
    header.writeUInt16LE(2, 8)
    header.writeUInt16LE(2, 10)
  })
  const error = storeErrorOf(() => checkFileHeader('table', newer, about, where))
  assert.is(error.code, 'ERR_STORE_VERSION')
  assert.is(error.file, 'a-file')
  assert.match(error.message, /format version 2.*reads up to version 1.*Use the release that wrote it/)
  const flagged = resealed((header) => header.writeUInt32LE(0x8, 12))
  assert.is(storeErrorOf(() => checkFileHeader('table', flagged, about, where)).code, 'ERR_STORE_VERSION')

  const readable = resealed((header) => {
    header.writeUInt16LE(9, 8)
    header.writeUInt32LE(0x10000, 12)
  })
  assert.is(checkFileHeader('table', readable, about, where).createdMs, about.createdMs)
})

test('names and what they say', () => {
  assert.is(logName(12), '0000000012.log')
  assert.is(tableName(1), '0000000001.tbl')
  assert.is(tableName(12_345_678_901), '12345678901.tbl')
  assert.is(manifestName(7), 'MANIFEST-0000000007')
  const cases: readonly (readonly [name: string, kind: string, number: number])[] = [
    ['0000000012.log', 'log', 12],
    ['0000000001.tbl', 'table', 1],
    ['12345678901.tbl', 'table', 12_345_678_901],
    ['9007199254740991.log', 'log', Number.MAX_SAFE_INTEGER],
    ['MANIFEST-0000000007', 'manifest', 7],
    ['CURRENT', 'current', 0],
    ['LOCK', 'lock', 0],
    ['0000000009.tmp', 'temporary', 9],
    ['CURRENT.tmp', 'temporary', 0],
    // Not as we write them.
    ['9007199254740993.log', 'other', 0],
    ['0000000000.log', 'other', 0],
    ['12.log', 'other', 0],
    ['00000000012.log', 'other', 0],
    ['0000000012.LOG', 'other', 0],
    ['0000000012.log.gz', 'other', 0],
    ['x0000000012.log', 'other', 0],
    ['MANIFEST-7', 'other', 0],
    ['CURRENT2', 'other', 0],
    ['LOCK.1234', 'other', 0],
    ['', 'other', 0],
  ]
  for (const [name, kind, number] of cases) assert.equal(parseFileName(name), { kind, number }, name)
})

test('numbers of 64 bits and multiples of eight', () => {
  const bytes = Buffer.alloc(16, 0xff)
  for (const value of [0, 1, 255, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
    writeU64(bytes, value, 3)
    assert.is(readU64(bytes, 3), value)
    assert.is(bytes.readBigUInt64LE(3), BigInt(value))
  }
  assert.not.ok(Number.isSafeInteger(readU64(Buffer.alloc(8, 0xff), 0)))
  assert.equal([0, 1, 7, 8, 9, 2 ** 30 + 1].map(align8), [0, 8, 8, 8, 16, 2 ** 30 + 8])
})

test('damage names the store, the file, the place and the remedy', () => {
  const cause = new Error('why')
  const error = corrupt('g/t/3', '0000000012.log', 4096, 'a frame does not match', cause)
  assert.is(error.code, 'ERR_STORE_CORRUPT')
  assert.is(error.retriable, false)
  assert.equal([error.store, error.file, error.offset, error.cause], ['g/t/3', '0000000012.log', 4096, cause])
  assert.match(
    error.message,
    /store g\/t\/3: 0000000012\.log is damaged at byte 4096: a frame does not match\. Restore/,
  )
})

test.run()
