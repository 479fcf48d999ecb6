/**
 * One run of the model test: random operations on a log store and on an array of values, and whatever can be read must
 * be equal. The run ends with a shutdown, a reopening and a read of everything.
 */
import * as assert from 'uvu/assert'
import { type BulkLoad, type Checkpoint, type LogStore, type Snapshot, StoreError } from '../../../src/storage/index.ts'
import type { SeededRandom } from '../../sim/random.ts'
import { rejects } from '../../support/suite.ts'
import { checkpointAt, thrown } from '../contract.ts'
import { type ModelKey, modelKey, someBytes, someValue, type Universe } from './model-keys.ts'
import { advance, checkAll, checkGet, type OpenIterator, someRange, type Values } from './model-state.ts'

/** Where the store of a run lives. */
export interface ModelWorld {
  readonly writeBufferBytes: number
  open(): Promise<LogStore>
  /** Closes the store. Rejects when background work failed. */
  close(): Promise<void>
  /** A turn of the event loop. */
  turn(): Promise<void>
  /** Waits for a promise, with as many turns as it takes. */
  drive<T>(promise: Promise<T>): Promise<T>
}

interface OpenSnapshot {
  readonly snapshot: Snapshot
  readonly values: Values
  readonly checkpoint: Checkpoint | undefined
}

export class ModelRun {
  /** Operations so far. */
  operations = 0
  /** How often each kind of step came. */
  readonly steps = new Map<string, number>()
  readonly #random: SeededRandom
  readonly #world: ModelWorld
  readonly #universe: Universe
  #store!: LogStore
  #values: (Buffer | undefined)[]
  #checkpoint: Checkpoint | undefined
  #position = 0
  /** Operations of the open batch. */
  #staged: [index: number, value: Buffer | undefined][] = []
  #load: BulkLoad | undefined
  #loadCheckpoint: Checkpoint | undefined
  #snapshots: OpenSnapshot[] = []
  #iterators: OpenIterator[] = []
  /** Flushes and syncs that nobody has waited for yet. */
  #background: Promise<void>[] = []
  /** Half of the writes go to this share of the keys. */
  #hot = 0

  constructor(random: SeededRandom, world: ModelWorld, universe: Universe) {
    this.#random = random
    this.#world = world
    this.#universe = universe
    this.#values = universe.keys.map(() => undefined)
  }

  async start(): Promise<void> {
    this.#store = await this.#world.drive(this.#world.open())
  }

