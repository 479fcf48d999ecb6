/**
 * Single writes of a log store, without a batch: visible at once, and logged together as one frame when there are enough
 * of them, at the end of the turn, or when anything else is to be logged. A kill in between loses the last of them, never
 * one before another. Owns the open frame.
 */
import type { Scheduler } from '../../base/scope.ts'
import { checkKey, checkSpace, checkValue } from '../check.ts'
import type { StoreError } from '../errors.ts'
import { frameBytes, frameHeader } from './frame.ts'
import type { Memtable } from './memtable.ts'

/** What single writes need of their store. */
export interface GroupOwner {
  readonly name: string
  /** The memtable to write to; throws when the store may not be written or another writer is open. */
  writable(): Memtable
  mayHave(space: number, key: Buffer, from: number, to: number): boolean
  /** As BatchOwner.log. */
  log(from: number, to: number, stateAt: number, count: number, checkpoint: undefined): void
  committed(bytes: number): void
  /** A frame could not be written at the end of a turn; the next write says so again. */
  failed(error: StoreError): void
}

/** A frame of this many bytes is written before another write is taken. */
const groupBytes = 32 * 1024
const nothing = Buffer.alloc(0)

export class LogGroup {
  readonly #owner: GroupOwner
  readonly #scheduler: Scheduler
  #memtable: Memtable | undefined
  #from = 0
  #count = 0
  #isScheduled = false

  constructor(owner: GroupOwner, scheduler: Scheduler) {
    this.#owner = owner
    this.#scheduler = scheduler
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
    this.#open().append(space, key, keyFrom, keyTo, value, valueFrom, valueTo, false)
    this.#appended()
  }

  delete(space: number, key: Buffer, keyFrom: number, keyTo: number): void {
    checkSpace(this.#owner.name, space)
    checkKey(this.#owner.name, key, keyFrom, keyTo)
    this.#owner.writable()
    if (!this.#owner.mayHave(space, key, keyFrom, keyTo)) return
    this.#open().append(space, key, keyFrom, keyTo, nothing, 0, 0, true)
    this.#appended()
  }

  /** Where the next write goes. A group that is large enough is written first: when that fails, the write is not taken. */
  #open(): Memtable {
    const open = this.#memtable
    if (open !== undefined && open.end - this.#from >= groupBytes) this.close()
    const memtable = this.#owner.writable()
    if (this.#memtable !== undefined) return this.#memtable
    this.#memtable = memtable
    this.#from = memtable.end
    memtable.reserve(frameHeader)
    memtable.end += frameHeader
    return memtable
  }

  #appended(): void {
    this.#memtable!.publish()
    this.#count += 1
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#scheduler.immediate(() => {
      this.#isScheduled = false
      try {
        this.close()
      } catch (error) {
        this.#owner.failed(error as StoreError)
      }
    })
  }

  /** Forgets what is not written: the store takes no writes any more. */
  abandon(): void {
    this.#memtable = undefined
    this.#count = 0
  }

  /** Writes what is not written. Throws StoreError; it is tried again with the next write. */
  close(): void {
    const memtable = this.#memtable
    if (memtable === undefined) return
    const from = this.#from
    const stateAt = memtable.end
    const to = from + frameBytes(stateAt - from - frameHeader, 0)
    memtable.reserve(to - stateAt)
    this.#owner.log(from, to, stateAt, this.#count, undefined)
    memtable.end = to
    memtable.publish()
    this.#memtable = undefined
    this.#count = 0
    this.#owner.committed(to - from)
  }
}
