/**
 * FNV-1a 32 bit, the hash by which goka chooses partitions. With it, tables and emits are interoperable with goka.
 */

/** FNV-1a of `bytes[from, to)`, as a signed 32-bit number. */
export function fnv1a(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5 | 0
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
  return hash
}

/**
 * The partition of an FNV-1a hash among `partitions`: the absolute value of the signed remainder, which is goka's
 * producer formula. Remainder first: the hash −2³¹ has no positive counterpart in 32 bits.
 */
export function fnv1aPartition(hash: number, partitions: number): number {
  return Math.abs(hash % partitions)
}
