/**
 * The memtable: what was written since the last flush. Its bytes are at the same time the image of its write-ahead log
 * (file header, then one frame per batch, see frame.ts), so that logging costs one write and no copy, and what a snapshot
 * needs: records are only ever appended, so the order of offsets is the order of time, and a version of a key leads to the
 * one before it. A reader gives the offset up to which it may see (`limit`), a writer moves `visible` forward.
 *
 * Offsets are handed around as references in units of 8 bytes; 0 is none. A record: hash i32 | key length u24, flags u8 |
 * value length u32 | reference of the version before u32 | key | value | zeros to 8.
 *
 * Bytes from `end` on are not zeros: they lie in a room that may have held another memtable, or a batch was taken back.
 *
 * Owns its room, the slots and the list of keys; core.ts owns which memtable is written, and when its room is free again.
 */
import { assert } from '../../base/assert.ts'
import type { Checkpoint, StoreJob } from '../contract.ts'
import { type KeyOrder, Sorter } from '../sorter.ts'
import { Slots, slotBase, slotMask } from '../slots.ts'
import { compareKeys, compareToBound, copySpan, type KeyBound, sameKey } from './cursor.ts'
import { hashOf } from './key-hash.ts'
import { freshRoom, type MemtableRooms, type Room } from './rooms.ts'

/** Bytes of a record before its key. */
export const recordHeader = 16
/** In the flags byte: the record says that its key has no value. */
export const flagDeleted = 0x80
const spaceMask = 0x0f
const nothing = Buffer.alloc(0)
/** First size of the bytes: a store that is hardly written takes no more. */
export const firstMemtableBytes = 64 * 1024
/** So many keys are sorted without slices, in well below a millisecond. */
const quickSort = 1024
/** Offsets are computed with 32-bit integers. */
export const maxMemtableBytes = 2 ** 31 - 8

/** Bytes that a record takes. */
export function recordBytes(keyLength: number, valueLength: number): number {
  return (recordHeader + keyLength + valueLength + 7) & ~7
}

export class Memtable implements KeyOrder {
  bytes: Buffer
  words: Int32Array
  /** Bytes appended. */
  end: number
  /** Records from this reference on are in a batch that is not committed: nobody may see them. */
  visible: number
  /** Sequence numbers of its batches: the first it may have, the last it has (first − 1: none yet). */
  readonly firstSeq: number
  lastSeq: number
  /** The last checkpoint at or before its end, and when that was written; undefined: the store never had one. */
  checkpoint: Checkpoint | undefined
  checkpointMs = 0
  /** It has given its room away. */
  isRetired = false
  /** Number of its log file; 0: it has none (bulk load). */
  readonly logNumber: number
  /** Of its keys, as of `visible`: those that have a value, their bytes, and those that have none any more. */
  liveCount = 0
  liveBytes = 0
  deletedCount = 0
  /** The same with the open batch. */
  #live = 0
  #bytes = 0
  #deleted = 0
  /** Of every key the first record, in the order of appending; those of an open batch last. */
  #keys: Int32Array
  keyCount = 0
  /** How many of them are visible. */
  visibleKeys = 0
  /** The first `#sortedKeys` keys in order; never changed in place, because cursors hold it. */
  #sorted: Int32Array = new Int32Array(0)
  #spaces = 0
  #slots: Slots
  /** A bit for each two references: the record there has a newer version, so reading it alone is not enough. */
  #superseded: Uint8Array
  readonly #seed: number
  /** Undefined: it takes fresh memory only. */
  #rooms: MemtableRooms | undefined
  /** Bytes to take at once when the first are not enough. */
  #expected: number
  /** Bytes of the room that were touched before, or by batches that were taken back. */
  #touched: number
  /** Where `find` has found: for replacing the slot. */
  #foundIn: Int32Array | undefined
  #foundAt = 0

