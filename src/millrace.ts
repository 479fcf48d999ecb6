/**
 * Millrace: the application object and composition root. It wires client, storage and streams; the broker's code is loaded
 * only when the address is `embedded:`.
 * Owner of the shared connections, the emitters' producer, the table registry and the embedded broker.
 */
import { resolve } from 'node:path'
import { ClosedError, OptionError } from './base/errors.ts'
import { notify } from './base/events.ts'
import { bool, custom, int, type OptionTable, oneOf, type Resolved, resolveOptions, text } from './base/options.ts'
import type { Scope } from './base/scope.ts'
import type { Broker } from './broker/index.ts'
import type { ClientEvent, ClientOptions, Producer } from './client/index.ts'
import { defaultScope, InProcessNetwork } from './net/index.ts'
import {
  type LogEngineOptions,
  logEngine,
  memoryEngine,
  nodeFs,
  type StorageEngine,
  type StoreEvent,
} from './storage/index.ts'
import {
  type AnyGroup,
  clientPort,
  createMissing,
  type Declaration,
  Emitter,
  type Group,
  isHandle,
  type PartitionerName,
  Processor,
  type ProcessorHost,
  type ProcessorOptions,
  type Stream,
  type Table,
  type TableEvent,
  TableRegistry,
  tableTopicOf,
  type TypedProcessor,
  View,
  type ViewOptions,
} from './streams/index.ts'

/** Tables on disk: options of the log engine. */
export interface DiskStorage extends Omit<LogEngineOptions, 'fs' | 'scheduler' | 'random' | 'onEvent'> {}

/** Something happened in an application: to its connections, to its tables, or in a store on disk. */
export type MillraceEvent = ClientEvent | TableEvent | { readonly type: 'store'; readonly event: StoreEvent }

/** Options of `new Millrace(…)`. */
export interface MillraceOptions {
  /**
   * `'host:port'`, several separated by commas, an array of such, or `'embedded:'` for a broker inside this process, in
   * memory, which ends with it. Required.
   */
  brokers: string | readonly string[]
  /** Name of this program in the brokers' logs and quotas. Default `'millrace'`. */
  clientId?: string
  /** Which partition a key belongs to, everywhere in the application: `murmur2` (as Java) or `fnv1a` (as goka). Default `murmur2`. */
  partitioner?: PartitionerName
  /** How long a request may go unanswered. Milliseconds. Default 30 000, 100 to 3 600 000. */
  requestTimeoutMs?: number
  /**
   * Where tables are kept: `{ dir }` keeps them on disk in that directory, which is made when it is missing; a restarted
   * process then goes on from there and reads only the end of their topics. One process at a time has a table open: two on
   * one machine need two directories. Or an engine of `millrace/storage` (it is closed with the application).
   * Default: in memory; a restarted process reads their topics from the beginning.
   */
  storage?: DiskStorage | StorageEngine
  /** How long the table of a partition that was given up is kept, in case it comes back. Milliseconds. Default 60 000, 0 to 86 400 000. */
  storeLingerMs?: number
  /** Partitions of topics made on the embedded broker. Default 6, 1 to 1 000. */
  embeddedPartitions?: number
  /** Allows `'embedded:'` when NODE_ENV is `production`: nothing it holds survives the process. Default false. */
  allowEmbedded?: boolean
  /** How long `close()` waits for emitted records that have not arrived. Milliseconds. Default 10 000, 0 to 600 000. */
  closeTimeoutMs?: number
  /** Clock, randomness, network and files. Default: the real ones. */
  scope?: Scope
  /** Observer of connections, the cluster, and tables on this machine. Called synchronously; what it throws is ignored. Default none. */
  onEvent?: (event: MillraceEvent) => void
}

const optionTable: OptionTable<Omit<MillraceOptions, 'scope' | 'storage'>> = {
  brokers: custom<string | readonly string[]>({
    default: '',
    accepts: (value) => (typeof value === 'string' && value !== '') || (Array.isArray(value) && value.length > 0),
    says: "must be 'host:port', a list of such, or 'embedded:'",
  }),
  clientId: text({ default: 'millrace' }),
  partitioner: oneOf(['murmur2', 'fnv1a'], { default: 'murmur2' }),
  requestTimeoutMs: int({ default: 30_000, min: 100, max: 3_600_000 }),
  storeLingerMs: int({ default: 60_000, min: 0, max: 86_400_000 }),
  embeddedPartitions: int({ default: 6, min: 1, max: 1_000 }),
  allowEmbedded: bool({ default: false }),
  closeTimeoutMs: int({ default: 10_000, min: 0, max: 600_000 }),
  onEvent: custom({
    default: (): void => {},
    accepts: (value) => typeof value === 'function',
    says: 'must be a function',
  }),
}

