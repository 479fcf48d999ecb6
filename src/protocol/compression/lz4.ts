/**
 * LZ4 frames in TypeScript. Written: independent blocks, no checksums but the header's (what Kafka's Java client writes
 * and the only form it reads). Read: linked or independent blocks, block and content checksums, content size,
 * skippable and concatenated frames. Decompression first walks the tokens to learn the exact size, so the output is
 * allocated once, and only when the input really makes so much.
 *
 *   04 22 4d 18 · flags · block size · [content size 8] · header check · { size uint32 · block · [check 4] }* · 0 · [check 4]
 *   block = { token · [literal length…] · literals · offset uint16 · [match length…] }*    (little endian)
 */
import { xxhash32 } from '../hash/xxhash32.ts'
import { type Codec, CompressionError, overLimit } from './codec.ts'
import { Copier, copySpan, SLACK, viewOf } from './copy.ts'

const MAGIC = 0x184d2204
const SKIPPABLE = 0x184d2a50
const UNCOMPRESSED = 0x80000000
/** A match must end this many bytes before the end of a block … */
const LAST_LITERALS = 5
/** … and begin this many before. */
const MATCH_LIMIT = 12
const MAX_DISTANCE = 65535
const MAX_TABLE_BITS = 14

function fail(position: number, what: string): never {
  throw new CompressionError('lz4', position, what)
}

