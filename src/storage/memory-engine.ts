/** The memory engine: tables that live as long as the process. Owns the list of its open stores. */
import { custom, int, type OptionTable, resolveOptions } from '../base/options.ts'
import type { Random } from '../base/scope.ts'
import type { StorageEngine, Store, StoreDirectory } from './contract.ts'
import { storeName, storePath } from './directory.ts'
import { StoreError } from './errors.ts'
import { MemoryStore } from './memory-store.ts'

/** Options of `memoryEngine(…)`. */
export interface MemoryEngineOptions {
  /**
   * Memory for the entries of one store, bytes; a put above it fails with ERR_STORE_NOSPACE. Indexes (about 20 bytes a
   * key) and unfilled chunks (up to 3 MiB) come on top. Default 8 GiB, 64 KiB to 15 GiB.
   */
  readonly maxStoreBytes?: number
  /** Seeds the hash of keys, so that nobody can choose keys that collide. Default: a fixed seed. */
  readonly random?: Random | null
}

const optionTable: OptionTable<MemoryEngineOptions> = {
  maxStoreBytes: int({ default: 8 * 2 ** 30, min: 65_536, max: 15 * 2 ** 30 }),
  random: custom<Random | null>({
    default: null,
    accepts: (value) => value === null || typeof (value as Random).next === 'function',
    says: 'must be a Random',
  }),
}

/** Keeps tables in memory, outside the JavaScript heap. A closed store is gone: recovery starts from the changelog. */
export class MemoryEngine implements StorageEngine {
  /** `memory`. */
  readonly name = 'memory'
  readonly #maxBytes: number
  readonly #random: Random | null
  readonly #stores = new Map<string, MemoryStore>()

  /** Throws OptionError. */
  constructor(options?: MemoryEngineOptions) {
    const resolved = resolveOptions('memory engine', optionTable, options)
    this.#maxBytes = resolved.maxStoreBytes
    this.#random = resolved.random
  }

  /** Rejects with StoreError `ERR_STORE_LOCKED` when that store is open already, with OptionError for a place that is none. */
  async open(directory: StoreDirectory): Promise<Store> {
    const path = storePath(directory)
    const name = storeName(directory)
    if (this.#stores.has(path))
      throw new StoreError('ERR_STORE_LOCKED', name, 'it is open already: use that store, or close it first')
    const store = new MemoryStore({
      name,
      maxBytes: this.#maxBytes,
      seed: this.#random === null ? 0x51ed270b : this.#random.bytes(4).readInt32LE(0),
      onClose: () => this.#stores.delete(path),
    })
    this.#stores.set(path, store)
    return store
  }

  /** Closes every store that is still open. */
  async close(): Promise<void> {
    for (const store of [...this.#stores.values()]) await store.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A new memory engine. Throws OptionError. */
export function memoryEngine(options?: MemoryEngineOptions): StorageEngine {
  return new MemoryEngine(options)
}
