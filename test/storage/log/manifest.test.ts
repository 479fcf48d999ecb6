/** The manifest and CURRENT: states come back, and no damage gives a state that never was. */
import * as assert from 'uvu/assert'
import { crc32 } from 'node:zlib'
import { StoreError } from '../../../src/storage/errors.ts'
import { encodeCurrent } from '../../../src/storage/log/current.ts'
import { crcSeed, encodeFileHeader, manifestName } from '../../../src/storage/log/format.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import { faultOf, type ManifestState } from '../../../src/storage/log/manifest-state.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { current, dir, emptySim, filesOf, open, path, stateOf, storeId, storeWith } from '../support/manifests.ts'

const test = suite('manifest')

/** Checks that `found` is ERR_STORE_CORRUPT and says where. */
function isCorrupt(found: unknown, file: string, offset: number | undefined, what?: string): void {
  assert.instance(found, StoreError, what)
  const { code, message } = found as StoreError
  assert.is(code, 'ERR_STORE_CORRUPT', what)
  assert.is((found as StoreError).file, file, what)
  if (offset === undefined) assert.type((found as StoreError).offset, 'number', what)
  else assert.is((found as StoreError).offset, offset, `${what}: ${message}`)
  assert.match(message, file)
  assert.match(message, /Restore the directory/)
}

/** A frame as the manifest has it, whatever it says. */
function forge(text: string, at: number, seed: number): Buffer {
  const frame = Buffer.alloc(8 * Math.ceil((8 + Buffer.byteLength(text)) / 8))
  frame.writeUInt32LE(Buffer.byteLength(text), 0)
  frame.write(text, 8)
  const head = Buffer.alloc(12)
  head.writeUInt32LE(at, 0)
  frame.copy(head, 8, 0, 4)
  frame.writeUInt32LE(crc32(frame.subarray(8), crc32(head, seed)), 4)
  return frame
}

const seed = crcSeed(Buffer.from(storeId, 'hex'), 1)

test('states come back: the last one, after opening again and after appending more', () => {
  const { fs, ends } = storeWith(3)
  assert.equal(open(fs), { state: 3, dropped: 0 })
  const { manifest } = Manifest.open(filesOf(fs))!
  assert.is(manifest.byteLength, ends[3])
  assert.is(manifest.fileNumber, 1)
  manifest.append(stateOf(4))
  manifest.close()
  assert.equal(open(fs), { state: 4, dropped: 0 })
  assert.equal(fs.readdirSync(dir), ['CURRENT', 'MANIFEST-0000000001'])
  assert.is(fs.contentOf(current).toString(), encodeCurrent(1))
  assert.match(encodeCurrent(1), /^MANIFEST-0000000001\n[0-9a-f]{8}\n$/)
  assert.equal(fs.open, [])
})

test('an empty directory is a new store', () => {
  const fs = emptySim()
  assert.is(open(fs), 'new')
  fs.openSync(`${dir}/LOCK`, 'create').closeSync()
  fs.openSync(`${dir}/notes.txt`, 'create').closeSync()
  assert.is(open(fs), 'new', 'the lock and the files of others do not count')
})

test('a manifest cut at any byte is the state before the cut, or damaged', () => {
  const { fs, ends } = storeWith(4)
  const whole = fs.contentOf(path(1))
  for (let length = 0; length < whole.length; length++) {
    fs.tamper(path(1), whole.subarray(0, length))
    const state = ends.findLastIndex((end) => end <= length)
    const found = open(fs)
    if (state < 0) isCorrupt(found, manifestName(1), Math.min(length, 64), `cut at ${length}`)
    else assert.equal(found, { state, dropped: length - ends[state]! }, `cut at ${length}`)
    if (state >= 0) assert.is(fs.contentOf(path(1)).length, ends[state], 'the torn frame is gone')
  }
  assert.equal(fs.open, [])
})

test('a manifest with any bit flipped is damaged, or without its last state', () => {
  const { fs, ends } = storeWith(3)
  const whole = fs.contentOf(path(1))
  const lastFrom = ends[2]!
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const flipped = Buffer.from(whole)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    fs.tamper(path(1), flipped)
    const found = open(fs)
    if (bit >> 3 >= lastFrom) assert.equal(found, { state: 2, dropped: whole.length - lastFrom }, `bit ${bit}`)
    else {
      const frame = [64, ...ends].findLast((from) => from <= bit >> 3)
      isCorrupt(found, manifestName(1), frame, `bit ${bit}`)
    }
    if (bit >> 3 < lastFrom) assert.ok(fs.contentOf(path(1)).equals(flipped), 'damage is left as it is')
  }
  assert.equal(fs.open, [])
})

test('the only state of a manifest flipped or cut is damage, never a new store', () => {
  const { fs } = storeWith(0)
  const whole = fs.contentOf(path(1))
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const flipped = Buffer.from(whole)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    fs.tamper(path(1), flipped)
    isCorrupt(open(fs), manifestName(1), undefined, `bit ${bit}`)
  }
})

