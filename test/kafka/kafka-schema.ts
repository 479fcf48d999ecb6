/** Kafka's message definitions, from the jar, as facts to compare with. */
import type { JavaPeer } from './java-peer.ts'

export interface KafkaField {
  readonly name: string
  readonly type: string
  readonly versions: string
  readonly nullableVersions?: string
  readonly taggedVersions?: string
  readonly tag?: number
  readonly default?: string | number | boolean
  readonly ignorable?: boolean
  readonly fields?: readonly KafkaField[]
}

export interface KafkaDefinition {
  readonly apiKey?: number
  readonly validVersions: string
  readonly flexibleVersions: string
  readonly latestVersionUnstable?: boolean
  readonly fields: readonly KafkaField[]
  readonly commonStructs?: readonly { readonly name: string; readonly fields: readonly KafkaField[] }[]
}

export interface Range {
  readonly min: number
  readonly max: number
}

export async function definitionOf(java: JavaPeer, message: string): Promise<KafkaDefinition> {
  return JSON.parse(await java.ask(`spec ${message}`)) as KafkaDefinition
}

/** `3+`, `2-7`, `4`, `none` (empty: min above max). */
export function rangeOf(versions: string | undefined): Range {
  if (versions === undefined || versions === 'none') return { min: Number.POSITIVE_INFINITY, max: -1 }
  if (versions.endsWith('+')) return { min: Number(versions.slice(0, -1)), max: Number.POSITIVE_INFINITY }
  const [min, max] = versions.split('-').map(Number)
  return { min: min!, max: max ?? min! }
}

export function intersect(a: Range, b: Range): Range {
  return { min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) }
}

/** Versions a broker of the release offers unless it is told to enable unstable ones. Requests alone say which are. */
export async function offeredVersions(java: JavaPeer, message: string): Promise<Range> {
  return stableRange(await definitionOf(java, message.replace(/Response$/, 'Request')))
}

export function stableRange(definition: KafkaDefinition): Range {
  const { min, max } = rangeOf(definition.validVersions)
  return { min, max: definition.latestVersionUnstable === true ? max - 1 : max }
}
