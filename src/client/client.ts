/**
 * Client: the composition root of the client room. Owns the parts (links, metadata, coordinators) and what it made
 * (producers, consumers, memberships), and closes them in order. No logic of its own.
 */
import { ClosedError, OptionError } from '../base/errors.ts'
import { type Resolved, resolveOptions } from '../base/options.ts'
import type { Scope } from '../base/scope.ts'
import { defaultScope } from '../net/index.ts'
import { allApis } from '../protocol/api/index.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../protocol/schema.ts'
import { Admin } from './admin/admin.ts'
import type { AdminContext } from './admin/context.ts'
import { find as findOffsets, type FoundOffset, type OffsetSpec } from './admin/offsets.ts'
import { BrokerLinks, type LinkContext } from './broker-link.ts'
import {
  type ClientPort,
  Consumer,
  type ConsumerOptions,
  type PartitionMap,
  type TopicPartition,
} from './consumer/index.ts'
import { Coordinators } from './coordinators.ts'
import type { LaneName } from './events.ts'
import { ClassicMembership, type GroupMembership, type GroupOptions } from './group/index.ts'
import { Metadata } from './metadata.ts'
import { type ClientOptions, clientOptionTable, parseBrokers } from './options.ts'
import type { ProducerOptions } from './producer/options.ts'
import { Producer } from './producer/producer.ts'
import { type Destination, RequestRouter } from './request-router.ts'

/** How a request is sent. */
export interface RequestOptions {
  /** The socket to use. Default `'control'`. Requests of one lane wait for each other at the broker. */
  lane?: LaneName
  /** Time for the answer, milliseconds. Default: the client's `requestTimeoutMs`. */
  timeoutMs?: number
  /** What the broker may wait by protocol, milliseconds; added to the time-out. Default 0. */
  extraWaitMs?: number
  /** Highest version to use. */
  maxVersion?: number
  /** Lowest version to use: below it the request rejects with VersionError. */
  minVersion?: number
  /** Abandons the wait; the request itself may still be carried out. */
  signal?: AbortSignal
}

/** Something that the client made and closes. */
interface Owned {
  close(): Promise<void>
}

/** A connection to a Kafka cluster: opens sockets when they are needed, and keeps what is known about the cluster. */
export class Client implements AsyncDisposable {
  /** The world it lives in. */
  readonly scope: Scope
  /** What is known about topics, leaders and nodes. */
  readonly metadata: Metadata
  /** Which broker keeps a group. */
  readonly coordinators: Coordinators
  readonly #links: BrokerLinks
  readonly #router: RequestRouter
  readonly #options: Resolved<Omit<ClientOptions, 'scope'>>
  readonly #owned = new Set<Owned>()
  #closing: Promise<void> | undefined
  /** All parts are closed: last commits are sent and groups are left. */
  #closed = false
  /** Aborted when the client is closed: nothing is tried again. */
  readonly #ended = new AbortController()
  /** Consumers made so far: numbers their lanes. */
  #consumers = 0

