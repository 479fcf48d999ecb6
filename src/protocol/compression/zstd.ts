/**
 * zstd through Node's zlib where it has it (Node ≥ 22.15, ≥ 23.8). Elsewhere every use throws an error that says so.
 */
import * as zlib from 'node:zlib'
import { describeError } from '../../base/errors.ts'
import { type Codec, CompressionError, overLimit, UnsupportedCompressionError } from './codec.ts'
import { chunkFor, isOverflow } from './gzip.ts'

/** The functions of newer Nodes; the types of the oldest supported one do not know them. */
interface ZstdFunctions {
  readonly zstdCompressSync?: (bytes: Buffer) => Buffer
  readonly zstdDecompressSync?: (bytes: Buffer, options: { chunkSize: number; maxOutputLength: number }) => Buffer
}
const { zstdCompressSync, zstdDecompressSync }: ZstdFunctions = zlib as ZstdFunctions

/** Whether this Node can compress and decompress zstd. */
export const zstdAvailable = zstdCompressSync !== undefined && zstdDecompressSync !== undefined

function missing(verb: string): UnsupportedCompressionError {
  return new UnsupportedCompressionError(
    `zstd: Node ${process.versions.node} cannot ${verb} it; use Node 22.15 or newer, or have the producers use lz4, snappy or gzip`,
  )
}

export const zstd: Codec = {
  name: 'zstd',
  compress: (bytes, from, to) => {
    if (zstdCompressSync === undefined) throw missing('compress')
    return zstdCompressSync(bytes.subarray(from, to))
  },
  decompress: (bytes, from, to, maxBytes) => {
    if (zstdDecompressSync === undefined) throw missing('decompress')
    try {
      return zstdDecompressSync(bytes.subarray(from, to), {
        chunkSize: chunkFor(to - from, maxBytes),
        maxOutputLength: Math.max(1, maxBytes),
      })
    } catch (cause) {
      if (isOverflow(cause)) throw overLimit('zstd', maxBytes)
      throw new CompressionError('zstd', -1, describeError(cause), false, cause)
    }
  },
}
