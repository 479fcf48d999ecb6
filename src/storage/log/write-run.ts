/**
 * Writes what cursors give into tables. A TableSink owns its tables, the open one and the finished ones, until somebody
 * takes them: `discard` removes all that are left from the disk.
 */
import { join } from 'node:path'
import type { EntryCursor } from './cursor.ts'
import { type StoreFiles, tableName } from './format.ts'
import { isTooMany } from './handles.ts'
import { syncError } from './log-file.ts'
import { recordBytes } from './record.ts'
import { maxTableBytes, type TableMeta } from './table-layout.ts'
import { TableWriter } from './table-writer.ts'
import { type Steps, syncOf, syncOfDirectory } from './wait.ts'

/** A step of writing ends after this many records or bytes: about a third of a millisecond. */
const recordsPerStep = 256
const bytesPerStep = 128 * 1024

export interface RunOptions {
  /** Begins another table before a file becomes larger than this. Default 32 MiB, the largest that the format allows. */
  readonly maxTableBytes?: number
}

/**
 * Writes everything that `cursor` gives into tables, ascending and disjoint, numbered by `nextFile`, and makes them
 * durable. Without entries there are no tables. On an error, or when it is returned early, it removes what it wrote. It
 * closes the cursor, unless it is returned before its first step.
 */
export function* writeRun(
  files: StoreFiles,
  nextFile: () => number,
  cursor: EntryCursor,
  options: RunOptions = {},
): Steps<TableMeta[]> {
  const sink = new TableSink(files, nextFile, options)
  try {
    while (sink.write(cursor)) {
      if (sink.full) yield* sink.cut()
      else yield
    }
    yield* sink.settle()
    return sink.take()
  } finally {
    sink.discard()
    cursor.close()
  }
}

export class TableSink {
  readonly #files: StoreFiles
  readonly #nextFile: () => number
  readonly #maxTableBytes: number
  #writer: TableWriter | undefined
  #finished: TableMeta[] = []
  #finishedBytes = 0
  #full = false

  constructor(files: StoreFiles, nextFile: () => number, options: RunOptions = {}) {
    this.#files = files
    this.#nextFile = nextFile
    this.#maxTableBytes = options.maxTableBytes ?? maxTableBytes
  }

  /** Bytes of the open table, as a file. */
  get openBytes(): number {
    return this.#writer?.byteLength ?? 0
  }

  /** Bytes of all tables so far, taken ones included. */
  get writtenBytes(): number {
    return this.#finishedBytes + this.openBytes
  }

  /** The entry the cursor stands at did not fit: `cut`, then go on with `write`, which begins with that entry. */
  get full(): boolean {
    return this.#full
  }

  /** Tables that are finished and not taken. */
  get finishedCount(): number {
    return this.#finished.length
  }

  /** One step: writes the next entries of `cursor`. False at the cursor's end. */
  write(cursor: EntryCursor): boolean {
    let bytes = 0
    for (let left = recordsPerStep; left > 0 && bytes < bytesPerStep; left--) {
      if (this.#full) this.#full = false
      else if (!cursor.next()) return false
      const deleted = cursor.deleted
      const valueFrom = cursor.valueFrom
      const valueTo = deleted ? valueFrom : cursor.valueTo
      const keyFrom = cursor.keyFrom
      const keyTo = cursor.keyTo
      const size = recordBytes(keyTo - keyFrom, valueTo - valueFrom)
      let writer = this.#writer
      if (writer === undefined) {
        writer = new TableWriter(this.#files, this.#nextFile(), this.#maxTableBytes)
        this.#writer = writer
      } else if (!writer.fits(size)) {
        // The first one always fits, so a record larger than any table gets one of its own.
        this.#full = true
        return true
      }
      writer.add(cursor.space, cursor.keyBytes, keyFrom, keyTo, cursor.valueBytes, valueFrom, valueTo, deleted)
      bytes += size
    }
    return true
  }

  /** Finishes the open table, if there is one, and makes its data durable. */
  *cut(): Steps<void> {
    const writer = this.#writer
    if (writer === undefined) return
    const meta = yield* writer.finishSteps()
    yield syncOf(writer.file)
    writer.close()
    this.#writer = undefined
    this.#finished.push(meta)
    this.#finishedBytes += meta.byteLength
  }

  /** Finishes everything and makes it durable that the files exist. */
  *settle(): Steps<void> {
    yield* this.cut()
    if (this.#finished.length === 0) return
    try {
      yield syncOfDirectory(this.#files.fs, this.#files.dir)
    } catch (error) {
      // It could not be opened, so no sync has failed.
      if (isTooMany(error)) throw error
      // Other files than these tables may be concerned, logs that were just made.
      throw syncError(this.#files.store, 'the directory', error)
    }
  }

  /** Hands over the finished tables. */
  take(): TableMeta[] {
    const taken = this.#finished
    this.#finished = []
    return taken
  }

  /** Removes every table that nobody took. What cannot be removed is no part of any version, and stays behind. */
  discard(): void {
    const writer = this.#writer
    const finished = this.take()
    this.#writer = undefined
    if (writer !== undefined) {
      // Apart, because `abandon` does not remove what it could not close.
      quietly(() => writer.close())
      quietly(() => writer.abandon())
    }
    for (const meta of finished) {
      quietly(() => this.#files.fs.removeSync(join(this.#files.dir, tableName(meta.fileNumber))))
    }
  }
}

/** The error that led here counts, not one of cleaning up. */
function quietly(action: () => void): void {
  try {
    action()
  } catch {
    // Opening the store removes files that no version has.
  }
}
