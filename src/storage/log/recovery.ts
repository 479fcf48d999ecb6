/**
 * Opening a store: from the files that the last owner left to the state they mean. The manifest says which tables count
 * and up to which batch; the logs say what came after it. Recovery takes whole batches in the order of their numbers and
 * stops at the first that is missing or damaged, so the store is always one that existed, and its checkpoint is that of
 * the same moment. Opening twice gives the same, also when the first time was broken off.
 */
import type { CoreParts } from './core-parts.ts'
import type { StoreEvent } from './events.ts'
import { logName, manifestName, parseFileName, type StoreFiles, tableName, unsyncedName } from './format.ts'
import { LogFile } from './log-file.ts'
import { Manifest, type OpenedManifest } from './manifest.ts'
import type { ManifestState } from './manifest-state.ts'
import type { Memtable } from './memtable.ts'
import { logNumbers, Replay } from './replay.ts'
import { hasCode } from './small-file.ts'
import { markUnsynced } from './unsynced.ts'
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
  /**
   * The last owner, or attempt of this process, failed: what can be read may not be durable, whatever a sync says. Or somebody may be
   * writing it still who does not know that the lock is ours. Manifest and logs are made anew.
   */
  readonly isSuspect: boolean
  /** The last owner has given back its lock: it did not die, and if it left something that is not durable it said so. */
  readonly wasClosed: boolean
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
  const checkLock = (): void => settings.checkLock()
  const opened = Manifest.open({ fs, dir, store, now, checkLock }) ?? durably(settings, () => create(settings))
  const { state } = opened
  // After a failed sync nobody knows what of the manifest is durable: a new one is. And nobody else has it open.
  const manifest = settings.isSuspect
    ? durably(settings, () => renewed(opened.manifest, state, freeNumber(settings, state)))
    : opened.manifest
  const files: StoreFiles = {
    fs,
    dir,
    store,
    now,
    checkLock,
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
    const replay = readLogs(files, settings, state, names)
    const nextFile = Math.max(state.nextFile, ...names.map((name) => parseFileName(name).number + 1))
    const leftovers = leftoversOf(names, state, manifest.fileNumber, replay)
    // From here on files change. What counts must be durable before what it made superfluous goes, or what is torn.
    const isRepaired = replay.stop !== undefined || opened.droppedBytes > 0
    const isDurable =
      !settings.wasClosed || settings.isSuspect || isRepaired || leftovers.some(({ counted }) => counted)
    checkLock()
    parts = durably(settings, () => {
      if (isDurable && manifest.durableLength < manifest.byteLength) manifest.synced.block()
      return resumeLogs(files, settings, replay, !isDurable)
    })
    durably(settings, () => dropTail(opened, manifest, settings))
    removeLeftovers(settings, leftovers)
    return { files, manifest, state, tables, version, nextFile, isDurable, ...parts }
  } catch (error) {
    closeFiles({ manifest, tables, frozen: parts?.frozen ?? [], active: parts?.active })
    throw error
  }
}

/**
 * Does what syncs files. No sync of theirs is to be believed after one that failed: whoever opens the store next is told, in
 * whatever process. Throws what it throws.
 */
function durably<T>({ fs, dir, checkLock }: RecoverySettings, work: () => T): T {
  try {
    return work()
  } catch (error) {
    try {
      checkLock()
      markUnsynced(fs, dir, true)
    } catch {
      // The lock was lost, or the disk is as sick as that. Why the store cannot be opened counts.
    }
    throw error
  }
}

/** The torn end of a manifest: a change of tables that never happened, unless the disk has lost it. */
function dropTail(
  { manifest: { fileNumber }, droppedBytes }: OpenedManifest,
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

function create({ fs, dir, store, now, random, checkLock }: RecoverySettings): OpenedManifest {
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
  return { manifest: Manifest.create({ fs, dir, store, now, checkLock }, 1, state), state, droppedBytes: 0 }
}

/** Reads the logs that count. */
function readLogs(
  files: StoreFiles,
  settings: RecoverySettings,
  state: ManifestState,
  names: readonly string[],
): Replay {
  const replay = new Replay(files, state)
  for (const number of logNumbers(names, state)) {
    const handle = files.fs.openSync(`${files.dir}/${logName(number)}`, 'read')
    try {
      replay.read(number, handle)
    } finally {
      handle.closeSync()
    }
  }
  const { stop } = replay
  if (stop !== undefined && stop.droppedBytes > 0) {
    const { reason, file, droppedBytes } = stop
    settings.onEvent({ kind: 'recovered', store: files.store, file, droppedBytes, reason })
  }
  return replay
}

/** Goes on writing the last of the logs that count. */
function resumeLogs(files: StoreFiles, settings: RecoverySettings, replay: Replay, isClosed: boolean): ReplayedParts {
  const { checkpoint, checkpointMs, seq } = replay
  const frozen: { memtable: Memtable; log: LogFile }[] = []
  try {
    for (const { memtable, size } of replay.logs) {
      if (memtable === undefined) continue
      const log = LogFile.resume(files, memtable.logNumber, size, settings.isSuspect, isClosed)
      frozen.push({ memtable, log })
    }
    removeBehindGap(settings, replay)
  } catch (error) {
    for (const { log } of frozen) log.close()
    throw error
  }
  const active = frozen.pop()
  return { frozen, active, checkpoint, checkpointMs, seq }
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

interface Leftover {
  readonly name: string
  /** It counted once, and might again if a power loss took away what made it superfluous; or it says so of other files. */
  readonly counted: boolean
}

/** Files that a crash, a failed removal or an orderly end left behind. Files with names of others are none. */
function leftoversOf(
  names: readonly string[],
  state: ManifestState,
  manifestNumber: number,
  { logs }: Replay,
): Leftover[] {
  const keep = new Set([manifestName(manifestNumber)])
  for (const number of [...state.upper.flat(), ...state.last]) keep.add(tableName(number))
  const empty = new Set<string>()
  for (const { number, memtable, end } of logs) {
    if (memtable !== undefined) keep.add(logName(number))
    else if (end === 'end') empty.add(logName(number))
  }
  const leftovers: Leftover[] = []
  for (const name of names) {
    const { kind } = parseFileName(name)
    if (keep.has(name) || kind === 'current' || kind === 'lock' || kind === 'other') continue
    leftovers.push({ name, counted: name === unsyncedName || (kind !== 'temporary' && !empty.has(name)) })
  }
  return leftovers
}

function isDirectory(fs: RecoverySettings['fs'], path: string): boolean {
  try {
    fs.readdirSync(path)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOTDIR')) return false
    throw error
  }
}

function removeLeftovers({ fs, dir, onLeftover }: RecoverySettings, leftovers: readonly Leftover[]): void {
  for (const { name } of leftovers) {
    const path = `${dir}/${name}`
    // Logs behind a missing batch have gone already.
    if (!fs.existsSync(path)) continue
    try {
      // No store makes directories: whatever one is called, it is somebody's.
      if (!isDirectory(fs, path)) fs.removeSync(path)
    } catch (error) {
      onLeftover(error)
    }
  }
}
