/**
 * gzip through Node's zlib, synchronously: a batch is at most a megabyte or so, and the order of batches stays.
 */
import { gunzipSync, gzipSync } from 'node:zlib'
import { describeError } from '../../base/errors.ts'
import { type Codec, CompressionError, overLimit } from './codec.ts'

const MIN_CHUNK = 16 * 1024
const MAX_CHUNK = 1024 * 1024

/** Bytes per output chunk: about what the input is expected to become, so that few chunks are joined. */
export function chunkFor(inputBytes: number, maxBytes: number): number {
  return Math.max(64, Math.min(maxBytes, Math.max(MIN_CHUNK, Math.min(MAX_CHUNK, inputBytes * 4))))
}

/** Whether zlib stopped because its output limit was reached. */
export function isOverflow(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE'
}

export const gzip: Codec = {
  name: 'gzip',
  compress: (bytes, from, to) =>
    gzipSync(bytes.subarray(from, to), { chunkSize: chunkFor((to - from) >> 2, MAX_CHUNK) }),
  decompress: (bytes, from, to, maxBytes) => {
    try {
      return gunzipSync(bytes.subarray(from, to), {
        chunkSize: chunkFor(to - from, maxBytes),
        maxOutputLength: Math.max(1, maxBytes),
      })
    } catch (cause) {
      if (isOverflow(cause)) throw overLimit('gzip', maxBytes)
      throw new CompressionError('gzip', -1, describeError(cause), false, cause)
    }
  },
}