test('CURRENT cut or flipped anywhere is damaged', () => {
  const { fs } = storeWith(1)
  const whole = fs.contentOf(current)
  for (let length = 0; length < whole.length; length++) {
    fs.tamper(current, whole.subarray(0, length))
    isCorrupt(open(fs), 'CURRENT', undefined, `cut at ${length}`)
  }
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const flipped = Buffer.from(whole)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    fs.tamper(current, flipped)
    isCorrupt(open(fs), 'CURRENT', undefined, `bit ${bit}`)
  }
  for (const text of [`${whole}x`, `${whole}\n`, `${whole}${whole}`, 'MANIFEST-1\n', `x${whole}`, '0'.repeat(100)]) {
    fs.tamper(current, Buffer.from(text))
    isCorrupt(open(fs), 'CURRENT', undefined, text)
  }
  fs.removeSync(current)
  fs.mkdirSync(current)
  isCorrupt(open(fs), 'CURRENT', 0, 'a directory')
})

test('CURRENT names a manifest that is missing, or a directory', () => {
  const { fs } = storeWith(1)
  fs.removeSync(path(1))
  isCorrupt(open(fs), manifestName(1), 0)
  assert.not.ok(fs.existsSync(path(1)), 'looking for it does not make it')
  fs.mkdirSync(path(1))
  isCorrupt(open(fs), manifestName(1), 0)
})

test('CURRENT is missing: damage when anything is in the store, a new one when somebody died making it', () => {
  for (const name of ['0000000002.log', '0000000003.tbl']) {
    const fs = emptySim()
    fs.tamper(`${dir}/${name}`, Buffer.alloc(0))
    isCorrupt(open(fs), 'CURRENT', 0, name)
  }
  const { fs } = storeWith(1)
  fs.removeSync(current)
  isCorrupt(open(fs), 'CURRENT', 0)

  const { fs: unborn } = storeWith(0)
  unborn.removeSync(current)
  unborn.tamper(`${dir}/CURRENT.tmp`, Buffer.alloc(100, 'x'))
  const whole = unborn.contentOf(path(1))
  for (const length of [0, 10, 64, 100, whole.length]) {
    unborn.tamper(path(1), whole.subarray(0, length))
    assert.is(open(unborn), 'new', `${length} bytes`)
  }
  unborn.tamper(path(1), Buffer.concat([whole, Buffer.alloc(1000, 'x')]))
  Manifest.create(filesOf(unborn), 1, stateOf(0)).close()
  assert.equal(open(unborn), { state: 0, dropped: 0 }, 'leftovers are written over')
})

test('what was never a frame of this file is dropped at the end, and refused before it', () => {
  const { fs, ends } = storeWith(2)
  const whole = fs.contentOf(path(1))
  const other = storeWith(2)
  const otherBytes = other.fs.contentOf(path(1))
  const frames = [0, 1, 2].map((i) => whole.subarray([64, ...ends][i], ends[i]))
  const tails: [string, Buffer][] = [
    ['zeros', Buffer.alloc(4096)],
    ['a few zeros', Buffer.alloc(3)],
    ['noise', new SeededRandom(1).bytes(777)],
    ['text', Buffer.from('{"storeId":"0"}'.repeat(20))],
    ['the first frame again', frames[0]!],
    ['the last frame again', frames[2]!],
    ['frames again', whole.subarray(64)],
    ['the file again', whole],
    ['a frame for another file', forge(JSON.stringify(stateOf(3)), whole.length, seed + 1)],
    ['a frame for another place', forge(JSON.stringify(stateOf(3)), whole.length + 8, seed)],
  ]
  for (const [what, tail] of tails) {
    fs.tamper(path(1), Buffer.concat([whole, tail]))
    assert.equal(open(fs), { state: 2, dropped: tail.length }, what)
  }
  fs.tamper(path(1), Buffer.concat([whole, forge(JSON.stringify(stateOf(3)), whole.length, seed)]))
  assert.equal(open(fs), { state: 3, dropped: 0 }, 'a true frame counts')
  fs.tamper(path(1), Buffer.concat([whole, forge(JSON.stringify(stateOf(3)), whole.length + 8, seed)]))
  const gap = Buffer.concat([whole, Buffer.alloc(8), forge(JSON.stringify(stateOf(3)), whole.length + 8, seed)])
  fs.tamper(path(1), gap)
  isCorrupt(open(fs), manifestName(1), whole.length, 'a true frame behind a gap')
  fs.tamper(path(1), Buffer.concat([whole.subarray(0, 64), frames[1]!, frames[0]!, frames[2]!]))
  isCorrupt(open(fs), manifestName(1), 64, 'frames exchanged')
  fs.tamper(path(1), otherBytes)
  assert.equal(open(fs), { state: 2, dropped: 0 }, 'the same store copied')
})

