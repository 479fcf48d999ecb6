/**
 * Reading many keys of a store at once, hardly ever blocking on the disk. Memory is asked at the moment of the call, in one
 * loop; what only the tables know is looked for in the version of that moment, so that all answers are of one moment
 * whatever is written, flushed or merged meanwhile. Owns the reads that are under way: the store's files are closed after
 * them.
 */
import type { Scheduler } from '../../base/scope.ts'
import { custom, int, type OptionTable, resolveOptions } from '../../base/options.ts'
import { checkKey, checkSpace } from '../check.ts'
import { type KeyLike, Span } from '../contract.ts'
import { StoreError } from '../errors.ts'
import { keyBuffer } from '../range.ts'
import type { StoreCore } from './core.ts'
import { lookup } from './cursor.ts'
import { hashOf } from './key-hash.ts'
import { type Found, readTables, WantedKey } from './table-reads.ts'
import type { Version } from './version.ts'

/** Options of `getMany` and `prefetch`. */
export interface ReadManyOptions {
  /** Key space. Default 0. */
  readonly space?: number
  /** Reads of the disk under way at a time. Default 16, from 1 to 1024. */
  readonly concurrency?: number
}

const optionTable: OptionTable<ReadManyOptions> = {
  // The store checks it, like everywhere else.
  space: custom<number>({ default: 0, accepts: (value) => typeof value === 'number', says: 'must be a number' }),
  concurrency: int({ default: 16, min: 1, max: 1024 }),
}

/**
 * A lookup that takes less, in milliseconds, did not wait for the disk: what it read is in the system's memory. Done at
 * once it costs a fifth of what it costs through the thread pool.
 */
const quickMs = 0.05
/** After a lookup that took longer so many keys are read in the background before another is tried at once. */
const keysAfterSlow = 256
/** Keys looked up at once in a turn of the event loop: in about a millisecond. */
const keysPerTurn = 256

/** What it needs of a store's core. */
export type ReadCore = Pick<
  StoreCore,
  'files' | 'check' | 'closed' | 'version' | 'tableEra' | 'getInMemory' | 'remember'
>

export class ReadMany {
  readonly #core: ReadCore
  /** For telling quick lookups from slow ones; undefined: that cannot be told, and everything is read in the background. */
  readonly #scheduler: Scheduler | undefined
  /** Keys to read in the background before the next try. */
  #untilTry = 0
  readonly #running = new Set<Promise<void>>()
  readonly #out = new Span()

  constructor(core: ReadCore, scheduler: Scheduler | undefined) {
    this.#core = core
    this.#scheduler = scheduler
  }

  async getMany(keys: readonly KeyLike[], options: ReadManyOptions): Promise<(Buffer | undefined)[]> {
    const values = new Array<Buffer | undefined>(keys.length).fill(undefined)
    const { space, concurrency } = resolveOptions('read', optionTable, options)
    const wanted = this.#inMemory(keys, space, values)
    if (wanted.length > 0) await this.#readAll(wanted, concurrency, values)
    return values
  }

  async prefetch(keys: readonly KeyLike[], options: ReadManyOptions): Promise<void> {
    const { space, concurrency } = resolveOptions('read', optionTable, options)
    const wanted = this.#inMemory(keys, space, undefined)
    if (wanted.length > 0) await this.#readAll(wanted, concurrency, undefined)
  }

  /** Resolves when no read is under way. Never rejects. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#running)
  }

  /** Fills in what memory knows, and returns what it does not know. The keys of these are copied: the caller's may change. */
  #inMemory(keys: readonly KeyLike[], space: number, values: (Buffer | undefined)[] | undefined): WantedKey[] {
    const core = this.#core
    const { store, hashSeed } = core.files
    const out = this.#out
    const wanted: WantedKey[] = []
    core.check()
    checkSpace(store, space)
    for (let i = 0; i < keys.length; i++) {
      const like = keys[i]!
      const key = keyBuffer(like, store)
      checkKey(store, key, 0, key.length)
      const hash = hashOf(hashSeed, space, key, 0, key.length)
      const found = core.getInMemory(hash, space, key, 0, key.length, out)
      if (found === undefined) {
        if (!core.version.empty)
          wanted.push(new WantedKey(hash, space, typeof like === 'string' ? key : Buffer.from(key), i))
      } else if (values !== undefined && found === lookup.value) values[i] = out.copy()
    }
    return wanted
  }

  async #readAll(
    wanted: readonly WantedKey[],
    concurrency: number,
    values: (Buffer | undefined)[] | undefined,
  ): Promise<void> {
    const reading = this.#read(wanted, concurrency, values)
    this.#running.add(reading)
    try {
      await reading
    } finally {
      this.#running.delete(reading)
    }
  }

  async #read(
    wanted: readonly WantedKey[],
    concurrency: number,
    values: (Buffer | undefined)[] | undefined,
  ): Promise<void> {
    const core = this.#core
    const version = core.version.retain()
    const era = core.tableEra
    const closed = (): StoreError =>
      new StoreError('ERR_STORE_CLOSED', core.files.store, 'it was closed while keys were read')
    const check = (): void => {
      if (core.closed) throw closed()
    }
    const found: Found = ({ hash, space, key, index }, value) => {
      if (values !== undefined) values[index] = value.copy()
      core.remember(era, hash, space, key, value, values === undefined)
    }
    try {
      const rest = wanted.slice(await this.#readAtOnce(version, wanted, check, found))
      await readTables([...version.upper, version.last], rest, { concurrency, check, found })
    } catch (error) {
      throw core.closed ? closed() : error
    } finally {
      version.release()
    }
  }

  /** Looks keys up at once as long as that is quick; how many it has. */
  async #readAtOnce(version: Version, wanted: readonly WantedKey[], check: () => void, found: Found): Promise<number> {
    const scheduler = this.#scheduler
    if (scheduler === undefined) return 0
    const out = this.#out
    let done = 0
    while (done < wanted.length && this.#untilTry === 0) {
      const one = wanted[done]!
      const before = scheduler.monotonic()
      const what = version.get(one.hash, one.space, one.key, 0, one.key.length, out)
      if (scheduler.monotonic() - before > quickMs) this.#untilTry = keysAfterSlow
      if (what === lookup.value) found(one, out)
      done += 1
      if (done % keysPerTurn > 0) continue
      await new Promise<void>((resolve) => scheduler.immediate(() => resolve()))
      check()
    }
    this.#untilTry = Math.max(0, this.#untilTry - (wanted.length - done))
    return done
  }
}
