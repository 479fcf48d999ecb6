/**
 * SimDisk: stores that outlive the process that wrote them, as on a real disk. Owns the stores; a process gets an engine
 * whose stores it can no longer change once it was killed. What was committed before the kill is there when the next
 * process opens the store, what was collected but not committed is not. A hook sees each commit, before and after.
 */
import {
  type BulkLoad,
  type Checkpoint,
  type Snapshot,
  type Span,
  type StorageEngine,
  type Store,
  type StoreBatch,
  type StoreDirectory,
  StoreError,
  type StoreIterator,
  type StoreJob,
  type StoreRange,
  type StoreStats,
} from '../../src/storage/index.ts'
import type { Process } from './process.ts'

export interface DiskHooks {
  /** A batch with its checkpoint is about to be applied; may kill the process, then it is not. */
  beforeCommit?(process: Process, store: Store, checkpoint: Checkpoint | undefined): void
  /** It was applied. */
  afterCommit?(process: Process, store: Store, checkpoint: Checkpoint | undefined): void
}

interface Slot {
  readonly inner: Store
  /** Who has it open. */
  owner: Process | undefined
  load: BulkLoad | undefined
}

export class SimDisk {
  hooks: DiskHooks = {}
  readonly #engine: StorageEngine
  readonly #slots = new Map<string, Slot>()

  /** `engine` keeps the bytes: a memory engine. */
  constructor(engine: StorageEngine) {
    this.#engine = engine
  }

  /** The stores as they lie on the disk. */
  *stores(): IterableIterator<Store> {
    for (const slot of this.#slots.values()) yield slot.inner
  }

  /** Loses everything, like a new machine. No process may have it open. */
  async wipe(): Promise<void> {
    for (const slot of this.#slots.values()) await slot.inner.close()
    this.#slots.clear()
  }

  /** The disk as one process sees it. */
  engine(process: Process): StorageEngine {
    const opened = new Set<SimStore>()
    const close = async (): Promise<void> => {
      for (const store of opened) await store.close()
    }
    return {
      name: 'simulated',
      open: async (directory) => {
        const store = await this.#open(process, directory)
        opened.add(store)
        return store
      },
      close,
      [Symbol.asyncDispose]: close,
    }
  }

  async #open(process: Process, directory: StoreDirectory): Promise<SimStore> {
    const path = `${directory.group}/${directory.table}/${directory.partition}`
    let slot = this.#slots.get(path)
    if (slot === undefined) {
      slot = { inner: await this.#engine.open(directory), owner: undefined, load: undefined }
      this.#slots.set(path, slot)
    }
    if (slot.owner?.alive === true) throw new StoreError('ERR_STORE_LOCKED', path, `it is open in ${slot.owner.name}`)
    // What the dead owner had not committed is lost.
    slot.load?.abandon()
    slot.load = undefined
    slot.inner.writer().abandon()
    slot.owner = process
    return new SimStore(process, slot, this)
  }
}

class SimStore implements Store {
  readonly kind = 'simulated'
  readonly #process: Process
  readonly #slot: Slot
  readonly #disk: SimDisk
  readonly #batch: StoreBatch
  #closed = false

  constructor(process: Process, slot: Slot, disk: SimDisk) {
    this.#process = process
    this.#slot = slot
    this.#disk = disk
    this.#batch = this.#guardBatch(slot.inner.writer())
  }

  get #inner(): Store {
    if (this.#closed) throw new StoreError('ERR_STORE_CLOSED', this.#slot.inner.name, 'it is closed')
    return this.#slot.inner
  }

  /** Whether this process may still change the store. */
  get #mine(): boolean {
    return this.#process.alive && this.#slot.owner === this.#process
  }

  get name(): string {
    return this.#slot.inner.name
  }
  get entryCount(): number {
    return this.#inner.entryCount
  }
  get byteLength(): number {
    return this.#inner.byteLength
  }
  get checkpoint(): Checkpoint | undefined {
    return this.#inner.checkpoint
  }
  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean {
    return this.#inner.getSync(space, key, keyFrom, keyTo, out)
  }
  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean {
    return this.#inner.hasSync(space, key, keyFrom, keyTo)
  }
  get(key: string | Uint8Array): Buffer | undefined {
    return this.#inner.get(key)
  }
  has(key: string | Uint8Array): boolean {
    return this.#inner.has(key)
  }
  iterate(range?: StoreRange): StoreIterator {
    return this.#inner.iterate(range)
  }
  entries(range?: StoreRange): IterableIterator<[key: Buffer, value: Buffer]> {
    return this.#inner.entries(range)
  }
  snapshot(): Snapshot {
    return this.#inner.snapshot()
  }
  ordering(space?: number): StoreJob | undefined {
    return this.#inner.ordering(space)
  }
  stats(): StoreStats {
    return this.#inner.stats()
  }
  clear(): void {
    if (this.#mine) this.#inner.clear()
  }
  writer(): StoreBatch {
    return this.#batch
  }

  bulkLoad(): BulkLoad {
    const load = this.#inner.bulkLoad()
    this.#slot.load = load
    return {
      put: (...args) => {
        if (this.#mine) load.put(...args)
      },
      delete: (...args) => {
        if (this.#mine) load.delete(...args)
      },
      advance: (checkpoint) => this.#committing(checkpoint, () => load.advance(checkpoint)),
      finish: (checkpoint) =>
        this.#committing(checkpoint, () => {
          load.finish(checkpoint)
          this.#slot.load = undefined
        }),
      abandon: () => {
        if (!this.#mine) return
        load.abandon()
        this.#slot.load = undefined
      },
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (!this.#mine) return
    this.#slot.load?.abandon()
    this.#slot.load = undefined
    this.#slot.inner.writer().abandon()
    this.#slot.owner = undefined
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #guardBatch(batch: StoreBatch): StoreBatch {
    const mine = (): boolean => this.#mine && !this.#closed
    return {
      get count() {
        return batch.count
      },
      get byteLength() {
        return batch.byteLength
      },
      put: (...args) => {
        if (mine()) batch.put(...args)
      },
      delete: (...args) => {
        if (mine()) batch.delete(...args)
      },
      commit: (checkpoint) => this.#committing(checkpoint, () => batch.commit(checkpoint)),
      abandon: () => {
        if (mine()) batch.abandon()
      },
    }
  }

  #committing(checkpoint: Checkpoint | undefined, apply: () => void): void {
    if (!this.#mine) return
    this.#disk.hooks.beforeCommit?.(this.#process, this.#slot.inner, checkpoint)
    if (!this.#mine) return
    apply()
    this.#disk.hooks.afterCommit?.(this.#process, this.#slot.inner, checkpoint)
  }
}
