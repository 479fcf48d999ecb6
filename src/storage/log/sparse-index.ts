/**
 * The sparse index of a table: where in it each block of about 4 KiB of records begins, with a key that separates it from
 * the block before: above all keys before it, not above its first; as short as that allows. The first block's is empty.
 *
 *   blocks u32 | bytes of keys u32 | offsets u32[blocks] | ends of keys u32[blocks] | spaces u8[blocks] | keys | zeros to 8
 *
 * SparseIndexBuilder collects it while a table is written, SparseIndex reads it and owns its bytes.
 */
import { spaceCount } from '../contract.ts'
import { compareKeys, copySpan, type KeyBound } from './cursor.ts'
import { align8, corrupt, fileHeaderBytes } from './format.ts'
import type { Chunk } from './record.ts'

/** A block ends with the first record that reaches this many bytes from its begin. */
export const blockBytes = 4096

const headBytes = 8

export class SparseIndexBuilder {
  readonly #offsets: number[] = []
  readonly #ends: number[] = []
  readonly #spaces: number[] = []
  #keys: Buffer = Buffer.allocUnsafeSlow(1024)
  #keyBytes = 0

  /** Bytes of the index if it ended here. */
  get byteLength(): number {
    return align8(headBytes + 9 * this.#offsets.length + this.#keyBytes)
  }

  /** A block begins at `offset`: first the key of the last record before it, then that of its first record. */
  add(
    offset: number,
    beforeSpace: number,
    before: Buffer,
    beforeFrom: number,
    beforeTo: number,
    space: number,
    key: Buffer,
    from: number,
    to: number,
  ): void {
    let length = 0
    if (this.#offsets.length > 0 && beforeSpace === space) {
      const common = Math.min(beforeTo - beforeFrom, to - from)
      while (length < common && before[beforeFrom + length] === key[from + length]) length++
      length += 1
    }
    const end = this.#keyBytes + length
    if (end > this.#keys.length) {
      const larger = Buffer.allocUnsafeSlow(2 * end)
      this.#keys.copy(larger, 0, 0, this.#keyBytes)
      this.#keys = larger
    }
    copySpan(key, from, from + length, this.#keys, this.#keyBytes)
    this.#keyBytes = end
    this.#offsets.push(offset)
    this.#ends.push(end)
    this.#spaces.push(space)
  }

  encode(): Buffer {
    const blocks = this.#offsets.length
    const bytes = Buffer.alloc(this.byteLength)
    bytes.writeUInt32LE(blocks, 0)
    bytes.writeUInt32LE(this.#keyBytes, 4)
    for (let i = 0; i < blocks; i++) {
      bytes.writeUInt32LE(this.#offsets[i]!, headBytes + 4 * i)
      bytes.writeUInt32LE(this.#ends[i]!, headBytes + 4 * (blocks + i))
      bytes[headBytes + 8 * blocks + i] = this.#spaces[i]!
    }
    this.#keys.copy(bytes, headBytes + 9 * blocks, 0, this.#keyBytes)
    return bytes
  }
}

export class SparseIndex {
  /** Number of blocks, at least 1. */
  readonly count: number
  /** Bytes held. */
  readonly byteLength: number
  readonly #recordsEnd: number
  readonly #offsets: Int32Array
  readonly #ends: Int32Array
  readonly #bytes: Buffer
  readonly #spacesAt: number
  readonly #keysAt: number

  private constructor(chunk: Chunk, size: number, recordsEnd: number) {
    const blocks = chunk.words[0]!
    this.count = blocks
    this.byteLength = size
    this.#recordsEnd = recordsEnd
    this.#offsets = chunk.words.subarray(2, 2 + blocks)
    this.#ends = chunk.words.subarray(2 + blocks, 2 + 2 * blocks)
    this.#bytes = chunk.bytes
    this.#spacesAt = headBytes + 8 * blocks
    this.#keysAt = headBytes + 9 * blocks
  }

  /**
   * Takes over the `size` bytes of a section, whose CRC was checked, at `sectionAt` in the file. Throws StoreError
   * ERR_STORE_CORRUPT.
   */
  static decode(
    chunk: Chunk,
    size: number,
    where: { readonly sectionAt: number; readonly recordsEnd: number; readonly store: string; readonly file: string },
  ): SparseIndex {
    const { sectionAt, recordsEnd, store, file } = where
    const { words } = chunk
    const blocks = words[0]!
    const keyBytes = words[1]!
    const fits = blocks > 0 && keyBytes >= 0 && 9 * blocks + keyBytes <= size
    if (!fits || align8(headBytes + 9 * blocks + keyBytes) !== size) {
      throw corrupt(
        store,
        file,
        sectionAt,
        `an index of ${blocks} blocks and ${keyBytes} bytes of keys is not its index`,
      )
    }
    const index = new SparseIndex(chunk, size, recordsEnd)
    if (words[2] !== fileHeaderBytes || words[1 + 2 * blocks] !== keyBytes) {
      throw corrupt(store, file, sectionAt, 'its index does not cover its records')
    }
    for (let i = 0; i < blocks; i++) {
      const offset = words[2 + i]!
      const keyFrom = i === 0 ? 0 : words[1 + blocks + i]!
      const inOrder = offset < index.offsetOf(i + 1) && offset % 8 === 0 && keyFrom <= words[2 + blocks + i]!
      if (!inOrder || index.spaceOf(i) >= spaceCount) {
        throw corrupt(store, file, sectionAt + headBytes + 4 * i, `block ${i} of its index is out of order`)
      }
    }
    return index
  }

  /** Where block `i` begins in the file; for `count`: where the records end. */
  offsetOf(i: number): number {
    return i === this.count ? this.#recordsEnd : this.#offsets[i]!
  }

  /** The space of block `i`'s separating key. */
  spaceOf(i: number): number {
    return this.#bytes[this.#spacesAt + i]!
  }

  /** A copy of block `i`'s separating key. */
  keyOf(i: number): KeyBound {
    const start = this.#keysAt + (i === 0 ? 0 : this.#ends[i - 1]!)
    return { space: this.spaceOf(i), key: Buffer.from(this.#bytes.subarray(start, this.#keysAt + this.#ends[i]!)) }
  }

  /** Negative, 0 or positive: block `i`'s separating key against a key. */
  compare(i: number, space: number, key: Buffer, from: number, to: number): number {
    const difference = this.spaceOf(i) - space
    if (difference !== 0) return difference
    const start = this.#keysAt + (i === 0 ? 0 : this.#ends[i - 1]!)
    return compareKeys(this.#bytes, start, this.#keysAt + this.#ends[i]!, key, from, to)
  }

  /** The only block where the key can be; 0 for keys below all. */
  blockOf(space: number, key: Buffer, from: number, to: number): number {
    let low = 0
    let high = this.count
    // Block `low` begins at or below the key (or is the first), block `high` above it.
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if (this.compare(middle, space, key, from, to) <= 0) low = middle
      else high = middle
    }
    return low
  }
}
