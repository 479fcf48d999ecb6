/**
 * ByteWriter: one growing buffer that codecs append to. Owned by whoever made it (a task encodes all values of a
 * checkpoint into one); `reset` reuses the memory, so spans of it live only until then.
 */
import { assert } from '../base/assert.ts'
import type { ValueWriter } from './codec.ts'

export class ByteWriter implements ValueWriter {
  bytes: Buffer
  at = 0

  constructor(initialBytes = 1024) {
    this.bytes = Buffer.allocUnsafeSlow(initialBytes)
  }

  reserve(size: number): void {
    assert(size >= 0, 'a negative size was reserved')
    const needed = this.at + size
    if (needed <= this.bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(grown, 0, 0, this.at)
    this.bytes = grown
  }

  append(source: Uint8Array): void {
    this.reserve(source.length)
    this.bytes.set(source, this.at)
    this.at += source.length
  }

  /** Forgets the content. With `keepBytes`, memory above that is given back. */
  reset(keepBytes = Number.POSITIVE_INFINITY): void {
    this.at = 0
    if (this.bytes.length > keepBytes) this.bytes = Buffer.allocUnsafeSlow(keepBytes)
  }
}
