/**
 * A table's file, opened for reading: what it holds, where, and its bytes. Owns the file handle, which may be closed for a
 * while and opened again (handles.ts), and the sparse index.
 * Everything that is read is checked by the reader; what fails is reported through `damage`.
 */
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { FileHandle } from '../../base/fs.ts'
import { assert } from '../../base/assert.ts'
import { StoreError } from '../errors.ts'
import { checkFileHeader, corrupt, crcSeed, fileHeaderBytes, type StoreFiles, tableName } from './format.ts'
import { type HandleUser, isTooMany, tooManyRemedy } from './handles.ts'
import { type Chunk, makeChunk } from './record.ts'
import { SparseIndex } from './sparse-index.ts'
import { decodeFooter, decodeProperties, footerBytes, type Sections, type TableMeta } from './table-layout.ts'

/** Whether an error of the file system says that there is no such file. */
function isMissing(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return code === 'ENOENT' || code === 'EISDIR'
}

export class TableFile implements HandleUser {
  readonly store: string
  readonly name: string
  /** First value of the file's checksums. */
  readonly seed: number
  readonly meta: TableMeta
  readonly sections: Sections
  readonly index: SparseIndex
  lastUse = 0
  readonly #files: StoreFiles
  /** Undefined while it is closed for the sake of others. */
  #handle: FileHandle | undefined
  #open = true
  /** Reads that are under way without blocking: the handle stays open until they have ended. */
  #reads = 0

  private constructor(files: StoreFiles, name: string, file: FileHandle, fileNumber: number) {
    this.#files = files
    this.store = files.store
    this.name = name
    this.#handle = file
    const { store, storeId } = files
    const size = file.sizeSync()
    const header = this.#read(0, Math.min(size, fileHeaderBytes)).bytes.subarray(0, Math.min(size, fileHeaderBytes))
    checkFileHeader('table', header, { storeId, fileNumber }, { store, file: name })
    this.seed = crcSeed(storeId, fileNumber)
    if (size < fileHeaderBytes + footerBytes) throw this.damage(size, 'it is shorter than a table can be')
    const footer = this.#read(size - footerBytes, footerBytes).bytes.subarray(0, footerBytes)
    const sections = decodeFooter(footer, size, this.seed, store, name)
    const { slotsEnd, indexEnd, propertiesEnd } = sections
    const index = this.readSection('index', slotsEnd, indexEnd, sections.indexCrc)
    const properties = this.readSection('properties', indexEnd, propertiesEnd, sections.propertiesCrc)
    const where = { store, file: name, fileNumber, hashSeed: files.hashSeed }
    this.meta = decodeProperties(properties.bytes.subarray(0, propertiesEnd - indexEnd), sections, where)
    const { recordsEnd } = sections
    this.index = SparseIndex.decode(index, indexEnd - slotsEnd, { sectionAt: slotsEnd, recordsEnd, store, file: name })
    this.sections = sections
    files.handles?.opened(this)
  }

  /** Throws StoreError ERR_STORE_CORRUPT, ERR_STORE_VERSION, or the system's error (EMFILE, EIO). */
  static open(files: StoreFiles, fileNumber: number): TableFile {
    const name = tableName(fileNumber)
    let file: FileHandle | undefined
    try {
      file = files.fs.openSync(join(files.dir, name), 'read')
      return new TableFile(files, name, file, fileNumber)
    } catch (error) {
      file?.closeSync()
      throw isMissing(error) ? corrupt(files.store, name, 0, 'there is no such file', error) : error
    }
  }

  /** The error for damage at `offset`. */
  damage(offset: number, what: string): StoreError {
    return corrupt(this.store, this.name, offset, what)
  }