  /** Opens nothing yet. Throws OptionError. */
  constructor(options: ClientOptions) {
    const { scope, ...given } = options
    const resolved = resolveOptions<Omit<ClientOptions, 'scope'>>('Client', clientOptionTable, given)
    const { addresses, faults } = parseBrokers(resolved.brokers)
    const maxVersions = new Map(Object.entries(resolved.maxVersions))
    for (const name of maxVersions.keys()) {
      if (!allApis.some((api) => api.name === name))
        faults.push(`maxVersions names ${name}, which is no API of this client`)
    }
    if (faults.length > 0) throw new OptionError('Client', faults)
    this.scope = scope ?? defaultScope()
    const context: LinkContext = { ...resolved, scope: this.scope, maxVersions }
    this.#options = resolved
    this.#links = new BrokerLinks(context, addresses)
    this.metadata = new Metadata(this.#links, resolved)
    this.coordinators = new Coordinators(this.#links)
    this.#router = new RequestRouter(this.#links, this.metadata, this.coordinators)
  }

  /**
   * Sends one request and resolves with its answer, error codes included. One try. Rejects with retriable errors when
   * the broker cannot be reached or does not answer (NetworkError, TimeoutError, NoBrokerError, UnknownBrokerError),
   * and with VersionError, ClosedError or AbortError.
   */
  request<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options: RequestOptions = {},
  ): Promise<ResponseOf<A>> {
    if (this.#closed) return Promise.reject(new ClosedError('the client'))
    const {
      lane = 'control',
      timeoutMs = this.#options.requestTimeoutMs,
      extraWaitMs = 0,
      minVersion,
      maxVersion,
    } = options
    const call = { lane, timeoutMs: timeoutMs + extraWaitMs, minVersion, maxVersion }
    return this.#router.request(api, to, input, call, options.signal)
  }

  /** A producer of its own: order, memory limit and identity are per producer. Throws OptionError. */
  producer(options?: ProducerOptions): Producer {
    const { retryBackoffMs, retryBackoffMaxMs } = this.#options
    const onClosed = (producer: Producer): void => void this.#owned.delete(producer)
    const context = { links: this.#links, metadata: this.metadata, retryBackoffMs, retryBackoffMaxMs, onClosed }
    return this.#own(new Producer(context, options))
  }

  /** A consumer with sockets of its own, so that its long polls delay nobody. Throws OptionError. */
  consumer(options?: ConsumerOptions): Consumer {
    this.#consumers += 1
    const lane = `fetch:${this.#consumers}`
    const consumer: Consumer = this.#own(
      new Consumer(
        this.#portOf((closed) => closed === lane && this.#owned.delete(consumer)),
        options,
        lane,
      ),
    )
    return consumer
  }

  /** A member of a group, without a consumer; `join()` enters the group. Throws OptionError. */
  group(options: GroupOptions): GroupMembership {
    const membership: GroupMembership = this.#own(
      new ClassicMembership(
        this.#portOf(() => this.#owned.delete(membership)),
        options,
      ),
    )
    return membership
  }

  /** Topics and their configuration. */
  admin(): Admin {
    return new Admin(this.#adminContext())
  }

  /**
   * Offsets of partitions: `'earliest'`, `'latest'`, or the first at or after a time (milliseconds since 1970). Retried
   * until every leader answered; rejects with what is not retriable, TimeoutError after a minute, or AbortError.
   */
  listOffsets(
    partitions: readonly TopicPartition[],
    at: OffsetSpec,
    isolation: 'read_committed' | 'read_uncommitted' = 'read_committed',
    signal?: AbortSignal,
  ): Promise<PartitionMap<FoundOffset>> {
    return findOffsets(this.#adminContext(), partitions, at, isolation, signal === undefined ? {} : { signal })
  }

  /** Closes the sockets of a lane whose owner is gone. */
  closeLane(lane: LaneName): void {
    this.#links.closeLane(lane)
  }

  /** Closes everything the client made, then its connections. Never rejects; later calls return the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #adminContext(): AdminContext {
    const { retryBackoffMs, retryBackoffMaxMs } = this.#options
    const { scope, metadata } = this
    return {
      scope,
      metadata,
      retryBackoffMs,
      retryBackoffMaxMs,
      closing: this.#ended.signal,
      request: (api, to, input, o) => this.request(api, to, input, o),
    }
  }

  /** What a part needs of this client; `onLaneClosed` hears of its end. */
  #portOf(onLaneClosed: (lane: LaneName) => void): ClientPort {
    const { scope, metadata, coordinators } = this
    return {
      scope,
      metadata,
      coordinators,
      request: (api, to, input, o) => this.request(api, to, input, o),
      closeLane: (lane) => {
        this.closeLane(lane)
        onLaneClosed(lane)
      },
    }
  }

  #own<T extends Owned>(part: T): T {
    if (this.#closing !== undefined) throw new ClosedError('the client')
    this.#owned.add(part)
    return part
  }

  async #close(): Promise<void> {
    const owned = [...this.#owned].reverse()
    await Promise.allSettled(owned.map((part) => part.close()))
    this.#closed = true
    this.#ended.abort()
    this.metadata.close()
    await this.#links.close()
  }
}
