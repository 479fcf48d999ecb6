/**
 * Snappy in TypeScript: the raw format, and the xerial framing (snappy-java's SnappyOutputStream) that Kafka's Java
 * client writes. Compression writes xerial chunks of 64 KiB; decompression takes both.
 *
 *   xerial   82 53 4e 41 50 50 59 00 · version int32 · oldest version int32 · { size int32 · raw snappy }*    (big endian)
 *   raw      length uvarint · { literal | copy }*     the low two bits of a tag say which
 */
import { type Codec, CompressionError, overLimit } from './codec.ts'
import { Copier, copySpan, SLACK, viewOf } from './copy.ts'

const CHUNK = 64 * 1024
const HEADER = 16
const MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
/** A copy of three bytes makes 64: nothing in the format expands more. */
const MAX_RATIO = 22
const MAX_TABLE_BITS = 14

/** Largest raw output for `size` input bytes: the length, the input as literals, and a tag per 64 KiB of them. */
function rawBound(size: number): number {
  return 32 + size + Math.ceil(size / 6)
}

function fail(position: number, what: string): never {
  throw new CompressionError('snappy', position, what)
}

// ---- compress ----

/** `bytes[from, to)` in the raw format (no framing). */
export function compressRaw(bytes: Buffer, from: number, to: number): Buffer {
  const output = Buffer.allocUnsafe(rawBound(to - from))
  const table = new Uint16Array(1 << tableBits(Math.min(to - from, CHUNK)))
  return output.subarray(0, writeRaw(bytes, from, to, output, 0, table))
}

function compressXerial(bytes: Buffer, from: number, to: number): Buffer {
  const chunks = Math.ceil((to - from) / CHUNK)
  const output = Buffer.allocUnsafe(HEADER + chunks * 36 + rawBound(to - from))
  MAGIC.copy(output, 0)
  output.writeInt32BE(1, 8)
  output.writeInt32BE(1, 12)
  const table = new Uint16Array(1 << tableBits(Math.min(to - from, CHUNK)))
  let at = HEADER
  for (let start = from; start < to; start += CHUNK) {
    const end = writeRaw(bytes, start, Math.min(to, start + CHUNK), output, at + 4, table)
    output.writeInt32BE(end - at - 4, at)
    at = end
  }
  return output.subarray(0, at)
}

/** A table about as large as the input, so that a small batch does not pay for clearing a large one. */
function tableBits(size: number): number {
  return Math.max(8, Math.min(MAX_TABLE_BITS, 32 - Math.clz32(Math.max(1, size - 1))))
}

/** Writes the raw format of `bytes[from, to)` at `at`; returns the end. */
function writeRaw(bytes: Buffer, from: number, to: number, output: Buffer, at: number, table: Uint16Array): number {
  let length = to - from
  let next = at
  while (length >= 0x80) {
    output[next++] = (length & 0x7f) | 0x80
    length >>>= 7
  }
  output[next++] = length
  const view = viewOf(bytes)
  for (let start = from; start < to; start += CHUNK) {
    next = writeFragment(view, bytes, start, Math.min(to, start + CHUNK), output, next, table)
  }
  return next
}

/** One fragment of at most 64 KiB: offsets fit two bytes and the table holds positions relative to its start. */
function writeFragment(
  view: DataView,
  bytes: Buffer,
  from: number,
  to: number,
  output: Buffer,
  outputAt: number,
  table: Uint16Array,
): number {
  table.fill(0)
  const shift = Math.clz32(table.length) + 1
  const lastMatch = to - 4
  let out = outputAt
  let literalFrom = from
  let at = from + 1
  let skip = 32
  while (at <= lastMatch) {
    const word = view.getInt32(at, true)
    const slot = Math.imul(word, 0x1e35a7bd) >>> shift
    const candidate = from + table[slot]!
    table[slot] = at - from
    if (candidate >= at || view.getInt32(candidate, true) !== word) {
      at += skip++ >>> 5
      continue
    }
    skip = 32
    if (literalFrom < at) out = writeLiteral(bytes, literalFrom, at, output, out)
    let end = at + 4
    let match = candidate + 4
    while (end <= lastMatch && view.getInt32(end, true) === view.getInt32(match, true)) {
      end += 4
      match += 4
    }
    while (end < to && bytes[end] === bytes[match]) {
      end++
      match++
    }
    out = writeCopy(output, out, at - candidate, end - at)
    at = end
    literalFrom = end
    if (end - 1 <= lastMatch) table[Math.imul(view.getInt32(end - 1, true), 0x1e35a7bd) >>> shift] = end - 1 - from
  }
  return literalFrom < to ? writeLiteral(bytes, literalFrom, to, output, out) : out
}

function writeLiteral(bytes: Buffer, from: number, to: number, output: Buffer, at: number): number {
  const last = to - from - 1
  let next = at
  if (last < 60) {
    output[next++] = last << 2
  } else if (last < 0x100) {
    output[next++] = 60 << 2
    output[next++] = last
  } else {
    output[next++] = 61 << 2
    output[next++] = last & 0xff
    output[next++] = last >>> 8
  }
  return copySpan(bytes, from, to, output, next)
}

