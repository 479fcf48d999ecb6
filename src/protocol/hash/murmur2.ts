/**
 * MurmurHash2 as Kafka's Java client uses it: the default way from a key to a partition.
 */

const SEED = 0x9747b28c
const M = 0x5bd1e995

/** MurmurHash2 of `bytes[from, to)` with Kafka's seed, as a signed 32-bit number. */
export function murmur2(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from
  const wordsTo = from + (length & ~3)
  let hash = SEED ^ length
  for (let at = from; at < wordsTo; at += 4) {
    let k = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    hash = Math.imul(hash, M) ^ Math.imul(k, M)
  }
  const rest = length & 3
  if (rest === 3) hash ^= bytes[wordsTo + 2]! << 16
  if (rest >= 2) hash ^= bytes[wordsTo + 1]! << 8
  if (rest >= 1) hash = Math.imul(hash ^ bytes[wordsTo]!, M)
  hash ^= hash >>> 13
  hash = Math.imul(hash, M)
  return hash ^ (hash >>> 15)
}

/** The partition of a murmur2 hash among `partitions`: the sign bit is cleared, as Java's `toPositive` does. */
export function murmur2Partition(hash: number, partitions: number): number {
  return (hash & 0x7fffffff) % partitions
}
