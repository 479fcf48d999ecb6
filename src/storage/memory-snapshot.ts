/** A snapshot of a memory store. Owns its overlay until released. */
import { checkKey } from './check.ts'
import { type Checkpoint, type KeyLike, type Snapshot, Span, type StoreIterator, type StoreRange } from './contract.ts'
import { EntryIterator } from './entry-iterator.ts'
import { StoreError } from './errors.ts'
import { MemoryIterator } from './memory-iterator.ts'
import { readValue } from './memory-reader.ts'
import type { MemoryTable } from './memory-table.ts'
import type { Overlay } from './overlay.ts'
import { checkRange, keyBuffer } from './range.ts'

export class MemorySnapshot implements Snapshot {
  readonly checkpoint: Checkpoint | undefined
  readonly entryCount: number
  readonly #table: MemoryTable
  readonly #store: string
  readonly #overlay: Overlay
  readonly #out = new Span()

  constructor(table: MemoryTable, store: string, checkpoint: Checkpoint | undefined) {
    this.#table = table
    this.#store = store
    this.#overlay = table.overlays.open()
    this.checkpoint = checkpoint
    this.entryCount = table.liveCount
  }

  #open(): MemoryTable {
    if (this.#table.life.closed) throw new StoreError('ERR_STORE_CLOSED', this.#store, 'it is closed')
    if (!this.#overlay.live) throw new StoreError('ERR_STORE_CLOSED', this.#store, 'the snapshot was released')
    return this.#table
  }

  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean {
    checkKey(this.#store, key, keyFrom, keyTo)
    return readValue(this.#open(), this.#overlay, space, key, keyFrom, keyTo, out)
  }

  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean {
    checkKey(this.#store, key, keyFrom, keyTo)
    return readValue(this.#open(), this.#overlay, space, key, keyFrom, keyTo, undefined)
  }

  get(key: KeyLike): Buffer | undefined {
    const bytes = keyBuffer(key, this.#store)
    return this.getSync(0, bytes, 0, bytes.length, this.#out) ? this.#out.copy() : undefined
  }

  has(key: KeyLike): boolean {
    const bytes = keyBuffer(key, this.#store)
    return this.hasSync(0, bytes, 0, bytes.length)
  }

  iterate(range: StoreRange = {}): StoreIterator {
    const table = this.#open()
    checkRange(this.#store, range)
    return new MemoryIterator(table, this.#store, this.#overlay, range)
  }

  entries(range: StoreRange = {}): IterableIterator<[Buffer, Buffer]> {
    return new EntryIterator(this.iterate(range))
  }

  release(): void {
    if (this.#overlay.live) this.#table.release(this.#overlay)
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
