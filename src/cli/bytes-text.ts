/**
 * Bytes as text that a terminal shows as it is: keys and values come from strangers, and must neither move the cursor nor
 * look like something else. And the other way round. Stateless.
 */

/** How bytes are written. `text`: UTF-8 where that can be shown, the rest as escapes; nothing is lost in any of them. */
export type BytesFormat = 'text' | 'hex' | 'base64'

/** What a terminal would not show: control and format characters (also those that change the direction), odd separators. */
const hidden = /[\p{C}\p{Zl}\p{Zp}\\]/u

const named: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** `bytes` on one line. */
export function formatBytes(bytes: Buffer, format: BytesFormat): string {
  return format === 'text' ? textOf(bytes) : bytes.toString(format)
}

function textOf(bytes: Buffer): string {
  let text = ''
  for (const character of bytes.toString('utf8')) {
    if (character === '\ufffd') return bytewise(bytes)
    text += shown(character)
  }
  return text
}

function shown(character: string): string {
  if (!hidden.test(character)) return character
  const code = character.codePointAt(0)!
  return named[character] ?? (code < 0x80 ? hexByte(code) : `\\u{${code.toString(16)}}`)
}

/** No UTF-8 throughout: what is a character is shown as one, every other byte as `\xNN`. */
function bytewise(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at)
    text += length === 0 ? hexByte(bytes[at]!) : shown(bytes.toString('utf8', at, at + length))
    at += Math.max(1, length)
  }
  return text
}

/** Bytes of the UTF-8 character at `at`; 0 when there is none. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  const part = bytes.subarray(at, at + length)
  return Buffer.from(part.toString('utf8'), 'utf8').equals(part) ? length : 0
}

function hexByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

const escapes = /\\(?:x([0-9a-f]{2})|u\{([0-9a-f]{1,6})\}|([\\nrt]))/giy

/** The bytes that `formatBytes` has written so; undefined when it writes nothing so. */
export function parseBytes(text: string, format: BytesFormat): Buffer | undefined {
  if (format !== 'text') {
    const bytes = Buffer.from(text, format)
    return bytes.toString(format) === (format === 'hex' ? text.toLowerCase() : text) ? bytes : undefined
  }
  const parts: Buffer[] = []
  for (let at = 0; at < text.length; ) {
    const next = text.indexOf('\\', at)
    const end = next < 0 ? text.length : next
    parts.push(Buffer.from(text.slice(at, end)))
    if (next < 0) break
    escapes.lastIndex = next
    const [whole, byte, code, letter] = escapes.exec(text) ?? []
    if (whole === undefined) return undefined
    if (byte !== undefined) parts.push(Buffer.from(byte, 'hex'))
    else if (code === undefined) parts.push(Buffer.from({ n: '\n', r: '\r', t: '\t' }[letter!] ?? '\\'))
    else if (Number.parseInt(code, 16) > 0x10ffff) return undefined
    else parts.push(Buffer.from(String.fromCodePoint(Number.parseInt(code, 16))))
    at = next + whole.length
  }
  return Buffer.concat(parts)
}
