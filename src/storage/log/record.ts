/**
 * Records of tables: how an entry lies on disk, and its checksum. A record begins at a multiple of 8:
 * check u32 | key length u24, flags u8 | value length u32 | key | value | zeros to 8.
 * The check covers everything behind it, zeros included. Its seed is made of the file's and of the place in the file: a
 * record that lies where another one belongs is as damaged as one with a wrong bit. Stateless.
 */
import { crc32 } from 'node:zlib'
import { maxValueBytes } from '../contract.ts'
import { align8 } from './format.ts'

/** Bytes of a record before its key. */
export const recordHeaderBytes = 12
/** The smallest record. */
export const minRecordBytes = 16
/** Flag: the key has no value any more. */
export const flagDeleted = 0x80
/** Flag: the check is a CRC-32, not `wordCheck`. */
export const flagCrc = 0x20
/** The key space within the flags. */
export const spaceMask = 0x0f
/** Flags that no version so far writes; 0x40 is meant for values that lie elsewhere. */
const reservedFlags = 0x50
/** Larger records are checked by zlib, which is faster from about here on; below, calling it costs more. */
export const maxWordCheckBytes = 4096

/** Bytes of the record of an entry. */
export function recordBytes(keyLength: number, valueLength: number): number {
  return align8(recordHeaderBytes + keyLength + valueLength)
}

/** Bytes for reading and writing records: the same memory as bytes and as words, which is what checking is fast with. */
export interface Chunk {
  readonly bytes: Buffer
  readonly words: Int32Array
}

/** A chunk of `size` bytes, a multiple of 8, with whatever was in that memory. */
export function makeChunk(size: number): Chunk {
  // Not from Node's pool, so that it begins at a word; tiny ones would be objects of another kind.
  const bytes = Buffer.allocUnsafeSlow(Math.max(size, 256))
  return { bytes, words: new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2) }
}

/** First value of the check of the record at `offset` of a file with `seed`; signed. */
export function checkSeed(seed: number, offset: number): number {
  return seed ^ (offset >>> 3)
}

/**
 * 32-bit checksum of `words[from, to)`. Each step is reversible, so a change within one word is always noticed, any other
 * one except once in 2^32. Two lanes, because each step waits for the one before.
 */
export function wordCheck(words: Int32Array, from: number, to: number, seed: number): number {
  let a = seed
  let b = ~seed
  let i = from
  for (const end = to - 1; i < end; i += 2) {
    a = Math.imul(a ^ words[i]!, 0xcc9e2d51)
    a = (a << 13) | (a >>> 19)
    b = Math.imul(b ^ words[i + 1]!, 0x1b873593)
    b = (b << 15) | (b >>> 17)
  }
  if (i < to) {
    a = Math.imul(a ^ words[i]!, 0xcc9e2d51)
    a = (a << 13) | (a >>> 19)
  }
  let h = (Math.imul(a, 0x85ebca6b) + Math.imul(b, 0xc2b2ae35)) | 0
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/**
 * Bytes of the record that begins at word `at`, as its header says; −1 when no record says so. It may still be damaged,
 * and longer than what follows.
 */
export function sizeAt(words: Int32Array, at: number): number {
  const valueLength = words[at + 2]!
  if (valueLength < 0 || valueLength > maxValueBytes) return -1
  return align8(recordHeaderBytes + (words[at + 1]! & 0xffffff) + valueLength)
}

/** Whether the record of `size` bytes at `at` of `chunk` is as it was written; `seed` is its `checkSeed`. */
export function isIntact(chunk: Chunk, at: number, size: number, seed: number): boolean {
  const { words } = chunk
  const first = at >>> 2
  const flags = words[first + 1]! >>> 24
  if ((flags & reservedFlags) !== 0) return false
  const check =
    (flags & flagCrc) === 0
      ? wordCheck(words, first + 1, (at + size) >>> 2, seed)
      : crc32(chunk.bytes.subarray(at + 4, at + size), seed >>> 0) | 0
  return words[first] === check
}
