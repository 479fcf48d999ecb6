/** A bulk load of a memory store: writes go to the table at once, equal sizes in place. Owns only whether it is open. */
import { checkKey, checkSpace, checkValue } from './check.ts'
import type { BulkLoad, Checkpoint } from './contract.ts'
import { StoreError } from './errors.ts'
import type { MemoryTable } from './memory-table.ts'

/** What a load needs of its store. */
export interface LoadOwner {
  readonly name: string
  /** The table to load into; throws when the store is closed or `bytes` more do not fit. */
  loadableTable(bytes: number): MemoryTable
  setCheckpoint(checkpoint: Checkpoint): void
  loadEnded(): void
}

export class MemoryBulkLoad implements BulkLoad {
  readonly #owner: LoadOwner
  #open = true

  constructor(owner: LoadOwner) {
    this.#owner = owner
  }

  put(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void {
    checkSpace(this.#owner.name, space)
    checkKey(this.#owner.name, key, keyFrom, keyTo)
    checkValue(this.#owner.name, value, valueFrom, valueTo)
    this.#table(keyTo - keyFrom + valueTo - valueFrom).put(space, key, keyFrom, keyTo, value, valueFrom, valueTo)
  }

  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void {
    checkSpace(this.#owner.name, space)
    checkKey(this.#owner.name, key, keyFrom, keyTo)
    const table = this.#table(0)
    const entry = table.find(table.hash(space, key, keyFrom, keyTo), space, key, keyFrom, keyTo)
    if (entry >= 0) table.remove(entry)
    table.tidy(1)
  }

  advance(checkpoint: Checkpoint): void {
    this.#table(0)
    this.#owner.setCheckpoint(checkpoint)
  }

  finish(checkpoint: Checkpoint): void {
    this.advance(checkpoint)
    this.#end()
  }

  abandon(): void {
    if (this.#open) this.#end()
  }

  #end(): void {
    this.#open = false
    this.#owner.loadEnded()
  }

  #table(bytes: number): MemoryTable {
    if (!this.#open) throw new StoreError('ERR_STORE_CLOSED', this.#owner.name, 'the bulk load has ended')
    return this.#owner.loadableTable(bytes)
  }
}
