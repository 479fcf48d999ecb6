/**
 * Every schema against Kafka's own definition: names in wire order, types, versions, nullability, tags, defaults, what
 * may be ignored, ranges of versions. Facts are compared, read from the jar of the release under test.
 */
import * as assert from 'uvu/assert'
import { allApis } from '../../src/protocol/api/index.ts'
import type { Field, Fields, WireType } from '../../src/protocol/wire-type.ts'
import { declaredDefault } from '../protocol/random-message.ts'
import { allMessages, type Message } from '../protocol/vectors.ts'
import { suite } from '../support/suite.ts'
import { JavaPeer } from './java-peer.ts'
import {
  definitionOf,
  intersect,
  type KafkaDefinition,
  type KafkaField,
  type Range,
  offeredVersions,
  rangeOf,
  stableRange,
} from './kafka-schema.ts'

const release = process.env['MILLRACE_KAFKA'] ?? '4.3'
const newest = release === '4.3'
const test = suite(`conformance of schemas with Kafka ${release}`, { deadlineMs: 60_000 })
let java: JavaPeer

test.before(async () => {
  java = await JavaPeer.start(release)
})
test.after(() => java.close())

/** A field in neutral words, so that a difference reads well. */
interface Fact {
  readonly name: string
  readonly type: string
  readonly versions: string
  readonly nullable: string
  readonly tag: number | undefined
  readonly default: string
  readonly ignorable: boolean | undefined
  readonly fields: readonly Fact[] | undefined
}

const text = (range: Range): string => (range.min > range.max ? 'none' : `${range.min}-${range.max}`)

function typeName(type: WireType): string {
  if (type.kind === 'array') return `[]${typeName(type.element)}`
  return type.kind === 'struct' ? 'struct' : type.name
}

function structFields(type: WireType): Fields | undefined {
  if (type.kind === 'array') return structFields(type.element)
  return type.kind === 'struct' ? type.fields : undefined
}

/** Our schema as facts; `within`: versions of the enclosing struct. */
function ourFacts(fields: Fields, within: Range, isRequest: boolean): Fact[] {
  const facts: Fact[] = []
  for (const [name, field] of Object.entries(fields)) {
    const { since = 0, until = Number.POSITIVE_INFINITY, nullable, tag } = field.options
    const versions = intersect({ min: since, max: until }, within)
    if (versions.min > versions.max) continue
    const nullFrom = nullable === undefined ? Number.POSITIVE_INFINITY : nullable === true ? 0 : nullable
    const inner = structFields(field.type)
    facts.push({
      name,
      type: typeName(field.type),
      versions: text(versions),
      nullable: text(intersect({ min: nullFrom, max: Number.POSITIVE_INFINITY }, versions)),
      tag,
      default: ourDefault(field),
      ignorable: lostInSome(versions, within) && isRequest ? ignorable(field) : undefined,
      fields: inner === undefined ? undefined : ourFacts(inner, versions, isRequest),
    })
  }
  return facts
}

/** Only what some version lacks can be lost there. */
function lostInSome(versions: Range, within: Range): boolean {
  return versions.min > within.min || versions.max < within.max
}

/** Fields with an alternative are ours to judge: undefined agrees with anything. */
function ignorable(field: Field<unknown, unknown, boolean>): boolean | undefined {
  return field.options.alternative === true ? undefined : field.options.ignorable === true
}

function ourDefault(field: Field<unknown, unknown, boolean>): string {
  const { type } = field
  const value = declaredDefault(field)
  if (value === null) return 'null'
  if (type.kind !== 'scalar') return 'empty'
  if (type.name === 'bytes') return 'empty'
  if (type.name === 'uuid') return 'zero'
  return value === Number.POSITIVE_INFINITY ? '9223372036854775807' : String(value)
}

