/**
 * A log store with the interface of abstract-level, so that its public suite can judge the engine. What the engine does
 * not have, the manifest does not name: opening only if it exists, or only if it does not.
 */
import { AbstractIterator, AbstractLevel, AbstractSnapshot } from 'abstract-level'
import {
  LogEngine,
  type LogStore,
  type Snapshot,
  type StoreIterator,
  type StoreRange,
} from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { SimFs } from '../support/sim-fs.ts'

/** A range as abstract-level gives it, encoded: of each pair the one that includes the bound counts. */
interface Range {
  readonly gt?: Buffer
  readonly gte?: Buffer
  readonly lt?: Buffer
  readonly lte?: Buffer
  readonly reverse?: boolean
  readonly limit?: number
}
interface ReadOptions {
  readonly snapshot?: MillraceSnapshot
}
interface IteratorOptions extends Range, ReadOptions {
  readonly keys: boolean
  readonly values: boolean
}
type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer }

/** How the engine is used. */
export interface MillraceLevelOptions {
  /** After each write everything becomes tables, and reads come from these. */
  readonly flushes: boolean
}

export class MillraceLevel extends AbstractLevel<Buffer> {
  /** A disk for each: closing and opening again finds it. */
  readonly #fs = new SimFs()
  readonly #use: MillraceLevelOptions
  #engine: LogEngine | undefined
  #open: LogStore | undefined

  constructor(use: MillraceLevelOptions, options?: Record<string, unknown>) {
    const manifest = {
      encodings: { buffer: true },
      implicitSnapshots: true,
      explicitSnapshots: true,
      permanence: true,
      seek: true,
      has: true,
      getSync: true,
      createIfMissing: false,
      errorIfExists: false,
    }
    super(manifest as ConstructorParameters<typeof AbstractLevel>[0], options)
    this.#use = use
  }

  get #store(): LogStore {
    if (this.#open === undefined) throw new Error('it is not open')
    return this.#open
  }

