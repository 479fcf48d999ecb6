/**
 * TableReads: values of a table by key, decoded, over the local copies of its partitions. Serves joins (one partition,
 * the record's own), lookups and views (all of them). Reads only; owns nothing but a reused span.
 */
import { Span } from '../storage/index.ts'
import { decodeFrom } from './codec.ts'
import { string } from './codecs/string.ts'
import type { Edge } from './graph.ts'
import type { KeyPartitioner } from './partitioner.ts'
import type { TableCopy } from './table-copy.ts'

export class TableReads {
  readonly edge: Edge
  /** By partition; a join has only its own. */
  readonly copies: readonly (TableCopy | undefined)[]
  readonly #partitioner: KeyPartitioner
  readonly #span = new Span()

  constructor(edge: Edge, copies: readonly (TableCopy | undefined)[], partitioner: KeyPartitioner) {
    this.edge = edge
    this.copies = copies
    this.#partitioner = partitioner
  }

  /** The value at a key given as bytes, in a partition that the caller knows. */
  readAt(partition: number, bytes: Buffer, from: number, to: number): unknown {
    const copy = this.copies[partition]
    if (copy === undefined || !copy.store.getSync(0, bytes, from, to, this.#span)) return undefined
    return decodeFrom(this.edge.codec, this.#span.bytes, this.#span.from, this.#span.to)
  }

  /** The value at any key; the partitioner says where it must lie. */
  read(key: string | Uint8Array): unknown {
    const bytes = keyBytes(key)
    return this.readAt(this.partitionOf(bytes), bytes, 0, bytes.length)
  }

  has(key: string | Uint8Array): boolean {
    const bytes = keyBytes(key)
    return this.copies[this.partitionOf(bytes)]?.store.hasSync(0, bytes, 0, bytes.length) ?? false
  }

  partitionOf(bytes: Buffer): number {
    return this.copies.length === 1 ? 0 : this.#partitioner(bytes, 0, bytes.length, this.copies.length)
  }
}

/** The bytes of a key given as text (UTF-8) or bytes. Throws CodecError for what is neither. */
export function keyBytes(key: string | Uint8Array): Buffer {
  if (!(key instanceof Uint8Array)) return string.encode(key) as Buffer
  return Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength)
}
