/**
 * Opening a store: from the files that the last owner left to the state they mean. The manifest says which tables count
 * and up to which batch; the logs say what came after it. Recovery takes whole batches in the order of their numbers and
 * stops at the first that is missing or damaged, so the store is always one that existed, and its checkpoint is that of
 * the same moment. Opening twice gives the same, also when the first time was broken off.
 */
import type { CoreParts } from './core.ts'
import type { StoreEvent } from './events.ts'
import { logName, manifestName, parseFileName, type StoreFiles, tableName } from './format.ts'
import { LogFile } from './log-file.ts'
import { Manifest, type OpenedManifest } from './manifest.ts'
import type { ManifestState } from './manifest-state.ts'
import type { Memtable } from './memtable.ts'
import { logNumbers, Replay } from './replay.ts'
import { TableSet } from './version.ts'

/** What opening a store needs besides its directory. */
export interface RecoverySettings {
  readonly fs: StoreFiles['fs']
  readonly dir: string
  /** `group/table/partition`. */
  readonly store: string
  /** For a new store: its id and the seed of its hashes. */
  readonly random: { bytes(size: number): Buffer }
  now(): number
  /** Of files whose last sync failed in this process: how much of each may be believed. */
  readonly durableBytes: ReadonlyMap<string, number>
  /** The last attempt of this process failed: what can be read may not be durable, whatever a sync says. It is written anew. */
  readonly isSuspect: boolean
  /** For slots and indexes of tables. */
  readonly memory: StoreFiles['memory']
  readonly handles: StoreFiles['handles']
  onEvent(event: StoreEvent): void
  /** Throws StoreError when the directory's lock was lost. */
  checkLock(): void
  /** A file that is not needed any more could not be removed; it is tried again when the store is opened next. */
  onLeftover(error: unknown): void
}

/** Opens the store in an existing, locked directory; makes it if the directory is empty. Throws StoreError or the system's error. */
export function recover(settings: RecoverySettings): CoreParts {
  const { fs, dir, store, now } = settings
  const opened = Manifest.open({ fs, dir, store, now }) ?? create(settings)
  const { state } = opened
  // After a failed sync nobody knows what of the manifest is durable: a new one is.
  const manifest = settings.isSuspect ? renewed(opened.manifest, state, freeNumber(settings, state)) : opened.manifest
  const files: StoreFiles = {
    fs,
    dir,
    store,
    now,
    storeId: Buffer.from(state.storeId, 'hex'),
    hashSeed: state.hashSeed,
    memory: settings.memory,
    handles: settings.handles,
  }
  const tables = new TableSet(files, settings.onLeftover)
  let parts: ReplayedParts | undefined
  try {
    const version = tables.version(state.upper, state.last)
    const names = fs.readdirSync(dir)
    parts = replayLogs(files, settings, state, names)
    dropTail(opened, manifest, settings)
    const logs = [...parts.frozen, parts.active].map((one) => one?.memtable.logNumber ?? 0)
    removeLeftovers(settings, state, manifest.fileNumber, new Set(logs))
    return { files, manifest, state, tables, version, nextFile: freeNumber(settings, state), ...parts }
  } catch (error) {
    closeFiles({ manifest, tables, frozen: parts?.frozen ?? [], active: parts?.active })
    throw error
  }
}

/** The torn end of a manifest: a change of tables that never happened, unless the disk has lost it. */
function dropTail(
  { manifest: { fileNumber }, droppedBytes = 0 }: Pick<OpenedManifest, 'manifest'> & Partial<OpenedManifest>,
  manifest: Manifest,
  { store, onEvent }: RecoverySettings,
): void {
  manifest.dropTail()
  if (droppedBytes === 0) return
  onEvent({ kind: 'recovered', store, file: manifestName(fileNumber), droppedBytes, reason: 'torn' })
}

/** Closes what was opened for a store that cannot be used after all. */
export function closeFiles({ manifest, tables, frozen, active }: OpenFiles): void {
  for (const one of [...frozen, active]) one?.log?.close()
  tables.close()
  manifest.close()
}

