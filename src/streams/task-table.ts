/**
 * TaskTable: one table of one task: its entries, the generation being filled, the one being committed, and the store
 * behind both. Reads go entry → generation bytes → store.
 *
 * A generation is what one checkpoint writes. `cut` freezes the current one and starts the next in constant time, so
 * records go on being processed while the frozen one is encoded, sent and stored:
 *
 *   cut → encodeSome* (one changelog record per dirty key) → all acknowledged → storeSome* → retire
 *
 * A value is encoded at the checkpoint, unless its object is about to be handed out again: a callback may change it in
 * place, so its bytes are taken first. Such an object is dropped at the end of the callback when it was not `set`.
 * Owner of the entries, the arenas and the store: this object.
 */
import { assert } from '../base/assert.ts'
import type { Span, Store, StoreBatch } from '../storage/index.ts'
import { ByteWriter } from './byte-writer.ts'
import { type Codec, decodeFrom, encodeTo } from './codec.ts'
import { type Entry, EntryTable, held, notEncoded, tombstone } from './entries.ts'

/** What one checkpoint writes of one table. Two exist and take turns. */
class Generation {
  number = 0
  readonly arena = new ByteWriter(64 * 1024)
  readonly dirty: Entry[] = []

  reset(number: number): void {
    this.number = number
    this.dirty.length = 0
    this.arena.reset(4 * 1024 * 1024)
  }
}

/** Receives the changelog record of one dirty key; a value from −1 is a deletion. */
export type ChangelogWriter = (entry: Entry, keys: Buffer, values: Buffer, valueFrom: number, valueTo: number) => void

export class TaskTable {
  readonly topic: string
  readonly partition: number
  readonly store: Store
  readonly entries: EntryTable
  readonly codec: Codec<unknown>
  readonly #span: Span
  #current = new Generation()
  #frozen = new Generation()
  /** Whether the frozen generation still counts: its bytes are not in the store yet. */
  #committing = false
  /** Next dirty entry of the frozen generation to encode, then to store. */
  #next = 0
  #batch: StoreBatch | undefined

  constructor(topic: string, partition: number, codec: Codec<unknown>, store: Store, hashSeed: number, span: Span) {
    this.topic = topic
    this.partition = partition
    this.store = store
    this.entries = new EntryTable(hashSeed)
    this.codec = codec
    this.#span = span
    this.#current.reset(1)
  }

  /** Keys set since the last cut. */
  get dirtyCount(): number {
    return this.#current.dirty.length
  }

  /** Encoded bytes held by both generations and the cache: what a memory limit counts. */
  get bufferedBytes(): number {
    return this.#current.arena.at + this.#current.dirty.length * 64
  }

  /** Whether objects of this codec must be protected against changes in place. */
  get mutable(): boolean {
    return this.codec.immutable !== true
  }

  /** The current value of an entry, decoded; undefined if there is none. The object is handed out: see the file's head. */
  read(entry: Entry): unknown {
    if (entry.held === held.unknown) this.#load(entry)
    if (entry.held === held.absent) return undefined
    if (this.mutable) this.#encodeIfDirty(entry)
    return entry.value
  }

  /** Forgets a handed-out object that was not set: the bytes are the truth. */
  dropDecoded(entry: Entry): void {
    if (entry.held !== held.value) return
    entry.held = held.unknown
    entry.value = undefined
  }

  /** Sets the value (undefined: deletes it) in the current generation. */
  write(entry: Entry, value: unknown, timestamp: number, inputIndex: number, inputOffset: number): void {
    this.#markDirty(entry)
    entry.from = value === undefined ? tombstone : notEncoded
    entry.held = value === undefined ? held.absent : held.value
    entry.value = value
    entry.timestamp = timestamp
    entry.inputIndex = inputIndex
    entry.inputOffset = inputOffset
  }

  /**
   * Marks a key dirty without a new value: a foreign write to its changelog is overwritten by the next checkpoint. Works on
   * bytes: the decoded object may be in the hands of a callback that is still running.
   */
  reassert(key: Buffer, from: number, to: number, timestamp: number): void {
    const entry = this.entries.entry(key, from, to)
    const current = this.#current
    if (entry.generation === current.number) return
    const at = current.arena.at
    const known = this.#appendBytes(entry, current.arena)
    this.#markDirty(entry)
    entry.from = known ? at : tombstone
    entry.to = current.arena.at
    entry.timestamp = timestamp
    entry.inputIndex = -1
    entry.inputOffset = -1
  }

