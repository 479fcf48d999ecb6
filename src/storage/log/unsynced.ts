/**
 * UNSYNCED.tmp: what an owner says to the next one. It is there when not all of the store may be durable; with something in
 * it when a sync has failed: then a later sync says that all is well although nothing was written, because the system has
 * dropped what it should have written, and everything is to be made anew. Likewise when an owner that may be alive lost the
 * lock, and has its files open. It need not be durable itself: after a power loss only what is durable is left. Stateless.
 */
import type { Fs } from '../../base/fs.ts'
import { unsyncedName } from './format.ts'
import { hasCode, readSmallFile } from './small-file.ts'

/** Any bytes would do; these are for people. */
const suspectText = Buffer.from('all files are to be made anew\n')

/** Makes the file, or adds to it that everything is to be made anew. Throws the system's error. */
export function markUnsynced(fs: Fs, dir: string, isSuspect: boolean): void {
  const file = fs.openSync(`${dir}/${unsyncedName}`, 'create')
  try {
    if (isSuspect) file.writeSync(suspectText, 0, suspectText.length, 0)
  } finally {
    file.closeSync()
  }
}

/** Whether an owner has said that everything is to be made anew. Throws the system's error. */
export function isMarkedSuspect(fs: Fs, dir: string): boolean {
  try {
    return (readSmallFile(fs, `${dir}/${unsyncedName}`, 1)?.length ?? 0) > 0
  } catch (error) {
    // That is none of ours.
    if (hasCode(error, 'EISDIR')) return false
    throw error
  }
}
