/** A single table in a SimFs: written from a list, opened, and looked at from all sides. */
import * as assert from 'uvu/assert'
import { Span, StoreError } from '../../../src/storage/index.ts'
import { everything, lookup } from '../../../src/storage/log/cursor.ts'
import { type StoreFiles, tableName } from '../../../src/storage/log/format.ts'
import { hashOf } from '../../../src/storage/log/key-hash.ts'
import type { Table, TableMeta } from '../../../src/storage/log/table.ts'
import { TableWriter } from '../../../src/storage/log/table-writer.ts'
import { type ListEntry, readAll, show } from './list-cursor.ts'
import { SimFs } from './sim-fs.ts'

/** Hash seed of the stores here. */
export const hashSeed = 0x5eed

/** An empty store directory. */
export function makeFiles(fs = new SimFs()): StoreFiles & { readonly fs: SimFs } {
  fs.mkdirSync('store')
  return { fs, dir: 'store', store: 'group/table/0', storeId: Buffer.alloc(16, 0x1d), hashSeed, now: () => 1_700_000 }
}

/** The path of a table's file. */
export function pathOf(fileNumber: number): string {
  return `store/${tableName(fileNumber)}`
}

export function addEntry(writer: TableWriter, { space, key, value }: ListEntry): void {
  // Somewhere inside their buffers, at odd places.
  const bytes = Buffer.concat([Buffer.from('#'), key, Buffer.from('##')])
  const values = Buffer.concat([Buffer.from('###'), value ?? Buffer.alloc(0), Buffer.from('#')])
  writer.add(space, bytes, 1, 1 + key.length, values, 3, 3 + (value?.length ?? 0), value === undefined)
}

/** Runs the steps of finishing, and closes. */
export function finish(writer: TableWriter): TableMeta {
  const steps = writer.finishSteps()
  for (;;) {
    const step = steps.next()
    if (step.done !== true) continue
    writer.close()
    return step.value
  }
}

/** Writes entries, which are in order, as table `fileNumber`. */
export function writeTable(files: StoreFiles, fileNumber: number, entries: readonly ListEntry[]): TableMeta {
  const writer = new TableWriter(files, fileNumber)
  for (const entry of entries) addEntry(writer, entry)
  return finish(writer)
}

/** An entry from text; without a value it is deleted. */
export function entry(key: string, value?: string, space = 0): ListEntry {
  const bytes = Buffer.from(key, 'latin1')
  return { space, key: bytes, value: value === undefined ? undefined : Buffer.from(value, 'latin1') }
}

/** What a lookup finds, as text. */
export function find(table: Pick<Table, 'get'>, space: number, key: Buffer): string {
  const out = new Span()
  const bytes = Buffer.concat([Buffer.from('-'), key, Buffer.from('-')])
  const found = table.get(hashOf(hashSeed, space, key, 0, key.length), space, bytes, 1, 1 + key.length, out)
  if (found === lookup.absent) return 'absent'
  return found === lookup.deleted ? 'deleted' : `=${out.copy().toString('latin1')}`
}

/** What looking up an entry's key must find. */
export function foundAs({ value }: ListEntry): string {
  return value === undefined ? 'deleted' : `=${value.toString('latin1')}`
}

/** Runs everything that checks a whole table. */
export function verify(table: Table): void {
  for (const _ of table.verify());
}

/** Every entry is found, both walks give all of them, and the table finds nothing wrong with itself. */
export function assertHolds(table: Table, entries: readonly ListEntry[]): void {
  for (const one of entries) assert.is(find(table, one.space, one.key), foundAs(one), `${one.key.length} bytes of key`)
  assert.equal(show(readAll(table.cursor(everything))), show(entries))
  assert.equal(show(readAll(table.cursor({ ...everything, reverse: true }))), show([...entries].reverse()))
  verify(table)
}

/** The StoreError that `action` throws; any other error passes through, and none is a failure. */
export function storeErrorOf(action: () => unknown): StoreError {
  try {
    action()
  } catch (error) {
    if (error instanceof StoreError) return error
    throw error
  }
  throw new Error('it threw nothing')
}
