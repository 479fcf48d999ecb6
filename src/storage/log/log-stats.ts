/** What a log store consists of and what it has cost, in counts: for tests that must not depend on how fast a machine is. */
import type { StoreCore } from './core.ts'

/** Counts of one store: what it consists of now, and what it has cost since it was opened. */
export interface LogStats {
  /** Runs that a lookup may have to ask: those above the last level, and the last level if it has any table. */
  readonly runs: number
  /** Tables of the version that is read. */
  readonly tables: number
  /** Bytes of their files. */
  readonly tableBytes: number
  /** Entries in them, superseded ones and deletions included. */
  readonly tableEntries: number
  /** Memory of slots that were read so far, bytes. */
  readonly slotBytes: number
  /** Memory of sparse indexes, bytes. */
  readonly indexBytes: number
  /** Reads of the disk by lookups in these tables. */
  readonly preads: number
  /** Those of them that met another key. */
  readonly falsePositives: number
  /** Memtables that wait to become tables. */
  readonly frozenMemtables: number
  /** Writes of logs since the store was opened. */
  readonly logWrites: number
  /** Syncs of logs since then. */
  readonly logSyncs: number
}

/** The counts of a store at this moment. */
export function logStatsOf(core: StoreCore): LogStats {
  const { version, frozen, logWrites, logSyncs } = core
  const sums = { tables: 0, tableBytes: 0, tableEntries: 0, slotBytes: 0, indexBytes: 0, preads: 0, falsePositives: 0 }
  for (const table of version.tables()) {
    sums.tables += 1
    sums.tableBytes += table.meta.byteLength
    sums.tableEntries += table.meta.entryCount
    sums.slotBytes += table.slotBytes
    sums.indexBytes += table.indexBytes
    sums.preads += table.preads
    sums.falsePositives += table.falsePositives
  }
  const runs = version.upper.length + (version.last.tables.length > 0 ? 1 : 0)
  return { ...sums, runs, frozenMemtables: frozen.length, logWrites, logSyncs }
}
