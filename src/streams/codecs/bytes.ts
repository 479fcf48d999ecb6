/** The bytes codec: values as they are. */

import { type Codec, describeValue, type ValueWriter } from '../codec.ts'
import { CodecError } from '../errors.ts'

/** Bytes as they are. Decoding gives a Buffer of its own (a copy). */
export const bytes: Codec<Uint8Array> = Object.freeze({
  name: 'bytes',
  encode(value: Uint8Array): Uint8Array {
    checkBytes(value)
    return value
  },
  decode(source: Buffer): Uint8Array {
    return copy(source, 0, source.length)
  },
  write(value: Uint8Array, writer: ValueWriter): void {
    checkBytes(value)
    writer.append(value)
  },
  read: copy,
  check: checkBytes,
})

function copy(source: Buffer, from: number, to: number): Buffer {
  const own = Buffer.allocUnsafeSlow(to - from)
  source.copy(own, 0, from, to)
  return own
}

function checkBytes(value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw new CodecError('bytes', `takes a Uint8Array, not ${describeValue(value)}`)
}
