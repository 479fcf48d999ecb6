/**
 * Versions: which tables a store consists of at a moment. A version never changes; flushes and merges make new ones.
 * Readers hold the version they began with, and a table's file is removed when no version that is held has it.
 * TableSet owns the open tables, Version the runs.
 */
import { type EntryCursor, type CursorRange, lookup, type Lookup } from './cursor.ts'
import type { Span } from '../contract.ts'
import type { StoreFiles } from './format.ts'
import { tableName } from './format.ts'
import { Removals } from './removals.ts'
import { Run } from './run.ts'
import { Table } from './table.ts'

interface OpenTable {
  readonly table: Table
  /** Versions that have it. */
  users: number
}

/** The open tables of a store, by file number. */
export class TableSet {
  readonly #files: StoreFiles
  readonly #tables = new Map<number, OpenTable>()
  /** Of the store's files: tables, and logs. */
  readonly removals: Removals

  /** `onLeftover` is told when a file could not be removed; it is tried again when the store is opened next. */
  constructor(files: StoreFiles, onLeftover: (error: unknown) => void) {
    this.#files = files
    this.removals = new Removals(files, onLeftover)
  }

  /** A version of these runs. Opens tables that are not open; throws StoreError, and then has changed nothing. */
  version(upper: readonly (readonly number[])[], last: readonly number[]): Version {
    const opened: number[] = []
    try {
      const runs = upper.map((numbers) => new Run(numbers.map((number) => this.#table(number, opened))))
      return new Version(this, runs, new Run(last.map((number) => this.#table(number, opened))))
    } catch (error) {
      for (const number of opened) this.#close(number)
      throw error
    }
  }

  #table(number: number, opened: number[]): Table {
    const known = this.#tables.get(number)
    if (known !== undefined) return known.table
    const table = Table.open(this.#files, number)
    this.#tables.set(number, { table, users: 0 })
    opened.push(number)
    return table
  }

  #close(number: number): void {
    this.#tables.get(number)?.table.close()
    this.#tables.delete(number)
  }

  retain(tables: Iterable<Table>): void {
    for (const { meta } of tables) this.#tables.get(meta.fileNumber)!.users += 1
  }

  /** Tables that nobody has any more are closed, and their files removed. */
  release(tables: Iterable<Table>): void {
    for (const { meta } of tables) {
      const open = this.#tables.get(meta.fileNumber)
      if (open === undefined) continue
      open.users -= 1
      if (open.users > 0) continue
      this.#close(meta.fileNumber)
      this.removals.remove(`${this.#files.dir}/${tableName(meta.fileNumber)}`)
    }
  }

  all(): Iterable<Table> {
    return [...this.#tables.values()].map(({ table }) => table)
  }

  /** Closes every table; the files stay. */
  close(): void {
    for (const { table } of this.#tables.values()) table.close()
    this.#tables.clear()
  }
}

export class Version {
  /** Newest first; they may overlap each other and the last level. */
  readonly upper: readonly Run[]
  /** The oldest: no tombstones, and every key at most once. */
  readonly last: Run
  readonly #set: TableSet
  #users = 1

  constructor(set: TableSet, upper: readonly Run[], last: Run) {
    this.#set = set
    this.upper = upper
    this.last = last
    set.retain(this.tables())
  }

  get empty(): boolean {
    return this.upper.length === 0 && this.last.tables.length === 0
  }

  *tables(): Generator<Table> {
    for (const run of this.upper) yield* run.tables
    yield* this.last.tables
  }

  /** The file numbers: what the manifest says of it. */
  numbers(): { upper: number[][]; last: number[] } {
    const of = (run: Run): number[] => run.tables.map(({ meta }) => meta.fileNumber)
    return { upper: this.upper.map(of), last: of(this.last) }
  }

  retain(): this {
    this.#users += 1
    return this
  }

  release(): void {
    this.#users -= 1
    if (this.#users === 0) this.#set.release(this.tables())
  }

  /** The newest that the tables know of a key. */
  get(hash: number, space: number, key: Buffer, from: number, to: number, out: Span): Lookup {
    for (let i = 0; i < this.upper.length; i++) {
      const found = this.upper[i]!.get(hash, space, key, from, to, out)
      if (found !== lookup.absent) return found
    }
    return this.last.tables.length === 0 ? lookup.absent : this.last.get(hash, space, key, from, to, out)
  }

  /** Whether a table may have the key. Of a key that none has it says so once in 200 times, for each run. */
  mayHave(hash: number, space: number, key: Buffer, from: number, to: number): boolean {
    for (const run of this.upper) if (run.mayContain(hash, space, key, from, to)) return true
    return this.last.mayContain(hash, space, key, from, to)
  }

  /** Cursors over all runs, newest first. */
  cursors(range: CursorRange): EntryCursor[] {
    const cursors = this.upper.map((run) => run.cursor(range))
    if (this.last.tables.length > 0) cursors.push(this.last.cursor(range))
    return cursors
  }
}
