/**
 * The batch of a memory store: `put` copies straight into the arena, invisible, and `commit` only switches the entries
 * over to their new records, so it cannot fail half-way. Owns the list of staged operations.
 */
import { checkKey, checkSpace, checkValue } from './check.ts'
import type { Checkpoint, StoreBatch } from './contract.ts'
import { StoreError } from './errors.ts'
import type { MemoryTable } from './memory-table.ts'

/** What the batch needs of its store. */
export interface BatchOwner {
  readonly name: string
  /** The table to write to; throws when the store is closed or another writer is open. */
  writableTable(bytes: number): MemoryTable
  /** The table, whatever its state. */
  anyTable(): MemoryTable
  setCheckpoint(checkpoint: Checkpoint): void
}

export class MemoryBatch implements StoreBatch {
  count = 0
  byteLength = 0
  readonly #owner: BatchOwner
  /** A staged record's reference ≥ 0, or −1 − entry for a delete. */
  #operations = new Int32Array(64)
  #failed = false

  constructor(owner: BatchOwner) {
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
    const bytes = keyTo - keyFrom + valueTo - valueFrom
    let done = false
    try {
      checkSpace(this.#owner.name, space)
      checkKey(this.#owner.name, key, keyFrom, keyTo)
      checkValue(this.#owner.name, value, valueFrom, valueTo)
      const table = this.#owner.writableTable(bytes)
      this.#push(table.stage(space, key, keyFrom, keyTo, value, valueFrom, valueTo), bytes)
      done = true
    } finally {
      if (!done) this.#failed = true
    }
  }

  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void {
    let done = false
    try {
      checkSpace(this.#owner.name, space)
      checkKey(this.#owner.name, key, keyFrom, keyTo)
      const table = this.#owner.writableTable(0)
      const entry = table.find(table.hash(space, key, keyFrom, keyTo), space, key, keyFrom, keyTo)
      if (entry >= 0) {
        table.pendingOperations += 1
        this.#push(-1 - entry, keyTo - keyFrom)
      }
      done = true
    } finally {
      if (!done) this.#failed = true
    }
  }

  #push(operation: number, bytes: number): void {
    if (this.count === this.#operations.length) {
      const larger = new Int32Array(2 * this.#operations.length)
      larger.set(this.#operations)
      this.#operations = larger
    }
    this.#operations[this.count] = operation
    this.count += 1
    this.byteLength += bytes
  }

  commit(checkpoint?: Checkpoint): void {
    const owner = this.#owner
    const table = owner.writableTable(0)
    if (this.#failed) {
      throw new StoreError('ERR_STORE_BATCH', owner.name, 'a put in this batch failed: abandon it and write it again')
    }
    if (checkpoint !== undefined) owner.setCheckpoint(checkpoint)
    const operations = this.#operations
    for (let i = 0; i < this.count; i++) {
      const operation = operations[i]!
      if (operation >= 0) table.applyStaged(operation)
      else {
        table.pendingOperations -= 1
        table.remove(-1 - operation)
      }
    }
    this.#reset(table)
  }

  abandon(): void {
    const table = this.#owner.anyTable()
    const operations = this.#operations
    for (let i = 0; i < this.count; i++) {
      const operation = operations[i]!
      if (operation >= 0) table.dropStaged(operation)
      else table.pendingOperations -= 1
    }
    this.#reset(table)
  }

  #reset(table: MemoryTable): void {
    table.tidy(this.count)
    this.count = 0
    this.byteLength = 0
    this.#failed = false
    if (this.#operations.length > 262_144) this.#operations = new Int32Array(64)
  }
}