  /** `image`: the bytes of an existing log (its first `end` bytes count), else a new one with room for `header`. */
  constructor(settings: {
    readonly seed: number
    readonly logNumber: number
    readonly firstSeq: number
    readonly header: Buffer
    readonly image?: Buffer
    /** Where rooms come from that are used again. */
    readonly rooms?: MemtableRooms
    /** Bytes and keys that it will probably have. */
    readonly expected?: number
    readonly keys?: number
  }) {
    this.#keys = new Int32Array(Math.max(64, settings.keys ?? 0))
    this.#slots = new Slots(settings.keys)
    this.#seed = settings.seed
    this.logNumber = settings.logNumber
    this.firstSeq = settings.firstSeq
    this.lastSeq = settings.firstSeq - 1
    this.end = settings.header.length
    this.visible = this.end >>> 3
    this.#rooms = settings.rooms
    this.#expected = settings.expected ?? firstMemtableBytes
    const { bytes, touched } =
      settings.image === undefined
        ? this.#room(Math.min(firstMemtableBytes, this.#expected))
        : { bytes: settings.image, touched: 0 }
    if (settings.image === undefined) settings.header.copy(bytes)
    this.bytes = bytes
    this.#touched = touched
    this.words = wordsOf(this.bytes)
    this.#superseded = new Uint8Array((this.bytes.length >>> 7) + 1)
  }

  /**
   * A memtable that is only read in order: of records that are in `bytes` already, and `refs` to one of each key. Takes over
   * both.
   */
  static ofRecords(seed: number, bytes: Buffer, refs: Int32Array): Memtable {
    const memtable = new Memtable({ seed, logNumber: 0, firstSeq: 1, header: bytes.subarray(0, 0), image: bytes })
    memtable.#keys = refs
    memtable.keyCount = refs.length
    for (const ref of refs) memtable.#spaces |= 1 << memtable.spaceOf(ref)
    memtable.end = bytes.length
    memtable.publish()
    return memtable
  }

  /** Bytes of memory in use, indexes included. */
  get allocatedBytes(): number {
    return this.bytes.length + this.#slots.byteLength + 4 * (this.#keys.length + this.#sorted.length)
  }

  /** Bytes of the room that are in memory: those appended, and those touched before. */
  get touched(): number {
    return Math.max(this.#touched, this.end)
  }

  /** Whether it has no visible record. */
  get empty(): boolean {
    return this.visibleKeys === 0
  }

  hash(space: number, key: Buffer, from: number, to: number): number {
    return hashOf(this.#seed, space, key, from, to)
  }

  // --- finding

  /** The newest record of a key, whoever may see it; 0: none. */
  #find(hash: number, space: number, key: Buffer, from: number, to: number): number {
    const segment = this.#slots.segmentOf(hash)
    const mask = slotMask(segment)
    const words = this.words
    const length = to - from
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const stored = segment[slotBase + 2 * at + 1]!
      if (stored === 0) return 0
      if (segment[slotBase + 2 * at] !== hash) continue
      const word = words[2 * (stored - 1) + 1]!
      if ((word & 0xffffff) !== length || ((word >>> 24) & spaceMask) !== space) continue
      if (!sameKey(this.bytes, 8 * (stored - 1) + recordHeader, key, from, to)) continue
      this.#foundIn = segment
      this.#foundAt = slotBase + 2 * at + 1
      return stored - 1
    }
  }

  /** The newest record of a key below `limit`, deleted or not; 0: none. */
  get(hash: number, space: number, key: Buffer, from: number, to: number, limit: number): number {
    let ref = this.#find(hash, space, key, from, to)
    while (ref >= limit) ref = this.words[2 * ref + 3]!
    return ref
  }

  /** Whether the record says that its key has no value. */
  deleted(ref: number): boolean {
    return this.words[2 * ref + 1]! >>> 24 >= flagDeleted
  }

