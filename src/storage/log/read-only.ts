/**
 * A store for looking only: tools read, list and check it with this, whether nobody has it open or another process is
 * writing it. Nothing on disk is changed, so what a crash left is as it was. Owns its StoreSurvey.
 */
import { assert } from '../../base/assert.ts'
import { realRandom } from '../../base/real-random.ts'
import type { Fs } from '../../base/fs.ts'
import type { StoreRange } from '../contract.ts'
import { checkPath, storeNameOf } from '../directory.ts'
import { StoreError } from '../errors.ts'
import { nodeFs } from '../node-fs.ts'
import type { EntryCursor } from './cursor.ts'
import { formatVersion, logName, manifestName, tableName } from './format.ts'
import { memtableCursor } from './memtable-cursor.ts'
import { MergeCursor } from './merge-cursor.ts'
import { processIdentity } from './process-identity.ts'
import { cursorRange } from './read-view.ts'
import type { ReplayedLog } from './replay.ts'
import { Run } from './run.ts'
import { faultOf, type StoreFault, StoreSurvey } from './survey.ts'
import type { Table } from './table.ts'
import { type VerifyProgress, type VerifyReport, verifySurvey } from './verify.ts'

/** A table file as its properties describe it. */
export interface TableInfo {
  /** Name of the file. */
  readonly file: string
  /** Of the file. */
  readonly bytes: number
  /** Keys, deleted ones included. */
  readonly entries: number
  /** Of those, keys that it says are deleted. */
  readonly deletions: number
  /** Key and value bytes of the others. */
  readonly dataBytes: number
  /** The smallest key and its space. */
  readonly min: { readonly space: number; readonly key: Buffer }
  /** The largest key and its space. */
  readonly max: { readonly space: number; readonly key: Buffer }
}

/** Tables that are disjoint and in order. */
export interface RunInfo {
  /** `last`: the oldest, which holds every key at most once and no deletions. */
  readonly level: 'upper' | 'last'
  /** Those that can be read; the others are in `faults`. */
  readonly tables: readonly TableInfo[]
}

/** A write-ahead log, read as far as it counts. */
export interface LogInfo {
  /** Name of the file. */
  readonly file: string
  /** Of the file. */
  readonly bytes: number
  /** Of those, bytes that do not count. */
  readonly unusedBytes: number
  /** Batches that count. */
  readonly batches: number
  /** Their records. */
  readonly records: number
  /** Why it counts no further: its orderly end, or what is wrong there. */
  readonly end: 'end' | 'torn' | 'corrupt' | 'gap' | 'skipped'
}

/** What a store's files say of it. */
export interface StoreInfo {
  /** `group/table/partition`. */
  readonly name: string
  /** Version of the format that this release reads and writes. */
  readonly formatVersion: number
  /** 32 hex digits; with the other values down to `runs` undefined when the manifest cannot be read. */
  readonly storeId: string | undefined
  /** The file that says which others count, when it was made (ms), and how many states it holds. */
  readonly manifest:
    | { readonly file: string; readonly createdMs: number; readonly bytes: number; readonly states: number }
    | undefined
  /** How far the store has followed its changelog, and when it wrote so (wall clock, ms); undefined also when it never did. */
  readonly checkpoint: { readonly position: number; readonly state: Buffer; readonly wallMs: number } | undefined
  /** The number of the last batch. */
  readonly lastBatch: number | undefined
  /** The number of the last batch that is in tables. */
  readonly flushedBatch: number | undefined
  /** Newest first. */
  readonly runs: readonly RunInfo[]
  /** Oldest first. */
  readonly logs: readonly LogInfo[]
  /** The process that has the store open. */
  readonly owner: { readonly pid: number; readonly host: string } | undefined
  /** What could not be read. */
  readonly faults: readonly StoreFault[]
}

/** Options of `ReadOnlyStore.open`. */
export interface ReadOnlyOptions {
  /** For messages. Default: the last three parts of the directory. */
  readonly name?: string
  /** The file system. Default: the machine's. */
  readonly fs?: Fs
}

/** A store looked at without opening it: nothing is locked or changed, so that its owner may be at work. */
export class ReadOnlyStore implements Disposable {
  readonly #survey: StoreSurvey
  #isClosed = false

