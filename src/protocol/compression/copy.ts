/**
 * Copying inside compressors and decompressors. Most spans are short: loops beat the built-in calls below some tens of
 * bytes, and loops over four bytes (a DataView may be unaligned) beat those over one. The caller has checked all bounds.
 */

/** From this length on a built-in call beats a loop, bytes. */
const BULK_FROM = 128
/** How much longer than its content an output must be: loops over words may write this many bytes too many. */
export const SLACK = 3

/** A DataView over the same bytes. */
export function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Copies `source[from, to)` to `target` at `at`, exactly; the two do not overlap. Returns the end in the target. */
export function copySpan(source: Buffer, from: number, to: number, target: Buffer, at: number): number {
  const end = at + to - from
  if (to - from >= BULK_FROM) {
    target.set(source.subarray(from, to), at)
    return end
  }
  for (let read = from, write = at; read < to; read++, write++) target[write] = source[read]!
  return end
}

/** One decompression: where it reads and where it writes. `output` has SLACK bytes behind the last one needed. */
export class Copier {
  readonly #source: Buffer
  readonly #target: Buffer
  readonly #sourceView: DataView
  readonly #targetView: DataView
  /** Up to here words can be read from the source. */
  readonly #wordsTo: number

  constructor(source: Buffer, target: Buffer) {
    this.#source = source
    this.#target = target
    this.#sourceView = viewOf(source)
    this.#targetView = viewOf(target)
    this.#wordsTo = source.length - SLACK
  }

  /** Copies `source[from, to)` to the target at `at`. */
  literals(from: number, to: number, at: number): void {
    if (to > this.#wordsTo || to - from >= BULK_FROM) {
      copySpan(this.#source, from, to, this.#target, at)
      return
    }
    const source = this.#sourceView
    const target = this.#targetView
    for (let read = from, write = at; read < to; read += 4, write += 4) {
      target.setInt32(write, source.getInt32(read, true), true)
    }
  }

  /** Repeats in the target at `at` the `size` bytes that begin `offset` before it; they may run into themselves. */
  match(at: number, offset: number, size: number): void {
    const from = at - offset
    const end = at + size
    if (offset >= 4 && (size < BULK_FROM || offset < size)) {
      const target = this.#targetView
      for (let read = from, write = at; write < end; read += 4, write += 4) {
        target.setInt32(write, target.getInt32(read, true), true)
      }
      return
    }
    const target = this.#target
    if (offset >= size) {
      target.copyWithin(at, from, from + size)
    } else if (offset === 1) {
      target.fill(target[from]!, at, end)
    } else {
      for (let read = from, write = at; write < end; read++, write++) target[write] = target[read]!
    }
  }
}
