/**
 * Oracle: what was sent, what the callbacks do with it, and what must hold of logs, stores and commits at every moment:
 * (a) a committed input offset never passes a record whose effects are not in the logs; (b) a store is never ahead of its
 * changelog, and holds what the changelog says; (d) no two members commit a partition in one generation, and no committed
 * offset goes back; (e) a callback sees the effects of every earlier record of its key.
 * Owns the list of inputs. Reads the broker's logs directly; knows nothing of the processor.
 */
import type { Store } from '../../src/storage/index.ts'
import type { SimCluster } from './cluster.ts'
import type { World } from './world.ts'

/** What the callback does with one input. `once…` does it at the first try and then behaves. */
export type Behaviour =
  | 'change in place and set'
  | 'set a new object'
  | 'change in place and forget'
  | 'read only'
  | 'delete'
  | 'set, then throw once'
  | 'wait, then set'
  | 'wait, then reject once'
  | 'loop'

export interface Input {
  readonly id: number
  readonly key: string
  readonly topic: string
  readonly behaviour: Behaviour
  /** Where it lies, once somebody knows; −1 before. */
  partition: number
  offset: number
}

/** The value of the group table: ids of the records that changed it. */
export interface State {
  seen: number[]
}

export const topics = { input: 'in', second: 'in2', output: 'out', table: 'g-table', loop: 'g-loop' } as const

/** Whether the record leaves its id in the table. */
export function leavesId(behaviour: Behaviour): boolean {
  return behaviour !== 'change in place and forget' && behaviour !== 'read only' && behaviour !== 'delete'
}

/** The id that a looped record leaves. */
export function loopId(id: number): number {
  return id + 1_000_000
}

/** A topic of ids that is read bit by bit. */
interface Followed {
  /** partition → next offset to read. */
  readonly next: Map<number, number>
  /** id → how often. */
  readonly ids: Map<number, number>
}

export class Oracle {
  readonly inputs: Input[] = []
  /** A stale instance wrote to a changelog: stores differ from it until it is repaired. */
  foreign = false
  readonly #world: World
  readonly #cluster: SimCluster
  /** Of every topic. */
  readonly #partitions: number
  /** Ids that a callback has had at least once. */
  readonly #tried = new Set<number>()
  readonly #byPlace = new Map<string, Input>()
  /** partition → records of the changelog folded so far. */
  readonly #folds = new Map<number, { next: number; state: Map<string, number[]> }>()
  /** Ids in the output and the loop topic, of all partitions together. */
  readonly #outputs: Followed = { next: new Map(), ids: new Map() }
  readonly #loops: Followed = { next: new Map(), ids: new Map() }
  /** topic/partition → committed offset at the last look. */
  readonly #committed = new Map<string, number>()
  /** topic/partition/generation → member. */
  readonly #committers = new Map<string, string>()

  constructor(world: World, cluster: SimCluster, partitions: number) {
    this.#world = world
    this.#cluster = cluster
    this.#partitions = partitions
  }

  /** An input was acknowledged, or came back as a record. It cannot lie in two places. */
  placed(input: Input, partition: number, offset: number): void {
    if (input.offset >= 0 && (input.partition !== partition || input.offset !== offset)) {
      this.#fail(`input ${input.id} is at ${input.partition}/${input.offset} and at ${partition}/${offset}`)
    }
    input.partition = partition
    input.offset = offset
    this.#byPlace.set(`${input.topic}/${input.partition}/${input.offset}`, input)
  }

  at(topic: string, partition: number, offset: number): Input | undefined {
    return this.#byPlace.get(`${topic}/${partition}/${offset}`)
  }

