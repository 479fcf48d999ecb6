/**
 * What all stores of an engine take in memory together: values in the record cache, memtables, and the slots and sparse
 * indexes of tables. Each has a share. Memtables above theirs are written into tables, the largest first; slots above
 * theirs are given back, those not used for longest first. The budget owns the counts and the order; what is counted
 * belongs to stores and tables, which tell of every change.
 */

/** A store, as the budget sees it. */
export interface MemtableUser {
  /** Freezes the memtable that is written. False when it cannot be now, or holds nothing. Must not throw. */
  freezeEarly(): boolean
  /** Brings a frozen memtable into tables at once, as far as that is possible. Must not throw. */
  flushNow(): void
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
  /** What these two may be together. */
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
/** Memtables that are written take at most this share of what memtables may; the rest is for those being flushed. */
const activeShare = 0.5
/** Above this share of what memtables may take, writers had better wait. */
const tightShare = 0.75
/** Slots that lookups may read at once, bytes: a few milliseconds' work. After a load there may be a hundred tables without. */
const maxSlotCredit = 8 * 2 ** 20
/** What is earned of it by each lookup that goes without slots. */
const creditPerLookup = 64 * 1024
/** Flushes that do not get on, because they wait for the disk already or fail, before a writer goes on. */
const maxInVain = 4

const nobody: ReadonlySet<MemtableUser> = new Set()

interface Account {
  active: number
  frozen: number
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

export class MemoryBudget {
  /** For slots and indexes of tables. */
  readonly tables: TableMemory
  /** For the record cache, bytes. */
  readonly cacheBytes: number
  readonly #memtableLimit: number
  readonly #accounts = new Map<MemtableUser, Account>()
  #active = 0
  #frozen = 0
  #isBalancing = false

  /** `memoryBytes` for everything; of it `cacheBytes` for the record cache, if it is not too much. */
  constructor(memoryBytes: number, cacheBytes: number) {
    this.cacheBytes = Math.min(cacheBytes, Math.floor(memoryBytes * maxCacheShare))
    const rest = memoryBytes - this.cacheBytes
    this.#memtableLimit = Math.floor(rest / 2)
    this.tables = new TableMemory(rest - this.#memtableLimit)
  }

  get stats(): MemoryStats {
    return {
      activeBytes: this.#active,
      frozenBytes: this.#frozen,
      memtableLimit: this.#memtableLimit,
      slotBytes: this.tables.slotBytes,
      indexBytes: this.tables.indexBytes,
      tableLimit: this.tables.limit,
      cacheLimit: this.cacheBytes,
    }
  }

  /** What the memtables of a store take now: the one that is written, and the frozen ones. */
  account(user: MemtableUser, active: number, frozen: number): void {
    const account = this.#accounts.get(user) ?? { active: 0, frozen: 0 }
    this.#active += active - account.active
    this.#frozen += frozen - account.frozen
    account.active = active
    account.frozen = frozen
    this.#accounts.set(user, account)
  }

  /** The store is closed. */
  leave(user: MemtableUser): void {
    this.account(user, 0, 0)
    this.#accounts.delete(user)
  }

  /** Makes memtables fit into their share again, as far as it can be done at once. For a writer, after it has written. */
  balance(): void {
    const isWithin = this.#active <= activeShare * this.#memtableLimit
    if (this.#isBalancing || (isWithin && this.#active + this.#frozen <= this.#memtableLimit)) return
    this.#isBalancing = true
    try {
      const tried = new Set<MemtableUser>()
      while (this.#active > activeShare * this.#memtableLimit) {
        const user = this.#largest('active', tried)
        if (user === undefined) break
        tried.add(user)
        user.freezeEarly()
      }
      tried.clear()
      while (this.#active + this.#frozen > this.#memtableLimit && tried.size < maxInVain) {
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

  #largest(kind: keyof Account, not: ReadonlySet<MemtableUser>): MemtableUser | undefined {
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
