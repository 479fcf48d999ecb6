/** Names of stores as paths that are safe on every file system, whatever the group or table is called. */
import { createHash } from 'node:crypto'
import { OptionError } from '../base/errors.ts'
import { kindOf } from './check.ts'
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

/** The largest partition of Kafka's protocol. */
const maxPartition = 2 ** 31 - 1

/** Half of a surrogate pair alone: in UTF-8 all of them would be the same name. */
const loneSurrogate = /\p{Surrogate}/u

/** Throws OptionError, with every fault, when a caller without types gave what is no place of a store. */
function checkPlace(directory: unknown): void {
  const subject = 'the place of a store'
  if (typeof directory !== 'object' || directory === null) {
    throw new OptionError(subject, [`it is ${kindOf(directory)}: it must have a group, a table and a partition`])
  }
  const { group, table, partition } = directory as Record<keyof StoreDirectory, unknown>
  const faults: string[] = []
  for (const [part, name] of [
    ['group', group],
    ['table', table],
  ] as const) {
    if (typeof name === 'string' && name !== '' && !loneSurrogate.test(name)) continue
    faults.push(`${part} must be a text of at least one character, without halves of surrogate pairs`)
  }
  if (!(Number.isInteger(partition) && (partition as number) >= 0 && (partition as number) <= maxPartition)) {
    faults.push(`partition must be a whole number from 0 to ${maxPartition}`)
  }
  if (faults.length > 0) throw new OptionError(subject, faults)
}

/** Throws OptionError unless `path` can be that of a directory; the empty one would be the process's own. */
export function checkPath(subject: string, path: unknown): void {
  if (typeof path === 'string' && pathRule.test(path)) return
  throw new OptionError(subject, [`the path ${pathSays}`])
}

/** Paths of directories, as rows of an options table have it. */
export const pathRule = /^[^\0]+$/
export const pathSays = 'must name a directory'

/** `<root>/<group>/<table>/<partition>`; without a root the relative path. Throws OptionError. */
export function storePath(directory: StoreDirectory, root?: string): string {
  checkPlace(directory)
  const path = `${encodePart(directory.group)}/${encodePart(directory.table)}/${directory.partition}`
  return root === undefined ? path : `${root}/${path}`
}

/** `group/table/partition`: the name of a store. Throws OptionError. */
export function storeName(directory: StoreDirectory): string {
  checkPlace(directory)
  return `${directory.group}/${directory.table}/${directory.partition}`
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
