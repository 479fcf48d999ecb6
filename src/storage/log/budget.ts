/**
 * What all stores of an engine take in memory together: values in the record cache, memtables, and the slots and sparse
 * indexes of tables. Each has a share. Memtables above theirs are written into tables, the largest first, after the rooms
 * that wait for memtables were dropped; slots above theirs are given back, those not used for longest first. The budget owns
 * the counts and the order; what is counted belongs to stores, rooms and tables, which tell of every change.
 */
import type { Scheduler, TimerHandle } from '../../base/scope.ts'
import { MemtableRooms, type RoomSpace } from './rooms.ts'

/** A store, as the budget sees it. */
export interface MemtableUser {
  /** Freezes the memtable that is written. False when it cannot be now, or holds nothing. Must not throw. */
  freezeEarly(): boolean
  /** Brings a frozen memtable into tables at once, as far as that is possible. Must not throw. */
  flushNow(): void
  /** Moves the memtable that is written out of its room, if most of that waits to be filled. Must not throw. */
  leaveRoom(): void
  /** Resolves when no frozen memtable is being written; undefined: none is. Never rejects. */
  flushed(): Promise<void> | undefined
}

/** A table, as the budget sees it. */
export interface SlotUser {
  /** Slots were used since this was last set to false. */
  slotsUsed: boolean
  /** Gives the slots back and tells of it. */
  releaseSlots(): void
}

/** What an engine takes in memory, bytes. */
export interface MemoryStats {
  /** Of memtables that are written. */
  readonly activeBytes: number
  /** Of memtables that wait to become tables. */
  readonly frozenBytes: number
  /**
   * Of rooms that memtables have left and new ones are about to fill, so that these need not touch fresh memory: those that
   * wait for a memtable, and what memtables in such rooms have not filled yet. Given up as soon as memtables need it, and
   * most of it when it was not used for five to ten seconds.
   */
  readonly spareBytes: number
  /** What these three may be together. */
  readonly memtableLimit: number
  /** Of slots of tables. */
  readonly slotBytes: number
  /** Of sparse indexes of tables, which are never given back while a table is in use. */
  readonly indexBytes: number
  /** What these two may be together; more only if the indexes alone are. */
  readonly tableLimit: number
  /** The share of the record cache. */
  readonly cacheLimit: number
}

/** The cache takes at most this share of the budget. */
const maxCacheShare = 0.25
/**
 * Memtables that are written take at most this share of what memtables may. As much again is what they have not filled of
 * their rooms, when they are many, and the rest is for those being flushed: so that there is always a room to take. Fresh
 * memory costs more than smaller memtables do, and what is dropped is freed late: with a share of a half 64 stores that are
 * loaded took twice the memory.
 */
const activeShare = 0.3
/** Above this share of what memtables may take, writers had better wait. */
const tightShare = 0.75
/** Slots that lookups may read at once, bytes: a few milliseconds' work. After a load there may be a hundred tables without. */
const maxSlotCredit = 8 * 2 ** 20
/** What is earned of it by each lookup that goes without slots. */
const creditPerLookup = 64 * 1024
/** What memtables have not filled of rooms used again takes at most this share when one more is taken. */
const unfilledShare = 0.5
/** A room with more than this share is not kept. */
const largestShare = 1 / 3
/** Milliseconds between looks at what is spare. Who is not at work then keeps nothing. */
const lookMs = 5000
/** Of the rest of its room, what a memtable fills between two looks to keep it. */
const filledPerLook = 1 / 8
/** Flushes that do not get on, because they wait for the disk already or fail, before a writer goes on. */
const maxInVain = 4

const nobody: ReadonlySet<MemtableUser> = new Set()

interface Account {
  active: number
  frozen: number
  unfilled: number
  /** `unfilled` at the last look. */
  before: number
}

/** The part that tables see. */
export class TableMemory {
  /** What slots and indexes may take together, bytes. */
  readonly limit: number
  slotBytes = 0
  indexBytes = 0
  /** How many bytes of slots lookups may still read without letting the event loop turn. */
  #slotCredit = maxSlotCredit
  /** Tables with slots and how many bytes they are; after a look at them all, the first is that of longest ago. */
  readonly #users = new Map<SlotUser, number>()

