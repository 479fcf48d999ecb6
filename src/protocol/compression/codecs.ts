/**
 * The codecs by name. Apart from codec.ts, so that a codec's file can import what a codec is without a cycle.
 */
import { unreachable } from '../../base/assert.ts'
import type { Codec, CompressionName } from './codec.ts'
import { gzip } from './gzip.ts'
import { lz4 } from './lz4.ts'
import { snappy } from './snappy.ts'
import { zstd } from './zstd.ts'

/** The codec of that name. Asking for zstd always works; using it throws UnsupportedCompressionError where Node lacks it. */
export function codecOf(name: Exclude<CompressionName, 'none'>): Codec {
  switch (name) {
    case 'gzip':
      return gzip
    case 'snappy':
      return snappy
    case 'lz4':
      return lz4
    case 'zstd':
      return zstd
    default:
      return unreachable(name)
  }
}
