/** Descriptions of tables that nobody has written, for what is decided from descriptions alone. */
import type { LevelTable } from '../../../src/storage/log/levels.ts'

const mib = 1024 * 1024

/**
 * `7:a-f 16 3`: file 7 with keys from a to f, 16 MiB, 3 deletions (default 0). It has 1,024 entries per MiB. A key may be
 * written with its space: `7:a-1/f`.
 */
export function tableOf(text: string): LevelTable {
  const match = /^(\d+):(\S+)-(\S+) ([\d.]+)(?: (\d+))?$/.exec(text)
  if (match === null) throw new Error(`not a table: ${text}`)
  const [, fileNumber, min, max, size, tombstones] = match
  const byteLength = Number(size) * mib
  return {
    meta: {
      fileNumber: Number(fileNumber),
      byteLength,
      entryCount: Math.max(1, byteLength / 1024),
      tombstoneCount: Number(tombstones ?? 0),
      dataBytes: byteLength,
      maxRecordBytes: 1024,
      min: boundOf(min!),
      max: boundOf(max!),
    },
  }
}

function boundOf(text: string): { space: number; key: Buffer } {
  const [first, second] = text.split('/')
  return second === undefined
    ? { space: 0, key: Buffer.from(first!) }
    : { space: Number(first), key: Buffer.from(second) }
}

/** Tables of a run, by commas. */
export function runOf(text: string): LevelTable[] {
  return text === '' ? [] : text.split(', ').map(tableOf)
}

/** File numbers. */
export function numbersOf(tables: readonly LevelTable[]): number[] {
  return tables.map(({ meta }) => meta.fileNumber)
}
