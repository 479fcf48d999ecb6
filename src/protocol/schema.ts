/**
 * Message schemas as data. A field is made by a combinator (`string({ since: 5, nullable: true, default: null })`), a
 * struct is an object of fields in wire order, `defineApi` joins request and response. TypeScript types are inferred
 * from the schema, never written twice; readers and writers are compiled to closures (schema-compile.ts), once per
 * version, when that version is first used: a memo of pure functions, the only thing here that changes.
 *
 * Rules: names are Kafka's JSON names in camelCase. A field is optional on writing when it has a default, a tag, or is
 * not in every version (`since`, `until`); reading gives every field of every version, the default where absent.
 */
import type { Reader } from './reader.ts'
import { type CompiledMessage, compileMessage } from './schema-compile.ts'
import type { Field, FieldOptions, Fields, MessageDefinition, ScalarName } from './wire-type.ts'
import type { Writer } from './writer.ts'

export type { Field, FieldOptions, Fields, MessageDefinition, ScalarName, WireType } from './wire-type.ts'

type Nullable<O> = O extends { readonly nullable: true | number } ? null : never
type Optional<O> = O extends
  | { readonly default: unknown }
  | { readonly tag: number }
  | { readonly since: number }
  | { readonly until: number }
  ? true
  : false

type Flat<T> = { [K in keyof T]: T[K] } & {}
type OutOf<F> = F extends Field<infer Out, infer _In, infer _Optional> ? Out : never
type InOf<F> = F extends Field<infer _Out, infer In, infer _Optional> ? In : never
type IsOptional<F> = F extends Field<infer _Out, infer _In, infer O> ? O : never

/** What reading a struct gives. */
export type OutputOf<F> = { readonly [K in keyof F]: OutOf<F[K]> }
/** What writing a struct takes. */
export type InputOf<F> = Flat<
  { readonly [K in keyof F as IsOptional<F[K]> extends true ? never : K]: InOf<F[K]> } & {
    readonly [K in keyof F as IsOptional<F[K]> extends true ? K : never]?: InOf<F[K]> | undefined
  }
>

function scalar(name: ScalarName, options: FieldOptions<unknown> | undefined, reading?: 'saturated' | 'orInfinity') {
  return {
    type: reading === undefined ? { kind: 'scalar' as const, name } : { kind: 'scalar' as const, name, reading },
    options: options ?? {},
  }
}

export function bool<const O extends FieldOptions<boolean> = FieldOptions<boolean>>(
  options?: O,
): Field<boolean, boolean, Optional<O>> {
  return scalar('bool', options)
}

export function int8<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int8', options)
}

export function int16<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int16', options)
}

export function int32<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int32', options)
}

/** Offsets and ids: a number; beyond ±(2^53 − 1) is an error. */
export function int64<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int64', options)
}

/** An int64 whose largest value means "no bound" and is Infinity here. */
export function int64OrInfinity<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int64', options, 'orInfinity')
}

/** An int64 of milliseconds: reading saturates at ±(2^53 − 1). */
export function timestamp<const O extends FieldOptions<number> = FieldOptions<number>>(
  options?: O,
): Field<number, number, Optional<O>> {
  return scalar('int64', options, 'saturated')
}

export function string<const O extends FieldOptions<string> = FieldOptions<string>>(
  options?: O,
): Field<string | Nullable<O>, string | Nullable<O>, Optional<O>> {
  return scalar('string', options)
}

/** 32 hex digits (uuid.ts). */
export function uuid<const O extends FieldOptions<string> = FieldOptions<string>>(
  options?: O,
): Field<string, string, Optional<O>> {
  return scalar('uuid', options)
}

/** Bytes; read as a subarray of the frame. */
export function bytes<const O extends FieldOptions<Buffer> = FieldOptions<Buffer>>(
  options?: O,
): Field<Buffer | Nullable<O>, Buffer | Nullable<O>, Optional<O>> {
  return scalar('bytes', options)
}

/** Record batches, always nullable: read as a subarray of the frame, written without a copy. */
export function records(): Field<Buffer | null, Buffer | readonly Buffer[] | null, false> {
  return scalar('records', { nullable: true })
}

/** One nested struct. Nullable ones have a presence byte in front (KIP-893). */
export function struct<const F extends Fields, const O extends FieldOptions<null> = FieldOptions<null>>(
  fields: F,
  options?: O,
): Field<OutputOf<F> | Nullable<O>, InputOf<F> | Nullable<O>, Optional<O>> {
  return { type: { kind: 'struct', fields }, options: options ?? {} }
}

