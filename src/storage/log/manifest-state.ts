/** What a manifest says of a store, and the check that it can be meant so. Stateless. */
import { maxCheckpointStateBytes } from '../contract.ts'
import { storeIdBytes } from './format.ts'

/** A checkpoint as the manifest has it. */
export interface ManifestCheckpoint {
  /** Whole number ≥ 0. */
  readonly position: number
  /** The owner's bytes in base64. */
  readonly state: string
  /** Wall clock when it was committed, milliseconds; tells how old it is. */
  readonly wallMs: number
}

/** The whole state of a store apart from what is in its logs. Every frame of a manifest holds one. */
export interface ManifestState {
  /** 32 hex digits. */
  readonly storeId: string
  /** Seed of the hashes of keys, int32 or uint32. */
  readonly hashSeed: number
  /** No file of a number from here on was ever made for this state; files found above it are of edits that never happened. */
  readonly nextFile: number
  /** Batches up to this sequence number are in tables. */
  readonly flushedSeq: number
  /** Logs with a lower number are obsolete. */
  readonly oldestLog: number
  /** The checkpoint of what is in tables; null before the first. */
  readonly checkpoint: ManifestCheckpoint | null
  /** File numbers of the tables of each run above the last level, newest run first; no run is empty. */
  readonly upper: readonly (readonly number[])[]
  /** File numbers of the tables of the last level, in the order of keys. */
  readonly last: readonly number[]
}

/** Why `value` is no ManifestState, in words; undefined when it is one. Fields it does not know are let pass. */
export function faultOf(value: unknown): string | undefined {
  if (!isObject(value)) return 'the state is no object'
  const { storeId, hashSeed, nextFile, flushedSeq, oldestLog, checkpoint, upper, last } = value
  if (typeof storeId !== 'string' || storeId.length !== 2 * storeIdBytes || !/^[0-9a-f]*$/.test(storeId)) {
    return 'storeId is not 32 hex digits'
  }
  if (!Number.isInteger(hashSeed) || (hashSeed as number) < -(2 ** 31) || (hashSeed as number) >= 2 ** 32) {
    return 'hashSeed is not a number of 32 bits'
  }
  if (!isWhole(nextFile) || nextFile < 1) return 'nextFile is not a whole number ≥ 1'
  if (!isWhole(flushedSeq)) return 'flushedSeq is not a whole number ≥ 0'
  if (!isWhole(oldestLog)) return 'oldestLog is not a whole number ≥ 0'
  if (oldestLog > nextFile) return 'oldestLog is above nextFile'
  return faultOfCheckpoint(checkpoint) ?? faultOfTables(upper, last, nextFile)
}

function faultOfCheckpoint(value: unknown): string | undefined {
  if (value === null) return undefined
  if (!isObject(value)) return 'checkpoint is neither null nor an object'
  const { position, state, wallMs } = value
  if (!isWhole(position)) return 'checkpoint.position is not a whole number ≥ 0'
  if (typeof state !== 'string') return 'checkpoint.state is no text'
  const bytes = Buffer.from(state, 'base64')
  if (bytes.toString('base64') !== state) return 'checkpoint.state is not base64'
  if (bytes.length > maxCheckpointStateBytes) return `checkpoint.state is above ${maxCheckpointStateBytes} bytes`
  if (typeof wallMs !== 'number' || !(wallMs >= 0 && wallMs < Infinity)) return 'checkpoint.wallMs is not a number ≥ 0'
  return undefined
}

function faultOfTables(upper: unknown, last: unknown, nextFile: number): string | undefined {
  if (!Array.isArray(upper)) return 'upper is no list'
  const seen = new Set<number>()
  for (const [name, run] of [...upper.map((list: unknown) => ['upper', list] as const), ['last', last] as const]) {
    if (!Array.isArray(run)) return `${name} is no list of file numbers`
    if (run.length === 0 && name === 'upper') return 'a run of upper has no tables'
    for (const number of run as unknown[]) {
      if (!isWhole(number) || number < 1) return `${name} has a file number that is not a whole number ≥ 1`
      if (number >= nextFile) return `${name} has table ${number}, but nextFile is ${nextFile}`
      if (seen.has(number)) return `table ${number} is there twice`
      seen.add(number)
    }
  }
  return undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
