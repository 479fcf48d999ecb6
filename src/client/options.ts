/** Options of the client itself: what they mean, their units, defaults and bounds. Others: producer/options.ts, consumer, group. */
import { custom, int, type OptionTable, text } from '../base/options.ts'
import type { Scope } from '../base/scope.ts'
import type { ClientEvent } from './events.ts'

/** Options of `new Client(…)`. */
export interface ClientOptions {
  /**
   * Where to ask for the cluster first: `'host:port'`, several separated by commas, or an array. IPv6 hosts in brackets;
   * the port is 9092 when left out. All are tried. Required.
   */
  brokers: string | readonly string[]
  /** Name of this program in the brokers' logs and quotas. Default `'millrace'`, at most 249 characters. */
  clientId?: string
  /** Clock, randomness and network. Default: the real ones. */
  scope?: Scope
  /**
   * How long a request may go unanswered before its connection is closed and everything in flight on it fails with a
   * retriable error. A wait that the protocol itself asks for (a join, a long poll) is added. Milliseconds. Default
   * 30 000, 100 to 3 600 000.
   */
  requestTimeoutMs?: number
  /** Name look-up and connect together. Milliseconds. Default 10 000, 100 to 600 000. */
  connectTimeoutMs?: number
  /** First pause before a failed connection is dialled again; doubles with each failure, ± 20 %. Milliseconds. Default 50, 1 to 60 000. */
  reconnectBackoffMs?: number
  /** Longest pause between two dials. Milliseconds. Default 1 000, 1 to 600 000. */
  reconnectBackoffMaxMs?: number
  /** First pause before a request that failed retriably is sent again; doubles, ± 20 %. Milliseconds. Default 50, 1 to 60 000. */
  retryBackoffMs?: number
  /** Longest pause between two tries of a request. Milliseconds. Default 1 000, 1 to 600 000. */
  retryBackoffMaxMs?: number
  /** The cluster is asked for its topics and leaders at least so often. Milliseconds. Default 300 000, 1 000 to 86 400 000. */
  metadataMaxAgeMs?: number
  /** … and not more often than this, however many ask. Milliseconds. Default 50, 0 to 60 000. */
  metadataMinAgeMs?: number
  /** A connection without traffic for so long is closed; it is opened again when needed. Milliseconds. Default 180 000, 1 000 to 86 400 000. */
  connectionMaxIdleMs?: number
  /** Largest response accepted. Bytes. Default 134 217 728 (128 MiB), 65 536 to 2 147 483 647. */
  maxFrameBytes?: number
  /** Highest version to speak per API, by Kafka's API name: `{ Fetch: 12 }`. For peers that misbehave. Default none. */
  maxVersions?: Readonly<Record<string, number>>
  /** Observer of connections, refreshes, throttling, epoch bumps. Called synchronously; what it throws is ignored. Default none. */
  onEvent?: (event: ClientEvent) => void
}

const ignore = (): void => {}

/** Defaults and bounds of ClientOptions. `scope` is defaulted by the client: it is made only when needed. */
export const clientOptionTable: OptionTable<Omit<ClientOptions, 'scope'>> = {
  brokers: custom<string | readonly string[]>({
    default: '',
    accepts: (value) =>
      typeof value === 'string' || (Array.isArray(value) && value.every((v) => typeof v === 'string')),
    says: "must be 'host:port' or an array of such",
  }),
  clientId: text({ default: 'millrace', rule: /^.{1,249}$/su, says: 'must be a string of 1 to 249 characters' }),
  requestTimeoutMs: int({ default: 30_000, min: 100, max: 3_600_000 }),
  connectTimeoutMs: int({ default: 10_000, min: 100, max: 600_000 }),
  reconnectBackoffMs: int({ default: 50, min: 1, max: 60_000 }),
  reconnectBackoffMaxMs: int({ default: 1_000, min: 1, max: 600_000 }),
  retryBackoffMs: int({ default: 50, min: 1, max: 60_000 }),
  retryBackoffMaxMs: int({ default: 1_000, min: 1, max: 600_000 }),
  metadataMaxAgeMs: int({ default: 300_000, min: 1_000, max: 86_400_000 }),
  metadataMinAgeMs: int({ default: 50, min: 0, max: 60_000 }),
  connectionMaxIdleMs: int({ default: 180_000, min: 1_000, max: 86_400_000 }),
  maxFrameBytes: int({ default: 128 * 1024 * 1024, min: 65_536, max: 2 ** 31 - 1 }),
  maxVersions: custom<Readonly<Record<string, number>>>({
    default: {},
    accepts: (value) =>
      typeof value === 'object' &&
      value !== null &&
      Object.values(value).every((v) => typeof v === 'number' && Number.isInteger(v) && v >= 0),
    says: 'must be an object of API names and whole numbers',
  }),
  onEvent: custom<(event: ClientEvent) => void>({
    default: ignore,
    accepts: (value) => typeof value === 'function',
    says: 'must be a function',
  }),
}

/** A broker's address. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Reads `brokers`; the second value lists what is wrong with it, in words. */
export function parseBrokers(brokers: string | readonly string[]): { addresses: Address[]; faults: string[] } {
  const addresses: Address[] = []
  const faults: string[] = []
  const given = typeof brokers === 'string' ? brokers.split(',') : brokers.flatMap((b) => b.split(','))
  for (const entry of given) {
    const trimmed = entry.trim()
    if (trimmed === '') continue
    const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+))(?::(\d{1,5}))?$/.exec(trimmed)
    const port = Number(match?.[3] ?? 9092)
    const host = match?.[1] ?? match?.[2]
    if (host === undefined || port < 1 || port > 65_535) {
      faults.push(
        `brokers has '${trimmed}', which is no host:port (an IPv6 host needs brackets, and there is no scheme)`,
      )
    } else {
      addresses.push({ host, port })
    }
  }
  if (addresses.length === 0 && faults.length === 0) faults.push("brokers names no address: give 'host:port'")
  return { addresses, faults }
}
