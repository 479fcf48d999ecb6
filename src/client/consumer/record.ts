/**
 * ConsumerRecord: one record as an object. Key and value are spans of the received bytes and become Buffers only when
 * read: making the object costs ~10 ns, each Buffer ~30 ns more. Immutable.
 */
import type { Header } from '../../protocol/record-format.ts'
import type { RecordCursor } from '../../protocol/record-view.ts'

/** Shared by all records without headers. */
export const noHeaders: readonly Header[] = Object.freeze([])

/** One received record. */
export class ConsumerRecord {
  /** Its topic. */
  readonly topic: string
  /** Its partition, from 0 on. */
  readonly partition: number
  /** Within the partition. */
  readonly offset: number
  /** Milliseconds since 1970: the producer's, or the broker's append time, as the topic says. */
  readonly timestamp: number
  /** In order, duplicates kept. */
  readonly headers: readonly Header[]
  // Hot path: plain fields, written once here.
  private readonly bytes: Buffer
  private readonly keyFrom: number
  private readonly keyTo: number
  private readonly valueFrom: number
  private readonly valueTo: number

  constructor(topic: string, partition: number, cursor: RecordCursor) {
    this.topic = topic
    this.partition = partition
    this.offset = cursor.offset
    this.timestamp = cursor.timestamp
    this.headers = cursor.headerCount === 0 ? noHeaders : cursor.headers()
    this.bytes = cursor.bytes
    this.keyFrom = cursor.keyFrom
    this.keyTo = cursor.keyTo
    this.valueFrom = cursor.valueFrom
    this.valueTo = cursor.valueTo
  }

  /**
   * The key, or null. Each read makes a new Buffer over the same received bytes: it keeps the whole fetch answer in
   * memory as long as it lives. Copy what is kept for long (`Buffer.from(record.key)`, or `detach()`).
   */
  get key(): Buffer | null {
    return this.keyFrom < 0 ? null : this.bytes.subarray(this.keyFrom, this.keyTo)
  }

  /** The value, or null (a tombstone in a compacted topic). See `key` about its memory. */
  get value(): Buffer | null {
    return this.valueFrom < 0 ? null : this.bytes.subarray(this.valueFrom, this.valueTo)
  }

  /** Bytes of key and value. */
  get byteLength(): number {
    return (this.keyFrom < 0 ? 0 : this.keyTo - this.keyFrom) + (this.valueFrom < 0 ? 0 : this.valueTo - this.valueFrom)
  }

  /** A plain copy that shares no memory with the fetch answer. */
  detach(): DetachedRecord {
    const { key, value } = this
    return {
      topic: this.topic,
      partition: this.partition,
      offset: this.offset,
      timestamp: this.timestamp,
      key: key === null ? null : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      headers: this.headers.map((h) => ({ key: h.key, value: h.value === null ? null : Buffer.from(h.value) })),
    }
  }

  /** For console.log and debuggers: what the user sees, not the spans. */
  [Symbol.for('nodejs.util.inspect.custom')](): object {
    const { topic, partition, offset, timestamp, key, value, headers } = this
    return { topic, partition, offset, timestamp, key, value, headers }
  }
}

/** A record on its own. */
export interface DetachedRecord {
  /** Its topic. */
  readonly topic: string
  /** Its partition, from 0 on. */
  readonly partition: number
  /** Within the partition. */
  readonly offset: number
  /** Milliseconds since 1970. */
  readonly timestamp: number
  /** Its own copy. */
  readonly key: Buffer | null
  /** Its own copy. */
  readonly value: Buffer | null
  /** In order, duplicates kept. */
  readonly headers: readonly Header[]
}
