/**
 * The manifest: the log of a store's states. After the file header come frames
 *   0 length of the payload u32 | 4 crc u32 | 8 payload: a ManifestState in JSON | zeros to a multiple of 8
 * each with the whole state; the last complete frame counts. The checksum covers the place of the frame in the file, its
 * length, payload and padding, so that a frame is valid nowhere else. A torn frame at the end is an edit that never
 * happened; damage with a valid frame behind it is an error. A Manifest owns its open file; the store that has the lock owns the Manifest.
 */
import { crc32 } from 'node:zlib'
import { AssertionError, assert } from '../../base/assert.ts'
import type { FileHandle } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { type ManifestFiles, readCurrent, writeCurrent } from './current.ts'
import {
  align8,
  checkFileHeader,
  corrupt,
  crcSeed,
  currentName,
  encodeFileHeader,
  fileHeaderBytes,
  manifestName,
  parseFileName,
  writeU64,
} from './format.ts'
import { FileSync } from './file-sync.ts'
import { faultOf, type ManifestState } from './manifest-state.ts'
import { hasCode } from './small-file.ts'
import type { Wait } from './wait.ts'

const frameHeaderBytes = 8
/** No manifest gets near it, as it is rewritten when it grows; a longer one is not read into memory. */
const maxBytes = 2 ** 28

/** A manifest that was read. */
export interface OpenedManifest {
  readonly manifest: Manifest
  /** The state of the last complete frame. */
  readonly state: ManifestState
  /** Bytes of a torn frame at the end; `dropTail` or the next append cuts them off. 0 after an orderly end. */
  readonly droppedBytes: number
}

/** The manifest that counts, as somebody sees it who only looks. */
export interface SeenManifest {
  /** The number in its name. */
  readonly fileNumber: number
  readonly createdMs: number
  /** Bytes that count, and those of a torn frame behind them. */
  readonly byteLength: number
  readonly tornBytes: number
  /** Complete frames. */
  readonly states: number
  /** The last of them. */
  readonly state: ManifestState
}

/**
 * Reads the manifest that CURRENT names and changes nothing; somebody else may be writing it. Undefined when there is no
 * CURRENT. Throws as `Manifest.open`.
 */
export function seeManifest(files: ManifestFiles): SeenManifest | undefined {
  const fileNumber = readCurrent(files)
  if (fileNumber === undefined) return undefined
  const name = manifestName(fileNumber)
  let file: FileHandle | undefined
  try {
    file = files.fs.openSync(`${files.dir}/${name}`, 'read')
    const { state, end, size, createdMs, states } = readManifest(files, file, fileNumber)
    return { fileNumber, createdMs, byteLength: end, tornBytes: size - end, states, state }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) throw missing(files, name)
    if (hasCode(error, 'EISDIR')) throw corrupt(files.store, name, 0, 'it is a directory', error)
    throw error
  } finally {
    file?.closeSync()
  }
}

/** The manifest that counts, open for appending. */
export class Manifest {
  /** The number in its name. */
  readonly fileNumber: number
  readonly #file: FileHandle
  readonly #sync: FileSync
  readonly #files: ManifestFiles
  readonly #seed: number
  #byteLength: number
  /** Whether its name and that CURRENT names it are durable. */
  #isNamed: boolean
  /** A write failed half-way: bytes may lie behind `#byteLength`. */
  #tornTail = false
  #isClosed = false
  /** Why it is unknown whether this manifest still counts. */
  #broken: unknown

  /** `durable`: how much of it is; 0: that is not known, nor whether its name is. */
  private constructor(
    files: ManifestFiles,
    fileNumber: number,
    file: FileHandle,
    seed: number,
    byteLength: number,
    durable: number,
  ) {
    this.#files = files
    this.fileNumber = fileNumber
    this.#file = file
    this.#sync = new FileSync(file, durable)
    this.#isNamed = durable > 0
    this.#seed = seed
    this.#byteLength = byteLength
  }