  /** (e): called by the callback with what it got. */
  sees(input: Input, state: State | undefined): void {
    // After a crash records are processed again over a table that may already be ahead of them: at least once.
    const isAgain = this.inputs.some((one) => this.#tried.has(one.id) && deletes(one, input))
    this.#tried.add(input.id)
    if (isAgain) return
    const seen = new Set(state?.seen)
    for (const earlier of this.expectedBefore(input)) {
      if (seen.has(earlier)) continue
      this.#fail(
        `(e) ${input.topic}/${input.partition}, offset ${input.offset}, key ${input.key}: the table has not seen ${earlier}, only ${[...seen].join() || 'nothing'}`,
      )
    }
  }

  /** Ids that must be in the table before `input` of its key: earlier ones of its topic since the last deletion. */
  expectedBefore(input: Input): number[] {
    const expected: number[] = []
    for (let offset = input.offset - 1; offset >= 0; offset--) {
      const earlier = this.at(input.topic, input.partition, offset)
      if (earlier === undefined || earlier.key !== input.key) continue
      if (earlier.behaviour === 'delete') break
      if (leavesId(earlier.behaviour)) expected.push(earlier.id)
    }
    return expected
  }

  /** (d), first half: a commit is on its way. */
  commits(member: string, generation: number, topic: string, partition: number): void {
    const place = `${topic}/${partition} in generation ${generation}`
    const other = this.#committers.get(place)
    if (other !== undefined && other !== member) this.#fail(`(d) ${place} is committed by ${other} and by ${member}`)
    this.#committers.set(place, member)
  }

  /** (a), and the second half of (d): after a commit was accepted. */
  committed(): void {
    for (const [topic, partitions] of this.#cluster.broker.committedOffsets('g')) {
      for (const [partition, offset] of partitions) {
        const place = `${topic}/${partition}`
        const before = this.#committed.get(place) ?? 0
        if (offset < before) this.#fail(`(d) the committed offset of ${place} went back from ${before} to ${offset}`)
        this.#committed.set(place, Math.max(before, offset))
        for (let at = before; at < offset; at++) this.#effectsOf(topic, partition, at)
      }
    }
  }