  /** Freezes what was set so far. The generation before must have been retired. */
  cut(): void {
    assert(!this.#committing, 'a table was cut while a generation was being committed')
    const frozen = this.#current
    this.#current = this.#frozen
    this.#frozen = frozen
    this.#current.reset(frozen.number + 1)
    this.#committing = true
    this.#next = 0
  }

  /**
   * Encodes up to `count` dirty keys of the frozen generation and hands each to `write`. True when all are done.
   * Throws CodecError of a value that its codec refuses only now; `failing` then is its entry.
   */
  encodeSome(count: number, write: ChangelogWriter): boolean {
    const { dirty, arena, number } = this.#frozen
    const end = Math.min(dirty.length, this.#next + count)
    while (this.#next < end) {
      const entry = dirty[this.#next]!
      if (entry.generation === number) {
        this.#encode(entry, this.#frozen)
        write(entry, this.entries.keyBytes, arena.bytes, entry.from, entry.to)
      } else {
        assert(entry.previousGeneration === number, 'a dirty entry has lost its generation')
        write(entry, this.entries.keyBytes, arena.bytes, entry.previousFrom, entry.previousTo)
      }
      this.#next += 1
    }
    if (this.#next < dirty.length) return false
    this.#next = 0
    return true
  }

  /** The entry at which `encodeSome` threw. */
  get failing(): Entry | undefined {
    return this.#frozen.dirty[this.#next]
  }

  /** The entry of the frozen generation whose record is the largest, once all are encoded; undefined when it is empty. */
  largest(): { readonly entry: Entry; readonly bytes: number } | undefined {
    let found: { readonly entry: Entry; readonly bytes: number } | undefined
    const { dirty, number } = this.#frozen
    for (const entry of dirty) {
      const now = entry.generation === number
      const value = now ? entry.to - entry.from : entry.previousTo - entry.previousFrom
      const bytes = entry.keyTo - entry.keyFrom + ((now ? entry.from : entry.previousFrom) < 0 ? 0 : value)
      if (found === undefined || bytes > found.bytes) found = { entry, bytes }
    }
    return found
  }

  /** Puts up to `count` keys of the frozen generation into the open store batch. True when all are in. */
  storeSome(count: number): boolean {
    this.#batch ??= this.store.writer()
    const batch = this.#batch
    const { dirty, arena, number } = this.#frozen
    const keys = this.entries.keyBytes
    const end = Math.min(dirty.length, this.#next + count)
    while (this.#next < end) {
      const entry = dirty[this.#next]!
      const now = entry.generation === number
      const from = now ? entry.from : entry.previousFrom
      const to = now ? entry.to : entry.previousTo
      if (from === tombstone) batch.delete(0, keys, entry.keyFrom, entry.keyTo)
      else batch.put(0, keys, entry.keyFrom, entry.keyTo, arena.bytes, from, to)
      this.#next += 1
    }
    return this.#next >= dirty.length
  }

  /** Applies the store batch with its checkpoint and ends the frozen generation. */
  retire(position: number, state: Buffer): void {
    const batch = this.#batch ?? this.store.writer()
    this.#batch = undefined
    const last = this.store.checkpoint
    const news = batch.count > 0 || last?.position !== position || !last.state.equals(state)
    // On disk a checkpoint that says nothing new would be written all the same.
    if (news) batch.commit({ position, state })
    const { dirty, number } = this.#frozen
    for (let i = 0; i < dirty.length; i++) {
      const entry = dirty[i]!
      if (entry.previousGeneration === number) entry.previousGeneration = 0
      else if (entry.generation === number) entry.generation = 0
    }
    this.#committing = false
    this.#frozen.reset(0)
  }

  /** The task ends: a batch that was not applied is forgotten. */
  abandon(): void {
    this.#batch?.abandon()
    this.#batch = undefined
  }

  /** Drops clean entries above the cache's budget. */
  evict(budgetBytes: number): number {
    return this.entries.evict(budgetBytes, keepDirty)
  }

  /** The stored bytes of a key as of the last checkpoint: what queries see. */
  stored(key: Buffer): unknown {
    if (!this.store.getSync(0, key, 0, key.length, this.#span)) return undefined
    return decodeFrom(this.codec, this.#span.bytes, this.#span.from, this.#span.to)
  }

  /** Makes the entry part of the current generation; what it was in the one being committed stays known. */
  #markDirty(entry: Entry): void {
    const current = this.#current
    if (entry.generation === current.number) return
    if (this.#committing && entry.generation === this.#frozen.number) {
      this.#encode(entry, this.#frozen)
      entry.previousGeneration = entry.generation
      entry.previousFrom = entry.from
      entry.previousTo = entry.to
    }
    entry.generation = current.number
    current.dirty.push(entry)
  }

  /** Copies the encoded value of an entry that is not in the current generation. False: it has none. */
  #appendBytes(entry: Entry, to: ByteWriter): boolean {
    if (this.#committing && entry.generation === this.#frozen.number) {
      this.#encode(entry, this.#frozen)
      if (entry.from === tombstone) return false
      to.append(this.#frozen.arena.bytes.subarray(entry.from, entry.to))
      return true
    }
    const span = this.#span
    if (!this.store.getSync(0, this.entries.keyBytes, entry.keyFrom, entry.keyTo, span)) return false
    to.append(span.bytes.subarray(span.from, span.to))
    return true
  }

  #load(entry: Entry): void {
    if (entry.generation === this.#current.number) this.#loadFrom(entry, this.#current)
    else if (this.#committing && entry.generation === this.#frozen.number) this.#loadFrom(entry, this.#frozen)
    else if (this.store.getSync(0, this.entries.keyBytes, entry.keyFrom, entry.keyTo, this.#span)) {
      entry.value = decodeFrom(this.codec, this.#span.bytes, this.#span.from, this.#span.to)
      entry.held = held.value
    } else entry.held = held.absent
  }

  #loadFrom(entry: Entry, generation: Generation): void {
    if (entry.from === tombstone) {
      entry.held = held.absent
      return
    }
    assert(entry.from !== notEncoded, 'a dirty entry has neither value nor bytes')
    entry.value = decodeFrom(this.codec, generation.arena.bytes, entry.from, entry.to)
    entry.held = held.value
  }

  #encodeIfDirty(entry: Entry): void {
    if (entry.from !== notEncoded) return
    if (entry.generation === this.#current.number) this.#encode(entry, this.#current)
    else if (this.#committing && entry.generation === this.#frozen.number) this.#encode(entry, this.#frozen)
  }

  #encode(entry: Entry, generation: Generation): void {
    if (entry.from !== notEncoded) return
    const from = generation.arena.at
    encodeTo(this.codec, entry.value, generation.arena)
    entry.from = from
    entry.to = generation.arena.at
  }
}

function keepDirty(entry: Entry): boolean {
  return entry.generation !== 0 || entry.previousGeneration !== 0
}
