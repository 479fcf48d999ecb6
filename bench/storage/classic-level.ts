/**
 * LevelDB through classic-level with its default options: with keys as bytes and chained batches, its fastest form, and
 * with keys as strings and batches as arrays of operations, the usual one.
 */
import { join } from 'node:path'
import { requirePeer } from '../peers.ts'
import { type Engine, type EngineKind, numberAt, Pending, type Put, type Scanned } from './engine.ts'

interface Batch {
  put(key: Buffer, value: Buffer): Batch
  write(options?: { sync: boolean }): Promise<void>
}
interface Iterator {
  nextv(size: number): Promise<[string, Buffer][]>
  close(): Promise<void>
}
interface Operation<K> {
  readonly type: 'put'
  readonly key: K
  readonly value: Buffer
}
interface Level<K> {
  open(): Promise<void>
  put(key: K, value: Buffer): Promise<void>
  batch(): Batch
  batch(operations: Operation<K>[]): Promise<void>
  getSync(key: K): Buffer | undefined
  getMany(keys: K[]): Promise<(Buffer | undefined)[]>
  iterator(options: object): Iterator
  close(): Promise<void>
}

const positionText = '!position'

/** What both forms share. */
abstract class ClassicLevel<K extends string | Buffer> implements Engine {
  protected readonly db: Level<K>
  protected readonly durable: boolean
  readonly #positionKey: K
  readonly #pending = new Pending()
  readonly #key = Buffer.alloc(16)

  constructor(db: Level<K>, durable: boolean, positionKey: K) {
    this.db = db
    this.durable = durable
    this.#positionKey = positionKey
  }

  /** The key as this form wants it. */
  protected abstract keyOf(key: Buffer): K
  abstract write(fill: (put: Put) => void, position?: number): Promise<unknown>

  writeOne(key: Buffer, value: Buffer): Promise<unknown> {
    return this.db.put(this.keyOf(key), value)
  }

  readonly #read = (key: Buffer): number => this.read(key)

  read(key: Buffer): number {
    const value = this.db.getSync(this.keyOf(key))
    return value === undefined ? -1 : numberAt(value, 0)
  }

  async readMany(keys: Buffer[]): Promise<Int32Array> {
    const values = await this.db.getMany(keys.map((key) => this.keyOf(key)))
    return Int32Array.from(values, (value) => (value === undefined ? -1 : numberAt(value, 0)))
  }

  count(keys: (i: number) => Buffer, length: number): Promise<unknown> {
    this.#pending.collect(keys, length, this.#read)
    return this.write((put) => this.#pending.drain(this.#key, put))
  }

  async scan(): Promise<Scanned> {
    let entries = 0
    let sum = 0
    const iterator = this.db.iterator({ keyEncoding: 'utf8', valueEncoding: 'view', gt: positionText })
    for (;;) {
      const some = await iterator.nextv(1000)
      if (some.length === 0) break
      for (const [text, value] of some) {
        if (text.length > 0) entries += 1
        sum += numberAt(value, 0)
      }
    }
    await iterator.close()
    return { entries, sum }
  }

  position(): number | undefined {
    return this.db.getSync(this.#positionKey)?.readDoubleLE()
  }

  restore(fill: (put: Put) => void, position: number): Promise<unknown> {
    return this.write(fill, position)
  }

  restored(position: number): Promise<unknown> {
    return this.write(() => {}, position)
  }

  /** What was written is in its log or its tables. */
  async settle(): Promise<void> {}

  facts(): Record<string, number> {
    return {}
  }

  close(): Promise<void> {
    return this.db.close()
  }
}

/** A chained batch copies at each put, and is faster than an array of operations. */
class BytesLevel extends ClassicLevel<Buffer> {
  readonly #positionKey = Buffer.from(positionText)
  readonly #position = Buffer.alloc(8)

  protected keyOf(key: Buffer): Buffer {
    return key
  }

  write(fill: (put: Put) => void, position?: number): Promise<unknown> {
    const batch = this.db.batch()
    fill((key, value) => {
      batch.put(key, value)
    })
    if (position !== undefined) {
      this.#position.writeDoubleLE(position)
      batch.put(this.#positionKey, this.#position)
    }
    return batch.write({ sync: this.durable })
  }
}

class StringsLevel extends ClassicLevel<string> {
  protected keyOf(key: Buffer): string {
    return key.toString('latin1')
  }

  write(fill: (put: Put) => void, position?: number): Promise<unknown> {
    const operations: Operation<string>[] = []
    fill((key, value) => {
      // A counter's buffer is reused by who writes it, and the batch is only read later.
      const kept = value.length === 8 ? Buffer.from(value) : value
      operations.push({ type: 'put', key: key.toString('latin1'), value: kept })
    })
    if (position !== undefined) {
      const value = Buffer.alloc(8)
      value.writeDoubleLE(position)
      operations.push({ type: 'put', key: positionText, value })
    }
    return this.db.batch(operations)
  }
}

async function openLevel<K>(dir: string, keyEncoding: 'buffer' | 'utf8'): Promise<Level<K>> {
  const { ClassicLevel: Peer } = requirePeer('classic-level') as {
    ClassicLevel: new (path: string, options: object) => Level<K>
  }
  const db = new Peer(join(dir, 'level'), { keyEncoding, valueEncoding: 'buffer' })
  await db.open()
  return db
}

function kindOf(name: string, openOne: (dir: string, durable: boolean) => Promise<Engine>): EngineKind {
  return {
    name,
    onDisk: true,
    open: (dir, { durable = false } = {}) => openOne(dir, durable),
    async openMany(dir, count) {
      const stores: Engine[] = []
      for (let i = 0; i < count; i++) stores.push(await openOne(join(dir, String(i)), false))
      return stores
    },
  }
}

export const classicLevel = kindOf(
  'classic-level',
  async (dir, durable) => new BytesLevel(await openLevel<Buffer>(dir, 'buffer'), durable, Buffer.from(positionText)),
)

export const classicLevelStrings = kindOf(
  'classic-level strings',
  async (dir, durable) => new StringsLevel(await openLevel<string>(dir, 'utf8'), durable, positionText),
)
