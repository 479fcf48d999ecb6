/**
 * A store of the log engine: contract.ts over core.ts. Owns who may write (the batch, or one bulk load), the timer that
 * makes writes durable, and the lock of the directory.
 */
import type { Scheduler, TimerHandle } from '../../base/scope.ts'
import { checkKey, checkSpace } from '../check.ts'
import {
  type BulkLoad,
  type Checkpoint,
  type KeyLike,
  type Snapshot,
  Span,
  type Store,
  type StoreBatch,
  type StoreIterator,
  type StoreJob,
  type StoreRange,
  type StoreStats,
} from '../contract.ts'
import { EntryIterator } from '../entry-iterator.ts'
import { StoreError } from '../errors.ts'
import { checkRange, keyBuffer } from '../range.ts'
import type { MemoryBudget, MemtableUser } from './budget.ts'
import type { StoreCore } from './core.ts'
import type { JobRunner } from './jobs.ts'
import type { StoreLock } from './lock.ts'
import { closedDuring, LogIterator } from './log-iterator.ts'
import { LogSnapshot } from './log-snapshot.ts'
import { type LogStats, logStatsOf } from './log-stats.ts'
import { Maintenance } from './maintenance.ts'
import { ReadMany, type ReadManyOptions } from './read-many.ts'
import type { Memtable } from './memtable.ts'
import { markUnsynced } from './unsynced.ts'
import type { VerifyReport } from './verify.ts'
import { verifyOpen } from './verify-open.ts'
import type { WorkerPool } from './worker-pool.ts'
import { type BatchOwner, LogBatch } from './write-batch.ts'
import { LogGroup } from './write-group.ts'
import { type LoadOwner, LogBulkLoad } from './write-bulk.ts'

/** When written batches are made durable: after a time, before `commit` returns, or only when asked. */
export type SyncPolicy = 'interval' | 'batch' | 'never'

export interface LogStoreSettings {
  readonly core: StoreCore
  readonly lock: StoreLock
  readonly runner: JobRunner
  /** For background work in a worker thread; undefined: it is done in slices. */
  readonly pool: WorkerPool | undefined
  readonly budget: MemoryBudget
  readonly scheduler: Scheduler
  /** For telling whether a read waited for the disk; undefined: it cannot tell. */
  readonly readScheduler: Scheduler | undefined
  readonly sync: SyncPolicy
  readonly syncIntervalMs: number
  readonly onClose: () => void
}

/** A store of the log engine, as `LogEngine.open` gives it. */
export class LogStore implements Store {
  readonly kind = 'log'
  readonly name: string
  readonly #core: StoreCore
  readonly #settings: LogStoreSettings
  readonly #maintenance: Maintenance
  readonly #batch: LogBatch
  readonly #group: LogGroup
  readonly #loadOwner: LoadOwner
  #load: BulkLoad | undefined
  #timer: TimerHandle | undefined
  #durable: Checkpoint | undefined
  /** How often it was cleared: what was begun before does not count after. */
  #clears = 0
  #closing: Promise<void> | undefined
  readonly #out = new Span()
  readonly #reads: ReadMany
  /** This store in the budget. */
  readonly #user: MemtableUser
  /** Owns the jobs that verify. */
  readonly #scrubs = {}

