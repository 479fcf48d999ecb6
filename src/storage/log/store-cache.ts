/**
 * One store's part of the record cache, which all stores of an engine share: it has what the tables of the store have, and
 * never what they had. Owns the store's number there, and the era: it changes when what the tables have of a key may have
 * become another value.
 */
import type { Span } from '../contract.ts'
import type { Memtable } from './memtable.ts'
import type { RecordCache } from './record-cache.ts'

export class StoreCache {
  readonly #cache: RecordCache
  #store: number
  #era = 0

  constructor(cache: RecordCache) {
    this.#cache = cache
    this.#store = cache.newStore()
  }

  get era(): number {
    return this.#era
  }

  /** Points `out` at the value of a key, if it is here. */
  get(hash: number, space: number, key: Buffer, from: number, to: number, out: Span): boolean {
    return this.#cache.get(this.#store, hash, space, key, from, to, out)
  }

  /** Tells of a key that was not here, and of the value that the tables have. */
  missed(hash: number, space: number, key: Buffer, from: number, to: number, value: Span): void {
    this.#cache.missed(this.#store, hash, space, key, from, to, value)
  }

  /** Puts in the value that the tables have of a key. */
  put(hash: number, space: number, key: Buffer, value: Span): void {
    this.#cache.put(this.#store, hash, space, key, 0, key.length, value.bytes, value.from, value.to)
  }

  /**
   * Takes keys [from, to) of a frozen memtable out; all of them, before they are in tables. Until then every lookup of such a
   * key ends at the memtable, so that none brings the old value back.
   */
  forget(memtable: Memtable, from: number, to: number): void {
    if (this.#cache.isUnused) return
    for (let i = from; i < to; i++) this.#cache.forget(this.#store, memtable.hashAt(memtable.keyAt(i)))
  }

  /** A memtable has become tables. */
  flushed(): void {
    this.#era += 1
  }

  /** The store was emptied: what was put in is not found any more. */
  cleared(): void {
    this.#store = this.#cache.newStore()
    this.#era += 1
  }
}
