/** Reads of a memory table, as it is now or as a snapshot saw it. Owns nothing. */
import { chunkShift, headerBytes, unitMask } from './arena.ts'
import type { Span } from './contract.ts'
import type { MemoryTable } from './memory-table.ts'
import type { Overlay } from './overlay.ts'

/** The record that a reader sees for `entry`, 0: none. */
export function visibleRef(table: MemoryTable, overlay: Overlay | undefined, entry: number): number {
  if (overlay !== undefined) {
    const ref = overlay.find(entry)
    if (ref >= 0) return ref
  }
  return table.currentRef(entry)
}

/** Points `out` at the value of a key; false when there is none. */
export function readValue(
  table: MemoryTable,
  overlay: Overlay | undefined,
  space: number,
  key: Buffer,
  from: number,
  to: number,
  out: Span | undefined,
): boolean {
  const entry = table.find(table.hash(space, key, from, to), space, key, from, to)
  if (entry < 0) return false
  const ref = visibleRef(table, overlay, entry)
  if (ref === 0) return false
  if (out !== undefined) pointAtValue(table, ref, out)
  return true
}

/** Points `out` at the value of a record. */
export function pointAtValue(table: MemoryTable, ref: number, out: Span): void {
  const chunk = table.arena.chunks[ref >>> chunkShift]!
  const at = 2 * (ref & unitMask)
  const from = 4 * at + headerBytes + (chunk.words[at + 1]! & 0xffffff)
  out.bytes = chunk.bytes
  out.from = from
  out.to = from + chunk.words[at + 2]!
}

/** Points `out` at the key of a record. */
export function pointAtKey(table: MemoryTable, ref: number, out: Span): void {
  const chunk = table.arena.chunks[ref >>> chunkShift]!
  const at = 2 * (ref & unitMask)
  out.bytes = chunk.bytes
  out.from = 4 * at + headerBytes
  out.to = out.from + (chunk.words[at + 1]! & 0xffffff)
}
