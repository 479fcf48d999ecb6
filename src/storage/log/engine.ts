/** The log engine: tables that live on disk, one directory each. Owns its open stores and the runner of their background work. */
import { dirname, resolve } from 'node:path'
import type { Fs } from '../../base/fs.ts'
import { bool, custom, int, type OptionTable, oneOf, resolveOptions, text } from '../../base/options.ts'
import { realRandom } from '../../base/real-random.ts'
import { realScheduler } from '../../base/real-scheduler.ts'
import type { Random, Scheduler } from '../../base/scope.ts'
import type { StorageEngine, StoreDirectory, StoresAside } from '../contract.ts'
import { checkPath, pathRule, pathSays, storeName, storeNameOf, storePath } from '../directory.ts'
import { StoreError, type StoreErrorCode } from '../errors.ts'
import { isNodeFs, nodeFs } from '../node-fs.ts'
import { LogAside } from './aside.ts'
import { MemoryBudget, type MemoryStats } from './budget.ts'
import { StoreCore } from './core.ts'
import type { CoreParts } from './core-parts.ts'
import { destroyStore } from './destroy.ts'
import type { StoreEvent } from './events.ts'
import { checkByteOrder, currentName, lockName, wallMsOf } from './format.ts'
import { FileHandles, RoomyFs, tooManyRemedy } from './handles.ts'
import { JobRunner, type JobStats } from './jobs.ts'
import { StoreLock } from './lock.ts'
import { processIdentity } from './process-identity.ts'
import { type CacheStats, RecordCache } from './record-cache.ts'
import { closeFiles, recover } from './recovery.ts'
import { hasCode } from './small-file.ts'
import { LogStore, type SyncPolicy } from './store.ts'
import { StoreCache } from './store-cache.ts'
import { isMarkedSuspect } from './unsynced.ts'
import { WorkerPool } from './worker-pool.ts'

/** Options of `logEngine(…)`. */
export interface LogEngineOptions {
  /** Directory of all stores; made when it is missing. A store is in `<dir>/<group>/<table>/<partition>`. Required. */
  readonly dir: string
  /** Bytes of a store's writes that are kept in memory (and its log) before they become a table. Default 16 MiB, from 4 KiB. */
  readonly writeBufferBytes?: number
  /**
   * Memory for values that were read from tables more than once, for all stores together, bytes; 0: none, else from 4 KiB.
   * At most a quarter of `memoryBytes`. Default 16 MiB.
   */
  readonly cacheBytes?: number
  /**
   * Memory of all stores together, bytes: for the cache (`cacheBytes`), and half each of what is left for writes that are
   * not in tables yet and for finding entries in tables (about 7 bytes for each). When writes take more, the store with most
   * of them writes a table early; when finding does, tables that were not used lately do with less memory and read more.
   * Not counted: what snapshots and iterators hold, buffers of work under way, and about 1 KiB for each table and store.
   * Default 256 MiB, from 256 KiB.
   */
  readonly memoryBytes?: number
  /**
   * Tables that are open at a time, for all stores together; others are opened again when they are read. Besides, each store
   * has two or three other files open, and background work up to 64 tables of its own. Default 512, from 8.
   */
  readonly maxOpenFiles?: number
  /**
   * When commits become durable against power loss: `interval` (default): after `syncIntervalMs`; `batch`: before `commit`
   * returns; `never`: when the system likes. A killed process loses no commit in any case.
   */
  readonly sync?: SyncPolicy
  /** Milliseconds, for `sync: 'interval'`. Default 1000. */
  readonly syncIntervalMs?: number
  /**
   * Whether memtables are written into tables and tables merged in a worker thread, one for all stores, started when there
   * is work. False: in the main thread, in slices of a few milliseconds; so it is too with another file system or clock than
   * the real ones, and when the thread cannot be started. Default true.
   */
  readonly worker?: boolean
  /** Told about recoveries, flushes, merges and failures of background work. Must not throw. Default: nobody. */
  readonly onEvent?: ((event: StoreEvent) => void) | null
  /** The file system. Default: the machine's. */
  readonly fs?: Fs | null
  /** Clock and timers. Default: the real ones. */
  readonly scheduler?: Scheduler | null
  /** For ids of stores and seeds of hashes. Default: the system's. */
  readonly random?: Random | null
}

