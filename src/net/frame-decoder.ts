/**
 * Frame decoder: the bytes of a stream → whole frames, each one contiguous Buffer of its own.
 * Owns the frame in progress. A frame is allocated exactly once up to 1 MiB; above, memory grows as bytes arrive, so
 * that a size field alone can never make us allocate. All partial frames of a listener share one budget.
 * A reader either copies its chunks in (`push`) or lets the socket write straight into the frame (`target`, `filled`).
 */
import { badFrameSize, FrameError } from './errors.ts'

/** Up to here a frame's memory is taken at once, trusting its size field. */
const trustedBytes = 1024 * 1024
/** While at least so much of a frame is missing, the socket reads straight into it. */
const directBytes = 16 * 1024
/** Where the socket reads to between frames. */
const scratchBytes = 64 * 1024
const noBytes = Buffer.alloc(0)

/** What all partial frames of one listener may hold together. */
export class PartialBudget {
  usedBytes = 0
  readonly limitBytes: number

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }
}

export class FrameDecoder {
  readonly #maxFrameBytes: number
  readonly #budget: PartialBudget
  readonly #remote: string
  readonly #onFrame: (frame: Buffer) => void
  /** Bytes of the size field seen so far, and its value; 4 = known. */
  #sizeSeen = 0
  #size = 0
  #frame: Buffer = noBytes
  #filled = 0
  #scratch: Buffer = noBytes
  #stopped = false

  /** `onFrame` may call `stop`; it must not call `push` or `filled`. */
  constructor(maxFrameBytes: number, budget: PartialBudget, remote: string, onFrame: (frame: Buffer) => void) {
    this.#maxFrameBytes = maxFrameBytes
    this.#budget = budget
    this.#remote = remote
    this.#onFrame = onFrame
  }

  /** Bytes held by the frame in progress. */
  get partialBytes(): number {
    return this.#frame.length
  }

  /** Takes the next bytes of the stream, copying them. Throws FrameError when they cannot be frames. */
  push(bytes: Buffer, from = 0, to: number = bytes.length): void {
    let at = from
    while (at < to && !this.#stopped) {
      if (this.#sizeSeen < 4) {
        if (this.#sizeSeen === 0 && to - at >= 4) {
          this.#size = bytes.readInt32BE(at)
          this.#sizeSeen = 4
          at += 4
        } else {
          this.#size = (this.#size << 8) | bytes[at]!
          this.#sizeSeen += 1
          at += 1
        }
        if (this.#sizeSeen === 4) this.#begin()
        continue
      }
      this.#grow()
      const count = Math.min(to - at, this.#frame.length - this.#filled)
      bytes.copy(this.#frame, this.#filled, at, at + count)
      at += count
      this.#advance(count)
    }
  }

  /** Where the socket may write the next bytes of the stream; report them with `filled`. */
  target(): Buffer {
    if (this.#sizeSeen === 4 && this.#size - this.#filled >= directBytes) {
      this.#grow()
      if (this.#frame.length - this.#filled >= directBytes) return this.#frame.subarray(this.#filled)
    }
    if (this.#scratch.length === 0) this.#scratch = Buffer.allocUnsafeSlow(scratchBytes)
    return this.#scratch
  }

  /** `count` bytes were written to the start of `target`, which `target()` returned. Throws FrameError like `push`. */
  filled(count: number, target: Buffer): void {
    if (target === this.#scratch) this.push(target, 0, count)
    else if (!this.#stopped) this.#advance(count)
  }

  /** Forgets the frame in progress and ignores what still comes. */
  stop(): void {
    this.#stopped = true
    this.#release()
    this.#scratch = noBytes
  }

  #begin(): void {
    if (this.#size < 0 || this.#size > this.#maxFrameBytes) {
      throw badFrameSize(this.#size, this.#maxFrameBytes, this.#remote)
    }
    this.#filled = 0
    const first = Math.min(this.#size, trustedBytes)
    this.#reserve(first)
    this.#frame = first < 4096 ? Buffer.allocUnsafe(first) : Buffer.allocUnsafeSlow(first)
    if (this.#size === 0) this.#complete()
  }

  /** Makes room when the frame in progress is full but not whole: it doubles, never above its size. */
  #grow(): void {
    if (this.#filled < this.#frame.length) return
    const bytes = Math.min(this.#size, this.#frame.length * 2)
    this.#reserve(bytes - this.#frame.length)
    const larger = Buffer.allocUnsafeSlow(bytes)
    this.#frame.copy(larger, 0, 0, this.#filled)
    this.#frame = larger
  }

  #advance(count: number): void {
    this.#filled += count
    if (this.#filled === this.#size) this.#complete()
  }

  #complete(): void {
    const frame = this.#frame
    this.#release()
    this.#onFrame(frame)
  }

  #reserve(bytes: number): void {
    if (this.#budget.usedBytes + bytes > this.#budget.limitBytes) {
      throw new FrameError(
        `a frame of ${this.#size} bytes from ${this.#remote} does not fit: unfinished frames hold ${this.#budget.usedBytes} of maxPartialBytes ${this.#budget.limitBytes}`,
      )
    }
    this.#budget.usedBytes += bytes
  }

  #release(): void {
    this.#budget.usedBytes -= this.#frame.length
    this.#frame = noBytes
    this.#sizeSeen = 0
    this.#size = 0
    this.#filled = 0
  }
}
