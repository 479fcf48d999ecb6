/**
 * Writer: one growing chunk plus foreign spans. Fields are written into the chunk; record batches are not copied but
 * remembered with the position they belong to, and `finish` returns all pieces in order. Compact lengths that are not
 * known beforehand are patched in behind their content and widened by a move. The writer owns its chunk until `finish`;
 * after that it must not be used.
 */
import { ProtocolError } from './errors.ts'

const MAX_STRING_BYTES = 0x7fff
const MAX_INT32 = 0x7fffffff

function outOfRange(type: string, value: unknown): never {
  throw new ProtocolError(`cannot write ${String(value)} as ${type}`)
}

/** Bytes of `value` as an unsigned varint. */
export function uvarintSize(value: number): number {
  if (value < 0x80) return 1
  if (value < 0x4000) return 2
  if (value < 0x200000) return 3
  return value < 0x10000000 ? 4 : 5
}

/** Writes the primitive types of the protocol, all big-endian. Throws ProtocolError for values out of range. */
export class Writer {
  /** The chunk; only `[0, at)` is meaningful. Replaced when it grows. */
  bytes: Buffer
  /** Position of the next write in the chunk. */
  at = 0
  #limit: number
  /** Foreign spans and where in the chunk each belongs. */
  #spans: Buffer[] | undefined
  #spanAts: number[] | undefined
  #spanBytes = 0

  /** `initialBytes`: first size of the chunk; it doubles when full. */
  constructor(initialBytes = 256) {
    this.bytes = Buffer.allocUnsafe(initialBytes)
    this.#limit = initialBytes
  }

  /** Bytes written so far, foreign spans included. */
  get length(): number {
    return this.at + this.#spanBytes
  }

  /** Makes room for `size` more bytes and returns the position. */
  reserve(size: number): number {
    const at = this.at
    if (at + size > this.#limit) this.#grow(at + size)
    this.at = at + size
    return at
  }

  #grow(needed: number): void {
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#limit * 2))
    this.bytes.copy(grown, 0, 0, this.at)
    this.bytes = grown
    this.#limit = grown.length
  }

  /** 1 byte, 0 or 1. */
  boolean(value: boolean): void {
    const at = this.reserve(1)
    this.bytes[at] = value ? 1 : 0
  }

  /** Signed, 1 byte. */
  int8(value: number): void {
    if ((value << 24) >> 24 !== value) outOfRange('int8', value)
    const at = this.reserve(1)
    this.bytes[at] = value
  }

  /** Signed, 2 bytes. */
  int16(value: number): void {
    if ((value << 16) >> 16 !== value) outOfRange('int16', value)
    const at = this.reserve(2)
    const bytes = this.bytes
    bytes[at] = value >> 8
    bytes[at + 1] = value
  }

  /** Unsigned, 2 bytes. */
  uint16(value: number): void {
    if ((value & 0xffff) !== value) outOfRange('uint16', value)
    const at = this.reserve(2)
    const bytes = this.bytes
    bytes[at] = value >> 8
    bytes[at + 1] = value
  }

  /** Signed, 4 bytes. */
  int32(value: number): void {
    if ((value | 0) !== value) outOfRange('int32', value)
    const at = this.reserve(4)
    const bytes = this.bytes
    bytes[at] = value >> 24
    bytes[at + 1] = value >> 16
    bytes[at + 2] = value >> 8
    bytes[at + 3] = value
  }

  /** Unsigned, 4 bytes. */
  uint32(value: number): void {
    if (value >>> 0 !== value) outOfRange('uint32', value)
    this.int32(value | 0)
  }

  /** A whole number in ±(2^53 − 1). */
  int64(value: number): void {
    if (!Number.isSafeInteger(value)) outOfRange('int64', value)
    const high = Math.floor(value / 2 ** 32)
    this.int32(high)
    this.int32((value - high * 2 ** 32) | 0)
  }

  /** Like int64; Infinity is written as the largest int64. */
  int64OrInfinity(value: number): void {
    if (value !== Number.POSITIVE_INFINITY) {
      this.int64(value)
      return
    }
    this.int32(MAX_INT32)
    this.int32(-1)
  }

  /** Signed, 8 bytes, exact at any value. */
  int64Big(value: bigint): void {
    const at = this.reserve(8)
    this.bytes.writeBigInt64BE(value, at)
  }

  /** IEEE 754 double, 8 bytes. */
  float64(value: number): void {
    const at = this.reserve(8)
    this.bytes.writeDoubleBE(value, at)
  }

  /** Unsigned varint of at most 32 bits. */
  uvarint(value: number): void {
    if (value < 0x80 && value >= 0) {
      const at = this.reserve(1)
      this.bytes[at] = value
      return
    }
    if (value >>> 0 !== value) outOfRange('uvarint', value)
    this.#putUvarint(this.reserve(uvarintSize(value)), value)
  }

