/** Which partition a key belongs to: the two rules of the field, over key bytes. */
import { fnv1a, fnv1aPartition } from '../protocol/hash/fnv1a.ts'
import { murmur2, murmur2Partition } from '../protocol/hash/murmur2.ts'

/** `murmur2`: Java's default, what most producers use. `fnv1a`: goka's default, to share topics with goka. */
export type PartitionerName = 'murmur2' | 'fnv1a'

/** The partition of the key `bytes[from, to)` among `count`. */
export type KeyPartitioner = (bytes: Buffer, from: number, to: number, count: number) => number

const partitioners: Readonly<Record<PartitionerName, KeyPartitioner>> = {
  murmur2: (bytes, from, to, count) => murmur2Partition(murmur2(bytes, from, to), count),
  fnv1a: (bytes, from, to, count) => fnv1aPartition(fnv1a(bytes, from, to), count),
}

export function keyPartitioner(name: PartitionerName): KeyPartitioner {
  return partitioners[name]
}