  async _open(): Promise<void> {
    this.#engine = new LogEngine({
      dir: '/',
      fs: this.#fs,
      sync: 'never',
      random: new SeededRandom(1),
      writeBufferBytes: 4096,
    })
    this.#open = await this.#engine.open({ group: 'level', table: 'level', partition: 0 })
  }

  async _close(): Promise<void> {
    await this.#engine?.close()
    this.#engine = undefined
    this.#open = undefined
  }

  async #written(): Promise<void> {
    if (this.#use.flushes) await this.#store.flush()
  }

  _getSync(key: Buffer, { snapshot }: ReadOptions): Buffer | undefined {
    return (snapshot?.snapshot ?? this.#store).get(key)
  }

  async _get(key: Buffer, options: ReadOptions): Promise<Buffer | undefined> {
    return this._getSync(key, options)
  }

  async _getMany(keys: readonly Buffer[], options: ReadOptions): Promise<(Buffer | undefined)[]> {
    return keys.map((key) => this._getSync(key, options))
  }

  async _has(key: Buffer, { snapshot }: ReadOptions): Promise<boolean> {
    return (snapshot?.snapshot ?? this.#store).has(key)
  }

  async _hasMany(keys: readonly Buffer[], { snapshot }: ReadOptions): Promise<boolean[]> {
    return keys.map((key) => (snapshot?.snapshot ?? this.#store).has(key))
  }

  async _put(key: Buffer, value: Buffer): Promise<void> {
    this.#store.put(0, key, 0, key.length, value, 0, value.length)
    await this.#written()
  }

  async _del(key: Buffer): Promise<void> {
    this.#store.delete(0, key, 0, key.length)
    await this.#written()
  }

  async _batch(operations: readonly Operation[]): Promise<void> {
    const batch = this.#store.writer()
    for (const one of operations) {
      const { key } = one
      if (one.type === 'del') batch.delete(0, key, 0, key.length)
      else batch.put(0, key, 0, key.length, one.value, 0, one.value.length)
    }
    batch.commit()
    await this.#written()
  }

  async _clear(options: Range & ReadOptions): Promise<void> {
    const iterator = (options.snapshot?.snapshot ?? this.#store).iterate(storeRange(options))
    const batch = this.#store.writer()
    const { limit = -1 } = options
    for (let count = 0; count !== limit && iterator.next(); count++) {
      const { bytes, from, to } = iterator.key
      batch.delete(0, bytes, from, to)
    }
    iterator.close()
    batch.commit()
    await this.#written()
  }

  _iterator(options: IteratorOptions): MillraceIterator {
    return new MillraceIterator(this, options, options.snapshot?.snapshot ?? this.#store)
  }

  _snapshot(options: ConstructorParameters<typeof MillraceSnapshot>[0]): MillraceSnapshot {
    return new MillraceSnapshot(options, this.#store.snapshot())
  }
}

class MillraceSnapshot extends AbstractSnapshot {
  readonly snapshot: Snapshot

  constructor(options: { readonly owner: unknown }, snapshot: Snapshot) {
    // Its types leave out what an implementation passes on.
    super(...([options] as unknown as []))
    this.snapshot = snapshot
  }

  async _close(): Promise<void> {
    this.snapshot.release()
  }
}

type Entry = [key: Buffer | undefined, value: Buffer | undefined]

class MillraceIterator extends AbstractIterator<MillraceLevel, Buffer, Buffer> {
  readonly #options: IteratorOptions
  /** Its own, if it was not given one: for seeking. */
  readonly #own: Snapshot | undefined
  readonly #snapshot: Snapshot
  #iterator: StoreIterator | undefined

  constructor(db: MillraceLevel, options: IteratorOptions, source: LogStore | Snapshot) {
    super(db, options as ConstructorParameters<typeof AbstractIterator<MillraceLevel, Buffer, Buffer>>[1])
    this.#options = options
    if ('snapshot' in source) {
      this.#own = source.snapshot()
      this.#snapshot = this.#own
      this.#iterator = source.iterate(storeRange(options))
    } else this.#snapshot = source
  }

  #next(): StoreIterator | undefined {
    // A snapshot that is given may have ended already: that is said by whoever calls us.
    this.#iterator ??= this.#snapshot.iterate(storeRange(this.#options))
    return this.#iterator.next() ? this.#iterator : undefined
  }

  async _next(): Promise<Entry | undefined> {
    const at = this.#next()
    const { keys, values } = this.#options
    return at === undefined ? undefined : [keys ? at.key.copy() : undefined, values ? at.value.copy() : undefined]
  }

  async _nextv(size: number): Promise<Entry[]> {
    const entries: Entry[] = []
    while (entries.length < size) {
      const entry = await this._next()
      if (entry === undefined) break
      entries.push(entry)
    }
    return entries
  }

  _seek(target: Buffer): void {
    this.#iterator?.close()
    const range = storeRange(this.#options)
    const { from, to } = range as { from?: Buffer; to?: Buffer }
    // Outside of the range there is nothing; a seek backwards begins with the target itself.
    const outside = (from !== undefined && target.compare(from) < 0) || (to !== undefined && target.compare(to) >= 0)
    const reverse = this.#options.reverse === true
    const rest = outside ? { to: target } : reverse ? { to: after(target) } : {}
    this.#iterator = this.#snapshot.iterate({ ...range, ...(outside || !reverse ? { from: target } : {}), ...rest })
  }

  async _close(): Promise<void> {
    this.#iterator?.close()
    this.#own?.release()
  }
}

/** The smallest key above `key`. */
function after(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])])
}

function storeRange({ gt, gte, lt, lte, reverse = false }: Range): StoreRange {
  const from = gte ?? (gt === undefined ? undefined : after(gt))
  const to = lte === undefined ? lt : after(lte)
  return { reverse, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }
}
