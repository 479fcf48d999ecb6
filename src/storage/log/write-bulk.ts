/**
 * A bulk load of a log store: records go straight into memtables without a log, which is what makes it fast; the tables
 * they become carry the checkpoint. A process that dies meanwhile goes on from the last table's. Owns only whether it is open.
 */
import { checkKey, checkSpace, checkValue, copyCheckpoint } from '../check.ts'
import type { BulkLoad, Checkpoint } from '../contract.ts'
import { StoreError } from '../errors.ts'
import type { Memtable } from './memtable.ts'

/** What a load needs of its store. */
export interface LoadOwner {
  readonly name: string
  /** The memtable to load into; throws when the store is closed or poisoned. */
  loadable(): Memtable
  mayHave(space: number, key: Buffer, from: number, to: number): boolean
  /** Records of `bytes` were appended and may be seen; the memtable may be full. */
  loaded(bytes: number): void
  setCheckpoint(checkpoint: Checkpoint): void
  loadEnded(): void
}

const nothing = Buffer.alloc(0)

export class LogBulkLoad implements BulkLoad {
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
    this.#memtable().append(space, key, keyFrom, keyTo, value, valueFrom, valueTo, false)
    this.#owner.loaded(keyTo - keyFrom + valueTo - valueFrom)
  }

  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void {
    checkSpace(this.#owner.name, space)
    checkKey(this.#owner.name, key, keyFrom, keyTo)
    const memtable = this.#memtable()
    if (!this.#owner.mayHave(space, key, keyFrom, keyTo)) return
    memtable.append(space, key, keyFrom, keyTo, nothing, 0, 0, true)
    this.#owner.loaded(keyTo - keyFrom)
  }

  advance(checkpoint: Checkpoint): void {
    this.#memtable()
    this.#owner.setCheckpoint(copyCheckpoint(this.#owner.name, checkpoint))
  }

  finish(checkpoint: Checkpoint): void {
    this.advance(checkpoint)
    this.#end()
  }

  abandon(): void {
    if (this.#open) this.#end()
  }

  /** The load stays open when that fails: it can be tried again. */
  #end(): void {
    this.#owner.loadEnded()
    this.#open = false
  }

  #memtable(): Memtable {
    if (!this.#open) throw new StoreError('ERR_STORE_CLOSED', this.#owner.name, 'the bulk load has ended')
    return this.#owner.loadable()
  }
}
