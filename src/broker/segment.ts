/**
 * Segment: a run of record batches of one partition, one after another in one growing buffer.
 * Owns   its bytes and the index of its batches. Bytes once written never change, so slices of them may be handed out:
 *        growing copies to a new buffer and leaves the old one to its readers.
 */
import { assert } from '../base/assert.ts'

const initialBytes = 1024

export class Segment {
  readonly baseOffset: number
  /** Wall clock of its first append, milliseconds. */
  readonly createdAt: number
  /** Order of creation over all logs of the broker: the smallest is the oldest. */
  readonly age: number
  #bytes: Buffer
  #size = 0
  #maxTimestamp = -1
  // one entry per batch
  readonly #offsets: number[] = []
  readonly #positions: number[] = []
  readonly #timestamps: number[] = []

  constructor(baseOffset: number, createdAt: number, age: number, firstBytes: number) {
    this.baseOffset = baseOffset
    this.createdAt = createdAt
    this.age = age
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(initialBytes, firstBytes))
  }

  get byteLength(): number {
    return this.#size
  }

  /** Bytes it holds from the operating system. */
  get capacity(): number {
    return this.#bytes.length
  }

  get batchCount(): number {
    return this.#offsets.length
  }

  /** Largest timestamp of its records; -1 when empty. */
  get maxTimestamp(): number {
    return this.#maxTimestamp
  }

  /** Copies a batch to the end and returns where it begins. The caller patches it there before anybody reads. */
  append(source: Buffer, from: number, to: number, baseOffset: number, maxTimestamp: number, maxBytes: number): number {
    const at = this.#size
    const size = at + (to - from)
    if (size > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(this.#bytes.length * 2, maxBytes)))
      this.#bytes.copy(grown, 0, 0, at)
      this.#bytes = grown
    }
    source.copy(this.#bytes, at, from, to)
    this.#size = size
    this.#offsets.push(baseOffset)
    this.#positions.push(at)
    this.#timestamps.push(maxTimestamp)
    if (maxTimestamp > this.#maxTimestamp) this.#maxTimestamp = maxTimestamp
    return at
  }

  /** The buffer, for patching a batch just appended and for reading one whole batch. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** Index of the last batch that begins at or before `offset`; 0 when all begin after it. */
  batchAt(offset: number): number {
    let low = 0
    let high = this.#offsets.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#offsets[middle]! <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  batchOffset(index: number): number {
    return this.#offsets[index]!
  }

  batchTimestamp(index: number): number {
    return this.#timestamps[index]!
  }

  /** One whole batch. */
  batch(index: number): Buffer {
    assert(index >= 0 && index < this.#offsets.length, 'batch index outside the segment')
    return this.#bytes.subarray(this.#positions[index]!, this.#positions[index + 1] ?? this.#size)
  }

  /** Bytes from batch `index` to the end. */
  bytesFrom(index: number): number {
    return this.#size - (this.#positions[index] ?? this.#size)
  }

  /** Whole batches from `index` on, at most `maxBytes`, but the first in any case when `atLeastOne`. Undefined: none fits. */
  read(index: number, maxBytes: number, atLeastOne: boolean): Buffer | undefined {
    const from = this.#positions[index]
    if (from === undefined) return undefined
    let end = this.#size
    if (end - from > maxBytes) {
      // the last batch that ends at or before from + maxBytes
      let low = index
      let high = this.#positions.length - 1
      while (low < high) {
        const middle = (low + high + 1) >>> 1
        if (this.#positions[middle]! - from <= maxBytes) low = middle
        else high = middle - 1
      }
      if (low > index) end = this.#positions[low]!
      else if (atLeastOne) end = this.#positions[index + 1] ?? this.#size
      else return undefined
    }
    return this.#bytes.subarray(from, end)
  }
}
