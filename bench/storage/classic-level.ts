/** LevelDB through classic-level with its default options; keys and values as bytes, which is its fastest form. */
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
interface Level {
  open(): Promise<void>
  put(key: Buffer, value: Buffer): Promise<void>
  batch(): Batch
  getSync(key: Buffer): Buffer | undefined
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>
  iterator(options: object): Iterator
  close(): Promise<void>
}

const positionKey = Buffer.from('!position')

class ClassicLevel implements Engine {
  readonly #db: Level
  readonly #durable: boolean
  readonly #pending = new Pending()
  readonly #key = Buffer.alloc(16)
  readonly #position = Buffer.alloc(8)

  constructor(db: Level, durable: boolean) {
    this.#db = db
    this.#durable = durable
  }

  /** A chained batch copies at each put, and is faster than an array of operations. */
  write(fill: (put: Put) => void, position?: number): Promise<unknown> {
    const batch = this.#db.batch()
    fill((key, value) => {
      batch.put(key, value)
    })
    if (position !== undefined) {
      this.#position.writeDoubleLE(position)
      batch.put(positionKey, this.#position)
    }
    return batch.write({ sync: this.#durable })
  }

  writeOne(key: Buffer, value: Buffer): Promise<unknown> {
    return this.#db.put(key, value)
  }

  readonly #read = (key: Buffer): number => this.read(key)

  read(key: Buffer): number {
    const value = this.#db.getSync(key)
    return value === undefined ? -1 : numberAt(value, 0)
  }

  async readMany(keys: Buffer[]): Promise<Int32Array> {
    const values = await this.#db.getMany(keys)
    return Int32Array.from(values, (value) => (value === undefined ? -1 : numberAt(value, 0)))
  }

  count(keys: (i: number) => Buffer, length: number): Promise<unknown> {
    this.#pending.collect(keys, length, this.#read)
    return this.write((put) => this.#pending.drain(this.#key, put))
  }

  async scan(): Promise<Scanned> {
    let entries = 0
    let sum = 0
    const iterator = this.#db.iterator({ keyEncoding: 'utf8', valueEncoding: 'view', gt: '!position' })
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
    return this.#db.getSync(positionKey)?.readDoubleLE()
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
    return this.#db.close()
  }
}

export const classicLevel: EngineKind = {
  name: 'classic-level',
  onDisk: true,
  async open(dir, { durable = false } = {}) {
    const { ClassicLevel: Peer } = requirePeer('classic-level') as {
      ClassicLevel: new (path: string, options: object) => Level
    }
    const db = new Peer(join(dir, 'level'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
    await db.open()
    return new ClassicLevel(db, durable)
  },
  async openMany(dir, count) {
    const stores: Engine[] = []
    for (let i = 0; i < count; i++) stores.push(await this.open(join(dir, String(i))))
    return stores
  },
}
