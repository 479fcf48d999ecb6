/**
 * The record cache: values that were read from tables more than once, for all stores of an engine, so that keys read often
 * cost no read of the disk. Records lie in a ring: new ones go where the oldest are; one that was used meanwhile is moved
 * on instead of being forgotten, once for each lap. Buckets lead from hashes to them: 32 bytes, so that a lookup touches one line
 * of the processor's cache:
 *   hash i32, place u32 (in units of 8 bytes, plus 1; 0: empty), thrice | the last two hashes looked up in vain.
 * A record: hash i32 | key length u24, key space u4, used u1 << 31 | value length u32 | store u32 | key | value | to 8.
 *
 * A record says what the tables of its store have, not what its memtables have: these are looked at first, and before a
 * memtable's keys are in tables, `forget` is called for each of them (core.ts says why that is enough). Owns the ring.
 */
import type { Span } from '../contract.ts'
import { copySpan, sameKey } from './cursor.ts'

const headerBytes = 16
const keyMask = 0x0fffffff
const usedFlag = 1 << 31
const bucketWords = 8
const bucketBytes = 4 * bucketWords
/** Where in a bucket the last hashes looked up in vain are. */
const missedAt = 6
/** A bucket for so many bytes of records. */
const bytesPerBucket = 256
/** A record takes at most this share of the ring. */
const maxShare = 32
/** Records moved on for the sake of one new one. */
const maxMoved = 16
/** After so many lookups in vain it is decided anew how many records are put in. */
const missesPerRound = 4096
/** Fewer hits than this share of the lookups: what is read is hardly read again, so few records are worth the copying. */
const fewHits = 0.25
/** One of so many records is put in then. */
const sparsely = 8

/** How well the cache works. */
export interface CacheStats {
  /** Memory it takes, bytes: 0 until something was read. */
  readonly allocatedBytes: number
  /** Lookups that found their record. */
  readonly hits: number
  /** Lookups that did not, of keys that tables have. */
  readonly misses: number
  /** Records that were put in. */
  readonly admitted: number
}

export class RecordCache {
  hits = 0
  misses = 0
  admitted = 0
  /** Of the records that may be put in, one of #stride is; #skipped have not been since. */
  #stride = 1
  #skipped = 0
  #hitsBefore = 0
  readonly #ringBytes: number
  readonly #bucketCount: number
  /** The bucket of a hash is its upper bits. */
  readonly #shift: number
  #buckets: Int32Array = new Int32Array(0)
  #bytes: Buffer = Buffer.alloc(0)
  #words: Int32Array = new Int32Array(0)
  /** Where the next record goes. */
  #head = 0
  /** Old records lie in [#oldest, #end); the new lap has come up to #head, which is not above #oldest. */
  #oldest = 0
  #end = 0
  #stores = 0

  /** Takes about `size` bytes, from 4 KiB, once it is used. */
  constructor(size: number) {
    this.#bucketCount = Math.max(2, 2 ** Math.floor(Math.log2(size / bytesPerBucket)))
    this.#shift = 32 - Math.log2(this.#bucketCount)
    this.#ringBytes = Math.max(2048, (size - this.#bucketCount * bucketBytes) & ~7)
  }

  /** Nothing was ever put in, nor looked up in vain. */
  get isUnused(): boolean {
    return this.#buckets.length === 0
  }

  get stats(): CacheStats {
    const allocatedBytes = 4 * this.#buckets.length + this.#bytes.length
    return { allocatedBytes, hits: this.hits, misses: this.misses, admitted: this.admitted }
  }

  /** A number for a store, never used before. What was put in under another one is not found with it. */
  newStore(): number {
    this.#stores += 1
    return this.#stores
  }

