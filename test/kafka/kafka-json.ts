/** A message as read by us, in the form in which Kafka's own JSON converters print the same message. */
import { uuidToBase64 } from '../../src/protocol/uuid.ts'
import type { Fields, WireType } from '../../src/protocol/wire-type.ts'
import { declaredDefault, isPresent } from '../protocol/random-message.ts'

function isEmptyDefault(value: unknown, byDefault: unknown): boolean {
  return JSON.stringify(value) === JSON.stringify(byDefault)
}

function toJson(type: WireType, value: unknown, version: number): unknown {
  if (value === null) return null
  if (type.kind === 'struct') return kafkaJson(type.fields, value as Record<string, unknown>, version)
  if (type.kind === 'array') return (value as unknown[]).map((item) => toJson(type.element, item, version))
  if (type.name === 'uuid') return uuidToBase64(value as string)
  if (type.name === 'bytes') return (value as Buffer).toString('base64')
  if (type.name === 'records') return '' // the converters print no records
  return value
}

/** Fields of the version only, and tagged fields only where they differ from their default. */
export function kafkaJson(fields: Fields, output: Record<string, unknown>, version: number): Record<string, unknown> {
  const json: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) {
    if (!isPresent(field, version)) continue
    const value = output[name]
    if (field.options.tag !== undefined && isEmptyDefault(value, declaredDefault(field))) continue
    json[name] = toJson(field.type, value, version)
  }
  return json
}
