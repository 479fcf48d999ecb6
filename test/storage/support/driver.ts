/**
 * Carries out a history on a store, and knows at every moment what a crash may take away. Owns no store: whoever opened
 * it closes it.
 */
import type { Scheduler, TimerHandle } from '../../../src/base/scope.ts'
import type { BulkLoad, LogStore } from '../../../src/storage/index.ts'
import { contentOf } from './inspect.ts'
import { type Move, type Op, type Oracle, type Unit, unitsPerMove } from './oracle.ts'

/** Between which units a store stands that was opened again after a crash. */
export interface Bounds {
  /** The kill of the process leaves at least this. */
  kept: number
  /** A power loss leaves at least this. */
  durable: number
  /** Nothing behind this was begun. */
  begun: number
}

export interface DriverOptions {
  /** Called when the bounds have risen. */
  readonly onKept?: (bounds: Bounds) => void
  /** An attempt failed; resolves when it is to be tried again, rejects to end the run. Default: ends it. */
  readonly onError?: (error: unknown, move: Move) => Promise<void>
  /** `commit` returns when the batch is durable. Default false. */
  readonly syncsBatches?: boolean
  /** Lets time pass, at moves of kind `turn`. */
  readonly tick?: () => void
}

/** One turn of the event loop. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Driver {
  readonly store: LogStore
  readonly bounds: Bounds
  /** What the store shows now: the oracle moves on with it. */
  readonly oracle: Oracle
  readonly #options: DriverOptions
  /** A load has ended or is open whose tables may not exist yet: what comes after it counts only with them. */
  #loads = false

  /** `oracle` stands where the store stands. */
  constructor(store: LogStore, oracle: Oracle, options: DriverOptions = {}, bounds?: Bounds) {
    this.store = store
    this.oracle = oracle
    this.#options = options
    this.bounds = bounds ?? { kept: oracle.unit, durable: oracle.unit, begun: oracle.unit }
  }

  /** Carries out what is left of the move that the oracle stands in, and the following ones before `endMove`. */
  async run(endMove: number): Promise<void> {
    for (let index = Math.floor((this.oracle.unit + 1) / unitsPerMove); index < endMove; index++) {
      const move = this.oracle.move(index)
      await this.carryOut(move)
      const last = move.units.at(-1)?.number ?? -1
      if (last > this.oracle.unit) this.oracle.advance(last)
      // Behind the move, so that a life that begins here does not begin with it again.
      if (this.oracle.unit < (index + 1) * unitsPerMove - 1) this.#standBehind(index)
    }
  }

  #standBehind(index: number): void {
    const unit = (index + 1) * unitsPerMove - 1
    if (this.bounds.kept === this.oracle.unit) this.bounds.kept = unit
    if (this.bounds.durable === this.oracle.unit) this.bounds.durable = unit
    if (this.bounds.begun < unit) this.bounds.begun = unit
    this.oracle.unit = unit
  }

  async carryOut(move: Move): Promise<void> {
    const units = move.units.filter(({ number }) => number > this.oracle.unit)
    switch (move.kind) {
      case 'batch':
        for (const unit of units) await this.#batch(unit, move)
        break
      case 'puts':
        await this.#puts(units, move)
        break
      case 'load':
        if (units.length > 0) await this.#load(units, move)
        break
      case 'clear':
        for (const unit of units) {
          this.#begin(unit)
          await this.#try(move, () => this.store.clear())
          this.#loads = false
          this.#done(unit)
        }
        break
      case 'flush':
        await this.#lasting(move, () => this.store.flush())
        break
      case 'sync':
        await this.#lasting(move, () => this.store.sync())
        break
      case 'compact':
        await this.#lasting(move, () => this.store.compact())
        break
      case 'turn':
        this.#options.tick?.()
        for (let i = move.choice % 12; i >= 0; i--) await turn()
        break
      case 'read':
        this.checkReads()
    }
    this.#claim()
  }

  /** The open store shows what it must. */
  checkReads(): void {
    const found = contentOf(this.store)
    if (!found.equals(this.oracle.model)) {
      throw new Error(`seed ${this.oracle.seed}: behind ${this.oracle.unit}: ${found.difference(this.oracle.model)}`)
    }
  }

  /** Does what must hold against power loss when it resolves. */
  async #lasting(move: Move, action: () => Promise<void>): Promise<void> {
    const { unit } = this.oracle
    await this.#try(move, action)
    this.#loads = false
    this.bounds.durable = Math.max(this.bounds.durable, unit)
    this.#keep(unit)
  }

  /** What the store itself says to be durable. */
  #claim(): void {
    const claimed = this.store.durableCheckpoint?.position ?? -1
    this.bounds.durable = Math.max(this.bounds.durable, claimed)
    if (claimed > this.bounds.kept) this.#keep(claimed)
  }

  async #batch(unit: Unit, move: Move): Promise<void> {
    const batch = this.store.writer()
    const collect = (): void => {
      for (const { space, key, value } of unit.ops) {
        if (value === undefined) batch.delete(space, key, 0, key.length)
        else batch.put(space, key, 0, key.length, value, 0, value.length)
      }
    }
    await this.#try(move, () => {
      batch.abandon()
      collect()
    })
    this.#begin(unit)
    await this.#try(move, () => {
      if (batch.count === 0 && move.choice % 2 === 1) collect()
      try {
        batch.commit(unit.checkpoint)
      } catch (error) {
        // Trying again means the same whether the batch stayed or is made again.
        if (move.choice % 2 === 1) batch.abandon()
        throw error
      }
    })
    this.#done(unit)
    if (this.#options.syncsBatches === true && !this.#loads) {
      this.bounds.durable = Math.max(this.bounds.durable, unit.number)
    }
  }

  async #puts(units: readonly Unit[], move: Move): Promise<void> {
    for (const unit of units) {
      this.#begin(unit)
      await this.#try(move, () => write(this.store, unit.ops[0]!))
      this.oracle.advance(unit.number)
    }
    // Written at the end of the turn; unless that fails, which the store tells when it is asked the next time.
    if (move.choice % 4 !== 0) {
      await turn()
      if (this.#options.onError === undefined && !this.#loads && units.length > 0) this.#keep(units.at(-1)!.number)
    }
  }

  async #load(units: readonly Unit[], move: Move): Promise<void> {
    let load: BulkLoad | undefined
    await this.#try(move, () => {
      load = this.store.bulkLoad()
    })
    this.#loads = true
    const open = load!
    const last = units.at(-1)!
    for (const unit of units) {
      this.#begin(unit)
      if (unit.checkpoint === undefined) await this.#try(move, () => write(open, unit.ops[0]!))
      else if (unit !== last) await this.#try(move, () => open.advance(unit.checkpoint!))
      else await this.#try(move, () => open.finish(unit.checkpoint!))
      this.oracle.advance(unit.number)
      if (move.choice % 3 === 0 && unit.number % 16 === 0) await turn()
    }
    if (last.checkpoint === undefined) await this.#try(move, () => open.abandon())
  }

  #begin(unit: Unit): void {
    this.bounds.begun = Math.max(this.bounds.begun, unit.number)
  }

  #done(unit: Unit): void {
    this.oracle.advance(unit.number)
    if (!this.#loads) this.#keep(unit.number)
  }

  #keep(unit: number): void {
    if (unit <= this.bounds.kept) return
    this.bounds.kept = unit
    this.#options.onKept?.(this.bounds)
  }

  async #try(move: Move, action: () => void | Promise<void>): Promise<void> {
    for (;;) {
      try {
        await action()
        return
      } catch (error) {
        if (this.#options.onError === undefined) throw error
        await this.#options.onError(error, move)
      }
    }
  }
}

function write(target: Pick<BulkLoad, 'put' | 'delete'>, { space, key, value }: Op): void {
  if (value === undefined) target.delete(space, key, 0, key.length)
  else target.put(space, key, 0, key.length, value, 0, value.length)
}

/** A clock that only `tick` moves, so that runs are the same each time; turns are real. Its timers run when told to. */
export class StillScheduler implements Scheduler {
  #now = 1_700_000_000_000
  readonly #timers = new Map<object, () => void>()

  now(): number {
    this.#now += 1
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  setTimer(_delayMs: number, callback: () => void): TimerHandle {
    const handle = { timer: {} }
    this.#timers.set(handle, callback)
    return handle
  }

  clearTimer(handle: TimerHandle): void {
    this.#timers.delete(handle)
  }

  immediate(callback: () => void): void {
    setImmediate(callback)
  }

  /** Runs what waits for time to pass. */
  tick(): void {
    for (const [handle, callback] of [...this.#timers]) {
      this.#timers.delete(handle)
      callback()
    }
  }
}
