/** Points where work has to wait for the disk. Whoever runs the work decides whether to block the thread or to come back. */
import type { FileHandle, Fs } from '../../base/fs.ts'

/** A wait that can be done in two ways; exactly one of them is called, once, and `join` at most beside `wait`. Both throw the system's error. */
export interface Wait {
  /** Waits here. */
  block(): void
  wait(): Promise<void>
  /** Whether blocking would say too early that all is well, as the same file is being synced; absent: it never does. */
  isBusy?(): boolean
  /**
   * Waits here for up to so long although `wait` was called already; true: it is over, and was no failure. Absent: that
   * cannot be done, as its outcome is known only after a turn of the event loop.
   */
  join?(timeoutMs: number): boolean
}

/**
 * Work in steps: yields undefined where it may be interrupted, and a Wait that has to be done before it is resumed (the
 * error of a failed one is thrown into it). When it is returned early it undoes what it can.
 */
export type Steps<T> = Generator<Wait | undefined, T, void>

/** Waits until the data of a file is durable. */
export function syncOf(file: FileHandle): Wait {
  return { block: () => file.syncSync(), wait: () => file.sync() }
}

/** Waits until files made, renamed and removed in a directory are durably so. */
export function syncOfDirectory(fs: Fs, dir: string): Wait {
  return {
    block: () => fs.syncDirSync(dir),
    wait: async () => fs.syncDirSync(dir),
  }
}
