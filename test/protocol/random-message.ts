/**
 * Random messages of a schema, and what reading them must give. Both walk the declared fields on their own and share no
 * code with the compiled readers and writers they test.
 */
import { ZERO_UUID } from '../../src/protocol/uuid.ts'
import type { Field, Fields, WireType } from '../../src/protocol/wire-type.ts'
import type { SeededRandom } from '../sim/random.ts'

type AnyField = Field<unknown, unknown, boolean>
type Values = Record<string, unknown>

const lengths = [0, 1, 5, 17, 47, 48, 49, 126, 127, 128, 300]

/** Valid UTF-16: ASCII, or a mix of one to four bytes of UTF-8 per character. */
export function randomText(random: SeededRandom): string {
  const length = random.chance(0.02) ? random.int(8_000) : random.pick(lengths)
  const ascii = random.chance(0.6)
  let text = ''
  for (let i = 0; i < length; i++) {
    const kind = ascii ? 0 : random.int(4)
    if (kind === 0) text += String.fromCharCode(random.int(0x80))
    else if (kind === 1) text += String.fromCharCode(random.between(0x80, 0x7ff))
    else if (kind === 2) text += String.fromCharCode(random.between(0x800, 0xd7ff))
    else text += String.fromCodePoint(random.between(0x10000, 0x10ffff))
  }
  return text
}

function randomScalar(type: Extract<WireType, { kind: 'scalar' }>, random: SeededRandom): unknown {
  switch (type.name) {
    case 'bool':
      return random.chance(0.5)
    case 'int8':
      return random.between(-128, 127)
    case 'int16':
      return random.chance(0.3) ? random.between(-1, 3) : random.between(-32_768, 32_767)
    case 'int32':
      return random.chance(0.3) ? random.between(-1, 3) : random.uint32() | 0
    case 'int64': {
      const most = Number.MAX_SAFE_INTEGER
      const some = Math.floor(random.next() * most)
      const choices = [most, -most, random.between(-1, 3), random.uint32(), some, -some]
      if (type.reading === 'orInfinity') choices.push(Number.POSITIVE_INFINITY)
      return random.pick(choices)
    }
    case 'string':
      return randomText(random)
    case 'uuid':
      return random.chance(0.2) ? ZERO_UUID : random.bytes(16).toString('hex')
    case 'bytes':
      return random.bytes(random.chance(0.05) ? 10_000 : random.int(200))
    case 'records': {
      const parts = Array.from({ length: random.int(4) }, () => random.bytes(random.int(300)))
      return random.chance(0.5) ? parts : Buffer.concat(parts)
    }
  }
}

export function isPresent(field: AnyField, version: number): boolean {
  const { since = 0, until = Number.POSITIVE_INFINITY } = field.options
  return version >= since && version <= until
}

function isNullable(field: AnyField, version: number): boolean {
  const { nullable } = field.options
  return nullable !== undefined && (nullable === true || version >= nullable)
}

function isOptional(field: AnyField): boolean {
  const { default: own, tag, since, until } = field.options
  return own !== undefined || tag !== undefined || since !== undefined || until !== undefined
}

function randomValue(type: WireType, version: number, random: SeededRandom, depth: number): unknown {
  if (type.kind === 'struct') return randomInput(type.fields, version, random, depth)
  if (type.kind === 'scalar') return randomScalar(type, random)
  const count = random.chance(0.02) && depth === 0 ? 150 : random.int(depth > 1 ? 3 : 5)
  return Array.from({ length: count }, () => randomValue(type.element, version, random, depth + 1))
}

/** What one may pass to `write` for `version`: fields of other versions are left out, optional ones at random. */
export function randomInput(fields: Fields, version: number, random: SeededRandom, depth = 0): Values {
  const input: Values = {}
  for (const [name, field] of Object.entries(fields)) {
    if (!isPresent(field, version)) continue
    if (isOptional(field) && random.chance(0.3)) continue
    if (isNullable(field, version) && random.chance(0.2)) input[name] = null
    else input[name] = randomValue(field.type, version, random, depth)
  }
  return input
}

/** The default the schema declares, worked out anew. */
export function declaredDefault(field: AnyField): unknown {
  const own = field.options.default
  if (own !== undefined) return own
  const { type } = field
  if (type.kind === 'array') return []
  if (type.kind === 'struct') return expectedOutput(type.fields, {}, -1)
  switch (type.name) {
    case 'bool':
      return false
    case 'string':
      return ''
    case 'uuid':
      return ZERO_UUID
    case 'bytes':
      return Buffer.alloc(0)
    case 'records':
      return null
    default:
      return 0
  }
}

function expectedValue(type: WireType, value: unknown, version: number): unknown {
  if (value === null) return null
  if (type.kind === 'struct') return expectedOutput(type.fields, value as Values, version)
  if (type.kind === 'array') return (value as unknown[]).map((item) => expectedValue(type.element, item, version))
  if (type.name === 'records' && Array.isArray(value)) return Buffer.concat(value as Buffer[])
  return value
}

/** What `read` must give for what `write` was given. */
export function expectedOutput(fields: Fields, input: Values, version: number): Values {
  const output: Values = {}
  for (const [name, field] of Object.entries(fields)) {
    const value = isPresent(field, version) ? input[name] : undefined
    output[name] = value === undefined ? declaredDefault(field) : expectedValue(field.type, value, version)
  }
  return output
}
