/**
 * The memory engine's table: entries found by key bytes. Owns the arena, the slots, the entry arrays, the order of each
 * key space and the chain of overlays; memory-store.ts, -batch.ts, -reader.ts and -iterator.ts are its faces.
 *
 * An entry is a number. `refs[entry]` is its record in the arena: `current` (it has a value), `tombstone` (it has none,
 * the record is only its key), or `pending` (it was made by a batch that is not committed, and has none yet). Deleted
 * entries keep number and key as long as a snapshot or an order may need them; then they are purged.
 *
 * Every write does a bounded share of the cleaning: draining overlays, purging, and emptying half-dead chunks, so that
 * memory stays below a constant times what is live and no single operation stalls.
 */
import { assert } from '../base/assert.ts'
import {
  Arena,
  type Chunk,
  chunkShift,
  chunkUnits,
  headerBytes,
  kindCurrent,
  kindDead,
  kindPending,
  kindPinned,
  kindTombstone,
  recordUnits,
  unitMask,
} from './arena.ts'
import { type StoreJob, type StoreStats, spaceCount } from './contract.ts'
import { hashKey } from './hash.ts'
import { OrderIndex } from './order-index.ts'
import { type Overlay, Overlays } from './overlay.ts'
import { Slots, slotBase, slotMask } from './slots.ts'
import type { KeyOrder } from './sorter.ts'

/** meta: key space in the low 4 bits. */
const metaSpace = 0x0f
const metaUsed = 0x10
/** The entry is in the list of those to purge. */
const metaListed = 0x20

/** Dead units that are tolerated however little is live. */
const slackUnits = 8192
/** Bytes moved by the compactor per byte written, while there is too much that is dead. */
const compactionRatio = 4
/** Keys longer than this are compared and hashed by native code. */
const longKey = 64

export class MemoryTable implements KeyOrder {
  readonly arena = new Arena()
  readonly slots = new Slots()
  readonly overlays: Overlays
  refs = new Int32Array(16)
  meta = new Uint8Array(16)
  /** Entries that have a value, and their key and value bytes. */
  liveCount = 0
  liveBytes = 0
  /** Operations of the open batch; entries are not purged while it has some. */
  pendingOperations = 0
  readonly seed: number
  /** Shared with the store and its earlier tables. */
  readonly life: { closed: boolean }
  readonly #orders: (OrderIndex | undefined)[] = new Array(spaceCount).fill(undefined)
  /** Entry numbers given out so far, and the first free one below that (linked through `refs`), −1: none. */
  #entryTop = 0
  #freeEntry = -1
  #usedEntries = 0
  /** Deleted entries that are still in the slots. */
  #tombstones = new Int32Array(16)
  #tombstoneCount = 0
  #pinnedUnits = 0
  /** The chunk that is being emptied, and the next unit of it. */
  #victim: Chunk | undefined
  #victimAt = 0
  /** No search for a victim before so many units are dead. */
  #barrenUntil = 0

  constructor(seed: number, life: { closed: boolean }) {
    this.seed = seed
    this.life = life
    this.overlays = new Overlays((ref) => this.#buryPinned(ref))
  }

  // --- finding

  hash(space: number, key: Buffer, from: number, to: number): number {
    return hashKey(key, from, to, this.seed + Math.imul(space, 0x3c6ef372))
  }

  /** The entry of a key, with or without a value; −1 when there is none. */
  find(hash: number, space: number, key: Buffer, from: number, to: number): number {
    const segment = this.slots.segmentOf(hash)
    const mask = slotMask(segment)
    const identity = (space << 24) | (to - from)
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const stored = segment[slotBase + 2 * at + 1]!
      if (stored === 0) return -1
      if (segment[slotBase + 2 * at] !== hash) continue
      const ref = this.refs[stored - 1]!
      const chunk = this.arena.chunks[ref >>> chunkShift]!
      const unit = ref & unitMask
      if ((chunk.words[2 * unit + 1]! & 0x0fffffff) !== identity) continue
      if (sameBytes(chunk.bytes, 8 * unit + headerBytes, key, from, to)) return stored - 1
    }
  }

