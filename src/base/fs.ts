/**
 * The file-system seam: what the storage engine and the broker's logs need of a disk, so that tests can hand in one that
 * is full, tears writes, or loses what was not synced. The real one is storage/node-fs.ts.
 */

/** An open file. Positions are bytes from the start. */
export interface FileHandle {
  /** Reads up to `length` bytes at `position` into `target` at `offset`; returns how many (0 at the end). */
  readSync(target: Buffer, offset: number, length: number, position: number): number
  read(target: Buffer, offset: number, length: number, position: number): Promise<number>
  /** Writes all of `source[from, to)` at `position`. Throws the system's error (ENOSPC, EIO) otherwise. */
  writeSync(source: Buffer, from: number, to: number, position: number): void
  write(source: Buffer, from: number, to: number, position: number): Promise<void>
  /** Makes data and size durable (fdatasync). */
  syncSync(): void
  sync(): Promise<void>
  truncateSync(size: number): void
  sizeSync(): number
  closeSync(): void
}

/** A file system. Paths are absolute or relative to the process; errors carry the system's `code`. */
export interface Fs {
  /** `create`: read and write, made if missing; `createNew`: fails if it exists; `read`: fails if missing. */
  openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle
  existsSync(path: string): boolean
  mkdirSync(path: string): void
  readdirSync(path: string): string[]
  renameSync(from: string, to: string): void
  /** Removes a file, or a directory with all that is in it. */
  removeSync(path: string): void
  /** Removes a file without blocking. */
  remove(path: string): Promise<void>
  /** Makes renames and removals inside a directory durable. */
  syncDirSync(path: string): void
}
