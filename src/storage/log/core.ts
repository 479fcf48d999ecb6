/**
 * The core of a log store: memtables, logs, tables and manifest, and the order in which they change so that a crash at
 * any point leaves a prefix of what was written. The owner of all of them; store.ts is its face, maintenance.ts brings
 * its memtables into tables and merges those.
 *
 * A batch is a frame in the active memtable's log. A full memtable is frozen: a new one with a new log takes its place.
 * A frozen one becomes a run of tables; when these are durable and the manifest durably names them, its log goes. Batches
 * are numbered without gaps over all logs: recovery stops at a gap. A bulk load's memtables have no log; each counts as
 * one number, so batches after a load do not count before its tables do.
 */
import { assert } from '../../base/assert.ts'
import { type Checkpoint, Span } from '../contract.ts'
import { StoreError } from '../errors.ts'
import type { CoreParts, Frozen, Superseded } from './core-parts.ts'
import { type Lookup, lookup } from './cursor.ts'
import { Estimator, visibleNow } from './estimate.ts'
import type { StoreEvent } from './events.ts'
import type { StoreFiles } from './format.ts'
import { sealFrame } from './frame.ts'
import { isTooMany } from './handles.ts'
import { hashOf } from './key-hash.ts'
import { laterError, LogFile, logHeaderBytes, syncError, writeError } from './log-file.ts'
import type { Manifest } from './manifest.ts'
import type { ManifestState } from './manifest-state.ts'
import { firstMemtableBytes, Memtable } from './memtable.ts'
import { pointAt, ReadView } from './read-view.ts'
import type { MemtableRooms } from './rooms.ts'
import type { StoreCache } from './store-cache.ts'
import type { TableSet, Version } from './version.ts'
import type { Wait } from './wait.ts'

/** With more upper runs than this a deletion is written without asking them whether there is anything to delete. */
const maxRunsAsked = 8
/** A manifest above this is written anew. */
const maxManifestBytes = 256 * 1024

export class StoreCore {
  readonly files: StoreFiles
  readonly tables: TableSet
  version: Version
  /** Oldest first. */
  frozen: Frozen[]
  active: Memtable
  checkpoint: Checkpoint | undefined
  checkpointMs: number
  /** Why nothing more may be written. */
  poison: StoreError | undefined
  closed = false
  /** Read views that are held. */
  readonly views = new Set<ReadView>()
  /** A memtable was frozen, or the tables have changed: there may be work. */
  onWork: () => void = () => {}
  onEvent: (event: StoreEvent) => void = () => {}
  /** Nothing more may be written: what is under way must end. */
  onPoison: () => void = () => {}
  /** Memtables were frozen or have gone. */
  onMemtables: () => void = () => {}
  #manifest: Manifest
  #log: LogFile | undefined
  #seq: number
  /** What the last owner left is known to be durable; `#seq` then. */
  #isDurable: boolean
  readonly #seqBefore: number
  #nextFile: number
  #flushedSeq: number
  /** The checkpoint that the tables have. */
  #flushed: { checkpoint: Checkpoint | undefined; wallMs: number }
  readonly #writeBufferBytes: number
  /** Values of tables that are read often; undefined: there is no cache. */
  readonly #cache: StoreCache | undefined
  /** Where memtables lie. */
  readonly #rooms: MemtableRooms
  /** For lookups of which only the outcome counts. */
  readonly #unused = new Span()
  readonly #estimator: Estimator
  /** What waits for the manifest to be durable. */
  readonly #unsettled = new Set<Superseded>()
  /** Writes and syncs of logs that are gone. */
  #pastWrites = 0
  #pastSyncs = 0

