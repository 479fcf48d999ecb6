/**
 * Overlays: what makes a snapshot cheap. A snapshot copies nothing; the first write to an entry after it leaves the
 * entry's old record in the newest snapshot's overlay (0: it was absent). A snapshot reads an entry from its own overlay,
 * else from those of younger snapshots, else from the table. Owns the chain of overlays, oldest first.
 *
 * A released overlay is drained in slices: a record that an older live snapshot needs moves there, every other one is
 * handed to `bury`. Until it is drained it stays in the chain, so every read is right at any moment of that.
 */
import { IntMap } from './int-map.ts'

export class Overlay {
  readonly preserved = new IntMap()
  live = true
  older: Overlay | undefined
  younger: Overlay | undefined
  /** Next position of `preserved.table` to drain. */
  drained = 0

  /** The record of `entry` that this snapshot sees, 0 for none, −1: as in the table now. */
  find(entry: number): number {
    for (let overlay: Overlay | undefined = this; overlay !== undefined; overlay = overlay.younger) {
      const ref = overlay.preserved.get(entry)
      if (ref >= 0) return ref
    }
    return -1
  }
}

export class Overlays {
  oldest: Overlay | undefined
  youngest: Overlay | undefined
  /** The snapshot that the next write must preserve for; undefined: none is live. */
  #receiver: Overlay | undefined
  liveCount = 0
  readonly #bury: (ref: number) => void

  constructor(bury: (ref: number) => void) {
    this.#bury = bury
  }

  /** Whether no entry is held for anybody. */
  get empty(): boolean {
    return this.oldest === undefined
  }

  open(): Overlay {
    const overlay = new Overlay()
    overlay.older = this.youngest
    if (this.youngest === undefined) this.oldest = overlay
    else this.youngest.younger = overlay
    this.youngest = overlay
    this.#receiver = overlay
    this.liveCount += 1
    return overlay
  }

  /** Before `entry` changes: keeps its record (0: absent) when a snapshot sees it. True: kept, it must stay. */
  preserve(entry: number, ref: number): boolean {
    const receiver = this.#receiver
    if (receiver === undefined || receiver.find(entry) >= 0) return false
    receiver.preserved.set(entry, ref)
    return ref !== 0
  }

  release(overlay: Overlay): void {
    if (!overlay.live) return
    overlay.live = false
    this.liveCount -= 1
    if (this.#receiver === overlay) {
      let receiver = overlay.older
      while (receiver !== undefined && !receiver.live) receiver = receiver.older
      this.#receiver = receiver
    }
    if (overlay.preserved.count === 0) this.#unlink(overlay)
  }

  /** Drains released overlays by about `units` entries. True when none is left. */
  drain(units: number): boolean {
    let left = units
    for (let overlay = this.oldest; overlay !== undefined; ) {
      const next: Overlay | undefined = overlay.younger
      if (!overlay.live) {
        left = this.#drainOne(overlay, left)
        if (left <= 0) return false
      }
      overlay = next
    }
    return true
  }

  #drainOne(overlay: Overlay, units: number): number {
    let heir = overlay.older
    while (heir !== undefined && !heir.live) heir = heir.older
    const table = overlay.preserved.table!
    let left = units
    for (let at = overlay.drained; at < table.length; at += 2) {
      if (left-- <= 0) {
        overlay.drained = at
        return 0
      }
      if (table[at] === 0) continue
      const entry = table[at]! - 1
      const ref = table[at + 1]!
      if (heir !== undefined && !this.#foundBefore(heir, overlay, entry)) heir.preserved.set(entry, ref)
      else if (ref !== 0) this.#bury(ref)
    }
    this.#unlink(overlay)
    return left
  }

  #foundBefore(from: Overlay, end: Overlay, entry: number): boolean {
    for (let overlay: Overlay | undefined = from; overlay !== end && overlay !== undefined; overlay = overlay.younger) {
      if (overlay.preserved.get(entry) >= 0) return true
    }
    return false
  }

  #unlink(overlay: Overlay): void {
    if (overlay.older === undefined) this.oldest = overlay.younger
    else overlay.older.younger = overlay.younger
    if (overlay.younger === undefined) this.youngest = overlay.older
    else overlay.younger.older = overlay.older
  }

  /** The compactor has moved a pinned record. */
  moved(entry: number, from: number, to: number): void {
    for (let overlay = this.oldest; overlay !== undefined; overlay = overlay.younger) {
      if (overlay.preserved.get(entry) === from) overlay.preserved.set(entry, to)
    }
  }
}
