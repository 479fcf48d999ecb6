/**
 * Compiles one version of a schema into a reader and a writer made of closures: which fields the version has, in which
 * encoding, is decided here once and not per message. No code is generated, so nothing needs `eval`.
 */
import { ProtocolError } from './errors.ts'
import type { Reader } from './reader.ts'
import { defaultOf, type Field, type Fields, type MessageDefinition, type WireType, zeroOf } from './wire-type.ts'
import type { Writer } from './writer.ts'

type Read = (reader: Reader) => unknown
type Write = (writer: Writer, value: unknown) => void
type AnyField = Field<unknown, unknown, boolean>

/** Reads and writes one version of a message. */
export interface CompiledMessage {
  read: Read
  write: Write
}

interface Codec extends CompiledMessage {
  /** Bytes that any value takes at least: bounds how many elements the rest of a frame can hold. */
  readonly minBytes: number
}

interface Context {
  readonly version: number
  readonly flexible: boolean
  readonly strict: boolean
  /** Message and field, for errors. */
  readonly path: string
}

/** Plain-looking objects whose fields sit in place: every struct has a shape of its own from its first field on. */
type Shape = new () => Record<string, unknown>

function newShape(): Shape {
  const shape = function shape() {} as unknown as { prototype: object }
  shape.prototype = Object.prototype
  return shape as unknown as Shape
}

/** Compiles `definition` for `version`; throws ProtocolError when it does not have that version. */
export function compileMessage(definition: MessageDefinition<Fields>, version: number): CompiledMessage {
  const [min, max] = definition.versions
  if (!Number.isInteger(version) || version < min || version > max) {
    throw new ProtocolError(`${definition.name} has no version ${version} here: use ${min} to ${max}`)
  }
  const flexible = version >= definition.flexible
  return structCodec(definition.fields, { version, flexible, strict: definition.strict, path: definition.name })
}

function isPresent(field: AnyField, version: number): boolean {
  const { since = 0, until = Number.POSITIVE_INFINITY } = field.options
  return version >= since && version <= until
}

function isNullable(field: AnyField, version: number): boolean {
  const { nullable } = field.options
  return nullable !== undefined && (nullable === true || version >= nullable)
}

function mayBeOmitted(field: AnyField): boolean {
  const { default: own, tag, since, until } = field.options
  return own !== undefined || tag !== undefined || since !== undefined || until !== undefined
}

/** Tells whether a value is the default of `field`, so that a tagged field is left out. */
function defaultTest(field: AnyField): (value: unknown) => boolean {
  const own = defaultOf(field)
  const { type } = field
  if (own === null) return (value) => value === undefined || value === null
  if (type.kind === 'array') {
    return (value) => value === undefined || (value !== null && (value as readonly unknown[]).length === 0)
  }
  if (type.kind === 'struct') {
    const tests = Object.entries(type.fields).map(([name, inner]) => ({ name, test: defaultTest(inner) }))
    return (value) => {
      if (value === undefined || value === own) return true
      if (value === null) return false
      for (const { name, test } of tests) if (!test((value as Record<string, unknown>)[name])) return false
      return true
    }
  }
  if (type.name === 'bytes') {
    return (value) => value === undefined || (value !== null && (value as Buffer).length === 0)
  }
  return (value) => value === undefined || value === own
}

