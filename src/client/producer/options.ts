/** Options of a producer: what they mean, their units, defaults and bounds. */
import type { MillraceError } from '../../base/errors.ts'
import { OptionError } from '../../base/errors.ts'
import { bool, custom, int, type OptionTable, oneOf, type Resolved, resolveOptions } from '../../base/options.ts'
import { type CompressionName, compressionNames } from '../../protocol/compression/codec.ts'
import { codecOf } from '../../protocol/compression/codecs.ts'

/** Which partition a key belongs to: a whole number from 0 below `partitions`. `key` is valid during the call only. */
export type PartitionFunction = (key: Uint8Array, partitions: number, topic: string) => number

/** Options of `client.producer(…)`. */
export interface ProducerOptions {
  /**
   * Whose word makes a record delivered: `'all'` replicas in sync, the `'leader'` alone, or `'none'` (a record counts as
   * delivered when its bytes are handed to the socket; its offset is −1). Default `'all'`.
   */
  acks?: 'all' | 'leader' | 'none'
  /** Records are written once and in order whatever is retried. Needs acks `'all'`. Default: true with acks `'all'`, else false. */
  idempotent?: boolean
  /** Codec of record batches. Default `'none'`. */
  compression?: CompressionName
  /**
   * How long an unfilled batch waits for company. Milliseconds. Default 0, 0 to 60 000. 0: what was sent in one turn of
   * the event loop leaves together, and while a partition waits for an answer its next batch gathers. `flush()` never waits.
   */
  lingerMs?: number
  /** Largest batch before compression, a batch of one record excepted. Bytes. Default 1 000 000 (below a broker's default `message.max.bytes`), 1 024 to 104 857 600. */
  maxBatchBytes?: number
  /** Largest request, and so the largest record. Bytes. Default 16 777 216, 65 536 to 1 073 741 824. Must not exceed the broker's `socket.request.max.bytes`. */
  maxRequestBytes?: number
  /** Memory of batches that are not delivered yet, above which `enqueue` and `append` return false. Bytes. Default 33 554 432 (32 MiB), 65 536 to 2^40. */
  maxBufferedBytes?: number
  /** Requests to one broker that wait for an answer at the same time. Default 5, 1 to 5 (1 to 100 when not idempotent; above 1 a retry may then change the order). */
  maxInFlight?: number
  /** Partition of a record with a key and no partition: as Java (`'murmur2'`), as goka (`'fnv1a'`), or a function. Null keys stick to a partition for a while. Default `'murmur2'`. */
  partitioner?: 'murmur2' | 'fnv1a' | PartitionFunction
  /** From `send` to the last try. Then the record fails with DeliveryTimeoutError; a request that is still unanswered is waited for. Milliseconds. Default 120 000, 100 to 86 400 000. */
  deliveryTimeoutMs?: number
  /** How long records wait for a topic that does not exist. Milliseconds. Default 10 000, 0 to 86 400 000; never above `deliveryTimeoutMs`. */
  missingTopicTimeoutMs?: number
  /** Told of failed records that were given to `enqueue`, or to `append` without an observer. What it throws is ignored. Default none. */
  onDeliveryError?: (error: MillraceError, topic: string, partition: number, count: number) => void
}

const none = (): void => {}

const table: OptionTable<ProducerOptions> = {
  acks: oneOf(['all', 'leader', 'none'], { default: 'all' }),
  idempotent: bool({ default: true }),
  compression: oneOf(compressionNames, { default: 'none' }),
  lingerMs: int({ default: 0, min: 0, max: 60_000 }),
  maxBatchBytes: int({ default: 1_000_000, min: 1_024, max: 100 * 1024 * 1024 }),
  maxRequestBytes: int({ default: 16 * 1024 * 1024, min: 65_536, max: 2 ** 30 }),
  maxBufferedBytes: int({ default: 32 * 1024 * 1024, min: 65_536, max: 2 ** 40 }),
  maxInFlight: int({ default: 5, min: 1, max: 100 }),
  partitioner: custom<'murmur2' | 'fnv1a' | PartitionFunction>({
    default: 'murmur2',
    accepts: (value) => value === 'murmur2' || value === 'fnv1a' || typeof value === 'function',
    says: "must be 'murmur2', 'fnv1a' or a function",
  }),
  deliveryTimeoutMs: int({ default: 120_000, min: 100, max: 86_400_000 }),
  missingTopicTimeoutMs: int({ default: 10_000, min: 0, max: 86_400_000 }),
  onDeliveryError: custom<NonNullable<ProducerOptions['onDeliveryError']>>({
    default: none,
    accepts: (value) => typeof value === 'function',
    says: 'must be a function',
  }),
}

export type ResolvedProducerOptions = Resolved<ProducerOptions>

/** Complete, checked options. Throws OptionError with every fault, UnsupportedCompressionError for a codec that this Node.js lacks. */
export function resolveProducerOptions(given: ProducerOptions | undefined): ResolvedProducerOptions {
  const options = resolveOptions<ProducerOptions>('Producer', table, given)
  const idempotent = given?.idempotent ?? options.acks === 'all'
  const faults: string[] = []
  if (idempotent && options.acks !== 'all') faults.push("idempotent needs acks 'all'")
  if (idempotent && options.maxInFlight > 5)
    faults.push('maxInFlight must be at most 5 when idempotent: brokers remember 5 batches')
  if (options.maxBatchBytes > options.maxRequestBytes) faults.push('maxBatchBytes must not exceed maxRequestBytes')
  if (faults.length > 0) throw new OptionError('Producer', faults)
  if (options.compression !== 'none') codecOf(options.compression).compress(Buffer.from('probe'), 0, 5)
  return Object.freeze({ ...options, idempotent })
}