function uint32(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

function writeUint32(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value & 0xff
  bytes[at + 1] = (value >>> 8) & 0xff
  bytes[at + 2] = (value >>> 16) & 0xff
  bytes[at + 3] = value >>> 24
}

// ---- compress ----

/** The smallest block size the format has for `size` bytes: its code (4 to 7) stands for 64 KiB · 4^(code − 4). */
function blockCode(size: number): number {
  return size <= 0x10000 ? 4 : size <= 0x40000 ? 5 : size <= 0x100000 ? 6 : 7
}

function blockBytes(code: number): number {
  return 0x10000 << ((code - 4) * 2)
}

function compress(bytes: Buffer, from: number, to: number): Buffer {
  const size = to - from
  const code = blockCode(size)
  const block = blockBytes(code)
  const output = Buffer.allocUnsafe(15 + size + Math.ceil(size / 255) + Math.ceil(size / block) * 24)
  writeUint32(output, MAGIC, 0)
  output[4] = 0x60
  output[5] = code << 4
  output[6] = (xxhash32(output, 4, 6) >>> 8) & 0xff
  const bits = Math.max(8, Math.min(MAX_TABLE_BITS, 32 - Math.clz32(Math.max(1, Math.min(size, block) - 1))))
  const table = new Int32Array(1 << bits)
  const view = viewOf(bytes)
  let at = 7
  for (let start = from; start < to; start += block) {
    const end = Math.min(to, start + block)
    table.fill(-1)
    const written = writeBlock(view, bytes, start, end, output, at + 4, table) - at - 4
    if (written < end - start) {
      writeUint32(output, written, at)
      at += 4 + written
    } else {
      writeUint32(output, (UNCOMPRESSED | (end - start)) >>> 0, at)
      at = copySpan(bytes, start, end, output, at + 4)
    }
  }
  writeUint32(output, 0, at)
  return output.subarray(0, at + 4)
}

/** Writes one block; `table` maps a hash of four bytes to the last position they were seen at, or -1. */
function writeBlock(
  view: DataView,
  bytes: Buffer,
  from: number,
  to: number,
  output: Buffer,
  outputAt: number,
  table: Int32Array,
): number {
  const shift = Math.clz32(table.length) + 1
  const lastMatchStart = to - MATCH_LIMIT
  const matchTo = to - LAST_LITERALS
  let out = outputAt
  let literalFrom = from
  let at = from
  let skip = 64
  while (at <= lastMatchStart) {
    const word = view.getInt32(at, true)
    const slot = Math.imul(word, 0x9e3779b1) >>> shift
    let candidate = table[slot]!
    table[slot] = at
    if (candidate < 0 || at - candidate > MAX_DISTANCE || view.getInt32(candidate, true) !== word) {
      at += skip++ >>> 6
      continue
    }
    skip = 64
    while (at > literalFrom && candidate > from && bytes[at - 1] === bytes[candidate - 1]) {
      at--
      candidate--
    }
    let end = at + 4
    let match = candidate + 4
    while (end <= matchTo - 4 && view.getInt32(end, true) === view.getInt32(match, true)) {
      end += 4
      match += 4
    }
    while (end < matchTo && bytes[end] === bytes[match]) {
      end++
      match++
    }
    out = writeSequence(bytes, literalFrom, at, at - candidate, end - at, output, out)
    at = end
    literalFrom = end
    if (at <= lastMatchStart) table[Math.imul(view.getInt32(at - 2, true), 0x9e3779b1) >>> shift] = at - 2
  }
  return writeSequence(bytes, literalFrom, to, 0, 0, output, out)
}

/** Literals and, unless `matchLength` is 0 (the last sequence of a block), a match. */
function writeSequence(
  bytes: Buffer,
  literalFrom: number,
  literalTo: number,
  offset: number,
  matchLength: number,
  output: Buffer,
  outputAt: number,
): number {
  const literals = literalTo - literalFrom
  const match = matchLength === 0 ? 0 : matchLength - 4
  let out = outputAt
  output[out++] = (literals < 15 ? literals << 4 : 0xf0) | Math.min(match, 15)
  if (literals >= 15) out = writeLength(output, out, literals - 15)
  out = copySpan(bytes, literalFrom, literalTo, output, out)
  if (matchLength === 0) return out
  output[out++] = offset & 0xff
  output[out++] = offset >>> 8
  return match >= 15 ? writeLength(output, out, match - 15) : out
}

function writeLength(output: Buffer, at: number, length: number): number {
  let out = at
  let left = length
  for (; left >= 255; left -= 255) output[out++] = 255
  output[out++] = left
  return out
}

// ---- decompress ----

/** A frame's header, checked. */
interface Frame {
  readonly linked: boolean
  readonly blockChecksums: boolean
  readonly contentChecksum: boolean
  readonly maxBlockBytes: number
  /** -1 when not given. */
  readonly contentSize: number
  /** Where the first block begins. */
  readonly blocksFrom: number
}

function readFrame(bytes: Buffer, from: number, to: number): Frame {
  if (to - from < 7) fail(from, 'truncated frame header')
  const flags = bytes[from + 4]!
  const descriptor = bytes[from + 5]!
  if (flags >>> 6 !== 1) fail(from + 4, `frame version ${flags >>> 6}`)
  if ((flags & 2) !== 0 || (descriptor & 0x8f) !== 0) fail(from + 4, 'reserved bits are set')
  if ((flags & 1) !== 0) fail(from + 4, 'the frame needs a dictionary, which Kafka does not have')
  const code = descriptor >>> 4
  if (code < 4) fail(from + 5, `block size code ${code}`)
  const hasSize = (flags & 8) !== 0
  const checkAt = from + 6 + (hasSize ? 8 : 0)
  if (checkAt >= to) fail(from, 'truncated frame header')
  if (bytes[checkAt] !== ((xxhash32(bytes, from + 4, checkAt) >>> 8) & 0xff)) fail(checkAt, 'wrong header checksum')
  return {
    linked: (flags & 0x20) === 0,
    blockChecksums: (flags & 0x10) !== 0,
    contentChecksum: (flags & 4) !== 0,
    maxBlockBytes: blockBytes(code),
    contentSize: hasSize ? uint32(bytes, from + 6) + uint32(bytes, from + 10) * 0x100000000 : -1,
    blocksFrom: checkAt + 1,
  }
}

/** Position after a skippable frame at `at`, or -1 when there is none. */
function skipped(bytes: Buffer, at: number, to: number): number {
  if (to - at < 8 || (uint32(bytes, at) & 0xfffffff0) >>> 0 !== SKIPPABLE) return -1
  const size = uint32(bytes, at + 4)
  if (size > to - at - 8) fail(at, `skippable frame of ${size} bytes, ${to - at - 8} are left`)
  return at + 8 + size
}

function decompress(bytes: Buffer, from: number, to: number, maxBytes: number): Buffer {
  if (from === to) fail(from, 'no data')
  const output = Buffer.allocUnsafeSlow(measure(bytes, from, to, maxBytes) + SLACK)
  const copier = new Copier(bytes, output)
  let out = 0
  for (let at = from; at < to; ) {
    const after = skipped(bytes, at, to)
    if (after >= 0) {
      at = after
      continue
    }
    const frame = readFrame(bytes, at, to)
    const frameOut = out
    at = frame.blocksFrom
    for (;;) {
      const header = uint32(bytes, at)
      at += 4
      if (header === 0) break
      const size = header & 0x7fffffff
      const checkAt = at + size
      if (frame.blockChecksums && uint32(bytes, checkAt) !== xxhash32(bytes, at, checkAt))
        fail(at, 'wrong block checksum')
      out =
        header >= UNCOMPRESSED
          ? copySpan(bytes, at, checkAt, output, out)
          : readBlock(bytes, at, checkAt, copier, out, frame.linked ? frameOut : out)
      at = checkAt + (frame.blockChecksums ? 4 : 0)
    }
    if (frame.contentChecksum) {
      if (uint32(bytes, at) !== xxhash32(output, frameOut, out)) fail(at, 'wrong content checksum')
      at += 4
    }
  }
  return output.subarray(0, out)
}

/** Walks all frames without output: their exact decompressed size. After it every length is known to lie inside. */
function measure(bytes: Buffer, from: number, to: number, maxBytes: number): number {
  let total = 0
  for (let at = from; at < to; ) {
    const after = skipped(bytes, at, to)
    if (after >= 0) {
      at = after
      continue
    }
    if (to - at < 4 || uint32(bytes, at) !== MAGIC) fail(at, 'no LZ4 frame')
    const frame = readFrame(bytes, at, to)
    const before = total
    at = frame.blocksFrom
    for (;;) {
      if (to - at < 4) fail(at, 'truncated: no end mark')
      const header = uint32(bytes, at)
      at += 4
      if (header === 0) break
      const size = header & 0x7fffffff
      const trailer = frame.blockChecksums ? 4 : 0
      if (size > to - at - trailer) fail(at - 4, `block of ${size} bytes, ${to - at - trailer} are left`)
      const made = header >= UNCOMPRESSED ? size : measureBlock(bytes, at, at + size)
      if (made > frame.maxBlockBytes) fail(at - 4, `block of ${made} bytes, ${frame.maxBlockBytes} are allowed`)
      total += made
      if (total > maxBytes) throw overLimit('lz4', maxBytes, at)
      at += size + trailer
    }
    if (frame.contentChecksum) {
      if (to - at < 4) fail(at, 'truncated content checksum')
      at += 4
    }
    if (frame.contentSize >= 0 && frame.contentSize !== total - before) {
      fail(at, `${frame.contentSize} bytes declared, ${total - before} made`)
    }
  }
  return total
}

/** Decompressed size of a block, from its tokens alone; every input bound is checked here. */
function measureBlock(bytes: Buffer, from: number, to: number): number {
  let total = 0
  let at = from
  for (;;) {
    if (at >= to) fail(at, 'a block ends with literals')
    const token = bytes[at++]!
    let literals = token >>> 4
    if (literals === 15) {
      let more = 255
      while (more === 255) {
        if (at >= to) fail(at, 'truncated literal length')
        more = bytes[at++]!
        literals += more
      }
    }
    if (literals > to - at) fail(at, `literals of ${literals} bytes, ${to - at} are left`)
    at += literals
    total += literals
    if (at === to) return total
    if (to - at < 2) fail(at, 'truncated match offset')
    at += 2
    let match = (token & 15) + 4
    if (match === 19) {
      let more = 255
      while (more === 255) {
        if (at >= to) fail(at, 'truncated match length')
        more = bytes[at++]!
        match += more
      }
    }
    total += match
  }
}

/** Decompresses a measured block to the output at `outputAt`. Matches may reach back to `windowFrom`. Returns the end. */
function readBlock(
  bytes: Buffer,
  from: number,
  to: number,
  copier: Copier,
  outputAt: number,
  windowFrom: number,
): number {
  let out = outputAt
  let at = from
  for (;;) {
    const token = bytes[at++]!
    let literals = token >>> 4
    if (literals === 15) {
      let more = 255
      while (more === 255) {
        more = bytes[at++]!
        literals += more
      }
    }
    if (literals > 0) {
      copier.literals(at, at + literals, out)
      out += literals
      at += literals
    }
    if (at === to) return out
    const offset = bytes[at]! | (bytes[at + 1]! << 8)
    if (offset === 0 || offset > out - windowFrom) fail(at, `match ${offset} bytes back, ${out - windowFrom} are there`)
    at += 2
    let match = (token & 15) + 4
    if (match === 19) {
      let more = 255
      while (more === 255) {
        more = bytes[at++]!
        match += more
      }
    }
    copier.match(out, offset, match)
    out += match
  }
}

export const lz4: Codec = { name: 'lz4', compress, decompress }
