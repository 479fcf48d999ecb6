/** A write-ahead log on disk: the bytes of a memtable, written frame by frame. Owns the file handle and what is durable of it. */
import type { FileHandle } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { FileSync } from './file-sync.ts'
import { isTooMany, tooManyRemedy } from './handles.ts'
import { corrupt, crcSeed, encodeFileHeader, fileHeaderBytes, logName, type StoreFiles } from './format.ts'

/** The error of a write or sync that failed, naming the file. Only a full disk is worth trying again. */
export function writeError(store: string, file: string, what: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause
  const code = (cause as { code?: string }).code
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const text = `${what} of ${file} failed: the disk is full (${code}). Nothing is lost: make room, then try again`
    return new StoreError('ERR_STORE_NOSPACE', store, text, cause, { file })
  }
  if (isTooMany(cause)) {
    // Opening it failed, so nothing was written.
    const text = `${what} of ${file} failed (${code}): ${tooManyRemedy}. Nothing is lost, and it is tried again`
    return new StoreError('ERR_STORE_IO', store, text, cause, { file })
  }
  const text =
    `${what} of ${file} failed (${code ?? String(cause)}): nothing more is written, because what the disk holds is not known. ` +
    'Reads still work. Close the store and open it again: it goes on from what is durable'
  return new StoreError('ERR_STORE_POISONED', store, text, cause, { file })
}

/** The error of writing or syncing a table: only that table is given up, what it was made of is there still. */
export function tableError(store: string, cause: unknown): StoreError {
  const { code = String(cause) } = cause as { readonly code?: string }
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  const text =
    `a table could not be written (${isFull ? `the disk is full, ${code}` : isTooMany(cause) ? `${code}: ${tooManyRemedy}` : code}). Nothing is lost: what it was made of is kept, ` +
    'and it is tried again with later writes'
  return new StoreError(isFull ? 'ERR_STORE_NOSPACE' : 'ERR_STORE_IO', store, text, cause)
}

export class LogFile {
  readonly number: number
  /** First value of its frames' checksums. */
  readonly seed: number
  /** Bytes written. */
  size: number
  /** Writes and syncs so far. */
  writes = 0
  syncs = 0
  readonly #files: StoreFiles
  readonly #file: FileHandle
  readonly #sync: FileSync
  /** Whether its name in the directory is durable. */
  #isNamed: boolean

  private constructor(files: StoreFiles, number: number, file: FileHandle, size: number, durable: number) {
    this.number = number
    this.seed = crcSeed(files.storeId, number)
    this.size = size
    this.#files = files
    this.#file = file
    this.#sync = new FileSync(file, durable)
    this.#isNamed = durable > 0
  }

  get name(): string {
    return logName(this.number)
  }

  /** Bytes known to be durable. */
  get durable(): number {
    return this.#isNamed ? this.#sync.durable : 0
  }

  /** A new log with its header, if the lock is ours still. Throws StoreError; no file is left then. */
  static create(files: StoreFiles, number: number, header: Buffer): LogFile {
    const path = `${files.dir}/${logName(number)}`
    let file: FileHandle | undefined
    try {
      // Another owner's logs are numbered as ours would be, and read together.
      files.checkLock?.()
      file = files.fs.openSync(path, 'createNew')
      file.writeSync(header, 0, header.length, 0)
      return new LogFile(files, number, file, header.length, 0)
    } catch (error) {
      if (file !== undefined) discard(files, file, path)
      throw writeError(files.store, logName(number), 'making', error)
    }
  }

  /** The header that `create` writes. */
  static header(files: StoreFiles, number: number): Buffer {
    return encodeFileHeader('log', { storeId: files.storeId, fileNumber: number, createdMs: files.now() })
  }

  /**
   * Goes on writing a log that was recovered, behind its first `size` bytes; what is behind them is cut off. `isSuspect`:
   * these may be in memory only, though a sync would say that all is well, or somebody may be writing them still: they are put
   * into a new file in its place. `isClosed`: its writer has closed it and nothing depends on whether it is durable, which it is
   * after the first sync.
   */
  static resume(files: StoreFiles, number: number, size: number, isSuspect = false, isClosed = false): LogFile {
    if (isSuspect) {
      try {
        return new LogFile(files, number, remade(files, number, size), size, size)
      } catch (error) {
        throw writeError(files.store, logName(number), 'making a copy', error)
      }
    }
    const file = files.fs.openSync(`${files.dir}/${logName(number)}`, 'create')
    try {
      if (isClosed && file.sizeSync() === size) return new LogFile(files, number, file, size, 0)
      // Durably, before anything is written there: an old frame must not follow a new one. What is left may never have
      // been synced either, when its writer was killed.
      if (file.sizeSync() !== size) file.truncateSync(size)
      file.syncSync()
      return new LogFile(files, number, file, size, size)
    } catch (error) {
      closeQuietly(file)
      throw writeError(files.store, logName(number), 'cutting the end', error)
    }
  }

