/**
 * Reading many keys of a store at once, without blocking on the disk. Memory is asked at the moment of the call, in one
 * loop; what only the tables know is looked for in the version of that moment, so that all answers are of one moment
 * whatever is written, flushed or merged meanwhile. Owns the reads that are under way: the store's files are closed after
 * them.
 */
import { custom, int, type OptionTable, resolveOptions } from '../../base/options.ts'
import { checkKey, checkSpace } from '../check.ts'
import { type KeyLike, Span } from '../contract.ts'
import { StoreError } from '../errors.ts'
import { keyBuffer } from '../range.ts'
import type { StoreCore } from './core.ts'
import { lookup } from './cursor.ts'
import { hashOf } from './key-hash.ts'
import { readTables, WantedKey } from './table-reads.ts'

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

export class ReadMany {
  readonly #core: StoreCore
  readonly #running = new Set<Promise<void>>()
  readonly #out = new Span()

  constructor(core: StoreCore) {
    this.#core = core
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
    try {
      await readTables([...version.upper, version.last], wanted, {
        concurrency,
        check: () => {
          if (core.closed) throw closed()
        },
        found: ({ hash, space, key, index }, value) => {
          if (values !== undefined) values[index] = value.copy()
          core.remember(era, hash, space, key, value, values === undefined)
        },
      })
    } catch (error) {
      throw core.closed ? closed() : error
    } finally {
      version.release()
    }
  }
}