  /** Of the key whose record is `ref`, the newest record below `limit`; 0: none. */
  newest(ref: number, limit: number): number {
    if ((this.#superseded[ref >>> 4]! & (1 << ((ref >>> 1) & 7))) === 0) return ref < limit ? ref : 0
    const word = this.words[2 * ref + 1]!
    const from = 8 * ref + recordHeader
    return this.get(this.words[2 * ref]!, (word >>> 24) & spaceMask, this.bytes, from, from + (word & 0xffffff), limit)
  }

  // --- writing

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const needed = this.end + count
    if (needed <= this.bytes.length) return
    assert(needed <= maxMemtableBytes, 'a memtable is above 2 GiB')
    let size = Math.max(firstMemtableBytes, this.bytes.length)
    while (size < needed) size *= 2
    this.#move(this.#room(Math.min(Math.max(size, this.#expected), maxMemtableBytes)))
  }

  /** A room used again must not be much larger than what is expected: all that was touched of it counts. */
  #room(size: number): Room {
    return this.#rooms?.take(size, 2 * size) ?? freshRoom(size)
  }

  /** The old room is dropped: cursors may stand there. */
  #move({ bytes, touched }: Room): void {
    this.bytes.copy(bytes, 0, 0, this.end)
    this.bytes = bytes
    this.words = wordsOf(bytes)
    this.#touched = touched
    const superseded = new Uint8Array((bytes.length >>> 7) + 1)
    superseded.set(this.#superseded.subarray(0, superseded.length))
    this.#superseded = superseded
  }

  /** Moves into fresh memory of its own size, and takes no room that was used before any more. */
  leaveRoom(): void {
    this.#rooms = undefined
    this.#expected = 0
    let size = firstMemtableBytes
    while (size < this.end) size *= 2
    this.#move(freshRoom(Math.min(size, maxMemtableBytes)))
  }

  /** Gives its room away and forgets what it has: nobody reads it any more. */
  retire(): Room {
    const room = { bytes: this.bytes, touched: this.touched }
    this.isRetired = true
    this.bytes = nothing
    this.words = wordsOf(nothing)
    this.#slots = new Slots()
    this.#keys = new Int32Array(0)
    this.#sorted = new Int32Array(0)
    this.#superseded = new Uint8Array(0)
    return room
  }

