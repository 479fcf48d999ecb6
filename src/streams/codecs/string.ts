/**
 * The string codec: UTF-8, exactly. Text that UTF-8 cannot carry (lone surrogates) and bytes that are not UTF-8 are
 * errors, because a silent replacement character would make two different keys one. Writing short ASCII text, which most
 * keys are, takes a path of its own: a call into the runtime's encoder costs more than a loop over a few characters.
 */
import { isUtf8 } from 'node:buffer'
import { type Codec, describeValue, type ValueWriter } from '../codec.ts'
import { CodecError } from '../errors.ts'

/** Up to here a loop beats the call into the runtime, bytes. */
const shortText = 24

/** UTF-8 text. Refuses lone surrogates when encoding and invalid UTF-8 when decoding. Also the default for keys. */
export const string: Codec<string> = Object.freeze({
  name: 'string',
  immutable: true,
  encode(value: string): Uint8Array {
    checkText(value)
    return Buffer.from(value, 'utf8')
  },
  decode(source: Buffer): string {
    return readText(source, 0, source.length)
  },
  write: writeText,
  read: readText,
  check: checkText,
})

/** With the u flag a surrogate class matches lone surrogates only. */
const loneSurrogate = /[\uD800-\uDFFF]/u

function checkText(value: string): void {
  if (typeof value !== 'string') throw new CodecError('string', `takes a string, not ${describeValue(value)}`)
  for (let i = 0; i < value.length; i++) {
    if (value.charCodeAt(i) < 0xd800) continue
    const at = value.search(loneSurrogate)
    if (at >= 0) throw new CodecError('string', `cannot encode text with a lone surrogate (at index ${at}) as UTF-8`)
    return
  }
}

/** Appends `value` as UTF-8. Throws CodecError for a lone surrogate. */
export function writeText(value: string, writer: ValueWriter): void {
  if (typeof value !== 'string') throw new CodecError('string', `takes a string, not ${describeValue(value)}`)
  const length = value.length
  if (length <= shortText) {
    writer.reserve(length)
    const target = writer.bytes
    const at = writer.at
    let i = 0
    for (; i < length; i++) {
      const unit = value.charCodeAt(i)
      if (unit >= 0x80) break
      target[at + i] = unit
    }
    if (i === length) {
      writer.at = at + length
      return
    }
  }
  checkText(value)
  writer.reserve(length * 3)
  writer.at += writer.bytes.write(value, writer.at, 'utf8')
}

/** The text in `source[from, to)`. Throws CodecError when it is not UTF-8. */
export function readText(source: Buffer, from: number, to: number): string {
  const text = source.toString('utf8', from, to)
  // Invalid bytes decode to U+FFFD; only text that contains one needs the exact check.
  if (text.includes('\uFFFD') && !isUtf8(source.subarray(from, to))) {
    throw new CodecError('string', `cannot decode ${to - from} bytes: they are not valid UTF-8`)
  }
  return text
}