  constructor(limit: number) {
    this.limit = limit
  }

  /**
   * Whether `bytes` of slots may be loaded for a table that has read `paid` bytes because it had none. When others must
   * give theirs back, loading is worth it once as much was read without.
   */
  admits(bytes: number, paid: number): boolean {
    if (this.slotBytes + this.indexBytes + bytes <= this.limit) return true
    return this.indexBytes + bytes <= this.limit && paid >= bytes
  }

  /** The same for a lookup that would wait for them here: tables that come to be used all at once get theirs one by one. */
  admitsNow(bytes: number, paid: number): boolean {
    if (!this.admits(bytes, paid)) return false
    if (bytes > this.#slotCredit && this.#slotCredit < maxSlotCredit) {
      this.#slotCredit = Math.min(maxSlotCredit, this.#slotCredit + creditPerLookup)
      return false
    }
    this.#slotCredit = Math.max(0, this.#slotCredit - bytes)
    return true
  }

  slotsLoaded(user: SlotUser, bytes: number): void {
    user.slotsUsed = true
    this.#users.set(user, bytes)
    this.slotBytes += bytes
    this.#shrink(user)
  }

  slotsReleased(user: SlotUser): void {
    this.slotBytes -= this.#users.get(user) ?? 0
    this.#users.delete(user)
  }

  indexOpened(bytes: number): void {
    this.indexBytes += bytes
    this.#shrink(undefined)
  }

  indexClosed(bytes: number): void {
    this.indexBytes -= bytes
  }

  /** Slots are given back until the rest fits; who has used them since the last look is passed over once. */
  #shrink(newest: SlotUser | undefined): void {
    while (this.slotBytes + this.indexBytes > this.limit) {
      const [first] = this.#users
      if (first === undefined) return
      const [user, bytes] = first
      if (user !== newest && !user.slotsUsed) {
        user.releaseSlots()
        continue
      }
      if (user === newest && this.#users.size === 1) return
      if (user !== newest) user.slotsUsed = false
      this.#users.delete(user)
      this.#users.set(user, bytes)
    }
  }
}

export class MemoryBudget implements RoomSpace {
  /** For slots and indexes of tables. */
  readonly tables: TableMemory
  /** For memtables. */
  readonly rooms: MemtableRooms
  /** For the record cache, bytes. */
  readonly cacheBytes: number
  readonly #memtableLimit: number
  readonly #accounts = new Map<MemtableUser, Account>()
  #active = 0
  #frozen = 0
  #unfilled = 0
  #isBalancing = false
  readonly #scheduler: Scheduler
  /** The next look at what is spare; none when the last one has changed nothing. */
  #timer: TimerHandle | undefined

  /** `memoryBytes` for everything; of it `cacheBytes` for the record cache, if it is not too much. */
  constructor(memoryBytes: number, cacheBytes: number, scheduler: Scheduler) {
    this.#scheduler = scheduler
    this.rooms = new MemtableRooms(this, scheduler)
    this.cacheBytes = Math.min(cacheBytes, Math.floor(memoryBytes * maxCacheShare))
    const rest = memoryBytes - this.cacheBytes
    this.#memtableLimit = Math.floor(rest / 2)
    this.tables = new TableMemory(rest - this.#memtableLimit)
  }

  get stats(): MemoryStats {
    return {
      activeBytes: this.#active,
      frozenBytes: this.#frozen,
      spareBytes: this.#unfilled + this.rooms.keptBytes,
      memtableLimit: this.#memtableLimit,
      slotBytes: this.tables.slotBytes,
      indexBytes: this.tables.indexBytes,
      tableLimit: this.tables.limit,
      cacheLimit: this.cacheBytes,
    }
  }

  /** What memtables hold in memory, and what they keep there for what comes. */
  get #held(): number {
    return this.#active + this.#frozen + this.#unfilled
  }

  get largestRoom(): number {
    return largestShare * this.#memtableLimit
  }