/** What `ensureStreams` makes. */
export interface EnsureOptions {
  /** Partitions of topics that do not exist yet. Default: the broker's. */
  partitions?: number
  /** Replicas of topics that do not exist yet. Default −1: the broker's. */
  replicationFactor?: number
}

interface Opened {
  readonly kafka: ReturnType<typeof clientPort>
  readonly registry: TableRegistry
  /** How to connect once more: processors have connections of their own. */
  readonly connection: ClientOptions
  readonly broker: Broker | undefined
}

/** One application: where its Kafka is, and what it runs there. */
export class Millrace implements AsyncDisposable {
  readonly #options: Resolved<Omit<MillraceOptions, 'scope' | 'storage'>>
  readonly #scope: Scope
  readonly #storage: StorageEngine
  readonly #embedded: boolean
  #opening: Promise<Opened> | undefined
  #producer: Producer | undefined
  readonly #parts = new Set<{ close(): Promise<void> }>()
  /** Streams that exist on the embedded broker, and those that are being made. */
  readonly #made = new Set<string>()
  readonly #making = new Map<string, Promise<void>>()
  #closing: Promise<void> | undefined

  /** Connects to nothing yet. Throws OptionError. */
  constructor(options: MillraceOptions) {
    const { scope, storage, ...given } = options
    this.#options = resolveOptions('Millrace', optionTable, given)
    const { brokers, allowEmbedded } = this.#options
    if (brokers === '')
      throw new OptionError('Millrace', ["brokers must be 'host:port', a list of such, or 'embedded:'"])
    this.#embedded = brokers === 'embedded:'
    if (this.#embedded && !allowEmbedded && process.env['NODE_ENV'] === 'production') {
      throw new OptionError('Millrace', [
        "brokers is 'embedded:' with NODE_ENV=production: it keeps everything in this process's memory. Name a Kafka, or set allowEmbedded",
      ])
    }
    this.#scope = scope ?? defaultScope(nodeFs())
    this.#storage = this.#engineOf(storage)
  }

  #engineOf(storage: DiskStorage | StorageEngine | undefined): StorageEngine {
    const { random, scheduler, fs } = this.#scope
    if (storage === undefined) return memoryEngine({ random })
    if (typeof storage !== 'object' || storage === null) {
      throw new OptionError('Millrace', ['storage must be { dir }, or an engine of millrace/storage'])
    }
    if ('open' in storage) return storage
    if (this.#embedded) {
      throw new OptionError('Millrace', [
        "storage is a directory, but the topics of brokers 'embedded:' end with the process: its tables would not fit the next one's",
      ])
    }
    const onEvent = (event: StoreEvent): void => notify(this.#options.onEvent, { type: 'store', event })
    // Absolute, because errors name it for commands that may be given elsewhere.
    const dir = typeof storage.dir === 'string' && storage.dir !== '' ? resolve(storage.dir) : storage.dir
    return logEngine({ ...storage, dir, fs, scheduler, random, onEvent })
  }