function kafkaFacts(
  definition: KafkaDefinition,
  fields: readonly KafkaField[],
  within: Range,
  request: boolean,
): Fact[] {
  const facts: Fact[] = []
  for (const field of fields) {
    const versions = intersect(rangeOf(field.versions), within)
    if (versions.min > versions.max) continue
    const bare = field.type.replace('[]', '')
    const inner = field.fields ?? definition.commonStructs?.find((struct) => struct.name === bare)?.fields
    const tagged = intersect(rangeOf(field.taggedVersions), versions)
    if (field.tag !== undefined) assert.equal(tagged, versions, `${field.name}: tagged in all its versions or in none`)
    facts.push({
      name: field.name.charAt(0).toLowerCase() + field.name.slice(1),
      type: inner === undefined ? field.type : field.type.startsWith('[]') ? '[]struct' : 'struct',
      versions: text(versions),
      nullable: text(intersect(rangeOf(field.nullableVersions), versions)),
      tag: field.tag,
      default: kafkaDefault(field, bare === field.type, inner !== undefined),
      ignorable: lostInSome(versions, within) && request ? field.ignorable === true : undefined,
      fields: inner === undefined ? undefined : kafkaFacts(definition, inner, versions, request),
    })
  }
  return facts
}

function kafkaDefault(field: KafkaField, single: boolean, isStruct: boolean): string {
  if (field.default !== undefined && String(field.default) === 'null') return 'null'
  // A nullable `records` is null by default in Kafka's generated classes; so it is here.
  if (field.type === 'records') return 'null'
  if (!single || isStruct || field.type === 'bytes') return 'empty'
  if (field.type === 'uuid') return 'zero'
  if (field.type === 'string') return String(field.default ?? '')
  if (field.type === 'bool') return String(field.default ?? false)
  return String(BigInt(field.default === undefined ? 0 : String(field.default)))
}

/** Ours in theirs' place where the schema says that it is a matter of judgement. */
function settle(ours: readonly Fact[], theirs: readonly Fact[]): Fact[] {
  return theirs.map((fact) => {
    const own = ours.find((candidate) => candidate.name === fact.name)
    if (own === undefined) return fact
    return {
      ...fact,
      ignorable: own.ignorable === undefined ? undefined : fact.ignorable,
      fields: fact.fields === undefined ? undefined : settle(own.fields ?? [], fact.fields),
    }
  })
}

function flexibleFrom(definition: KafkaDefinition): number {
  return rangeOf(definition.flexibleVersions).min
}

function compare(message: Message, definition: KafkaDefinition, theirs: Range): void {
  const isRequest = message.name.endsWith('Request')
  const ours = { min: message.minVersion, max: message.maxVersion }
  if (newest) assert.equal(ours, theirs, 'versions')
  assert.is(message.flexibleFrom, flexibleFrom(definition), 'flexible versions')
  const common = intersect(ours, theirs)
  const expected = kafkaFacts(definition, definition.fields, common, isRequest)
  const actual = ourFacts(message.codec.fields, common, isRequest)
  assert.equal(actual, settle(actual, expected), 'fields')
}

for (const message of allMessages) {
  test(message.name, async () => {
    const definition = await definitionOf(java, message.name)
    compare(message, definition, await offeredVersions(java, message.name))
  })
}

test('keys', async () => {
  for (const api of allApis) {
    const definition = await definitionOf(java, `${api.name}Request`)
    assert.is(definition.apiKey, api.key, api.name)
  }
})

test('a wrong schema is found', async () => {
  const definition = await definitionOf(java, 'HeartbeatRequest')
  const message = allMessages.find((candidate) => candidate.name === 'HeartbeatRequest')
  assert.ok(message)
  const range = stableRange(definition)
  const differs = (fields: readonly KafkaField[]): boolean => {
    try {
      compare(message, { ...definition, fields }, range)
      return false
    } catch {
      return true
    }
  }
  const wrongs: ((field: KafkaField) => KafkaField)[] = [
    (field) => ({ ...field, name: `${field.name}X` }),
    (field) => ({ ...field, type: 'int8' }),
    (field) => ({ ...field, versions: '2+' }),
    (field) => ({ ...field, nullableVersions: '4+' }),
    (field) => ({ ...field, default: 'other' }),
  ]
  for (const wrong of wrongs) {
    const last = definition.fields.length - 1
    const fields = definition.fields.map((field, i) => (i === last ? wrong(field) : field))
    assert.ok(differs(fields), String(wrong))
  }
  assert.ok(differs(definition.fields.toReversed()))
  assert.not(differs(definition.fields))
})

test.run()
