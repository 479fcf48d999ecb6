/**
 * CRC-32C (Castagnoli), the checksum of record batches. Slicing by 16: sixteen table look-ups per 16 bytes, the words read
 * through an Int32Array laid over the whole ArrayBuffer, so that any start is handled by at most three single bytes.
 */

const POLYNOMIAL = 0x82f63b78
const SLICES = 16

/** Table k holds the CRC of a byte followed by k zero bytes. Filled once, never changed. */
function makeTables(): Int32Array[] {
  const tables = Array.from({ length: SLICES }, () => new Int32Array(256))
  const first = tables[0]!
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    first[byte] = crc
  }
  for (let k = 1; k < SLICES; k++) {
    const before = tables[k - 1]!
    const table = tables[k]!
    for (let byte = 0; byte < 256; byte++) {
      const crc = before[byte]!
      table[byte] = (crc >>> 8) ^ first[crc & 0xff]!
    }
  }
  return tables
}

const tables = makeTables()
const T0 = tables[0]!
const T1 = tables[1]!
const T2 = tables[2]!
const T3 = tables[3]!
const T4 = tables[4]!
const T5 = tables[5]!
const T6 = tables[6]!
const T7 = tables[7]!
const T8 = tables[8]!
const T9 = tables[9]!
const T10 = tables[10]!
const T11 = tables[11]!
const T12 = tables[12]!
const T13 = tables[13]!
const T14 = tables[14]!
const T15 = tables[15]!

/** Word access reads bytes in machine order; the tables want the lowest byte first. */
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1
/** Below this a word view costs more than it saves. */
const WORDS_FROM = 96

/** CRC-32C of `bytes[from, to)`, unsigned. The span must lie inside `bytes`. */
export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  return to - from >= WORDS_FROM && LITTLE_ENDIAN ? byWords(bytes, from, to) : ~byBytes(-1, bytes, from, to) >>> 0
}

function byBytes(start: number, bytes: Uint8Array, from: number, to: number): number {
  let crc = start
  for (let at = from; at < to; at++) crc = (crc >>> 8) ^ T0[(crc ^ bytes[at]!) & 0xff]!
  return crc
}

function byWords(bytes: Uint8Array, from: number, to: number): number {
  const base = bytes.byteOffset
  const aligned = from + (-(base + from) & 3)
  const wordCount = ((to - aligned) >> 4) << 2
  const words = new Int32Array(bytes.buffer, base + aligned, wordCount)
  let crc = byBytes(-1, bytes, from, aligned)
  for (let at = 0; at < wordCount; at += 4) {
    const a = crc ^ words[at]!
    const b = words[at + 1]!
    const c = words[at + 2]!
    const d = words[at + 3]!
    crc =
      T15[a & 0xff]! ^
      T14[(a >>> 8) & 0xff]! ^
      T13[(a >>> 16) & 0xff]! ^
      T12[a >>> 24]! ^
      T11[b & 0xff]! ^
      T10[(b >>> 8) & 0xff]! ^
      T9[(b >>> 16) & 0xff]! ^
      T8[b >>> 24]! ^
      T7[c & 0xff]! ^
      T6[(c >>> 8) & 0xff]! ^
      T5[(c >>> 16) & 0xff]! ^
      T4[c >>> 24]! ^
      T3[d & 0xff]! ^
      T2[(d >>> 8) & 0xff]! ^
      T1[(d >>> 16) & 0xff]! ^
      T0[d >>> 24]!
  }
  return ~byBytes(crc, bytes, aligned + wordCount * 4, to) >>> 0
}
