/** A snapshot of a log store: a read view with the face of contract.ts. Holds the view until it is released. */
import { checkKey } from '../check.ts'
import { type Checkpoint, type KeyLike, type Snapshot, Span, type StoreIterator, type StoreRange } from '../contract.ts'
import { EntryIterator } from '../entry-iterator.ts'
import { StoreError } from '../errors.ts'
import { checkRange, keyBuffer } from '../range.ts'
import { closedDuring, LogIterator } from './log-iterator.ts'
import type { ReadView } from './read-view.ts'

export class LogSnapshot implements Snapshot {
  readonly #name: string
  readonly #view: ReadView
  readonly #isClosed: () => boolean
  readonly #checkpoint: Checkpoint | undefined
  readonly #out = new Span()
  /** Those that are open: they end with the snapshot. */
  readonly #iterators = new Set<LogIterator>()
  #released = false

  /** Takes over one hold of the view. */
  constructor(name: string, view: ReadView, isClosed: () => boolean) {
    this.#name = name
    this.#view = view
    this.#checkpoint = view.checkpoint
    this.#isClosed = isClosed
  }

  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoint
  }

  get entryCount(): number {
    this.#check()
    return this.#view.estimate().entries
  }

  #check(): void {
    if (this.#isClosed()) throw new StoreError('ERR_STORE_CLOSED', this.#name, 'it is closed')
    if (this.#released) throw new StoreError('ERR_STORE_CLOSED', this.#name, 'the snapshot was released')
  }

  getSync(space: number, key: Buffer, keyFrom: number, keyTo: number, out: Span): boolean {
    checkKey(this.#name, key, keyFrom, keyTo)
    this.#check()
    return this.#view.get(space, key, keyFrom, keyTo, out)
  }

  hasSync(space: number, key: Buffer, keyFrom: number, keyTo: number): boolean {
    return this.getSync(space, key, keyFrom, keyTo, this.#out)
  }

  get(key: KeyLike): Buffer | undefined {
    const bytes = keyBuffer(key, this.#name)
    return this.getSync(0, bytes, 0, bytes.length, this.#out) ? this.#out.copy() : undefined
  }

  has(key: KeyLike): boolean {
    const bytes = keyBuffer(key, this.#name)
    return this.hasSync(0, bytes, 0, bytes.length)
  }

  iterate(range: StoreRange = {}): StoreIterator {
    this.#check()
    checkRange(this.#name, range)
    const check = (): void => {
      if (this.#isClosed()) throw closedDuring(this.#name, 'it was closed')
      if (this.#released) throw closedDuring(this.#name, 'the snapshot was released')
    }
    const cursor = this.#view.cursor(range)
    const iterator = new LogIterator(this.#view.retain(), cursor, check, (one) => this.#iterators.delete(one))
    this.#iterators.add(iterator)
    return iterator
  }

  entries(range: StoreRange = {}): IterableIterator<[Buffer, Buffer]> {
    return new EntryIterator(this.iterate(range))
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    for (const iterator of [...this.#iterators]) iterator.letGo()
    this.#view.release()
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
