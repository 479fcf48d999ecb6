/**
 * A table: a file of entries in order, opened for reading. A lookup takes one probe of its slots and one read of the disk;
 * nothing is allocated, unless the record is above 4 KiB. While there is no memory for slots (budget.ts) it reads the whole
 * block of 4 KiB where the key can only be, and looks for it there. A Table owns its file, its slots (read at the first lookup,
 * given back by `releaseSlots`) and the buffer that lookups read into.
 */
import { Span } from '../contract.ts'
import type { SlotUser, TableMemory } from './budget.ts'
import { type CursorRange, type EntryCursor, type EntrySource, type Lookup, lookup, sameKey } from './cursor.ts'
import type { StoreFiles } from './format.ts'
import {
  checkSeed,
  type Chunk,
  flagDeleted,
  isIntact,
  makeChunk,
  minRecordBytes,
  recordHeaderBytes,
  sizeAt,
  spaceMask,
} from './record.ts'
import { homeOf, placeMask, tagMask, tagOf } from './slot-index.ts'
import { TableCursor } from './table-cursor.ts'
import { TableFile } from './table-file.ts'
import type { TableMeta } from './table-layout.ts'
import { verifyTable } from './table-verify.ts'

export type { TableMeta } from './table-layout.ts'

/** A lookup reads so much at once; the rest of a longer record takes another read. */
const firstReadBytes = 4096
/** A buffer for longer records is kept up to this size. */
const keptBufferBytes = 64 * 1024

const noSlots = new Int32Array(0)

export class Table implements EntrySource, SlotUser {
  /** What it holds. */
  readonly meta: TableMeta
  /** Its file; for cursors. */
  readonly file: TableFile
  /** Reads of the disk by lookups. */
  preads = 0
  /** Of those: for another key whose hash has the same tag. */
  falsePositives = 0
  slotsUsed = false
  /** Bytes read by lookups because there was no memory for slots; 0 again when there are slots. */
  #paid = 0
  readonly #memory: TableMemory | undefined
  readonly #hashSeed: number
  /** Where records end in the file. */
  readonly #recordsEnd: number
  readonly #firstRead: number
  /** Empty until they are needed. */
  #slots: Int32Array = noSlots
  /** The slots are being read. */
  #loading: Promise<void> | undefined
  readonly #buffer: Chunk
  /** For records above `#firstRead`. */
  #longBuffer: Chunk | undefined

  private constructor(file: TableFile, hashSeed: number, memory: TableMemory | undefined) {
    this.file = file
    this.#memory = memory
    memory?.indexOpened(file.index.byteLength)
    this.meta = file.meta
    this.#hashSeed = hashSeed
    this.#recordsEnd = file.sections.recordsEnd
    this.#firstRead = Math.min(file.meta.maxRecordBytes, firstReadBytes)
    this.#buffer = makeChunk(this.#firstRead)
  }

  /**
   * Opens table `fileNumber`. Throws StoreError ERR_STORE_CORRUPT, also when there is no such file, or
   * ERR_STORE_VERSION; or the system's error (EMFILE, EIO).
   */
  static open(files: StoreFiles, fileNumber: number): Table {
    return new Table(TableFile.open(files, fileNumber), files.hashSeed, files.memory)
  }

  /** Bytes of slots in memory: 0 until the first lookup. */
  get slotBytes(): number {
    return 4 * this.#slots.length
  }

  /** Bytes of the sparse index in memory. */
  get indexBytes(): number {
    return this.file.index.byteLength
  }