/** An array of structs. */
export function structs<const F extends Fields, const O extends FieldOptions<null> = FieldOptions<null>>(
  fields: F,
  options?: O,
): Field<readonly OutputOf<F>[] | Nullable<O>, readonly InputOf<F>[] | Nullable<O>, Optional<O>> {
  return { type: { kind: 'array', element: { kind: 'struct', fields } }, options: options ?? {} }
}

/** An array of scalars: `array(int32())`. */
export function array<
  E extends Field<unknown, unknown, boolean>,
  const O extends FieldOptions<null> = FieldOptions<null>,
>(element: E, options?: O): Field<readonly OutOf<E>[] | Nullable<O>, readonly InOf<E>[] | Nullable<O>, Optional<O>> {
  return { type: { kind: 'array', element: element.type }, options: options ?? {} }
}

/** A message in all its versions. */
export interface MessageCodec<Out, In> {
  /** For messages and errors: `Fetch request`. */
  readonly name: string
  /** The schema as data. */
  readonly fields: Fields
  /** Writes the body. Throws ProtocolError for values the version cannot carry. */
  write(writer: Writer, input: In, version: number): void
  /** Reads the body. Does not throw for bad bytes: ask `reader.check` (decode functions of frame.ts do). */
  read(reader: Reader, version: number): Out
}

/** One Kafka API. Versions are inclusive. */
export interface Api<RequestOut, RequestIn, ResponseOut, ResponseIn> {
  /** Kafka's number of the API. */
  readonly key: number
  /** Kafka's name of the API. */
  readonly name: string
  /** Lowest version: the floor of Kafka 4 (KIP-896). */
  readonly minVersion: number
  /** Highest version: that of Kafka 4.3. */
  readonly maxVersion: number
  /** First version with compact lengths and tagged fields; Infinity = never. */
  readonly flexibleFrom: number
  /** Reads and writes request bodies. */
  readonly request: MessageCodec<RequestOut, RequestIn>
  /** Reads and writes response bodies. */
  readonly response: MessageCodec<ResponseOut, ResponseIn>
}

/** Any API whatever its messages; for tables of APIs. */
export type AnyApi = Api<unknown, never, unknown, never>
/** A request as read. */
export type RequestOf<A> = A extends Api<infer Out, infer _1, infer _2, infer _3> ? Out : never
/** A request as written. */
export type RequestInput<A> = A extends Api<infer _0, infer In, infer _2, infer _3> ? In : never
/** A response as read. */
export type ResponseOf<A> = A extends Api<infer _0, infer _1, infer Out, infer _3> ? Out : never
/** A response as written. */
export type ResponseInput<A> = A extends Api<infer _0, infer _1, infer _2, infer In> ? In : never

/** A message that stands alone, such as a group member's payload. */
export function defineMessage<const F extends Fields>(
  definition: MessageDefinition<F>,
): MessageCodec<OutputOf<F>, InputOf<F>> {
  const [min] = definition.versions
  const compiled: (CompiledMessage | undefined)[] = []
  const at = (version: number): CompiledMessage => {
    const known = compiled[version - min]
    if (known !== undefined) return known
    const fresh = compileMessage(definition, version)
    compiled[version - min] = fresh
    return fresh
  }
  return {
    name: definition.name,
    fields: definition.fields,
    write(writer, input, version) {
      at(version).write(writer, input)
    },
    read(reader, version) {
      return at(version).read(reader) as OutputOf<F>
    },
  }
}

/** Declares an API: the schema of its request and response in every version. */
export function defineApi<const Req extends Fields, const Res extends Fields>(api: {
  readonly key: number
  readonly name: string
  /** First and last version, inclusive. */
  readonly versions: readonly [min: number, max: number]
  readonly flexible: number
  readonly request: Req
  readonly response: Res
}): Api<OutputOf<Req>, InputOf<Req>, OutputOf<Res>, InputOf<Res>> {
  const { key, name, versions, flexible } = api
  return Object.freeze({
    key,
    name,
    minVersion: versions[0],
    maxVersion: versions[1],
    flexibleFrom: flexible,
    request: defineMessage({ name: `${name} request`, versions, flexible, strict: true, fields: api.request }),
    response: defineMessage({ name: `${name} response`, versions, flexible, strict: false, fields: api.response }),
  })
}