  /**
   * Looks at the store in a directory as it is now. Succeeds however damaged it is: see `info().faults`. Throws the system's
   * error when the directory cannot be read, OptionError for a path that is none.
   */
  static open(dir: string, options: ReadOnlyOptions = {}): ReadOnlyStore {
    checkPath('ReadOnlyStore.open', dir)
    const fs = options.fs ?? nodeFs()
    const identity = processIdentity(realRandom, fs)
    return new ReadOnlyStore(StoreSurvey.take({ fs, dir, store: options.name ?? storeNameOf(dir), identity }))
  }

  private constructor(survey: StoreSurvey) {
    this.#survey = survey
  }

  /** What the files say. */
  info(): StoreInfo {
    this.#check()
    const { place, manifest, replay, owner, errors } = this.#survey
    const { checkpoint, checkpointMs } = replay ?? {}
    return {
      name: place.store,
      formatVersion,
      storeId: manifest?.state.storeId,
      manifest:
        manifest === undefined
          ? undefined
          : {
              file: manifestName(manifest.fileNumber),
              createdMs: manifest.createdMs,
              bytes: manifest.byteLength,
              states: manifest.states,
            },
      checkpoint: checkpoint === undefined ? undefined : { ...checkpoint, wallMs: checkpointMs ?? 0 },
      lastBatch: replay?.seq,
      flushedBatch: manifest?.state.flushedSeq,
      runs: this.#runs(),
      logs: (replay?.logs ?? []).map(logInfo),
      owner: owner === undefined ? undefined : { pid: owner.pid, host: owner.host },
      faults: errors.map(({ file, error }) => faultOf(error, file)),
    }
  }

  #runs(): RunInfo[] {
    const { manifest, tables } = this.#survey
    if (manifest === undefined) return []
    const { upper, last } = manifest.state
    const info = (level: RunInfo['level'], numbers: readonly number[]): RunInfo => ({
      level,
      tables: numbers.flatMap((number) => {
        const table = tables.get(number)
        return table === undefined ? [] : tableInfo(table)
      }),
    })
    const runs = upper.map((run) => info('upper', run))
    return last.length === 0 ? runs : [...runs, info('last', last)]
  }

  /**
   * The entries of a range in order, as the store would give them; copies. Throws StoreError ERR_STORE_CORRUPT or
   * ERR_STORE_VERSION when a file that counts cannot be read, or the system's error.
   */
  *entries(range: StoreRange = {}): Generator<[key: Buffer, value: Buffer], void, void> {
    this.#check()
    const cursor = this.#cursor(range)
    try {
      while (cursor.next()) {
        const { keyBytes, keyFrom, keyTo, valueBytes, valueFrom, valueTo } = cursor
        yield [Buffer.from(keyBytes.subarray(keyFrom, keyTo)), Buffer.from(valueBytes.subarray(valueFrom, valueTo))]
        this.#check()
      }
    } finally {
      cursor.close()
    }
  }

  #cursor(range: StoreRange): EntryCursor {
    const { manifest, tables, replay, errors } = this.#survey
    const [first] = errors
    if (first !== undefined) throw first.error
    assert(manifest !== undefined && replay !== undefined, 'a store without a manifest has no fault')
    const whole = cursorRange(range)
    const memtables = replay.logs.flatMap(({ memtable }) => memtable ?? []).reverse()
    const cursors = memtables.map((memtable) => memtableCursor(memtable, whole, memtable.visible))
    for (const numbers of [...manifest.state.upper, manifest.state.last]) {
      if (numbers.length > 0) cursors.push(new Run(numbers.map((number) => tables.get(number)!)).cursor(whole))
    }
    return new MergeCursor(cursors, { reverse: whole.reverse, dropDeleted: true })
  }

  /** Checks everything, in steps of about a millisecond; counts `progress` up. Damage is told by the report. */
  verify(progress: VerifyProgress = { doneBytes: 0, totalBytes: 0 }): Generator<undefined, VerifyReport> {
    this.#check()
    return verifySurvey(this.#survey, progress)
  }

  #check(): void {
    if (this.#isClosed) throw new StoreError('ERR_STORE_CLOSED', this.#survey.place.store, 'it is closed')
  }

  /** Closes the files. May be called any number of times. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#survey.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function tableInfo({ meta }: Table): TableInfo {
  return {
    file: tableName(meta.fileNumber),
    bytes: meta.byteLength,
    entries: meta.entryCount,
    deletions: meta.tombstoneCount,
    dataBytes: meta.dataBytes,
    min: meta.min,
    max: meta.max,
  }
}

function logInfo({ number, bytes, size, frames, records, end }: ReplayedLog): LogInfo {
  return { file: logName(number), bytes, unusedBytes: bytes - size, batches: frames, records, end }
}
