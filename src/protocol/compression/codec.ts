/**
 * What a compression codec is, the table of those a record batch can name, and their errors. Every decompressor has an
 * output limit, and none allocates more than the bytes it was given can justify. No state: a codec is two functions.
 */
import { MillraceError } from '../../base/errors.ts'

/** Name of a codec in options and views. */
export type CompressionName = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** All names, at the index that a batch's attributes carry. */
export const compressionNames: readonly CompressionName[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

/** Default limit of one decompressed batch, bytes (128 MiB). */
export const DEFAULT_MAX_DECOMPRESSED_BYTES = 128 * 1024 * 1024

/** A codec: both directions, synchronous, no state. */
export interface Codec {
  readonly name: CompressionName
  /** `bytes[from, to)` compressed; the caller owns the result. */
  compress(bytes: Buffer, from: number, to: number): Buffer
  /**
   * `bytes[from, to)` decompressed; the caller owns the result. Throws CompressionError when the data are not valid, or
   * when they would become longer than `maxBytes` (`limitExceeded`).
   */
  decompress(bytes: Buffer, from: number, to: number, maxBytes: number): Buffer
}

/** Compressed data that cannot be decompressed, or may not. Code `ERR_COMPRESSION`. Not retriable. */
export class CompressionError extends MillraceError {
  override readonly name = 'CompressionError'
  /** Index in the buffer handed in where the fault was met; -1 where the codec cannot tell. */
  readonly position: number
  /** Whether the data are refused for their decompressed size only. */
  readonly limitExceeded: boolean
  constructor(codec: CompressionName, position: number, what: string, limitExceeded = false, cause?: unknown) {
    super('ERR_COMPRESSION', `${codec}: ${what}${position < 0 ? '' : ` (at byte ${position})`}`, { cause })
    this.position = position
    this.limitExceeded = limitExceeded
  }
}

/** The batch names a codec that this runtime lacks. Code `ERR_UNSUPPORTED_COMPRESSION`. Not retriable. */
export class UnsupportedCompressionError extends MillraceError {
  override readonly name = 'UnsupportedCompressionError'
  constructor(what: string) {
    super('ERR_UNSUPPORTED_COMPRESSION', what)
  }
}

/** The error of a decompressor whose output would pass its limit. */
export function overLimit(codec: CompressionName, maxBytes: number, position = -1): CompressionError {
  return new CompressionError(
    codec,
    position,
    `the data decompress to more than ${maxBytes} bytes; raise maxDecompressedBytes if this is expected`,
    true,
  )
}
