/**
 * The oracle of crash tests: a history of moves, each a pure function of (seed, index), so that what a store must hold
 * after a crash is computed, not kept in a file. A move consists of units; after each unit the store is one that a crash
 * may leave, and after no other moment. Units are numbered `unitsPerMove × move + place`, and the checkpoint of a unit that has
 * one says its number. Stateless but for Model and Oracle, which own their entries.
 */
import { crc32 } from 'node:zlib'
import type { Checkpoint } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'

/** One change; without a value the key is deleted. */
export interface Op {
  readonly space: number
  readonly key: Buffer
  readonly value: Buffer | undefined
}

/** What happens as a whole or not at all. */
export interface Unit {
  readonly number: number
  readonly ops: readonly Op[]
  readonly checkpoint: Checkpoint | undefined
  /** Drops everything, the checkpoint included. */
  readonly clears: boolean
}

/** `batch`: one unit; `puts` and `load`: one per write; `clear`: one. The others change nothing. */
export type MoveKind = 'batch' | 'puts' | 'load' | 'clear' | 'flush' | 'sync' | 'compact' | 'turn' | 'read'

export interface Move {
  readonly index: number
  readonly kind: MoveKind
  readonly units: readonly Unit[]
  /** For whoever carries it out: decides between ways that mean the same. */
  readonly choice: number
}

/** No move has as many units. */
export const unitsPerMove = 256

/** The last unit of all moves before `index`. */
export function unitBefore(index: number): number {
  return index * unitsPerMove - 1
}

/** How a history is shaped. */
export interface HistoryOptions {
  /** How many different keys. Default 90. */
  readonly keys?: number
  /** Bytes of a checkpoint's state at most. Default 40. */
  readonly stateBytes?: number
  /** Of 100 moves. Default: see below. */
  readonly weights?: Partial<Record<MoveKind, number>>
}

const defaultWeights: Record<MoveKind, number> = {
  batch: 48,
  puts: 14,
  load: 4,
  clear: 1,
  flush: 5,
  sync: 8,
  compact: 2,
  turn: 14,
  read: 4,
}

const spaces = [0, 0, 0, 1, 15]

/** Move `index` of the history of a seed. */
export function moveOf(seed: number, index: number, options: HistoryOptions = {}): Move {
  const random = new SeededRandom(seed * 2 ** 20 + index)
  const kind = pickKind(random, { ...defaultWeights, ...options.weights })
  const first = index * unitsPerMove
  const units: Unit[] = []
  const checkpoint = (number: number): Checkpoint => {
    const state = random.bytes(random.int((options.stateBytes ?? 40) + 1))
    return { position: number, state }
  }
  const ops = (count: number): Op[] => Array.from({ length: count }, () => opOf(random, options.keys ?? 90))
  const add = (unit: Partial<Unit>, isMarked = false): void => {
    const number = first + units.length
    units.push({
      number,
      ops: [],
      clears: false,
      ...unit,
      checkpoint: isMarked ? checkpoint(number) : undefined,
    })
  }
  if (kind === 'batch') add({ ops: ops(random.int(12)) }, random.chance(0.9))
  else if (kind === 'clear') add({ clears: true })
  else if (kind === 'puts') for (const op of ops(random.between(1, 8))) add({ ops: [op] })
  else if (kind === 'load') {
    for (const op of ops(random.between(1, 100))) {
      add({ ops: [op] })
      if (random.chance(0.1)) add({}, true)
    }
    if (random.chance(0.8)) add({}, true)
  }
  return { index, kind, units, choice: random.uint32() }
}

function pickKind(random: SeededRandom, weights: Record<MoveKind, number>): MoveKind {
  const entries = Object.entries(weights) as [MoveKind, number][]
  let left = random.next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [kind, weight] of entries) {
    left -= weight
    if (left < 0) return kind
  }
  return 'turn'
}

function opOf(random: SeededRandom, keys: number): Op {
  const space = random.pick(spaces)
  const key = keyOf(random.int(keys))
  if (random.chance(0.2)) return { space, key, value: undefined }
  const size = random.chance(0.01)
    ? random.int(20_000)
    : random.chance(0.1)
      ? random.between(300, 3000)
      : random.int(100)
  return { space, key, value: Buffer.alloc(size, random.bytes(7)) }
}

/** Short and long keys, with bytes at both ends of their range, and the empty one. */
function keyOf(index: number): Buffer {
  if (index === 0) return Buffer.alloc(0)
  if (index % 11 === 0) return Buffer.concat([Buffer.alloc(300, 0x6b), Buffer.from([index])])
  if (index % 7 === 0) return Buffer.from([0xff, index])
  if (index % 5 === 0) return Buffer.from([0x00, index, 0x00])
  return Buffer.from(`key-${index}`)
}

/** Entries and a checkpoint, with a sum that tells two states apart at once. */
export class Model {
  /** By space (one character) and key (latin1). */
  readonly entries = new Map<string, Buffer>()
  checkpoint: Checkpoint | undefined
  #sum = 0
  #sum2 = 0

