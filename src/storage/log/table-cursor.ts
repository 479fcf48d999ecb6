/**
 * The cursor over tables: one, or several that are disjoint and ascending. It reads whole blocks, as the sparse index
 * gives them, into fresh chunks that grow from 16 to 256 KiB, and delivers no record whose check it has not verified. Keys and
 * values lie in the chunk, which nobody changes later. Owns nothing but its place; the tables stay open as long as it is used.
 */
import { compareToBound, type CursorRange, type EntryCursor, type KeyBound } from './cursor.ts'
import {
  type Chunk,
  checkSeed,
  flagDeleted,
  isIntact,
  makeChunk,
  minRecordBytes,
  recordHeaderBytes,
  sizeAt,
  spaceMask,
} from './record.ts'
import type { TableFile } from './table-file.ts'

/** Bytes of blocks read at once: at first, and at most. */
const firstChunkBytes = 16 * 1024
const maxChunkBytes = 256 * 1024

/** Behind every place in a file. */
const nowhere = 0x7fffffff
const noChunk = makeChunk(0)
const noStarts = new Int32Array(0)

/** The number of tables whose largest key is below `bound`. */
function tablesBelow(tables: readonly TableFile[], bound: KeyBound): number {
  let low = 0
  let high = tables.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { max } = tables[middle]!.meta
    if (compareToBound(max.space, max.key, 0, max.key.length, bound) < 0) low = middle + 1
    else high = middle
  }
  return low
}

export class TableCursor implements EntryCursor {
  space = 0
  keyBytes: Buffer = noChunk.bytes
  keyFrom = 0
  keyTo = 0
  valueBytes: Buffer = noChunk.bytes
  valueFrom = 0
  valueTo = 0
  deleted = false

  readonly #reverse: boolean
  readonly #from: KeyBound | undefined
  readonly #to: KeyBound | undefined
  /** Empty once the cursor has ended. */
  #tables: readonly TableFile[]
  /** Tables not begun yet: [#nextTable, #endTable). */
  #nextTable: number
  #endTable: number
  #table: TableFile | undefined
  /** Blocks of the table not read yet: [#nextBlock, #endBlock). */
  #nextBlock = 0
  #endBlock = 0
  #chunkBytes = firstChunkBytes
  #chunk: Chunk = noChunk
  /** Where in the file the chunk begins, and how much of it holds records. */
  #chunkAt = 0
  #chunkEnd = 0
  /** Forward: the next record in the chunk. */
  #at = 0
  /** Reverse: where records begin in the chunk, of which the first #left are to come. */
  #starts: Int32Array = noStarts
  #left = 0
  /** Records before this place in the file may be below #from. */
  #fromUntil = 0
  /** Records from this place in the file on may be at or above #to. */
  #toSince = 0

  /** Takes the range's keys over: they are not changed while the cursor is used. Reads nothing before `next`. */
  constructor(tables: readonly TableFile[], range: CursorRange) {
    this.#tables = tables
    this.#reverse = range.reverse
    this.#from = range.from
    this.#to = range.to
    this.#nextTable = range.from === undefined ? 0 : tablesBelow(tables, range.from)
    this.#endTable = range.to === undefined ? tables.length : Math.min(tablesBelow(tables, range.to) + 1, tables.length)
  }