  async step(): Promise<void> {
    const kinds: readonly [share: number, kind: string, run: () => Promise<void> | void][] = [
      [24, 'stage', () => this.#stage()],
      [8, 'end batch', () => this.#endBatch()],
      [8, 'single writes', () => this.#writeSingly()],
      [5, 'load', () => this.#bulkLoad()],
      [22, 'read', () => this.#read()],
      [3, 'read many', () => this.#readMany()],
      [6, 'scan range', () => this.#scanRange()],
      [3, 'open iterator', () => this.#openIterator()],
      [4, 'advance iterators', () => this.#advanceIterators()],
      [2, 'open snapshot', () => this.#openSnapshot()],
      [2, 'release snapshot', () => this.#releaseSnapshot()],
      [8, 'turns', () => this.#turns()],
      [1.5, 'flush', () => this.#flush()],
      [0.7, 'sync', () => this.#sync()],
      [0.7, 'order', () => this.#order()],
      [0.7, 'delete many', () => this.#deleteMany()],
      [0.6, 'count', () => this.#checkCounts()],
      [0.5, 'scan all', () => this.#scanAll()],
      [0.3, 'refused', () => this.#refused()],
      [0.15, 'reopen', () => this.#reopen()],
      [0.1, 'clear', () => this.#clear()],
    ]
    let dice = this.#random.next() * kinds.reduce((sum, [share]) => sum + share, 0)
    let chosen = 0
    for (; chosen < kinds.length - 1 && dice >= kinds[chosen]![0]; chosen++) dice -= kinds[chosen]![0]
    const [, kind, run] = kinds[chosen]!
    this.steps.set(kind, (this.steps.get(kind) ?? 0) + 1)
    await run()
    assert.equal(this.#store.checkpoint, this.#checkpoint, 'checkpoint')
  }

  // --- writing

  #index(): number {
    const { length } = this.#universe.keys
    const hot = Math.max(1, Math.floor(length / 20))
    if (this.#random.chance(0.01)) this.#hot = this.#random.int(length)
    return this.#random.chance(0.5) ? (this.#hot + this.#random.int(hot)) % length : this.#random.int(length)
  }

  #change(): [index: number, value: Buffer | undefined] {
    const random = this.#random
    this.operations += 1
    return [this.#index(), random.chance(0.25) ? undefined : someValue(random, this.#world.writeBufferBytes)]
  }

  #apply(
    target: Pick<LogStore, 'put' | 'delete'>,
    index: number,
    value: Buffer | undefined,
    { space, padded }: ModelKey = this.#universe.keys[index]!,
  ): void {
    if (value === undefined) target.delete(space, padded, 1, padded.length - 1)
    else target.put(space, padded, 1, padded.length - 1, value, 0, value.length)
  }

  #stage(): void {
    if (this.#load !== undefined) return
    for (let left = 1 + this.#random.int(12); left > 0; left--) {
      const [index, value] = this.#change()
      this.#apply(this.#store.writer(), index, value)
      this.#staged.push([index, value])
    }
  }

  #endBatch(): void {
    if (this.#load !== undefined) return
    const random = this.#random
    const batch = this.#store.writer()
    this.operations += 1
    if (random.chance(0.15)) batch.abandon()
    else {
      const checkpoint = random.chance(0.8) ? this.#nextCheckpoint() : undefined
      batch.commit(checkpoint)
      for (const [index, value] of this.#staged) this.#values[index] = value
      this.#checkpoint = checkpoint ?? this.#checkpoint
    }
    this.#staged = []
    assert.is(batch.count, 0)
    assert.is(batch.byteLength, 0)
  }

  #nextCheckpoint(): Checkpoint {
    this.#position += 1 + this.#random.int(3)
    return checkpointAt(this.#position, someBytes(this.#random, this.#random.pick([0, 0, 5, 40, 1024])))
  }

  #writeSingly(): void {
    if (this.#load !== undefined) return
    if (this.#staged.length > 0) this.#endBatch()
    for (let left = 1 + this.#random.int(8); left > 0; left--) {
      const [index, value] = this.#change()
      this.#apply(this.#store, index, value)
      this.#values[index] = value
    }
  }

  #bulkLoad(): void {
    const random = this.#random
    if (this.#load === undefined) {
      if (random.chance(0.6)) return
      this.#endStaged()
      this.#load = this.#store.bulkLoad()
      this.#loadCheckpoint = this.#checkpoint
    }
    const load = this.#load
    for (let left = random.int(60); left > 0; left--) {
      const [index, value] = this.#change()
      this.#apply(load, index, value)
      this.#values[index] = value
    }
    if (random.chance(0.4)) {
      this.#loadCheckpoint = this.#nextCheckpoint()
      load.advance(this.#loadCheckpoint)
    }
    if (random.chance(0.4)) this.#endLoad()
    this.#checkpoint = this.#loadCheckpoint
  }

  #endLoad(): void {
    const load = this.#load
    if (load === undefined) return
    this.#load = undefined
    if (this.#random.chance(0.3)) load.abandon()
    else {
      this.#checkpoint = this.#nextCheckpoint()
      this.#loadCheckpoint = this.#checkpoint
      load.finish(this.#checkpoint)
    }
    thrown(() => load.advance(checkpointAt(1)), 'ERR_STORE_CLOSED')
  }

  #deleteMany(): void {
    if (this.#load !== undefined) return
    this.#endStaged()
    const share = this.#random.next()
    this.#values.forEach((value, index) => {
      if (value === undefined || !this.#random.chance(share)) return
      this.operations += 1
      this.#apply(this.#store.writer(), index, undefined)
      this.#staged.push([index, undefined])
    })
    this.#endBatch()
  }

  #endStaged(): void {
    if (this.#staged.length > 0) this.#endBatch()
  }

  /** What is not allowed now is refused, and changes nothing. */
  #refused(): void {
    const store = this.#store
    if (this.#load !== undefined) {
      thrown(() => store.bulkLoad(), 'ERR_STORE_BATCH')
      thrown(() => store.clear(), 'ERR_STORE_BATCH')
      thrown(() => this.#apply(store, 0, this.#universe.keys[0]!.key), 'ERR_STORE_BATCH')
    } else if (this.#staged.length > 0 && store.writer().count > 0) {
      thrown(() => store.bulkLoad(), 'ERR_STORE_BATCH')
      thrown(() => store.clear(), 'ERR_STORE_BATCH')
      thrown(() => this.#apply(store, 0, this.#universe.keys[0]!.key), 'ERR_STORE_BATCH')
    } else {
      const wrong = modelKey(16, Buffer.from('k'))
      thrown(() => this.#apply(store.writer(), 0, wrong.key, wrong), 'ERR_STORE_SPACE')
      thrown(() => store.writer().commit(), 'ERR_STORE_BATCH')
      store.writer().abandon()
      this.#staged = []
    }
  }

  // --- reading

  #views(): { reader: LogStore | Snapshot; values: Values }[] {
    const snapshots = this.#snapshots.map(({ snapshot, values }) => ({ reader: snapshot, values }))
    return [{ reader: this.#store, values: this.#values }, ...snapshots]
  }

  #read(): void {
    const { keys, absent } = this.#universe
    for (const { reader, values } of this.#views()) {
      for (let left = 2; left > 0; left--) {
        this.operations += 1
        const index = this.#index()
        checkGet(reader, keys[index]!, values[index])
      }
      if (absent.length > 0) checkGet(reader, this.#random.pick(absent), undefined)
    }
  }

  /** What is there at the moment of the call, whenever the answer comes. */
  async #readMany(): Promise<void> {
    const random = this.#random
    const { keys } = this.#universe
    const { space } = random.pick(keys)
    const some = Array.from({ length: random.int(40) }, () => this.#index()).filter((i) => keys[i]!.space === space)
    const expected = some.map((i) => this.#values[i])
    const asked = some.map((i) => keys[i]!.key)
    const options = { space, concurrency: 1 + random.int(6) }
    if (random.chance(0.3)) await this.#await(this.#store.prefetch(asked, options))
    else await this.#await(this.#store.getMany(asked, options).then((values) => assert.equal(values, expected)))
  }

  #scanRange(): void {
    const { reader, values } = this.#random.pick(this.#views())
    const { range, left } = someRange(this.#random, this.#universe, values)
    this.operations += 1 + left.length
    advance({ iterator: reader.iterate(range), left }, Number.POSITIVE_INFINITY)
  }

  #scanAll(): void {
    for (const { reader, values } of this.#views()) {
      checkAll(reader, this.#universe, values, this.#random.chance(0.5))
      this.operations += values.length
    }
  }

  #openIterator(): void {
    const { reader, values } = this.#random.pick(this.#views().slice(0, 1))
    const { range, left } = someRange(this.#random, this.#universe, values)
    this.#iterators.push({ iterator: reader.iterate(range), left })
    this.operations += 1
    if (this.#iterators.length > 5) this.#iterators.shift()?.iterator.close()
  }

  #advanceIterators(): void {
    this.#iterators = this.#iterators.filter((open) => {
      const count = this.#random.int(40)
      this.operations += count
      return advance(open, count)
    })
  }

  #openSnapshot(): void {
    if (this.#snapshots.length > 3) this.#releaseSnapshot()
    this.operations += 1
    const snapshot = this.#store.snapshot()
    this.#snapshots.push({ snapshot, values: [...this.#values], checkpoint: this.#checkpoint })
  }

  #releaseSnapshot(): void {
    if (this.#snapshots.length === 0) return
    const [gone] = this.#snapshots.splice(this.#random.int(this.#snapshots.length), 1)
    const { snapshot, checkpoint } = gone!
    assert.equal(snapshot.checkpoint, checkpoint)
    this.operations += 1
    snapshot.release()
    thrown(() => snapshot.has('key'), 'ERR_STORE_CLOSED')
  }

  #checkCounts(): void {
    for (const { reader, values } of this.#views()) {
      const expected = values.reduce((count, value) => (value === undefined ? count : count + 1), 0)
      const { entryCount } = reader
      const close = Math.abs(entryCount - expected) <= 30 + 0.25 * expected
      assert.ok(close, `entryCount is ${entryCount}, but there are ${expected}`)
    }
    const { openSnapshots } = this.#store.stats()
    assert.is(openSnapshots, this.#snapshots.length + this.#iterators.length)
  }

  // --- background work and ends

  async #turns(): Promise<void> {
    for (let left = 1 + this.#random.int(4); left > 0; left--) await this.#world.turn()
  }

  #order(): void {
    const job = this.#store.ordering(this.#random.int(16))
    for (let left = this.#random.int(20); left > 0; left--) if (job?.step(this.#random.int(3000)) !== false) return
  }

  /** Waits now or later. */
  async #await(promise: Promise<void>): Promise<void> {
    this.operations += 1
    if (this.#random.chance(0.5)) await this.#world.drive(promise)
    else {
      const settled = promise.catch((error: unknown) => {
        // It may be closed before it is done.
        if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_CLOSED') throw error
      })
      this.#background.push(settled)
    }
  }

  async #flush(): Promise<void> {
    if (this.#load !== undefined) {
      await rejects(this.#store.flush(), 'ERR_STORE_BATCH')
      return
    }
    this.#endStaged()
    await this.#await(this.#store.flush())
  }

  #sync(): Promise<void> {
    return this.#await(this.#store.sync())
  }

  #clear(): void {
    this.#endLoad()
    this.#endStaged()
    this.#store.clear()
    this.#values.fill(undefined)
    this.#checkpoint = undefined
    this.#loadCheckpoint = undefined
    this.operations += 1
  }

  async #reopen(): Promise<void> {
    this.operations += 1
    const { drive } = this.#world
    // Closing drops an open batch, and ends a load where it is.
    this.#staged = []
    this.#load = undefined
    await drive(this.#world.close())
    for (const { iterator, left } of this.#iterators) {
      if (left.length > 0) thrown(() => iterator.next(), 'ERR_STORE_CLOSED')
      iterator.close()
    }
    for (const { snapshot } of this.#snapshots) {
      thrown(() => snapshot.has('key'), 'ERR_STORE_CLOSED')
      snapshot.release()
    }
    await drive(Promise.all(this.#background))
    this.#iterators = []
    this.#snapshots = []
    this.#background = []
    this.#store = await drive(this.#world.open())
    assert.equal(this.#store.checkpoint, this.#checkpoint, 'checkpoint after the store was opened again')
    checkAll(this.#store, this.#universe, this.#values, false)
  }

  async finish(): Promise<void> {
    this.#scanAll()
    for (const open of this.#iterators) advance(open, Number.POSITIVE_INFINITY)
    this.#iterators = []
    await this.#reopen()
    for (const [index, one] of this.#universe.keys.entries()) checkGet(this.#store, one, this.#values[index])
    assert.is(this.#store.stats().openSnapshots, 0)
    await this.#world.drive(this.#world.close())
  }
}
