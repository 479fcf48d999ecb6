/**
 * Log: the record batches of one partition in memory, as a list of segments.
 * Owns   the segments, the start and the end of the log. Knows nothing of producers, leaders or requests.
 */
import { assert } from '../base/assert.ts'
import { Segment } from './segment.ts'

/** Memory of all logs of a broker together; the sole counter. */
export class LogMemory {
  used = 0
  #age = 0

  nextAge(): number {
    this.#age += 1
    return this.#age
  }
}

/** A batch found by time. */
export interface TimedBatch {
  readonly bytes: Buffer
  readonly baseOffset: number
}

export class Log {
  readonly #memory: LogMemory
  #segments: Segment[] = []
  #startOffset = 0
  #nextOffset = 0
  #byteLength = 0

  constructor(memory: LogMemory) {
    this.#memory = memory
  }

  /** First offset that may be read. */
  get startOffset(): number {
    return this.#startOffset
  }

  /** Offset of the next record: the high watermark too, for there is one replica. */
  get nextOffset(): number {
    return this.#nextOffset
  }

  get byteLength(): number {
    return this.#byteLength
  }

  get segmentCount(): number {
    return this.#segments.length
  }

  get oldest(): Segment | undefined {
    return this.#segments[0]
  }

  get active(): Segment | undefined {
    return this.#segments[this.#segments.length - 1]
  }

  /** Ends the active segment: the next append begins a new one. */
  #roll(now: number, firstBytes: number): Segment {
    const segment = new Segment(this.#nextOffset, now, this.#memory.nextAge(), firstBytes)
    this.#memory.used += segment.capacity
    this.#segments.push(segment)
    return segment
  }

  /**
   * Copies the batch source[from, to) to the end, as `count` offsets. `patch` is called with the copy to set base offset
   * and leader epoch. Returns the base offset.
   */
  append(
    source: Buffer,
    from: number,
    to: number,
    count: number,
    maxTimestamp: number,
    now: number,
    limits: { readonly segmentBytes: number; readonly segmentMs: number },
    patch: (bytes: Buffer, at: number, baseOffset: number) => void,
  ): number {
    assert(count > 0, 'a batch takes at least one offset')
    const size = to - from
    let segment = this.active
    if (
      segment === undefined ||
      (segment.byteLength > 0 &&
        (segment.byteLength + size > limits.segmentBytes || now - segment.createdAt >= limits.segmentMs))
    ) {
      segment = this.#roll(now, size)
    }
    const baseOffset = this.#nextOffset
    const capacity = segment.capacity
    const at = segment.append(source, from, to, baseOffset, maxTimestamp, limits.segmentBytes)
    this.#memory.used += segment.capacity - capacity
    patch(segment.bytes, at, baseOffset)
    this.#byteLength += size
    this.#nextOffset = baseOffset + count
    return baseOffset
  }

  /**
   * Whole batches from the one that holds `offset`, at most `maxBytes` together; the first one even above it when
   * `atLeastOne`. Slices of the log: they stay valid and never change. `offset` must be within the log.
   */
  read(offset: number, maxBytes: number, atLeastOne: boolean): Buffer[] {
    const found: Buffer[] = []
    if (offset >= this.#nextOffset) return found
    let left = maxBytes
    let first = atLeastOne
    for (let at = this.#segmentAt(offset); at < this.#segments.length && (left > 0 || first); at++) {
      const segment = this.#segments[at]!
      const index = segment.baseOffset > offset ? 0 : segment.batchAt(offset)
      const bytes = segment.read(index, left, first)
      if (bytes === undefined) break
      found.push(bytes)
      left -= bytes.length
      first = false
      if (bytes.length < segment.bytesFrom(index)) break
    }
    return found
  }

  /** Bytes from the batch that holds `offset` to the end, counted up to about `enough`. */
  bytesFrom(offset: number, enough: number): number {
    if (offset >= this.#nextOffset) return 0
    let sum = 0
    for (let at = this.#segmentAt(offset); at < this.#segments.length && sum < enough; at++) {
      const segment = this.#segments[at]!
      sum += segment.bytesFrom(segment.baseOffset > offset ? 0 : segment.batchAt(offset))
    }
    return sum
  }

  /** The first batch with a record at or after `timestamp`. */
  batchByTime(timestamp: number): TimedBatch | undefined {
    for (const segment of this.#segments) {
      if (segment.maxTimestamp < timestamp) continue
      for (let index = 0; index < segment.batchCount; index++) {
        if (segment.batchTimestamp(index) >= timestamp) {
          return { bytes: segment.batch(index), baseOffset: segment.batchOffset(index) }
        }
      }
    }
    return undefined
  }

  /** The first batch that has the largest timestamp of the log. */
  batchOfMaxTime(): TimedBatch | undefined {
    let best: Segment | undefined
    for (const segment of this.#segments) {
      if (best === undefined || segment.maxTimestamp > best.maxTimestamp) best = segment
    }
    return best === undefined || best.batchCount === 0 ? undefined : this.batchByTime(best.maxTimestamp)
  }

  /** All batches, for oracles and for replaying. */
  *batches(): IterableIterator<Buffer> {
    for (const segment of [...this.#segments]) {
      for (let index = 0; index < segment.batchCount; index++) yield segment.batch(index)
    }
  }

  /** Drops the oldest segment and moves the start. Returns the bytes freed. */
  dropOldest(): number {
    const segment = this.#segments.shift()
    if (segment === undefined) return 0
    this.#memory.used -= segment.capacity
    this.#byteLength -= segment.byteLength
    this.#startOffset = this.#segments[0]?.baseOffset ?? this.#nextOffset
    return segment.byteLength
  }

  /** Moves the start to at least `offset`, dropping whole segments below it (a rewritten internal log). */
  dropBefore(offset: number): void {
    while (this.#segments.length > 0 && (this.#segments[1]?.baseOffset ?? this.#nextOffset) <= offset) this.dropOldest()
    if (offset > this.#startOffset) this.#startOffset = Math.min(offset, this.#nextOffset)
  }

  /** The next append begins a new segment. */
  seal(now: number): void {
    const segment = this.active
    if (segment !== undefined && segment.byteLength > 0) this.#roll(now, 0)
  }

  /** Lets go of everything (the topic was deleted). */
  clear(): void {
    while (this.#segments.length > 0) this.dropOldest()
  }

  /** Index of the last segment that begins at or before `offset`, 0 when all begin after it. */
  #segmentAt(offset: number): number {
    let low = 0
    let high = this.#segments.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#segments[middle]!.baseOffset <= offset) low = middle
      else high = middle - 1
    }
    return Math.max(low, 0)
  }
}