type OpenFiles = Pick<CoreParts, 'manifest' | 'tables' | 'frozen' | 'active'>
type ReplayedParts = Pick<CoreParts, 'frozen' | 'active' | 'checkpoint' | 'checkpointMs' | 'seq'>

/** The same state in a new manifest. */
function renewed(manifest: Manifest, state: ManifestState, number: number): Manifest {
  try {
    return manifest.rewrite({ ...state, nextFile: number + 1 }, number)
  } catch (error) {
    manifest.close()
    throw error
  }
}

/** Above every number that a file of the store has or had. */
function freeNumber({ fs, dir }: RecoverySettings, state: ManifestState): number {
  const numbers = fs.readdirSync(dir).map((name) => parseFileName(name).number)
  return Math.max(state.nextFile, ...numbers.filter(Number.isSafeInteger).map((number) => number + 1))
}

function create({ fs, dir, store, now, random }: RecoverySettings): { manifest: Manifest; state: ManifestState } {
  const state: ManifestState = {
    storeId: random.bytes(16).toString('hex'),
    hashSeed: random.bytes(4).readInt32LE(0),
    nextFile: 2,
    flushedSeq: 0,
    oldestLog: 2,
    checkpoint: null,
    upper: [],
    last: [],
  }
  return { manifest: Manifest.create({ fs, dir, store, now }, 1, state), state }
}

/** Reads the logs that count, and goes on writing the last of them. */
function replayLogs(
  files: StoreFiles,
  settings: RecoverySettings,
  state: ManifestState,
  names: readonly string[],
): ReplayedParts {
  const replay = new Replay(files, state, settings.durableBytes)
  for (const number of logNumbers(names, state)) {
    const handle = files.fs.openSync(`${files.dir}/${logName(number)}`, 'read')
    try {
      replay.read(number, handle)
    } finally {
      handle.closeSync()
    }
  }
  const { stop, checkpoint, checkpointMs, seq } = replay
  if (stop !== undefined && stop.droppedBytes > 0) {
    const { reason, file, droppedBytes } = stop
    settings.onEvent({ kind: 'recovered', store: files.store, file, droppedBytes, reason })
  }
  const frozen: { memtable: Memtable; log: LogFile }[] = []
  // From here on files change.
  settings.checkLock()
  try {
    for (const { memtable, size } of replay.logs) {
      if (memtable !== undefined) frozen.push({ memtable, log: resumed(files, settings, memtable, size) })
    }
    removeBehindGap(settings, replay)
  } catch (error) {
    for (const { log } of frozen) log.close()
    throw error
  }
  const active = frozen.pop()
  return { frozen, active, checkpoint, checkpointMs, seq }
}

function resumed(files: StoreFiles, { isSuspect }: RecoverySettings, { logNumber }: Memtable, size: number): LogFile {
  return LogFile.resume(files, logNumber, size, isSuspect)
}

/**
 * Logs behind a missing batch go durably before anything is written: else they might be there again after the next power
 * loss, and then their numbers might just go on from those of the new batches. Throws the system's error.
 */
function removeBehindGap({ fs, dir }: RecoverySettings, replay: Replay): void {
  const behind = replay.logs.filter(
    ({ end, memtable }) => end === 'skipped' || (end === 'gap' && memtable === undefined),
  )
  for (const { number } of behind) fs.removeSync(`${dir}/${logName(number)}`)
  if (behind.length > 0) fs.syncDirSync(dir)
}

/** Files that a crash or a failed removal left behind. Files with names of others stay. */
function removeLeftovers(
  { fs, dir, onLeftover }: RecoverySettings,
  state: ManifestState,
  manifestNumber: number,
  logs: ReadonlySet<number>,
): void {
  const keep = new Set([manifestName(manifestNumber)])
  for (const number of [...state.upper.flat(), ...state.last]) keep.add(tableName(number))
  for (const number of logs) keep.add(logName(number))
  for (const name of fs.readdirSync(dir)) {
    const { kind } = parseFileName(name)
    if (keep.has(name) || kind === 'current' || kind === 'lock' || kind === 'other') continue
    try {
      fs.removeSync(`${dir}/${name}`)
    } catch (error) {
      onLeftover(error)
    }
  }
}
