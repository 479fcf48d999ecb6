/** The stores of millrace: its log engine and its memory engine, through spans as its processors use them. */
import { logEngine, memoryEngine, Span, type StorageEngine, type Store } from '../../src/storage/index.ts'
import { type Engine, type EngineKind, numberAt, Pending, type Put, type Scanned } from './engine.ts'

const nothing = Buffer.alloc(0)

/** What the log engine's stores can do beyond the contract of all engines. */
interface Extras {
  put(space: number, key: Buffer, from: number, to: number, value: Buffer, valueFrom: number, valueTo: number): void
  ready(): Promise<void> | undefined
  flush(): Promise<void>
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>
  logStats(): object
}

class Millrace implements Engine {
  readonly #engine: StorageEngine
  readonly #store: Store & Partial<Extras>
  readonly #span = new Span()
  readonly #put: Put
  readonly #pending = new Pending()
  readonly #key = Buffer.alloc(16)
  #load: ReturnType<Store['bulkLoad']> | undefined
  #loadPut: Put = () => {}
  /** A single write is a batch of one, even where the store has a way to log several together. */
  readonly #inFrames: boolean

  constructor(engine: StorageEngine, store: Store, inFrames: boolean) {
    this.#engine = engine
    this.#store = store
    this.#inFrames = inFrames
    const batch = store.writer()
    this.#put = (key, value) => batch.put(0, key, 0, key.length, value, 0, value.length)
  }

  write(fill: (put: Put) => void, position?: number): Promise<unknown> | undefined {
    fill(this.#put)
    this.#store.writer().commit(position === undefined ? undefined : { position, state: nothing })
    return this.#store.ready?.()
  }

  writeOne(key: Buffer, value: Buffer): Promise<unknown> | undefined {
    const store = this.#store
    if (store.put !== undefined && !this.#inFrames) {
      // Logged with others, 32 KiB at a time or at the end of the turn.
      store.put(0, key, 0, key.length, value, 0, value.length)
    } else {
      this.#put(key, value)
      store.writer().commit()
    }
    return store.ready?.()
  }

  read(key: Buffer): number {
    const span = this.#span
    return this.#store.getSync(0, key, 0, key.length, span) ? numberAt(span.bytes, span.from) : -1
  }

  async readMany(keys: Buffer[]): Promise<Int32Array> {
    const store = this.#store
    if (store.getMany === undefined) return Int32Array.from(keys, (key) => this.read(key))
    const values = await store.getMany(keys)
    return Int32Array.from(values, (value) => (value === undefined ? -1 : numberAt(value, 0)))
  }

  readonly #read = (key: Buffer): number => this.read(key)

  count(keys: (i: number) => Buffer, length: number): Promise<unknown> | undefined {
    this.#pending.collect(keys, length, this.#read)
    return this.write((put) => this.#pending.drain(this.#key, put))
  }

  async scan(): Promise<Scanned> {
    let entries = 0
    let sum = 0
    using iterator = this.#store.iterate()
    const { key, value } = iterator
    while (iterator.next()) {
      const text = key.bytes.toString('latin1', key.from, key.to)
      if (text.length > 0) entries += 1
      sum += numberAt(value.bytes, value.from)
    }
    return { entries, sum }
  }

  position(): number | undefined {
    return this.#store.checkpoint?.position
  }

  restore(fill: (put: Put) => void, position: number): Promise<unknown> | undefined {
    if (this.#load === undefined) {
      const load = this.#store.bulkLoad()
      this.#load = load
      this.#loadPut = (key, value) => load.put(0, key, 0, key.length, value, 0, value.length)
    }
    fill(this.#loadPut)
    this.#load.advance({ position, state: nothing })
    return this.#store.ready?.()
  }

  async restored(position: number): Promise<void> {
    this.#load?.finish({ position, state: nothing })
    this.#load = undefined
    await this.settle()
  }

  async settle(): Promise<void> {
    await this.#store.flush?.()
  }

  facts(): Record<string, number> {
    const facts: Record<string, number> = {}
    for (const [name, value] of Object.entries(this.#store.logStats?.() ?? {})) {
      if (typeof value === 'number') facts[name] = value
    }
    const { allocatedBytes } = this.#store.stats()
    return { allocatedBytes, ...facts }
  }

  /** Closes the engine, and with it the other stores of it. */
  close(): Promise<void> {
    return this.#engine.close()
  }
}

function kindOf(
  name: string,
  onDisk: boolean,
  make: (dir: string, durable: boolean) => StorageEngine,
  inFrames = false,
): EngineKind {
  const openStore = async (engine: StorageEngine, partition: number): Promise<Engine> =>
    new Millrace(engine, await engine.open({ group: 'bench', table: 'table', partition }), inFrames)
  return {
    name,
    onDisk,
    open: (dir, { durable = false } = {}) => openStore(make(dir, durable), 0),
    async openMany(dir, count) {
      const engine = make(dir, false)
      const stores: Engine[] = []
      for (let partition = 0; partition < count; partition++) stores.push(await openStore(engine, partition))
      return stores
    },
  }
}

const onDisk = (dir: string, durable: boolean): StorageEngine =>
  logEngine({ dir, sync: durable ? 'batch' : 'interval' })

export const millrace = kindOf('millrace', true, onDisk)

/** The same with a frame of the log, and a write of its own, for each single write. */
export const millraceFrames = kindOf('millrace frames', true, onDisk, true)

export const millraceMemory = kindOf('millrace-memory', false, () => memoryEngine())