test('foreign and newer files', () => {
  const { fs } = storeWith(1)
  const whole = fs.contentOf(path(1))
  const id = Buffer.from(storeId, 'hex')
  const about = { storeId: id, fileNumber: 1, createdMs: 1 }
  const withHeader = (header: Buffer): unknown => {
    fs.tamper(path(1), Buffer.concat([header, whole.subarray(64)]))
    return open(fs)
  }
  isCorrupt(withHeader(encodeFileHeader('log', about)), manifestName(1), 0, 'a log')
  isCorrupt(withHeader(encodeFileHeader('table', about)), manifestName(1), 0, 'a table')
  isCorrupt(withHeader(encodeFileHeader('manifest', { ...about, fileNumber: 2 })), manifestName(1), 32, 'number 2')
  const foreign = { ...about, storeId: Buffer.alloc(16, 9) }
  isCorrupt(withHeader(encodeFileHeader('manifest', foreign)), manifestName(1), 64, 'the header of another store')
  const newer = Buffer.from(whole.subarray(0, 64))
  newer.writeUInt16LE(2, 8)
  newer.writeUInt16LE(2, 10)
  newer.writeUInt32LE(crc32(newer.subarray(0, 60)), 60)
  const error = withHeader(newer)
  assert.instance(error, StoreError)
  assert.is((error as StoreError).code, 'ERR_STORE_VERSION')
  assert.match((error as StoreError).message, manifestName(1))
  fs.tamper(path(1), Buffer.concat([whole.subarray(0, 64), forge('{"storeId"', 64, seed)]))
  isCorrupt(open(fs), manifestName(1), 72, 'no JSON')
  const lie = { ...stateOf(1), storeId: 'f'.repeat(32) }
  fs.tamper(path(1), Buffer.concat([whole.subarray(0, 64), forge(JSON.stringify(lie), 64, seed)]))
  isCorrupt(open(fs), manifestName(1), 72, 'the state of another store')
  fs.tamper(path(1), Buffer.alloc(0))
  isCorrupt(open(fs), manifestName(1), 0, 'empty')
})

test('impossible states are refused, written and read', () => {
  const good = stateOf(2)
  assert.is(faultOf(good), undefined)
  assert.is(faultOf({ ...good, hashSeed: 2 ** 32 - 1, later: 'unknown' }), undefined)
  const point = good.checkpoint!
  const bad: [unknown, RegExp][] = [
    [null, /no object/],
    [[], /no object/],
    [{}, /storeId/],
    [{ ...good, storeId: storeId.toUpperCase() }, /storeId/],
    [{ ...good, storeId: `${storeId}\n` }, /storeId/],
    [{ ...good, hashSeed: 2 ** 32 }, /hashSeed/],
    [{ ...good, hashSeed: 0.5 }, /hashSeed/],
    [{ ...good, nextFile: 0 }, /nextFile/],
    [{ ...good, nextFile: 2 ** 53 }, /nextFile/],
    [{ ...good, nextFile: '17' }, /nextFile/],
    [{ ...good, flushedSeq: -1 }, /flushedSeq/],
    [{ ...good, flushedSeq: null }, /flushedSeq/],
    [{ ...good, oldestLog: 1.5 }, /oldestLog/],
    [{ ...good, oldestLog: 17 }, /oldestLog is above/],
    [{ ...good, checkpoint: undefined }, /checkpoint/],
    [{ ...good, checkpoint: [] }, /checkpoint/],
    [{ ...good, checkpoint: { ...point, position: -1 } }, /position/],
    [{ ...good, checkpoint: { ...point, state: 7 } }, /state/],
    [{ ...good, checkpoint: { ...point, state: '****' } }, /base64/],
    [{ ...good, checkpoint: { ...point, state: Buffer.alloc(1025).toString('base64') } }, /1024/],
    [{ ...good, checkpoint: { ...point, wallMs: null } }, /wallMs/],
    [{ ...good, upper: {} }, /upper/],
    [{ ...good, upper: [3] }, /upper/],
    [{ ...good, upper: [[]] }, /no tables/],
    [{ ...good, upper: [[0]] }, /upper/],
    [{ ...good, upper: [[16]] }, /table 16/],
    [{ ...good, last: undefined }, /last/],
    [{ ...good, last: ['3'] }, /last/],
    [{ ...good, last: [3] }, /table 3 is there twice/],
    [{ ...good, last: [15, 15] }, /table 15 is there twice/],
  ]
  const { fs } = storeWith(0)
  const header = fs.contentOf(path(1)).subarray(0, 64)
  const { manifest } = Manifest.open(filesOf(fs))!
  for (const [state, says] of bad) {
    const text = JSON.stringify(state)
    assert.match(faultOf(state)!, says, text)
    assert.throws(() => manifest.append(state as ManifestState), /millrace bug/, text)
    fs.tamper(path(1), Buffer.concat([header, forge(text, 64, seed)]))
    const found = open(fs)
    isCorrupt(found, manifestName(1), 72, text)
    assert.match((found as StoreError).message, says)
  }
  manifest.close()
})

test.run()
