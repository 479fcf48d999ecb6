/**
 * BufferPool: reusable memory for what lives shortly and is filled often (open batches, compression output).
 * Owns   the free buffers of each size class, and the count of bytes that are out on lease.
 * A Lease belongs to whoever asked for it until `release()`, which is called exactly once; the bytes are nobody's after
 * that. Pooled memory never reaches user code. Sizes: 4 KiB doubling to 1 MiB; larger ones are made exactly and not kept.
 */
import { assert } from './assert.ts'
import { bool, int, type OptionTable, resolveOptions } from './options.ts'

const SMALLEST = 4096
const CLASSES = 9
/** Largest size that is kept for reuse, bytes (1 MiB). */
export const LARGEST_POOLED = SMALLEST << (CLASSES - 1)
const NOTHING = Buffer.alloc(0)

export interface BufferPoolOptions {
  /** Bytes of free buffers kept for reuse; beyond it released memory goes to the garbage collector. Default 16 MiB. */
  maxFreeBytes?: number
  /** Overwrite released memory, so that a late reader meets nonsense instead of old data. For tests. Default false. */
  poison?: boolean
}

const table: OptionTable<BufferPoolOptions> = {
  maxFreeBytes: int({ default: 16 * 1024 * 1024, min: 0, max: Number.MAX_SAFE_INTEGER }),
  poison: bool({ default: false }),
}

/** Index of the smallest class that holds `bytes`; CLASSES or more when none does. */
function classOf(bytes: number): number {
  return bytes <= SMALLEST ? 0 : 32 - Math.clz32((bytes - 1) >>> 12)
}

/** Memory on loan. `bytes` may be longer than asked for, and holds old data. */
export class Lease {
  /** The memory; empty after `release()`. */
  bytes: Buffer
  readonly #pool: BufferPool

  /** Made by `BufferPool.lease` only. */
  constructor(pool: BufferPool, bytes: Buffer) {
    this.#pool = pool
    this.bytes = bytes
  }

  /** Gives the memory back. Every view of it is invalid from now on. Once per lease. */
  release(): void {
    const bytes = this.bytes
    assert(bytes !== NOTHING, 'a lease is released once')
    this.bytes = NOTHING
    this.#pool.takeBack(bytes)
  }
}

export class BufferPool {
  #leasedBytes = 0
  #freeBytes = 0
  readonly #free: Buffer[][] = Array.from({ length: CLASSES }, () => [])
  readonly #maxFreeBytes: number
  readonly #poison: boolean

  /** Throws OptionError. */
  constructor(options?: BufferPoolOptions) {
    const resolved = resolveOptions('BufferPool', table, options)
    this.#maxFreeBytes = resolved.maxFreeBytes
    this.#poison = resolved.poison
  }

  /** Bytes out on lease, whole buffers counted. */
  get leasedBytes(): number {
    return this.#leasedBytes
  }

  /** Bytes kept for reuse. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  /** Capacity of the lease that `lease(minBytes)` would give, bytes. */
  static capacityFor(minBytes: number): number {
    return minBytes > LARGEST_POOLED ? minBytes : SMALLEST << classOf(minBytes)
  }

  /** At least `minBytes` of memory with old data in it. The caller releases it exactly once. */
  lease(minBytes: number): Lease {
    assert(minBytes >= 0, 'a lease has a size')
    const capacity = BufferPool.capacityFor(minBytes)
    const reused = capacity <= LARGEST_POOLED ? this.#free[classOf(capacity)]!.pop() : undefined
    if (reused !== undefined) this.#freeBytes -= capacity
    this.#leasedBytes += capacity
    return new Lease(this, reused ?? Buffer.allocUnsafeSlow(capacity))
  }

  /** For Lease only. */
  takeBack(bytes: Buffer): void {
    const capacity = bytes.length
    this.#leasedBytes -= capacity
    assert(this.#leasedBytes >= 0, 'no more bytes come back than were leased')
    if (this.#poison) bytes.fill(0xcc)
    if (capacity > LARGEST_POOLED || this.#freeBytes + capacity > this.#maxFreeBytes) return
    this.#freeBytes += capacity
    this.#free[classOf(capacity)]!.push(bytes)
  }
}
