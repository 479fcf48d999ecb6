/**
 * Partitioner: a key's partition. Stateless functions; the sticky choice for null keys lives in TopicRoute. Hashes see
 * bytes: string keys are written to the producer's scratch buffer first.
 */
import { fnv1a, fnv1aPartition } from '../../protocol/hash/fnv1a.ts'
import { murmur2, murmur2Partition } from '../../protocol/hash/murmur2.ts'
import { RecordError } from './errors.ts'
import type { PartitionFunction } from './options.ts'

/** Chooses from `bytes[from, to)`. */
export type SpanPartitioner = (bytes: Uint8Array, from: number, to: number, partitions: number, topic: string) => number

/** The function for an option value. */
export function partitionerOf(option: 'murmur2' | 'fnv1a' | PartitionFunction): SpanPartitioner {
  if (option === 'murmur2')
    return (bytes, from, to, partitions) => murmur2Partition(murmur2(bytes, from, to), partitions)
  if (option === 'fnv1a') return (bytes, from, to, partitions) => fnv1aPartition(fnv1a(bytes, from, to), partitions)
  return (bytes, from, to, partitions, topic) => {
    const partition = option(bytes.subarray(from, to), partitions, topic)
    if (Number.isInteger(partition) && partition >= 0 && partition < partitions) return partition
    throw new RecordError(
      `the partitioner chose ${String(partition)} for ${topic}, which has partitions 0 to ${partitions - 1}: it must return a whole number in that range`,
    )
  }
}

/** Keys up to this length are written to the scratch buffer by a loop. */
const loopLength = 32

/** Writes a string key to the start of `scratch`; returns its length in bytes, or -1 when it does not fit. */
export function writeKey(key: string, scratch: Buffer): number {
  const length = key.length
  if (length <= loopLength) {
    let at = 0
    for (; at < length; at++) {
      const code = key.charCodeAt(at)
      if (code > 0x7f) break
      scratch[at] = code
    }
    if (at === length) return length
  }
  if (length * 3 > scratch.length) return -1
  return scratch.write(key, 0)
}