  /** Points `out` at the value of a key, if it is here; valid until the next call. */
  get(store: number, hash: number, space: number, key: Buffer, from: number, to: number, out: Span): boolean {
    const buckets = this.#buckets
    if (buckets.length === 0) return false
    const tag = tagOf(store, hash)
    const at = bucketWords * (tag >>> this.#shift)
    const place =
      buckets[at] === tag
        ? buckets[at + 1]!
        : buckets[at + 2] === tag
          ? buckets[at + 3]!
          : buckets[at + 4] === tag
            ? buckets[at + 5]!
            : 0
    if (place === 0) return false
    const words = this.#words
    const word = 2 * (place - 1)
    const head = words[word + 1]!
    const length = to - from
    if ((head & keyMask) !== (length | (space << 24)) || words[word + 3] !== store) return false
    const keyAt = 8 * (place - 1) + headerBytes
    if (!sameKey(this.#bytes, keyAt, key, from, to)) return false
    if (head >= 0) words[word + 1] = head | usedFlag
    this.hits += 1
    out.bytes = this.#bytes
    out.from = keyAt + length
    out.to = out.from + words[word + 2]!
    return true
  }

  /** Tells of a key that was not here, and of the value that its table had: it is put in if that happens again soon. */
  missed(store: number, hash: number, space: number, key: Buffer, from: number, to: number, value: Span): void {
    this.misses += 1
    if (this.misses % missesPerRound === 0) this.#adapt()
    if (this.#buckets.length === 0) this.#allocate()
    const buckets = this.#buckets
    const tag = tagOf(store, hash)
    const at = bucketWords * (tag >>> this.#shift) + missedAt
    const last = buckets[at]!
    if (last === tag || buckets[at + 1] === tag) {
      this.#skipped += 1
      if (this.#skipped < this.#stride) return
      this.#skipped = 0
      this.put(store, hash, space, key, from, to, value.bytes, value.from, value.to)
      return
    }
    buckets[at] = tag
    buckets[at + 1] = last
  }

  #adapt(): void {
    const hits = this.hits - this.#hitsBefore
    this.#hitsBefore = this.hits
    this.#stride = hits < fewHits * (hits + missesPerRound) && this.#end > 0 ? sparsely : 1
  }

  /** Puts a record in; large ones are not kept. The value does not lie in the cache. */
  put(
    store: number,
    hash: number,
    space: number,
    key: Buffer,
    from: number,
    to: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void {
    const length = to - from
    const size = (headerBytes + length + valueTo - valueFrom + 7) & ~7
    if (size * maxShare > this.#ringBytes) return
    if (this.#buckets.length === 0) this.#allocate()
    this.#makeRoom(size)
    const at = this.#head
    this.#head = at + size
    const words = this.#words
    const tag = tagOf(store, hash)
    words[at >>> 2] = tag
    words[(at >>> 2) + 1] = length | (space << 24)
    words[(at >>> 2) + 2] = valueTo - valueFrom
    words[(at >>> 2) + 3] = store
    copySpan(key, from, to, this.#bytes, at + headerBytes)
    copySpan(value, valueFrom, valueTo, this.#bytes, at + headerBytes + length)
    this.#link(tag, (at >>> 3) + 1)
    this.admitted += 1
  }

  /** Leads to the place from the first slot of its bucket; the others move on by one, as far as needed. */
  #link(tag: number, place: number): void {
    const buckets = this.#buckets
    const at = bucketWords * (tag >>> this.#shift)
    if (buckets[at + 2] === tag) buckets[at + 3] = 0
    if (buckets[at + 4] === tag) buckets[at + 5] = 0
    if (buckets[at] !== tag && buckets[at + 1] !== 0) {
      if (buckets[at + 3] !== 0) {
        buckets[at + 4] = buckets[at + 2]!
        buckets[at + 5] = buckets[at + 3]!
      }
      buckets[at + 2] = buckets[at]!
      buckets[at + 3] = buckets[at + 1]!
    }
    buckets[at] = tag
    buckets[at + 1] = place
  }

  /** The record of a key, if there is one, is not found any more; nor those of keys with the same hash. */
  forget(store: number, hash: number): void {
    const buckets = this.#buckets
    if (buckets.length === 0) return
    const tag = tagOf(store, hash)
    const at = bucketWords * (tag >>> this.#shift)
    if (buckets[at] === tag) buckets[at + 1] = 0
    if (buckets[at + 2] === tag) buckets[at + 3] = 0
    if (buckets[at + 4] === tag) buckets[at + 5] = 0
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.#buckets = new Int32Array(0)
    this.#bytes = Buffer.alloc(0)
    this.#words = new Int32Array(0)
    this.#head = 0
    this.#oldest = 0
    this.#end = 0
  }

  #allocate(): void {
    this.#buckets = new Int32Array(bucketWords * this.#bucketCount)
    this.#bytes = Buffer.allocUnsafeSlow(this.#ringBytes)
    this.#words = new Int32Array(this.#bytes.buffer, this.#bytes.byteOffset, this.#ringBytes >>> 2)
  }

  /** Forgets or moves the oldest records until `size` bytes from the head on are free. */
  #makeRoom(size: number): void {
    for (let moved = 0; ; ) {
      while (this.#oldest < this.#end && this.#oldest - this.#head < size) {
        if (moved < maxMoved && this.#isWanted()) {
          this.#move()
          moved += 1
        } else this.#drop()
      }
      if (this.#head + size <= this.#ringBytes) return
      this.#end = this.#head
      this.#head = 0
      this.#oldest = 0
    }
  }

  #sizeAt(at: number): number {
    const words = this.#words
    return (headerBytes + (words[(at >>> 2) + 1]! & 0xffffff) + words[(at >>> 2) + 2]! + 7) & ~7
  }

  /** Whether the oldest record was used since it was put where it is. */
  #isWanted(): boolean {
    return this.#words[(this.#oldest >>> 2) + 1]! < 0
  }

  /** Where the bucket has the place of the record at `at`; −1 when that is not found any more. */
  #slotOf(at: number): number {
    const buckets = this.#buckets
    const place = (at >>> 3) + 1
    const first = bucketWords * (this.#words[at >>> 2]! >>> this.#shift) + 1
    if (buckets[first] === place) return first
    if (buckets[first + 2] === place) return first + 2
    return buckets[first + 4] === place ? first + 4 : -1
  }

  #drop(): void {
    const slot = this.#slotOf(this.#oldest)
    if (slot >= 0) this.#buckets[slot] = 0
    this.#oldest += this.#sizeAt(this.#oldest)
  }

  /** The oldest record becomes the newest. */
  #move(): void {
    const at = this.#oldest
    const size = this.#sizeAt(at)
    this.#oldest = at + size
    const slot = this.#slotOf(at)
    if (slot < 0) return
    const to = this.#head
    this.#words[(at >>> 2) + 1]! &= ~usedFlag
    if (to !== at) this.#bytes.copyWithin(to, at, at + size)
    this.#buckets[slot] = (to >>> 3) + 1
    this.#head = to + size
  }
}

/** The hash in buckets: equal hashes of different stores lie in different ones. */
function tagOf(store: number, hash: number): number {
  return hash ^ Math.imul(store, 0x9e3779b1)
}
