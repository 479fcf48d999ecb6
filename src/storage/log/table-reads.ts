/**
 * Looking many keys up in tables without blocking. Rounds: first every key is led, in memory only, to a record that may be
 * its own, in the newest run that has one; slots that are missing are read meanwhile. Then these records are read in the
 * order in which they lie on the disk, neighbours at once. A key whose record was another's goes on in the next round.
 * Owns nothing: whoever calls holds the version that the runs are of, and the keys.
 */
import { Span } from '../contract.ts'
import { lookup } from './cursor.ts'
import { type Chunk, makeChunk } from './record.ts'
import type { Run } from './run.ts'
import type { Table } from './table.ts'

/** Records are read together while the bytes between them are not more than this. */
const maxGapBytes = 4096
/** And while they are not more than this together. */
const maxGroupBytes = 64 * 1024
/** A buffer has at least this size: it does for a few neighbours. */
const minBufferBytes = 4096

/** A key that is looked for. */
export class WantedKey {
  readonly hash: number
  readonly space: number
  readonly key: Buffer
  /** Whose it is: where its value belongs among the results. */
  readonly index: number
  /** The run it has come to, and there the slot; −1: before the first. */
  run = 0
  slot = -1
  /** Its block is to be read, as there is no memory for slots. */
  isInBlock = false
  /** The record that is to be read. */
  table: Table | undefined
  offset = 0
  length = 0

  constructor(hash: number, space: number, key: Buffer, index: number) {
    this.hash = hash
    this.space = space
    this.key = key
    this.index = index
  }
}

/** Told of the value of a key; not of keys that have none. The span is valid during the call. */
export type Found = (wanted: WantedKey, value: Span) => void

export interface TableReadsOptions {
  /** Reads of the disk at a time. */
  readonly concurrency: number
  /** Throws when nobody wants to know any more; asked after every wait. */
  check(): void
  readonly found: Found
}

/** Looks `wanted` up in the runs, the newest first. Rejects with the first error, when no read is under way any more. */
export async function readTables(
  runs: readonly Run[],
  wanted: readonly WantedKey[],
  options: TableReadsOptions,
): Promise<void> {
  const { concurrency, check } = options
  let pending = wanted
  while (pending.length > 0) {
    const reads: WantedKey[] = []
    const slotless = new Map<Table, WantedKey[]>()
    for (const one of pending) lead(runs, one, reads, slotless)
    while (slotless.size > 0) {
      const tables = [...slotless]
      slotless.clear()
      await each(tables, concurrency, () => async ([table, keys]) => {
        await table.loadSlots()
        check()
        for (const one of keys) lead(runs, one, reads, slotless)
      })
    }
    const others: WantedKey[] = []
    await each(groupsOf(reads), concurrency, () => {
      const buffer = new ReadBuffer()
      return (group) => readGroup(group, buffer, options, others)
    })
    pending = others
  }
}

/** Leads a key to the next record that may be its own, or to slots that are missing, or to the end. */
function lead(runs: readonly Run[], one: WantedKey, reads: WantedKey[], slotless: Map<Table, WantedKey[]>): void {
  const { hash, space, key } = one
  for (; one.run < runs.length; one.run++) {
    const table = runs[one.run]!.tableOf(space, key, 0, key.length)
    if (table === undefined) continue
    one.table = table
    one.isInBlock = !table.hasSlots && !table.maySlots
    if (one.isInBlock) {
      const { from, to } = table.blockOf(space, key, 0, key.length)
      one.slot = -1
      one.offset = from
      one.length = to - from
      reads.push(one)
      return
    }
    if (!table.hasSlots) {
      const others = slotless.get(table)
      if (others === undefined) slotless.set(table, [one])
      else others.push(one)
      return
    }
    one.slot = table.nextSlot(hash, one.slot)
    if (one.slot < 0) continue
    one.offset = table.offsetOf(one.slot)
    one.length = table.lengthAt(one.offset)
    reads.push(one)
    return
  }
}

/** In the order of the disk; what lies close together is one group. */
function groupsOf(reads: WantedKey[]): WantedKey[][] {
  reads.sort((a, b) => a.table!.meta.fileNumber - b.table!.meta.fileNumber || a.offset - b.offset)
  const groups: WantedKey[][] = []
  let group: WantedKey[] = []
  let end = 0
  for (const one of reads) {
    const [first] = group
    const isNear =
      first !== undefined &&
      first.table === one.table &&
      one.offset <= end + maxGapBytes &&
      one.offset + one.length <= first.offset + maxGroupBytes
    if (!isNear) {
      group = []
      groups.push(group)
      end = 0
    }
    group.push(one)
    end = Math.max(end, one.offset + one.length)
  }
  return groups
}

/** What one read at a time goes into: a chunk for each would cost more than looking at what was read. */
class ReadBuffer {
  #chunk: Chunk | undefined

  /** A chunk of at least `size` bytes, the same one each time unless it is too small; a single long record has its own. */
  chunkFor(size: number): Chunk {
    if (size > maxGroupBytes) return makeChunk(size)
    if (this.#chunk === undefined || this.#chunk.bytes.length < size) {
      this.#chunk = makeChunk(Math.min(maxGroupBytes, Math.max(minBufferBytes, 2 * size)))
    }
    return this.#chunk
  }
}

async function readGroup(
  group: readonly WantedKey[],
  buffer: ReadBuffer,
  { check, found }: TableReadsOptions,
  others: WantedKey[],
): Promise<void> {
  const table = group[0]!.table!
  const from = group[0]!.offset
  let end = 0
  for (const { offset, length } of group) end = Math.max(end, offset + length)
  const chunk = buffer.chunkFor(end - from)
  await table.read(chunk, from, end - from)
  check()
  const out = new Span()
  for (const one of group) {
    const { offset, space, key } = one
    let at = offset - from
    if (one.isInBlock) {
      const what = table.matchIn(chunk, at, at + one.length, offset, space, key, 0, key.length, out)
      if (what === lookup.value) found(one, out)
      else if (what === lookup.absent) {
        one.run += 1
        others.push(one)
      }
      continue
    }
    let bytes: Chunk = chunk
    const size = table.sizeIn(chunk, at, offset)
    if (at + size > end - from) {
      bytes = makeChunk(size)
      await table.read(bytes, offset, size)
      check()
      at = 0
    }
    const what = table.match(bytes, at, offset, size, space, key, 0, key.length, out)
    if (what === lookup.value) found(one, out)
    else if (what === lookup.absent) {
      table.falsePositives += 1
      others.push(one)
    }
  }
}

/**
 * Does something with each of the items, so many at a time; after an error nothing more is begun. `makeWorker` makes what
 * does it with one after another.
 */
async function each<T>(
  items: readonly T[],
  concurrency: number,
  makeWorker: () => (item: T) => Promise<void>,
): Promise<void> {
  let next = 0
  let failure: { readonly cause: unknown } | undefined
  const lane = async (): Promise<void> => {
    const work = makeWorker()
    while (next < items.length && failure === undefined) {
      const item = items[next]!
      next += 1
      try {
        await work(item)
      } catch (cause) {
        failure ??= { cause }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, lane))
  if (failure !== undefined) throw (failure as { readonly cause: unknown }).cause
}
