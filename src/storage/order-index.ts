/**
 * The order of one key space: its entry numbers sorted by key, in blocks that are never changed once made, so that an
 * iterator keeps the blocks it began with. Made when somebody first iterates; entries made later collect in `tail` and are
 * merged into the blocks they belong to when somebody iterates again. Owns blocks and tail. Entries that were deleted stay
 * (iterators skip them) until `without` drops them.
 */
import type { StoreJob } from './contract.ts'
import { type KeyOrder, Sorter } from './sorter.ts'

/** Entries per block when made; a block is split at twice as many. */
const blockEntries = 2048

export class OrderIndex implements StoreJob {
  readonly #keys: KeyOrder
  #blocks: readonly Int32Array[] = []
  #tail = new Int32Array(64)
  #tailCount = 0
  #sorter: Sorter
  #built = false
  #dropped = false

  /** Takes over `entries`: those of the space at this moment. */
  constructor(keys: KeyOrder, entries: Int32Array) {
    this.#keys = keys
    this.#sorter = new Sorter(keys, entries)
  }

  /** Whether everything is in order, so that `ready` is immediate. */
  get current(): boolean {
    return this.#built && this.#tailCount === 0
  }

  /** Entries made since the last ordering. */
  get tailCount(): number {
    return this.#built ? this.#tailCount : 0
  }

  get byteLength(): number {
    let entries = this.#tail.length
    for (const block of this.#blocks) entries += block.length
    return 4 * entries
  }

  /** A new entry of the space. */
  add(entry: number): void {
    if (this.#tailCount === this.#tail.length) {
      const larger = new Int32Array(2 * this.#tail.length)
      larger.set(this.#tail)
      this.#tail = larger
    }
    this.#tail[this.#tailCount] = entry
    this.#tailCount += 1
  }

  /** Nobody needs it any more: a job that still steps it ends. */
  drop(): void {
    this.#dropped = true
  }

  /** Orders in slices; the last step merges what was made meanwhile. */
  step(units: number): boolean {
    if (this.#dropped) return true
    if (!this.#built) {
      if (!this.#sorter.step(units)) return false
      this.#finishBuild()
    }
    this.#mergeTail()
    return true
  }

  /** The blocks, in order, with every entry of the space. */
  ready(): readonly Int32Array[] {
    if (!this.#built) {
      this.#sorter.result()
      this.#finishBuild()
    }
    this.#mergeTail()
    return this.#blocks
  }

  #finishBuild(): void {
    this.#blocks = cut(this.#sorter.result())
    this.#sorter = new Sorter(this.#keys, new Int32Array(0))
    this.#built = true
  }

  /** Drops the entries for which `gone` is true. Only when no iterator may need them. */
  without(gone: (entry: number) => boolean): void {
    const blocks: Int32Array[] = []
    for (const block of this.ready()) {
      const kept = block.filter((entry) => !gone(entry))
      if (kept.length > 0) blocks.push(kept)
    }
    this.#blocks = blocks
  }

  #mergeTail(): void {
    if (this.#tailCount === 0) return
    const added = new Sorter(this.#keys, this.#tail.slice(0, this.#tailCount)).result()
    this.#tailCount = 0
    if (this.#tail.length > 65_536) this.#tail = new Int32Array(64)
    const blocks: Int32Array[] = []
    let at = 0
    for (let i = 0; i < this.#blocks.length; i++) {
      const block = this.#blocks[i]!
      const next = this.#blocks[i + 1]
      let end = at
      if (next === undefined) end = added.length
      else while (end < added.length && this.#keys.compareEntries(added[end]!, next[0]!) < 0) end += 1
      if (end === at) blocks.push(block)
      else {
        const merged = this.#mergeBlock(block, added.subarray(at, end))
        if (merged.length >= 2 * blockEntries) blocks.push(...cut(merged))
        else blocks.push(merged)
      }
      at = end
    }
    if (this.#blocks.length === 0) this.#blocks = cut(added)
    else this.#blocks = blocks
  }

  #mergeBlock(block: Int32Array, added: Int32Array): Int32Array {
    const merged = new Int32Array(block.length + added.length)
    let from = 0
    let out = 0
    for (const entry of added) {
      // The first position whose key is not below the new one.
      let low = from
      let high = block.length
      while (low < high) {
        const middle = (low + high) >>> 1
        if (this.#keys.compareEntries(block[middle]!, entry) < 0) low = middle + 1
        else high = middle
      }
      merged.set(block.subarray(from, low), out)
      out += low - from
      merged[out++] = entry
      from = low
    }
    merged.set(block.subarray(from), out)
    return merged
  }
}

function cut(entries: Int32Array): Int32Array[] {
  const blocks: Int32Array[] = []
  for (let at = 0; at < entries.length; at += blockEntries) blocks.push(entries.slice(at, at + blockEntries))
  return blocks
}
