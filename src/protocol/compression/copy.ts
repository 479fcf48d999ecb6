/**
 * Copying short spans inside decompressors. Loops beat the built-in calls below some tens of bytes. The caller has
 * checked all bounds.
 */

/** From this length on a built-in call beats a loop, bytes. */
const BULK_FROM = 96

/** Copies `source[from, to)` to `target` at `at`; the two do not overlap. Returns the end in the target. */
export function copySpan(source: Buffer, from: number, to: number, target: Buffer, at: number): number {
  const end = at + to - from
  if (to - from >= BULK_FROM) {
    target.set(source.subarray(from, to), at)
    return end
  }
  for (let read = from, write = at; read < to; read++, write++) target[write] = source[read]!
  return end
}

/** Repeats in `target` at `at` the `size` bytes that begin `offset` before it; they may run into themselves. */
export function copyMatch(target: Buffer, at: number, offset: number, size: number): void {
  const from = at - offset
  if (size >= BULK_FROM) {
    if (offset >= size) {
      target.copyWithin(at, from, from + size)
      return
    }
    if (offset === 1) {
      target.fill(target[from]!, at, at + size)
      return
    }
  }
  const end = at + size
  for (let read = from, write = at; write < end; read++, write++) target[write] = target[read]!
}