function structCodec(fields: Fields, context: Context): Codec {
  const { version, flexible, strict, path } = context
  const entries = Object.entries(fields)
  const shape = newShape()
  const names = entries.map(([name]) => name)
  const reads: Read[] = []
  const tagged: { tag: number; name: string; isDefault: (value: unknown) => boolean; codec: Codec }[] = []
  const putNames: string[] = []
  const puts: Write[] = []
  const putDefaults: unknown[] = []
  const absent: { name: string; isDefault: (value: unknown) => boolean }[] = []
  let minBytes = flexible ? 1 : 0
  for (const [name, field] of entries) {
    const value = defaultOf(field)
    if (!isPresent(field, version)) {
      reads.push(() => value)
      if (strict && field.options.ignorable !== true && field.options.alternative !== true) {
        absent.push({ name, isDefault: defaultTest(field) })
      }
      continue
    }
    const inner = { ...context, path: `${path}.${name}` }
    const codec = fieldCodec(field, inner)
    const { tag } = field.options
    if (tag !== undefined) {
      if (!flexible) throw new ProtocolError(`${path}.${name}: a tagged field in an inflexible version`)
      reads.push(() => value)
      tagged.push({ tag, name, isDefault: defaultTest(field), codec })
      continue
    }
    minBytes += codec.minBytes
    reads.push(codec.read)
    puts.push(codec.write)
    putNames.push(name)
    putDefaults.push(mayBeOmitted(field) ? value : undefined)
  }
  tagged.sort((a, b) => a.tag - b.tag)
  const readCount = reads.length
  const putCount = puts.length

  const readTags = (r: Reader, target: Record<string, unknown>): void => {
    const count = r.uvarint()
    for (let i = 0; i < count && !r.failed; i++) {
      const tag = r.uvarint()
      const size = r.uvarint()
      const entry = tagged.find((known) => known.tag === tag)
      if (entry === undefined) {
        r.skip(size)
        continue
      }
      if (size > r.remaining) {
        r.fail(`a tagged field of ${size} bytes, ${r.remaining} left`)
        return
      }
      const end = r.at + size
      target[entry.name] = entry.codec.read(r)
      if (!r.failed && r.at !== end) r.fail(`tagged field ${path}.${entry.name} does not fill its ${size} bytes`)
    }
  }

  const writeTags = (w: Writer, source: Record<string, unknown>): void => {
    let count = 0
    for (const { name, isDefault } of tagged) if (!isDefault(source[name])) count += 1
    w.uvarint(count)
    if (count === 0) return
    for (const { tag, name, isDefault, codec } of tagged) {
      const value = source[name]
      if (isDefault(value)) continue
      w.uvarint(tag)
      const open = w.openSized()
      codec.write(w, value)
      w.closeSized(open)
    }
  }

  const refuseAbsent = (source: Record<string, unknown>): void => {
    for (const { name, isDefault } of absent) {
      if (isDefault(source[name])) continue
      throw new ProtocolError(`${path} v${version} cannot carry ${name}: the peer is too old for it`)
    }
  }

  return {
    minBytes,
    read(r) {
      const target = new shape()
      for (let i = 0; i < readCount; i++) target[names[i]!] = reads[i]!(r)
      if (flexible) {
        if (r.at < r.end && r.bytes[r.at] === 0) r.at += 1
        else readTags(r, target)
      }
      return target
    },
    write(w, value) {
      const source = value as Record<string, unknown>
      if (absent.length > 0) refuseAbsent(source)
      for (let i = 0; i < putCount; i++) {
        let item = source[putNames[i]!]
        if (item === undefined) {
          item = putDefaults[i]
          if (item === undefined) throw new ProtocolError(`${path} v${version} needs ${putNames[i]}`)
        }
        puts[i]!(w, item)
      }
      if (!flexible) return
      if (tagged.length === 0) w.uvarint(0)
      else writeTags(w, source)
    },
  }
}

function fieldCodec(field: AnyField, context: Context): Codec {
  const nullable = isNullable(field, context.version)
  const codec = typeCodec(field.type, context, nullable)
  if (nullable || field.options.nullable === undefined) return codec
  // Nullable in a later version only. Here a request may not be null; a response says the zero of the type.
  const { path, strict, version } = context
  const zero = zeroOf(field.type)
  return {
    ...codec,
    write(w, value) {
      if (value === null && strict) throw new ProtocolError(`${path} cannot be null in version ${version}`)
      codec.write(w, value === null ? zero : value)
    },
  }
}