  next(): boolean {
    for (;;) {
      let at: number
      if (this.#reverse) {
        if (this.#left === 0) {
          if (this.#readChunk()) continue
          return this.#end()
        }
        at = this.#starts[this.#left - 1]!
      } else {
        at = this.#at
        if (at === this.#chunkEnd) {
          if (this.#readChunk()) continue
          return this.#end()
        }
      }
      const chunk = this.#chunk
      const size = this.#sizeAt(at)
      if (!isIntact(chunk, at, size, checkSeed(this.#table!.seed, this.#chunkAt + at)))
        throw this.#damage(at, 'the checksum of a record does not match')
      if (this.#reverse) this.#left -= 1
      else this.#at = at + size

      const { words } = chunk
      const head = words[(at >>> 2) + 1]!
      const flags = head >>> 24
      const space = flags & spaceMask
      const keyFrom = at + recordHeaderBytes
      const keyTo = keyFrom + (head & 0xffffff)
      const offset = this.#chunkAt + at
      if (offset < this.#fromUntil) {
        if (compareToBound(space, chunk.bytes, keyFrom, keyTo, this.#from!) < 0) {
          if (this.#reverse) return this.#end()
          continue
        }
        if (!this.#reverse) this.#fromUntil = 0
      }
      if (offset >= this.#toSince) {
        if (compareToBound(space, chunk.bytes, keyFrom, keyTo, this.#to!) >= 0) {
          if (!this.#reverse) return this.#end()
          continue
        }
        if (this.#reverse) this.#toSince = nowhere
      }
      this.space = space
      this.keyBytes = chunk.bytes
      this.keyFrom = keyFrom
      this.keyTo = keyTo
      this.valueBytes = chunk.bytes
      this.valueFrom = keyTo
      this.valueTo = keyTo + words[(at >>> 2) + 2]!
      this.deleted = (flags & flagDeleted) !== 0
      return true
    }
  }

  close(): void {
    this.#end()
  }

  #end(): false {
    this.#tables = []
    this.#table = undefined
    this.#nextTable = 0
    this.#endTable = 0
    this.#nextBlock = 0
    this.#endBlock = 0
    this.#chunk = noChunk
    this.#chunkEnd = 0
    this.#at = 0
    this.#left = 0
    this.#starts = noStarts
    this.keyBytes = noChunk.bytes
    this.valueBytes = noChunk.bytes
    return false
  }

  #damage(at: number, what: string): Error {
    return this.#table!.damage(this.#chunkAt + at, what)
  }

  /** Bytes of the record at `at` of the chunk, which has all of them. */
  #sizeAt(at: number): number {
    const room = this.#chunkEnd - at
    const size = room < minRecordBytes ? -1 : sizeAt(this.#chunk.words, at >>> 2)
    if (size < 0 || size > room) throw this.#damage(at, 'no record has the length given here')
    return size
  }

  /** Reads the next chunk of the table, or the first of the next table; false when there is none. */
  #readChunk(): boolean {
    while (this.#nextBlock === this.#endBlock) if (!this.#nextOfTables()) return false
    const table = this.#table!
    const { index } = table
    const reverse = this.#reverse
    let from = this.#nextBlock
    let to = this.#endBlock
    // One block, then as many as there is room for.
    if (reverse) {
      from = to - 1
      const limit = index.offsetOf(to) - this.#chunkBytes
      while (from > this.#nextBlock && index.offsetOf(from - 1) >= limit) from -= 1
    } else {
      to = from + 1
      const limit = index.offsetOf(from) + this.#chunkBytes
      while (to < this.#endBlock && index.offsetOf(to + 1) <= limit) to += 1
    }
    this.#chunk = table.readBlocks(from, to)
    this.#chunkAt = index.offsetOf(from)
    this.#chunkEnd = index.offsetOf(to) - this.#chunkAt
    this.#chunkBytes = Math.min(2 * this.#chunkBytes, maxChunkBytes)
    if (reverse) {
      this.#findStarts()
      this.#endBlock = from
    } else {
      this.#nextBlock = to
      this.#at = 0
    }
    return true
  }

  /** Collects where the chunk's records begin. They are not checked yet: each is when it is delivered. */
  #findStarts(): void {
    const most = Math.floor(this.#chunkEnd / minRecordBytes)
    if (this.#starts.length < most) this.#starts = new Int32Array(most)
    let count = 0
    for (let at = 0; at < this.#chunkEnd; at += this.#sizeAt(at)) {
      this.#starts[count] = at
      count += 1
    }
    this.#left = count
  }

  /** Begins the next table, at the blocks where the range can have entries; false when there is none. */
  #nextOfTables(): boolean {
    if (this.#nextTable >= this.#endTable) return false
    let table: TableFile
    if (this.#reverse) {
      this.#endTable -= 1
      table = this.#tables[this.#endTable]!
    } else {
      table = this.#tables[this.#nextTable]!
      this.#nextTable += 1
    }
    this.#table = table
    const { index } = table
    const from = this.#from
    const to = this.#to
    this.#nextBlock = from === undefined ? 0 : index.blockOf(from.space, from.key, 0, from.key.length)
    this.#fromUntil = from === undefined ? 0 : index.offsetOf(this.#nextBlock + 1)
    const last = to === undefined ? index.count - 1 : index.blockOf(to.space, to.key, 0, to.key.length)
    this.#endBlock = Math.max(last + 1, this.#nextBlock)
    this.#toSince = to === undefined ? nowhere : index.offsetOf(last)
    return true
  }
}