  /** The record with the value of an entry as it is now, or 0. */
  currentRef(entry: number): number {
    const ref = this.refs[entry]!
    const words = this.arena.chunks[ref >>> chunkShift]!.words
    return words[2 * (ref & unitMask) + 1]! >>> 28 === kindCurrent ? ref : 0
  }

  // --- writing

  /** Appends a record with key and value; the caller says whose it is by `entryOf` or `refs`. */
  #append(
    kind: number,
    entry: number,
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): number {
    const keyBytes = keyTo - keyFrom
    const valueBytes = valueTo - valueFrom
    const units = recordUnits(keyBytes, valueBytes)
    const ref = this.arena.allocate(units)
    const chunk = this.arena.chunks[ref >>> chunkShift]!
    const unit = ref & unitMask
    const words = chunk.words
    words[2 * unit] = entry
    words[2 * unit + 1] = (kind << 28) | (space << 24) | keyBytes
    words[2 * unit + 2] = valueBytes
    words[2 * unit + 3] = units
    const at = 8 * unit + headerBytes
    copyBytes(key, keyFrom, keyTo, chunk.bytes, at)
    copyBytes(value, valueFrom, valueTo, chunk.bytes, at + keyBytes)
    return ref
  }

  #newEntry(hash: number, space: number, ref: number): number {
    let entry = this.#freeEntry
    if (entry >= 0) this.#freeEntry = this.refs[entry]!
    else {
      entry = this.#entryTop
      if (entry === this.refs.length) this.#growEntries()
      this.#entryTop += 1
    }
    this.refs[entry] = ref
    this.meta[entry] = metaUsed | space
    this.#usedEntries += 1
    this.arena.chunks[ref >>> chunkShift]!.words[2 * (ref & unitMask)] = entry
    this.slots.insert(hash, entry)
    const order = this.#orders[space]
    if (order !== undefined) this.#addToOrder(order, space, entry)
    return entry
  }

  #growEntries(): void {
    const refs = new Int32Array(2 * this.refs.length)
    refs.set(this.refs)
    this.refs = refs
    const meta = new Uint8Array(2 * this.meta.length)
    meta.set(this.meta)
    this.meta = meta
  }

  /** Copies an operation of the batch into the arena, invisible. Returns the record; its entry is its first word. */
  stage(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): number {
    const hash = this.hash(space, key, keyFrom, keyTo)
    const entry = this.find(hash, space, key, keyFrom, keyTo)
    const ref = this.#append(kindPending, entry, space, key, keyFrom, keyTo, value, valueFrom, valueTo)
    this.arena.chunkOf(ref).pending += 1
    this.pendingOperations += 1
    if (entry < 0) this.#newEntry(hash, space, ref)
    // Last, because key and value may be spans of this very table.
    this.#clean(keyTo - keyFrom + valueTo - valueFrom)
    return ref
  }

  /** Makes a staged record its entry's value. */
  applyStaged(ref: number): void {
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    const words = chunk.words
    words[at + 1] = (kindCurrent << 28) | (words[at + 1]! & 0x0fffffff)
    this.#replace(words[at]!, ref, (words[at + 1]! & 0xffffff) + words[at + 2]!)
    this.pendingOperations -= 1
    this.arena.settle(chunk)
  }

  /** Forgets a staged record. */
  dropStaged(ref: number): void {
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    const entry = chunk.words[at]!
    if (this.refs[entry] === ref) {
      this.#setKind(chunk, at, kindTombstone)
      this.#listTombstone(entry)
    } else this.#bury(chunk, at)
    this.pendingOperations -= 1
    this.arena.settle(chunk)
  }

  /** `ref`, of kind current, becomes the entry's record; what it replaces is kept for snapshots or buried. */
  #replace(entry: number, ref: number, bytes: number): void {
    const old = this.refs[entry]!
    this.refs[entry] = ref
    this.liveBytes += bytes
    if (old === ref) {
      this.liveCount += 1
      if (!this.overlays.empty) this.overlays.preserve(entry, 0)
      return
    }
    const chunk = this.arena.chunkOf(old)
    const at = 2 * (old & unitMask)
    if (chunk.words[at + 1]! >>> 28 === kindCurrent) {
      this.liveBytes -= (chunk.words[at + 1]! & 0xffffff) + chunk.words[at + 2]!
      if (!this.overlays.empty && this.overlays.preserve(entry, old)) this.#pin(chunk, at)
      else this.#bury(chunk, at)
    } else {
      this.liveCount += 1
      if (!this.overlays.empty) this.overlays.preserve(entry, 0)
      this.#buryTombstone(chunk, at)
    }
  }

  /** Writes an entry at once (bulk load). */
  put(
    space: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
  ): void {
    const hash = this.hash(space, key, keyFrom, keyTo)
    const entry = this.find(hash, space, key, keyFrom, keyTo)
    if (entry >= 0 && this.overlays.empty && this.#overwrite(entry, value, valueFrom, valueTo)) return
    const ref = this.#append(kindCurrent, entry, space, key, keyFrom, keyTo, value, valueFrom, valueTo)
    const bytes = keyTo - keyFrom + valueTo - valueFrom
    this.#replace(entry < 0 ? this.#newEntry(hash, space, ref) : entry, ref, bytes)
    // Last, because key and value may be spans of this very table.
    this.#clean(bytes)
  }

  /** In place when the new value takes the same units: nothing dies. */
  #overwrite(entry: number, value: Buffer, from: number, to: number): boolean {
    const ref = this.refs[entry]!
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    const words = chunk.words
    if (words[at + 1]! >>> 28 !== kindCurrent) return false
    const keyBytes = words[at + 1]! & 0xffffff
    if (recordUnits(keyBytes, to - from) !== words[at + 3]) return false
    this.liveBytes += to - from - words[at + 2]!
    words[at + 2] = to - from
    copyBytes(value, from, to, chunk.bytes, 4 * at + headerBytes + keyBytes)
    return true
  }

  /** Takes an entry's value away. */
  remove(entry: number): void {
    const ref = this.refs[entry]!
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    const words = chunk.words
    if (words[at + 1]! >>> 28 !== kindCurrent) return
    const keyBytes = words[at + 1]! & 0xffffff
    this.liveCount -= 1
    this.liveBytes -= keyBytes + words[at + 2]!
    if (!this.overlays.empty && this.overlays.preserve(entry, ref)) {
      const from = 4 * at + headerBytes
      const space = (words[at + 1]! >>> 24) & metaSpace
      const bytes = chunk.bytes
      this.refs[entry] = this.#append(kindTombstone, entry, space, bytes, from, from + keyBytes, bytes, 0, 0)
      this.#pin(chunk, at)
    } else {
      this.#setKind(chunk, at, kindTombstone)
      const spare = words[at + 3]! - recordUnits(keyBytes, 0)
      words[at + 2] = 0
      // A tombstone counts as dead except for its key; the compactor moves only that.
      if (spare > 0) this.arena.bury(chunk, spare)
    }
    this.#listTombstone(entry)
  }

  #setKind(chunk: Chunk, at: number, kind: number): void {
    chunk.words[at + 1] = (kind << 28) | (chunk.words[at + 1]! & 0x0fffffff)
  }

  #bury(chunk: Chunk, at: number): void {
    this.#setKind(chunk, at, kindDead)
    this.arena.bury(chunk, chunk.words[at + 3]!)
  }

  /** What is behind a tombstone's key is counted as dead already. */
  #buryTombstone(chunk: Chunk, at: number): void {
    const words = chunk.words
    const counted = words[at + 2]! === 0 ? words[at + 3]! - recordUnits(words[at + 1]! & 0xffffff, 0) : 0
    this.#setKind(chunk, at, kindDead)
    this.arena.bury(chunk, words[at + 3]! - counted)
  }

  #pin(chunk: Chunk, at: number): void {
    this.#setKind(chunk, at, kindPinned)
    this.#pinnedUnits += chunk.words[at + 3]!
  }

  #buryPinned(ref: number): void {
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    this.#pinnedUnits -= chunk.words[at + 3]!
    this.#bury(chunk, at)
  }

  // --- cleaning

  #listTombstone(entry: number): void {
    if ((this.meta[entry]! & metaListed) !== 0) return
    this.meta[entry]! |= metaListed
    if (this.#tombstoneCount === this.#tombstones.length) {
      const larger = new Int32Array(2 * this.#tombstones.length)
      larger.set(this.#tombstones)
      this.#tombstones = larger
    }
    this.#tombstones[this.#tombstoneCount] = entry
    this.#tombstoneCount += 1
  }

  /** A share of the cleaning, in proportion to `bytes` written. Moves records: spans end here. */
  #clean(bytes: number): void {
    if (!this.overlays.empty) this.overlays.drain(16)
    if (this.#tombstoneCount > 0) this.#purge(4)
    const { deadUnits, usedUnits } = this.arena
    if (
      this.#victim !== undefined ||
      (deadUnits > this.#barrenUntil && deadUnits > slackUnits + ((usedUnits - deadUnits) >>> 1))
    ) {
      this.#compact(compactionRatio * (bytes + headerBytes))
    }
  }

  /** Ends a snapshot. */
  release(overlay: Overlay): void {
    this.overlays.release(overlay)
    this.tidy(256)
  }

  /** The share of the cleaning that belongs to `operations` deletes or to a commit of so many. */
  tidy(operations: number): void {
    if (!this.overlays.empty) this.overlays.drain(16 * operations)
    if (this.#tombstoneCount > 0) this.#purge(4 * operations)
  }

  /** Gives up to `limit` deleted entries back, if nobody can want them. */
  #purge(limit: number): void {
    if (this.pendingOperations > 0 || !this.overlays.empty) return
    if (this.#tombstoneCount > 4096 && this.#tombstoneCount > this.liveCount) {
      for (let space = 0; space < spaceCount; space++) this.#dropOrder(space)
    }
    for (let left = limit; left > 0 && this.#tombstoneCount > 0; left--) {
      const entry = this.#tombstones[this.#tombstoneCount - 1]!
      if (this.#orders[this.meta[entry]! & metaSpace] !== undefined) return
      this.#tombstoneCount -= 1
      this.#purgeEntry(entry)
    }
    if (this.#tombstoneCount === 0 && this.#tombstones.length > 65_536) this.#tombstones = new Int32Array(16)
  }

  #purgeEntry(entry: number): void {
    const space = this.meta[entry]! & metaSpace
    this.meta[entry] = metaUsed | space
    const ref = this.refs[entry]!
    const chunk = this.arena.chunkOf(ref)
    const at = 2 * (ref & unitMask)
    const tag = chunk.words[at + 1]!
    if (tag >>> 28 !== kindTombstone) return
    const from = 4 * at + headerBytes
    const removed = this.slots.remove(this.hash(space, chunk.bytes, from, from + (tag & 0xffffff)), entry)
    assert(removed, 'a purged entry was not in the slots')
    this.#buryTombstone(chunk, at)
    this.meta[entry] = 0
    this.refs[entry] = this.#freeEntry
    this.#freeEntry = entry
    this.#usedEntries -= 1
  }

  /** Makes room at once, whatever it takes: purges what may be purged and empties every chunk worth it. */
  reclaim(): void {
    // The put that needs the room may have its key or value from here: no memory is written that was in use.
    this.arena.keepsSpare = false
    this.arena.retireHeads()
    this.overlays.drain(Number.POSITIVE_INFINITY)
    this.#purge(Number.POSITIVE_INFINITY)
    this.#compact(Number.POSITIVE_INFINITY)
    this.arena.keepsSpare = true
  }

  /** Moves the living out of half-dead chunks, about `bytes` of them. */
  #compact(bytes: number): void {
    let left = bytes
    while (left > 0) {
      let victim = this.#victim
      // It may have been freed meanwhile, when its last records died.
      if (victim !== undefined && this.arena.chunks[victim.number] !== victim) victim = undefined
      if (victim === undefined) {
        victim = this.arena.victim()
        this.#victim = victim
        this.#victimAt = 0
        if (victim === undefined) {
          // What is dead lies in chunks that are written now: look again when there is more of it.
          this.#barrenUntil = this.arena.deadUnits + (slackUnits >>> 2)
          return
        }
      }
      left -= this.#compactSome(victim, left)
    }
  }

  #compactSome(victim: Chunk, bytes: number): number {
    const words = victim.words
    let done = 0
    while (this.#victimAt < victim.used) {
      if (done >= bytes) return done
      const at = 2 * this.#victimAt
      const units = words[at + 3]!
      const kind = words[at + 1]! >>> 28
      if (kind !== kindDead) done += this.#move(victim, this.#victimAt, kind)
      else done += 8
      this.#victimAt += units
    }
    this.arena.free(victim)
    this.#victim = undefined
    this.#barrenUntil = 0
    return done + 8
  }

  /** Copies one record to the survivors. Returns the bytes that took. */
  #move(victim: Chunk, unit: number, kind: number): number {
    const words = victim.words
    const at = 2 * unit
    const entry = words[at]!
    const units = kind === kindTombstone ? recordUnits(words[at + 1]! & 0xffffff, words[at + 2]!) : words[at + 3]!
    const to = this.arena.allocate(units, true)
    const target = this.arena.chunkOf(to)
    copyWords(victim, at, 2 * units, target, 2 * (to & unitMask))
    target.words[2 * (to & unitMask) + 3] = units
    const from = victim.number * chunkUnits + unit
    if (kind === kindPinned) this.overlays.moved(entry, from, to)
    else {
      assert(this.refs[entry] === from, 'a live record is not its entry’s')
      this.refs[entry] = to
    }
    return 8 * units
  }

  // --- order

  /** Everything to do for `space` before iterating; undefined: nothing. */
  ordering(space: number): StoreJob | undefined {
    const order = this.#order(space)
    return order.current ? undefined : order
  }

  /** The entries of `space` in order, in blocks that stay as they are; some may have no value. */
  orderedBlocks(space: number): readonly Int32Array[] {
    const order = this.#order(space)
    if (this.#tombstoneCount * 4 > this.#usedEntries && this.overlays.empty && this.pendingOperations === 0) {
      this.#purgeSpace(space, order)
    }
    return order.ready()
  }

  #order(space: number): OrderIndex {
    let order = this.#orders[space]
    if (order === undefined) {
      order = new OrderIndex(this, this.#entriesOf(space))
      this.#orders[space] = order
    }
    return order
  }

  #entriesOf(space: number): Int32Array {
    const wanted = metaUsed | space
    let count = 0
    const entries = new Int32Array(this.#usedEntries)
    for (let entry = 0; entry < this.#entryTop; entry++) {
      if ((this.meta[entry]! & (metaUsed | metaSpace)) === wanted) entries[count++] = entry
    }
    return count === entries.length ? entries : entries.slice(0, count)
  }

  #purgeSpace(space: number, order: OrderIndex): void {
    order.without((entry) => this.currentRef(entry) === 0)
    let kept = 0
    for (let i = 0; i < this.#tombstoneCount; i++) {
      const entry = this.#tombstones[i]!
      if ((this.meta[entry]! & metaSpace) === space) this.#purgeEntry(entry)
      else this.#tombstones[kept++] = entry
    }
    this.#tombstoneCount = kept
  }

  #addToOrder(order: OrderIndex, space: number, entry: number): void {
    order.add(entry)
    // More new entries than old ones, and nobody asked: ordering from the start costs the same, later or never.
    if (order.tailCount > 4096 && order.tailCount > this.liveCount >>> 1) this.#dropOrder(space)
  }

  #dropOrder(space: number): void {
    this.#orders[space]?.drop()
    this.#orders[space] = undefined
  }

  compareEntries(a: number, b: number): number {
    const refA = this.refs[a]!
    const refB = this.refs[b]!
    const chunkA = this.arena.chunkOf(refA)
    const chunkB = this.arena.chunkOf(refB)
    const atA = 8 * (refA & unitMask)
    const atB = 8 * (refB & unitMask)
    const endA = atA + headerBytes + (chunkA.words[(atA >>> 2) + 1]! & 0xffffff)
    const endB = atB + headerBytes + (chunkB.words[(atB >>> 2) + 1]! & 0xffffff)
    return compareBytes(chunkA.bytes, atA + headerBytes, endA, chunkB.bytes, atB + headerBytes, endB)
  }

  /** Compares an entry's key with `key[from, to)`. */
  compareKey(entry: number, key: Buffer, from: number, to: number): number {
    const ref = this.refs[entry]!
    const chunk = this.arena.chunkOf(ref)
    const at = 8 * (ref & unitMask)
    const end = at + headerBytes + (chunk.words[(at >>> 2) + 1]! & 0xffffff)
    return compareBytes(chunk.bytes, at + headerBytes, end, key, from, to)
  }

  commonPrefix(a: number, b: number, limit: number): number {
    const refA = this.refs[a]!
    const refB = this.refs[b]!
    const chunkA = this.arena.chunkOf(refA)
    const chunkB = this.arena.chunkOf(refB)
    const atA = 8 * (refA & unitMask)
    const atB = 8 * (refB & unitMask)
    const length = Math.min(limit, chunkA.words[(atA >>> 2) + 1]! & 0xffffff, chunkB.words[(atB >>> 2) + 1]! & 0xffffff)
    let i = 0
    while (i < length && chunkA.bytes[atA + headerBytes + i] === chunkB.bytes[atB + headerBytes + i]) i += 1
    return i
  }

  keyWord(entry: number, skip: number): number {
    const ref = this.refs[entry]!
    const chunk = this.arena.chunkOf(ref)
    const at = 8 * (ref & unitMask)
    const length = chunk.words[(at >>> 2) + 1]! & 0xffffff
    const from = at + headerBytes + skip
    if (length >= skip + 6) return chunk.bytes.readUIntBE(from, 6)
    let word = 0
    for (let i = 0; i < 6; i++) word = word * 256 + (skip + i < length ? chunk.bytes[from + i]! : 0)
    return word
  }

  stats(): StoreStats {
    let orders = 0
    for (const order of this.#orders) orders += order?.byteLength ?? 0
    return {
      entryCount: this.liveCount,
      byteLength: this.liveBytes,
      allocatedBytes: this.arena.allocatedBytes + this.slots.byteLength + 5 * this.refs.length + orders,
      deadBytes: 8 * this.arena.deadUnits,
      pinnedBytes: 8 * this.#pinnedUnits,
      openSnapshots: this.overlays.liveCount,
    }
  }
}

