/**
 * Scrubbing a store: everything that counts in its directory is read, checked, and compared with each other: the manifest
 * with the files, tables with their neighbours, batches with the numbers before them. Works in steps of about a millisecond,
 * goes on behind damage, and changes nothing. Owns nothing.
 */
import type { FileHandle } from '../../base/fs.ts'
import { compareToBound } from './cursor.ts'
import {
  currentName,
  lockName,
  logName,
  manifestName,
  parseFileName,
  type StoreFiles,
  tableName,
  unsyncedName,
} from './format.ts'
import type { SeenManifest } from './manifest.ts'
import { logNumbers, type ReplayedLog } from './replay.ts'
import { faultOf, type StoreFault, type StoreSurvey } from './survey.ts'
import type { Table } from './table.ts'
import { verifyLog } from './verify-log.ts'

/** What a scrub found. */
export interface VerifyReport {
  /** `group/table/partition`. */
  readonly store: string
  /** Files read to their end. */
  readonly files: number
  /** Records in them, superseded ones and deletions included. */
  readonly entries: number
  /** Bytes read. */
  readonly bytes: number
  /** What is damaged; empty: nothing is. At most one for a file, since what follows damage means little. */
  readonly faults: readonly StoreFault[]
  /** What is no damage but worth knowing: what a crash left, and what could not be checked. */
  readonly notes: readonly StoreFault[]
}

/** How far a scrub is; it is counted up by whoever works. */
export interface VerifyProgress {
  /** Bytes checked so far. */
  doneBytes: number
  /** Bytes to check in all. */
  totalBytes: number
}

/** A log to be checked: its first `size` bytes are whole frames. */
export interface LogToVerify {
  readonly number: number
  readonly handle: FileHandle
  readonly size: number
  /** The number of the batch before its first. */
  readonly before: number
}

/** Collects a report. */
export class Scrub {
  readonly faults: StoreFault[] = []
  readonly notes: StoreFault[] = []
  readonly progress: VerifyProgress
  #files = 0
  #entries = 0
  #bytes = 0

  constructor(progress: VerifyProgress) {
    this.progress = progress
  }

