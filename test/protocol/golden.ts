/** The committed vectors under test/golden/records, typed. Written by the programs named in each. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CompressionName } from '../../src/protocol/compression/codec.ts'

export interface GoldenBatch {
  readonly name: string
  readonly compression: CompressionName
  readonly baseOffset: number
  readonly lastOffset: number
  readonly leaderEpoch: number
  readonly isControl: boolean
  readonly isTransactional: boolean
  readonly logAppendTime: boolean
  readonly deleteHorizon: number
  readonly maxTimestamp: string
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly count: number
  /** [offset, timestamp, key, value], bytes in base64, `… length` when long. */
  readonly records: readonly [number, string, string | null, string | null][] | null
  readonly sha256: string
  readonly bytes: string
}

export interface JavaVectors {
  readonly batches: readonly GoldenBatch[]
  readonly murmur2: readonly { readonly input: string; readonly hash: number }[]
  readonly crc32c: readonly { readonly input: string; readonly hash: number }[]
  readonly snappyRaw: readonly { readonly packed: string; readonly bytes: number; readonly sha256: string }[]
}

/** The file lives beside the sources; tests run from the build directory beside them. */
function read(name: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, '../../../test/golden/records', name), 'utf8'))
}

export const javaVectors = read('java.json') as JavaVectors
export const lz4Frames = read('lz4-frames.json') as readonly {
  readonly name: string
  readonly size: number
  readonly packed: string
}[]
