/** A map from small whole numbers to small whole numbers in typed arrays: no objects, no garbage. Owns its arrays. */

/** Keys and values are whole numbers from 0 to 2^31 − 2. */
export class IntMap {
  /** [key + 1, value] pairs; 0 as key means empty. */
  table: Int32Array | undefined
  count = 0
  #mask = 0

  /** The value of `key`, or −1. */
  get(key: number): number {
    const table = this.table
    if (table === undefined) return -1
    let at = Math.imul(key, 0x9e3779b1) >>> 7
    for (at &= this.#mask; table[2 * at] !== 0; at = (at + 1) & this.#mask) {
      if (table[2 * at] === key + 1) return table[2 * at + 1]!
    }
    return -1
  }

  set(key: number, value: number): void {
    if (this.table === undefined) {
      this.table = new Int32Array(2 * 16)
      this.#mask = 15
    } else if (this.count * 4 >= (this.#mask + 1) * 3) this.#grow()
    this.#place(key + 1, value)
  }

  #place(stored: number, value: number): void {
    const table = this.table!
    let at = Math.imul(stored - 1, 0x9e3779b1) >>> 7
    at &= this.#mask
    while (table[2 * at] !== 0 && table[2 * at] !== stored) at = (at + 1) & this.#mask
    if (table[2 * at] === 0) this.count += 1
    table[2 * at] = stored
    table[2 * at + 1] = value
  }

  #grow(): void {
    const old = this.table!
    this.table = new Int32Array(2 * old.length)
    this.#mask = 2 * (this.#mask + 1) - 1
    this.count = 0
    for (let at = 0; at < old.length; at += 2) if (old[at] !== 0) this.#place(old[at]!, old[at + 1]!)
  }
}
