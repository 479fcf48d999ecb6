/**
 * Reader: a cursor over one contiguous Buffer, with a sticky error. After the first fault every read returns a zero
 * value and `check` throws one ProtocolError with the position, so decoders need no test per field. A count or length
 * is never believed beyond the bytes that are there. The reader owns only its position; Buffers it returns are
 * subarrays of `bytes`.
 */
import { ProtocolError } from './errors.ts'
import { ZERO_UUID } from './uuid.ts'

const TWO_32 = 2 ** 32

/** Reads the primitive types of the protocol, all big-endian. See the head of the file for errors. */
export class Reader {
  /** What is read from; positions are indexes into it. */
  readonly bytes: Buffer
  /** Position of the next read. After a fault it stands at `end`, which makes every further read fail too. */
  at: number
  /** Position after the last readable byte. */
  readonly end: number
  /** Whether any read has failed. */
  failed = false
  /** What went wrong first, for messages; empty while nothing has. */
  failure = ''
  /** Where the first fault was found. */
  failedAt = -1

  /** Reads `bytes[from, to)`. */
  constructor(bytes: Buffer, from = 0, to: number = bytes.length) {
    this.bytes = bytes
    this.at = from
    this.end = to
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.end - this.at
  }

  /** Marks the reader as failed at position `at`; only the first fault is kept. Returns 0 for the caller to return. */
  fail(what: string, at: number = this.at): 0 {
    if (!this.failed) {
      this.failed = true
      this.failure = what
      this.failedAt = at
    }
    this.at = this.end
    return 0
  }

  /** Throws ProtocolError when any read since construction failed. `what` names the message. */
  check(what: string): void {
    if (this.failed) throw new ProtocolError(`${what} is malformed: ${this.failure}`, this.failedAt)
  }

