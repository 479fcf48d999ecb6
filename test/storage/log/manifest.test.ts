/** The manifest and CURRENT: every state that was acknowledged comes back, and no damage gives a state that never was. */
import * as assert from 'uvu/assert'
import { crc32 } from 'node:zlib'
import type { Fs } from '../../../src/base/fs.ts'
import { StoreError } from '../../../src/storage/errors.ts'
import { encodeCurrent, type ManifestFiles } from '../../../src/storage/log/current.ts'
import { crcSeed, encodeFileHeader, manifestName } from '../../../src/storage/log/format.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import { faultOf, type ManifestState } from '../../../src/storage/log/manifest-state.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { changing, FaultFs, type Operation } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('manifest')
const dir = '/s'
const storeId = '000102030405060708090a0b0c0d0e0f'
const path = (number: number): string => `${dir}/${manifestName(number)}`
const current = `${dir}/CURRENT`

function filesOf(fs: Fs): ManifestFiles {
  return { fs, dir, store: 'g/t/0', now: () => 1_700_000_000_000 }
}

/** State number `i` of a store's life; each differs from the others in every part that may change. */
function stateOf(i: number): ManifestState {
  return {
    storeId,
    hashSeed: -123,
    nextFile: 10 + 3 * i,
    flushedSeq: 100 * i,
    oldestLog: 2 + i,
    checkpoint: i === 0 ? null : { position: 1000 * i, state: Buffer.from(`s${i}`).toString('base64'), wallMs: 5 + i },
    upper: Array.from({ length: i }, (_, run) => [3 * run + 3, 3 * run + 4]),
    last: i === 0 ? [] : [3 * i + 5],
  }
}

function emptySim(): SimFs {
  const fs = new SimFs()
  fs.mkdirSync(dir)
  fs.syncDirSync('/')
  return fs
}

/** A store with manifest 1 that had the states 0 … `last`, and where each state's frame ends. */
function storeWith(last: number): { fs: SimFs; ends: number[] } {
  const fs = emptySim()
  const manifest = Manifest.create(filesOf(fs), 1, stateOf(0))
  const ends = [manifest.byteLength]
  for (let i = 1; i <= last; i++) {
    manifest.append(stateOf(i))
    ends.push(manifest.byteLength)
  }
  manifest.file.syncSync()
  manifest.close()
  return { fs, ends }
}

/** What opening gives: the number of the state and the bytes dropped, or the error. */
function open(fs: Fs): { state: number; dropped: number } | StoreError | 'new' {
  let opened: ReturnType<typeof Manifest.open>
  try {
    opened = Manifest.open(filesOf(fs))
  } catch (error) {
    if (error instanceof StoreError) return error
    throw error
  }
  if (opened === undefined) return 'new'
  opened.manifest.close()
  const number = opened.state.flushedSeq / 100
  assert.equal(opened.state, stateOf(number))
  return { state: number, dropped: opened.droppedBytes }
}

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

test('an append that fails leaves nothing, and the next one is fine', () => {
  for (const written of [0, 0.3, 0.99]) {
    for (const alsoCut of [false, true]) {
      const { fs: sim } = storeWith(1)
      const fs = new FaultFs(sim)
      const { manifest } = Manifest.open(filesOf(fs))!
      const before = manifest.byteLength
      fs.fail({ kinds: ['write'], code: 'ENOSPC', written, at: 1 })
      if (alsoCut) fs.fail({ kinds: ['truncate'] })
      assert.throws(
        () => manifest.append(stateOf(4)),
        (error: { code?: unknown }) => error.code === 'ENOSPC',
      )
      assert.is(manifest.byteLength, before)
      const dropped = alsoCut ? sim.contentOf(path(1)).length - before : 0
      assert.equal(open(sim.kill()), { state: 1, dropped })
      manifest.append(stateOf(2))
      manifest.close()
      assert.equal(open(sim), { state: 2, dropped: 0 })
    }
  }
})

test('rewriting: the new manifest counts, the old one is gone', () => {
  const { fs } = storeWith(3)
  const { manifest } = Manifest.open(filesOf(fs))!
  const next = manifest.rewrite(stateOf(4), 12)
  assert.is(next.fileNumber, 12)
  assert.equal(fs.readdirSync(dir), ['CURRENT', manifestName(12)])
  assert.equal(open(fs.crash(new SeededRandom(1))), { state: 4, dropped: 0 })
  next.append(stateOf(5))
  assert.throws(() => next.rewrite(stateOf(6), 12), /millrace bug/)
  next.close()
  assert.equal(open(fs), { state: 5, dropped: 0 })
  assert.equal(fs.open, [])
})

/** A store's life: each step ends with a state that is durable. `reached` is told before and after. */
function live(fs: Fs, reached: (begun: number, done: number) => void): void {
  const opened = Manifest.open(filesOf(fs))
  let manifest = opened?.manifest
  try {
    reached(0, -1)
    manifest ??= Manifest.create(filesOf(fs), 1, stateOf(0))
    reached(1, 0)
    manifest.append(stateOf(1))
    manifest.file.syncSync()
    reached(2, 1)
    manifest = manifest.rewrite(stateOf(2), 12)
    reached(3, 2)
    manifest.append(stateOf(3))
    manifest.file.syncSync()
    reached(3, 3)
  } finally {
    manifest?.close()
  }
}

