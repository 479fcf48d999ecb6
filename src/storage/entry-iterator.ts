/** The convenient form of iteration, for every engine. */
import type { StoreIterator } from './contract.ts'

/** Copies of an iterator's entries; leaving the loop early closes it. */
export class EntryIterator implements IterableIterator<[Buffer, Buffer]> {
  readonly #source: StoreIterator

  constructor(source: StoreIterator) {
    this.#source = source
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<[Buffer, Buffer]> {
    if (!this.#source.next()) return { done: true, value: undefined }
    return { done: false, value: [this.#source.key.copy(), this.#source.value.copy()] }
  }

  return(): IteratorResult<[Buffer, Buffer]> {
    this.#source.close()
    return { done: true, value: undefined }
  }
}