function sameBytes(bytes: Buffer, at: number, key: Buffer, from: number, to: number): boolean {
  if (to - from > longKey) return bytes.compare(key, from, to, at, at + to - from) === 0
  for (let i = from; i < to; i++) if (bytes[at + i - from] !== key[i]) return false
  return true
}

function compareBytes(a: Buffer, fromA: number, toA: number, b: Buffer, fromB: number, toB: number): number {
  const length = Math.min(toA - fromA, toB - fromB)
  if (length > longKey) return a.compare(b, fromB, toB, fromA, toA)
  for (let i = 0; i < length; i++) {
    const difference = a[fromA + i]! - b[fromB + i]!
    if (difference !== 0) return difference
  }
  return toA - fromA - (toB - fromB)
}

/** Short spans by a loop: a native call costs more than they do. */
function copyBytes(source: Buffer, from: number, to: number, target: Buffer, at: number): void {
  if (to - from > 48) source.copy(target, at, from, to)
  else for (let i = from; i < to; i++) target[at + i - from] = source[i]!
}

/** Copies a record; counted in words of four bytes. */
function copyWords(source: Chunk, from: number, count: number, target: Chunk, at: number): void {
  if (count > 100) source.bytes.copy(target.bytes, 4 * at, 4 * from, 4 * (from + count))
  else for (let i = 0; i < count; i++) target.words[at + i] = source.words[from + i]!
}