  report(store: string): VerifyReport {
    const { faults, notes } = this
    return { store, files: this.#files, entries: this.#entries, bytes: this.#bytes, faults, notes }
  }

  fault(file: string, offset: number, what: string): void {
    this.faults.push({ file, offset, what })
  }

  note(file: string, offset: number, what: string): void {
    this.notes.push({ file, offset, what })
  }

  /** A file was read. */
  read(entries: number, bytes: number): void {
    this.#files += 1
    this.#entries += entries
    this.#bytes += bytes
  }

  /** Runs a check; damage becomes a fault. */
  attempt(name: string, run: () => void): void {
    try {
      run()
    } catch (error) {
      this.faults.push(faultOf(error, name))
    }
  }

  /** Runs the check of a file in steps, likewise. */
  *file<T>(name: string, bytes: number, steps: Generator<undefined, T>): Generator<undefined, T | undefined> {
    try {
      return yield* steps
    } catch (error) {
      this.faults.push(faultOf(error, name))
      return undefined
    } finally {
      this.progress.doneBytes += bytes
    }
  }

  *tables(tables: Iterable<Table>): Generator<undefined, void> {
    for (const table of tables) {
      const { fileNumber, byteLength, entryCount } = table.meta
      const before = this.faults.length
      yield* this.file(tableName(fileNumber), byteLength, table.verify())
      if (this.faults.length === before) this.read(entryCount, byteLength)
    }
  }

  /** The runs of a manifest, as far as their tables could be opened. */
  runs(upper: readonly (readonly (Table | undefined)[])[], last: readonly (Table | undefined)[]): void {
    for (const run of [...upper, last]) {
      for (let i = 1; i < run.length; i++) {
        const [before, table] = [run[i - 1], run[i]]
        if (before === undefined || table === undefined) continue
        const { space, key } = table.meta.min
        if (compareToBound(space, key, 0, key.length, before.meta.max) > 0) continue
        const text = `its smallest key is not above all keys of ${before.file.name}, which is before it in its run`
        this.fault(table.file.name, table.file.sections.indexEnd, text)
      }
    }
    for (const table of last) {
      if (table === undefined || table.meta.tombstoneCount === 0) continue
      const text = `it holds ${table.meta.tombstoneCount} deletions, although nothing is older than the last level`
      this.fault(table.file.name, table.file.sections.indexEnd + 4, text)
    }
  }

  *logs(files: StoreFiles, logs: readonly LogToVerify[]): Generator<undefined, void> {
    for (const { number, handle, size, before } of logs) {
      const records = yield* this.file(logName(number), size, verifyLog(files, number, handle, size, before))
      if (records !== undefined) this.read(records, size)
    }
  }
}

/**
 * Checks a store that is looked at from outside. Beside a running owner nothing is said of files that do not count: they may
 * be half-written.
 */
export function* verifySurvey(survey: StoreSurvey, progress: VerifyProgress): Generator<undefined, VerifyReport> {
  const { place, manifest, files, tables, replay } = survey
  const scrub = new Scrub(progress)
  for (const { file, error } of survey.errors) scrub.faults.push(faultOf(error, file))
  if (manifest === undefined || files === undefined || replay === undefined) {
    scrub.note(currentName, 0, 'tables and logs were not checked, as nothing says which of them count')
    return scrub.report(place.store)
  }
  const { state } = manifest
  const logs: LogToVerify[] = []
  for (const { number, size, memtable } of replay.logs) {
    const handle = survey.logs.get(number)
    if (handle !== undefined && size > 0) logs.push({ number, handle, size, before: (memtable?.firstSeq ?? 1) - 1 })
  }
  progress.totalBytes =
    [...tables.values()].reduce((sum, { meta }) => sum + meta.byteLength, 0) +
    logs.reduce((sum, { size }) => sum + size, 0)
  scrub.read(0, manifest.byteLength)
  scrub.runs(
    state.upper.map((run) => run.map((number) => tables.get(number))),
    state.last.map((number) => tables.get(number)),
  )
  yield* scrub.tables(tables.values())
  yield* scrub.logs(files, logs)
  for (const log of replay.logs) judgeEnd(scrub, log, survey.owner !== undefined)
  if (survey.owner === undefined) noteRest(scrub, survey, manifest)
  else {
    const { pid, host } = survey.owner
    const text = `process ${pid} on ${host} has the store open: what it wrote after this check began, and files that do not count (yet), were not checked`
    scrub.note(lockName, 0, text)
  }
  return scrub.report(place.store)
}

/** What the end of a log means. */
function judgeEnd(scrub: Scrub, { number, bytes, size, end, what }: ReplayedLog, isOwned: boolean): void {
  if (end === 'end') return
  const rest = `${bytes - size} bytes from here on`
  const text = end === 'skipped' ? what : `${what}; ${rest} are dropped when the store is opened next`
  if (end !== 'torn') scrub.fault(logName(number), size, text)
  else if (isOwned) scrub.note(logName(number), size, `${rest} are a batch that is being written`)
  else scrub.note(logName(number), size, text)
}

/** What nobody refers to. */
function noteRest(scrub: Scrub, { names }: StoreSurvey, manifest: SeenManifest): void {
  const { state, fileNumber, tornBytes, byteLength } = manifest
  if (tornBytes > 0) {
    const text = `${tornBytes} bytes from here on are a state whose write was broken off; they are cut off when the store is opened next`
    scrub.note(manifestName(fileNumber), byteLength, text)
  }
  const keep = new Set([currentName, manifestName(fileNumber)])
  for (const number of [...state.upper.flat(), ...state.last]) keep.add(tableName(number))
  // Those that could not be read, too.
  for (const number of logNumbers(names, state)) keep.add(logName(number))
  for (const name of names) {
    const { kind } = parseFileName(name)
    if (keep.has(name)) continue
    if (kind === 'other') scrub.note(name, 0, 'no file of a store: it is left alone')
    else if (kind === 'lock') scrub.note(name, 0, `left by a process that has ended`)
    else if (name === unsyncedName)
      scrub.note(name, 0, 'not all of it may outlive a power loss, until somebody opens it')
    else scrub.note(name, 0, 'does not count; it is removed when the store is opened next')
  }
}
