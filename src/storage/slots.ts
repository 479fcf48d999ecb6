/**
 * Slots: from the hash of a key to the numbers of the entries that may have it. Open addressing with linear probing in
 * segments of at most 32 K slots; a full segment is split in two by the next upper bit of the hash (extendible hashing),
 * so growing never stalls for longer than one segment takes (below a millisecond). Owns the segments; knows no keys:
 * the caller compares them. Entries are removed by shifting back, there are no tombstones.
 */

/** Layout of a segment: [count, depth, 0, 0, hash, entry + 1, hash, entry + 1, …]; 0 as entry means an empty slot. */
export const slotBase = 4
const minSlots = 16
const maxSlots = 32_768
const maxDepth = 16

function makeSegment(slots: number, depth: number): Int32Array {
  const segment = new Int32Array(slotBase + 2 * slots)
  segment[1] = depth
  return segment
}

/** Number of slots minus one. */
export function slotMask(segment: Int32Array): number {
  return ((segment.length - slotBase) >>> 1) - 1
}

function place(segment: Int32Array, hash: number, stored: number): void {
  const mask = slotMask(segment)
  let at = hash & mask
  while (segment[slotBase + 2 * at + 1] !== 0) at = (at + 1) & mask
  segment[slotBase + 2 * at] = hash
  segment[slotBase + 2 * at + 1] = stored
  segment[0]! += 1
}

export class Slots {
  /** 2^depth pointers; several may point at one segment. */
  directory: Int32Array[]
  /** The segment of a hash is directory[(hash >>> 16) >>> shift]. */
  shift: number
  /** Bytes of all segments. */
  byteLength: number

  /** With room for about `expected` entries, so that these cost no growing. */
  constructor(expected = 0) {
    let slots = minSlots
    let depth = 0
    while (expected * 4 >= (slots << depth) * 3 && depth < maxDepth) {
      if (slots < maxSlots) slots *= 2
      else depth += 1
    }
    this.directory = Array.from({ length: 1 << depth }, () => makeSegment(slots, depth))
    this.shift = maxDepth - depth
    this.byteLength = 4 * (slotBase + 2 * slots) * this.directory.length
  }

  segmentOf(hash: number): Int32Array {
    return this.directory[(hash >>> 16) >>> this.shift]!
  }

  /** Adds an entry; the caller knows that it is not there. */
  insert(hash: number, entry: number): void {
    let segment = this.segmentOf(hash)
    while (segment[0]! * 4 >= (slotMask(segment) + 1) * 3) {
      this.#grow(hash, segment)
      segment = this.segmentOf(hash)
    }
    place(segment, hash, entry + 1)
  }

  /** Takes an entry out; false when it is not there. */
  remove(hash: number, entry: number): boolean {
    const segment = this.segmentOf(hash)
    const mask = slotMask(segment)
    let hole = hash & mask
    for (;;) {
      const stored = segment[slotBase + 2 * hole + 1]!
      if (stored === 0) return false
      if (stored === entry + 1) break
      hole = (hole + 1) & mask
    }
    for (let at = (hole + 1) & mask; segment[slotBase + 2 * at + 1] !== 0; at = (at + 1) & mask) {
      const ideal = segment[slotBase + 2 * at]! & mask
      if (((at - ideal) & mask) < ((at - hole) & mask)) continue
      segment[slotBase + 2 * hole] = segment[slotBase + 2 * at]!
      segment[slotBase + 2 * hole + 1] = segment[slotBase + 2 * at + 1]!
      hole = at
    }
    segment[slotBase + 2 * hole + 1] = 0
    segment[0]! -= 1
    if (mask + 1 > minSlots && segment[0]! * 8 < mask + 1) this.#resize(hash, segment, (mask + 1) >>> 1)
    return true
  }

  #grow(hash: number, segment: Int32Array): void {
    const slots = slotMask(segment) + 1
    const depth = segment[1]!
    if (slots < maxSlots || depth === maxDepth) this.#resize(hash, segment, 2 * slots)
    else this.#split(hash, segment)
  }

  #resize(hash: number, segment: Int32Array, slots: number): void {
    const next = makeSegment(slots, segment[1]!)
    for (let at = slotBase; at < segment.length; at += 2) {
      if (segment[at + 1] !== 0) place(next, segment[at]!, segment[at + 1]!)
    }
    this.byteLength += 4 * (next.length - segment.length)
    this.#point(hash, next, next)
  }

  /** Makes two segments of one, by the first bit of the hash that the segment's depth does not decide yet. */
  #split(hash: number, segment: Int32Array): void {
    const depth = segment[1]!
    if (depth === maxDepth - this.shift) {
      const doubled: Int32Array[] = []
      for (const pointer of this.directory) doubled.push(pointer, pointer)
      this.directory = doubled
      this.shift -= 1
    }
    const slots = slotMask(segment) + 1
    const low = makeSegment(slots, depth + 1)
    const high = makeSegment(slots, depth + 1)
    const bit = 31 - depth
    for (let at = slotBase; at < segment.length; at += 2) {
      if (segment[at + 1] === 0) continue
      place(((segment[at]! >>> bit) & 1) === 0 ? low : high, segment[at]!, segment[at + 1]!)
    }
    this.byteLength += 4 * segment.length
    this.#point(hash, low, high)
  }

  /** Lets every pointer of the old segment of `hash` point at `low` or `high`, by halves. */
  #point(hash: number, low: Int32Array, high: Int32Array): void {
    const index = (hash >>> 16) >>> this.shift
    // The old segment's depth is that of a resized one, or one less than that of its halves.
    const depth = low === high ? low[1]! : low[1]! - 1
    const span = 1 << (maxDepth - this.shift - depth)
    const first = index - (index & (span - 1))
    for (let i = 0; i < span; i++) this.directory[first + i] = i < span >>> 1 || low === high ? low : high
  }
}
