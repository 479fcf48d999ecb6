/** Ranges as bounds in bytes, and the checks of what users pass as keys. */
import { checkSpace, kindOf } from './check.ts'
import type { KeyLike, StoreRange } from './contract.ts'
import { StoreError } from './errors.ts'

/** [from, to) in unsigned byte order; undefined: open. */
export interface Bounds {
  readonly from: Buffer | undefined
  readonly to: Buffer | undefined
}

/** The bytes of a key; a Uint8Array is not copied. Throws StoreError ERR_STORE_KEY, with the name of the `store`. */
export function keyBuffer(key: KeyLike, store: string): Buffer {
  if (typeof key === 'string') return Buffer.from(key, 'utf8')
  if (Buffer.isBuffer(key)) return key
  checkKeyLike(store, key)
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength)
}

/** Throws StoreError ERR_STORE_KEY unless a caller without types gave a string or a Uint8Array. */
function checkKeyLike(store: string, key: unknown): void {
  if (typeof key === 'string' || key instanceof Uint8Array) return
  throw new StoreError('ERR_STORE_KEY', store, `the key is ${kindOf(key)}: it must be a string or a Uint8Array`)
}

/** Throws StoreError: ERR_STORE_SPACE, or ERR_STORE_KEY for a bound that is no key. */
export function checkRange(store: string, range: StoreRange): void {
  checkSpace(store, range.space ?? 0)
  for (const bound of [range.from, range.to, range.prefix]) if (bound !== undefined) checkKeyLike(store, bound)
}

/** The bytes of a bound that was checked. */
function boundBuffer(bound: KeyLike): Buffer {
  return keyBuffer(bound, '')
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

/** The tightest bounds that `range`, which was checked, gives. */
export function boundsOf(range: StoreRange): Bounds {
  let from = range.from === undefined ? undefined : boundBuffer(range.from)
  let to = range.to === undefined ? undefined : boundBuffer(range.to)
  if (range.prefix !== undefined) {
    const prefix = boundBuffer(range.prefix)
    const end = afterPrefix(prefix)
    if (from === undefined || from.compare(prefix) < 0) from = prefix
    if (end !== undefined && (to === undefined || to.compare(end) > 0)) to = end
  }
  return { from, to }
}
