/**
 * Codec: how a value or a key becomes bytes and back. Types flow from codecs to callbacks, so a codec is the only place
 * where a stream's or a table's value type is said. A codec holds no state: one object serves any number of streams.
 * The helpers below are what the runtime calls: they take the span forms when a codec has them and turn whatever a
 * codec throws into a CodecError.
 */
import { describeError } from '../base/errors.ts'
import { CodecError } from './errors.ts'

/** Where a codec's `write` puts its bytes. */
export interface ValueWriter {
  /** The chunk being filled. `reserve` may replace it: read it again afterwards. */
  readonly bytes: Buffer
  /** Where the next byte goes; `write` moves it behind what it wrote. */
  at: number
  /** Makes room for at least `size` more bytes behind `at`. */
  reserve(size: number): void
  /** Copies `source` to `at` and moves `at` behind it. */
  append(source: Uint8Array): void
}

/**
 * Encodes and decodes the values (or keys) of a stream or table. `encode` and `decode` are enough; the rest is optional.
 * Null is never passed to a codec: a null value in Kafka is a deletion.
 */
export interface Codec<T> {
  /** For error messages: `string`, `json`, `orders.v2`. Default: the word `custom`. */
  readonly name?: string
  /** The value's bytes. They are copied before the call's turn ends. Throw when the value cannot be encoded. */
  encode(value: T): Uint8Array
  /** The value in `bytes`, which are valid only during the call: copy what you keep. Throw when they make no sense. */
  decode(bytes: Buffer): T
  /** `encode` without an intermediate array: appends to `writer`. Must give the same bytes as `encode`. */
  write?(value: T, writer: ValueWriter): void
  /** `decode` without an intermediate Buffer: the value in `buffer[from, to)`, valid only during the call. */
  read?(buffer: Buffer, from: number, to: number): T
  /**
   * Cheap test that throws when `value` could not be encoded. Called by `ctx.set`, so that a bad value fails in the
   * callback that set it; without it the fault is found when the value is encoded, at the next checkpoint at the latest.
   */
  check?(value: T): void
  /** Values need no protection against mutation (string, bigint, number). Default false. */
  readonly immutable?: boolean
}

/** The codec's name in messages. */
export function codecName(codec: Codec<unknown>): string {
  return codec.name ?? 'custom'
}

/** Appends the value's bytes to `writer`. Throws CodecError, and then `writer.at` is as before. */
export function encodeTo<T>(codec: Codec<T>, value: T, writer: ValueWriter): void {
  const from = writer.at
  try {
    if (codec.write !== undefined) codec.write(value, writer)
    else writer.append(codec.encode(value))
  } catch (cause) {
    writer.at = from
    throw codecError(codec, `cannot encode ${describeValue(value)}`, cause)
  }
}

/** The value's bytes as an array of their own. Throws CodecError. */
export function encodeValue<T>(codec: Codec<T>, value: T): Uint8Array {
  try {
    return codec.encode(value)
  } catch (cause) {
    throw codecError(codec, `cannot encode ${describeValue(value)}`, cause)
  }
}

/** The value in `buffer[from, to)`. Throws CodecError. */
export function decodeFrom<T>(codec: Codec<T>, buffer: Buffer, from: number, to: number): T {
  try {
    if (codec.read !== undefined) return codec.read(buffer, from, to)
    return codec.decode(buffer.subarray(from, to))
  } catch (cause) {
    throw codecError(codec, `cannot decode ${to - from} bytes`, cause)
  }
}

/** The codec's own test of a value, if it has one. Throws CodecError. */
export function checkValue<T>(codec: Codec<T>, value: T): void {
  if (codec.check === undefined) return
  try {
    codec.check(value)
  } catch (cause) {
    throw codecError(codec, `refuses ${describeValue(value)}`, cause)
  }
}

function codecError(codec: Codec<unknown>, what: string, cause: unknown): CodecError {
  if (cause instanceof CodecError) return cause
  return new CodecError(codecName(codec), `${what}: ${describeError(cause)}`, cause)
}

/** A value for messages: its type, never its content, which may be secret. */
export function describeValue(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'object') return `an object (${value.constructor?.name ?? 'no prototype'})`
  return `a value of type ${typeof value}`
}
