/**
 * What all files of a store have in common: their names, their 64-byte header, the seed of their checksums, and the
 * errors for damaged ones. Every number on disk is little-endian. Stateless.
 *
 *   0 magic[8] | 8 formatVersion u16 | 10 minReader u16 | 12 flags u32 | 16 storeId[16] | 32 fileNumber u64
 *   40 createdMs u64 | 48 reserved, zeros[12] | 60 crc32 of bytes 0–59
 */
import { crc32 } from 'node:zlib'
import type { Fs } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import type { TableMemory } from './budget.ts'
import type { FileHandles } from './handles.ts'

/** The kinds of files that begin with a header. */
export type FileKind = 'log' | 'table' | 'manifest'

/** Bytes of the header of every file. */
export const fileHeaderBytes = 64
/** The version of the format that this code writes, and the newest that it reads. */
export const formatVersion = 1
/** The oldest version that can read what this code writes. */
export const minReader = 1
/** Bytes of a store's id, drawn at random when the store is made. */
export const storeIdBytes = 16

/** Header flags in this mask change how a file is read: an unknown one is refused. The others may be ignored. */
const incompatibleFlags = 0x0000ffff
const fileNumberAt = 32
const createdAt = 40
const checkAt = 60

const magics: Readonly<Record<FileKind, Buffer>> = {
  log: Buffer.from('MRLLOG\0\x01', 'latin1'),
  table: Buffer.from('MRLTBL\0\x01', 'latin1'),
  manifest: Buffer.from('MRLMAN\0\x01', 'latin1'),
}

/** What everything that reads or writes the files of one store is given. */
export interface StoreFiles {
  readonly fs: Fs
  /** The store's directory. */
  readonly dir: string
  /** The store's name, for messages. */
  readonly store: string
  /** 16 bytes; in every file's header. */
  readonly storeId: Buffer
  /** Seed of the hashes of keys, of this store only. */
  readonly hashSeed: number
  /** What tables may take in memory, shared with other stores; undefined: as much as they need. */
  readonly memory?: TableMemory | undefined
  /** How many tables may be open, shared with other stores; undefined: all. */
  readonly handles?: FileHandles | undefined
  /** Throws StoreError when the directory's lock was lost; undefined: whoever has these files has no lock, and changes no names. */
  readonly checkLock?: (() => void) | undefined
  /** Wall clock, as `wallMsOf` makes it. */
  now(): number
}

/**
 * Throws StoreError ERR_STORE_VERSION on a machine that keeps the highest byte of a number first: files are read and written
 * through typed arrays, which have the machine's order. `one`: how it keeps the number 1.
 */
export function checkByteOrder(store: string, one = new Uint8Array(new Uint16Array([1]).buffer)): void {
  if (one[0] === 1) return
  const text =
    'this machine keeps numbers with their highest byte first (big-endian), but stores have the lowest first. ' +
    'Use a little-endian machine (x86-64, arm64), or the memory engine'
  throw new StoreError('ERR_STORE_VERSION', store, text)
}

/** A wall clock as files have it: whole milliseconds from 1970 on. What is no such time is 0. */
export function wallMsOf(now: number): number {
  return now >= 0 && now <= Number.MAX_SAFE_INTEGER ? Math.floor(now) : 0
}

/** `bytes` rounded up to a multiple of 8: everything in a file begins at one. */
export function align8(bytes: number): number {
  return bytes + (-bytes & 7)
}

/** Writes a whole number from 0 to 2^53 − 1. */
export function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value >>> 0, at)
  target.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
}

/** Reads what `writeU64` wrote; a number above 2^53 − 1 comes out as no safe integer, so check it. */
export function readU64(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt32LE(at + 4) * 2 ** 32
}

const remedy =
  'Restore the directory of this store from a copy, or remove it so that the store is filled again from its changelog'

/**
 * ERR_STORE_CORRUPT: what a file holds cannot be what was written. `file` is its name, `offset` where in it, bytes from
 * its start; `what` says what is wrong there.
 */
export function corrupt(store: string, file: string, offset: number, what: string, cause?: unknown): StoreError {
  const text = `${file} is damaged at byte ${offset}: ${what}. ${remedy}`
  return new StoreError('ERR_STORE_CORRUPT', store, text, cause, { file, offset })
}

/** The `what` of an error that `corrupt` made; of any other error its message. */
export function damageOf(error: Error): string {
  if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_CORRUPT') return error.message
  const before = `${error.file} is damaged at byte ${error.offset}: `
  const from = error.message.indexOf(before)
  return from < 0 ? error.message : error.message.slice(from + before.length, -`. ${remedy}`.length)
}

/** The header of a new file. */
export function encodeFileHeader(
  kind: FileKind,
  about: { readonly storeId: Buffer; readonly fileNumber: number; readonly createdMs: number },
): Buffer {
  const header = Buffer.alloc(fileHeaderBytes)
  magics[kind].copy(header, 0)
  header.writeUInt16LE(formatVersion, 8)
  header.writeUInt16LE(minReader, 10)
  about.storeId.copy(header, 16, 0, storeIdBytes)
  writeU64(header, about.fileNumber, fileNumberAt)
  writeU64(header, about.createdMs, createdAt)
  header.writeUInt32LE(crc32(header.subarray(0, checkAt)), checkAt)
  return header
}

