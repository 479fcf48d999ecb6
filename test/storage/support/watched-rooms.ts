/**
 * Rooms of memtables, watched: what is taken again is filled with other bytes before, so that whoever still reads there, or
 * relies on zeros, is found out whatever was written before. Owns the change of MemtableRooms until it is disposed of.
 */
import { MemtableRooms, type Room } from '../../../src/storage/log/rooms.ts'

const { take, give } = MemtableRooms.prototype

export class WatchedRooms {
  readonly #counts = { given: 0, taken: 0 }

  /** `isUsed` false: no room is taken again. */
  constructor(isUsed = true) {
    const counts = this.#counts
    MemtableRooms.prototype.take = function taking(this: MemtableRooms, ...asked): Room | undefined {
      const room = isUsed ? take.apply(this, asked) : undefined
      if (room === undefined) return undefined
      counts.taken += 1
      room.bytes.fill(0xa0 + (counts.taken % 64), 0, room.touched)
      return room
    }
    MemtableRooms.prototype.give = function giving(this: MemtableRooms, room): void {
      counts.given += 1
      give.call(this, room)
    }
  }

  /** Rooms that were given back. */
  get given(): number {
    return this.#counts.given
  }

  /** Rooms that were taken again. */
  get taken(): number {
    return this.#counts.taken
  }

  [Symbol.dispose](): void {
    Object.assign(MemtableRooms.prototype, { take, give })
  }
}