  #putUvarint(at: number, value: number): void {
    const bytes = this.bytes
    let rest = value
    let to = at
    while (rest >= 0x80) {
      bytes[to++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    bytes[to] = rest
  }

  /** Zigzag varint of an int32. */
  varint(value: number): void {
    if ((value | 0) !== value) outOfRange('varint', value)
    this.uvarint(((value << 1) ^ (value >> 31)) >>> 0)
  }

  /** Zigzag varint of a whole number in ±(2^53 − 1). */
  varlong(value: number): void {
    if ((value | 0) === value) {
      this.varint(value)
      return
    }
    if (!Number.isSafeInteger(value)) outOfRange('varlong', value)
    const half = value < 0 ? -(value + 1) : value
    const sign = value < 0 ? 1 : 0
    let low = (half % 2 ** 27) * 2 + sign // 28 bits
    let high = Math.floor(half / 2 ** 27)
    const start = this.reserve(8)
    const bytes = this.bytes
    let at = start
    for (let i = 0; i < 4; i++) {
      bytes[at++] = (low & 0x7f) | 0x80
      low >>>= 7
    }
    while (high >= 0x80) {
      bytes[at++] = (high & 0x7f) | 0x80
      high >>>= 7
    }
    bytes[at++] = high
    this.at = at
  }

  /** 32 hex digits as 16 bytes. */
  uuid(value: string): void {
    const at = this.reserve(16)
    if (value.length !== 32 || this.bytes.write(value, at, 'hex') !== 16) outOfRange('uuid', value)
  }

  /** Length (2 bytes) and UTF-8. */
  string(value: string): void {
    const lengthAt = this.reserve(2)
    const length = this.#text(value)
    if (length > MAX_STRING_BYTES) outOfRange('string', `${length} bytes`)
    this.bytes[lengthAt] = length >> 8
    this.bytes[lengthAt + 1] = length
  }

  /** Length (2 bytes, −1 for null) and UTF-8. */
  nullableString(value: string | null): void {
    if (value === null) this.int16(-1)
    else this.string(value)
  }

  /** Length + 1 as an unsigned varint, and UTF-8. */
  compactString(value: string): void {
    const lengthAt = this.reserve(1)
    const length = this.#text(value)
    if (length > MAX_STRING_BYTES) outOfRange('string', `${length} bytes`)
    this.#patchUvarint(lengthAt, length + 1)
  }

  /** As compactString; a length of 0 is null. */
  nullableCompactString(value: string | null): void {
    if (value === null) this.uvarint(0)
    else this.compactString(value)
  }

  /** UTF-8 without a length; returns how many bytes. */
  #text(value: string): number {
    const length = value.length
    if (length <= 48) {
      const at = this.reserve(length)
      const bytes = this.bytes
      let i = 0
      for (; i < length; i++) {
        const unit = value.charCodeAt(i)
        if (unit >= 0x80) break
        bytes[at + i] = unit
      }
      if (i === length) return length
      this.at = at
    }
    if (length > MAX_STRING_BYTES) outOfRange('string', `${length} characters`)
    const size = length * 3
    const at = this.reserve(size)
    const written = this.bytes.write(value, at, size, 'utf8')
    this.at = at + written
    return written
  }

  /** Bytes without a length, copied. */
  raw(value: Uint8Array): void {
    const at = this.reserve(value.length)
    this.bytes.set(value, at)
  }

  /** Bytes without a length, not copied: they must not change until the frame was sent. */
  foreign(value: Buffer): void {
    if (value.length === 0) return
    this.#spans ??= []
    this.#spanAts ??= []
    this.#spans.push(value)
    this.#spanAts.push(this.at)
    this.#spanBytes += value.length
  }

  /** Starts a part whose length is written in front of it as an unsigned varint; `closeSized` ends it. */
  openSized(): number {
    return this.reserve(1)
  }

  /** Writes the length of the part that `openSized` returned `lengthAt` for. It must hold no foreign span. */
  closeSized(lengthAt: number): void {
    this.#patchUvarint(lengthAt, this.at - lengthAt - 1)
  }

  /** Writes `value` at `at`, where one byte was reserved in front of the newest bytes, which move when it is wider. */
  #patchUvarint(at: number, value: number): void {
    if (value < 0x80) {
      this.bytes[at] = value
      return
    }
    const end = this.at
    const extra = uvarintSize(value) - 1
    this.reserve(extra)
    this.bytes.copyWithin(at + 1 + extra, at + 1, end)
    this.#putUvarint(at, value)
  }

  /** The message as Buffers, one after another. */
  finish(): Buffer[] {
    const bytes = this.bytes
    const spans = this.#spans
    if (spans === undefined) return [bytes.subarray(0, this.at)]
    const ats = this.#spanAts!
    const pieces: Buffer[] = []
    let from = 0
    for (let i = 0; i < spans.length; i++) {
      const to = ats[i]!
      if (to > from) pieces.push(bytes.subarray(from, to))
      pieces.push(spans[i]!)
      from = to
    }
    if (this.at > from) pieces.push(bytes.subarray(from, this.at))
    return pieces
  }
}