/** The state is one from `done` to `begun`, where −1 stands for no store. */
function isBetween(fs: Fs, begun: number, done: number, what: string): void {
  const found = open(fs)
  const state = found === 'new' ? -1 : found instanceof StoreError ? Number.NaN : found.state
  const text = found instanceof StoreError ? found.message : String(state)
  assert.ok(state >= done && state <= begun, `${what}: ${done}–${begun} expected, found ${text}`)
}

test('a kill or a power loss before any operation leaves the last acknowledged state or the one begun', () => {
  const first = 5
  let [begun, done, ends] = [-1, -1, 0]
  const sim = emptySim()
  const fs = new FaultFs(sim)
  const random = new SeededRandom(first)
  fs.before = ({ kind, path: at, count }) => {
    if (!changing.includes(kind)) return
    const what = `seed ${first}, before operation ${count}: ${kind} ${at}`
    const killed = sim.kill()
    isBetween(killed, begun, done, what)
    const seen = open(killed)
    if (seen !== 'new')
      for (let i = 0; i < 5; i++) assert.equal(open(killed.crash(random)), seen, `${what}: is durable`)
    for (let i = 0; i < 40; i++) {
      const after = sim.crash(random)
      isBetween(after, begun, done, `${what}, end ${i}`)
      // Opening again gives the same, also when power is lost at once.
      const found = open(after)
      assert.equal(
        open(after.crash(random)),
        typeof found === 'object' && 'dropped' in found ? { ...found, dropped: 0 } : found,
      )
      ends += 1
    }
  }
  live(fs, (nextBegun, nextDone) => {
    begun = nextBegun
    done = nextDone
  })
  assert.ok(ends > 500, `${ends} ends`)
})

test('after a kill in the middle everything can go on', () => {
  for (let at = 1; ; at++) {
    const sim = emptySim()
    const fs = new FaultFs(sim)
    let left: SimFs | undefined
    fs.before = ({ count }) => {
      if (count !== at) return
      left = sim.kill()
      throw new Error('killed')
    }
    try {
      live(fs, () => {})
    } catch {
      // Killed.
    }
    if (left === undefined) break
    const opened = Manifest.open(filesOf(left))
    const manifest = opened?.manifest ?? Manifest.create(filesOf(left), 1, stateOf(0))
    manifest.append(stateOf(5))
    manifest.rewrite(stateOf(6), 20).close()
    assert.equal(open(left), { state: 6, dropped: 0 }, `killed at ${at}`)
    assert.equal(left.open, [])
  }
})

test('each operation fails once, or for ever: states stay legal, no file stays open, and it goes on afterwards', () => {
  const kinds: Operation[] = [
    'open',
    'readdir',
    'rename',
    'remove',
    'syncDir',
    'read',
    'write',
    'sync',
    'truncate',
    'size',
  ]
  let poisoned = 0
  for (const forever of [false, true]) {
    for (let at = 1; ; at++) {
      const what = `operation ${at}${forever ? ' and all later ones' : ''}`
      const sim = emptySim()
      const fs = new FaultFs(sim)
      let [begun, done] = [-1, -1]
      const fault = fs.fail({ kinds, at, forever, written: 0.5 })
      let failed = false
      try {
        live(fs, (nextBegun, nextDone) => {
          begun = nextBegun
          done = nextDone
        })
      } catch (error) {
        failed = true
        if (!(error instanceof StoreError)) assert.is((error as { code?: unknown }).code, 'EIO', what)
        else if (error.code === 'ERR_STORE_POISONED') poisoned += 1
      }
      assert.equal(fs.open, [], what)
      assert.equal(sim.open, [], what)
      fs.heal()
      isBetween(sim, begun, done, what)
      if (fault.failures === 0) {
        assert.not.ok(failed)
        break
      }
      const opened = Manifest.open(filesOf(fs))
      const manifest = opened?.manifest ?? Manifest.create(filesOf(fs), 1, stateOf(0))
      manifest.rewrite(stateOf(6), 20).close()
      assert.equal(open(sim.crash(new SeededRandom(at))), { state: 6, dropped: 0 }, what)
    }
  }
  assert.is(poisoned, 0, 'a failed rewrite itself throws the error of the system')
})

test('after a rewrite that failed half-way, this manifest goes on only if it surely counts', () => {
  const outcomes = new Set<string>()
  for (let at = 1; ; at++) {
    const { fs: sim } = storeWith(1)
    const fs = new FaultFs(sim)
    const { manifest } = Manifest.open(filesOf(fs))!
    const fault = fs.fail({ at })
    let rewritten = false
    try {
      manifest.rewrite(stateOf(2), 12).close()
      rewritten = true
    } catch {
      try {
        manifest.append(stateOf(3))
        outcomes.add('went on')
        assert.equal(open(sim), { state: 3, dropped: 0 }, `operation ${at}`)
      } catch (error) {
        assert.is((error as StoreError).code, 'ERR_STORE_POISONED')
        outcomes.add('poisoned')
        assert.throws(
          () => manifest.rewrite(stateOf(3), 13),
          (again: StoreError) => again.code === 'ERR_STORE_POISONED',
        )
        const found = open(sim)
        assert.ok(typeof found === 'object' && 'state' in found && [1, 2].includes(found.state), `operation ${at}`)
      }
      manifest.close()
    }
    assert.equal(fs.open, [], `operation ${at}`)
    if (fault.failures === 0) break
    if (rewritten) assert.equal(open(sim), { state: 2, dropped: 0 })
  }
  assert.equal([...outcomes].sort(), ['poisoned', 'went on'])
})

test.run()
