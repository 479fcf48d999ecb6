/**
 * Rooms: the memory that memtables lie in, used again when they were flushed. Touching fresh memory costs more than writing
 * it, and what is dropped is freed late, after a garbage collection here and one in the worker thread. Owns the rooms of an
 * engine from `give` to `take`; before and after, a room belongs to one memtable.
 *
 * What a room holds when it is taken is whatever was written there before: nobody may rely on zeros.
 */
import type { Scheduler } from '../../base/scope.ts'

/** Memory for the bytes of a memtable. Shared, so that another thread can write them into tables while this one reads them. */
export interface Room {
  readonly bytes: Buffer
  /** So many of them, from the first on, were written before: they are in memory already, and not zeros. */
  readonly touched: number
}

/** A room of fresh memory, which is zeros. */
export function freshRoom(size: number): Room {
  return { bytes: Buffer.from(new SharedArrayBuffer(size)), touched: 0 }
}

/** What the budget leaves for rooms, bytes that were touched. */
export interface RoomSpace {
  /** A room above this is not worth keeping: it could never be taken. */
  readonly largestRoom: number
  /** For rooms that are kept. */
  readonly keepable: number
  /** For one that is taken. */
  readonly takeable: number
  /** A room was kept. */
  roomKept(): void
}

/** More rooms than these are not kept: looking for one should cost nothing. */
const maxKept = 64

interface Kept extends Room {
  /** It is not taken in the turn in which it was given: a span may point there, perhaps to what is written next. */
  isRested: boolean
  /** Nobody has taken it since the last `age`. */
  isStale: boolean
}

export class MemtableRooms {
  readonly #space: RoomSpace
  readonly #scheduler: Pick<Scheduler, 'immediate'>
  /** Those given longest ago come first. */
  #kept: Kept[] = []
  #keptBytes = 0
  #isResting = false

  constructor(space: RoomSpace, scheduler: Pick<Scheduler, 'immediate'>) {
    this.#space = space
    this.#scheduler = scheduler
  }

  /** Bytes of the rooms that are kept, as far as they were touched. */
  get keptBytes(): number {
    return this.#keptBytes
  }

  /** A room of at least `size` bytes of which at most `mostTouched` are in memory; the one given last. Undefined: there is none. */
  take(size: number, mostTouched: number): Room | undefined {
    const most = Math.min(mostTouched, this.#space.takeable)
    const at = this.#kept.findLastIndex(
      ({ isRested, bytes, touched }) => isRested && bytes.length >= size && touched <= most,
    )
    if (at < 0) return undefined
    const [room] = this.#kept.splice(at, 1)
    this.#keptBytes -= room!.touched
    return room
  }

  /** Takes back a room that nobody reads any more, from the next turn of the event loop on; keeps it if there is space. */
  give({ bytes, touched }: Room): void {
    const { largestRoom, keepable } = this.#space
    if (touched > Math.min(largestRoom, keepable)) return
    this.#kept.push({ bytes, touched, isRested: false, isStale: false })
    this.#keptBytes += touched
    if (this.#kept.length > maxKept) this.#dropOldest()
    this.shrink(keepable)
    this.#space.roomKept()
    if (this.#isResting) return
    this.#isResting = true
    this.#scheduler.immediate(() => {
      this.#isResting = false
      for (const kept of this.#kept) kept.isRested = true
    })
  }

  /** Drops rooms until they take no more than so many bytes. */
  shrink(bytes: number): void {
    while (this.#keptBytes > bytes && this.#kept.length > 0) this.#dropOldest()
  }

  /** Drops the rooms that nobody has taken since the last call. */
  age(): void {
    while (this.#kept[0]?.isStale === true) this.#dropOldest()
    for (const kept of this.#kept) kept.isStale = true
  }

  #dropOldest(): void {
    this.#keptBytes -= this.#kept.shift()!.touched
  }
}
