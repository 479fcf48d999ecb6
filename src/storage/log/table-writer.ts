/**
 * Writes a table: records as they come, in ascending order, then everything that finds them. A TableWriter owns its file
 * until `close` or `abandon`; it never syncs it, whoever drives it does. The header is written last: a file without one
 * was never finished. Errors of the file system pass through; the table can only be abandoned then.
 */
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { assert } from '../../base/assert.ts'
import type { FileHandle } from '../../base/fs.ts'
import { compareKeys, copySpan } from './cursor.ts'
import { crcSeed, encodeFileHeader, fileHeaderBytes, type StoreFiles, tableName } from './format.ts'
import { hashOf } from './key-hash.ts'
import {
  checkSeed,
  flagCrc,
  flagDeleted,
  makeChunk,
  maxWordCheckBytes,
  recordBytes,
  recordHeaderBytes,
  wordCheck,
} from './record.ts'
import { fillSlots, slotCountFor } from './slot-index.ts'
import { blockBytes, SparseIndexBuilder } from './sparse-index.ts'
import {
  encodeFooter,
  encodeProperties,
  footerBytes,
  maxTableBytes,
  propertiesSize,
  type Sections,
  spanBytes,
  spansSize,
  type TableMeta,
} from './table-layout.ts'

/** Records are collected and written in pieces of this size: whole spans. */
const pieceBytes = 8 * spanBytes
/** Larger records are passed on in parts; the others lie in the buffer as a whole, behind what is not written yet. */
const maxWholeBytes = 2 * spanBytes
/** Slots filled per step: about a third of a millisecond. */
const slotsPerStep = 8192

/** What a record takes besides itself: two slots, the CRC of a span, a place in the index. */
const recordOverhead = 32

const zeros = Buffer.alloc(8)
const empty = Buffer.alloc(0)

export class TableWriter {
  readonly file: FileHandle
  readonly #files: StoreFiles
  readonly #fileNumber: number
  readonly #path: string
  readonly #maxBytes: number
  readonly #seed: number
  readonly #hashSeed: number
  /** The buffer, as bytes and as words. */
  readonly #bytes: Buffer
  readonly #words: Int32Array
  /** Bytes in the buffer, below `pieceBytes` between calls, and where in the file they belong. */
  #used = 0
  #written = fileHeaderBytes
  /** Where in the file the next record begins. */
  #offset = fileHeaderBytes
  /** A record from here on begins a block. */
  #nextBlock = fileHeaderBytes
  readonly #index = new SparseIndexBuilder()
  readonly #spanCrcs: number[] = []
  #count = 0
  #hashes: Int32Array = new Int32Array(1024)
  #places: Int32Array = new Int32Array(1024)
  #tombstones = 0
  #dataBytes = 0
  #maxRecordBytes = 0
  #minSpace = 0
  #minKey: Buffer = empty
  /** The last key: in the buffer, or in `#kept` if it has left it. */
  #lastSpace = 0
  #lastBytes: Buffer = empty
  #lastFrom = 0
  #lastTo = 0
  #kept: Buffer = Buffer.allocUnsafeSlow(256)
  /** Where records come from, as bytes and as words. */
  #source: Buffer = empty
  #sourceWords: Int32Array | undefined
  #state: 'open' | 'finished' | 'closed' = 'open'