const optionTable: OptionTable<LogEngineOptions> = {
  dir: text({ default: '', rule: pathRule, says: pathSays }),
  writeBufferBytes: int({ default: 16 * 2 ** 20, min: 4096, max: 2 ** 30 }),
  cacheBytes: int({ default: 16 * 2 ** 20, min: 0, max: 2 ** 30 }),
  memoryBytes: int({ default: 256 * 2 ** 20, min: 256 * 1024, max: 2 ** 46 }),
  maxOpenFiles: int({ default: 512, min: 8, max: 2 ** 20 }),
  sync: oneOf(['interval', 'batch', 'never'], { default: 'interval' }),
  syncIntervalMs: int({ default: 1000, min: 1, max: 2 ** 31 - 1 }),
  worker: bool({ default: true }),
  onEvent: custom<((event: StoreEvent) => void) | null>({
    default: null,
    accepts: (value) => value === null || typeof value === 'function',
    says: 'must be a function',
  }),
  fs: part<Fs>('openSync', 'an Fs'),
  scheduler: part<Scheduler>('setTimer', 'a Scheduler'),
  random: part<Random>('bytes', 'a Random'),
}

function part<T>(method: string, what: string): ReturnType<typeof custom<T | null>> {
  return custom<T | null>({
    default: null,
    accepts: (value) => value === null || typeof (value as Record<string, unknown>)[method] === 'function',
    says: `must be ${what}`,
  })
}

/** Keeps tables on disk: a restarted process goes on from where they are, and reads only the tail of their changelogs. */
export class LogEngine implements StorageEngine {
  /** `log`. */
  readonly name = 'log'
  /** Old stores that are kept until new ones in their places are complete: `<partition>.old`. */
  readonly aside: StoresAside
  readonly #aside: LogAside
  readonly #options: ReturnType<typeof resolveOptions<LogEngineOptions>>
  readonly #fs: Fs
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #runner: JobRunner
  /** On the machine's files, by its clock. */
  readonly #isReal: boolean
  readonly #pool: WorkerPool | undefined
  readonly #budget: MemoryBudget
  readonly #handles: FileHandles
  readonly #cache: RecordCache | undefined
  readonly #stores = new Map<string, LogStore>()
  /** Paths of stores that failed: what their files hold may be in memory only, whatever a later sync says. */
  readonly #suspects = new Set<string>()

