/**
 * The vocabulary of schemas: wire types, fields and their defaults. schema.ts makes fields, schema-compile.ts turns them
 * into readers and writers; both stand on this file and it on neither.
 */
import { ZERO_UUID } from './uuid.ts'

/** What may be said about a field besides its type. */
export interface FieldOptions<T> {
  /** First version that has the field. Default: all. */
  readonly since?: number
  /** Last version that has the field. Default: all. */
  readonly until?: number
  /** true: may be null in all its versions; a number: from that version on. */
  readonly nullable?: true | number
  /** Value where the version lacks the field or the writer omits it. Default: 0, false, '', empty. */
  readonly default?: T | null
  /** Tag number: the field is tagged in all its versions. */
  readonly tag?: number
  /** A request may lose the field silently when the version lacks it. Otherwise writing it there is an error. */
  readonly ignorable?: boolean
  /** The same fact has another field in the versions that lack this one, so callers may fill in both. */
  readonly alternative?: boolean
}

/** Names of the wire types, Kafka's words. */
export type ScalarName = 'bool' | 'int8' | 'int16' | 'int32' | 'int64' | 'string' | 'uuid' | 'bytes' | 'records'

/** The wire type of a field. `reading` refines how an int64 becomes a number. */
export type WireType =
  | { readonly kind: 'scalar'; readonly name: ScalarName; readonly reading?: 'saturated' | 'orInfinity' }
  | { readonly kind: 'struct'; readonly fields: Fields }
  | { readonly kind: 'array'; readonly element: WireType }

/** One field. The type parameters are phantom: what reading gives, what writing takes, whether it may be omitted. */
export interface Field<Out, In, Optional extends boolean> {
  readonly type: WireType
  readonly options: FieldOptions<unknown>
  readonly phantom?: { readonly out: Out; readonly in: In; readonly optional: Optional }
}

/** Fields of a struct, in wire order. */
export interface Fields {
  readonly [name: string]: Field<unknown, unknown, boolean>
}

const EMPTY_ARRAY: readonly never[] = Object.freeze([])
const EMPTY_BUFFER = Buffer.alloc(0)

/** The value of a type that nothing was said about. Shared and frozen: do not change it. */
export function zeroOf(type: WireType): unknown {
  if (type.kind === 'array') return EMPTY_ARRAY
  if (type.kind === 'struct') {
    return Object.freeze(Object.fromEntries(Object.entries(type.fields).map(([name, f]) => [name, defaultOf(f)])))
  }
  switch (type.name) {
    case 'bool':
      return false
    case 'string':
      return ''
    case 'uuid':
      return ZERO_UUID
    case 'bytes':
      return EMPTY_BUFFER
    case 'records':
      return null
    default:
      return 0
  }
}

/** The default value of a field: its own, or the zero of its type. */
export function defaultOf(field: Field<unknown, unknown, boolean>): unknown {
  const own = field.options.default
  return own === undefined ? zeroOf(field.type) : own
}

/** A message as declared, before it is compiled. */
export interface MessageDefinition<F extends Fields> {
  readonly name: string
  readonly versions: readonly [min: number, max: number]
  /** First flexible version; Infinity = never. */
  readonly flexible: number
  /** Refuse (true) or drop (false) values that the version cannot carry. */
  readonly strict: boolean
  readonly fields: F
}
