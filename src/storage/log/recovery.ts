/**
 * Opening a store: from the files that the last owner left to the state they mean. The manifest says which tables count
 * and up to which batch; the logs say what came after it. Recovery takes whole batches in the order of their numbers and
 * stops at the first that is missing or damaged, so the store is always one that existed, and its checkpoint is that of
 * the same moment. Opening twice gives the same, also when the first time was broken off.
 */
import type { FileHandle } from '../../base/fs.ts'
import type { Checkpoint } from '../contract.ts'
import { StoreError } from '../errors.ts'
import type { CoreParts, Frozen } from './core.ts'
import type { StoreEvent } from './events.ts'
import { checkFileHeader, corrupt, logName, manifestName, parseFileName, type StoreFiles, tableName } from './format.ts'
import { firstFrame, frameHeader, readFrame } from './frame.ts'
import { LogFile } from './log-file.ts'
import { Manifest } from './manifest.ts'
import type { ManifestState } from './manifest-state.ts'
import { Memtable, maxMemtableBytes } from './memtable.ts'
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
  const isSuspect = settings.durableBytes.size > 0
  const manifest = isSuspect
    ? opened.manifest.rewrite({ ...state, nextFile: freeNumber(settings, state) + 1 }, freeNumber(settings, state))
    : opened.manifest
  const files: StoreFiles = {
    fs,
    dir,
    store,
    now,
    storeId: Buffer.from(state.storeId, 'hex'),
    hashSeed: state.hashSeed,
  }
  const tables = new TableSet(files, settings.onLeftover)
  try {
    const version = tables.version(state.upper, state.last)
    const names = fs.readdirSync(dir)
    const logs = names.map(parseFileName).filter(({ kind }) => kind === 'log')
    const numbers = logs.map(({ number }) => number).filter((number) => number >= state.oldestLog)
    const replay = new Replay(files, settings, state)
    for (const number of numbers.sort((a, b) => a - b)) replay.read(number)
    const parts = replay.finish()
    settings.checkLock()
    removeLeftovers(settings, state, manifest.fileNumber, names, new Set(replay.kept))
    return { files, manifest, state, tables, version, nextFile: freeNumber(settings, state), ...parts }
  } catch (error) {
    tables.close()
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

/** Reads logs in order until something is missing. */
class Replay {
  readonly #files: StoreFiles
  readonly #settings: RecoverySettings
  readonly #read: { memtable: Memtable; size: number }[] = []
  #seq: number
  #checkpoint: Checkpoint | undefined
  #checkpointMs: number
  /** Why nothing after this counts. */
  #stopped: { reason: 'torn' | 'corrupt' | 'gap'; file: string; droppedBytes: number } | undefined

  constructor(files: StoreFiles, settings: RecoverySettings, state: ManifestState) {
    this.#files = files
    this.#settings = settings
    this.#seq = state.flushedSeq
    this.#checkpointMs = state.checkpoint?.wallMs ?? 0
    if (state.checkpoint !== null) {
      const bytes = Buffer.from(state.checkpoint.state, 'base64')
      this.#checkpoint = Object.freeze({ position: state.checkpoint.position, state: bytes })
    }
  }

  /** Numbers of the logs that still count. */
  get kept(): number[] {
    return this.#read.map(({ memtable }) => memtable.logNumber)
  }

  read(number: number): void {
    const { fs, dir, store } = this.#files
    const file = logName(number)
    const handle = fs.openSync(`${dir}/${file}`, 'read')
    let image: Buffer
    try {
      image = this.#image(handle, file)
    } finally {
      handle.closeSync()
    }
    if (this.#stopped !== undefined) {
      this.#stopped.droppedBytes += image.length
      return
    }
    if (image.length < firstFrame) {
      this.#stop('torn', file, image.length)
      return
    }
    const header = image.subarray(0, firstFrame)
    try {
      checkFileHeader('log', header, { storeId: this.#files.storeId, fileNumber: number }, { store, file })
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_CORRUPT') throw error
      this.#stop('corrupt', file, image.length)
      return
    }
    this.#replay(number, image, header)
  }

  #image(handle: FileHandle, file: string): Buffer {
    const size = Math.min(handle.sizeSync(), this.#settings.durableBytes.get(file) ?? Number.POSITIVE_INFINITY)
    if (size > maxMemtableBytes) {
      throw corrupt(this.#files.store, file, maxMemtableBytes, `it has ${size} bytes, more than a log ever gets`)
    }
    const image = Buffer.allocUnsafeSlow(size)
    return image.subarray(0, handle.readSync(image, 0, size, 0))
  }

  #replay(number: number, image: Buffer, header: Buffer): void {
    const seed = this.#files.hashSeed
    const memtable = new Memtable({
      seed,
      logNumber: number,
      firstSeq: this.#seq + 1,
      header,
      image: wordAligned(image),
    })
    const crc = LogFile.seedOf(this.#files, number)
    let at = firstFrame
    for (;;) {
      const frame = readFrame(image, at, image.length, crc)
      if (frame === 'end') break
      if (typeof frame === 'string') {
        this.#stop(frame, logName(number), image.length - at)
        break
      }
      if (frame.seq !== this.#seq + 1) {
        this.#stop('gap', logName(number), image.length - at)
        break
      }
      for (let record = at + frameHeader; record < frame.recordsTo; ) record = memtable.adopt(record)
      this.#seq = frame.seq
      memtable.lastSeq = frame.seq
      if (frame.checkpoint !== undefined) {
        this.#checkpoint = frame.checkpoint
        this.#checkpointMs = frame.wallMs
      }
      memtable.checkpoint = this.#checkpoint
      memtable.checkpointMs = this.#checkpointMs
      at = frame.to
    }
    memtable.end = at
    memtable.publish()
    if (memtable.lastSeq >= memtable.firstSeq) this.#read.push({ memtable, size: at })
  }

  #stop(reason: 'torn' | 'corrupt' | 'gap', file: string, droppedBytes: number): void {
    this.#stopped = { reason, file, droppedBytes }
  }

  finish(): Pick<CoreParts, 'frozen' | 'active' | 'checkpoint' | 'checkpointMs' | 'seq'> {
    if (this.#stopped !== undefined && this.#stopped.droppedBytes > 0) {
      this.#settings.onEvent({ kind: 'recovered', store: this.#files.store, ...this.#stopped })
    }
    const all = this.#read.map(({ memtable, size }) => ({
      memtable,
      log: LogFile.resume(this.#files, memtable.logNumber, size),
    }))
    const active = all.pop()
    const frozen: Frozen[] = all
    return { frozen, active, checkpoint: this.#checkpoint, checkpointMs: this.#checkpointMs, seq: this.#seq }
  }
}

/** The bytes of a file that was read into a buffer of its own: a memtable looks at them as words. */
function wordAligned(image: Buffer): Buffer {
  if (image.length % 4 === 0) return image
  const whole = Buffer.alloc(image.length + (-image.length & 7))
  image.copy(whole)
  return whole
}

/** Files that a crash or a failed removal left behind. Files with names of others stay. */
function removeLeftovers(
  { fs, dir, onLeftover }: RecoverySettings,
  state: ManifestState,
  manifestNumber: number,
  names: readonly string[],
  logs: ReadonlySet<number>,
): void {
  const keep = new Set([manifestName(manifestNumber)])
  for (const number of [...state.upper.flat(), ...state.last]) keep.add(tableName(number))
  for (const number of logs) keep.add(logName(number))
  for (const name of names) {
    const { kind } = parseFileName(name)
    if (keep.has(name) || kind === 'current' || kind === 'lock' || kind === 'other') continue
    try {
      fs.removeSync(`${dir}/${name}`)
    } catch (error) {
      onLeftover(error)
    }
  }
}