  /** Throws OptionError. */
  constructor(options: LogEngineOptions) {
    const resolved = resolveOptions('log engine', optionTable, { ...options, dir: options?.dir ?? '' })
    this.#fs = resolved.fs ?? nodeFs()
    this.#options = { ...resolved, dir: this.#absolute(resolved.dir) }
    this.#scheduler = this.#options.scheduler ?? realScheduler
    this.#random = this.#options.random ?? realRandom
    this.#runner = new JobRunner(this.#scheduler)
    this.#isReal = isNodeFs(this.#fs) && this.#scheduler === realScheduler
    this.#pool = this.#options.worker && this.#isReal ? new WorkerPool({ scheduler: this.#scheduler }) : undefined
    this.#budget = new MemoryBudget(this.#options.memoryBytes, this.#options.cacheBytes, this.#scheduler)
    this.#handles = new FileHandles(this.#options.maxOpenFiles)
    const { cacheBytes } = this.#budget
    this.#cache = cacheBytes === 0 ? undefined : new RecordCache(Math.max(4096, cacheBytes))
    this.#aside = new LogAside({
      fs: this.#fs,
      pathOf: (directory) => this.pathOf(directory),
      lock: (dir, name) => this.#lock(dir, name),
      open: (dir, name) => this.#openAt(dir, name),
      flush: async (dir) => this.#stores.get(dir)?.flush(),
    })
    this.aside = this.#aside
  }

  /** What the background work did. */
  get jobStats(): JobStats {
    return this.#runner.stats
  }

  /** How well the record cache works, for all stores together. */
  get cacheStats(): CacheStats {
    return this.#cache?.stats ?? { allocatedBytes: 0, hits: 0, misses: 0, admitted: 0 }
  }

  /** What all stores take in memory, by kind. */
  get memoryStats(): MemoryStats {
    return this.#budget.stats
  }

  /**
   * Opens a store, or makes it. Rejects with StoreError: `ERR_STORE_LOCKED` when it is open already, here or in another
   * process; `ERR_STORE_CORRUPT` and `ERR_STORE_VERSION`, naming the file; `ERR_STORE_NOSPACE`; `ERR_STORE_IO` for
   * whatever else the system refuses. With OptionError for a place that is none.
   */
  async open(directory: StoreDirectory): Promise<LogStore> {
    return this.#openAt(this.pathOf(directory), storeName(directory))
  }

  /** `<dir>/<group>/<table>/<partition>`, names percent-encoded: no name leads out of `dir`. Throws OptionError. */
  pathOf(directory: StoreDirectory): string {
    return storePath(directory, this.#options.dir)
  }

  /** Opens the store in this directory, wherever it lies: for tools. Rejects as `open`; a directory without a store becomes one. */
  async openPath(path: string): Promise<LogStore> {
    checkPath('openPath', path)
    const dir = this.#absolute(path)
    return this.#openAt(dir, storeNameOf(dir))
  }

  /** The process may change its directory later. */
  #absolute(path: string): string {
    return isNodeFs(this.#fs) ? resolve(path) : path
  }

  /**
   * Removes a store that is closed, with all its files, durably; there may be none. What is aside stays. Broken off, it leaves
   * the old store or none. Rejects with StoreError: `ERR_STORE_LOCKED` when it is open, here or in another process;
   * `ERR_STORE_IO` when files that are none of a store are in its directory, naming them, or the system refuses. With
   * OptionError for a place that is none.
   */
  async destroy(directory: StoreDirectory): Promise<void> {
    const dir = this.pathOf(directory)
    const store = storeName(directory)
    if (this.#stores.has(dir)) throw new StoreError('ERR_STORE_LOCKED', store, 'it is open: close it first')
    try {
      const lock = (): StoreLock => this.#lock(dir, store)
      destroyStore({ fs: this.#fs, dir, store, lock, sweep: () => this.#aside.sweep(dir) })
    } catch (cause) {
      if (cause instanceof StoreError) throw cause
      const { code = 'unknown', message = String(cause) } = cause as { code?: string; message?: string }
      throw new StoreError('ERR_STORE_IO', store, `${dir} cannot be removed (${code}): ${message}`, cause)
    }
    this.#suspects.delete(dir)
  }

  async #openAt(dir: string, name: string): Promise<LogStore> {
    if (this.#stores.has(dir)) {
      const text = `${dir} is open already in this process: use that store, or close it first`
      throw new StoreError('ERR_STORE_LOCKED', name, text)
    }
    checkByteOrder(name)
    try {
      this.#aside.sweep(dir)
      return this.#open(dir, name)
    } catch (error) {
      throw error instanceof StoreError ? error : openError(name, dir, error)
    }
  }

  #lock(dir: string, name: string, roomy = this.#fs): StoreLock {
    return StoreLock.acquire(this.#fs, `${dir}/${lockName}`, name, processIdentity(this.#random, this.#fs), roomy)
  }

  #open(dir: string, name: string): LogStore {
    const wasClosed = this.#makeDir(dir)
    const fs = new RoomyFs(this.#fs, this.#handles)
    const lock = this.#lock(dir, name, fs)
    try {
      const onEvent = (event: StoreEvent): void => this.#options.onEvent?.(event)
      const onLeftover = (cause: unknown): void => {
        onEvent({
          kind: 'failed',
          store: name,
          error: new StoreError(
            'ERR_STORE_IO',
            name,
            'a file that is not needed any more could not be removed; it is tried again when the store is opened next',
            cause,
          ),
        })
      }
      const parts = recover({
        fs,
        dir,
        store: name,
        random: this.#random,
        now: () => wallMsOf(this.#scheduler.now()),
        isSuspect: this.#suspects.has(dir) || lock.mayHaveRival || isMarkedSuspect(fs, dir),
        wasClosed,
        memory: this.#budget.tables,
        handles: this.#handles,
        onEvent,
        checkLock: () => lock.check(),
        onLeftover,
      })
      const core = this.#core(parts)
      core.onEvent = onEvent
      this.#suspects.delete(dir)
      const store = new LogStore({
        core,
        lock,
        runner: this.#runner,
        pool: this.#pool,
        budget: this.#budget,
        scheduler: this.#scheduler,
        readScheduler: this.#isReal ? this.#scheduler : undefined,
        sync: this.#options.sync,
        syncIntervalMs: this.#options.syncIntervalMs,
        onClose: () => {
          this.#stores.delete(dir)
          if (core.poison !== undefined) this.#suspects.add(dir)
        },
      })
      this.#stores.set(dir, store)
      return store
    } catch (error) {
      this.#suspects.add(dir)
      try {
        lock.release()
      } catch {
        // Why it cannot be opened counts; the lock hinders nobody in this process, and others when it has ended.
      }
      throw error
    }
  }

  #core(parts: CoreParts): StoreCore {
    try {
      const cache = this.#cache === undefined ? undefined : new StoreCache(this.#cache)
      return new StoreCore(parts, this.#options.writeBufferBytes, cache, this.#budget.rooms)
    } catch (error) {
      closeFiles(parts)
      throw error
    }
  }

  /**
   * Makes a store's directory and those above it, durably, also when whoever made them died before they were. True when there
   * is a store, whose directories were durable before it, and its last owner has given back the lock.
   */
  #makeDir(dir: string): boolean {
    if (this.#fs.existsSync(`${dir}/${currentName}`)) return !this.#fs.existsSync(`${dir}/${lockName}`)
    this.#fs.mkdirSync(dir)
    const above = dirname(this.#options.dir)
    // Another path, given to openPath, may never come by there.
    for (let path = dirname(dir); path !== above && path !== dirname(path); path = dirname(path)) {
      this.#fs.syncDirSync(path)
    }
    try {
      this.#fs.syncDirSync(above)
    } catch (error) {
      // Who may not read the directory above did not make ours either.
      if (!hasCode(error, 'EACCES') && !hasCode(error, 'EPERM')) throw error
    }
    return false
  }

  /**
   * Closes every store that is still open, whatever fails, and ends the worker thread. Rejects with the first failure; when
   * there are several, its cause is an AggregateError of all.
   */
  async close(): Promise<void> {
    const ends = await Promise.allSettled([...this.#stores.values()].map((store) => store.close()))
    ends.push(...(await Promise.allSettled([this.#pool?.end()])))
    const failures = ends.flatMap((end): unknown[] => (end.status === 'rejected' ? [end.reason] : []))
    if (failures.length > 0) throw firstOf(failures)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function firstOf(failures: readonly unknown[]): unknown {
  const [first] = failures
  if (failures.length === 1 || !(first instanceof StoreError)) return first
  const { code, store, file, offset, message } = first
  const text = message.slice(`store ${store}: `.length)
  const others = `(${failures.length - 1} more failed: see the cause)`
  const at = { ...(file === undefined ? {} : { file }), ...(offset === undefined ? {} : { offset }) }
  return new StoreError(code as StoreErrorCode, store, `${text} ${others}`, new AggregateError(failures, others), at)
}

function openError(store: string, dir: string, cause: unknown): StoreError {
  const { code = 'unknown', message = String(cause) } = cause as { code?: string; message?: string }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const text = `${dir} cannot be opened: the disk is full (${code}). Nothing is lost: make room, then open it again`
    return new StoreError('ERR_STORE_NOSPACE', store, text, cause)
  }
  const remedies: Readonly<Record<string, string>> = {
    EACCES: 'give the process the right to read and write there',
    EPERM: 'give the process the right to read and write there',
    EROFS: 'the file system is mounted read-only',
    ENOTDIR: 'a part of the path is a file: choose another directory',
    EEXIST: 'a part of the path is a file: choose another directory',
    EMFILE: tooManyRemedy,
    ENFILE: tooManyRemedy,
    ENAMETOOLONG: 'choose a shorter directory',
  }
  // The system's message says which file it was.
  const remedy = Object.hasOwn(remedies, code) ? `: ${remedies[code]}` : ''
  const text = `${dir} cannot be opened (${message})${remedy}`
  return new StoreError('ERR_STORE_IO', store, text, cause)
}

/** A new log engine. Throws OptionError. */
export function logEngine(options: LogEngineOptions): LogEngine {
  return new LogEngine(options)
}
