/** Ordered iteration over a read view: contract.ts over a merge of cursors. Holds its view until it ends. */
import { Span, type StoreIterator } from '../contract.ts'
import { StoreError } from '../errors.ts'
import type { EntryCursor } from './cursor.ts'
import type { ReadView } from './read-view.ts'

export class LogIterator implements StoreIterator {
  readonly key = new Span()
  readonly value = new Span()
  readonly #view: ReadView
  readonly #cursor: EntryCursor
  /** Throws StoreError when the store was closed or the snapshot released meanwhile. */
  readonly #check: () => void
  #open = true

  /** Takes over one hold of the view. */
  constructor(view: ReadView, cursor: EntryCursor, check: () => void) {
    this.#view = view
    this.#cursor = cursor
    this.#check = check
  }

  next(): boolean {
    if (!this.#open) return false
    this.#check()
    const cursor = this.#cursor
    if (!cursor.next()) {
      this.close()
      return false
    }
    this.key.bytes = cursor.keyBytes
    this.key.from = cursor.keyFrom
    this.key.to = cursor.keyTo
    this.value.bytes = cursor.valueBytes
    this.value.from = cursor.valueFrom
    this.value.to = cursor.valueTo
    return true
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#cursor.close()
    this.#view.release()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The check of an iterator: throws when its store was closed. */
export function closedDuring(name: string, what: string): StoreError {
  return new StoreError('ERR_STORE_CLOSED', name, `${what} during an iteration`)
}
