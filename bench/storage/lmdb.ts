/** LMDB through the package lmdb; keys and values as bytes, values read without a copy, which is its fastest form. */
import { join } from 'node:path'
import { requirePeer } from '../peers.ts'
import { counterOf, type Engine, type EngineKind, numberAt, type Put, type Scanned } from './engine.ts'

interface Lmdb {
  transactionSync<T>(work: () => T): T
  put(key: Buffer, value: Buffer): Promise<boolean>
  putSync(key: Buffer, value: Buffer): boolean
  /** A view of a buffer that the next read reuses. */
  getBinaryFast(key: Buffer): Buffer | undefined
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>
  getRange(options?: object): Iterable<{ key: Buffer; value: Buffer }>
  readonly flushed: Promise<unknown>
  close(): Promise<void>
}

const positionKey = Buffer.from('!position')
const afterPosition = Buffer.from('!positioo')

class LmdbEngine implements Engine {
  readonly #db: Lmdb
  readonly #durable: boolean
  readonly #syncs: boolean
  readonly #position = Buffer.alloc(8)

  constructor(db: Lmdb, durable: boolean, syncs: boolean) {
    this.#db = db
    this.#durable = durable
    this.#syncs = syncs
  }

  readonly #put: Put = (key, value) => void this.#db.putSync(key, value)

  write(fill: (put: Put) => void, position?: number): Promise<unknown> | undefined {
    this.#db.transactionSync(() => {
      fill(this.#put)
      if (position === undefined) return
      this.#position.writeDoubleLE(position)
      this.#put(positionKey, this.#position)
    })
    return this.#durable ? this.#db.flushed : undefined
  }

  writeOne(key: Buffer, value: Buffer): undefined {
    this.#db.putSync(key, value)
  }

  read(key: Buffer): number {
    const value = this.#db.getBinaryFast(key)
    return value === undefined ? -1 : numberAt(value, 0)
  }

  async readMany(keys: Buffer[]): Promise<Int32Array> {
    return Int32Array.from(keys, (key) => this.read(key))
  }

  /** A transaction sees what it has written, so that nothing need be collected before. */
  count(keys: (i: number) => Buffer, length: number): undefined {
    this.#db.transactionSync(() => {
      for (let i = 0; i < length; i++) {
        const key = keys(i)
        this.#put(key, counterOf(Math.max(0, this.read(key)) + 1))
      }
    })
  }

  async scan(): Promise<Scanned> {
    let entries = 0
    let sum = 0
    for (const { key, value } of this.#db.getRange({ start: afterPosition, snapshot: false })) {
      const text = key.toString('latin1', 0, key.length)
      if (text.length > 0) entries += 1
      sum += numberAt(value, 0)
    }
    return { entries, sum }
  }

  position(): number | undefined {
    return this.#db.getBinaryFast(positionKey)?.readDoubleLE(0)
  }

  restore(fill: (put: Put) => void, position: number): Promise<unknown> | undefined {
    return this.write(fill, position)
  }

  async restored(position: number): Promise<void> {
    await this.write(() => {}, position)
    await this.settle()
  }

  async settle(): Promise<void> {
    if (this.#syncs) await this.#db.flushed
  }

  facts(): Record<string, number> {
    return {}
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

function kindOf(name: string, syncs: boolean): EngineKind {
  return {
    name,
    onDisk: true,
    async open(dir, { durable = false } = {}) {
      const { open } = requirePeer('lmdb') as { open: (path: string, options: object) => Lmdb }
      const mode = syncs ? {} : { noSync: true }
      const db = open(join(dir, 'lmdb'), { encoding: 'binary', keyEncoding: 'binary', ...mode })
      return new LmdbEngine(db, durable, syncs)
    },
    async openMany(dir, count) {
      const stores: Engine[] = []
      for (let i = 0; i < count; i++) stores.push(await this.open(join(dir, String(i))))
      return stores
    },
  }
}

/** In its default mode, which syncs in the background. */
export const lmdb = kindOf('lmdb', true)
/** Never synced: a power loss may damage it. */
export const lmdbNoSync = kindOf('lmdb-nosync', false)
