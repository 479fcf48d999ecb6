/**
 * A run: tables that are disjoint and ascending, so that a key can be in one of them only. Stateless; it does not own
 * the tables.
 */
import type { Span } from '../contract.ts'
import {
  type CursorRange,
  type EntryCursor,
  type EntrySource,
  everything,
  type KeyBound,
  type Lookup,
  lookup,
} from './cursor.ts'
import { Fences } from './fences.ts'
import type { Table } from './table.ts'
import { TableCursor } from './table-cursor.ts'
import type { TableFile } from './table-file.ts'

export class Run implements EntrySource {
  readonly tables: readonly Table[]
  /** Tombstones included. */
  readonly entryCount: number
  readonly tombstoneCount: number
  /** Key and value bytes of the entries that are no tombstones. */
  readonly dataBytes: number
  /** Of all files. */
  readonly byteLength: number
  readonly #files: readonly TableFile[]
  readonly #maxima: Fences

  /** `tables` in the order of their keys. */
  constructor(tables: readonly Table[]) {
    this.tables = tables
    this.#files = tables.map(({ file }) => file)
    this.#maxima = new Fences(tables.map(({ meta }) => meta.max))
    const sum = (of: (table: Table) => number): number => tables.reduce((total, table) => total + of(table), 0)
    this.entryCount = sum(({ meta }) => meta.entryCount)
    this.tombstoneCount = sum(({ meta }) => meta.tombstoneCount)
    this.dataBytes = sum(({ meta }) => meta.dataBytes)
    this.byteLength = sum(({ meta }) => meta.byteLength)
  }

  /** As `Table.get`, in the only table that can have the key. */
  get(hash: number, space: number, key: Buffer, from: number, to: number, out: Span): Lookup {
    const table = this.tableOf(space, key, from, to)
    return table === undefined ? lookup.absent : table.get(hash, space, key, from, to, out)
  }

  /** As `Table.mayContain`. */
  mayContain(hash: number, space: number, key: Buffer, from: number, to: number): boolean {
    return this.tableOf(space, key, from, to)?.mayContain(hash, space, key, from, to) ?? false
  }

  /** The only table that can have the key; undefined: none can. */
  tableOf(space: number, key: Buffer, from: number, to: number): Table | undefined {
    const { tables } = this
    if (tables.length === 1) return tables[0]
    return tables[this.#maxima.find(space, key, from, to)]
  }

  cursor(range: CursorRange): EntryCursor {
    return new TableCursor(this.#files, range)
  }

  /**
   * About `count` of its keys (all, if it has fewer), tombstones included, spread evenly over its bytes: for estimates.
   * Reads a block for each, or everything if it is small. Throws like a cursor.
   */
  *sample(count: number): Generator<KeyBound> {
    const blocks = this.#files.reduce((total, { index }) => total + index.count, 0)
    if (blocks < 2 * count) {
      const stride = Math.max(1, Math.floor(this.entryCount / count))
      const cursor = this.cursor(everything)
      for (let i = 0; cursor.next(); i++) {
        if (i % stride === 0) yield keyOf(cursor)
      }
      return
    }
    const stride = Math.floor(blocks / count)
    let block = 0
    for (const file of this.#files) {
      for (; block < file.index.count; block += stride) {
        const cursor = new TableCursor([file], { ...everything, from: file.index.keyOf(block) })
        if (cursor.next()) yield keyOf(cursor)
        cursor.close()
      }
      block -= file.index.count
    }
  }
}

function keyOf({ space, keyBytes, keyFrom, keyTo }: EntryCursor): KeyBound {
  return { space, key: Buffer.from(keyBytes.subarray(keyFrom, keyTo)) }
}
