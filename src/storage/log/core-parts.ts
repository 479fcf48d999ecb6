/** What a store's core is made of when it begins, and what it hands around: memtables with their logs, and versions that were replaced. */
import type { Checkpoint } from '../contract.ts'
import type { StoreFiles } from './format.ts'
import type { LogFile } from './log-file.ts'
import type { Manifest } from './manifest.ts'
import type { ManifestState } from './manifest-state.ts'
import type { Memtable } from './memtable.ts'
import type { TableSet, Version } from './version.ts'

/** A memtable that is not written any more, and its log; undefined: it has none. */
export interface Frozen {
  readonly memtable: Memtable
  readonly log: LogFile | undefined
}

/** What a new version of the tables made superfluous. */
export interface Superseded {
  readonly version: Version
  readonly flushed: Frozen | undefined
}

/** What recovery found, or what a new store begins with. */
export interface CoreParts {
  readonly files: StoreFiles
  readonly manifest: Manifest
  readonly state: ManifestState
  readonly tables: TableSet
  readonly version: Version
  /** Oldest first. */
  readonly frozen: readonly Frozen[]
  readonly active: { readonly memtable: Memtable; readonly log: LogFile } | undefined
  readonly checkpoint: Checkpoint | undefined
  readonly checkpointMs: number
  /** Number of the last batch. */
  readonly seq: number
  /** Whether all of it is durable; else nothing depends on that yet, and the first sync makes it so. */
  readonly isDurable: boolean
  /** The next file's number: above every number in the directory. */
  readonly nextFile: number
}