  /** Bytes of the file that count: header and complete frames. */
  get byteLength(): number {
    return this.#byteLength
  }

  /** Of those, what is known to be durable. */
  get durableLength(): number {
    return this.#isNamed ? this.#sync.durable : 0
  }

  /** For waiting until what was appended is durable. */
  get synced(): Wait {
    const size = this.#byteLength
    return {
      block: () => {
        this.#sync.upToSync(size)
        this.#syncName()
      },
      wait: async () => {
        await this.#sync.upTo(size)
        this.#syncName()
      },
      isBusy: () => this.#sync.isRunning,
    }
  }

  /**
   * Writes a manifest with one state and makes it the one that counts; both are durable on return. In a new directory it
   * is the first file to be made: logs and tables without CURRENT are taken for a damaged store. A file of this name that
   * somebody left who died while making it is written over. Throws the system's error, or StoreError when the lock was lost.
   */
  static create(files: ManifestFiles, fileNumber: number, state: ManifestState): Manifest {
    const { fs, dir } = files
    const path = `${dir}/${manifestName(fileNumber)}`
    const storeId = Buffer.from(state.storeId, 'hex')
    const seed = crcSeed(storeId, fileNumber)
    const frame = encodeFrame(state, fileHeaderBytes, seed)
    const createdMs = Math.max(0, Math.floor(files.now()))
    const bytes = Buffer.concat([encodeFileHeader('manifest', { storeId, fileNumber, createdMs }), frame])
    assert(readCurrent(files) !== fileNumber, 'a manifest is made under the number of the one that counts')
    files.checkLock?.()
    const file = fs.openSync(path, 'create')
    try {
      file.truncateSync(0)
      file.writeSync(bytes, 0, bytes.length, 0)
      file.syncSync()
      writeCurrent(files, fileNumber)
      return new Manifest(files, fileNumber, file, seed, bytes.length, bytes.length)
    } catch (error) {
      closeQuietly(file)
      if (!mayCount(files, fileNumber)) removeQuietly(files, path)
      throw error
    }
  }

  /**
   * Opens the manifest that CURRENT names; undefined when the directory has no store yet (it is empty, or somebody died
   * while making one). What the last owner wrote may not have reached the disk when it died: before files that it no longer
   * names are removed, wait for `synced`. Throws StoreError ERR_STORE_CORRUPT or ERR_STORE_VERSION, or the system's error.
   */
  static open(files: ManifestFiles): OpenedManifest | undefined {
    const { fs, dir } = files
    const fileNumber = readCurrent(files)
    if (fileNumber === undefined) {
      checkNew(files)
      return undefined
    }
    const name = manifestName(fileNumber)
    if (!fs.existsSync(`${dir}/${name}`)) throw missing(files, name)
    const file = openExisting(files, name)
    try {
      const { state, seed, end, size } = readManifest(files, file, fileNumber)
      const manifest = new Manifest(files, fileNumber, file, seed, end, 0)
      manifest.#tornTail = end < size
      return { manifest, state, droppedBytes: size - end }
    } catch (error) {
      closeQuietly(file)
      throw error
    }
  }

