/** The JSON codec: what JSON.stringify and JSON.parse make of a value. */
import { describeError } from '../../base/errors.ts'
import { type Codec, describeValue, type ValueWriter } from '../codec.ts'
import { CodecError } from '../errors.ts'
import { readText } from './string.ts'

/** One object for all types: two handles of the same topic made with `json` have equal codecs. */
const codec: Codec<unknown> = Object.freeze({
  name: 'json',
  encode(value: unknown): Uint8Array {
    return Buffer.from(stringify(value), 'utf8')
  },
  decode(source: Buffer): unknown {
    return read(source, 0, source.length)
  },
  write(value: unknown, writer: ValueWriter): void {
    const text = stringify(value)
    writer.reserve(text.length * 3)
    writer.at += writer.bytes.write(text, writer.at, 'utf8')
  },
  read,
  check,
})

/**
 * JSON text. `T` is believed, not checked: what arrives may come from anywhere. Refuses what JSON has no form for
 * (undefined, functions, symbols, bigints, circular objects); inside objects JSON's own rules hold: undefined properties
 * are left out, NaN becomes null. The value `null` is the text `null`, not a deletion.
 * @example const orders = stream('orders', json<{ id: string; cents: number }>())
 */
export function json<T>(): Codec<T> {
  return codec as Codec<T>
}

function check(value: unknown): void {
  const type = typeof value
  if (type === 'undefined' || type === 'function' || type === 'symbol' || type === 'bigint') {
    throw new CodecError('json', `has no form for ${describeValue(value)}`)
  }
}

function stringify(value: unknown): string {
  check(value)
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new CodecError('json', `cannot encode ${describeValue(value)}: ${describeError(cause)}`, cause)
  }
  // A toJSON method may return undefined.
  if (text === undefined) throw new CodecError('json', `has no form for ${describeValue(value)}`)
  return text
}

function read(source: Buffer, from: number, to: number): unknown {
  const text = readText(source, from, to)
  try {
    return JSON.parse(text)
  } catch (cause) {
    // The parser's message quotes the text, which may be secret: it is in the cause only.
    throw new CodecError('json', `cannot decode ${to - from} bytes: they are not JSON`, cause)
  }
}