  /** Writes `bytes[from, to)`, which are the log's bytes at `from`. Throws StoreError; the log is as before then. */
  write(bytes: Buffer, from: number, to: number): void {
    try {
      this.#file.writeSync(bytes, from, to, from)
    } catch (cause) {
      const error = writeError(this.#files.store, this.name, 'a write', cause)
      if (error.code === 'ERR_STORE_NOSPACE') this.#cutTail()
      throw error
    }
    this.writes += 1
    this.size = to
  }

  /** Cuts off what still fitted of a write: else the next opening would tell of damage where nothing was lost. */
  #cutTail(): void {
    try {
      this.#file.truncateSync(this.size)
    } catch {
      // A reader finds a torn frame there; the next write begins at the same place.
    }
  }

  /** Makes everything written so far durable. Throws StoreError. */
  syncSync(): void {
    try {
      this.#sync.upToSync(this.size)
      this.#syncName()
    } catch (error) {
      throw syncError(this.#files.store, this.name, error)
    }
    this.syncs += 1
  }

  /** The same without blocking. */
  async sync(): Promise<void> {
    try {
      await this.#sync.upTo(this.size)
      this.#syncName()
    } catch (error) {
      if (isTooMany(error)) throw laterError(this.#files.store, this.name, error)
      throw syncError(this.#files.store, this.name, error)
    }
    this.syncs += 1
  }

  #syncName(): void {
    if (this.#isNamed) return
    this.#files.fs.syncDirSync(this.#files.dir)
    this.#isNamed = true
  }

  close(): void {
    this.#sync.close()
  }

  get path(): string {
    return `${this.#files.dir}/${this.name}`
  }
}

/** What was to be synced could not even be opened: that is no failed sync, and may be tried again. */
export function laterError(store: string, file: string, cause: unknown): StoreError {
  const { code } = cause as { readonly code?: string }
  const text = `${file} is not durable yet (${code}): ${tooManyRemedy}. Nothing is lost, and it is tried again`
  return new StoreError('ERR_STORE_IO', store, text, cause, { file })
}

/** A sync that failed is never tried again: the system may have dropped the pages and say that all is well next time. */
export function syncError(store: string, file: string, cause: unknown): StoreError {
  const code = (cause as { code?: string }).code
  const text =
    `${file} could not be made durable (${code ?? String(cause)}): nothing more is written. ` +
    'Reads still work. Close the store and open it again: it goes on from what is durable'
  return new StoreError('ERR_STORE_POISONED', store, text, cause, { file })
}

/** The first `size` bytes of a log in another file, which takes its place, durably. Throws the system's error. */
function remade(files: StoreFiles, number: number, size: number): FileHandle {
  const { fs, dir } = files
  const path = `${dir}/${logName(number)}`
  const bytes = Buffer.allocUnsafeSlow(size)
  const old = fs.openSync(path, 'read')
  try {
    const got = old.readSync(bytes, 0, size, 0)
    if (got < size) throw corrupt(files.store, logName(number), got, `it ends there, but had ${size} bytes just now`)
  } finally {
    old.closeSync()
  }
  const temporary = `${path}.tmp`
  const file = fs.openSync(temporary, 'create')
  try {
    file.truncateSync(0)
    file.writeSync(bytes, 0, size, 0)
    file.syncSync()
    fs.renameSync(temporary, path)
    fs.syncDirSync(dir)
    return file
  } catch (error) {
    discard(files, file, temporary)
    throw error
  }
}

/** A file that came to nothing. If it stays, it holds no batch, and the next opening removes it. */
function discard(files: StoreFiles, file: FileHandle, path: string): void {
  closeQuietly(file)
  try {
    files.fs.removeSync(path)
  } catch {
    // See above.
  }
}

function closeQuietly(file: FileHandle): void {
  try {
    file.closeSync()
  } catch {
    // Another error is on its way.
  }
}

/** Bytes before the first frame. */
export const logHeaderBytes = fileHeaderBytes
