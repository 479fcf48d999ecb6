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
  readonly #onLetGo: ((iterator: LogIterator) => void) | undefined
  #open = true
  #holds = true

  /** Takes over one hold of the view; `onLetGo` is called when it is given back. */
  constructor(view: ReadView, cursor: EntryCursor, check: () => void, onLetGo?: (iterator: LogIterator) => void) {
    this.#view = view
    this.#cursor = cursor
    this.#check = check
    this.#onLetGo = onLetGo
  }

  next(): boolean {
    if (!this.#open) return false
    const cursor = this.#cursor
    let more: boolean
    try {
      this.#check()
      more = cursor.next()
    } catch (error) {
      // A loop over `entries` does not close what throws. The cursor throws the same again.
      this.letGo()
      throw error
    }
    if (!more) {
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
    this.letGo()
  }

  /** Gives back what it reads from, because of an error or the end of its snapshot: `next` throws from now on. */
  letGo(): void {
    if (!this.#holds) return
    this.#holds = false
    this.#cursor.close()
    this.#view.release()
    this.#onLetGo?.(this)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The check of an iterator: throws when its store was closed. */
export function closedDuring(name: string, what: string): StoreError {
  return new StoreError('ERR_STORE_CLOSED', name, `${what} during an iteration`)
}
