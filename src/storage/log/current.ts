/**
 * CURRENT: the file that names the manifest that counts: `MANIFEST-0000000007\n`, the CRC-32 of that line in 8 hex digits,
 * `\n`. It is only ever replaced as a whole: written beside, made durable, renamed. Stateless.
 */
import { crc32 } from 'node:zlib'
import { corrupt, currentName, manifestName, parseFileName, type StoreFiles } from './format.ts'
import { hasCode, readSmallFile } from './small-file.ts'

/** What is needed to find, read and write a manifest; a StoreFiles has it all. */
export type ManifestFiles = Pick<StoreFiles, 'fs' | 'dir' | 'store' | 'now' | 'checkLock'>

/** Longer than any CURRENT. */
const readBytes = 64

/** The text of CURRENT. */
export function encodeCurrent(fileNumber: number): string {
  const line = `${manifestName(fileNumber)}\n`
  return `${line}${crc32(line).toString(16).padStart(8, '0')}\n`
}

/**
 * The number of the manifest that counts; undefined when there is no CURRENT. Throws StoreError ERR_STORE_CORRUPT when
 * what is there was never written as CURRENT.
 */
export function readCurrent(files: ManifestFiles): number | undefined {
  const { fs, dir, store } = files
  let bytes: Buffer | undefined
  try {
    bytes = readSmallFile(fs, `${dir}/${currentName}`, readBytes)
  } catch (error) {
    if (hasCode(error, 'EISDIR')) throw corrupt(store, currentName, 0, 'it is a directory', error)
    throw error
  }
  if (bytes === undefined) return undefined
  const text = bytes.toString('latin1')
  const { kind, number } = parseFileName(text.slice(0, Math.max(0, text.indexOf('\n'))))
  if (kind !== 'manifest') throw corrupt(store, currentName, 0, 'it does not name a manifest')
  const expected = encodeCurrent(number)
  if (text === expected) return number
  // The line reads well, so the checksum or what follows is wrong, or a digit of the line is.
  throw corrupt(store, currentName, expected.indexOf('\n') + 1, 'its checksum does not match')
}

/**
 * Makes manifest `fileNumber` the one that counts, durably: the manifest's entry in the directory first, so that CURRENT
 * never names a file that a power loss takes away. Throws the system's error, or StoreError when the lock was lost; CURRENT then names the old or the new one.
 */
export function writeCurrent(files: ManifestFiles, fileNumber: number): void {
  const { fs, dir } = files
  const temporary = `${dir}/${currentName}.tmp`
  const text = Buffer.from(encodeCurrent(fileNumber), 'latin1')
  const file = fs.openSync(temporary, 'create')
  try {
    file.truncateSync(0)
    file.writeSync(text, 0, text.length, 0)
    file.syncSync()
  } finally {
    file.closeSync()
  }
  fs.syncDirSync(dir)
  files.checkLock?.()
  fs.renameSync(temporary, `${dir}/${currentName}`)
  fs.syncDirSync(dir)
}
