/**
 * Scrubbing a log: reads its frames and checks what recovery takes on trust: that every record is one that a writer makes,
 * and that its hash is that of its key. Works in steps; owns nothing.
 */
import type { FileHandle } from '../../base/fs.ts'
import { checkFileHeader, corrupt, crcSeed, logName, type StoreFiles } from './format.ts'
import { type Frame, firstFrame, frameHeader, readFrame } from './frame.ts'
import { hashOf } from './key-hash.ts'
import { flagDeleted, recordBytes, recordHeader } from './memtable.ts'

/** Bytes read at once. */
const pieceBytes = 256 * 1024
/** Bytes of frames, or records, checked per step. */
const bytesPerStep = 512 * 1024
const recordsPerStep = 1024
/** Flags that a record of a log may have: the key space, and that it deletes. */
const knownFlags = flagDeleted | 0x0f

/**
 * Checks the first `size` bytes of a log, which are whole frames; `before` is the number of the batch before its first.
 * Gives the number of records. Throws StoreError ERR_STORE_CORRUPT at the first damage, ERR_STORE_VERSION, or the system's error.
 */
export function* verifyLog(
  files: StoreFiles,
  number: number,
  handle: FileHandle,
  size: number,
  before: number,
): Generator<undefined, number> {
  const { store, storeId } = files
  const file = logName(number)
  const bytes = Buffer.allocUnsafeSlow(size)
  for (let at = 0; at < size; at += pieceBytes) {
    const length = Math.min(pieceBytes, size - at)
    const read = handle.readSync(bytes, at, length, at)
    if (read < length) throw corrupt(store, file, at + read, `it ends here, but ${size} bytes were written`)
    yield
  }
  checkFileHeader('log', bytes.subarray(0, firstFrame), { storeId, fileNumber: number }, { store, file })
  const seed = crcSeed(storeId, number)
  let seq = before
  let records = 0
  let since = 0
  for (let at = firstFrame; at < size; ) {
    const frame = readFrame(bytes, at, size, seed)
    if (typeof frame === 'string') throw corrupt(store, file, at, 'a batch that was written there is not readable')
    if (frame.seq !== seq + 1) throw corrupt(store, file, at + 8, `batch ${frame.seq} follows batch ${seq}`)
    yield* verifyRecords(files, file, bytes, frame)
    seq = frame.seq
    records += frame.count
    since += frame.to - at
    at = frame.to
    if (since < bytesPerStep) continue
    since = 0
    yield
  }
  return records
}

function* verifyRecords(files: StoreFiles, file: string, bytes: Buffer, frame: Frame): Generator<undefined, void> {
  const { store, hashSeed } = files
  let at = frame.from + frameHeader
  for (let i = 1; i <= frame.count; i++) {
    const keyLength = bytes.readUIntLE(at + 4, 3)
    const flags = bytes[at + 7]!
    const valueLength = bytes.readUInt32LE(at + 8)
    const keyFrom = at + recordHeader
    const end = at + recordBytes(keyLength, valueLength)
    if ((flags & ~knownFlags) !== 0 || (flags >= flagDeleted && valueLength > 0)) {
      throw corrupt(
        store,
        file,
        at + 7,
        `a record has the flags 0x${flags.toString(16)} and ${valueLength} bytes of value`,
      )
    }
    if (bytes.readInt32LE(at) !== hashOf(hashSeed, flags & 0x0f, bytes, keyFrom, keyFrom + keyLength)) {
      throw corrupt(store, file, at, 'the hash of a record is not that of its key')
    }
    for (let zero = keyFrom + keyLength + valueLength; zero < end; zero++) {
      if (bytes[zero] !== 0) throw corrupt(store, file, zero, 'a record is not padded with zeros')
    }
    at = end
    if (i % recordsPerStep === 0) yield
  }
}
