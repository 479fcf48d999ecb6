/**
 * CheckpointOracle: what must hold of logs, stores, commits and callbacks at every moment, and in the end.
 * (a) a committed offset never passes a record whose effects (table, output, loop) are not in the logs; (b) a store holds
 * exactly what its changelog says up to its position; (d) no two members commit a partition in one generation, an older
 * life of a member not after a younger one; (e) a counting callback sees every earlier order of its key. And: a record is
 * handed out again only as far as work was lost: what an instance had done and not been told to be committed.
 * Owns what was sent and what was read from the logs; reads the broker directly and knows nothing of the processor.
 */
import type { LoggedRecord } from '../../src/broker/index.ts'
import type { Store } from '../../src/storage/index.ts'
import { names, type Order, type Place, type State } from './checkpoint-group.ts'
import type { SimCluster } from './cluster.ts'
import type { World } from './world.ts'

interface Input {
  readonly key: string
  readonly id: number
}

interface Change {
  readonly key: string
  readonly value: string | null
  readonly producerId: number
}

/** What one life of an instance did with one partition of a topic since it was given to it. */
interface Session {
  next: number
  /** Offset behind which nothing is known to be committed. */
  acked: number
}

interface Fold {
  upTo: number
  readonly values: Map<string, string>
}

/** A life of an instance, as the oracle knows it. */
export interface Life {
  /** The machine; a static member's name. */
  readonly slot: string
  /** Counts the lives of all slots. */
  readonly number: number
}

export class CheckpointOracle {
  readonly orders = new Map<number, Order & { readonly key: string }>()
  /** Records that callbacks were given again. */
  reruns = 0
  /** Writes to changelogs by those who were not the owner any more. */
  staleWrites = 0
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #partitions: number
  readonly #inputs: Input[][]
  readonly #loops: Input[][]
  readonly #changes: Change[][]
  /** `<key> i<id>`: some changelog record of the key has counted it. */
  readonly #counted = new Set<string>()
  readonly #emitted = new Map<number, number>()
  readonly #looped = new Set<number>()
  readonly #outputRead: number[]
  /** Whether a stale instance has written to the changelog. */
  readonly #stale: boolean[]
  /**
   * Whether what it overwrote may be lost: the owner has changed since, or had not restored yet. This is the window that
   * at-least-once leaves open.
   */
  readonly #excused: boolean[]
  /** Which life has restored the table last. */
  readonly #restored: number[]
  readonly #checked = new Map<string, number>()
  readonly #committers = new Map<string, { life: Life; answeredAt: number }>()
  readonly #folds = new Map<Store, Fold>()
  /** topic/partition → offset → times handed out. */
  readonly #runs = new Map<string, number[]>()
  readonly #sessions = new Map<number, Map<string, Session>>()
  /** topic/partition → how often records may be handed out again. */
  readonly #allowed = new Map<string, number>()
  readonly #rerun = new Map<string, number>()
  /** Who owns a partition since when, by producer: for stale writes. */
  readonly #owners: number[]
  readonly #lifeOfProducer = new Map<number, number>()

  constructor(world: World, cluster: SimCluster, partitions: number) {
    const perPartition = <T>(make: () => T): T[] => Array.from({ length: partitions }, make)
    this.#world = world
    this.#cluster = cluster
    this.#partitions = partitions
    this.#inputs = perPartition(() => [])
    this.#loops = perPartition(() => [])
    this.#changes = perPartition(() => [])
    this.#outputRead = perPartition(() => 0)
    this.#stale = perPartition(() => false)
    this.#excused = perPartition(() => false)
    this.#restored = perPartition(() => -1)
    this.#owners = perPartition(() => -1)
  }

  // ── What instances do ──────────────────────────────────────────────────────────────────────────────────────────────

