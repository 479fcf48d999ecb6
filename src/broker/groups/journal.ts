/**
 * Journal: how group records get into the partitions of `__consumer_offsets`, and out again.
 * Owns   nothing but scratch buffers; the partitions own their logs. A log that has grown to several times what is alive
 *        is rewritten: the live records are appended once more and everything before them is dropped.
 */
import { BufferPool } from '../../base/buffer-pool.ts'
import { BatchBuilder } from '../../protocol/record-batch.ts'
import { BatchView, RecordCursor } from '../../protocol/record-view.ts'
import type { Partition } from '../partition.ts'
import { decodeRecord, encodeKey, encodeValue, type GroupRecord } from './records.ts'

const batchBytes = 512 * 1024
const rewriteMinBytes = 2 * 1024 * 1024
const rewriteFactor = 4

export class Journal {
  readonly #pool = new BufferPool()
  readonly #onAppended: (partition: Partition, bytes: number) => void
  /** Size of a log above which it is rewritten. */
  readonly #rewriteAt = new Map<number, number>()

  constructor(onAppended: (partition: Partition, bytes: number) => void) {
    this.#onAppended = onAppended
  }

  append(partition: Partition, records: Iterable<GroupRecord>, now: number): void {
    let builder = new BatchBuilder(this.#pool, batchBytes)
    for (const record of records) {
      const key = encodeKey(record)
      const value = encodeValue(record)
      if (builder.append(now, key, value)) continue
      this.#write(partition, builder, now)
      builder = new BatchBuilder(this.#pool, batchBytes)
      builder.append(now, key, value)
    }
    this.#write(partition, builder, now)
  }

  #write(partition: Partition, builder: BatchBuilder, now: number): void {
    if (builder.count > 0) {
      const batch = builder.close({ compression: 'none', producerId: -1, producerEpoch: -1, baseSequence: -1 })
      partition.appendInternal(batch, builder.count, now)
      this.#onAppended(partition, batch.length)
    }
    builder.release()
  }

  /** Rewrites the log from `live` when that is worth it. */
  maybeRewrite(partition: Partition, live: () => Iterable<GroupRecord>, now: number): void {
    const { log } = partition
    if (log.byteLength < (this.#rewriteAt.get(partition.index) ?? rewriteMinBytes)) return
    const from = log.nextOffset
    log.seal(now)
    this.append(partition, live(), now)
    log.dropBefore(from)
    this.#rewriteAt.set(partition.index, Math.max(rewriteMinBytes, log.byteLength * rewriteFactor))
  }

  /** Every record of a partition's log, oldest first. */
  *read(partition: Partition): IterableIterator<GroupRecord> {
    const view = new BatchView()
    const cursor = new RecordCursor()
    for (const batch of partition.log.batches()) {
      view.set(batch, 0, batch.length)
      cursor.reset(view)
      while (cursor.next()) {
        const key = cursor.key()
        const record = key === null ? undefined : decodeRecord(key, cursor.value())
        if (record !== undefined) yield record
      }
    }
  }
}