  /**
   * Makes the file, which must not exist. `maxBytes` is where `fits` draws the line, at most 32 MiB. Throws the system's
   * error.
   */
  constructor(files: StoreFiles, fileNumber: number, maxBytes = maxTableBytes) {
    this.#files = files
    this.#fileNumber = fileNumber
    this.#path = join(files.dir, tableName(fileNumber))
    this.#maxBytes = Math.min(maxBytes, maxTableBytes)
    this.#seed = crcSeed(files.storeId, fileNumber)
    this.#hashSeed = files.hashSeed
    const { bytes, words } = makeChunk(pieceBytes + maxWholeBytes)
    this.#bytes = bytes
    this.#words = words
    this.file = files.fs.openSync(this.#path, 'createNew')
  }

  /** Entries so far. */
  get entryCount(): number {
    return this.#count
  }

  /** Bytes of the file if it were finished now. */
  get byteLength(): number {
    const records = this.#offset - fileHeaderBytes
    const slots = 4 * slotCountFor(this.#count)
    const properties = propertiesSize(this.#minKey.length, this.#lastTo - this.#lastFrom)
    return this.#offset + spansSize(records) + slots + this.#index.byteLength + properties + footerBytes
  }

  /**
   * Whether a record of so many bytes, padding included, may be added: always, if it is the first. (The index and the
   * properties may hold its key again, so long keys can make the file larger than the limit by that.)
   */
  fits(bytes: number): boolean {
    return this.#count === 0 || this.byteLength + bytes + recordOverhead <= this.#maxBytes
  }

  /** Adds an entry; its key is above all before it. A deleted one has no value. */
  add(
    space: number,
    bytes: Buffer,
    keyFrom: number,
    keyTo: number,
    valueBytes: Buffer,
    valueFrom: number,
    valueTo: number,
    deleted: boolean,
  ): void {
    const keyLength = keyTo - keyFrom
    const valueLength = valueTo - valueFrom
    const size = recordBytes(keyLength, valueLength)
    const offset = this.#offset
    assert(this.#state === 'open' && offset < maxTableBytes, 'a table takes no more records')
    if (this.#count === 0) {
      this.#minSpace = space
      this.#minKey = Buffer.from(bytes.subarray(keyFrom, keyTo))
    } else {
      const order = this.#lastSpace - space
      const ascending =
        order < 0 ||
        (order === 0 && compareKeys(this.#lastBytes, this.#lastFrom, this.#lastTo, bytes, keyFrom, keyTo) < 0)
      assert(ascending, 'the records of a table are not ascending')
    }
    if (offset >= this.#nextBlock) {
      const last = this.#lastBytes
      this.#index.add(offset, this.#lastSpace, last, this.#lastFrom, this.#lastTo, space, bytes, keyFrom, keyTo)
      this.#nextBlock = offset + blockBytes
    }
    const index = this.#count
    if (index === this.#hashes.length) this.#growEntries()
    this.#hashes[index] = hashOf(this.#hashSeed, space, bytes, keyFrom, keyTo)
    this.#places[index] = offset >>> 3
    if (deleted) {
      assert(valueLength === 0, 'a deleted entry has a value')
      this.#tombstones += 1
    } else this.#dataBytes += keyLength + valueLength
    if (size > this.#maxRecordBytes) this.#maxRecordBytes = size
    const head = keyLength | ((space | (deleted ? flagDeleted : 0) | (size > maxWordCheckBytes ? flagCrc : 0)) << 24)
    this.#lastSpace = space
    if (size > maxWholeBytes) this.#addLarge(head, bytes, keyFrom, keyTo, valueBytes, valueFrom, valueTo, size)
    else this.#addWhole(head, bytes, keyFrom, keyTo, valueBytes, valueFrom, valueTo, size)
    this.#offset = offset + size
    this.#count = index + 1
  }

  #growEntries(): void {
    const hashes = new Int32Array(2 * this.#hashes.length)
    const places = new Int32Array(hashes.length)
    hashes.set(this.#hashes)
    places.set(this.#places)
    this.#hashes = hashes
    this.#places = places
  }

  #addWhole(
    head: number,
    bytes: Buffer,
    keyFrom: number,
    keyTo: number,
    valueBytes: Buffer,
    valueFrom: number,
    valueTo: number,
    size: number,
  ): void {
    const at = this.#used
    const target = this.#bytes
    const words = this.#words
    const first = at >>> 2
    const end = (at + size) >>> 2
    // The padding is in the last two words. In the smallest record the first of them is the value's length.
    words[end - 1] = 0
    words[end - 2] = 0
    words[first + 1] = head
    words[first + 2] = valueTo - valueFrom
    const keyAt = at + recordHeaderBytes
    const valueAt = keyAt + keyTo - keyFrom
    // In memtables and tables the value lies behind its key, and both at whole words: they are copied as such.
    const source = bytes === valueBytes && keyTo === valueFrom && (keyFrom & 3) === 0 ? this.#wordsOf(bytes) : undefined
    if (source !== undefined) {
      const count = (valueTo - keyFrom) >>> 2
      const from = keyFrom >>> 2
      for (let i = 0; i < count; i++) words[first + 3 + i] = source[from + i]!
      for (let i = keyFrom + 4 * count; i < valueTo; i++) target[keyAt + i - keyFrom] = bytes[i]!
    } else {
      copySpan(bytes, keyFrom, keyTo, target, keyAt)
      copySpan(valueBytes, valueFrom, valueTo, target, valueAt)
    }
    const seed = checkSeed(this.#seed, this.#offset)
    words[first] =
      size > maxWordCheckBytes
        ? crc32(target.subarray(at + 4, at + size), seed >>> 0)
        : wordCheck(words, first + 1, end, seed)
    this.#lastBytes = target
    this.#lastFrom = keyAt
    this.#lastTo = valueAt
    this.#used = at + size
    if (this.#used >= pieceBytes) this.#writePiece()
  }

  /** Bytes as words; they are the same for thousands of records. Undefined: they do not begin at a word. */
  #wordsOf(bytes: Buffer): Int32Array | undefined {
    if (bytes !== this.#source) {
      this.#source = bytes
      const { buffer, byteOffset, length } = bytes
      this.#sourceWords = byteOffset % 4 === 0 ? new Int32Array(buffer, byteOffset, length >>> 2) : undefined
    }
    return this.#sourceWords
  }

  #addLarge(
    head: number,
    bytes: Buffer,
    keyFrom: number,
    keyTo: number,
    valueBytes: Buffer,
    valueFrom: number,
    valueTo: number,
    size: number,
  ): void {
    const header = Buffer.alloc(recordHeaderBytes)
    const padding = size - recordHeaderBytes - (keyTo - keyFrom) - (valueTo - valueFrom)
    header.writeInt32LE(head, 4)
    header.writeUInt32LE(valueTo - valueFrom, 8)
    let check = crc32(header.subarray(4), checkSeed(this.#seed, this.#offset) >>> 0)
    check = crc32(bytes.subarray(keyFrom, keyTo), check)
    check = crc32(valueBytes.subarray(valueFrom, valueTo), check)
    header.writeUInt32LE(crc32(zeros.subarray(0, padding), check), 0)
    this.#append(header, 0, recordHeaderBytes)
    this.#append(bytes, keyFrom, keyTo)
    this.#append(valueBytes, valueFrom, valueTo)
    this.#append(zeros, 0, padding)
    this.#keepLast(bytes, keyFrom, keyTo)
  }

  #append(source: Buffer, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const part = Math.min(to - at, pieceBytes - this.#used)
      source.copy(this.#bytes, this.#used, at, at + part)
      at += part
      this.#used += part
      if (this.#used === pieceBytes) this.#writePiece()
    }
  }

  #keepLast(bytes: Buffer, from: number, to: number): void {
    if (to - from > this.#kept.length) this.#kept = Buffer.allocUnsafeSlow(2 * (to - from))
    bytes.copy(this.#kept, 0, from, to)
    this.#lastBytes = this.#kept
    this.#lastFrom = 0
    this.#lastTo = to - from
  }

  /** Writes a full piece; what lies behind it is next. */
  #writePiece(): void {
    if (this.#lastBytes === this.#bytes) this.#keepLast(this.#bytes, this.#lastFrom, this.#lastTo)
    this.#write(pieceBytes)
    this.#bytes.copyWithin(0, pieceBytes, this.#used)
    this.#used -= pieceBytes
  }

  /** Writes the first `length` bytes of the buffer, and counts their CRCs. */
  #write(length: number): void {
    for (let at = 0; at < length; at += spanBytes) {
      this.#spanCrcs.push(crc32(this.#bytes.subarray(at, Math.min(at + spanBytes, length)), this.#seed))
    }
    this.file.writeSync(this.#bytes, 0, length, this.#written)
    this.#written += length
  }

  /** Writes the rest of the file, in steps of less than a millisecond. There is at least one entry. */
  *finishSteps(): Generator<undefined, TableMeta> {
    assert(this.#state === 'open' && this.#count > 0, 'a table is finished twice, or empty')
    this.#state = 'finished'
    const seed = this.#seed
    const recordsEnd = this.#offset
    const meta: TableMeta = {
      fileNumber: this.#fileNumber,
      byteLength: this.byteLength,
      entryCount: this.#count,
      tombstoneCount: this.#tombstones,
      dataBytes: this.#dataBytes,
      maxRecordBytes: this.#maxRecordBytes,
      min: { space: this.#minSpace, key: this.#minKey },
      max: { space: this.#lastSpace, key: Buffer.from(this.#lastBytes.subarray(this.#lastFrom, this.#lastTo)) },
    }
    this.#write(this.#used)
    yield

    const spans = Buffer.alloc(spansSize(recordsEnd - fileHeaderBytes))
    for (const [i, crc] of this.#spanCrcs.entries()) spans.writeUInt32LE(crc, 4 * i)
    this.file.writeSync(spans, 0, spans.length, recordsEnd)
    const spansEnd = recordsEnd + spans.length

    const slots = new Int32Array(slotCountFor(this.#count))
    for (let from = 0; from < this.#count; from += slotsPerStep) {
      fillSlots(slots, this.#hashes, this.#places, from, Math.min(from + slotsPerStep, this.#count))
      yield
    }
    const slotBytes = Buffer.from(slots.buffer)
    let slotsCrc = seed
    for (let from = 0; from < slotBytes.length; from += pieceBytes) {
      const to = Math.min(from + pieceBytes, slotBytes.length)
      slotsCrc = crc32(slotBytes.subarray(from, to), slotsCrc)
      this.file.writeSync(slotBytes, from, to, spansEnd + from)
      yield
    }
    const slotsEnd = spansEnd + slotBytes.length

    const index = this.#index.encode()
    const properties = encodeProperties(meta, this.#hashSeed)
    const sections: Sections = {
      recordsEnd,
      spansEnd,
      slotsEnd,
      indexEnd: slotsEnd + index.length,
      propertiesEnd: slotsEnd + index.length + properties.length,
      spansCrc: crc32(spans, seed),
      slotsCrc,
      indexCrc: crc32(index, seed),
      propertiesCrc: crc32(properties, seed),
    }
    const end = Buffer.concat([index, properties, encodeFooter(sections, seed)])
    assert(slotsEnd + end.length === meta.byteLength, 'a table is not as long as it said')
    this.file.writeSync(end, 0, end.length, slotsEnd)
    const { storeId } = this.#files
    const header = encodeFileHeader('table', { storeId, fileNumber: this.#fileNumber, createdMs: this.#files.now() })
    this.file.writeSync(header, 0, header.length, 0)
    return meta
  }

  /** Closes the file. May be called any number of times. */
  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.file.closeSync()
  }

  /** Closes and removes the file. */
  abandon(): void {
    this.close()
    this.#files.fs.removeSync(this.#path)
  }
}
