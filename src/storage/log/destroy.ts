/**
 * Removing a store with all its files. The directory is renamed to `<partition>.gone` first, durably, so that a removal that
 * is broken off never leaves half a store that looks like a whole one: opening removes what is left (aside.ts). Stateless.
 */
import type { Fs } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { parseFileName } from './format.ts'
import type { StoreLock } from './lock.ts'
import { hasCode } from './small-file.ts'

/** Names of files in a message. */
const namedFiles = 5

export interface DestroySettings {
  readonly fs: Fs
  readonly dir: string
  readonly store: string
  /** Takes the lock of the store. Throws StoreError. */
  lock(): StoreLock
  /** Removes what an earlier removal left. Throws the system's error. */
  sweep(): void
}

/**
 * Removes the store in `dir`, durably; there may be none. Throws StoreError `ERR_STORE_LOCKED` when it is open,
 * `ERR_STORE_IO` when there are other files in the directory, which it names; nothing has changed then. Or the system's error.
 */
export function destroyStore({ fs, dir, store, lock: take, sweep }: DestroySettings): void {
  sweep()
  if (!fs.existsSync(dir)) return
  checkOwn(fs, dir, store)
  const lock = take()
  const parent = dir.slice(0, dir.lastIndexOf('/'))
  try {
    checkOwn(fs, dir, store)
    fs.renameSync(dir, `${dir}.gone`)
    fs.syncDirSync(parent)
  } finally {
    // It has moved with the directory, or is removed where it is.
    lock.release()
  }
  try {
    sweep()
  } catch (error) {
    // Somebody who opens a new store there removes it, too.
    if (!hasCode(error, 'ENOENT')) throw error
  }
  fs.syncDirSync(parent)
}

/** Throws StoreError when there is anything that no store has made. */
function checkOwn(fs: Fs, dir: string, store: string): void {
  const others = fs.readdirSync(dir).filter((name) => parseFileName(name).kind === 'other')
  if (others.length === 0) return
  const more = others.length > namedFiles ? ` and ${others.length - namedFiles} more` : ''
  const text =
    `${dir} is not removed, because there are files in it that are none of a store: ` +
    `${others.slice(0, namedFiles).join(', ')}${more}. Move them away first`
  throw new StoreError('ERR_STORE_IO', store, text, undefined, { file: others[0]! })
}
