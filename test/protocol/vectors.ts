/**
 * The seeded messages that Kafka's classes confirm in `test:kafka` and whose digest guards `npm test`: 20 per message
 * and version. The digest is in test/golden/protocol/messages.json; `MILLRACE_UPDATE_GOLDEN=1` with the conformance test
 * writes it anew, after Java agreed to every byte.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { allApis } from '../../src/protocol/api/index.ts'
import { assignment, subscription } from '../../src/protocol/member-payload.ts'
import { Reader } from '../../src/protocol/reader.ts'
import type { MessageCodec } from '../../src/protocol/schema.ts'
import { Writer } from '../../src/protocol/writer.ts'
import { SeededRandom } from '../sim/random.ts'
import { randomInput } from './random-message.ts'

export const messagesPerVersion = 20

/** A message in all its versions, under Kafka's name. */
export interface Message {
  readonly name: string
  readonly minVersion: number
  readonly maxVersion: number
  readonly flexibleFrom: number
  readonly codec: MessageCodec<unknown, never>
}

/** Every message millrace describes. */
export const allMessages: readonly Message[] = [
  ...allApis.flatMap((api) => {
    const { name, minVersion, maxVersion, flexibleFrom } = api
    return [
      { name: `${name}Request`, minVersion, maxVersion, flexibleFrom, codec: api.request },
      { name: `${name}Response`, minVersion, maxVersion, flexibleFrom, codec: api.response },
    ]
  }),
  ...[subscription, assignment].map((codec) => ({
    name: codec.name,
    minVersion: 0,
    maxVersion: 3,
    flexibleFrom: Number.POSITIVE_INFINITY,
    codec,
  })),
]

export function encode(message: Message, version: number, input: unknown): Buffer {
  const writer = new Writer()
  message.codec.write(writer, input as never, version)
  return Buffer.concat(writer.finish())
}

/** Reads all of `bytes`; throws when they are not exactly one message. */
export function decode(message: Message, version: number, bytes: Buffer): Record<string, unknown> {
  const reader = new Reader(bytes)
  const output = message.codec.read(reader, version)
  reader.check(`${message.name} v${version}`)
  if (reader.remaining > 0) throw new Error(`${message.name} v${version}: ${reader.remaining} bytes are left over`)
  return output as Record<string, unknown>
}

/** The seeded inputs of one message and version. */
export function inputsOf(message: Message, version: number): Record<string, unknown>[] {
  let seed = version
  for (const char of message.name) seed = (seed * 31 + char.charCodeAt(0)) >>> 0
  const random = new SeededRandom(seed)
  return Array.from({ length: messagesPerVersion }, () => randomInput(message.codec.fields, version, random))
}

export function digest(parts: readonly Buffer[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}

const goldenFile = join(import.meta.dirname, '..', '..', '..', 'test', 'golden', 'protocol', 'messages.json')

/** SHA-256 by `MetadataRequest v12`. */
export function goldenDigests(): Map<string, string> {
  return new Map(Object.entries(JSON.parse(readFileSync(goldenFile, 'utf8')) as Record<string, string>))
}

export function writeGoldenDigests(digests: ReadonlyMap<string, string>): void {
  writeFileSync(goldenFile, `${JSON.stringify(Object.fromEntries(digests), null, 1)}\n`)
}
