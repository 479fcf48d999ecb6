/** What the cases ask of a store, whoever made it, and who can be asked. */

/** Adds one operation to the batch that is being written. Key and value may be reused afterwards. */
export type Put = (key: Buffer, value: Buffer) => void

export interface Scanned {
  readonly entries: number
  /** Of the numbers in the first four bytes of the values. */
  readonly sum: number
}

export interface Engine {
  /**
   * Writes what `fill` puts as one atomic batch, with the position of a changelog beside it if one is given. What it
   * returns is awaited before the next batch; undefined: the batch is in, and the writer need not wait.
   */
  write(fill: (put: Put) => void, position?: number): Promise<unknown> | undefined
  /** Writes one entry on its own. */
  writeOne(key: Buffer, value: Buffer): Promise<unknown> | undefined
  /** The number in the first four bytes of the key's value; −1: it has none. */
  read(key: Buffer): number
  /** As `read`, of many keys at once. */
  readMany(keys: Buffer[]): Promise<Int32Array>
  /** Adds `by` to the 8-byte counter of each key, all in one batch; the cases check the sum. */
  count(keys: (i: number) => Buffer, length: number): Promise<unknown> | undefined
  /** Every entry in key order, the key made a string, the value looked at. */
  scan(): Promise<Scanned>
  /** The position last written. */
  position(): number | undefined
  /** Begins a restore: many entries that need not be atomic. Ended by `restored`. */
  restore(fill: (put: Put) => void, position: number): Promise<unknown> | undefined
  restored(position: number): Promise<unknown>
  /** Everything is in files, as far as the engine has a way to say so. */
  settle(): Promise<unknown>
  /** Numbers of the engine's own about itself. */
  facts(): Readonly<Record<string, number>>
  close(): Promise<unknown>
}

export interface EngineKind {
  readonly name: string
  /** Whether a store can be opened again. */
  readonly onDisk: boolean
  /** `durable`: every batch is synced before the next one. */
  open(dir: string, options?: { readonly durable?: boolean }): Promise<Engine>
  /** Many stores in one process. */
  openMany(dir: string, count: number): Promise<Engine[]>
}

/** The first four bytes of a value, little-endian. */
export function numberAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

const counter = Buffer.alloc(8)

/** An 8-byte counter, in a buffer that is reused. */
export function counterOf(value: number): Buffer {
  counter.writeUInt32LE(value, 0)
  return counter
}

/** What a batch of counting changes: read once, written once, however often a key comes. Reused. */
export class Pending {
  readonly #counts = new Map<string, number>()

  /** Counts each of `length` keys on top of what `read` says is stored. */
  collect(keys: (i: number) => Buffer, length: number, read: (key: Buffer) => number): void {
    const counts = this.#counts
    counts.clear()
    for (let i = 0; i < length; i++) {
      const key = keys(i)
      const text = key.toString('latin1', 0, key.length)
      const before = counts.get(text) ?? Math.max(0, read(key))
      counts.set(text, before + 1)
    }
  }

  /** Hands out what is to be written. */
  drain(key: Buffer, put: Put): void {
    for (const [text, count] of this.#counts) {
      key.write(text, 'latin1')
      put(key, counterOf(count))
    }
  }
}
