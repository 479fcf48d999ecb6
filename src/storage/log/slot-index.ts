/**
 * Slots: from the hash of a key to the places in a table where its record may be. Each slot is a u32: a 10-bit tag of the
 * hash above a 22-bit place (the record's offset in units of 8 bytes); 0 is an empty slot, since no record begins at 0.
 * Open addressing with linear probing; the home of a hash is hash · slots / 2^32, so any number of slots will do.
 * Stateless: the writer owns the slots it fills, a table those it has read.
 */

/** The place within a slot. */
export const placeMask = 0x3fffff
/** The tag within a slot. */
export const tagMask = ~placeMask

/**
 * Slots for so many entries: at most 70 % are taken. A key that is absent is then compared with 5 tags on average, one of
 * which agrees by chance once in 200 lookups; 80 % would save 0.7 bytes per entry and triple that.
 */
export function slotCountFor(entries: number): number {
  const slots = Math.ceil(entries / 0.7) + 1
  return slots + (slots & 1)
}

/** The slot where the search for a hash begins. */
export function homeOf(hash: number, slotCount: number): number {
  return Math.floor((hash >>> 0) * slotCount * 2 ** -32)
}

/** What slots of keys with this hash have as their tag: its lowest bits, the home is made of the highest. */
export function tagOf(hash: number): number {
  return hash << 22
}

/** Puts entries [from, to) into the slots; there are more slots than entries. */
export function fillSlots(slots: Int32Array, hashes: Int32Array, places: Int32Array, from: number, to: number): void {
  const count = slots.length
  for (let i = from; i < to; i++) {
    const hash = hashes[i]!
    let at = homeOf(hash, count)
    while (slots[at] !== 0) at = at + 1 === count ? 0 : at + 1
    slots[at] = tagOf(hash) | places[i]!
  }
}

/** Whether looking for the hash would come across the place. */
export function hasPlace(slots: Int32Array, hash: number, place: number): boolean {
  const wanted = tagOf(hash) | place
  const count = slots.length
  let at = homeOf(hash, count)
  for (let slot = slots[at]!; slot !== 0; slot = slots[at]!) {
    if (slot === wanted) return true
    at = at + 1 === count ? 0 : at + 1
  }
  return false
}
