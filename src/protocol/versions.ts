/**
 * Which version of each API to speak on a connection: the intersection of what the broker announced, what millrace
 * describes, semantic pins of the caller and the user's `maxVersions`. The result is computed once per connection and
 * belongs to it.
 */
import { MillraceError } from '../base/errors.ts'
import type { AnyApi } from './schema.ts'

/** Inclusive range of versions. */
export interface VersionRange {
  /** Lowest version. */
  readonly min: number
  /** Highest version. */
  readonly max: number
}

/** One entry of an ApiVersions response. */
export interface BrokerRange {
  /** Kafka's number of the API. */
  readonly apiKey: number
  /** Lowest version the broker speaks. */
  readonly minVersion: number
  /** Highest version the broker speaks. */
  readonly maxVersion: number
}

/** Highest version to use by API name (`{ Fetch: 12 }`). */
export type MaxVersions = ReadonlyMap<string, number>

/** Usable versions by API key; an API that is missing cannot be used. */
export type VersionTable = ReadonlyMap<number, VersionRange>

/** Bounds for one request, on top of the table. */
export interface VersionBounds {
  /** Lowest version that can say what the request has to say. Default: any. */
  readonly min?: number | undefined
  /** Highest version that may be used. Default: any. */
  readonly max?: number | undefined
}

/** Both ends speak the API, but no version of it in common. Code `ERR_NO_COMMON_VERSION`. Not retriable. */
export class VersionError extends MillraceError {
  override readonly name = 'VersionError'

  constructor(message: string) {
    super('ERR_NO_COMMON_VERSION', message)
  }
}

/**
 * Highest versions that are safe without knowing more: Produce 13, OffsetCommit 10 and OffsetFetch 10 name topics by id
 * alone, which the caller must have; Fetch likewise from 13. A caller that has the ids passes other pins or bounds.
 */
export const NAME_BASED_PINS: MaxVersions = new Map([
  ['Produce', 12],
  ['Fetch', 12],
  ['OffsetCommit', 9],
  ['OffsetFetch', 9],
])

/**
 * The table of a connection. `brokerRanges` undefined: the broker did not say (too old to ask); then millrace's own
 * lowest versions are used. Ranges that do not meet leave the API out.
 */
export function negotiate(
  apis: readonly AnyApi[],
  brokerRanges: readonly BrokerRange[] | undefined,
  ...limits: readonly (MaxVersions | undefined)[]
): VersionTable {
  const announced = new Map(brokerRanges?.map((range) => [range.apiKey, range]))
  const table = new Map<number, VersionRange>()
  for (const api of apis) {
    const broker = announced.get(api.key)
    if (broker === undefined && brokerRanges !== undefined) continue
    const min = Math.max(api.minVersion, broker?.minVersion ?? api.minVersion)
    let max = Math.min(api.maxVersion, broker?.maxVersion ?? api.minVersion)
    for (const limit of limits) max = Math.min(max, limit?.get(api.name) ?? max)
    if (min <= max) table.set(api.key, { min, max })
  }
  return table
}

/** The version for one request: the highest in the table within `bounds`. Throws VersionError, with the remedy. */
export function pickVersion(table: VersionTable, api: AnyApi, bounds: VersionBounds = {}): number {
  const range = table.get(api.key)
  if (range === undefined) {
    throw new VersionError(
      `the broker has no version of ${api.name} that millrace speaks (${api.minVersion} to ${api.maxVersion}): ` +
        'use Apache Kafka 2.8 or newer, or raise maxVersions',
    )
  }
  const version = Math.min(range.max, bounds.max ?? range.max)
  if (version < range.min || version < (bounds.min ?? 0)) {
    throw new VersionError(
      `${api.name} is usable in versions ${range.min} to ${range.max} on this connection, but the request needs ` +
        `${bounds.min ?? range.min} to ${bounds.max ?? range.max}`,
    )
  }
  return version
}