  /**
   * Creates the topics of these streams and tables that do not exist; what exists stays as it is. Tables are compacted.
   * Rejects with the broker's refusal.
   */
  async ensureStreams(
    handles: readonly (Stream<unknown> | Table<unknown>)[],
    options: EnsureOptions = {},
  ): Promise<void> {
    for (const handle of handles) checkHandle('ensureStreams', handle)
    checkCounts(options)
    const { kafka } = await this.#open()
    const partitions = options.partitions ?? (this.#embedded ? this.#options.embeddedPartitions : -1)
    const replicationFactor = options.replicationFactor ?? -1
    const topics = handles.map((handle) =>
      handle.kind === 'table'
        ? { ...tableTopicOf(handle.topic, partitions), replicationFactor }
        : { name: handle.topic, partitions, replicationFactor },
    )
    await createMissing(kafka, topics)
  }

  /** A typed producer of one stream. On the embedded broker its topic is created at the first use. */
  emitter<T>(stream: Stream<T>): Emitter<T> {
    this.#check()
    checkHandle('emitter', stream)
    const emitter: Emitter<T> = new Emitter(
      {
        ready: () => (this.#embedded && !this.#made.has(stream.topic) ? undefined : this.#producer),
        producer: async (topic) => {
          await this.#make(topic)
          return this.#emitting()
        },
        ended: () => this.#parts.delete(emitter),
      },
      stream,
    )
    this.#parts.add(emitter)
    return emitter
  }

  /** A member of a group; `start()` joins it. Throws GraphError and OptionError. */
  processor<const N extends string, const D extends Declaration>(
    group: Group<D, N>,
    options: ProcessorOptions = {},
  ): TypedProcessor<D> {
    this.#check()
    const open = async (): Promise<ProcessorHost> => {
      const { connection, registry } = await this.#open()
      const sessionTimeoutMs = options.sessionTimeoutMs ?? 45_000
      const requestTimeoutMs = Math.min(this.#options.requestTimeoutMs, Math.floor(sessionTimeoutMs / 2))
      const kafka = clientPort({ ...connection, requestTimeoutMs })
      return {
        kafka,
        registry,
        requestTimeoutMs,
        createInputs: this.#embedded ? this.#options.embeddedPartitions : undefined,
      }
    }
    const given = { partitioner: this.#options.partitioner, ...options }
    const processor = new Processor(open, group as AnyGroup, given)
    this.#track(processor, processor.done)
    return processor as TypedProcessor<D>
  }

  /** A local copy of a whole table, kept up to date; `start()` reads it. Throws OptionError. */
  view<T>(table: Table<T>, options: ViewOptions = {}): View<T> {
    this.#check()
    checkHandle('view', table)
    const open = async () => {
      const { kafka, registry } = await this.#open()
      return { kafka, registry, createTables: this.#embedded ? this.#options.embeddedPartitions : undefined }
    }
    const given = { partitioner: this.#options.partitioner, ...options }
    const view: View<T> = new View(open, () => this.#parts.delete(view), table, given)
    this.#parts.add(view)
    return view
  }

  /**
   * Ends processors (with a last checkpoint), emitters and views, then tables and connections. Rejects when emitted records
   * were lost or a table could not be closed, after everything was closed. Later calls return the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #track(part: { close(): Promise<void> }, done: Promise<void>): void {
    this.#parts.add(part)
    const forget = (): void => void this.#parts.delete(part)
    done.then(forget, forget)
  }

  #check(): void {
    if (this.#closing !== undefined) throw new ClosedError('the application')
  }

  #open(): Promise<Opened> {
    this.#opening ??= this.#connect()
    return this.#opening
  }

  async #connect(): Promise<Opened> {
    const { clientId, requestTimeoutMs, storeLingerMs, onEvent } = this.#options
    let { brokers } = this.#options
    let scope = this.#scope
    let broker: Broker | undefined
    if (this.#embedded) {
      scope = { ...scope, network: new InProcessNetwork(scope.scheduler) }
      const { Broker } = await import('./broker/index.ts')
      broker = await Broker.start({ scope, defaultPartitions: this.#options.embeddedPartitions })
      brokers = broker.brokers
    }
    const connection: ClientOptions = { brokers, clientId, requestTimeoutMs, scope, onEvent }
    const kafka = clientPort(connection)
    const registry = new TableRegistry(kafka, this.#storage, storeLingerMs, onEvent)
    return { kafka, registry: registry, connection, broker }
  }

  /** Creates a stream's topic on the embedded broker, once. */
  async #make(topic: string): Promise<void> {
    if (!this.#embedded) return
    const { kafka } = await this.#open()
    let making = this.#making.get(topic)
    if (making === undefined) {
      making = createMissing(kafka, [{ name: topic, partitions: this.#options.embeddedPartitions }])
      this.#making.set(topic, making)
    }
    try {
      await making
      this.#made.add(topic)
    } finally {
      this.#making.delete(topic)
    }
  }

  async #emitting(): Promise<Producer> {
    const { kafka } = await this.#open()
    this.#producer ??= kafka.client.producer({ partitioner: this.#options.partitioner })
    return this.#producer
  }

  async #close(): Promise<void> {
    const failures: unknown[] = []
    const { scheduler } = this.#scope
    // Emitters flush when they close; a broker that is gone must not hold that up for ever.
    const timer = scheduler.setTimer(this.#options.closeTimeoutMs, () => void this.#producer?.close({ timeoutMs: 0 }))
    const closing = [...this.#parts].map((part) => part.close().catch((cause: unknown) => failures.push(cause)))
    await Promise.all(closing)
    scheduler.clearTimer(timer)
    if (this.#opening !== undefined) {
      const opened = await this.#opening.catch(() => undefined) // whoever asked for it was told
      // A store that cannot be closed (its disk is full) must not keep connections open.
      for (const part of [opened?.registry, opened?.kafka, opened?.broker]) {
        await part?.close().catch((cause: unknown) => failures.push(cause))
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}

const kinds = { ensureStreams: ['stream', 'table'], emitter: ['stream'], view: ['table'] } as const

/** For callers without a type checker. */
function checkHandle(call: keyof typeof kinds, handle: unknown): void {
  if (kinds[call].some((kind) => isHandle(handle, kind))) return
  throw new OptionError(call, [`it takes handles made by ${kinds[call].map((kind) => `${kind}()`).join(' or ')}`])
}

function checkCounts(options: EnsureOptions): void {
  const faults: string[] = []
  for (const [name, bound] of [
    ['partitions', 2 ** 31],
    ['replicationFactor', 2 ** 15],
  ] as const) {
    const value = options[name]
    if (value === undefined || (Number.isInteger(value) && Math.abs(value) < bound)) continue
    faults.push(`${name} must be a whole number below ${bound}, or be left out for the broker's default`)
  }
  if (faults.length > 0) throw new OptionError('ensureStreams', faults)
}