  #effectsOf(topic: string, partition: number, offset: number): void {
    const input = this.at(topic, partition, offset)
    if (input === undefined) return // of the loop, or not acknowledged to its sender
    const where = `(a) ${topic}/${partition}: ${offset + 1} is committed, but`
    if (leavesId(input.behaviour) && !this.#deletedLater(input)) {
      const seen = this.table(partition).get(input.key) ?? []
      if (!seen.includes(input.id))
        this.#fail(`${where} the changelog of key ${input.key} lacks ${input.id}: ${seen.join()}`)
    }
    if (this.outputs().get(input.id) === undefined && emits(input.behaviour)) {
      this.#fail(`${where} the output of ${input.id} is missing`)
    }
    if (input.behaviour === 'loop' && !this.#follow(topics.loop, this.#loops).has(input.id)) {
      this.#fail(`${where} the loop record of ${input.id} is missing`)
    }
  }

  #deletedLater(input: Input): boolean {
    return this.inputs.some((other) => deletes(other, input))
  }

  /** The table as the changelog of a partition tells it. */
  table(partition: number): Map<string, number[]> {
    let fold = this.#folds.get(partition)
    if (fold === undefined) {
      fold = { next: 0, state: new Map() }
      this.#folds.set(partition, fold)
    }
    const { broker } = this.#cluster
    if (broker.offsets(topics.table, partition).next === fold.next) return fold.state
    for (const record of broker.records(topics.table, partition)) {
      if (record.offset < fold.next) continue
      const key = String(record.key)
      if (record.value === null) fold.state.delete(key)
      else fold.state.set(key, (JSON.parse(String(record.value)) as State).seen)
      fold.next = record.offset + 1
    }
    return fold.state
  }

  /** Id → how often it is in the output topic. */
  outputs(): Map<number, number> {
    return this.#follow(topics.output, this.#outputs)
  }

  #follow(topic: string, { next, ids }: Followed): Map<number, number> {
    const { broker } = this.#cluster
    for (let partition = 0; partition < this.#partitions; partition++) {
      const from = next.get(partition) ?? 0
      const end = broker.offsets(topic, partition).next
      if (end === from) continue
      for (const record of broker.records(topic, partition)) {
        if (record.offset < from) continue
        const id = Number(record.value)
        ids.set(id, (ids.get(id) ?? 0) + 1)
      }
      next.set(partition, end)
    }
    return ids
  }

  /** (b): a store took a checkpoint. */
  stored(store: Store, position: number): void {
    const partition = Number(store.name.slice(store.name.lastIndexOf('/') + 1))
    const end = this.#cluster.broker.offsets(topics.table, partition).next
    if (position > end) this.#fail(`(b) store ${store.name} is at ${position}, its changelog ends at ${end}`)
  }

  /**
   * (b): what lies on the disk, brought up to date from its position, is what the changelog says; and all of it is in the
   * changelog. (The position may be older than the content: while foreign writes are not repaired, for example.)
   */
  checkStore(store: Store): void {
    const position = store.checkpoint?.position
    if (position === undefined) return
    const partition = Number(store.name.slice(store.name.lastIndexOf('/') + 1))
    const recovered = new Map<string, string>()
    for (const [key, value] of store.entries()) recovered.set(String(key), String(value))
    const stored = new Map(recovered)
    const table = new Map<string, string>()
    for (const record of this.#cluster.broker.records(topics.table, partition)) {
      const key = String(record.key)
      const value = record.value === null ? undefined : String(record.value)
      if (stored.get(key) === value) stored.delete(key)
      for (const one of record.offset < position ? [table] : [table, recovered]) {
        if (value === undefined) one.delete(key)
        else one.set(key, value)
      }
    }
    if (stored.size > 0) {
      this.#fail(`(b) store ${store.name} holds what its changelog never had: ${JSON.stringify([...stored])}`)
    }
    const same = recovered.size === table.size && [...table].every(([key, value]) => recovered.get(key) === value)
    if (!same) {
      const found = JSON.stringify([...recovered])
      this.#fail(`(b) store ${store.name}, from ${position} on: ${found} is not ${JSON.stringify([...table])}`)
    }
  }

  /** At the end: every effect of every input is there; `exact`: exactly once. */
  final(exact: boolean): void {
    const outputs = this.outputs()
    for (const input of this.inputs) {
      const { id, key, partition, behaviour } = input
      const seen = this.table(partition).get(key) ?? []
      const times = seen.filter((one) => one === id).length
      const deleted = this.#deletedLater(input)
      if (leavesId(behaviour) && !deleted && times === 0)
        this.#fail(`end: ${id} (${behaviour}) is lost from key ${key}: ${seen.join()}`)
      if (!leavesId(behaviour) && times > 0)
        this.#fail(`end: ${id} (${behaviour}) has left a trace in key ${key}: ${seen.join()}`)
      if (behaviour === 'loop' && !this.#isLooped(id)) this.#fail(`end: the loop record of ${id} is lost`)
      if (exact && times > 1) this.#fail(`end: ${id} was counted ${times} times though nothing was disturbed`)
      const emitted = outputs.get(id) ?? 0
      if (emits(behaviour) && emitted === 0) this.#fail(`end: the output of ${id} is lost`)
      if (exact && emitted > 1) this.#fail(`end: ${id} was emitted ${emitted} times though nothing was disturbed`)
    }
  }

  #isLooped(id: number): boolean {
    for (let partition = 0; partition < this.#partitions; partition++) {
      for (const seen of this.table(partition).values()) if (seen.includes(loopId(id))) return true
    }
    return false
  }

  #fail(message: string): void {
    this.#world.fail(new Error(message))
  }
}

/** Whether `other`, which may be the same, deletes what `input` does. */
function deletes(other: Input, input: Input): boolean {
  return other.behaviour === 'delete' && other.key === input.key && other.offset >= input.offset
}

/** Whether the record is sent on to the output topic. */
export function emits(behaviour: Behaviour): boolean {
  return behaviour !== 'change in place and forget' && behaviour !== 'read only'
}
