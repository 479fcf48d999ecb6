/**
 * A reader of a store's files that was written from docs/storage-format.md and knows nothing of the engine: if it reads what
 * the engine writes, the document is complete and true. It is simple, not fast. Owns nothing; files are given as bytes.
 */
import { crc32 } from 'node:zlib'

/** A word on a key; without a value it says that the key is deleted. */
export interface Word {
  readonly space: number
  readonly key: Buffer
  readonly value: Buffer | undefined
}

export interface ReadCheckpoint {
  readonly position: number
  readonly state: Buffer
}

/** How a log ends. */
export type LogEnd = 'end' | 'torn' | 'corrupt' | 'gap' | 'skipped'

interface ReadLog {
  readonly end: LogEnd
  readonly last: ReadCheckpoint | undefined
  /** Bytes up to the end. */
  readonly size: number
}

/** Damage: the store cannot be read. */
export class Damage extends Error {
  constructor(file: string, offset: number, what: string) {
    super(`${file} at ${offset}: ${what}`)
  }
}

/** A newer version wrote the file. */
export class NewerVersion extends Error {}

const rotl = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits))
const align8 = (bytes: number): number => Math.ceil(bytes / 8) * 8

/** As "The hash of a key" says; unsigned. */
export function keyHash(hashSeed: number, space: number, key: Buffer): number {
  const mixed = (k: number): number => Math.imul(rotl(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593)
  let h = ((hashSeed + Math.imul(space, 0x3c6ef372)) | 0) ^ key.length
  let at = 0
  for (; at + 4 <= key.length; at += 4) h = (Math.imul(rotl(h ^ mixed(key.readInt32LE(at)), 13), 5) + 0xe6546b64) | 0
  if (at < key.length) h ^= mixed(key.readUIntLE(at, key.length - at))
  return finished(h)
}

function finished(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** As "Record" of tables says; unsigned. */
export function wordCheck(bytes: Buffer, own: number): number {
  let a = own
  let b = ~own
  for (let i = 0; 4 * i < bytes.length; i++) {
    const word = bytes.readInt32LE(4 * i)
    if (i % 2 === 0) a = rotl(Math.imul(a ^ word, 0xcc9e2d51), 13)
    else b = rotl(Math.imul(b ^ word, 0x1b873593), 15)
  }
  // The last steps are those of the hash.
  return finished((Math.imul(a, 0x85ebca6b) + Math.imul(b, 0xc2b2ae35)) | 0)
}

/** The order of entries. */
export function compareWords(a: Pick<Word, 'space' | 'key'>, b: Pick<Word, 'space' | 'key'>): number {
  return a.space - b.space || Buffer.compare(a.key, b.key)
}

function u64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

function u64Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function nameOf(kind: 'log' | 'tbl', number: number): string {
  return `${String(number).padStart(10, '0')}.${kind}`
}

/** Checks a file's header; gives the store's id. */
function checkHeader(bytes: Buffer, file: string, magic: string, number: number, storeId?: Buffer): Buffer {
  if (bytes.length < 64) throw new Damage(file, bytes.length, 'no header')
  if (bytes.toString('latin1', 0, 8) !== magic) throw new Damage(file, 0, 'wrong magic')
  if (bytes.readUInt32LE(60) !== crc32(bytes.subarray(0, 60)))
    throw new Damage(file, 60, 'wrong checksum of the header')
  if (bytes.readUInt16LE(10) > 1 || bytes.readUInt16LE(12) !== 0) throw new NewerVersion(file)
  if (u64(bytes, 32) !== number) throw new Damage(file, 32, 'another file number')
  const id = bytes.subarray(16, 32)
  if (storeId !== undefined && !id.equals(storeId)) throw new Damage(file, 16, 'another store')
  return id
}

function seedOf(storeId: Buffer, number: number): number {
  return crc32(u64Bytes(number), crc32(storeId))
}

interface State {
  readonly storeId: string
  readonly hashSeed: number
  readonly nextFile: number
  readonly flushedSeq: number
  readonly oldestLog: number
  readonly checkpoint: { readonly position: number; readonly state: string; readonly wallMs: number } | null
  readonly upper: readonly (readonly number[])[]
  readonly last: readonly number[]
}

function readManifest(bytes: Buffer, file: string): { state: State; storeId: Buffer } {
  const number = Number(file.slice('MANIFEST-'.length))
  const storeId = checkHeader(bytes, file, 'MRLMAN\0\x01', number)
  const seed = seedOf(storeId, number)
  const frameEnd = (at: number): number | undefined => {
    if (at + 8 > bytes.length) return undefined
    const end = at + align8(8 + bytes.readUInt32LE(at))
    if (end > bytes.length) return undefined
    const place = crc32(Buffer.concat([u64Bytes(at), bytes.subarray(at, at + 4)]), seed)
    return crc32(bytes.subarray(at + 8, end), place) === bytes.readUInt32LE(at + 4) ? end : undefined
  }
  let last: number | undefined
  let at = 64
  for (let end = frameEnd(at); end !== undefined; end = frameEnd(at)) {
    last = at
    at = end
  }
  for (let later = at + 8; later < bytes.length; later += 8) {
    if (frameEnd(later) !== undefined) throw new Damage(file, at, 'an unreadable state before another one')
  }
  if (last === undefined) throw new Damage(file, at, 'no complete state')
  const state = JSON.parse(bytes.toString('utf8', last + 8, last + 8 + bytes.readUInt32LE(last))) as State
  if (state.storeId !== storeId.toString('hex')) throw new Damage(file, last + 8, 'another store')
  return { state, storeId }
}

/** A table whose end was checked; its records are when they are read. */
class TableReader {
  readonly words: readonly Word[]
  readonly #bytes: Buffer
  readonly #file: string
  readonly #seed: number
  readonly #hashSeed: number
  readonly #ends: readonly number[]

  constructor(bytes: Buffer, file: string, storeId: Buffer, hashSeed: number) {
    const number = Number.parseInt(file, 10)
    checkHeader(bytes, file, 'MRLTBL\0\x01', number, storeId)
    this.#bytes = bytes
    this.#file = file
    this.#seed = seedOf(storeId, number)
    this.#hashSeed = hashSeed
    const footerAt = bytes.length - 64
    if (footerAt < 64) throw new Damage(file, bytes.length, 'too short')
    const footer = bytes.subarray(footerAt)
    if (footer.toString('latin1', 56) !== 'MRLEND\0\x01')
      throw new Damage(file, footerAt + 56, 'wrong magic of the footer')
    if (crc32(footer.subarray(0, 52), this.#seed) !== footer.readUInt32LE(52))
      throw new Damage(file, footerAt, 'footer')
    this.#ends = [0, 4, 8, 12, 16].map((at) => footer.readUInt32LE(at))
    if (this.#ends[4] !== footerAt) throw new Damage(file, footerAt, 'the properties do not end at the footer')
    for (let i = 1; i < 5; i++) {
      const part = bytes.subarray(this.#ends[i - 1], this.#ends[i])
      if (crc32(part, this.#seed) !== footer.readUInt32LE(16 + 4 * i))
        throw new Damage(file, this.#ends[i - 1]!, `part ${i}`)
    }
    this.words = this.#records()
    this.#checkSpans()
    this.#checkIndex()
    this.#checkProperties()
  }

  /** Size and word of the record at an offset. */
  #recordAt(offset: number): { size: number; word: Word } {
    const bytes = this.#bytes
    const keyLength = bytes.readUIntLE(offset + 4, 3)
    const flags = bytes[offset + 7]!
    const valueLength = bytes.readUInt32LE(offset + 8)
    const size = align8(12 + keyLength + valueLength)
    if (offset + size > this.#ends[0]!) throw new Damage(this.#file, offset, 'the record is too long')
    const own = (this.#seed ^ (offset / 8)) >>> 0
    const checked = bytes.subarray(offset + 4, offset + size)
    const check = (flags & 0x20) === 0 ? wordCheck(checked, own) : crc32(checked, own)
    if ((flags & 0x50) !== 0 || check !== bytes.readUInt32LE(offset)) throw new Damage(this.#file, offset, 'record')
    const valueAt = offset + 12 + keyLength
    const value = (flags & 0x80) === 0 ? bytes.subarray(valueAt, valueAt + valueLength) : undefined
    return { size, word: { space: flags & 0x0f, key: bytes.subarray(offset + 12, valueAt), value } }
  }

  #records(): Word[] {
    const words: Word[] = []
    for (let at = 64; at < this.#ends[0]!; ) {
      const { size, word } = this.#recordAt(at)
      const before = words.at(-1)
      if (before !== undefined && compareWords(before, word) >= 0) throw new Damage(this.#file, at, 'out of order')
      words.push(word)
      at += size
    }
    return words
  }

  #checkSpans(): void {
    const [recordsEnd = 0] = this.#ends
    for (let from = 64, at = recordsEnd; from < recordsEnd; from += 32768, at += 4) {
      const span = this.#bytes.subarray(from, Math.min(from + 32768, recordsEnd))
      if (crc32(span, this.#seed) !== this.#bytes.readUInt32LE(at)) throw new Damage(this.#file, from, 'span')
    }
  }

  #checkIndex(): void {
    const index = this.#bytes.subarray(this.#ends[2], this.#ends[3])
    const blocks = index.readUInt32LE(0)
    const keys = index.subarray(8 + 9 * blocks)
    const keyEnd = (i: number): number => (i < 0 ? 0 : index.readUInt32LE(8 + 4 * (blocks + i)))
    let i = 0
    let begin = 64
    let at = 64
    let before: Word | undefined
    for (const word of this.words) {
      if (i === 0 || at >= begin + 4096) {
        begin = at
        if (index.readUInt32LE(8 + 4 * i) !== at)
          throw new Damage(this.#file, this.#ends[2]!, `block ${i} is elsewhere`)
        const key = { space: index[8 + 8 * blocks + i]!, key: keys.subarray(keyEnd(i - 1), keyEnd(i)) }
        const shorter = { space: key.space, key: key.key.subarray(0, -1) }
        const isAbove = before === undefined || compareWords(key, before) > 0
        const isShortest = before === undefined || key.key.length === 0 || compareWords(shorter, before) <= 0
        const isEmpty = before === undefined || before.space !== word.space
        if (!isAbove || !isShortest || compareWords(key, word) > 0 || (isEmpty && key.key.length > 0)) {
          throw new Damage(this.#file, this.#ends[2]!, `the key of block ${i}`)
        }
        i += 1
      }
      before = word
      at += this.#recordAt(at).size
    }
    if (i !== blocks || keyEnd(blocks - 1) !== index.readUInt32LE(4))
      throw new Damage(this.#file, this.#ends[2]!, 'index')
  }

  #checkProperties(): void {
    const properties = this.#bytes.subarray(this.#ends[3], this.#ends[4])
    const live = this.words.filter(({ value }) => value !== undefined)
    const dataBytes = live.reduce((sum, { key, value }) => sum + key.length + value!.length, 0)
    const sizes = this.words.map(({ key, value }) => align8(12 + key.length + (value?.length ?? 0)))
    const largest = sizes.reduce((most, size) => Math.max(most, size), 0)
    const min = this.words[0]!
    const max = this.words.at(-1)!
    const keys = Buffer.concat([min.key, max.key])
    const agrees =
      properties.readUInt32LE(0) === this.words.length &&
      properties.readUInt32LE(4) === this.words.length - live.length &&
      u64(properties, 8) === dataBytes &&
      properties.readUInt32LE(16) === largest &&
      properties.readInt32LE(20) === (this.#hashSeed | 0) &&
      properties[24] === min.space &&
      properties[25] === max.space &&
      properties.readUInt32LE(28) === min.key.length &&
      properties.readUInt32LE(32) === max.key.length &&
      properties.subarray(36, 36 + keys.length).equals(keys)
    if (!agrees) throw new Damage(this.#file, this.#ends[3]!, 'properties')
  }

  /** The word on a key, found through the slots. */
  find(space: number, key: Buffer): Word | undefined {
    const slots = this.#bytes.subarray(this.#ends[1], this.#ends[2])
    const count = slots.length / 4
    const hash = keyHash(this.#hashSeed, space, key)
    for (let i = Math.floor((hash * count) / 2 ** 32); ; i = (i + 1) % count) {
      const slot = slots.readUInt32LE(4 * i)
      if (slot === 0) return undefined
      if (slot >>> 22 !== (hash & 0x3ff)) continue
      const { word } = this.#recordAt(8 * (slot & 0x3fffff))
      if (compareWords(word, { space, key }) === 0) return word
    }
  }
}

/** A store's files, read. */
export class FormatReader {
  checkpoint: ReadCheckpoint | undefined
  /** How each log that counts ends, oldest first. */
  readonly ends: readonly LogEnd[]
  /** Bytes of logs that do not count. */
  unusedBytes = 0
  /** Of the logs, oldest first. */
  readonly #logged: Word[] = []
  /** Newest first. */
  readonly #runs: readonly (readonly TableReader[])[]
  readonly #hashSeed: number
  #seq: number
  #isOver = false

  /** Files of a directory by name. Throws Damage or NewerVersion. */
  constructor(files: ReadonlyMap<string, Buffer>) {
    const current = files.get('CURRENT')?.toString('latin1') ?? ''
    const [, line = ''] = /^(MANIFEST-\d{10,16}\n)/.exec(current) ?? []
    if (line === '' || current !== `${line}${crc32(line).toString(16).padStart(8, '0')}\n`)
      throw new Damage('CURRENT', 0, '')
    const name = line.trim()
    const content = (file: string): Buffer => {
      const bytes = files.get(file)
      if (bytes === undefined) throw new Damage(file, 0, 'missing')
      return bytes
    }
    const { state, storeId } = readManifest(content(name), name)
    this.#hashSeed = state.hashSeed
    this.#seq = state.flushedSeq
    this.#runs = [...state.upper, state.last].map((run) =>
      run.map((number) => {
        const file = nameOf('tbl', number)
        return new TableReader(content(file), file, storeId, state.hashSeed)
      }),
    )
    const { checkpoint } = state
    if (checkpoint !== null) {
      this.checkpoint = { position: checkpoint.position, state: Buffer.from(checkpoint.state, 'base64') }
    }
    const numbers = [...files.keys()].map((file) => Number(/^(\d{10,16})\.log$/.exec(file)?.[1] ?? 0))
    const counting = numbers.filter((number) => number > 0 && number >= state.oldestLog).sort((a, b) => a - b)
    this.ends = counting.map((number) => {
      const bytes = content(nameOf('log', number))
      if (this.#isOver) {
        this.unusedBytes += bytes.length
        return 'skipped'
      }
      const { end, last, size } = this.#readLog(bytes, number, storeId)
      if (end !== 'end') this.unusedBytes += bytes.length - size
      if (end === 'gap') this.#isOver = true
      if (last !== undefined) this.checkpoint = last
      return end
    })
  }

  #readLog(bytes: Buffer, number: number, storeId: Buffer): ReadLog {
    if (bytes.length < 64) return { end: 'torn', last: undefined, size: 0 }
    try {
      checkHeader(bytes, nameOf('log', number), 'MRLLOG\0\x01', number, storeId)
    } catch (error) {
      if (error instanceof Damage) return { end: 'corrupt', last: undefined, size: 0 }
      throw error
    }
    const seed = seedOf(storeId, number)
    let last: ReadCheckpoint | undefined
    for (let at = 64; ; ) {
      const rest = bytes.subarray(at)
      const isZero = rest.every((byte) => byte === 0)
      if (rest.length < 40) return { end: isZero ? 'end' : 'torn', last, size: at }
      const length = rest.readUInt32LE(0)
      if (length === 0 && isZero) return { end: 'end', last, size: at }
      if (length < 40 || length % 8 !== 0) return { end: 'corrupt', last, size: at }
      if (length > rest.length) return { end: 'torn', last, size: at }
      const frame = rest.subarray(0, length)
      if (crc32(frame.subarray(8), seed) !== frame.readUInt32LE(4)) return { end: 'corrupt', last, size: at }
      const batch = this.#readBatch(frame)
      if (batch === undefined) return { end: 'corrupt', last, size: at }
      if (u64(frame, 8) !== this.#seq + 1) return { end: 'gap', last, size: at }
      this.#seq += 1
      this.#logged.push(...batch.words)
      last = batch.checkpoint ?? last
      at += length
    }
  }

  /** What is in a frame; undefined when it cannot be that. */
  #readBatch(frame: Buffer): { words: Word[]; checkpoint: ReadCheckpoint | undefined } | undefined {
    const words: Word[] = []
    let at = 40
    for (let left = frame.readUInt32LE(20); left > 0; left--) {
      if (at + 16 > frame.length) return undefined
      const keyTo = at + 16 + frame.readUIntLE(at + 4, 3)
      const valueTo = keyTo + frame.readUInt32LE(at + 8)
      if (align8(valueTo) > frame.length) return undefined
      const flags = frame[at + 7]!
      const key = frame.subarray(at + 16, keyTo)
      if (frame.readUInt32LE(at) !== keyHash(this.#hashSeed, flags & 0x0f, key)) throw new Damage('log', at, 'hash')
      words.push({ space: flags & 0x0f, key, value: flags >= 0x80 ? undefined : frame.subarray(keyTo, valueTo) })
      at = align8(valueTo)
    }
    const stateTo = at + frame.readUInt16LE(18)
    const position = frame.readDoubleLE(24)
    if (align8(stateTo) !== frame.length || stateTo - at > 1024) return undefined
    if (frame[16] === 0) return { words, checkpoint: undefined }
    if (!Number.isSafeInteger(position) || position < 0) return undefined
    return { words, checkpoint: { position, state: frame.subarray(at, stateTo) } }
  }

  /** The entries that have a value, in order. */
  entries(): Word[] {
    const newest = new Map<string, Word>()
    const tables = [...this.#runs].reverse().flat()
    for (const word of [...tables.flatMap(({ words }) => words), ...this.#logged]) {
      newest.set(`${word.space} ${word.key.toString('hex')}`, word)
    }
    return [...newest.values()].filter(({ value }) => value !== undefined).sort(compareWords)
  }

  /** The value of a key: logs are searched, tables are asked through their slots. */
  get(space: number, key: Buffer): Buffer | undefined {
    const isIt = (word: Word): boolean => compareWords(word, { space, key }) === 0
    const logged = this.#logged.findLast(isIt)
    if (logged !== undefined) return logged.value
    for (const run of this.#runs) {
      const table = run.find(({ words }) => compareWords(words.at(-1)!, { space, key }) >= 0)
      const found = table?.find(space, key)
      if (found !== undefined) return found.value
    }
    return undefined
  }
}
