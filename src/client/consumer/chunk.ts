/**
 * Chunk: what one fetch answer brought for one partition, from the position on. Owns views of the answer's bytes; made
 * when the answer arrives (batch headers only), opened when it is taken (checksums, transactions), decompressed batch by
 * batch while it is read. Bytes are never copied, except for a partition that stays paused (see `detach`).
 */
import { BatchScanner, type BatchView, RecordCursor } from '../../protocol/record-view.ts'
import { type AbortedTransaction, openBatches } from './committed.ts'
import { CorruptRecordsError, PartitionError } from './errors.ts'
import type { TopicPartition } from './partition-map.ts'
import { ConsumerRecord } from './record.ts'

/** A part of one partition: what `take()` returns. */
export interface FetchedChunk {
  /** Its topic. */
  readonly topic: string
  /** Its partition, from 0 on. */
  readonly partition: number
  /** Position before the chunk: its records have this offset or a higher one. */
  readonly from: number
  /** Position after the chunk. Passes control records, aborted transactions and offsets removed by compaction. */
  readonly nextOffset: number
  /** End of what is replicated, when the answer was made. */
  readonly highWatermark: number
  /** End of what read_committed may see. -1 if the broker did not say. */
  readonly lastStableOffset: number
  /** First offset of the log. -1 if the broker did not say. */
  readonly logStartOffset: number
  /** Leader epoch of the last batch, -1 unknown: goes with `nextOffset` into a commit. */
  readonly leaderEpoch: number
  /** Bytes of the batches as fetched (compressed). */
  readonly byteLength: number
  /**
   * A walk over the visible records without objects: after `next()` its fields describe one record. May be empty.
   * Its `next()` throws CorruptRecordsError for a batch that cannot be decompressed or parsed.
   */
  cursor(): RecordCursor
  /**
   * The visible records as objects; may be empty. Throws CorruptRecordsError if the first batch cannot be read; if a
   * later one cannot, returns what comes before, and the next `take()` throws.
   */
  records(): ConsumerRecord[]
}

/** The offsets and marks that came with an answer. */
export interface ChunkMarks {
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly logStartOffset: number
}

/** How chunks are opened; one object per consumer. */
export interface ReadSettings {
  readonly committedOnly: boolean
  readonly checkCrc: boolean
  readonly maxDecompressedBytes: number
}

/** What a chunk tells its cursor. */
export interface ChunkOwner {
  /** Grows with every seek and truncation. */
  readonly lineage: number
  readonly paused: boolean
  /** Takes back an opened chunk; it is the next one again. */
  putBack(rest: Chunk): void
  /** False: the position went elsewhere since. */
  broken(lineage: number, error: PartitionError): boolean
  tellAgain(): void
  done(lineage: number, offset: number, leaderEpoch: number): void
}

export class Chunk implements FetchedChunk {
  readonly topic: string
  readonly partition: number
  readonly from: number
  nextOffset: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly logStartOffset: number
  leaderEpoch: number
  readonly byteLength: number
  /** The cursor's lineage when the chunk was taken; -1 before. */
  lineage = -1
  #batches: BatchView[]
  #aborted: readonly AbortedTransaction[] | undefined
  #owner: ChunkOwner | undefined
  #maxDecompressedBytes = 0
  #detached = false
  /** Opened before and put back: what is left is checked. */
  #opened = false
  /** The partition rests at a batch of this chunk. */
  #rests = false

  constructor(
    place: TopicPartition,
    from: number,
    batches: BatchView[],
    aborted: readonly AbortedTransaction[] | null,
    byteLength: number,
    marks: ChunkMarks,
  ) {
    const last = batches[batches.length - 1]!
    this.topic = place.topic
    this.partition = place.partition
    this.from = from
    this.nextOffset = last.nextOffset
    this.leaderEpoch = last.leaderEpoch
    this.byteLength = byteLength
    this.highWatermark = marks.highWatermark
    this.lastStableOffset = marks.lastStableOffset
    this.logStartOffset = marks.logStartOffset
    this.#batches = batches
    this.#aborted = aborted === null || aborted.length === 0 ? undefined : aborted
  }