function typeCodec(type: WireType, context: Context, nullable: boolean): Codec {
  if (type.kind === 'struct') {
    const codec = structCodec(type.fields, context)
    return nullable ? nullableStruct(codec) : codec
  }
  if (type.kind === 'array') return arrayCodec(typeCodec(type.element, context, false), context, nullable)
  const { flexible } = context
  switch (type.name) {
    case 'bool':
      return { minBytes: 1, read: (r) => r.boolean(), write: (w, v) => w.boolean(v as boolean) }
    case 'int8':
      return { minBytes: 1, read: (r) => r.int8(), write: (w, v) => w.int8(v as number) }
    case 'int16':
      return { minBytes: 2, read: (r) => r.int16(), write: (w, v) => w.int16(v as number) }
    case 'int32':
      return { minBytes: 4, read: (r) => r.int32(), write: (w, v) => w.int32(v as number) }
    case 'int64':
      if (type.reading === 'saturated') {
        return { minBytes: 8, read: (r) => r.int64Saturated(), write: (w, v) => w.int64(v as number) }
      }
      if (type.reading === 'orInfinity') {
        return { minBytes: 8, read: (r) => r.int64OrInfinity(), write: (w, v) => w.int64OrInfinity(v as number) }
      }
      return { minBytes: 8, read: (r) => r.int64(), write: (w, v) => w.int64(v as number) }
    case 'uuid':
      return { minBytes: 16, read: (r) => r.uuid(), write: (w, v) => w.uuid(v as string) }
    case 'string':
      return stringCodec(flexible, nullable)
    case 'bytes':
      return bytesCodec(flexible, nullable)
    case 'records':
      return recordsCodec(flexible)
    default: {
      const unknown: never = type.name
      throw new ProtocolError(`unknown wire type ${String(unknown)}`)
    }
  }
}

function nullableStruct(codec: Codec): Codec {
  return {
    minBytes: 1,
    read(r) {
      const present = r.int8()
      return present < 0 || r.failed ? null : codec.read(r)
    },
    write(w, value) {
      w.int8(value === null ? -1 : 1)
      if (value !== null) codec.write(w, value)
    },
  }
}

function arrayCodec(element: Codec, context: Context, nullable: boolean): Codec {
  const { flexible, path } = context
  const { read, write } = element
  const minBytes = Math.max(1, element.minBytes)
  return {
    minBytes: flexible ? 1 : 4,
    read(r) {
      const count = flexible ? r.compactArrayLength(minBytes) : r.arrayLength(minBytes)
      const items: unknown[] = []
      if (count < 0) {
        if (nullable) return null
        r.fail(`null where ${path} is required`)
        return items
      }
      for (let i = 0; i < count && !r.failed; i++) items.push(read(r))
      return items
    },
    write(w, value) {
      if (value === null) {
        if (!nullable) throw new ProtocolError(`${path} cannot be null`)
        if (flexible) w.uvarint(0)
        else w.int32(-1)
        return
      }
      const items = value as readonly unknown[]
      if (flexible) w.uvarint(items.length + 1)
      else w.int32(items.length)
      for (let i = 0; i < items.length; i++) write(w, items[i])
    },
  }
}

function stringCodec(flexible: boolean, nullable: boolean): Codec {
  const minBytes = flexible ? 1 : 2
  if (flexible) {
    return nullable
      ? {
          minBytes,
          read: (r) => r.nullableCompactString(),
          write: (w, v) => w.nullableCompactString(v as string | null),
        }
      : { minBytes, read: (r) => r.compactString(), write: (w, v) => w.compactString(v as string) }
  }
  return nullable
    ? { minBytes, read: (r) => r.nullableString(), write: (w, v) => w.nullableString(v as string | null) }
    : { minBytes, read: (r) => r.string(), write: (w, v) => w.string(v as string) }
}

function bytesCodec(flexible: boolean, nullable: boolean): Codec {
  return {
    minBytes: flexible ? 1 : 4,
    read(r) {
      const length = flexible ? r.compactBytesLength() : r.bytesLength()
      if (length >= 0) return r.span(length)
      if (nullable) return null
      r.fail('null where bytes are required')
      return r.span(0)
    },
    write(w, value) {
      const bytes = value as Buffer | null
      const length = bytes === null ? -1 : bytes.length
      if (flexible) w.uvarint(length + 1)
      else w.int32(length)
      if (bytes !== null) w.raw(bytes)
    },
  }
}

function recordsCodec(flexible: boolean): Codec {
  return {
    minBytes: flexible ? 1 : 4,
    read(r) {
      const length = flexible ? r.compactBytesLength() : r.bytesLength()
      return length < 0 ? null : r.span(length)
    },
    write(w, value) {
      const batches = value as Buffer | readonly Buffer[] | null
      let length = -1
      if (Buffer.isBuffer(batches)) length = batches.length
      else if (batches !== null) {
        length = 0
        for (const batch of batches) length += batch.length
      }
      if (flexible) w.uvarint(length + 1)
      else w.int32(length)
      if (Buffer.isBuffer(batches)) w.foreign(batches)
      else if (batches !== null) for (const batch of batches) w.foreign(batch)
    },
  }
}
