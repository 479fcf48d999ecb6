/** Reading a file of a few bytes at once, and the codes of the system's errors. Stateless. */
import type { Fs } from '../../base/fs.ts'

/** Whether `error` is the system's error `code` (ENOENT, EEXIST, …). */
export function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && (error as { readonly code?: unknown }).code === code
}

/**
 * The first `limit` bytes of a file at most; undefined when there is no such file. Does not ask for the size first: files
 * of /proc say 0. Throws the system's error otherwise.
 */
export function readSmallFile(fs: Fs, path: string, limit: number): Buffer | undefined {
  let file: ReturnType<Fs['openSync']>
  try {
    file = fs.openSync(path, 'read')
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
  try {
    const bytes = Buffer.alloc(limit)
    return bytes.subarray(0, file.readSync(bytes, 0, limit, 0))
  } finally {
    file.closeSync()
  }
}
