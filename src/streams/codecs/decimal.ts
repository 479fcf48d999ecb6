/** Whole numbers as decimal text, the form goka's Int64 codec has: optional sign, digits, nothing else. */
import type { ValueWriter } from '../codec.ts'

/** What `scanDecimal` says about text that is not a whole number, or that has more digits than any 64-bit number. */
export type DecimalFault = 'not a decimal number' | 'out of range'

/** Up to this many digits a sum of digits is exact in a double. */
const exactDigits = 15

/**
 * The number in `source[from, to)`: a number when it is exact, a bigint when it has 16 to 19 digits, or what is wrong.
 */
export function scanDecimal(source: Buffer, from: number, to: number): number | bigint | DecimalFault {
  let at = from
  const sign = source[at]
  if (at < to && (sign === 0x2d || sign === 0x2b)) at += 1
  if (at === to) return 'not a decimal number'
  for (let i = at; i < to; i++) {
    const digit = source[i]! - 0x30
    if (digit < 0 || digit > 9) return 'not a decimal number'
  }
  while (at < to && source[at] === 0x30) at += 1
  const digits = to - at
  if (digits > 19) return 'out of range'
  if (digits > exactDigits) {
    const magnitude = BigInt(source.toString('latin1', at, to))
    return sign === 0x2d ? -magnitude : magnitude
  }
  let sum = 0
  for (let i = at; i < to; i++) sum = sum * 10 + (source[i]! - 0x30)
  // 0 − sum: never the negative zero.
  return sign === 0x2d ? 0 - sum : sum
}

/** Appends a safe integer as decimal text. */
export function writeDecimal(value: number, writer: ValueWriter): void {
  let rest = Math.abs(value)
  writer.reserve(17)
  const target = writer.bytes
  let at = writer.at
  if (value < 0) target[at++] = 0x2d
  let length = 1
  for (let bound = 10; rest >= bound && length < 16; bound *= 10) length += 1
  for (let i = at + length - 1; i >= at; i--) {
    const next = Math.floor(rest / 10)
    target[i] = 0x30 + (rest - next * 10)
    rest = next
  }
  writer.at = at + length
}