  constructor(settings: LogStoreSettings) {
    const { core, runner } = settings
    this.#settings = settings
    this.#core = core
    this.name = core.files.store
    this.#reads = new ReadMany(core, settings.readScheduler)
    this.#durable = core.isDurable ? core.checkpoint : undefined
    this.#maintenance = new Maintenance(core, runner, settings.pool)
    const mayHave: BatchOwner['mayHave'] = (space, key, from, to) => core.mayHave(space, key, from, to)
    const writable = (): StoreCore['active'] => {
      core.checkWritable()
      this.#checkNoLoad()
      this.#maintenance.checkRoom()
      return core.active
    }
    this.#group = new LogGroup(
      {
        name: this.name,
        writable: () => {
          this.#checkBatchEmpty('write beside it')
          return writable()
        },
        mayHave,
        log: (from, to, stateAt, count) => core.log(from, to, stateAt, count, undefined),
        committed: (bytes) => this.#committed(bytes),
        failed: (error) => core.onEvent({ kind: 'failed', store: this.name, error }),
      },
      settings.scheduler,
    )
    this.#batch = new LogBatch({
      name: this.name,
      writable: () => {
        this.#group.close()
        return writable()
      },
      anyMemtable: () => core.active,
      mayHave,
      log: (from, to, stateAt, count, checkpoint) => core.log(from, to, stateAt, count, checkpoint),
      committed: (bytes) => this.#committed(bytes),
    })
    this.#loadOwner = {
      name: this.name,
      loadable: () => {
        core.checkWritable()
        this.#maintenance.checkRoom()
        return core.active
      },
      mayHave,
      loaded: (bytes) => {
        core.loaded()
        this.#maintenance.written(bytes)
        this.#balance()
      },
      setCheckpoint: (checkpoint) => core.loadCheckpoint(checkpoint),
      loadEnded: () => {
        if (!core.closed) core.freeze(true)
        this.#maintenance.schedule()
        this.#load = undefined
      },
    }
    this.#user = {
      freezeEarly: () => this.#freezeEarly(),
      flushNow: () => this.#maintenance.flushNow(),
      leaveRoom: () => this.#leaveRoom(),
      flushed: () => this.#maintenance.flushed(),
    }
    core.onMemtables = () => this.#account()
    core.onPoison = () => this.#poisoned()
    this.#maintenance.schedule()
    this.#balance()
  }

  /** Nothing more may be written: what is under way ends, and whoever opens the store next is told, also if we are killed. */
  #poisoned(): void {
    void this.#maintenance.cancel()
    try {
      this.#settings.lock.check()
      this.#markUnsynced()
    } catch {
      // The lock was lost, or the disk is as sick as that: closing tries again, and tells.
    }
  }

  /** Tells the budget what the memtables take: what they hold, and their indexes. */
  #account(): void {
    const { active, frozen } = this.#core
    let frozenBytes = 0
    // What these have not filled of their rooms, nobody can use before they are flushed.
    for (const { memtable } of frozen) frozenBytes += indexBytes(memtable) + memtable.touched
    const unfilled = active.touched - active.end
    this.#settings.budget.account(this.#user, indexBytes(active) + active.end, frozenBytes, unfilled)
  }

  /** Copying a memtable must be worth it. */
  #leaveRoom(): void {
    const { active } = this.#core
    if (active.touched - active.end < active.end) return
    active.leaveRoom()
    this.#account()
  }

  /** After what may take more memory: a write, a new memtable, what a log held. */
  #balance(): void {
    this.#account()
    this.#settings.budget.balance()
  }

  /** All stores together have too much in memory, and this one most. */
  #freezeEarly(): boolean {
    const core = this.#core
    if (core.closed || core.poison !== undefined || this.#batch.count > 0) return false
    try {
      this.#group.close()
      if (core.active.empty) return false
      core.freeze(core.active.logNumber !== 0)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      core.onEvent({ kind: 'failed', store: this.name, error })
      return false
    }
    return true
  }

  get checkpoint(): Checkpoint | undefined {
    return this.#core.checkpoint
  }

  /**
   * The newest checkpoint that is known to outlive a power loss: the last one that was synced. Undefined until the first sync
   * of a store that its last owner had closed: opening it does not take the time to make that one's writes durable anew.
   */
  get durableCheckpoint(): Checkpoint | undefined {
    return this.#durable
  }

  get entryCount(): number {
    return this.#estimate().entries
  }

  get byteLength(): number {
    return this.#estimate().bytes
  }

  #estimate(): { readonly entries: number; readonly bytes: number } {
    if (this.#core.closed) return { entries: 0, bytes: 0 }
    const view = this.#core.view()
    try {
      return view.estimate()
    } finally {
      view.release()
    }
  }

  #checkNoLoad(): void {
    if (this.#load === undefined) return
    throw new StoreError('ERR_STORE_BATCH', this.name, 'a bulk load is open: finish or abandon it first')
  }

  #checkBatchEmpty(purpose: string): void {
    if (this.#batch.count === 0) return
    const text = `cannot ${purpose} while the batch holds ${this.#batch.count} operations: commit or abandon it first`
    throw new StoreError('ERR_STORE_BATCH', this.name, text)
  }

  // --- reading

  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean {
    checkKey(this.name, key, keyFrom, keyTo)
    this.#core.check()
    return this.#core.get(space, key, keyFrom, keyTo, out)
  }

  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean {
    return this.getSync(space, key, keyFrom, keyTo, this.#out)
  }

  get(key: KeyLike): Buffer | undefined {
    const bytes = keyBuffer(key, this.name)
    return this.getSync(0, bytes, 0, bytes.length, this.#out) ? this.#out.copy() : undefined
  }

  has(key: KeyLike): boolean {
    const bytes = keyBuffer(key, this.name)
    return this.hasSync(0, bytes, 0, bytes.length)
  }

  /**
   * What `decode` makes of the value of a key, from where it lies, without a copy; undefined when there is none. The bytes
   * are valid during the call, in which no store of the engine may be used. Throws like `getSync`, and what `decode` throws.
   */
  read<T>(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    decode: (bytes: Buffer, from: number, to: number) => T,
  ): T | undefined {
    const out = this.#out
    return this.getSync(space, key, keyFrom, keyTo, out) ? decode(out.bytes, out.from, out.to) : undefined
  }

  /**
   * Copies of the values of many keys, undefined for those that have none, as they are at the moment of the call. What the
   * system has in its memory is read at once; from a read that waits for the disk on, it is read without blocking, in the
   * order of the disk. Rejects with StoreError `ERR_STORE_CLOSED`, also when the store is closed meanwhile, `ERR_STORE_KEY`,
   * `ERR_STORE_SPACE`, `ERR_STORE_CORRUPT`, `ERR_STORE_IO`; with OptionError.
   */
  async getMany(keys: readonly KeyLike[], options: ReadManyOptions = {}): Promise<(Buffer | undefined)[]> {
    return this.#reads.getMany(keys, options)
  }

  /**
   * Brings the values of keys that are in tables into the record cache, without blocking, so that `getSync` need not read
   * the disk for them soon after. They may be too many for the cache, or too large, or it may be off: then the system has
   * read them at least. Rejects like `getMany`.
   */
  async prefetch(keys: readonly KeyLike[], options: ReadManyOptions = {}): Promise<void> {
    return this.#reads.prefetch(keys, options)
  }

  iterate(range: StoreRange = {}): StoreIterator {
    this.#core.check()
    checkRange(this.name, range)
    const view = this.#core.view()
    return new LogIterator(view, view.cursor(range), () => {
      if (this.#core.closed) throw closedDuring(this.name, 'it was closed')
    })
  }

  entries(range: StoreRange = {}): IterableIterator<[Buffer, Buffer]> {
    return new EntryIterator(this.iterate(range))
  }

  snapshot(): Snapshot {
    this.#core.check()
    return new LogSnapshot(this.name, this.#core.view(), () => this.#core.closed)
  }

  ordering(space = 0): StoreJob | undefined {
    checkSpace(this.name, space)
    this.#core.check()
    return this.#core.active.ordering()
  }

  stats(): StoreStats {
    this.#core.check()
    const { active, frozen, views } = this.#core
    const memtables = [active, ...frozen.map(({ memtable }) => memtable)]
    const pinned = new Set([...views].flatMap((view) => view.memtables.map(({ memtable }) => memtable)))
    for (const memtable of memtables) pinned.delete(memtable)
    let allocatedBytes = 0
    let deadBytes = 0
    for (const memtable of memtables) {
      allocatedBytes += memtable.allocatedBytes
      deadBytes += Math.max(0, memtable.end - memtable.liveBytes)
    }
    let pinnedBytes = 0
    for (const { bytes } of pinned) pinnedBytes += bytes.length
    for (const table of this.#core.version.tables()) allocatedBytes += table.slotBytes + table.indexBytes
    const { entries, bytes } = this.#estimate()
    return { entryCount: entries, byteLength: bytes, allocatedBytes, deadBytes, pinnedBytes, openSnapshots: views.size }
  }

  /** Counts of its files, reads and syncs. */
  logStats(): LogStats {
    this.#core.check()
    return logStatsOf(this.#core)
  }

  // --- writing

  writer(): StoreBatch {
    this.#core.check()
    return this.#batch
  }

  bulkLoad(): BulkLoad {
    this.#core.checkWritable()
    if (this.#load !== undefined) throw new StoreError('ERR_STORE_BATCH', this.name, 'another bulk load is open')
    this.#checkBatchEmpty('start a bulk load')
    this.#group.close()
    this.#core.freeze(false)
    this.#balance()
    this.#load = new LogBulkLoad(this.#loadOwner)
    return this.#load
  }

  /**
   * Writes one entry without a batch: visible at once, logged with others at the end of the turn at the latest. Takes and
   * throws what StoreBatch.put does; ERR_STORE_BATCH while the batch holds operations or a load is open.
   */
  put(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void {
    this.#group.put(space, key, keyFrom, keyTo, value, valueFrom, valueTo)
  }

  /** Takes one entry away without a batch, like `put`. */
  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void {
    this.#group.delete(space, key, keyFrom, keyTo)
  }

  #committed(bytes: number): void {
    const core = this.#core
    if (this.#settings.sync === 'batch') this.#syncNow()
    else if (this.#settings.sync === 'interval') this.#syncLater()
    core.freezeIfFull()
    this.#maintenance.written(bytes)
    this.#balance()
  }

  #syncNow(): void {
    const { checkpoint } = this.#core
    this.#checkOwner()
    this.#core.syncSync()
    if (!this.#core.hasLoaded) this.#durable = checkpoint
  }

  #syncLater(): void {
    this.#timer ??= this.#settings.scheduler.setTimer(this.#settings.syncIntervalMs, () => {
      this.#timer = undefined
      this.sync().catch((error: unknown) => this.#syncFailed(error))
    })
  }

  /** Nobody waits for the sync of the timer. After what is no failure of the disk it is tried again. */
  #syncFailed(error: unknown): void {
    const core = this.#core
    // Then the next write throws it, and it was told.
    if (core.poison !== undefined || core.closed || !(error instanceof StoreError)) return
    core.onEvent({ kind: 'failed', store: this.name, error })
    this.#syncLater()
  }

  /**
   * Makes everything committed so far durable. Rejects with StoreError ERR_STORE_POISONED; or with ERR_STORE_IO when too many
   * files are open, and then it may be tried again.
   */
  async sync(): Promise<void> {
    const core = this.#core
    core.checkWritable()
    this.#group.close()
    this.#checkOwner()
    const { checkpoint } = core
    const clears = this.#clears
    if (this.#load === undefined && core.hasLoaded) await this.#maintenance.flushAll()
    await core.sync()
    if (clears === this.#clears && !core.hasLoaded) this.#durable = checkpoint
  }

  /** Brings everything committed so far into tables. Rejects with StoreError. */
  async flush(): Promise<void> {
    this.#core.checkWritable()
    this.#checkNoLoad()
    this.#checkBatchEmpty('flush')
    this.#group.close()
    this.#core.freeze(true)
    this.#balance()
    await this.#maintenance.flushAll()
    await this.#core.tables.removals.idle()
  }

  /**
   * Brings everything committed so far into tables, and merges these so that every key is there once and deletions take no
   * room. Takes time and up to 64 MiB more of the disk. Rejects with StoreError.
   */
  async compact(): Promise<void> {
    await this.flush()
    await this.#maintenance.compact()
    await this.#core.tables.removals.idle()
  }

  /**
   * Reads everything that counts on disk as it is now and checks that it is whole and fits together, beside all other work.
   * Damage is told by the report. Rejects with StoreError ERR_STORE_CLOSED when the store is closed meanwhile.
   */
  async verify(): Promise<VerifyReport> {
    this.#core.check()
    return verifyOpen(this.#core, this.#settings.runner, this.#scrubs)
  }

  /**
   * Undefined while the background work keeps up; else a promise to wait for before writing more. Who writes on without
   * waiting does a part of that work in `commit`. Never rejects.
   */
  ready(): Promise<void> | undefined {
    return this.#maintenance.ready() ?? this.#settings.budget.ready()
  }

  /** Else what lies in the directory is another's, if there is one still. */
  #isOwner(): boolean {
    try {
      this.#checkOwner()
    } catch {
      // It was told.
      return false
    }
    return true
  }

  clear(): void {
    this.#core.checkWritable()
    this.#checkNoLoad()
    this.#checkBatchEmpty('clear')
    this.#group.close()
    this.#settings.lock.check()
    void this.#maintenance.cancel()
    this.#core.clear()
    this.#clears += 1
    this.#durable = undefined
  }

  /** Before something is called durable: throws StoreError when the lock was lost, so that what we write counts no more. */
  #checkOwner(): void {
    try {
      this.#settings.lock.check()
    } catch (error) {
      if (this.#core.poisonBy(error)) throw error
      // Nobody can say. Then it was ours when it was looked at last, and what is written is better durable.
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Everything is closed at the end, whatever fails; the first failure is thrown then. */
  async #close(): Promise<void> {
    const { lock, scheduler, onClose } = this.#settings
    const core = this.#core
    const failures: unknown[] = []
    const attempt = (work: () => void): void => {
      try {
        work()
      } catch (error) {
        failures.push(error)
      }
    }
    this.#batch.abandon()
    if (core.poison === undefined) attempt(() => this.#group.close())
    this.#group.abandon()
    // Behind the last write, which may have asked for a sync later.
    if (this.#timer !== undefined) scheduler.clearTimer(this.#timer)
    // What a load has put there is flushed like the rest.
    if (this.#load !== undefined) core.freeze(false)
    core.closed = true
    if (core.poison === undefined) await this.#settle().catch((error: unknown) => failures.push(error))
    await this.#maintenance.end()
    if (core.poison === undefined) attempt(() => core.settleAll())
    await this.#settings.runner.cancel(this.#scrubs)
    await this.#reads.ended()
    if (!core.isAllDurable && this.#isOwner()) attempt(() => this.#markUnsynced())
    attempt(() => core.close())
    this.#settings.budget.leave(this.#user)
    // Whoever opens it next lists the files.
    await core.tables.removals.idle()
    onClose()
    attempt(() => lock.release())
    if (failures.length === 0) return
    const [first] = failures
    if (first instanceof StoreError) throw first
    const reason = first instanceof Error ? first.message : String(first)
    const text = `the system refused to close a file or to remove the lock (${reason}). All else is closed`
    throw new StoreError('ERR_STORE_IO', this.name, text, first)
  }

  /** What was loaded without a log must become tables; what has a log is durable after a sync. */
  async #settle(): Promise<void> {
    const core = this.#core
    if (core.hasLoaded) await this.#maintenance.flushAll()
    if (this.#settings.sync !== 'never' && !core.isUntouched) await core.sync()
  }

  /** Tells the next owner that what it finds may be in memory only. Throws the system's error. */
  #markUnsynced(): void {
    const { poison, files } = this.#core
    markUnsynced(files.fs, files.dir, poison !== undefined)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** Memory of a memtable beside its room; of that only what was touched takes any. */
function indexBytes(memtable: Memtable): number {
  return memtable.allocatedBytes - memtable.bytes.length
}
