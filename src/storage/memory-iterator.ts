/**
 * Ordered iteration over a memory table: walks the order's blocks between two positions and skips entries that its
 * snapshot does not see. Owns its overlay when it made one, and releases it at the end.
 */
import { Span, type StoreIterator, type StoreRange } from './contract.ts'
import { StoreError } from './errors.ts'
import { pointAtKey, pointAtValue, visibleRef } from './memory-reader.ts'
import type { MemoryTable } from './memory-table.ts'
import type { Overlay } from './overlay.ts'
import { boundsOf } from './range.ts'

export class MemoryIterator implements StoreIterator {
  readonly key = new Span()
  readonly value = new Span()
  readonly #table: MemoryTable
  readonly #store: string
  readonly #overlay: Overlay
  readonly #ownsOverlay: boolean
  readonly #blocks: readonly Int32Array[]
  readonly #reverse: boolean
  /** Next position, and the one where the iteration ends (exclusive; forward: behind the last, reverse: before the first). */
  #block: number
  #index: number
  readonly #endBlock: number
  readonly #endIndex: number
  #open = true

  /** Without an overlay it takes a snapshot of its own. */
  constructor(table: MemoryTable, store: string, overlay: Overlay | undefined, range: StoreRange) {
    this.#table = table
    this.#store = store
    this.#blocks = table.orderedBlocks(range.space ?? 0)
    this.#overlay = overlay ?? table.overlays.open()
    this.#ownsOverlay = overlay === undefined
    this.#reverse = range.reverse ?? false
    const { from, to } = boundsOf(range)
    let first = from === undefined ? 0 : this.#positionOf(from)
    let last = to === undefined ? this.#blocks.length * stride : this.#positionOf(to)
    if (last < first) last = first
    if (this.#reverse) [first, last] = [last, first]
    this.#block = Math.floor(first / stride)
    this.#index = first % stride
    this.#endBlock = Math.floor(last / stride)
    this.#endIndex = last % stride
  }

  /** Position (block × stride + index) of the first entry whose key is not below `key`. */
  #positionOf(key: Buffer): number {
    const blocks = this.#blocks
    let low = 0
    let high = blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const block = blocks[middle]!
      if (this.#table.compareKey(block[block.length - 1]!, key, 0, key.length) < 0) low = middle + 1
      else high = middle
    }
    const block = blocks[low]
    if (block === undefined) return blocks.length * stride
    let from = 0
    let to = block.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (this.#table.compareKey(block[middle]!, key, 0, key.length) < 0) from = middle + 1
      else to = middle
    }
    return low * stride + from
  }

  next(): boolean {
    if (!this.#open) return false
    if (this.#table.life.closed)
      throw new StoreError('ERR_STORE_CLOSED', this.#store, 'it was closed during an iteration')
    if (!this.#overlay.live)
      throw new StoreError('ERR_STORE_CLOSED', this.#store, 'the snapshot was released during an iteration')
    for (let entry = this.#step(); entry >= 0; entry = this.#step()) {
      const ref = visibleRef(this.#table, this.#overlay, entry)
      if (ref === 0) continue
      pointAtKey(this.#table, ref, this.key)
      pointAtValue(this.#table, ref, this.value)
      return true
    }
    this.close()
    return false
  }

  /** The next entry in the range, −1 at its end. */
  #step(): number {
    return this.#reverse ? this.#stepBack() : this.#stepForward()
  }

  #stepForward(): number {
    const block = this.#blocks[this.#block]
    if (block === undefined || this.#block > this.#endBlock) return -1
    if (this.#block === this.#endBlock && this.#index >= this.#endIndex) return -1
    const entry = block[this.#index]!
    this.#index += 1
    if (this.#index === block.length) {
      this.#block += 1
      this.#index = 0
    }
    return entry
  }

  #stepBack(): number {
    if (this.#block < this.#endBlock || (this.#block === this.#endBlock && this.#index <= this.#endIndex)) return -1
    if (this.#index === 0) {
      this.#block -= 1
      this.#index = this.#blocks[this.#block]!.length
    }
    this.#index -= 1
    return this.#blocks[this.#block]![this.#index]!
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    if (this.#ownsOverlay) this.#table.release(this.#overlay)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Positions are block × stride + index; no block is as long as that. */
const stride = 2 ** 20
