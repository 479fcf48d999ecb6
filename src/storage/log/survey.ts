/**
 * Looking at the files of a store without changing them: what its manifest, tables and logs say, and what of that cannot
 * be read. Works on a store that nobody has open and beside a process that is writing it: files that are open stay
 * readable when their owner removes them, and when the manifest has changed meanwhile everything is opened again. So what is
 * seen is the store as it was at one moment. A StoreSurvey owns the files it opened.
 */
import type { FileHandle, Fs } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { corrupt, currentName, damageOf, lockName, logName, type StoreFiles, tableName } from './format.ts'
import { holderState, readRecord } from './lock.ts'
import { type SeenManifest, seeManifest } from './manifest.ts'
import type { LockOwner, ProcessIdentity } from './process-identity.ts'
import { logNumbers, Replay } from './replay.ts'
import { Table } from './table.ts'

/** Something in a store that is not as it should be. */
export interface StoreFault {
  /** Name of the file. */
  readonly file: string
  /** Where in it, bytes from its start. */
  readonly offset: number
  /** What is wrong there. */
  readonly what: string
  /** The system's code (EACCES, EIO, …) when it could not be read: then nothing is known to be damaged. */
  readonly code?: string
}

/** What is needed to look at a store. */
export interface SurveyPlace {
  readonly fs: Fs
  readonly dir: string
  /** The store's name, for messages. */
  readonly store: string
  /** Tells whether the process that left a lock still lives. */
  readonly identity: ProcessIdentity
}

/** So often a store that changes under the reader's hands is opened again. */
const maxAttempts = 50

/** The fault that an error tells of. */
export function faultOf(error: unknown, file: string): StoreFault {
  if (error instanceof StoreError) {
    const fault = { file: error.file ?? file, offset: error.offset ?? 0, what: damageOf(error) }
    const { code } = (error.cause ?? {}) as { readonly code?: unknown }
    return error.code === 'ERR_STORE_IO' && typeof code === 'string' ? { ...fault, code } : fault
  }
  const { code, message = String(error) } = error as { code?: string; message?: string }
  return code === undefined
    ? { file, offset: 0, what: message }
    : { file, offset: 0, what: `it cannot be read (${code})`, code }
}

export class StoreSurvey {
  readonly place: SurveyPlace
  /** Undefined when it cannot be read, or there is none: then nothing else is known either. */
  readonly manifest: SeenManifest | undefined
  readonly files: StoreFiles | undefined
  /** By file number: the tables that the manifest names and that could be opened. */
  readonly tables: ReadonlyMap<number, Table>
  /** The logs as recovery would read them. */
  readonly replay: Replay | undefined
  /** The logs' files, by number. */
  readonly logs: ReadonlyMap<number, FileHandle>
  /** The errors of what could not be opened. */
  readonly errors: readonly { readonly file: string; readonly error: unknown }[]
  /** Names in the directory. */
  readonly names: readonly string[]
  /** The process that has the store open; undefined when there is none. */
  readonly owner: LockOwner | undefined

  /** Opens the files of a store. Throws the system's error when the directory cannot be read; see `errors` for the rest. */
  static take(place: SurveyPlace): StoreSurvey {
    for (let attempt = 1; ; attempt++) {
      const survey = new StoreSurvey(place)
      if (attempt === maxAttempts || !survey.#hasChanged()) return survey
      survey.close()
    }
  }

  private constructor(place: SurveyPlace) {
    const { fs, dir, store, identity } = place
    const errors: { file: string; error: unknown }[] = []
    const attempt = <T>(file: string, run: () => T): T | undefined => {
      try {
        return run()
      } catch (error) {
        errors.push({ file, error })
        return undefined
      }
    }
    this.place = place
    this.errors = errors
    const holder = attempt(lockName, () => readRecord(fs, `${dir}/${lockName}`))
    this.owner = typeof holder === 'object' && holderState(holder, identity) === 'alive' ? holder : undefined
    this.manifest = attempt(currentName, () => {
      const seen = seeManifest(this.#manifestFiles)
      if (seen === undefined) throw corrupt(store, currentName, 0, 'it is missing')
      return seen
    })
    this.names = fs.readdirSync(dir)
    const tables = new Map<number, Table>()
    const logs = new Map<number, FileHandle>()
    this.tables = tables
    this.logs = logs
    if (this.manifest === undefined) return
    const { state } = this.manifest
    const files = {
      fs,
      dir,
      store,
      storeId: Buffer.from(state.storeId, 'hex'),
      hashSeed: state.hashSeed,
      now: () => 0,
    }
    this.files = files
    for (const number of [...state.upper.flat(), ...state.last]) {
      attempt(tableName(number), () => tables.set(number, Table.open(files, number)))
    }
    const replay = new Replay(files, state)
    this.replay = replay
    for (const number of logNumbers(this.names, state)) {
      attempt(logName(number), () => {
        const handle = fs.openSync(`${dir}/${logName(number)}`, 'read')
        logs.set(number, handle)
        replay.read(number, handle)
      })
    }
  }

  get #manifestFiles() {
    const { fs, dir, store } = this.place
    return { fs, dir, store, now: () => 0 }
  }

  /** Whether the owner has changed which files count since the manifest was read: some may not have been found. */
  #hasChanged(): boolean {
    const before = this.manifest
    try {
      const after = seeManifest(this.#manifestFiles)
      return after?.fileNumber !== before?.fileNumber || after?.byteLength !== before?.byteLength
    } catch {
      return before !== undefined
    }
  }

  /** Closes the files. May be called any number of times. */
  close(): void {
    for (const table of this.tables.values()) table.close()
    for (const handle of this.logs.values()) handle.closeSync()
    ;(this.logs as Map<number, FileHandle>).clear()
  }
}
