/**
 * Context: what a callback may do with the record it got. Its type is computed from the group's declaration, so what is
 * not declared does not compile; the same is checked at run time. A context is valid only until its callback has ended.
 */
import type { Codec } from './codec.ts'
import type { Stream, Table, ValueOf } from './handles.ts'

/** A record's header. Headers are an ordered list; keys may repeat. */
export interface RecordHeader {
  /** May be empty, and may repeat. */
  readonly key: string
  /** Null is not the same as empty. */
  readonly value: Buffer | null
}

/** A header to be sent. */
export interface HeaderToSend {
  /** May be empty, and may repeat. */
  readonly key: string
  /** A string is sent as UTF-8. */
  readonly value: Uint8Array | string | null
}

/** Options of `ctx.emit` and `ctx.loopback`; all have defaults. */
export interface EmitOptions {
  /** Headers of the record. Default none: the input's headers are not forwarded. */
  readonly headers?: readonly HeaderToSend[]
  /** The record's timestamp, milliseconds since 1970. Default: the input record's. */
  readonly timestamp?: number
}

/** What a group declares; the left side of its graph. */
export interface Declaration {
  /** How keys are decoded. Default `string`, which refuses invalid UTF-8. */
  readonly key?: Codec<unknown>
  /** The codec of the group table's values. Without it the group has no state. */
  readonly table?: Codec<unknown>
  /** The codec of the loop's values. With it the group has a loop: `ctx.loopback` and `onLoop`. */
  readonly loop?: Codec<unknown>
  /** Streams that callbacks may emit to. */
  readonly outputs?: readonly Stream<unknown>[]
  /** Tables with the partitioning of the inputs, readable at the record's own key. */
  readonly joins?: readonly Table<unknown>[]
  /** Tables of which every instance holds a full copy, readable at any key. */
  readonly lookups?: readonly Table<unknown>[]
}

/** The type of a group's keys. */
export type KeyOf<D extends Declaration> = D['key'] extends Codec<infer K> ? K : string
/** The type of a group table's values; never if the group has no table. */
export type StateOf<D extends Declaration> = D['table'] extends Codec<infer T> ? T : never
/** The type of a group's loop values; never if the group has no loop. */
export type LoopOf<D extends Declaration> = D['loop'] extends Codec<infer T> ? T : never
/** The union of a group's output handles. */
export type OutputsOf<D extends Declaration> = D['outputs'] extends readonly (infer O)[] ? O : never
/** The union of a group's joined tables. */
export type JoinsOf<D extends Declaration> = D['joins'] extends readonly (infer J)[] ? J : never
/** The union of a group's lookup tables. */
export type LookupsOf<D extends Declaration> = D['lookups'] extends readonly (infer L)[] ? L : never

/** Where the record that is being processed came from. */
export interface RecordInfo {
  /** The input topic (or the loop's). */
  readonly topic: string
  /** From 0 on. */
  readonly partition: number
  /** Within the partition. */
  readonly offset: number
  /** The record's timestamp, milliseconds since 1970; −1 when it has none. */
  readonly timestamp: number
  /** The record's headers, in order. Decoded at the first call; empty for most records. */
  headers(): readonly RecordHeader[]
}

/**
 * What a callback may do. Everything it does takes effect when the callback ends without throwing; if it throws, nothing
 * of it does. Using a context after its callback ended throws `ERR_CONTEXT_ENDED`.
 */
export interface Context<D extends Declaration> extends RecordInfo {
  /** The record's key, decoded. */
  readonly key: KeyOf<D>
  /**
   * The group table's value at the record's key; undefined if there is none. Sees what earlier records set. Changing the
   * returned object changes nothing until it is `set`.
   * @throws {StreamsError} `ERR_UNDECLARED` without a table, `ERR_CODEC` when the stored bytes cannot be decoded
   */
  get(): StateOf<D> | undefined
  /**
   * Sets the group table's value at the record's key.
   * @throws {StreamsError} `ERR_UNDECLARED` without a table, `ERR_CODEC` when the codec refuses the value
   */
  set(value: StateOf<D>): void
  /** Removes the record's key from the group table. */
  delete(): void
  /**
   * Sends a record to a declared output. A null value is a deletion: the codec is not called.
   * @throws {StreamsError} `ERR_UNDECLARED` for another stream, `ERR_CODEC` when the codec refuses the value
   */
  emit<O extends OutputsOf<D>>(to: O, key: string | Uint8Array, value: ValueOf<O> | null, options?: EmitOptions): void
  /** The joined table's value at the record's key; undefined if there is none. */
  join<J extends JoinsOf<D>>(table: J): ValueOf<J> | undefined
  /** The lookup table's value at any key; undefined if there is none. Keys are compared as bytes; text is UTF-8. */
  lookup<L extends LookupsOf<D>>(table: L, key: string | Uint8Array): ValueOf<L> | undefined
  /** Sends a record to the group's own loop: reaches another key of the same group. */
  loopback(key: KeyOf<D>, value: LoopOf<D>, options?: EmitOptions): void
}

/** A callback. A returned promise is awaited before the next record of its partition; anything else is ignored. */
export type Handler<D extends Declaration, T> = (ctx: Context<D>, value: T) => void | Promise<void>

/** A context without its static types: what the runtime implements, once for all groups. */
export interface UntypedContext extends RecordInfo {
  readonly key: unknown
  get(): unknown
  set(value: unknown): void
  delete(): void
  emit(to: Stream<unknown>, key: string | Uint8Array, value: unknown, options?: EmitOptions): void
  join(table: Table<unknown>): unknown
  lookup(table: Table<unknown>, key: string | Uint8Array): unknown
  loopback(key: unknown, value: unknown, options?: EmitOptions): void
}

/** A callback without its static types. */
export type UntypedHandler = (ctx: UntypedContext, value: unknown) => void | Promise<void>