  get keepable(): number {
    return this.#memtableLimit - this.#held
  }

  get takeable(): number {
    return Math.min(unfilledShare * this.#memtableLimit - this.#unfilled, this.#memtableLimit - this.#held)
  }

  /**
   * What the memtables of a store take now: the one that is written, the frozen ones, and what the one that is written has
   * not filled of a room that was in memory already.
   */
  account(user: MemtableUser, active: number, frozen: number, unfilled: number): void {
    const account = this.#accounts.get(user) ?? { active: 0, frozen: 0, unfilled: 0, before: 0 }
    this.#active += active - account.active
    this.#frozen += frozen - account.frozen
    this.#unfilled += unfilled - account.unfilled
    account.active = active
    account.frozen = frozen
    account.unfilled = unfilled
    this.#accounts.set(user, account)
    this.rooms.shrink(this.keepable)
    if (unfilled > 0) this.#lookLater()
  }

  /** The store is closed. */
  leave(user: MemtableUser): void {
    this.account(user, 0, 0, 0)
    this.#accounts.delete(user)
    if (this.#accounts.size > 0) return
    this.rooms.shrink(0)
    if (this.#timer !== undefined) this.#scheduler.clearTimer(this.#timer)
    this.#timer = undefined
  }

  // --- what is spare

  roomKept(): void {
    this.#lookLater()
  }

  /** Called with every record of a load, so nothing is made here. */
  #lookLater(): void {
    this.#timer ??= this.#scheduler.setTimer(lookMs, this.#onTime, false)
  }

  readonly #onTime = (): void => {
    this.#timer = undefined
    if (this.#look()) this.#lookLater()
  }

  /**
   * Gives up what nobody used since the last look: an engine that is only read keeps nothing to write into. False: there is
   * nothing to look at again before something is written.
   */
  #look(): boolean {
    this.rooms.age()
    let goesOn = this.rooms.keptBytes > 0
    for (const [user, account] of this.#accounts) {
      const { unfilled, before } = account
      // More than before: it is another room.
      if (unfilled <= before && unfilled > (1 - filledPerLook) * before) user.leaveRoom()
      if (account.unfilled !== before) goesOn = true
      account.before = account.unfilled
    }
    return goesOn
  }

  /** Makes memtables fit into their share again, as far as it can be done at once. For a writer, after it has written. */
  balance(): void {
    const isWithin = this.#active <= activeShare * this.#memtableLimit
    if (this.#isBalancing || (isWithin && this.#held <= this.#memtableLimit)) return
    this.#isBalancing = true
    try {
      const tried = new Set<MemtableUser>()
      while (this.#active > activeShare * this.#memtableLimit) {
        const user = this.#largest('active', tried)
        if (user === undefined) break
        tried.add(user)
        user.freezeEarly()
      }
      // Costs a copy of what is in the room; flushing costs more.
      tried.clear()
      while (this.#held > this.#memtableLimit) {
        const user = this.#largest('unfilled', tried)
        if (user === undefined) break
        tried.add(user)
        user.leaveRoom()
      }
      tried.clear()
      while (this.#held > this.#memtableLimit && tried.size < maxInVain) {
        const before = this.#frozen
        const user = this.#largest('frozen', tried)
        if (user === undefined) break
        user.flushNow()
        if (this.#frozen >= before) tried.add(user)
      }
    } finally {
      this.#isBalancing = false
    }
  }

  /** Undefined while there is room for more; else a promise to wait for before writing more. Never rejects. */
  ready(): Promise<void> | undefined {
    if (this.#active + this.#frozen <= tightShare * this.#memtableLimit) return undefined
    return this.#largest('frozen', nobody)?.flushed()
  }

  #largest(kind: 'active' | 'frozen' | 'unfilled', not: ReadonlySet<MemtableUser>): MemtableUser | undefined {
    let largest: MemtableUser | undefined
    let most = 0
    for (const [user, account] of this.#accounts) {
      if (account[kind] <= most || not.has(user)) continue
      largest = user
      most = account[kind]
    }
    return largest
  }
}
