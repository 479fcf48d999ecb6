/**
 * The hash of keys inside a store: murmur3's 32-bit mixing, seeded per store so that nobody outside can choose keys that
 * collide. Logs and tables on disk hold it (docs/storage-format.md), so it never changes; Kafka's partitioning hashes are
 * protocol/hash.
 */

/** Signed 32-bit hash of `bytes[from, to)`. */
export function hashKey(bytes: Buffer, from: number, to: number, seed: number): number {
  let h = seed ^ (to - from)
  let at = from
  for (const end = to - 3; at < end; at += 4) {
    let k = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    k = Math.imul(k, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  if (at < to) {
    let k = bytes[at]!
    if (at + 1 < to) k |= bytes[at + 1]! << 8
    if (at + 2 < to) k |= bytes[at + 2]! << 16
    k = Math.imul(k, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
  }
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}
