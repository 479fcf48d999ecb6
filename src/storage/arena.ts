/**
 * The arena: where the memory engine keeps keys and values, outside the JavaScript heap. Records are appended to chunks
 * (16 KiB first, up to 1 MiB; a large record gets its own) and addressed by a 31-bit reference in units of 8 bytes:
 * chunk number × 2^17 + unit. Owns the chunks and the counts of dead and pinned bytes; who lives is said by the table
 * that owns the arena. A chunk without live records is freed at once; half-dead ones are emptied by the compactor.
 *
 * A record is four 32-bit words (entry number, tag, value length, units), then key and value:
 * tag = kind << 28 | key space << 24 | key length.
 */

/** A record's life. `pending`: in a batch that is not committed. */
export const kindPending = 1
export const kindCurrent = 2
/** The entry's key without a value: deleted, or only ever in an abandoned batch. */
export const kindTombstone = 3
/** Superseded, but seen by a snapshot. */
export const kindPinned = 4
export const kindDead = 5

/** Header, bytes. */
export const headerBytes = 16
/** Units per chunk number. */
export const chunkUnits = 2 ** 17
export const chunkShift = 17
export const unitMask = chunkUnits - 1
const maxChunkBytes = chunkUnits * 8
const minChunkBytes = 16 * 1024
const maxChunks = 2 ** 14
/** Records above this have their own chunk. */
const largeBytes = maxChunkBytes / 8

/** Units of 8 bytes that a record takes. */
export function recordUnits(keyBytes: number, valueBytes: number): number {
  return Math.ceil((headerBytes + keyBytes + valueBytes) / 8)
}

export class Chunk {
  readonly number: number
  readonly bytes: Buffer
  readonly words: Int32Array
  /** Units appended. */
  used = 0
  /** Units of dead records. */
  dead = 0
  /** Records of an open batch; a chunk that has some is not compacted. */
  pending = 0
  /** Whether records are still appended here. */
  head = false

  constructor(number: number, bytes: Buffer) {
    this.number = number
    this.bytes = bytes
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
  }
}

export class Arena {
  /** By chunk number; number 0 is never used, so that reference 0 can mean none. */
  readonly chunks: (Chunk | undefined)[] = [undefined]
  /** Bytes of all chunks. */
  allocatedBytes = 0
  /** Units of dead records, in all chunks. */
  deadUnits = 0
  /** Units of records, dead ones included. */
  usedUnits = 0
  readonly #freeNumbers: number[] = []
  /** Where writes go, and where the compactor's survivors go: they live longer than what is written now. */
  #head: Chunk | undefined
  #survivors: Chunk | undefined
  /** One emptied chunk is kept for the next head, unless what was in it may still be read. */
  #spare: Buffer | undefined
  keepsSpare = true

  chunkOf(ref: number): Chunk {
    return this.chunks[ref >>> chunkShift]!
  }

  /** Whether `units` more can be addressed. */
  get full(): boolean {
    return this.chunks.length >= maxChunks && this.#freeNumbers.length < 4
  }

  /** Room for a record of `units`; the caller fills all four header words. */
  allocate(units: number, survivor = false): number {
    let chunk = survivor ? this.#survivors : this.#head
    if (chunk === undefined || (chunk.used + units) * 8 > chunk.bytes.length) {
      chunk = this.#newChunk(units * 8, survivor)
    }
    const ref = chunk.number * chunkUnits + chunk.used
    chunk.used += units
    this.usedUnits += units
    return ref
  }

  #newChunk(bytes: number, survivor: boolean): Chunk {
    const large = bytes > largeBytes
    const size = large ? bytes : this.#chunkBytes(bytes)
    let buffer = this.#spare
    this.#spare = undefined
    if (buffer?.length !== size) {
      this.allocatedBytes -= buffer?.length ?? 0
      buffer = Buffer.allocUnsafeSlow(size)
      this.allocatedBytes += size
    }
    const number = this.#freeNumbers.pop() ?? this.chunks.length
    const chunk = new Chunk(number, buffer)
    this.chunks[number] = chunk
    if (large) return chunk
    chunk.head = true
    const previous = survivor ? this.#survivors : this.#head
    if (survivor) this.#survivors = chunk
    else this.#head = chunk
    if (previous !== undefined) {
      previous.head = false
      this.#freeIfDead(previous)
    }
    return chunk
  }

  /** As much as is live now, so that small stores stay small. */
  #chunkBytes(least: number): number {
    const live = 8 * (this.usedUnits - this.deadUnits)
    return Math.min(maxChunkBytes, Math.max(minChunkBytes, 2 ** Math.ceil(Math.log2(live + least))))
  }

  /** Tells that `units` of a record in `chunk` are not needed any more. */
  bury(chunk: Chunk, units: number): void {
    chunk.dead += units
    this.deadUnits += units
    if (chunk.dead === chunk.used) this.#freeIfDead(chunk)
  }

  /** A record of an open batch was committed or abandoned. */
  settle(chunk: Chunk): void {
    chunk.pending -= 1
    if (chunk.dead === chunk.used) this.#freeIfDead(chunk)
  }

  #freeIfDead(chunk: Chunk): void {
    if (chunk.dead < chunk.used || chunk.pending > 0) return
    if (chunk.head) {
      // Everything in it is dead: begin it anew.
      this.#forget(chunk)
      chunk.used = 0
      chunk.dead = 0
      return
    }
    this.free(chunk)
  }

  /** Gives a chunk back. Nothing may refer to it any more. */
  free(chunk: Chunk): void {
    this.#forget(chunk)
    this.chunks[chunk.number] = undefined
    this.#freeNumbers.push(chunk.number)
    if (this.keepsSpare && chunk.bytes.length <= maxChunkBytes) {
      this.allocatedBytes -= this.#spare?.length ?? 0
      this.#spare = chunk.bytes
    } else this.allocatedBytes -= chunk.bytes.length
  }

  #forget(chunk: Chunk): void {
    this.deadUnits -= chunk.dead
    this.usedUnits -= chunk.used
  }

  /** Lets the chunks that are written now be emptied too. */
  retireHeads(): void {
    for (const chunk of [this.#head, this.#survivors]) {
      if (chunk === undefined) continue
      chunk.head = false
      if (chunk.dead === chunk.used) this.#freeIfDead(chunk)
    }
    this.#head = undefined
    this.#survivors = undefined
  }

  /** The chunk whose emptying gains most for its work; undefined when none has a quarter dead. */
  victim(): Chunk | undefined {
    let best: Chunk | undefined
    let share = 0.25
    for (let i = 1; i < this.chunks.length; i++) {
      const chunk = this.chunks[i]
      if (chunk === undefined || chunk.head || chunk.pending > 0) continue
      const dead = chunk.dead / chunk.used
      if (dead >= share) {
        share = dead
        best = chunk
      }
    }
    return best
  }
}
