/** Names of stores as paths that are safe on every file system, whatever the group or table is called. */
import { createHash } from 'node:crypto'
import type { StoreDirectory } from './contract.ts'

const plain = /^[a-z0-9_-]$/

/** Longest part; file systems end at 255 bytes. */
const maxPartLength = 200

/** Device names of Windows: legal by their letters, unusable as directory names there. */
const reserved = /^(con|prn|aux|nul|com\d|lpt\d)$/

/**
 * `name` with every byte outside `[a-z0-9_-]` as `%xx` (lower-case hex of its UTF-8). Different names give different
 * parts, also on file systems that ignore case, and never `.`, `..` or a device name. A part that would be longer than
 * 200 characters is cut and ends with `%.` and the first 128 bits of the name's SHA-256.
 */
export function encodePart(name: string): string {
  let part = ''
  for (const byte of Buffer.from(name, 'utf8')) {
    const letter = String.fromCharCode(byte)
    part += plain.test(letter) ? letter : `%${byte.toString(16).padStart(2, '0')}`
  }
  if (part === '') return '%'
  if (reserved.test(part)) return `%${part.charCodeAt(0).toString(16)}${part.slice(1)}`
  if (part.length <= maxPartLength) return part
  const digest = createHash('sha256').update(name, 'utf8').digest('hex').slice(0, 32)
  return `${part.slice(0, maxPartLength - 34)}%.${digest}`
}

/** `<root>/<group>/<table>/<partition>`; without a root the relative path. */
export function storePath(directory: StoreDirectory, root?: string): string {
  const path = `${encodePart(directory.group)}/${encodePart(directory.table)}/${directory.partition}`
  return root === undefined ? path : `${root}/${path}`
}

/**
 * `group/table/partition` of the store at `path`, for messages: its last three parts, decoded. The name of a part that was
 * cut stays as it is.
 */
export function storeNameOf(path: string): string {
  const parts = path.split(/[/\\]/).filter((part) => part !== '' && part !== '.')
  return parts.slice(-3).map(decodePart).join('/')
}

function decodePart(part: string): string {
  const bytes = part.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  const name = Buffer.from(bytes, 'latin1').toString('utf8')
  return encodePart(name) === part ? name : part
}
