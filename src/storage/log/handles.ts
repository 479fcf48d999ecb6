/**
 * How many tables an engine has open at a time: the file that was not used for longest is closed when there are too many,
 * and opened again when it is read next. Logs and manifests, two or three for each store, are always open and do not count.
 * Owns the count and the order; a file belongs to its table.
 */
import type { FileHandle, Fs } from '../../base/fs.ts'
import { hasCode } from './small-file.ts'

/** A table's file, as the count sees it. */
export interface HandleUser {
  /** When it was used, by the clock of FileHandles. */
  lastUse: number
  /** A read is under way that needs the file to be open. */
  readonly isBusy: boolean
  /** Closes the file until it is read again. Must not throw. */
  closeHandle(): void
}

/** Whether the system says that the process, or the machine, has too many files open. */
export function isTooMany(error: unknown): boolean {
  return hasCode(error, 'EMFILE') || hasCode(error, 'ENFILE')
}

/** What to do then. */
export const tooManyRemedy =
  'too many files are open: raise the limit of the process (`ulimit -n`), or lower `maxOpenFiles` or the number of stores'

/** Tables closed for the sake of one file: others take the room that they make if these are not enough. */
const maxClosed = 8

export class FileHandles {
  /** Files open at a time, unless more are being read. */
  readonly limit: number
  readonly #open = new Set<HandleUser>()
  #clock = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** Files that are open. */
  get count(): number {
    return this.#open.size
  }

  /** A later time than all before. */
  tick(): number {
    this.#clock += 1
    return this.#clock
  }

  /** A file was opened. Others are closed if it is one too many. */
  opened(user: HandleUser): void {
    user.lastUse = this.tick()
    this.#open.add(user)
    while (this.#open.size > this.limit && this.#closeOldest(user));
  }

  /** A read that could not be interrupted has ended: closes what it was too many for. */
  trim(): void {
    while (this.#open.size > this.limit && this.#closeOldest(undefined));
  }

  /** A file was closed. */
  closed(user: HandleUser): void {
    this.#open.delete(user)
  }

  /** Closes the file that was not used for longest; false when there is none that can be. */
  makeRoom(): boolean {
    return this.#closeOldest(undefined)
  }

  #closeOldest(not: HandleUser | undefined): boolean {
    let oldest: HandleUser | undefined
    for (const user of this.#open) {
      if (user === not || user.isBusy) continue
      if (oldest === undefined || user.lastUse < oldest.lastUse) oldest = user
    }
    if (oldest === undefined) return false
    oldest.closeHandle()
    return true
  }
}

/** A file system that closes tables when it has too many files open, and tries again. */
export class RoomyFs implements Fs {
  readonly #fs: Fs
  readonly #handles: FileHandles

  constructor(fs: Fs, handles: FileHandles) {
    this.#fs = fs
    this.#handles = handles
  }

  openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle {
    return this.#withRoom(() => this.#fs.openSync(path, mode))
  }

  existsSync(path: string): boolean {
    return this.#fs.existsSync(path)
  }

  mkdirSync(path: string): void {
    this.#fs.mkdirSync(path)
  }

  readdirSync(path: string): string[] {
    return this.#withRoom(() => this.#fs.readdirSync(path))
  }

  renameSync(from: string, to: string): void {
    this.#fs.renameSync(from, to)
  }

  removeSync(path: string): void {
    this.#fs.removeSync(path)
  }

  remove(path: string): Promise<void> {
    return this.#fs.remove(path)
  }

  syncDirSync(path: string): void {
    this.#withRoom(() => this.#fs.syncDirSync(path))
  }

  #withRoom<T>(open: () => T): T {
    for (let left = maxClosed; ; left--) {
      try {
        return open()
      } catch (error) {
        if (!isTooMany(error) || left === 0 || !this.#handles.makeRoom()) throw error
      }
    }
  }
}