  #short(size: number): 0 {
    return this.fail(`${size} bytes needed, ${this.end - this.at} left`)
  }

  /** Signed, 1 byte. */
  int8(): number {
    const at = this.at
    if (at + 1 > this.end) return this.#short(1)
    this.at = at + 1
    return (this.bytes[at]! << 24) >> 24
  }

  /** Unsigned, 1 byte. */
  uint8(): number {
    const at = this.at
    if (at + 1 > this.end) return this.#short(1)
    this.at = at + 1
    return this.bytes[at]!
  }

  /** Any byte but 0 is true. */
  boolean(): boolean {
    return this.uint8() !== 0
  }

  /** Signed, 2 bytes. */
  int16(): number {
    const at = this.at
    if (at + 2 > this.end) return this.#short(2)
    this.at = at + 2
    const bytes = this.bytes
    return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!
  }

  /** Unsigned, 2 bytes. */
  uint16(): number {
    const at = this.at
    if (at + 2 > this.end) return this.#short(2)
    this.at = at + 2
    const bytes = this.bytes
    return (bytes[at]! << 8) | bytes[at + 1]!
  }

  /** Signed, 4 bytes. */
  int32(): number {
    const at = this.at
    if (at + 4 > this.end) return this.#short(4)
    this.at = at + 4
    const bytes = this.bytes
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
  }

  /** Unsigned, 4 bytes. */
  uint32(): number {
    return this.int32() >>> 0
  }

  /** Offsets and ids. A value outside ±(2^53 − 1) is a fault: it could not be a number exactly. */
  int64(): number {
    const at = this.at
    if (at + 8 > this.end) return this.#short(8)
    const high = this.int32()
    const value = high * TWO_32 + (this.int32() >>> 0)
    if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) {
      return this.fail('a 64-bit integer is outside ±(2^53 − 1)', at)
    }
    return value
  }

  /** Timestamps. Saturates at ±(2^53 − 1). */
  int64Saturated(): number {
    if (this.at + 8 > this.end) return this.#short(8)
    const high = this.int32()
    const value = high * TWO_32 + (this.int32() >>> 0)
    return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value))
  }

  /** Bounds for which the largest int64 means "none". That reads as Infinity; otherwise like `int64`. */
  int64OrInfinity(): number {
    const at = this.at
    const bytes = this.bytes
    if (
      at + 8 <= this.end &&
      bytes[at] === 0x7f &&
      bytes.readInt32BE(at + 4) === -1 &&
      bytes.readInt32BE(at) === 0x7fffffff
    ) {
      this.at = at + 8
      return Number.POSITIVE_INFINITY
    }
    return this.int64()
  }

  /** Exact at any value; allocates. */
  int64Big(): bigint {
    const at = this.at
    if (at + 8 > this.end) return BigInt(this.#short(8))
    this.at = at + 8
    return this.bytes.readBigInt64BE(at)
  }

  /** IEEE 754 double, 8 bytes. */
  float64(): number {
    const at = this.at
    if (at + 8 > this.end) return this.#short(8)
    this.at = at + 8
    return this.bytes.readDoubleBE(at)
  }

  /** Unsigned varint of at most 32 bits. */
  uvarint(): number {
    const start = this.at
    const end = this.end
    const bytes = this.bytes
    let at = start
    if (at >= end) return this.#short(1)
    let byte = bytes[at++]!
    if (byte < 0x80) {
      this.at = at
      return byte
    }
    let value = byte & 0x7f
    for (let shift = 7; shift < 35; shift += 7) {
      if (at >= end) return this.#short(at - start + 1)
      byte = bytes[at++]!
      if (shift === 28 && byte > 0x0f) break
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.at = at
        return value >>> 0
      }
    }
    return this.fail('a varint has more than 32 bits', start)
  }

  /** Zigzag varint of at most 32 bits. */
  varint(): number {
    const value = this.uvarint()
    return (value >>> 1) ^ -(value & 1)
  }

  /** Zigzag varint of at most 64 bits; a value outside ±(2^53 − 1) is a fault. */
  varlong(): number {
    const start = this.at
    const end = this.end
    const bytes = this.bytes
    let at = start
    // 28 low bits, 28 middle bits, 8 high bits: sums of them stay exact up to 2^53.
    let low = 0
    let middle = 0
    for (let index = 0; index < 10; index++) {
      if (at >= end) return this.#short(at - start + 1)
      const byte = bytes[at++]!
      const group = byte & 0x7f
      if (index < 4) low |= group << (7 * index)
      else if (index < 8) middle |= group << (7 * (index - 4))
      else if (group !== 0) break
      if (byte < 0x80) {
        const half = middle * 2 ** 27 + (low >>> 1)
        if (half > Number.MAX_SAFE_INTEGER) break
        this.at = at
        return (low & 1) === 0 ? half : -half - 1
      }
    }
    return this.fail('a varlong is outside ±(2^53 − 1)', start)
  }

  /** 16 bytes as 32 hex digits. */
  uuid(): string {
    const at = this.at
    if (at + 16 > this.end) {
      this.#short(16)
      return ZERO_UUID
    }
    this.at = at + 16
    const bytes = this.bytes
    for (let i = at; i < at + 16; i++) {
      if (bytes[i] !== 0) return bytes.toString('hex', at, at + 16)
    }
    return ZERO_UUID
  }

  /** `length` bytes of UTF-8; invalid sequences become U+FFFD. */
  text(length: number): string {
    const at = this.at
    if (length > this.end - at) {
      this.fail(`a string of ${length} bytes, ${this.end - at} left`)
      return ''
    }
    const to = at + length
    this.at = to
    if (length === 0) return ''
    return this.bytes.toString('utf8', at, to)
  }

  /** `length` bytes, as a subarray. */
  span(length: number): Buffer {
    const at = this.at
    if (length > this.end - at) {
      this.fail(`${length} bytes announced, ${this.end - at} left`)
      return this.bytes.subarray(this.end, this.end)
    }
    this.at = at + length
    return this.bytes.subarray(at, at + length)
  }

  /** Moves over `length` bytes. */
  skip(length: number): void {
    if (length < 0 || length > this.end - this.at) this.fail(`${length} bytes announced, ${this.end - this.at} left`)
    else this.at += length
  }

  /** Length of a string: −1 is null. Kafka's own limit is 32,767 bytes in either encoding. */
  stringLength(): number {
    const at = this.at
    const length = this.int16()
    if (length < -1) return this.fail(`a string length of ${length}`, at)
    return length
  }

  /** As stringLength, encoded as an unsigned varint of the length + 1. */
  compactStringLength(): number {
    const at = this.at
    const length = this.uvarint() - 1
    if (this.failed) return 0
    if (length > 0x7fff) return this.fail(`a string length of ${length}`, at)
    return length
  }

  /** Length of bytes or records: −1 is null. */
  bytesLength(): number {
    const at = this.at
    const length = this.int32()
    if (length < -1) return this.fail(`a length of ${length}`, at)
    return length
  }

  /** As bytesLength, encoded as an unsigned varint of the length + 1. */
  compactBytesLength(): number {
    const length = this.uvarint() - 1
    return this.failed ? 0 : length
  }

  /** Number of elements that take at least `minBytes` each (≥ 1): −1 is null; more than can follow is a fault. */
  arrayLength(minBytes = 1): number {
    const at = this.at
    const count = this.int32()
    if (count < -1 || count * minBytes > this.end - this.at) return this.#tooMany(count, at)
    return count
  }

  /** As arrayLength, encoded as an unsigned varint of the count + 1. */
  compactArrayLength(minBytes = 1): number {
    const at = this.at
    const count = this.uvarint() - 1
    if (this.failed) return 0
    if (count * minBytes > this.end - this.at) return this.#tooMany(count, at)
    return count
  }

  #tooMany(count: number, at: number): 0 {
    return this.fail(`an array of ${count} elements, ${this.end - this.at} bytes left`, at)
  }

  /** A string; null is a fault. */
  string(): string {
    return this.#required(this.stringLength())
  }

  /** A string or null. */
  nullableString(): string | null {
    const length = this.stringLength()
    return length < 0 ? null : this.text(length)
  }

  /** A string with a compact length; null is a fault. */
  compactString(): string {
    return this.#required(this.compactStringLength())
  }

  /** A string with a compact length, or null. */
  nullableCompactString(): string | null {
    const length = this.compactStringLength()
    return length < 0 ? null : this.text(length)
  }

  #required(length: number): string {
    if (length >= 0) return this.text(length)
    this.fail('null where a string is required')
    return ''
  }

  /** Moves over a section of tagged fields, all unknown. */
  skipTags(): void {
    const count = this.uvarint()
    for (let i = 0; i < count && !this.failed; i++) {
      this.uvarint()
      this.skip(this.uvarint())
    }
  }
}
