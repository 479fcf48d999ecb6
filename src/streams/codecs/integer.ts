/** The integer codec: whole numbers that a JavaScript number holds exactly, in the same form as int64. */
import { type Codec, describeValue, type ValueWriter } from '../codec.ts'
import { CodecError } from '../errors.ts'
import { scanDecimal, writeDecimal } from './decimal.ts'

/** A whole number from −(2⁵³ − 1) to 2⁵³ − 1, as decimal text; the bytes are those of `int64`. */
export const integer: Codec<number> = Object.freeze({
  name: 'integer',
  immutable: true,
  encode(value: number): Uint8Array {
    check(value)
    return Buffer.from(String(value), 'latin1')
  },
  decode(source: Buffer): number {
    return read(source, 0, source.length)
  },
  write(value: number, writer: ValueWriter): void {
    check(value)
    writeDecimal(value, writer)
  },
  read,
  check,
})

function check(value: number): void {
  if (typeof value !== 'number') throw new CodecError('integer', `takes a number, not ${describeValue(value)}`)
  if (!Number.isSafeInteger(value)) {
    throw new CodecError('integer', `takes whole numbers up to 2^53 − 1, not ${value}: use int64 for larger ones`)
  }
}

function read(source: Buffer, from: number, to: number): number {
  const scanned = scanDecimal(source, from, to)
  if (typeof scanned === 'string') throw new CodecError('integer', `cannot decode ${to - from} bytes: ${scanned}`)
  const value = Number(scanned)
  if (!Number.isSafeInteger(value)) {
    throw new CodecError('integer', `cannot decode ${to - from} bytes: above 2^53 − 1, use int64`)
  }
  return value
}
