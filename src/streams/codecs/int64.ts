/** The int64 codec: 64-bit whole numbers as bigint, in goka's form. */
import { type Codec, describeValue, type ValueWriter } from '../codec.ts'
import { CodecError } from '../errors.ts'
import { scanDecimal, writeDecimal } from './decimal.ts'

const lowest = -(2n ** 63n)
const highest = 2n ** 63n - 1n

/** A bigint from −2⁶³ to 2⁶³ − 1, as decimal text like goka's Int64 codec. */
export const int64: Codec<bigint> = Object.freeze({
  name: 'int64',
  immutable: true,
  encode(value: bigint): Uint8Array {
    check(value)
    return Buffer.from(value.toString(), 'latin1')
  },
  decode(source: Buffer): bigint {
    return read(source, 0, source.length)
  },
  write(value: bigint, writer: ValueWriter): void {
    check(value)
    const small = Number(value)
    if (Number.isSafeInteger(small)) {
      writeDecimal(small, writer)
      return
    }
    const text = value.toString()
    writer.reserve(text.length)
    writer.at += writer.bytes.write(text, writer.at, 'latin1')
  },
  read,
  check,
})

function check(value: bigint): void {
  if (typeof value !== 'bigint') throw new CodecError('int64', `takes a bigint, not ${describeValue(value)}`)
  if (value < lowest || value > highest)
    throw new CodecError('int64', 'takes −2^63 to 2^63 − 1: the value is out of range')
}

function read(source: Buffer, from: number, to: number): bigint {
  const value = scanDecimal(source, from, to)
  if (typeof value === 'number') return BigInt(value)
  if (typeof value === 'string') throw new CodecError('int64', `cannot decode ${to - from} bytes: ${value}`)
  if (value < lowest || value > highest) {
    throw new CodecError('int64', `cannot decode ${to - from} bytes: out of range`)
  }
  return value
}