  /** Copies the bytes, once, so that the rest of the frame they came in can be freed. */
  detach(): void {
    if (this.#detached) return
    this.#detached = true
    let size = 0
    for (const batch of this.#batches) size += batch.byteLength
    const bytes = Buffer.allocUnsafeSlow(size)
    let at = 0
    for (const batch of this.#batches) at += batch.bytes.copy(bytes, at, batch.from, batch.to)
    const scanner = new BatchScanner(bytes)
    for (const batch of this.#batches) scanner.next(batch)
  }

  /**
   * Verifies checksums and drops what is not visible. Returns the error of the first bad batch: the chunk then ends
   * before it, and may be empty (`nextOffset === from`).
   */
  open(settings: ReadSettings, owner: ChunkOwner): PartitionError | undefined {
    this.lineage = owner.lineage
    this.#owner = owner
    this.#maxDecompressedBytes = settings.maxDecompressedBytes
    if (this.#opened) return undefined
    this.#opened = true
    const batches = this.#batches
    const opened = openBatches(batches, settings.committedOnly ? this.#aborted : undefined, settings.checkCrc)
    this.#batches = opened.visible
    this.#aborted = undefined
    if (opened.readable === batches.length) return undefined
    const last = batches[opened.readable - 1]
    this.nextOffset = last === undefined ? this.from : last.nextOffset
    if (last !== undefined) this.leaderEpoch = last.leaderEpoch
    return this.#corrupt(batches[opened.readable]!.baseOffset, opened.cause)
  }

  cursor(): ChunkCursor {
    return new ChunkCursor(this, this.#batches, this.from, this.#maxDecompressedBytes)
  }

  records(): ConsumerRecord[] {
    const { topic, partition } = this
    const records = new Array<ConsumerRecord>(this.#expectedRecords())
    const cursor = this.cursor()
    let count = 0
    try {
      while (cursor.next()) records[count++] = new ConsumerRecord(topic, partition, cursor)
    } catch (cause) {
      if (count === 0 || !(cause instanceof PartitionError)) throw cause
      this.#endAt(cause)
    }
    records.length = count
    return records
  }

  /** Whether the position still follows this chunk: no seek, no revocation since it was taken. */
  get current(): boolean {
    return this.#owner !== undefined && this.#owner.lineage === this.lineage
  }

  /** Whether the user paused the partition. */
  get paused(): boolean {
    return this.#owner?.paused ?? false
  }

  /** The user is done with everything below `offset`. */
  done(offset: number): void {
    this.#owner?.done(this.lineage, offset, this.leaderEpoch)
  }

  /** Gives back what is left from `offset` on, to be handed out again later. Nothing when the position went elsewhere. */
  putBack(offset: number): void {
    if (this.#owner === undefined || !this.current) return
    const rest = new Chunk(this, offset, this.#batches, null, this.byteLength, this)
    rest.nextOffset = this.nextOffset
    rest.leaderEpoch = this.leaderEpoch
    rest.#opened = true
    this.#owner.putBack(rest)
  }

  /** A batch turned out to be unreadable: the position goes back to it. Returns what to throw. */
  broken(baseOffset: number, cause: unknown): PartitionError {
    const error = this.#corrupt(baseOffset, cause)
    this.#rests = this.#owner?.broken(this.lineage, error) ?? false
    return error
  }

  /** Room for the records, as far as the bytes received can hold them; saves growing. */
  #expectedRecords(): number {
    let count = 0
    for (const batch of this.#batches) count += Math.min(batch.count, batch.byteLength >>> 3)
    return count
  }

  /** The chunk ends before its unreadable batch, and is followed by the error. */
  #endAt(error: PartitionError): void {
    this.nextOffset = error.offset
    if (this.#owner === undefined || !this.#rests) return
    this.#owner.tellAgain()
    this.lineage = this.#owner.lineage
  }

  #corrupt(baseOffset: number, cause: unknown): PartitionError {
    return new CorruptRecordsError(
      { topic: this.topic, partition: this.partition, offset: Math.max(baseOffset, this.from) },
      cause,
    )
  }
}

/** A RecordCursor over all visible records of a chunk. */
export class ChunkCursor extends RecordCursor {
  readonly #chunk: Chunk
  readonly #batches: readonly BatchView[]
  readonly #from: number
  readonly #limits: { readonly maxDecompressedBytes: number }
  #next = 0

  constructor(chunk: Chunk, batches: readonly BatchView[], from: number, maxDecompressedBytes: number) {
    super()
    this.#chunk = chunk
    this.#batches = batches
    this.#from = from
    this.#limits = { maxDecompressedBytes }
  }

  /** Goes to the next record; false at the end. Throws a PartitionError for bytes that cannot be read. */
  override next(): boolean {
    try {
      for (;;) {
        while (!super.next()) {
          const batch = this.#batches[this.#next]
          if (batch === undefined) return false
          this.#next += 1
          this.reset(batch, this.#limits)
        }
        if (this.offset >= this.#from) return true
      }
    } catch (cause) {
      const batch = this.#batches[this.#next - 1] ?? this.#batches[0]
      throw this.#chunk.broken(Math.max(batch?.baseOffset ?? 0, this.offset + 1), cause)
    }
  }
}