  /**
   * Looks up a key by its hash (key-hash.ts) and bytes; points `out` at its value if it has one. The value stays where it
   * is until the next lookup in this table. Throws StoreError ERR_STORE_CORRUPT, or the system's error.
   */
  get(hash: number, space: number, key: Buffer, from: number, to: number, out: Span): Lookup {
    if (this.#slots.length === 0 && !this.#loadSlots()) return this.#getInBlock(space, key, from, to, out)
    this.slotsUsed = true
    const slots = this.#slots
    const count = slots.length
    const tag = tagOf(hash)
    let at = homeOf(hash, count)
    for (let slot = slots[at]!; slot !== 0; slot = slots[at]!) {
      if (((slot ^ tag) & tagMask) === 0) {
        const found = this.#readAt((slot & placeMask) << 3, space, key, from, to, out)
        if (found !== lookup.absent) return found
        this.falsePositives += 1
      }
      at += 1
      if (at === count) at = 0
    }
    return lookup.absent
  }

  // --- the parts of a lookup that does not block (table-reads.ts)

  /** Whether there are slots to look a key up in. */
  get hasSlots(): boolean {
    return this.#slots.length > 0
  }

  /** Whether there is memory for slots. Without, keys are looked for in their blocks. */
  get maySlots(): boolean {
    return this.#memory?.admits(this.file.slotSectionBytes, this.#paid) ?? true
  }

  /** The block where a key can only be: [from, to) in the file. It is going to be read for want of slots. */
  blockOf(space: number, key: Buffer, from: number, to: number): { readonly from: number; readonly to: number } {
    const { index } = this.file
    const block = index.blockOf(space, key, from, to)
    const place = { from: index.offsetOf(block), to: index.offsetOf(block + 1) }
    this.#paid += place.to - place.from
    return place
  }

  /** Looks for a key in the records at [at, end) of a chunk, which are at `offset` of the file. As `match`. */
  matchIn(
    chunk: Chunk,
    at: number,
    end: number,
    offset: number,
    space: number,
    key: Buffer,
    from: number,
    to: number,
    out: Span,
  ): Lookup {
    for (let next = at; next < end; ) {
      const place = offset + next - at
      const size = this.sizeIn(chunk, next, place)
      if (next + size > end) throw this.file.damage(place, 'a record does not end in its block')
      const found = this.match(chunk, next, place, size, space, key, from, to, out)
      if (found !== lookup.absent) return found
      next += size
    }
    return lookup.absent
  }

  /** Reads the slots without blocking. Of several calls at a time one reads. Rejects like `get`. */
  loadSlots(): Promise<void> {
    this.#loading ??= this.#loadSlotsAsync()
    return this.#loading
  }

  async #loadSlotsAsync(): Promise<void> {
    try {
      const slots = await this.file.readSlotsAsync()
      if (this.#slots.length === 0 && this.file.isOpen) this.#keep(slots)
    } finally {
      this.#loading = undefined
    }
  }

  /** The next slot behind slot `after` (−1: the first one) that may lead to a key with this hash; −1: there is none. */
  nextSlot(hash: number, after: number): number {
    this.slotsUsed = true
    const slots = this.#slots
    const count = slots.length
    const tag = tagOf(hash)
    let at = after < 0 ? homeOf(hash, count) : after + 1
    for (;;) {
      if (at === count) at = 0
      const slot = slots[at]!
      if (slot === 0) return -1
      if (((slot ^ tag) & tagMask) === 0) return at
      at += 1
    }
  }

  /** Where the record is that a slot leads to. */
  offsetOf(slot: number): number {
    return (this.#slots[slot]! & placeMask) << 3
  }

  /** Bytes to read of the record at `offset`: the whole of it, unless it is a long one. Throws StoreError ERR_STORE_CORRUPT. */
  lengthAt(offset: number): number {
    const length = Math.min(this.#recordsEnd - offset, this.#firstRead)
    if (length >= minRecordBytes) return length
    throw this.file.damage(offset, 'no record fits where its slots say that there is one')
  }

  /** Reads bytes of records to the beginning of a chunk. Rejects like `get`. */
  read(chunk: Chunk, offset: number, length: number): Promise<void> {
    this.preads += 1
    return this.file.fillAsync(chunk, 0, length, offset)
  }

  /** Bytes of the record at `at` of a chunk, which is at `offset` of the file. Throws StoreError ERR_STORE_CORRUPT. */
  sizeIn(chunk: Chunk, at: number, offset: number): number {
    const size = sizeAt(chunk.words, at >>> 2)
    if (size < 0 || size > this.meta.maxRecordBytes || size > this.#recordsEnd - offset) {
      throw this.file.damage(offset, 'no record has the length given here')
    }
    return size
  }

  /** Whether it may hold a key. Of a key that it does not hold it says so once in 200 times. Throws like `get`. */
  mayContain(hash: number, space: number, key: Buffer, from: number, to: number): boolean {
    if (this.#slots.length === 0 && !this.#loadSlots()) {
      return this.#getInBlock(space, key, from, to, new Span()) !== lookup.absent
    }
    const slots = this.#slots
    const count = slots.length
    const tag = tagOf(hash)
    let at = homeOf(hash, count)
    for (let slot = slots[at]!; slot !== 0; slot = slots[at]!) {
      if (((slot ^ tag) & tagMask) === 0) return true
      at += 1
      if (at === count) at = 0
    }
    return false
  }

  cursor(range: CursorRange): EntryCursor {
    return new TableCursor([this.file], range)
  }

  /**
   * Reads and checks everything that the file holds, in steps of about a millisecond. Throws StoreError
   * ERR_STORE_CORRUPT at the first damage.
   */
  verify(): Generator<undefined, void> {
    return verifyTable(this.file, this.#hashSeed)
  }

  /** Gives the memory of the slots back; the next lookup reads them again. */
  releaseSlots(): void {
    if (this.#slots.length === 0) return
    this.#slots = noSlots
    this.#memory?.slotsReleased(this)
  }

  /** Closes the file. May be called any number of times; nothing else may be called then. */
  close(): void {
    if (!this.file.isOpen) return
    this.releaseSlots()
    this.#memory?.indexClosed(this.file.index.byteLength)
    this.file.close()
    this.#longBuffer = undefined
  }

  /** False when there is no memory for them, or reading them would take too long now. */
  #loadSlots(): boolean {
    if (this.#memory?.admitsNow(this.file.slotSectionBytes, this.#paid) === false) return false
    this.#keep(this.file.readSlots())
    return true
  }

  #keep(slots: Int32Array): void {
    this.#slots = slots
    this.#paid = 0
    this.#memory?.slotsLoaded(this, 4 * slots.length)
  }

  #getInBlock(space: number, key: Buffer, from: number, to: number, out: Span): Lookup {
    const place = this.blockOf(space, key, from, to)
    const length = place.to - place.from
    const chunk = makeChunk(length)
    this.preads += 1
    this.file.fill(chunk, 0, length, place.from)
    return this.matchIn(chunk, 0, length, place.from, space, key, from, to, out)
  }

  /** Reads the record at `offset` and looks whether it is the key's. */
  #readAt(offset: number, space: number, key: Buffer, from: number, to: number, out: Span): Lookup {
    const { file } = this
    let chunk = this.#buffer
    const room = this.#recordsEnd - offset
    const length = Math.min(room, this.#firstRead)
    if (length < minRecordBytes) throw file.damage(offset, 'no record fits where its slots say that there is one')
    this.preads += 1
    file.fill(chunk, 0, length, offset)
    const size = this.sizeIn(chunk, 0, offset)
    if (size > length) {
      const long = this.#longChunk(size)
      chunk.bytes.copy(long.bytes, 0, 0, length)
      this.preads += 1
      file.fill(long, length, size - length, offset + length)
      chunk = long
    }
    return this.match(chunk, 0, offset, size, space, key, from, to, out)
  }

  #longChunk(size: number): Chunk {
    const kept = this.#longBuffer
    if (kept !== undefined && kept.bytes.length >= size) return kept
    if (size > keptBufferBytes) return makeChunk(size)
    this.#longBuffer = makeChunk(Math.min(keptBufferBytes, 2 * size))
    return this.#longBuffer
  }

  /** The record at `at` of a chunk, once it is known to be intact: only then another key is another key. */
  match(
    chunk: Chunk,
    at: number,
    offset: number,
    size: number,
    space: number,
    key: Buffer,
    from: number,
    to: number,
    out: Span,
  ): Lookup {
    if (!isIntact(chunk, at, size, checkSeed(this.file.seed, offset))) {
      throw this.file.damage(offset, 'the checksum of a record does not match')
    }
    const { bytes, words } = chunk
    const head = words[(at >>> 2) + 1]!
    const flags = head >>> 24
    if ((head & 0xffffff) !== to - from || (flags & spaceMask) !== space) return lookup.absent
    const keyAt = at + recordHeaderBytes
    if (!sameKey(bytes, keyAt, key, from, to)) return lookup.absent
    if ((flags & flagDeleted) !== 0) return lookup.deleted
    const valueFrom = keyAt + to - from
    out.bytes = bytes
    out.from = valueFrom
    out.to = valueFrom + words[(at >>> 2) + 2]!
    return lookup.value
  }
}
