/**
 * Zigzag varints of records: how long they are, and writing them into memory that is large enough. Reading is inlined in
 * RecordCursor, with its slow paths here.
 */
import { saturate } from './record-format.ts'

/** Bytes of an int32 as zigzag varint. */
export function varintSize(value: number): number {
  const raw = ((value << 1) ^ (value >> 31)) >>> 0
  return raw < 0x80 ? 1 : raw < 0x4000 ? 2 : raw < 0x200000 ? 3 : raw < 0x10000000 ? 4 : 5
}

/** Writes an int32 as zigzag varint; returns the end. */
export function writeVarint(bytes: Buffer, value: number, at: number): number {
  let raw = ((value << 1) ^ (value >> 31)) >>> 0
  let next = at
  while (raw >= 0x80) {
    bytes[next++] = (raw & 0x7f) | 0x80
    raw >>>= 7
  }
  bytes[next++] = raw
  return next
}

/** Bytes of an integer (|value| ≤ 2^53) as zigzag varlong. */
export function varlongSize(value: number): number {
  if ((value | 0) === value) return varintSize(value)
  let left = Math.floor((value < 0 ? -(value + 1) : value) / 0x40)
  let size = 1
  while (left > 0) {
    left = Math.floor(left / 0x80)
    size += 1
  }
  return size
}

/** Writes an integer (|value| ≤ 2^53) as zigzag varlong; returns the end. */
export function writeVarlong(bytes: Buffer, value: number, at: number): number {
  if ((value | 0) === value) return writeVarint(bytes, value, at)
  const negative = value < 0
  const magnitude = negative ? -(value + 1) : value
  let low = (magnitude % 0x40) * 2 + (negative ? 1 : 0)
  let left = Math.floor(magnitude / 0x40)
  let next = at
  while (left > 0) {
    bytes[next++] = low | 0x80
    low = left % 0x80
    left = Math.floor(left / 0x80)
  }
  bytes[next++] = low
  return next
}

/** End of the varint that begins at `at`, at most 10; −1 when it does not end before `end`. */
export function varintEnd(bytes: Buffer, at: number, end: number): number {
  const limit = Math.min(end, at + 10)
  for (let i = at; i < limit; i++) if (bytes[i]! < 0x80) return i + 1
  return -1
}

/** The zigzag varint in `bytes[at, end)` as a number, saturating at ±(2^53 − 1). */
export function varlongAt(bytes: Buffer, at: number, end: number): number {
  let half = (bytes[at]! & 0x7f) >>> 1
  let unit = 0x40
  for (let i = at + 1; i < end; i++) {
    half += (bytes[i]! & 0x7f) * unit
    unit *= 0x80
  }
  const value = (bytes[at]! & 1) === 0 ? half : -half - 1
  return saturate(value)
}

/** The zigzag varint in `bytes[at, end)`, exactly. */
export function varlongBigIntAt(bytes: Buffer, at: number, end: number): bigint {
  let raw = 0n
  for (let i = at; i < end; i++) raw |= BigInt(bytes[i]! & 0x7f) << BigInt(7 * (i - at))
  raw = BigInt.asUintN(64, raw)
  return (raw >> 1n) ^ -(raw & 1n)
}