function writeCopy(output: Buffer, at: number, offset: number, length: number): number {
  let next = at
  let left = length
  while (left > 0) {
    if (left >= 4 && left < 12 && offset < 2048) {
      output[next++] = 1 | ((left - 4) << 2) | ((offset >>> 8) << 5)
      output[next++] = offset & 0xff
      return next
    }
    const size = Math.min(left, 64)
    output[next++] = 2 | ((size - 1) << 2)
    output[next++] = offset & 0xff
    output[next++] = offset >>> 8
    left -= size
  }
  return next
}

// ---- decompress ----

function hasXerialHeader(bytes: Buffer, from: number, to: number): boolean {
  if (to - from < HEADER) return false
  for (let i = 0; i < MAGIC.length; i++) if (bytes[from + i] !== MAGIC[i]) return false
  return true
}

/** The decompressed length that a raw block declares, refused when its bytes cannot make so much. */
function declaredLength(bytes: Buffer, from: number, to: number): number {
  let length = 0
  for (let i = 0; i < 5 && from + i < to; i++) {
    const byte = bytes[from + i]!
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) {
      if (length > (to - from) * MAX_RATIO) fail(from, `${to - from} bytes cannot become ${length}`)
      return length
    }
  }
  return fail(from, 'bad length')
}

function decompress(bytes: Buffer, from: number, to: number, maxBytes: number): Buffer {
  if (!hasXerialHeader(bytes, from, to)) {
    const length = declaredLength(bytes, from, to)
    if (length > maxBytes) throw overLimit('snappy', maxBytes, from)
    const output = Buffer.allocUnsafeSlow(length + SLACK)
    readRaw(bytes, from, to, new Copier(bytes, output), 0, length)
    return output.subarray(0, length)
  }
  let total = 0
  for (let at = from + HEADER; at < to; ) {
    const end = chunkEnd(bytes, at, to)
    total += declaredLength(bytes, at + 4, end)
    if (total > maxBytes) throw overLimit('snappy', maxBytes, at)
    at = end
  }
  const output = Buffer.allocUnsafeSlow(total + SLACK)
  const copier = new Copier(bytes, output)
  let written = 0
  for (let at = from + HEADER; at < to; ) {
    const end = chunkEnd(bytes, at, to)
    const length = declaredLength(bytes, at + 4, end)
    readRaw(bytes, at + 4, end, copier, written, length)
    written += length
    at = end
  }
  return output.subarray(0, total)
}

function chunkEnd(bytes: Buffer, at: number, to: number): number {
  if (to - at < 4) fail(at, 'truncated chunk size')
  const size = bytes.readInt32BE(at)
  if (size < 1 || size > to - at - 4) fail(at, `chunk of ${size} bytes, ${to - at - 4} are left`)
  return at + 4 + size
}

/** Decompresses one raw block into the output's `[outputFrom, outputFrom + length)`, which it must fill exactly. */
function readRaw(bytes: Buffer, from: number, to: number, copier: Copier, outputFrom: number, length: number): void {
  const outputTo = outputFrom + length
  let at = from
  while (bytes[at]! >= 0x80) at++
  at++
  let out = outputFrom
  while (at < to) {
    const tagAt = at
    const tag = bytes[at++]!
    if ((tag & 3) === 0) {
      let size = tag >>> 2
      if (size >= 60) {
        const extra = size - 59
        if (extra > to - at) fail(tagAt, 'truncated literal length')
        size = bytes[at]!
        if (extra > 1) size |= bytes[at + 1]! << 8
        if (extra > 2) size |= bytes[at + 2]! << 16
        if (extra > 3) size += bytes[at + 3]! * 0x1000000
        at += extra
      }
      size += 1
      if (size > to - at || size > outputTo - out) fail(tagAt, `literal of ${size} bytes does not fit`)
      copier.literals(at, at + size, out)
      at += size
      out += size
      continue
    }
    let size = (tag >>> 2) + 1
    let offset = 0
    if ((tag & 3) === 1) {
      if (at >= to) fail(tagAt, 'truncated copy')
      size = ((tag >>> 2) & 7) + 4
      offset = ((tag >>> 5) << 8) | bytes[at]!
      at += 1
    } else if ((tag & 3) === 2) {
      if (to - at < 2) fail(tagAt, 'truncated copy')
      offset = bytes[at]! | (bytes[at + 1]! << 8)
      at += 2
    } else {
      if (to - at < 4) fail(tagAt, 'truncated copy')
      offset = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) + bytes[at + 3]! * 0x1000000
      at += 4
    }
    if (offset === 0 || offset > out - outputFrom)
      fail(tagAt, `copy from ${offset} bytes back, ${out - outputFrom} are there`)
    if (size > outputTo - out) fail(tagAt, `copy of ${size} bytes does not fit`)
    copier.match(out, offset, size)
    out += size
  }
  if (out !== outputTo) fail(to, `${length} bytes declared, ${out - outputFrom} made`)
}

export const snappy: Codec = { name: 'snappy', compress: compressXerial, decompress }
