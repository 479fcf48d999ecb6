/**
 * Frames: what a log is made of. One frame is one batch, all of it or nothing:
 * length u32 (of the whole frame, a multiple of 8) | crc u32 (CRC-32 of everything behind it, seeded with the file's seed) |
 * sequence number u64 | flags u8, 0, state length u16 | records u32 | checkpoint position f64 | its wall clock f64 (ms) |
 * records | state | zeros to 8. A length of 0, or less than a frame has, is the end of the log.
 */
import { crc32 } from 'node:zlib'
import { type Checkpoint, maxCheckpointStateBytes } from '../contract.ts'
import { recordHeader } from './memtable.ts'

/** Bytes of a frame before its records. */
export const frameHeader = 40
const flagCheckpoint = 1
/** The file header before the first frame. */
export const firstFrame = 64

/** Bytes that a frame with `recordBytes` of records and a state takes. */
export function frameBytes(recordBytes: number, stateLength: number): number {
  return (frameHeader + recordBytes + stateLength + 7) & ~7
}

/** Completes the frame in `bytes[from, to)`: records are there already, and room for the state before `to`. */
export function sealFrame(
  bytes: Buffer,
  from: number,
  to: number,
  frame: {
    readonly seq: number
    readonly count: number
    readonly checkpoint: Checkpoint | undefined
    readonly wallMs: number
  },
  stateAt: number,
  crcSeed: number,
): void {
  const { checkpoint } = frame
  const stateLength = checkpoint?.state.length ?? 0
  bytes.writeUInt32LE(to - from, from)
  bytes.writeUInt32LE(frame.seq % 2 ** 32, from + 8)
  bytes.writeUInt32LE(Math.floor(frame.seq / 2 ** 32), from + 12)
  bytes.writeUInt32LE((checkpoint === undefined ? 0 : flagCheckpoint) | (stateLength << 16), from + 16)
  bytes.writeUInt32LE(frame.count, from + 20)
  bytes.writeDoubleLE(checkpoint?.position ?? 0, from + 24)
  bytes.writeDoubleLE(checkpoint === undefined ? 0 : frame.wallMs, from + 32)
  checkpoint?.state.copy(bytes, stateAt)
  bytes.fill(0, stateAt + stateLength, to)
  bytes.writeUInt32LE(crc32(bytes.subarray(from + 8, to), crcSeed), from + 4)
}

/** A frame that was read. */
export interface Frame {
  readonly from: number
  readonly to: number
  readonly seq: number
  readonly count: number
  /** Behind its last record. */
  readonly recordsTo: number
  readonly checkpoint: Checkpoint | undefined
  readonly wallMs: number
}

/** Why there is no frame at a place. `end`: nothing was ever written there; `torn`: it is not all there. */
export type NoFrame = 'end' | 'torn' | 'corrupt'

/** The frame at `from` in a log of `size` bytes, checked completely; or why there is none. Never throws. */
export function readFrame(bytes: Buffer, from: number, size: number, crcSeed: number): Frame | NoFrame {
  if (from === size) return 'end'
  if (from + frameHeader > size) return isZero(bytes, from, size) ? 'end' : 'torn'
  const length = bytes.readUInt32LE(from)
  if (length === 0) return isZero(bytes, from, size) ? 'end' : 'corrupt'
  const to = from + length
  if (length < frameHeader || length % 8 !== 0) return 'corrupt'
  if (to > size) return 'torn'
  if (crc32(bytes.subarray(from + 8, to), crcSeed) !== bytes.readUInt32LE(from + 4)) return 'corrupt'
  const flags = bytes.readUInt32LE(from + 16)
  const stateLength = flags >>> 16
  const count = bytes.readUInt32LE(from + 20)
  const recordsTo = recordsEnd(bytes, from + frameHeader, to, count)
  if (recordsTo < 0 || frameBytes(recordsTo - from - frameHeader, stateLength) !== length) return 'corrupt'
  if (stateLength > maxCheckpointStateBytes) return 'corrupt'
  const position = bytes.readDoubleLE(from + 24)
  const hasCheckpoint = (flags & flagCheckpoint) !== 0
  if (hasCheckpoint && (!Number.isSafeInteger(position) || position < 0)) return 'corrupt'
  const state = Buffer.from(bytes.subarray(recordsTo, recordsTo + stateLength))
  return {
    from,
    to,
    seq: bytes.readUInt32LE(from + 8) + bytes.readUInt32LE(from + 12) * 2 ** 32,
    count,
    recordsTo,
    checkpoint: hasCheckpoint ? Object.freeze({ position, state }) : undefined,
    wallMs: bytes.readDoubleLE(from + 32),
  }
}

/** Behind `count` records from `at` on; −1 when they do not fit before `to`. */
function recordsEnd(bytes: Buffer, at: number, to: number, count: number): number {
  let next = at
  for (let i = 0; i < count; i++) {
    if (next + recordHeader > to) return -1
    const size = recordHeader + bytes.readUIntLE(next + 4, 3) + bytes.readUInt32LE(next + 8)
    next += 8 * Math.ceil(size / 8)
    if (next > to) return -1
  }
  return next
}

function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false
  return true
}
