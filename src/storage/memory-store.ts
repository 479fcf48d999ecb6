/**
 * A store of the memory engine: contract.ts over memory-table.ts. Owns the table, the checkpoint, and who may write
 * (the batch, or one bulk load).
 */
import { headerBytes } from './arena.ts'
import { checkKey, checkSpace, copyCheckpoint } from './check.ts'
import type {
  BulkLoad,
  Checkpoint,
  KeyLike,
  Snapshot,
  Store,
  StoreBatch,
  StoreIterator,
  StoreJob,
  StoreRange,
  StoreStats,
} from './contract.ts'
import { Span } from './contract.ts'
import { EntryIterator } from './entry-iterator.ts'
import { StoreError } from './errors.ts'
import { type BatchOwner, MemoryBatch } from './memory-batch.ts'
import { type LoadOwner, MemoryBulkLoad } from './memory-bulk.ts'
import { MemoryIterator } from './memory-iterator.ts'
import { readValue } from './memory-reader.ts'
import { MemorySnapshot } from './memory-snapshot.ts'
import { MemoryTable } from './memory-table.ts'
import { checkRange, keyBuffer } from './range.ts'

export interface MemoryStoreSettings {
  /** `group/table/partition`. */
  readonly name: string
  /** Bytes of records, superseded ones that are not reclaimed included. */
  readonly maxBytes: number
  /** Seed of the key hash. */
  readonly seed: number
  readonly onClose: () => void
}

export class MemoryStore implements Store {
  readonly kind = 'memory'
  readonly name: string
  readonly #settings: MemoryStoreSettings
  readonly #life = { closed: false }
  readonly #owner: LoadOwner
  #table: MemoryTable
  #checkpoint: Checkpoint | undefined
  readonly #batch: MemoryBatch
  #loading = false
  readonly #out = new Span()

  constructor(settings: MemoryStoreSettings) {
    this.#settings = settings
    this.name = settings.name
    this.#table = new MemoryTable(settings.seed, this.#life)
    const owner: BatchOwner & LoadOwner = {
      name: settings.name,
      writableTable: (bytes) => this.#writable(bytes),
      anyTable: () => this.#table,
      loadableTable: (bytes) => this.#withRoom(bytes),
      setCheckpoint: (checkpoint) => {
        this.#checkpoint = copyCheckpoint(this.name, checkpoint)
      },
      loadEnded: () => {
        this.#loading = false
      },
    }
    this.#owner = owner
    this.#batch = new MemoryBatch(owner)
  }

  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoint
  }

  get entryCount(): number {
    return this.#table.liveCount
  }

  get byteLength(): number {
    return this.#table.liveBytes
  }

  #open(): MemoryTable {
    if (this.#life.closed) throw new StoreError('ERR_STORE_CLOSED', this.name, 'it is closed')
    return this.#table
  }

  #withRoom(bytes: number): MemoryTable {
    const table = this.#open()
    if (bytes > 0 && !this.#fits(table, bytes)) {
      table.reclaim()
      if (!this.#fits(table, bytes)) {
        const text = `${bytes} more bytes do not fit into its limit of ${this.#settings.maxBytes} bytes (maxStoreBytes)`
        throw new StoreError('ERR_STORE_NOSPACE', this.name, text)
      }
    }
    return table
  }

  #fits(table: MemoryTable, bytes: number): boolean {
    const used = 8 * table.arena.usedUnits + bytes + headerBytes
    return used <= this.#settings.maxBytes && !table.arena.full
  }

  #writable(bytes: number): MemoryTable {
    if (this.#loading) {
      throw new StoreError('ERR_STORE_BATCH', this.name, 'a bulk load is open: finish or abandon it first')
    }
    return this.#withRoom(bytes)
  }

  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean {
    checkKey(this.name, key, keyFrom, keyTo)
    return readValue(this.#open(), undefined, space, key, keyFrom, keyTo, out)
  }

  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean {
    checkKey(this.name, key, keyFrom, keyTo)
    return readValue(this.#open(), undefined, space, key, keyFrom, keyTo, undefined)
  }

  get(key: KeyLike): Buffer | undefined {
    const bytes = keyBuffer(key, this.name)
    return this.getSync(0, bytes, 0, bytes.length, this.#out) ? this.#out.copy() : undefined
  }

  has(key: KeyLike): boolean {
    const bytes = keyBuffer(key, this.name)
    return this.hasSync(0, bytes, 0, bytes.length)
  }

  iterate(range: StoreRange = {}): StoreIterator {
    const table = this.#open()
    checkRange(this.name, range)
    return new MemoryIterator(table, this.name, undefined, range)
  }

  entries(range: StoreRange = {}): IterableIterator<[Buffer, Buffer]> {
    return new EntryIterator(this.iterate(range))
  }

  writer(): StoreBatch {
    this.#open()
    return this.#batch
  }

  bulkLoad(): BulkLoad {
    this.#open()
    if (this.#loading) throw new StoreError('ERR_STORE_BATCH', this.name, 'another bulk load is open')
    this.#checkBatchEmpty('start a bulk load')
    this.#loading = true
    return new MemoryBulkLoad(this.#owner)
  }

  #checkBatchEmpty(purpose: string): void {
    if (this.#batch.count === 0) return
    const text = `cannot ${purpose} while the batch holds ${this.#batch.count} operations: commit or abandon it first`
    throw new StoreError('ERR_STORE_BATCH', this.name, text)
  }

  snapshot(): Snapshot {
    return new MemorySnapshot(this.#open(), this.name, this.#checkpoint)
  }

  ordering(space = 0): StoreJob | undefined {
    checkSpace(this.name, space)
    return this.#open().ordering(space)
  }

  stats(): StoreStats {
    return this.#open().stats()
  }

  clear(): void {
    this.#open()
    this.#checkBatchEmpty('clear')
    this.#table = new MemoryTable(this.#settings.seed, this.#life)
    this.#checkpoint = undefined
  }

  async close(): Promise<void> {
    if (this.#life.closed) return
    this.#life.closed = true
    this.#batch.abandon()
    // So that the entries can be collected while somebody still holds the store.
    this.#table = new MemoryTable(0, this.#life)
    this.#settings.onClose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
