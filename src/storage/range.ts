/** Ranges as bounds in bytes, and the checks of what users pass as keys. */
import type { KeyLike, StoreRange } from './contract.ts'

/** [from, to) in unsigned byte order; undefined: open. */
export interface Bounds {
  readonly from: Buffer | undefined
  readonly to: Buffer | undefined
}

/** The bytes of a key; a Uint8Array is not copied. */
export function keyBuffer(key: KeyLike): Buffer {
  if (typeof key === 'string') return Buffer.from(key, 'utf8')
  return Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength)
}

/** The smallest key above all that begin with `prefix`; undefined when there is none. */
function afterPrefix(prefix: Buffer): Buffer | undefined {
  let length = prefix.length
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1
  if (length === 0) return undefined
  const end = Buffer.from(prefix.subarray(0, length))
  end[length - 1]! += 1
  return end
}

/** The tightest bounds that `range` gives. */
export function boundsOf(range: StoreRange): Bounds {
  let from = range.from === undefined ? undefined : keyBuffer(range.from)
  let to = range.to === undefined ? undefined : keyBuffer(range.to)
  if (range.prefix !== undefined) {
    const prefix = keyBuffer(range.prefix)
    const end = afterPrefix(prefix)
    if (from === undefined || from.compare(prefix) < 0) from = prefix
    if (end !== undefined && (to === undefined || to.compare(end) > 0)) to = end
  }
  return { from, to }
}