/**
 * Reads the first 64 bytes of a file (fewer if it has no more). Throws StoreError ERR_STORE_CORRUPT when they are not the
 * header of file `expected.fileNumber` of this kind and store, ERR_STORE_VERSION when a newer version wrote the file so
 * that this one cannot read it.
 */
export function checkFileHeader(
  kind: FileKind,
  header: Buffer,
  expected: { readonly storeId?: Buffer; readonly fileNumber: number },
  where: { readonly store: string; readonly file: string },
): { storeId: Buffer; createdMs: number } {
  const { store, file } = where
  checkByteOrder(store)
  if (header.length < fileHeaderBytes) {
    const text = `it ends inside its header of ${fileHeaderBytes} bytes`
    throw corrupt(store, file, header.length, text)
  }
  if (magics[kind].compare(header, 0, 8) !== 0) throw corrupt(store, file, 0, `it does not begin as a ${kind} file`)
  if (header.readUInt32LE(checkAt) !== crc32(header.subarray(0, checkAt))) {
    throw corrupt(store, file, checkAt, 'the checksum of its header does not match')
  }
  const reader = header.readUInt16LE(10)
  const flags = header.readUInt32LE(12)
  if (reader > formatVersion || (flags & incompatibleFlags) !== 0) {
    const about = `${file} has format version ${header.readUInt16LE(8)} and needs a reader of version ${reader}`
    const ours = `with flags 0x${flags.toString(16)}; this release reads up to version ${formatVersion} without flags`
    const text = `${about} ${ours}. Use the release that wrote it, or remove the directory of this store`
    throw new StoreError('ERR_STORE_VERSION', store, text, undefined, { file, offset: 8 })
  }
  const fileNumber = readU64(header, fileNumberAt)
  if (fileNumber !== expected.fileNumber) {
    throw corrupt(store, file, fileNumberAt, `it is file ${fileNumber} under the name of file ${expected.fileNumber}`)
  }
  const storeId = Buffer.from(header.subarray(16, 16 + storeIdBytes))
  if (expected.storeId !== undefined && !storeId.equals(expected.storeId)) {
    throw corrupt(store, file, 16, 'it belongs to another store')
  }
  return { storeId, createdMs: readU64(header, createdAt) }
}

/**
 * The first value of every later checksum of a file (`crc32(bytes, seed)`), so that nothing of another store or another
 * file ever passes for a part of it.
 */
export function crcSeed(storeId: Buffer, fileNumber: number): number {
  const bytes = Buffer.alloc(storeIdBytes + 8)
  storeId.copy(bytes, 0, 0, storeIdBytes)
  writeU64(bytes, fileNumber, storeIdBytes)
  return crc32(bytes)
}

function digits(fileNumber: number): string {
  return String(fileNumber).padStart(10, '0')
}

/** The name of write-ahead log `fileNumber`. */
export function logName(fileNumber: number): string {
  return `${digits(fileNumber)}.log`
}

/** The name of table `fileNumber`. */
export function tableName(fileNumber: number): string {
  return `${digits(fileNumber)}.tbl`
}

/** The name of manifest `fileNumber`. */
export function manifestName(fileNumber: number): string {
  return `MANIFEST-${digits(fileNumber)}`
}

/** The file that names the manifest that counts. */
export const currentName = 'CURRENT'
/** The file that says who has the store open. */
export const lockName = 'LOCK'

/** Left by an owner that closed the store without making all of it durable. Another owner makes it so, and removes this. */
export const unsyncedName = 'UNSYNCED.tmp'

/** What a file's name says. */
export interface ParsedName {
  /** `temporary`: half-written and never referred to; may be removed. `other`: not ours, leave it alone. */
  readonly kind: FileKind | 'temporary' | 'current' | 'lock' | 'other'
  /** The number in the name; 0 where there is none. Numbers of files begin at 1. */
  readonly number: number
}

/** The reverse of the names above. A number that is not written as we write it makes the file `other`. */
export function parseFileName(name: string): ParsedName {
  if (name === currentName) return { kind: 'current', number: 0 }
  if (name === lockName) return { kind: 'lock', number: 0 }
  const number = Number(/\d{10,16}/.exec(name)?.[0] ?? 0)
  if (name.endsWith('.tmp')) return { kind: 'temporary', number: Number.isSafeInteger(number) ? number : 0 }
  if (Number.isSafeInteger(number) && number > 0) {
    if (name === logName(number)) return { kind: 'log', number }
    if (name === tableName(number)) return { kind: 'table', number }
    if (name === manifestName(number)) return { kind: 'manifest', number }
  }
  return { kind: 'other', number: 0 }
}
