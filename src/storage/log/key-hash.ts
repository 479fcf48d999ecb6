/** The hash of an entry's key in its space: what memtables and tables find entries by. The seed is the store's. */
import { hashKey } from '../hash.ts'

/** Signed 32-bit hash of `key[from, to)` in `space`. */
export function hashOf(seed: number, space: number, key: Buffer, from: number, to: number): number {
  return hashKey(key, from, to, seed + Math.imul(space, 0x3c6ef372))
}