  constructor(parts: CoreParts, writeBufferBytes: number, cache: StoreCache | undefined, rooms: MemtableRooms) {
    this.#cache = cache
    this.#rooms = rooms
    this.files = parts.files
    this.tables = parts.tables
    this.version = parts.version
    this.frozen = [...parts.frozen]
    this.checkpoint = parts.checkpoint
    this.checkpointMs = parts.checkpointMs
    this.#estimator = new Estimator(parts.files.hashSeed)
    this.#manifest = parts.manifest
    this.#seq = parts.seq
    this.#seqBefore = parts.seq
    this.#isDurable = parts.isDurable
    this.#nextFile = parts.nextFile
    this.#flushedSeq = parts.state.flushedSeq
    const { checkpoint } = parts.state
    this.#flushed = {
      checkpoint:
        checkpoint === null
          ? undefined
          : Object.freeze({ position: checkpoint.position, state: Buffer.from(checkpoint.state, 'base64') }),
      wallMs: checkpoint?.wallMs ?? 0,
    }
    this.#writeBufferBytes = writeBufferBytes
    if (parts.active === undefined) this.active = this.#newMemtable(true)
    else {
      this.active = parts.active.memtable
      this.#log = parts.active.log
    }
  }

  /** Throws StoreError unless the store is open. */
  check(): void {
    if (this.closed) throw new StoreError('ERR_STORE_CLOSED', this.files.store, 'it is closed')
  }

  /** Throws StoreError unless the store may be written. */
  checkWritable(): void {
    this.check()
    if (this.poison !== undefined) throw this.poison
  }

  get seq(): number {
    return this.#seq
  }

  /** A new file's number; numbers are never used twice. */
  readonly nextFile = (): number => this.#nextFile++

  // --- reading

  get(space: number, key: Buffer, from: number, to: number, out: Span): boolean {
    const hash = hashOf(this.files.hashSeed, space, key, from, to)
    const found = this.getInMemory(hash, space, key, from, to, out)
    if (found !== undefined) return found === lookup.value
    if (this.version.get(hash, space, key, from, to, out) !== lookup.value) return false
    this.#cache?.missed(hash, space, key, from, to, out)
    return true
  }

  /** As `get`, but undefined when only the tables know. */
  getInMemory(hash: number, space: number, key: Buffer, from: number, to: number, out: Span): Lookup | undefined {
    const { active } = this
    const ref = active.get(hash, space, key, from, to, active.visible)
    if (ref !== 0) return pointAt(active, ref, out) ? lookup.value : lookup.deleted
    for (let i = this.frozen.length - 1; i >= 0; i--) {
      const { memtable } = this.frozen[i]!
      const found = memtable.get(hash, space, key, from, to, memtable.visible)
      if (found !== 0) return pointAt(memtable, found, out) ? lookup.value : lookup.deleted
    }
    return this.#cache?.get(hash, space, key, from, to, out) === true ? lookup.value : undefined
  }

  /** Changes when what the tables have of a key may have become another value. */
  get tableEra(): number {
    return this.#cache?.era ?? 0
  }

  /**
   * Tells the cache of a value that the tables had in `era`; `isWanted`: it is put in at once. Nothing happens when the key
   * may have another value by now: in the tables, or in a memtable whose keys were taken out of the cache already.
   */
  remember(era: number, hash: number, space: number, key: Buffer, value: Span, isWanted: boolean): void {
    const cache = this.#cache
    if (cache === undefined || era !== cache.era) return
    if (this.getInMemory(hash, space, key, 0, key.length, this.#unused) !== undefined) return
    if (isWanted) cache.put(hash, space, key, value)
    else cache.missed(hash, space, key, 0, key.length, value)
  }

  /** Takes keys [from, to) of a frozen memtable out of the cache, before they are in tables. */
  forget(memtable: Memtable, from: number, to: number): void {
    this.#cache?.forget(memtable, from, to)
  }

  /** Whether the key may have a value, or a record that a batch wrote: a deletion of others means nothing. */
  mayHave(space: number, key: Buffer, from: number, to: number): boolean {
    const hash = hashOf(this.files.hashSeed, space, key, from, to)
    if (this.active.get(hash, space, key, from, to, Number.MAX_SAFE_INTEGER) !== 0) return true
    for (const { memtable } of this.frozen) {
      if (memtable.get(hash, space, key, from, to, memtable.visible) !== 0) return true
    }
    const { version } = this
    return version.upper.length > maxRunsAsked || version.mayHave(hash, space, key, from, to)
  }

  /** The store as it is now; release it. */
  view(): ReadView {
    const memtables = [visibleNow(this.active)]
    for (let i = this.frozen.length - 1; i >= 0; i--) memtables.push(visibleNow(this.frozen[i]!.memtable))
    const filled = memtables.filter(({ keys }) => keys > 0)
    const view = new ReadView(filled, this.version, this.checkpoint, this.files.hashSeed, this.#estimator, (one) =>
      this.views.delete(one),
    )
    this.views.add(view)
    return view
  }

  // --- writing

  /** Completes and writes the frame [from, to) of the active memtable. Throws StoreError; nothing has changed then. */
  log(from: number, to: number, stateAt: number, count: number, checkpoint: Checkpoint | undefined): void {
    const log = this.#log
    assert(log !== undefined, 'a batch is written while a load is open')
    // It may have come since the writes of a group were accepted.
    if (this.poison !== undefined) throw this.poison
    const wallMs = checkpoint === undefined ? 0 : this.files.now()
    const seq = this.#seq + 1
    sealFrame(this.active.bytes, from, to, { seq, count, checkpoint, wallMs }, stateAt, log.seed)
    try {
      log.write(this.active.bytes, from, to)
    } catch (error) {
      this.poisonBy(error)
      throw error
    }
    this.#seq = seq
    this.active.lastSeq = seq
    if (checkpoint !== undefined) this.#setCheckpoint(checkpoint, wallMs)
  }

  #setCheckpoint(checkpoint: Checkpoint, wallMs: number): void {
    this.checkpoint = checkpoint
    this.checkpointMs = wallMs
    this.active.checkpoint = checkpoint
    this.active.checkpointMs = wallMs
  }

  /** A load's checkpoint: it becomes durable with the tables of its memtable. */
  loadCheckpoint(checkpoint: Checkpoint): void {
    this.#setCheckpoint(checkpoint, this.files.now())
    this.active.lastSeq = this.active.firstSeq
  }

  /** Records of a load were appended. */
  loaded(): void {
    this.active.lastSeq = this.active.firstSeq
    this.active.publish()
    this.freezeIfFull()
  }

  /** Freezes the active memtable if it is as large as it may become. */
  freezeIfFull(): void {
    if (this.active.end < this.#writeBufferBytes) return
    try {
      this.freeze(this.active.logNumber !== 0)
    } catch (error) {
      // The batch is written; the memtable goes on growing until there is room for another log.
      if (!(error instanceof StoreError)) throw error
      // What poisons was told already.
      if (error !== this.poison) this.onEvent({ kind: 'failed', store: this.files.store, error })
    }
  }

  /** The active memtable is written no more; a new one, with a log or without, takes its place. Throws StoreError. */
  freeze(withLog: boolean): void {
    const memtable = this.active
    const log = this.#log
    this.active = this.#newMemtable(withLog)
    if (memtable.lastSeq < memtable.firstSeq) this.#dropLog(log)
    else {
      this.frozen.push({ memtable, log })
      this.onWork()
    }
    this.onMemtables()
  }

  /** Needs the sequence numbers of the memtable before it to be final. */
  #newMemtable(withLog: boolean): Memtable {
    const seed = this.files.hashSeed
    const before = this.#log
    const firstSeq = this.#lastSeq() + 1
    // A store that has filled one will fill the next: growing would copy it seven times.
    const active = this.active as Memtable | undefined
    const end = active?.end ?? 0
    const isFull = active !== undefined && end >= this.#writeBufferBytes
    const expected = isFull
      ? Math.min(active.bytes.length, 2 * this.#writeBufferBytes)
      : Math.max(firstMemtableBytes, end)
    const keys = isFull ? active.keyCount : 0
    const rooms = this.#rooms
    if (!withLog) {
      this.#log = undefined
      return new Memtable({ seed, logNumber: 0, firstSeq, header: Buffer.alloc(64), rooms, expected, keys })
    }
    const number = this.nextFile()
    const header = LogFile.header(this.files, number)
    try {
      this.#log = LogFile.create(this.files, number, header)
    } catch (error) {
      this.#log = before
      this.poisonBy(error)
      throw error
    }
    return new Memtable({ seed, logNumber: number, firstSeq, header, rooms, expected, keys })
  }

  #lastSeq(): number {
    const active = this.active as Memtable | undefined
    this.#seq = Math.max(this.#seq, active?.lastSeq ?? 0)
    return this.#seq
  }

  /** After ERR_STORE_POISONED nothing more is written; other errors change nothing, and false is returned. */
  poisonBy(error: unknown): boolean {
    if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_POISONED') return false
    if (this.poison === undefined) {
      this.poison = error
      this.tables.removals.stop()
      this.onEvent({ kind: 'failed', store: this.files.store, error })
      this.onPoison()
    }
    return true
  }

  // --- durability

  /** Memtables that no durable manifest counts as tables, oldest first, without the active one. */
  #pending(): Frozen[] {
    return [...[...this.#unsettled].flatMap(({ flushed }) => flushed ?? []), ...this.frozen]
  }

  /** The logs of all memtables, oldest first. */
  #logs(): LogFile[] {
    return [...this.#pending().map(({ log }) => log), this.#log].filter((log) => log !== undefined)
  }

  /** Whether a bulk load is open. */
  get isLoading(): boolean {
    return this.#log === undefined && !this.closed
  }

  /** Whether there is a load that is not durable, and so nothing that was written after it. */
  get hasLoaded(): boolean {
    return this.#log === undefined || this.#pending().some(({ log }) => log === undefined)
  }

  /** Whether a sync would only be for what the last owner left when it closed the store. */
  get isUntouched(): boolean {
    return !this.#isDurable && this.#seq === this.#seqBefore
  }

  /** Whether a power loss would take nothing away: nothing of ours, and nothing of what the last owner made durable. */
  get isAllDurable(): boolean {
    if (this.isUntouched) return true
    const isOpen = (log: LogFile): boolean => log.size > logHeaderBytes && log.durable < log.size
    return this.#manifest.durableLength === this.#manifest.byteLength && !this.#logs().some(isOpen)
  }

  /** What the last owner left is known to be durable. */
  get isDurable(): boolean {
    return this.#isDurable
  }

  /** Makes every batch written so far durable as far as logs go, without blocking. Throws StoreError and poisons the store. */
  async sync(): Promise<void> {
    try {
      // The logs go on from what the manifest says.
      if (!this.#isDurable) {
        await this.#manifest.synced.wait().catch((error: unknown) => {
          throw isTooMany(error) ? laterError(this.files.store, 'the manifest', error) : this.manifestFailed(error)
        })
      }
      this.#isDurable = true
      for (const log of this.#logs()) if (log.durable < log.size) await log.sync()
    } catch (error) {
      this.poisonBy(error)
      throw error
    }
  }

  syncSync(): void {
    try {
      if (!this.#isDurable) this.#syncManifest()
      this.#isDurable = true
      for (const log of this.#logs()) if (log.durable < log.size) log.syncSync()
    } catch (error) {
      this.poisonBy(error)
      throw error
    }
  }

  /** Batches up to this number are in tables. */
  get flushedSeq(): number {
    return this.#flushedSeq
  }

  /** The logs of what is not in tables, oldest first: what was written of each, and the number of the batch before it. */
  logsBehindTables(): { readonly number: number; readonly size: number; readonly before: number }[] {
    const memtables = [...this.frozen, { memtable: this.active, log: this.#log }]
    return memtables.flatMap(({ memtable, log }) =>
      log === undefined ? [] : { number: log.number, size: log.size, before: memtable.firstSeq - 1 },
    )
  }

  get logWrites(): number {
    return (
      this.#pastWrites + (this.#log?.writes ?? 0) + this.frozen.reduce((sum, { log }) => sum + (log?.writes ?? 0), 0)
    )
  }

  get logSyncs(): number {
    return this.#pastSyncs + (this.#log?.syncs ?? 0) + this.frozen.reduce((sum, { log }) => sum + (log?.syncs ?? 0), 0)
  }

  // --- tables

  /**
   * Other tables from now on; with `flushed`, that frozen memtable (the oldest) is in them. The manifest names them but is
   * not durable yet: sync it, then give what is returned to `settle`. Throws StoreError; nothing has changed then.
   */
  install(upper: readonly (readonly number[])[], last: readonly number[], flushed?: Frozen): Superseded {
    if (this.poison !== undefined) throw this.poison
    const version = this.tables.version(upper, last)
    const rest = flushed === undefined ? this.frozen : this.frozen.filter((one) => one !== flushed)
    const before = { seq: this.#flushedSeq, flushed: this.#flushed }
    if (flushed !== undefined) {
      assert(this.frozen[0] === flushed, 'memtables are flushed out of order')
      const { memtable } = flushed
      this.#flushedSeq = memtable.lastSeq
      if (memtable.checkpoint !== undefined) {
        this.#flushed = { checkpoint: memtable.checkpoint, wallMs: memtable.checkpointMs }
      }
    }
    try {
      this.#writeManifest(upper, last, rest)
    } catch (error) {
      this.#flushedSeq = before.seq
      this.#flushed = before.flushed
      // Poisoned: the manifest on the disk may name the new tables all the same.
      if (this.poison === undefined) version.release()
      throw error
    }
    const superseded = { version: this.version, flushed }
    this.version = version
    this.frozen = rest
    if (flushed !== undefined) this.#cache?.flushed()
    this.onMemtables()
    if (flushed !== undefined) this.#retire(flushed.memtable)
    this.#unsettled.add(superseded)
    return superseded
  }

  /**
   * A memtable is in tables that are read instead, and whoever wrote them has ended: its room is free, unless a view reads
   * it. Memtables that go in other ways (`clear`, `close`) keep theirs: a task of the worker may still read them.
   */
  #retire(memtable: Memtable): void {
    for (const { memtables } of this.views) if (memtables.some((one) => one.memtable === memtable)) return
    this.#rooms.give(memtable.retire())
  }

  /** The manifest is durable: what it made superfluous goes, as soon as no reader holds it. */
  settle(superseded: Superseded): void {
    if (!this.#unsettled.delete(superseded)) return
    superseded.version.release()
    this.#dropLog(superseded.flushed?.log)
  }

  /** Does for all versions at once what the jobs that installed them did not come to. Throws StoreError and poisons the store. */
  settleAll(): void {
    if (this.#unsettled.size === 0) return
    this.#syncManifest()
    for (const one of [...this.#unsettled]) this.settle(one)
  }

  #writeManifest(upper: readonly (readonly number[])[], last: readonly number[], frozen: readonly Frozen[]): void {
    const { checkpoint, wallMs } = this.#flushed
    const logs = [...frozen.map(({ memtable }) => memtable.logNumber), this.active.logNumber].filter((one) => one > 0)
    const state: ManifestState = {
      storeId: this.files.storeId.toString('hex'),
      hashSeed: this.files.hashSeed,
      nextFile: this.#nextFile,
      flushedSeq: this.#flushedSeq,
      oldestLog: logs.length === 0 ? this.#nextFile : Math.min(...logs),
      checkpoint:
        checkpoint === undefined
          ? null
          : { position: checkpoint.position, state: checkpoint.state.toString('base64'), wallMs },
      upper: upper.map((run) => [...run]),
      last: [...last],
    }
    try {
      if (this.#manifest.byteLength < maxManifestBytes) this.#manifest.append(state)
      else {
        const fileNumber = this.nextFile()
        this.#manifest = this.#manifest.rewrite({ ...state, nextFile: this.#nextFile }, fileNumber)
      }
    } catch (error) {
      const failure = writeError(this.files.store, 'the manifest', 'a write', error)
      this.poisonBy(failure)
      throw failure
    }
  }

  /** The manifest's data must be durable before what it made superfluous is removed. */
  get manifestSynced(): Wait {
    return this.#manifest.synced
  }

  #syncManifest(): void {
    try {
      this.#manifest.synced.block()
    } catch (error) {
      throw this.manifestFailed(error)
    }
  }

  manifestFailed(error: unknown): StoreError {
    const failure = syncError(this.files.store, 'the manifest', error)
    this.poisonBy(failure)
    return failure
  }

  /** A log without batches, or whose batches are in durable tables. */
  #dropLog(log: LogFile | undefined): void {
    if (log === undefined) return
    this.#pastWrites += log.writes
    this.#pastSyncs += log.syncs
    try {
      log.close()
    } catch (error) {
      this.tables.removals.failed(error)
    }
    this.tables.removals.remove(log.path)
  }

  /** Drops everything. Nobody may be flushing or merging. Throws StoreError; nothing has changed then. */
  clear(): void {
    const obsolete = [...this.frozen.map(({ log }) => log), this.#log]
    const before = {
      active: this.active,
      log: this.#log,
      frozen: this.frozen,
      flushed: this.#flushed,
      seq: this.#flushedSeq,
    }
    this.active = this.#newMemtable(true)
    this.frozen = []
    this.#flushedSeq = this.#seq
    this.#flushed = { checkpoint: undefined, wallMs: 0 }
    let superseded: Superseded | undefined
    try {
      superseded = this.install([], [])
      this.#manifest.synced.block()
    } catch (error) {
      this.#dropLog(this.#log)
      if (superseded !== undefined) {
        this.#unsettled.delete(superseded)
        this.version.release()
        this.version = superseded.version
      }
      this.active = before.active
      this.#log = before.log
      this.frozen = before.frozen
      this.#flushed = before.flushed
      this.#flushedSeq = before.seq
      throw error instanceof StoreError ? error : this.manifestFailed(error)
    }
    this.checkpoint = undefined
    this.checkpointMs = 0
    this.#cache?.cleared()
    this.onMemtables()
    for (const one of [...this.#unsettled]) this.settle(one)
    for (const log of obsolete) this.#dropLog(log)
  }

  /** Closes the files. Views end. */
  close(): void {
    this.closed = true
    for (const log of this.#logs()) log.close()
    this.#log = undefined
    this.frozen = []
    this.#unsettled.clear()
    this.tables.close()
    this.#manifest.close()
    this.active = new Memtable({ seed: 0, logNumber: 0, firstSeq: 1, header: Buffer.alloc(64) })
  }
}