  /** Appends a record, invisible until `visible` passes it. Key and value may lie in this memtable. */
  append(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
    deleted: boolean,
  ): void {
    const keyLength = keyTo - keyFrom
    const size = recordBytes(keyLength, valueTo - valueFrom)
    this.reserve(size)
    const hash = hashOf(this.#seed, space, key, keyFrom, keyTo)
    const before = this.#find(hash, space, key, keyFrom, keyTo)
    const ref = this.end >>> 3
    const words = this.words
    const bytes = this.bytes
    words[(this.end + size - 4) >>> 2] = 0
    words[(this.end + size - 8) >>> 2] = 0
    words[2 * ref] = hash
    words[2 * ref + 1] = keyLength | ((deleted ? space | flagDeleted : space) << 24)
    words[2 * ref + 2] = valueTo - valueFrom
    words[2 * ref + 3] = before
    const at = this.end + recordHeader
    copySpan(key, keyFrom, keyTo, bytes, at)
    copySpan(value, valueFrom, valueTo, bytes, at + keyLength)
    this.end += size
    this.#link(hash, ref, before)
    this.#count(ref, before, 1)
  }

  #link(hash: number, ref: number, before: number): void {
    if (before !== 0) {
      this.#foundIn![this.#foundAt] = ref + 1
      this.#superseded[before >>> 4]! |= 1 << ((before >>> 1) & 7)
      return
    }
    this.#slots.insert(hash, ref)
    if (this.keyCount === this.#keys.length) {
      const larger = new Int32Array(2 * this.#keys.length)
      larger.set(this.#keys)
      this.#keys = larger
    }
    this.#keys[this.keyCount] = ref
    this.keyCount += 1
    this.#spaces |= 1 << ((this.words[2 * ref + 1]! >>> 24) & spaceMask)
  }

  /** Adds (1) or takes back (−1) what a record means for the counts. */
  #count(ref: number, before: number, sign: 1 | -1): void {
    if (before !== 0) {
      if (this.deleted(before)) this.#deleted -= sign
      else {
        this.#live -= sign
        this.#bytes -= sign * this.dataBytes(before)
      }
    }
    if (this.deleted(ref)) this.#deleted += sign
    else {
      this.#live += sign
      this.#bytes += sign * this.dataBytes(ref)
    }
  }

  /** The hash of a record's key. */
  hashAt(ref: number): number {
    return this.words[2 * ref]!
  }

  keyLength(ref: number): number {
    return this.words[2 * ref + 1]! & 0xffffff
  }

  /** Key and value bytes of a record. */
  dataBytes(ref: number): number {
    return (this.words[2 * ref + 1]! & 0xffffff) + this.words[2 * ref + 2]!
  }

  /** Everything appended may be seen. */
  publish(): void {
    this.visible = this.end >>> 3
    this.visibleKeys = this.keyCount
    this.liveCount = this.#live
    this.liveBytes = this.#bytes
    this.deletedCount = this.#deleted
  }

  /** The first record of the visible key at a position of the order in which keys came. */
  keyAt(index: number): number {
    return this.#keys[index]!
  }

  /**
   * Takes back the newest records: `refs` of them in the order of appending, then everything from byte `end` on. The slots
   * lead to the versions before again.
   */
  rollback(refs: Int32Array, count: number, end: number): void {
    for (let i = count - 1; i >= 0; i--) {
      const ref = refs[i]!
      const word = this.words[2 * ref + 1]!
      const hash = this.words[2 * ref]!
      const before = this.words[2 * ref + 3]!
      this.#count(ref, before, -1)
      if (before === 0) {
        this.#slots.remove(hash, ref)
        this.keyCount -= 1
        continue
      }
      const from = 8 * ref + recordHeader
      const found = this.#find(hash, (word >>> 24) & spaceMask, this.bytes, from, from + (word & 0xffffff))
      assert(found === ref, 'a batch is taken back out of order')
      this.#foundIn![this.#foundAt] = before + 1
      this.#superseded[before >>> 4]! &= ~(1 << ((before >>> 1) & 7))
    }
    this.#touched = this.touched
    this.end = end
  }

  /** Indexes a record that a log brought: the bytes are there already. Returns the byte behind it. */
  adopt(at: number): number {
    const ref = at >>> 3
    const word = this.words[2 * ref + 1]!
    const from = at + recordHeader
    const keyTo = from + (word & 0xffffff)
    const hash = this.words[2 * ref]!
    const before = this.#find(hash, (word >>> 24) & spaceMask, this.bytes, from, keyTo)
    this.words[2 * ref + 3] = before
    this.#link(hash, ref, before)
    this.#count(ref, before, 1)
    return at + recordBytes(word & 0xffffff, this.words[2 * ref + 2]! >>> 0)
  }

  // --- order

  /** Sorts the visible keys that are not sorted yet, in slices; undefined: that takes no time worth mentioning. */
  ordering(): StoreJob | undefined {
    return this.visibleKeys - this.#sorted.length < quickSort ? undefined : this.#ordering()
  }

  #ordering(): StoreJob | undefined {
    if (this.#sorted.length === this.visibleKeys) return undefined
    return new Ordering(this, this.#sorted, this.#keys.slice(this.#sorted.length, this.visibleKeys), this.#spaces)
  }

  /** An ordering has ended: its keys are the sorted ones, unless another was faster. */
  adoptOrder(sorted: Int32Array): void {
    if (sorted.length > this.#sorted.length) this.#sorted = sorted
  }

  /** First records of the visible keys, in order. */
  sortedKeys(): Int32Array {
    const job = this.#ordering()
    if (job !== undefined) while (!job.step(1_000_000));
    return this.#sorted
  }

  /** Position of the first key that is not below a bound. */
  positionOf(sorted: Int32Array, bound: KeyBound): number {
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const ref = sorted[middle]!
      const word = this.words[2 * ref + 1]!
      const from = 8 * ref + recordHeader
      if (compareToBound((word >>> 24) & spaceMask, this.bytes, from, from + (word & 0xffffff), bound) < 0) {
        low = middle + 1
      } else high = middle
    }
    return low
  }

  spaceOf(ref: number): number {
    return (this.words[2 * ref + 1]! >>> 24) & spaceMask
  }

  compareEntries(a: number, b: number): number {
    const wordA = this.words[2 * a + 1]!
    const wordB = this.words[2 * b + 1]!
    const spaces = ((wordA >>> 24) & spaceMask) - ((wordB >>> 24) & spaceMask)
    if (spaces !== 0) return spaces
    const fromA = 8 * a + recordHeader
    const fromB = 8 * b + recordHeader
    return compareKeys(this.bytes, fromA, fromA + (wordA & 0xffffff), this.bytes, fromB, fromB + (wordB & 0xffffff))
  }

  commonPrefix(a: number, b: number, limit: number): number {
    const length = Math.min(limit, this.words[2 * a + 1]! & 0xffffff, this.words[2 * b + 1]! & 0xffffff)
    const fromA = 8 * a + recordHeader
    const fromB = 8 * b + recordHeader
    let i = 0
    while (i < length && this.bytes[fromA + i] === this.bytes[fromB + i]) i += 1
    return i
  }

  keyWord(ref: number, skip: number): number {
    const length = this.words[2 * ref + 1]! & 0xffffff
    const from = 8 * ref + recordHeader + skip
    if (length >= skip + 6) return this.bytes.readUIntBE(from, 6)
    let word = 0
    for (let i = 0; i < 6; i++) word = word * 256 + (skip + i < length ? this.bytes[from + i]! : 0)
    return word
  }
}

/** Sorts new keys space by space, then merges them with those that were sorted before. */
class Ordering implements StoreJob {
  readonly #memtable: Memtable
  readonly #before: Int32Array
  readonly #parts: Sorter[] = []
  #part = 0
  #added: Int32Array | undefined
  #out: Int32Array
  #left = 0
  #right = 0
  readonly #count: number

  constructor(memtable: Memtable, before: Int32Array, added: Int32Array, spaces: number) {
    this.#memtable = memtable
    this.#before = before
    this.#count = added.length
    this.#out = new Int32Array(before.length + added.length)
    const several = (spaces & (spaces - 1)) !== 0
    for (let space = 0; space < 16; space++) {
      if ((spaces & (1 << space)) === 0) continue
      const keys = several ? added.filter((ref) => memtable.spaceOf(ref) === space) : added
      if (keys.length > 0) this.#parts.push(new Sorter(memtable, keys))
    }
  }

  step(units: number): boolean {
    // Whoever ordered it ahead of reading it has waited for too long: it is in tables.
    if (this.#memtable.isRetired) return true
    while (this.#part < this.#parts.length) {
      if (!this.#parts[this.#part]!.step(units)) return false
      this.#part += 1
    }
    if (this.#added === undefined) {
      this.#added = new Int32Array(this.#count)
      let at = 0
      for (const part of this.#parts) {
        this.#added.set(part.result(), at)
        at += part.result().length
      }
    }
    return this.#merge(units, this.#added)
  }

  #merge(units: number, added: Int32Array): boolean {
    const before = this.#before
    const out = this.#out
    const memtable = this.#memtable
    if (before.length === 0) {
      memtable.adoptOrder(added)
      return true
    }
    let left = this.#left
    let right = this.#right
    const stop = Math.min(out.length, left + right + units)
    while (left + right < stop) {
      const takeLeft =
        right === added.length || (left < before.length && memtable.compareEntries(before[left]!, added[right]!) < 0)
      out[left + right] = takeLeft ? before[left]! : added[right]!
      if (takeLeft) left += 1
      else right += 1
    }
    this.#left = left
    this.#right = right
    if (stop < out.length) return false
    memtable.adoptOrder(out)
    return true
  }
}

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
}
