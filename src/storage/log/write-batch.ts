/**
 * The batch of a log store: operations are appended to the memtable at once, where nobody sees them, as the frame that
 * `commit` completes, writes to the log and makes visible. Owns the frame while it is open.
 */
import { checkKey, checkSpace, checkValue, copyCheckpoint } from '../check.ts'
import type { Checkpoint, StoreBatch } from '../contract.ts'
import { StoreError } from '../errors.ts'
import { frameBytes, frameHeader } from './frame.ts'
import { type Memtable, maxMemtableBytes, recordBytes } from './memtable.ts'

/** What the batch needs of its store. */
export interface BatchOwner {
  readonly name: string
  /** The memtable to write to; throws when the store is closed, poisoned, or another writer is open. */
  writable(): Memtable
  /** The memtable, whatever the store's state. */
  anyMemtable(): Memtable
  /** Whether anything but the memtable may know the key: else deleting it means nothing. */
  mayHave(space: number, key: Buffer, from: number, to: number): boolean
  /** Completes the frame [from, to) of `count` records with its state at `stateAt`, and writes it. Throws StoreError. */
  log(from: number, to: number, stateAt: number, count: number, checkpoint: Checkpoint | undefined): void
  /** The memtable shows what was appended: a frame of `bytes`. */
  committed(bytes: number): void
}

const nothing = Buffer.alloc(0)

export class LogBatch implements StoreBatch {
  count = 0
  byteLength = 0
  readonly #owner: BatchOwner
  /** The records of the frame, in the order of appending. */
  #refs = new Int32Array(64)
  /** Where the frame begins; −1: none is open. */
  #frameFrom = -1
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
    let done = false
    try {
      checkSpace(this.#owner.name, space)
      checkKey(this.#owner.name, key, keyFrom, keyTo)
      checkValue(this.#owner.name, value, valueFrom, valueTo)
      this.#append(this.#owner.writable(), space, key, keyFrom, keyTo, value, valueFrom, valueTo, false)
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
      const memtable = this.#owner.writable()
      if (this.#owner.mayHave(space, key, keyFrom, keyTo)) {
        this.#append(memtable, space, key, keyFrom, keyTo, nothing, 0, 0, true)
      }
      done = true
    } finally {
      if (!done) this.#failed = true
    }
  }

  #append(
    memtable: Memtable,
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
    deleted: boolean,
  ): void {
    const room = recordBytes(keyTo - keyFrom, valueTo - valueFrom) + 2 * frameHeader + 1024
    if (memtable.end + room > maxMemtableBytes) {
      const text = `a batch of more than ${maxMemtableBytes} bytes is too large: commit it in parts`
      throw new StoreError('ERR_STORE_BATCH', this.#owner.name, text)
    }
    if (this.#frameFrom < 0) {
      this.#frameFrom = memtable.end
      memtable.reserve(frameHeader)
      memtable.end += frameHeader
    }
    if (this.count === this.#refs.length) {
      const larger = new Int32Array(2 * this.#refs.length)
      larger.set(this.#refs)
      this.#refs = larger
    }
    this.#refs[this.count] = memtable.end >>> 3
    memtable.append(space, key, keyFrom, keyTo, value, valueFrom, valueTo, deleted)
    this.count += 1
    this.byteLength += keyTo - keyFrom + valueTo - valueFrom
  }

  commit(checkpoint?: Checkpoint): void {
    const owner = this.#owner
    const memtable = owner.writable()
    if (this.#failed) {
      throw new StoreError('ERR_STORE_BATCH', owner.name, 'a put in this batch failed: abandon it and write it again')
    }
    const copy = checkpoint === undefined ? undefined : copyCheckpoint(owner.name, checkpoint)
    if (this.count === 0 && copy === undefined) return
    if (this.#frameFrom < 0) {
      this.#frameFrom = memtable.end
      memtable.reserve(frameHeader)
      memtable.end += frameHeader
    }
    const from = this.#frameFrom
    const stateAt = memtable.end
    const to = from + frameBytes(stateAt - from - frameHeader, copy?.state.length ?? 0)
    memtable.reserve(to - stateAt)
    try {
      owner.log(from, to, stateAt, this.count, copy)
    } catch (error) {
      // Without operations the store takes the batch for empty: then nothing of it may be left in the memtable.
      if (this.count === 0) this.abandon()
      throw error
    }
    memtable.end = to
    memtable.publish()
    this.#reset()
    owner.committed(to - from)
  }

  abandon(): void {
    if (this.#frameFrom >= 0) this.#owner.anyMemtable().rollback(this.#refs, this.count, this.#frameFrom)
    this.#reset()
  }

  #reset(): void {
    this.count = 0
    this.byteLength = 0
    this.#frameFrom = -1
    this.#failed = false
    if (this.#refs.length > 262_144) this.#refs = new Int32Array(64)
  }
}
