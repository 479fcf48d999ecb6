/**
 * Handles: what users hold of a topic. A handle carries name and codec; its literal name makes it nominal, so that two
 * topics with the same value type are not mistaken for each other. Handles are frozen data and know no broker.
 */
import type { Codec } from './codec.ts'
import { StreamsError, TopicNameError } from './errors.ts'
import { nameFault } from './names.ts'

/** A topic of records that are processed one by one. Made by `stream()`. */
export interface Stream<T, N extends string = string> {
  /** Tells a stream from a table, also at run time. */
  readonly kind: 'stream'
  /** The topic's name. */
  readonly topic: N
  /** How its values become bytes and back. */
  readonly codec: Codec<T>
}

/** A compacted topic read as a table: the last value per key. Made by `table()`, or as `group.table`. */
export interface Table<T, N extends string = string> {
  /** Tells a table from a stream, also at run time. */
  readonly kind: 'table'
  /** The topic's name. */
  readonly topic: N
  /** How its values become bytes and back. */
  readonly codec: Codec<T>
}

/** The value type of a stream or table handle. */
export type ValueOf<H> = H extends Stream<infer T> ? T : H extends Table<infer T> ? T : never

/**
 * Names a topic as a stream of `codec`'s values. Creates nothing: see `ensureStreams`.
 * @param topic 1 to 249 of the characters a–z, A–Z, 0–9, `.`, `_`, `-`; not `.` or `..`.
 * @throws {TopicNameError} `ERR_TOPIC_NAME`
 * @example const clicks = stream('user-click', string)
 */
export function stream<const N extends string, T>(topic: N, codec: Codec<T>): Stream<T, N> {
  checkHandle('stream', topic, codec)
  return Object.freeze({ kind: 'stream', topic, codec })
}

/**
 * Names a topic as a table of `codec`'s values, to join it, look it up or view it. The topic's full name is meant: the
 * table of group `g` is `g-table`, or simply the group's `table` property. Creates nothing.
 * @param topic 1 to 249 of the characters a–z, A–Z, 0–9, `.`, `_`, `-`; not `.` or `..`.
 * @throws {TopicNameError} `ERR_TOPIC_NAME`
 * @example const profiles = table('profiles-table', json<Profile>())
 */
export function table<const N extends string, T>(topic: N, codec: Codec<T>): Table<T, N> {
  checkHandle('table', topic, codec)
  return Object.freeze({ kind: 'table', topic, codec })
}

function checkHandle(kind: 'stream' | 'table', topic: string, codec: unknown): void {
  const fault = nameFault(topic)
  if (fault !== undefined) throw new TopicNameError(`the topic name of ${kind}(${shown(topic)}) ${fault}`)
  if (!isCodec(codec)) {
    throw new StreamsError('ERR_GRAPH', `${kind}(${shown(topic)}) needs a codec: an object with encode and decode`)
  }
}

/** Whether `value` can serve as a codec; for callers without a type checker. */
export function isCodec(value: unknown): value is Codec<unknown> {
  if (typeof value !== 'object' || value === null) return false
  const codec = value as Partial<Record<'encode' | 'decode', unknown>>
  return typeof codec.encode === 'function' && typeof codec.decode === 'function'
}

/** Whether `value` is a handle of this kind; for callers without a type checker. */
export function isHandle<K extends 'stream' | 'table'>(
  value: unknown,
  kind: K,
): value is K extends 'stream' ? Stream<unknown> : Table<unknown> {
  if (typeof value !== 'object' || value === null) return false
  const handle = value as Partial<Record<'kind' | 'topic' | 'codec', unknown>>
  return handle.kind === kind && nameFault(handle.topic) === undefined && isCodec(handle.codec)
}

function shown(topic: unknown): string {
  const text = typeof topic === 'string' ? JSON.stringify(topic) : String(topic)
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`
}