  /** A callback begins. */
  began(life: Life, at: Place): void {
    const place = `${at.topic}/${at.partition}`
    let runs = this.#runs.get(place)
    if (runs === undefined) {
      runs = []
      this.#runs.set(place, runs)
    }
    const before = runs[at.offset] ?? 0
    runs[at.offset] = before + 1
    const session = this.#session(life, place, at.offset)
    // What throws is not done, so it is not done again.
    if (this.#isPoison(at)) return
    if (before > 0) {
      this.reruns += 1
      this.#rerun.set(place, (this.#rerun.get(place) ?? 0) + 1)
    }
    session.next = at.offset + 1
  }

  #isPoison({ topic, partition, offset }: Place): boolean {
    if (topic !== names.input) return false
    this.#read(topic, partition)
    return this.orders.get(this.#inputs[partition]![offset]?.id ?? 0)?.does === 'poison'
  }

  /** (e) */
  saw(at: Place, state: State): void {
    if (this.#excused[at.partition]) return
    const isLoop = at.topic === names.loop
    const log = isLoop ? this.#loops[at.partition]! : this.#inputs[at.partition]!
    if (log.length <= at.offset) this.#read(at.topic, at.partition)
    for (let offset = 0; offset < at.offset; offset++) {
      const { key, id } = log[offset]!
      if (key !== at.key || (!isLoop && this.orders.get(id)?.does !== 'add')) continue
      const name = `${isLoop ? 'l' : 'i'}${id}`
      if (state.seen[name] !== undefined) continue
      const what = `the table of key ${key} lacks ${name} (offset ${offset})`
      this.#fail(`(e) ${at.topic}/${at.partition}: at offset ${at.offset} ${what}: ${JSON.stringify(state)}`)
    }
  }

  /** The group gave partitions to an instance. */
  assigned(life: Life, partitions: readonly number[]): void {
    this.ended(life)
    this.readTables()
    for (const partition of partitions) this.#owners[partition] = life.number
  }

  /** An instance is about to process a partition. */
  restored(life: Life, partition: number): void {
    this.#read(names.table, partition)
    if (this.#stale[partition]) this.#excused[partition] = true
    this.#restored[partition] = life.number
  }

  /** An instance is told that offsets are committed. */
  acknowledged(
    life: Life,
    at: { topic: string; partition: number; offset: number; generation: number; sentAt: number },
  ): void {
    const place = `${at.topic}/${at.partition}`
    const session = this.#sessions.get(life.number)?.get(place)
    if (session !== undefined) session.acked = Math.max(session.acked, at.offset)
    const where = `${place} in generation ${at.generation}`
    const last = this.#committers.get(where)
    if (last !== undefined && last.life.slot !== life.slot) {
      this.#fail(`(d) ${where} was committed by ${last.life.slot} and by ${life.slot}`)
    }
    if (last !== undefined && last.life.number > life.number && at.sentAt > last.answeredAt) {
      this.#fail(`(d) ${where} was committed by life ${life.number} of ${life.slot} after life ${last.life.number}`)
    }
    if (last === undefined || last.life.number <= life.number) {
      this.#committers.set(where, { life, answeredAt: this.#world.now })
    }
  }

  /** What an instance had not been told to be committed may be done again: it lost its partitions, or its life. */
  ended(life: Life, partitions?: readonly number[]): void {
    const sessions = this.#sessions.get(life.number)
    for (const [place, { next, acked }] of sessions ?? []) {
      if (partitions !== undefined && !partitions.includes(Number(place.slice(place.indexOf('/') + 1)))) continue
      this.#allowed.set(place, (this.#allowed.get(place) ?? 0) + Math.max(0, next - acked))
      sessions?.delete(place)
    }
  }

  /** An instance writes under this producer id. */
  producer(life: Life, producerId: number): void {
    this.#lifeOfProducer.set(producerId, life.number)
  }

  #session(life: Life, place: string, offset: number): Session {
    let sessions = this.#sessions.get(life.number)
    if (sessions === undefined) {
      sessions = new Map()
      this.#sessions.set(life.number, sessions)
    }
    let session = sessions.get(place)
    if (session === undefined) {
      session = { next: offset, acked: offset }
      sessions.set(place, session)
    }
    return session
  }

  // ── What the broker and the disks do ───────────────────────────────────────────────────────────────────────────────

  /** (a), right after the broker has taken a commit. */
  committed(): void {
    const committed = this.#cluster.broker.committedOffsets(names.group)
    for (const [topic, partitions] of committed) {
      for (const [partition, offset] of partitions) {
        const place = `${topic}/${partition}`
        const from = this.#checked.get(place) ?? 0
        if (offset < from) this.#fail(`(d) the committed offset of ${place} went back from ${from} to ${offset}`)
        if (offset <= from) continue
        this.#checked.set(place, offset)
        this.#read(topic, partition)
        this.readTables()
        this.#readOutputs()
        for (let at = from; at < offset; at++) this.#effects(topic, partition, at)
      }
    }
  }

  #effects(topic: string, partition: number, offset: number): void {
    const isLoop = topic === names.loop
    const record = (isLoop ? this.#loops : this.#inputs)[partition]![offset]
    const where = `(a) ${topic}/${partition}: ${offset + 1} is committed, but`
    if (record === undefined) {
      this.#fail(`${where} the log is shorter`)
      return
    }
    const order = this.orders.get(record.id)
    if (order === undefined) return
    if (isLoop) {
      if (!this.#counted.has(`${record.key} l${record.id}`)) this.#fail(`${where} the table lacks l${record.id}`)
      return
    }
    if (order.does === 'add' && !this.#counted.has(`${record.key} i${record.id}`)) {
      this.#fail(`${where} the changelog of ${record.key} lacks i${record.id}`)
    }
    if (sends(order) && order.emits && !this.#emitted.has(order.id)) this.#fail(`${where} ${order.id} was not emitted`)
    if (sends(order) && order.loops !== null && !this.#looped.has(order.id)) {
      this.#fail(`${where} ${order.id} was not looped`)
    }
  }

  /** New records of the tables, and who wrote them. */
  readTables(): void {
    for (let partition = 0; partition < this.#partitions; partition++) this.#read(names.table, partition)
  }

  /** (b), right after a store has taken a batch or was restored. */
  stored(store: Store, position: number): void {
    const partition = Number(store.name.slice(store.name.lastIndexOf('/') + 1))
    this.#read(names.table, partition)
    const changes = this.#changes[partition]!
    if (position > changes.length) {
      this.#fail(`(b) store ${store.name} is at ${position}, its changelog ends at ${changes.length}`)
      return
    }
    let fold = this.#folds.get(store)
    if (fold === undefined || fold.upTo > position) {
      fold = { upTo: 0, values: new Map() }
      this.#folds.set(store, fold)
    }
    this.#foldTo(partition, fold, position)
    const what = `(b) store ${store.name} at ${position}`
    if (this.#stale[partition]) this.#ahead(what, store, fold.values, changes.slice(position))
    else this.#same(what, store, fold.values)
  }

  /** While foreign records are being written over, the store has own records behind its position already. */
  #ahead(what: string, store: Store, expected: ReadonlyMap<string, string>, later: readonly Change[]): void {
    const found = new Map<string, string>()
    for (const [key, value] of store.entries()) found.set(key.toString(), value.toString())
    for (const key of new Set([...found.keys(), ...expected.keys()])) {
      const value = found.get(key)
      if (value === expected.get(key)) continue
      if (later.some((change) => change.key === key && change.value === (value ?? null))) continue
      this.#fail(`${what}: key ${key} is ${value}, its changelog says ${expected.get(key)}, and nothing else later`)
    }
  }

  #foldTo(partition: number, fold: Fold, position: number): void {
    const changes = this.#changes[partition]!
    for (; fold.upTo < position; fold.upTo++) {
      const { key, value } = changes[fold.upTo]!
      if (value === null) fold.values.delete(key)
      else fold.values.set(key, value)
    }
  }

  #same(what: string, store: Store, expected: ReadonlyMap<string, string>): void {
    let count = 0
    for (const [key, value] of store.entries()) {
      count += 1
      const text = value.toString()
      if (expected.get(key.toString()) === text) continue
      this.#fail(`${what}: key ${key.toString()} is ${text}, its changelog says ${expected.get(key.toString())}`)
      return
    }
    if (count !== expected.size) this.#fail(`${what} has ${count} keys, its changelog ${expected.size}`)
  }

  /** The table that the changelog tells. */
  table(partition: number): Map<string, string> {
    this.#read(names.table, partition)
    const fold: Fold = { upTo: 0, values: new Map() }
    this.#foldTo(partition, fold, this.#changes[partition]!.length)
    return fold.values
  }

  // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Everything was drained and committed. `calm`: nothing that happened can cost anything. */
  final(calm: boolean): void {
    this.committed()
    for (let partition = 0; partition < this.#partitions; partition++) this.#finalPartition(partition)
    this.#finalReruns(calm)
  }

  /** A store of a running instance, after the end: it is the table, also where stale writes had to be repaired. */
  finalStore(store: Store): void {
    const partition = Number(store.name.slice(store.name.lastIndexOf('/') + 1))
    this.#same(`end: running store ${store.name}`, store, this.table(partition))
  }

  #finalPartition(partition: number): void {
    this.#read(names.input, partition)
    this.#read(names.loop, partition)
    const states = new Map<string, State>()
    for (const [key, value] of this.table(partition)) states.set(key, JSON.parse(value) as State)
    const expectedLast = new Map<string, number>()
    const runs = this.#runs.get(`${names.input}/${partition}`) ?? []
    for (const [offset, { key, id }] of this.#inputs[partition]!.entries()) {
      const order = this.orders.get(id)
      if (order === undefined) continue
      const state = states.get(key)
      const where = `end: ${names.input}/${partition} offset ${offset}, key ${key}, ${order.does} ${id}`
      if (order.does === 'put') expectedLast.set(key, id)
      if (order.does === 'drop') expectedLast.set(key, 0)
      const times = state?.seen[`i${id}`] ?? 0
      if (order.does === 'add' && times === 0 && !this.#excused[partition]) this.#fail(`${where} is lost`)
      if (times > (runs[offset] ?? 0)) this.#fail(`${where} is counted ${times} times, was processed ${runs[offset]}`)
      if (sends(order) && order.emits && !this.#emitted.has(id)) this.#fail(`${where}: its output is lost`)
    }
    for (const { key, id } of this.#loops[partition]!) {
      if (id < 0) this.#fail(`end: a callback that threw has looped ${-id}`)
      const isLost = states.get(key)?.seen[`l${id}`] === undefined && !this.#excused[partition]
      if (isLost) this.#fail(`end: the loop record of ${id} to ${key} is lost`)
    }
    for (const [key, state] of states) {
      if (state.last < 0 || Object.keys(state.seen).some((name) => name.startsWith('bad'))) {
        this.#fail(`end: key ${key} has what no callback has set: ${JSON.stringify(state)}`)
      }
    }
    for (const [key, last] of expectedLast) {
      if ((states.get(key)?.last ?? 0) !== last && !this.#excused[partition]) {
        this.#fail(`end: key ${key} was last set by ${last}, but is ${JSON.stringify(states.get(key))}`)
      }
    }
    for (const id of this.#emitted.keys()) if (id < 0) this.#fail(`end: a callback that threw has emitted ${-id}`)
  }

  #finalReruns(calm: boolean): void {
    for (const life of this.#sessions.keys()) this.ended({ slot: '', number: life })
    for (const [place, times] of this.#rerun) {
      const allowed = calm ? 0 : (this.#allowed.get(place) ?? 0)
      if (times > allowed)
        this.#fail(`end: ${place}: ${times} records were processed again, ${allowed} uncommitted were lost`)
    }
  }

  // ── Reading the logs ───────────────────────────────────────────────────────────────────────────────────────────────

  #read(topic: string, partition: number): void {
    switch (topic) {
      case names.input:
        for (const record of this.#newRecords(topic, partition, this.#inputs[partition]!.length)) {
          const { id } = JSON.parse(String(record.value)) as Order
          this.#inputs[partition]!.push({ key: String(record.key), id })
        }
        break
      case names.loop:
        for (const record of this.#newRecords(topic, partition, this.#loops[partition]!.length)) {
          const id = Number(String(record.value))
          this.#looped.add(id)
          this.#loops[partition]!.push({ key: String(record.key), id })
        }
        break
      case names.table:
        for (const record of this.#newRecords(topic, partition, this.#changes[partition]!.length)) {
          this.#changed(partition, record)
        }
    }
  }

  #changed(partition: number, { key, value, producerId }: LoggedRecord): void {
    const change = { key: String(key), value: value === null ? null : value.toString(), producerId }
    this.#changes[partition]!.push(change)
    const life = this.#lifeOfProducer.get(producerId) ?? -1
    if (life !== this.#owners[partition]) {
      this.staleWrites += 1
      this.#stale[partition] = true
      if (this.#restored[partition] !== this.#owners[partition]) this.#excused[partition] = true
      this.#world.note(`life ${life} writes to table partition ${partition} of life ${this.#owners[partition]}`)
    }
    if (change.value === null) return
    for (const name of Object.keys((JSON.parse(change.value) as State).seen)) this.#counted.add(`${change.key} ${name}`)
  }

  #readOutputs(): void {
    for (let partition = 0; partition < this.#partitions; partition++) {
      for (const record of this.#newRecords(names.output, partition, this.#outputRead[partition]!)) {
        const id = Number(String(record.value))
        this.#emitted.set(id, (this.#emitted.get(id) ?? 0) + 1)
        this.#outputRead[partition]! += 1
      }
      this.#read(names.loop, partition)
    }
  }

  #newRecords(topic: string, partition: number, from: number): readonly LoggedRecord[] {
    const { broker } = this.#cluster
    if (broker.offsets(topic, partition).next <= from) return []
    return broker.records(topic, partition).slice(from)
  }

  #fail(message: string): void {
    this.#world.fail(new Error(message))
  }
}

function sends(order: Order): boolean {
  return order.does === 'add' || order.does === 'put' || order.does === 'drop'
}