  /**
   * Writes a state behind the others; it counts after the next kill, and after waiting for `synced` also after a power loss.
   * Throws the system's error, and then nothing was appended and it may be tried again; StoreError ERR_STORE_POISONED
   * after a failed `rewrite`.
   */
  append(state: ManifestState): void {
    this.#checkWhole()
    const frame = encodeFrame(state, this.#byteLength, this.#seed)
    if (this.#tornTail) this.#cutTail()
    try {
      this.#tornTail = true
      this.#file.writeSync(frame, 0, frame.length, this.#byteLength)
      this.#tornTail = false
      this.#byteLength += frame.length
    } catch (error) {
      try {
        this.#cutTail()
      } catch {
        // Tried again before the next append; until then a reader finds a torn frame.
      }
      throw error
    }
  }

  /**
   * Cuts off the torn frame that was found at the end, durably. Only when the store is known to open without it: whoever
   * mends one that does not may need it. Throws the system's error.
   */
  dropTail(): void {
    if (!this.#tornTail) return
    this.#cutTail()
    this.#file.syncSync()
  }

  /**
   * Puts `state` into a new manifest that counts from then on, and closes and removes this one; durable on return. For a
   * manifest that has grown long. `fileNumber` is below `state.nextFile`. Throws the system's error: this manifest then
   * counts as before, unless it cannot be known; then every later use throws StoreError ERR_STORE_POISONED.
   */
  rewrite(state: ManifestState, fileNumber: number): Manifest {
    this.#checkWhole()
    let next: Manifest
    try {
      next = Manifest.create(this.#files, fileNumber, state)
    } catch (error) {
      if (mayCount(this.#files, fileNumber)) this.#broken = error
      throw error
    }
    closeQuietly(this.#sync)
    removeQuietly(this.#files, `${this.#files.dir}/${manifestName(this.fileNumber)}`)
    return next
  }

  /** Closes the file; what was not synced may be lost with the power. */
  close(): void {
    this.#isClosed = true
    this.#sync.close()
  }

  #syncName(): void {
    if (this.#isNamed || this.#isClosed) return
    this.#files.fs.syncDirSync(this.#files.dir)
    this.#isNamed = true
  }

  #cutTail(): void {
    this.#file.truncateSync(this.#byteLength)
    this.#tornTail = false
  }

  #checkWhole(): void {
    if (this.#broken === undefined) return
    const text = `an earlier change of ${currentName} failed half-way, so nothing more may be written. Open the store again`
    throw new StoreError('ERR_STORE_POISONED', this.#files.store, text, this.#broken, { file: currentName })
  }
}

/** One frame for byte `at` of a file. */
function encodeFrame(state: ManifestState, at: number, seed: number): Buffer {
  const fault = faultOf(state)
  if (fault !== undefined) throw new AssertionError(`millrace bug: a manifest state that cannot be: ${fault}`)
  const payload = Buffer.from(JSON.stringify(state))
  const frame = Buffer.alloc(align8(frameHeaderBytes + payload.length))
  frame.writeUInt32LE(payload.length, 0)
  payload.copy(frame, frameHeaderBytes)
  frame.writeUInt32LE(checkOf(frame, 0, frame.length, at, seed), 4)
  return frame
}

/** The checksum of the frame in `bytes[from, to)` whose place in its file is `at`. */
function checkOf(bytes: Buffer, from: number, to: number, at: number, seed: number): number {
  const head = Buffer.alloc(12)
  writeU64(head, at, 0)
  bytes.copy(head, 8, from, from + 4)
  return crc32(bytes.subarray(from + frameHeaderBytes, to), crc32(head, seed))
}

/** The end of the frame at `at`, or −1 when there is no complete one. */
function frameEnd(bytes: Buffer, at: number, seed: number): number {
  if (at + frameHeaderBytes > bytes.length) return -1
  const end = at + align8(frameHeaderBytes + bytes.readUInt32LE(at))
  if (end > bytes.length) return -1
  return bytes.readUInt32LE(at + 4) === checkOf(bytes, at, end, at, seed) ? end : -1
}

interface ReadManifest {
  readonly state: ManifestState
  /** Complete frames. */
  readonly states: number
  readonly createdMs: number
  readonly seed: number
  /** Behind the last complete frame. */
  readonly end: number
  readonly size: number
}

function readManifest(files: ManifestFiles, file: FileHandle, fileNumber: number): ReadManifest {
  const { store } = files
  const name = manifestName(fileNumber)
  const size = file.sizeSync()
  if (size > maxBytes) throw corrupt(store, name, maxBytes, `it has ${size} bytes, more than a manifest ever gets`)
  const bytes = Buffer.alloc(size)
  const got = file.readSync(bytes, 0, size, 0)
  if (got !== size) throw corrupt(store, name, got, `it ends there, but should have ${size} bytes`)
  const header = bytes.subarray(0, fileHeaderBytes)
  const { storeId, createdMs } = checkFileHeader('manifest', header, { fileNumber }, { store, file: name })
  const seed = crcSeed(storeId, fileNumber)
  let last = 0
  let states = 0
  let end = fileHeaderBytes
  for (let next = frameEnd(bytes, end, seed); next > 0; next = frameEnd(bytes, end, seed)) {
    last = end
    end = next
    states += 1
  }
  for (let at = end + 8; at < size; at += 8) {
    if (frameEnd(bytes, at, seed) < 0) continue
    throw corrupt(store, name, end, `a state there is unreadable, although another one follows at byte ${at}`)
  }
  if (last === 0) throw corrupt(store, name, end, 'it holds no complete state')
  return { state: parseState(files, name, bytes, last, storeId), states, createdMs, seed, end, size }
}

/** The state in the frame at `at`. */
function parseState(files: ManifestFiles, name: string, bytes: Buffer, at: number, storeId: Buffer): ManifestState {
  const from = at + frameHeaderBytes
  let state: unknown
  try {
    state = JSON.parse(bytes.toString('utf8', from, from + bytes.readUInt32LE(at)))
  } catch (error) {
    throw corrupt(files.store, name, from, 'its state is no JSON', error)
  }
  const fault = faultOf(state)
  if (fault !== undefined) throw corrupt(files.store, name, from, `its state is impossible: ${fault}`)
  const checked = state as ManifestState
  if (checked.storeId !== storeId.toString('hex')) {
    throw corrupt(files.store, name, from, 'its state is that of another store')
  }
  return checked
}

function missing({ store }: ManifestFiles, name: string): StoreError {
  return corrupt(store, name, 0, `it is missing, but ${currentName} names it`)
}

function openExisting(files: ManifestFiles, name: string): FileHandle {
  try {
    return files.fs.openSync(`${files.dir}/${name}`, 'create')
  } catch (error) {
    if (hasCode(error, 'EISDIR')) throw corrupt(files.store, name, 0, 'it is a directory', error)
    throw error
  }
}

/**
 * Without CURRENT: throws StoreError ERR_STORE_CORRUPT unless the files there can be those of somebody who died while
 * making the store, before anything was put into it.
 */
function checkNew(files: ManifestFiles): void {
  const { fs, dir, store } = files
  for (const name of fs.readdirSync(dir)) {
    const { kind, number } = parseFileName(name)
    const inUse = kind === 'log' || kind === 'table' || (kind === 'manifest' && hasContent(files, number))
    if (inUse) throw corrupt(store, currentName, 0, `it is missing, although ${name} is there`)
  }
}

/** Whether a manifest says that there is something in the store. One that cannot be read was never completed. */
function hasContent(files: ManifestFiles, fileNumber: number): boolean {
  const file = openExisting(files, manifestName(fileNumber))
  try {
    const { state } = readManifest(files, file, fileNumber)
    return state.checkpoint !== null || state.flushedSeq > 0 || state.upper.length > 0 || state.last.length > 0
  } catch (error) {
    if (error instanceof StoreError && error.code === 'ERR_STORE_CORRUPT') return false
    throw error
  } finally {
    closeQuietly(file)
  }
}

/** Whether CURRENT names manifest `fileNumber`, or cannot be read. */
function mayCount(files: ManifestFiles, fileNumber: number): boolean {
  try {
    return readCurrent(files) === fileNumber
  } catch {
    return true
  }
}

function closeQuietly(file: FileHandle | FileSync): void {
  try {
    if (file instanceof FileSync) file.close()
    else file.closeSync()
  } catch {
    // Another error is on its way, or the file does not count any more.
  }
}

/** Removes a manifest that does not count; if it stays, whoever opens the store next removes it. */
function removeQuietly(files: ManifestFiles, path: string): void {
  try {
    files.fs.removeSync(path)
  } catch {
    // See above.
  }
}