  /** The error of the system that reading ended with. */
  #unreadable(offset: number, cause: unknown): unknown {
    if (isMissing(cause)) return cause
    if (cause instanceof StoreError) return cause
    const { code = String(cause) } = cause as { readonly code?: string }
    const why = isTooMany(cause) ? `${code}: ${tooManyRemedy}` : code
    const text = `${this.name} cannot be read at byte ${offset} (${why}). What is in memory can be read and written still`
    return new StoreError('ERR_STORE_IO', this.store, text, cause, { file: this.name, offset })
  }

  /** The file, opened again if it was closed for others. Throws StoreError ERR_STORE_CORRUPT or the system's error. */
  #opened(): FileHandle {
    const { handles } = this.#files
    if (this.#handle !== undefined) {
      if (handles !== undefined) this.lastUse = handles.tick()
      return this.#handle
    }
    assert(this.#open, 'a table is read that was closed')
    try {
      this.#handle = this.#files.fs.openSync(join(this.#files.dir, this.name), 'read')
    } catch (error) {
      throw isMissing(error) ? corrupt(this.store, this.name, 0, 'there is no such file', error) : error
    }
    handles?.opened(this)
    return this.#handle
  }

  get isBusy(): boolean {
    return this.#reads > 0
  }

  closeHandle(): void {
    this.#files.handles?.closed(this)
    try {
      this.#closeFile()
    } catch {
      // It was only read, so nothing is lost.
    }
  }

  #closeFile(): void {
    const handle = this.#handle
    this.#handle = undefined
    handle?.closeSync()
  }

  /** Reads `length` bytes at `offset` into a fresh chunk. */
  #read(offset: number, length: number): Chunk {
    const chunk = makeChunk(length)
    this.fill(chunk, 0, length, offset)
    return chunk
  }

  /** Reads `length` bytes at `offset` of the file to `at` of a chunk. Throws ERR_STORE_CORRUPT when it ends before, ERR_STORE_IO. */
  fill(chunk: Chunk, at: number, length: number, offset: number): void {
    let read: number
    try {
      read = this.#opened().readSync(chunk.bytes, at, length, offset)
    } catch (error) {
      throw this.#unreadable(offset, error)
    }
    if (read !== length) throw this.damage(offset + read, 'it ends here, before its records do')
  }

  /** As `fill`, without blocking. */
  async fillAsync(chunk: Chunk, at: number, length: number, offset: number): Promise<void> {
    let read: number
    this.#reads += 1
    try {
      read = await this.#opened().read(chunk.bytes, at, length, offset)
    } catch (error) {
      throw this.#unreadable(offset, error)
    } finally {
      this.#reads -= 1
      if (this.#reads === 0) {
        if (this.#open) this.#files.handles?.trim()
        else this.#closeFile()
      }
    }
    if (read !== length) throw this.damage(offset + read, 'it ends here, before its records do')
  }

  /** Reads the part [from, to) and compares it with its CRC. */
  readSection(what: string, from: number, to: number, crc: number): Chunk {
    const chunk = this.#read(from, to - from)
    this.#checkSection(what, chunk, from, to, crc)
    return chunk
  }

  #checkSection(what: string, chunk: Chunk, from: number, to: number, crc: number): void {
    if (crc32(chunk.bytes.subarray(0, to - from), this.seed) === crc) return
    throw this.damage(from, `the checksum of its ${what} does not match`)
  }

  /** Bytes of its slots. */
  get slotSectionBytes(): number {
    return this.sections.slotsEnd - this.sections.spansEnd
  }

  readSlots(): Int32Array {
    const { spansEnd, slotsEnd } = this.sections
    const chunk = this.#read(spansEnd, slotsEnd - spansEnd)
    return this.#slotsOf(chunk)
  }

  async readSlotsAsync(): Promise<Int32Array> {
    const { spansEnd, slotsEnd } = this.sections
    const chunk = makeChunk(slotsEnd - spansEnd)
    await this.fillAsync(chunk, 0, slotsEnd - spansEnd, spansEnd)
    return this.#slotsOf(chunk)
  }

  #slotsOf(chunk: Chunk): Int32Array {
    const { spansEnd, slotsEnd, slotsCrc } = this.sections
    this.#checkSection('slots', chunk, spansEnd, slotsEnd, slotsCrc)
    const slots = chunk.words.subarray(0, (slotsEnd - spansEnd) >>> 2)
    // Looking up an absent key ends at an empty slot.
    if (slots.length <= this.meta.entryCount) throw this.damage(spansEnd, `it has only ${slots.length} slots`)
    return slots
  }

  /** Reads the blocks of records [from, to) into a fresh chunk. */
  readBlocks(from: number, to: number): Chunk {
    const offset = this.index.offsetOf(from)
    return this.#read(offset, this.index.offsetOf(to) - offset)
  }

  get isOpen(): boolean {
    return this.#open
  }

  /** Closes the file, at the latest when a read under way has ended: it might hit another file of the same descriptor. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#files.handles?.closed(this)
    if (this.#reads === 0) this.#closeFile()
  }
}