  static id(space: number, key: Buffer): string {
    return String.fromCharCode(space) + key.toString('latin1')
  }

  set(id: string, value: Buffer | undefined): void {
    const before = this.entries.get(id)
    if (before !== undefined) this.#add(id, before, -1)
    if (value === undefined) this.entries.delete(id)
    else {
      this.entries.set(id, value)
      this.#add(id, value, 1)
    }
  }

  #add(id: string, value: Buffer, sign: 1 | -1): void {
    const of = crc32(value, crc32(Buffer.from(id, 'latin1')))
    this.#sum = (this.#sum + sign * of) | 0
    this.#sum2 = (this.#sum2 + sign * crc32(value, Math.imul(of, 0x9e3779b9) >>> 0)) | 0
  }

  apply(unit: Unit): void {
    if (unit.clears) {
      this.entries.clear()
      this.#sum = 0
      this.#sum2 = 0
      this.checkpoint = undefined
    }
    for (const { space, key, value } of unit.ops) this.set(Model.id(space, key), value)
    if (unit.checkpoint !== undefined) this.checkpoint = unit.checkpoint
  }

  equals(other: Model): boolean {
    if (this.#sum !== other.#sum || this.#sum2 !== other.#sum2 || this.entries.size !== other.entries.size) return false
    const a = this.checkpoint
    const b = other.checkpoint
    return a?.position === b?.position && (a === undefined || b === undefined || a.state.equals(b.state))
  }

  copy(): Model {
    const copy = new Model()
    for (const [id, value] of this.entries) copy.set(id, value)
    copy.checkpoint = this.checkpoint
    return copy
  }

  /** How this differs from `expected`, in words. */
  difference(expected: Model): string {
    const lines = [`checkpoint ${this.checkpoint?.position ?? 'none'}, not ${expected.checkpoint?.position ?? 'none'}`]
    for (const [id, value] of this.entries) {
      const other = expected.entries.get(id)
      if (other === undefined) lines.push(`${JSON.stringify(id)} is there`)
      else if (!other.equals(value)) lines.push(`${JSON.stringify(id)} has another value`)
    }
    for (const id of expected.entries.keys()) if (!this.entries.has(id)) lines.push(`${JSON.stringify(id)} is missing`)
    return [...lines.slice(0, 8), `${lines.length - 1} keys differ`].join('; ')
  }
}

/** Follows a history: it stands behind a unit, and finds where a store that was opened again stands. */
export class Oracle {
  readonly seed: number
  readonly options: HistoryOptions
  readonly model: Model
  /** The unit it stands behind; −1: before the first. */
  unit: number

  constructor(seed: number, options: HistoryOptions = {}, model = new Model(), unit = -1) {
    this.seed = seed
    this.options = options
    this.model = model
    this.unit = unit
  }

  copy(): Oracle {
    return new Oracle(this.seed, this.options, this.model.copy(), this.unit)
  }

  move(index: number): Move {
    return moveOf(this.seed, index, this.options)
  }

  /** Goes on behind `unit`. */
  advance(unit: number): void {
    for (const next of this.#units(unit)) this.#take(next)
    this.unit = Math.max(this.unit, unit)
  }

  /**
   * Goes on to the first place from `low` to `high` where the state is `found`, and returns it. Throws when there is
   * none: the store holds something that it never was, or lost what it must not.
   */
  locate(found: Model, low: number, high: number): number {
    const tried = this.copy()
    tried.advance(low)
    const atLow = tried.model.copy()
    if (!tried.model.equals(found)) {
      let hit = false
      for (const next of tried.#units(high)) {
        tried.#take(next)
        hit = tried.model.equals(found)
        if (hit) break
      }
      if (!hit) throw new Error(this.#complaint(found, atLow, low, high))
    }
    const { unit } = tried
    this.advance(unit)
    return unit
  }

  #complaint(found: Model, atLow: Model, low: number, high: number): string {
    const where = (unit: number): string => `${unit} (move ${Math.floor(unit / unitsPerMove)})`
    const anywhere = new Oracle(this.seed, this.options)
    let elsewhere = ''
    if (anywhere.model.equals(found)) elsewhere = 'It is the empty state. '
    for (const next of anywhere.#units(high + 20 * unitsPerMove)) {
      anywhere.#take(next)
      if (anywhere.model.equals(found)) elsewhere = `It is the state after unit ${where(next.number)}. `
    }
    const from = `seed ${this.seed}: no state from unit ${where(low)} to ${where(high)} is what was found. `
    return `${from}${elsewhere}Compared to the first: ${found.difference(atLow)}`
  }

  #take(unit: Unit): void {
    this.model.apply(unit)
    this.unit = unit.number
  }

  /** The units behind this place up to `last`. */
  *#units(last: number): Generator<Unit> {
    const from = this.unit
    for (let index = Math.max(0, Math.floor(from / unitsPerMove)); index * unitsPerMove <= last; index++) {
      for (const unit of this.move(index).units) if (unit.number > from && unit.number <= last) yield unit
    }
  }
}
