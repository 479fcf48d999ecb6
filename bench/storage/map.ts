/** A plain Map from strings to bytes: what a table costs that is in the heap and gone with the process. */
import { counterOf, type Engine, type EngineKind, numberAt, type Put, type Scanned } from './engine.ts'

class MapEngine implements Engine {
  readonly #map = new Map<string, Buffer>()
  #position: number | undefined

  readonly #put: Put = (key, value) => {
    const copy = Buffer.allocUnsafe(value.length)
    value.copy(copy)
    this.#map.set(key.toString('latin1', 0, key.length), copy)
  }

  write(fill: (put: Put) => void, position?: number): undefined {
    fill(this.#put)
    this.#position = position
  }

  writeOne(key: Buffer, value: Buffer): undefined {
    this.#put(key, value)
  }

  read(key: Buffer): number {
    const value = this.#map.get(key.toString('latin1', 0, key.length))
    return value === undefined ? -1 : numberAt(value, 0)
  }

  async readMany(keys: Buffer[]): Promise<Int32Array> {
    return Int32Array.from(keys, (key) => this.read(key))
  }

  count(keys: (i: number) => Buffer, length: number): undefined {
    for (let i = 0; i < length; i++) {
      const key = keys(i)
      this.#put(key, counterOf(Math.max(0, this.read(key)) + 1))
    }
  }

  /** It has no order: that is made here. */
  async scan(): Promise<Scanned> {
    let entries = 0
    let sum = 0
    for (const text of [...this.#map.keys()].sort()) {
      if (text.length > 0) entries += 1
      sum += numberAt(this.#map.get(text)!, 0)
    }
    return { entries, sum }
  }

  position(): number | undefined {
    return this.#position
  }

  restore(fill: (put: Put) => void, position: number): undefined {
    this.write(fill, position)
  }

  async restored(position: number): Promise<void> {
    this.#position = position
  }

  async settle(): Promise<void> {}

  facts(): Record<string, number> {
    return {}
  }

  async close(): Promise<void> {
    this.#map.clear()
  }
}

export const map: EngineKind = {
  name: 'map',
  onDisk: false,
  open: async () => new MapEngine(),
  openMany: async (_, count) => Array.from({ length: count }, () => new MapEngine()),
}
