/**
 * Broker: the embedded, Kafka-compatible broker: the composition of its parts and their life.
 * Owns   one Cluster (topics and logs, which survive `crash`) and at most one run: listeners, connections, waiting
 *        requests, coordinator, timers. A run that ends leaves no handle behind.
 */
import { ClosedError, MillraceError, OptionError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import type { Connection, ConnectionHandler, Listener } from '../base/network.ts'
import { type OptionTable, resolveOptions, type Resolved } from '../base/options.ts'
import type { Scope } from '../base/scope.ts'
import { defaultScope } from '../net/index.ts'
import { BrokerError, errorCodes } from '../protocol/errors.ts'
import type { Header } from '../protocol/record-format.ts'
import { BatchView, RecordCursor } from '../protocol/record-view.ts'
import { Cluster, type ClusterListener, type Node } from './cluster.ts'
import { ClientConnection, type ConnectionHome } from './connection.ts'
import { Dispatcher, type Services } from './dispatch.ts'
import type { BrokerEvent } from './events.ts'
import { Faults } from './faults.ts'
import { GroupCoordinator } from './groups/coordinator.ts'
import { allHandlers } from './handlers/index.ts'
import { type BrokerOptions, brokerTable, isLoopback, type TableOptions, type TopicSpec } from './options.ts'
import type { Partition } from './partition.ts'
import { RequestMemory } from './request-memory.ts'
import { OwnTimers } from './timers.ts'
import { FetchWaiting } from './waiting.ts'

/** A record of a partition's log, as `Broker.records` gives it. */
export interface LoggedRecord {
  /** Position in the partition. */
  readonly offset: number
  /** Milliseconds. */
  readonly timestamp: number
  /** As sent; null: none. */
  readonly key: Buffer | null
  /** As sent; null: a tombstone. */
  readonly value: Buffer | null
  /** In the order they were sent. */
  readonly headers: readonly Header[]
  /** −1: the producer was not idempotent. */
  readonly producerId: number
  /** −1: the producer was not idempotent. */
  readonly producerEpoch: number
  /** Epoch of the leader that appended it. */
  readonly leaderEpoch: number
}

/** Topics and logs of a broker that has ended; to hand to another one. */
export interface BrokerLogs {
  /** Id of the cluster they belong to. */
  readonly clusterId: string
}

/** What `start` keeps of a broker that was closed: see `Broker.logs`. */
class KeptLogs implements BrokerLogs {
  readonly cluster: Cluster

  constructor(cluster: Cluster) {
    this.cluster = cluster
  }

  get clusterId(): string {
    return this.cluster.id
  }
}

/** What lives between a start and a crash or close. */
interface Run {
  readonly timers: OwnTimers
  readonly services: Services
  readonly home: ConnectionHome
  readonly listeners: Listener[]
  readonly connections: Set<ClientConnection>
  /** Connections that were told to close and have not reported it yet. */
  readonly closing: Set<ClientConnection>
}

const dispatcher = new Dispatcher(allHandlers)

/** Options of `Broker.start` with the logs of an earlier broker. */
export interface StartOptions extends BrokerOptions {
  /** Topics, logs and groups of a broker that was closed or has crashed (`broker.logs`). Default: none. */
  logs?: BrokerLogs
}

/**
 * The embedded broker. `await Broker.start({ topics: { clicks: 6 } })`, then point a client at `broker.brokers`. It keeps
 * one copy of everything in memory and has no authentication, so it listens on the loopback address.
 */
export class Broker implements AsyncDisposable {
  /** What tests make the broker do wrong. */
  readonly faults: Faults
  readonly #scope: Scope
  readonly #options: Resolved<TableOptions>
  readonly #onEvent: ((event: BrokerEvent) => void) | undefined
  readonly #cluster: Cluster
  #run: Run | undefined
  #ports: readonly number[]
  #closed = false
  #allClosed: (() => void) | undefined

  private constructor(
    scope: Scope,
    options: Resolved<TableOptions>,
    onEvent: ((event: BrokerEvent) => void) | undefined,
    cluster: Cluster,
  ) {
    this.#scope = scope
    this.#options = options
    this.#onEvent = onEvent
    this.#cluster = cluster
    this.#ports = Array.from({ length: options.nodes }, (_, i) => (options.port === 0 ? 0 : options.port + i))
    this.faults = new Faults({
      moveLeader: (topic, partition, node) => this.#moveLeader(this.#partition(topic, partition), node),
      moveCoordinator: (group, node) => this.#moveLeader(this.#live().services.coordinator.partitionOf(group), node),
      cutConnections: (match) => this.#cutConnections(match),
    })
  }

  /**
   * Starts a broker and creates the topics given. Resolves when it listens. Rejects with OptionError for options that
   * make no sense and NetworkError when a port is taken.
   */
  static async start(options: StartOptions = {}): Promise<Broker> {
    const { scope = defaultScope(), onEvent, logs, ...rest } = options
    const resolved = resolveOptions<TableOptions>('Broker.start', brokerTable as OptionTable<TableOptions>, rest)
    const faults = optionFaults(resolved, logs)
    if (faults.length > 0) throw new OptionError('Broker.start', faults)
    const cluster = logs instanceof KeptLogs ? logs.cluster : new Cluster(scope.random, resolved.nodes, resolved)
    const broker = new Broker(scope, resolved, onEvent, cluster)
    for (const topic of topicSpecs(resolved.topics)) {
      if (cluster.topic(topic.name) === undefined) broker.createTopic(topic.name, topic.partitions, topic.config)
    }
    if (logs !== undefined) broker.#newEpochs()
    await broker.#listen()
    return broker
  }

  /** Address of each node, `host:port`. Empty while crashed. */
  get addresses(): readonly string[] {
    return this.#run === undefined ? [] : this.#cluster.nodes.map((node) => address(node))
  }

  /** Bootstrap list for clients: all addresses, with commas. */
  get brokers(): string {
    return this.addresses.join(',')
  }

  /** Open client connections. */
  get connectionCount(): number {
    return (this.#run?.connections.size ?? 0) + (this.#run?.closing.size ?? 0)
  }

  /** Bytes that the logs hold in memory. */
  get memoryBytes(): number {
    return this.#cluster.memory.used
  }

  /** Names of the topics, those of the broker itself excluded. */
  get topics(): readonly string[] {
    return [...this.#cluster.topics.values()].filter((topic) => !topic.internal).map((topic) => topic.name)
  }

  /** Topics, logs and groups, to start another broker with after this one has been closed or has crashed. */
  get logs(): BrokerLogs {
    return new KeptLogs(this.#cluster)
  }

  /**
   * Creates a topic. `config`: Kafka's topic settings as text. Throws BrokerError with Kafka's name
   * (TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS, INVALID_CONFIG).
   */
  createTopic(name: string, partitions = -1, config: Readonly<Record<string, string>> = {}): void {
    if (this.#closed) throw new ClosedError('the broker')
    const configs = new Map(Object.entries(config))
    const plan = this.#cluster.plan({ name, partitions, replicationFactor: -1, configs })
    if ('errorCode' in plan) throw new BrokerError(plan.errorCode, `creating topic '${name}'`, plan.message)
    this.#cluster.create(plan)
  }

  /** Deletes a topic with its records. Throws BrokerError UNKNOWN_TOPIC_OR_PARTITION. */
  deleteTopic(name: string): void {
    const topic = this.#cluster.topic(name)
    if (topic === undefined) throw new BrokerError(errorCodes.UNKNOWN_TOPIC_OR_PARTITION, `deleting topic '${name}'`)
    this.#cluster.delete(topic)
  }

  /** All records of a partition's log, decoded: what really is there, for tests. Throws BrokerError for an unknown one. */
  records(topic: string, partition: number): LoggedRecord[] {
    const found: LoggedRecord[] = []
    const view = new BatchView()
    const cursor = new RecordCursor()
    for (const batch of this.#partition(topic, partition).log.batches()) {
      view.set(batch, 0, batch.length)
      cursor.reset(view)
      while (cursor.next()) {
        found.push({
          offset: cursor.offset,
          timestamp: cursor.timestamp,
          key: cursor.key(),
          value: cursor.value(),
          headers: cursor.headers(),
          producerId: view.producerId,
          producerEpoch: view.producerEpoch,
          leaderEpoch: view.leaderEpoch,
        })
      }
    }
    return found
  }

  /** First offset and next offset of a partition's log. Throws BrokerError for an unknown one. */
  offsets(topic: string, partition: number): { readonly start: number; readonly next: number } {
    const { log } = this.#partition(topic, partition)
    return { start: log.startOffset, next: log.nextOffset }
  }

  /** Offsets a group has committed: topic → partition → offset. */
  committedOffsets(group: string): Map<string, Map<number, number>> {
    const found = new Map<string, Map<number, number>>()
    for (const [topic, partitions] of this.#live().services.coordinator.offsets(group)) {
      found.set(topic, new Map([...partitions].map(([partition, value]) => [partition, value.offset])))
    }
    return found
  }

  /** Phase, generation and members of a group now; undefined when the broker knows none of that name. */
  describeGroup(
    group: string,
  ): { readonly phase: string; readonly generation: number; readonly members: readonly string[] } | undefined {
    const state = this.#live().services.coordinator.group(group)?.state
    if (state === undefined) return undefined
    return { phase: state.phase, generation: state.generation, members: [...state.members.keys()] }
  }

  /**
   * Ends the run as a crash would: connections are cut, what was waiting is never answered. Logs, topics, groups stay.
   * Synchronous. `restart` brings it back.
   */
  crash(): void {
    const run = this.#run
    if (run === undefined) return
    this.#run = undefined
    this.#stop(run)
    for (const listener of run.listeners) void listener.close()
  }

  /** Comes back after `crash` on the same ports, with all logs, in a new leader epoch; groups are read from their log. */
  async restart(): Promise<void> {
    if (this.#closed) throw new ClosedError('the broker')
    if (this.#run !== undefined) this.crash()
    this.#newEpochs()
    await this.#listen()
  }

  /** Closes listeners and connections and frees the timers. Resolves when nothing is left. Logs are forgotten. */
  async close(): Promise<void> {
    this.#closed = true
    const run = this.#run
    if (run === undefined) return
    this.#run = undefined
    this.#stop(run)
    await Promise.all(run.listeners.map((listener) => listener.close()))
    if (run.closing.size > 0) {
      await new Promise<void>((resolve) => {
        this.#allClosed = resolve
      })
    }
    // the system lets go of listening sockets at the end of the turn
    await new Promise<void>((resolve) => this.#scope.scheduler.immediate(resolve))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- steps

  #live(): Run {
    if (this.#run === undefined) throw new ClosedError('the broker')
    return this.#run
  }

  #partition(topic: string, partition: number): Partition {
    const found = this.#cluster.partition(topic, partition)
    if (found !== undefined) return found
    throw new BrokerError(errorCodes.UNKNOWN_TOPIC_OR_PARTITION, `partition ${topic}/${partition}`)
  }

  #moveLeader(partition: Partition, node: number): void {
    if (node !== -1 && (node < 1 || node > this.#cluster.nodeCount)) {
      const fault = `there is no node ${node}: nodes are 1 to ${this.#cluster.nodeCount}, -1 is nobody`
      throw new OptionError('a move', [fault])
    }
    this.#cluster.moveLeader(partition, node)
  }

  #cutConnections(match: { readonly node?: number; readonly clientId?: string }): number {
    let count = 0
    for (const connection of [...(this.#run?.connections ?? [])]) {
      if (match.node !== undefined && connection.node !== match.node) continue
      if (match.clientId !== undefined && connection.clientId !== match.clientId) continue
      this.#closeConnection(connection)
      count += 1
    }
    return count
  }

  #closeConnection(connection: ClientConnection): void {
    const run = this.#run
    if (run?.connections.delete(connection) === true) run.closing.add(connection)
    connection.close()
  }

  #newEpochs(): void {
    for (const topic of this.#cluster.topics.values()) {
      for (const partition of topic.partitions) partition.lead(partition.replica)
    }
  }

  async #listen(): Promise<void> {
    const run = this.#newRun()
    const { host, advertisedHost, maxRequestBytes, maxPartialRequestBytes } = this.#options
    const advertised = advertisedHost === '' ? host : advertisedHost
    try {
      for (const [i, port] of this.#ports.entries()) {
        const options = { host, port, maxFrameBytes: maxRequestBytes, maxPartialBytes: maxPartialRequestBytes }
        run.listeners.push(await this.#scope.network.listen(options, (c) => this.#accept(run, c, i + 1)))
      }
    } catch (cause) {
      this.#stop(run)
      await Promise.all(run.listeners.map((listener) => listener.close()))
      throw cause
    }
    this.#ports = run.listeners.map((listener) => listener.port)
    this.#cluster.setNodes(run.listeners.map(({ port }, i): Node => ({ id: i + 1, host: advertised, port })))
    this.#run = run
  }

  #newRun(): Run {
    const tell = (event: BrokerEvent): void => notify(this.#onEvent, event)
    const timers = new OwnTimers(this.#scope.scheduler)
    const { random } = this.#scope
    const waiting = new FetchWaiting(timers)
    const coordinator = new GroupCoordinator(this.#cluster, timers, random, this.#options, tell)
    const listener: ClusterListener = {
      appended: (partition, bytes) => waiting.appended(partition, bytes),
      changed: (partition) => {
        waiting.changed(partition)
        coordinator.moved(partition)
      },
      deleted: (topic) => coordinator.topicDeleted(topic),
      notify: tell,
    }
    this.#cluster.listener = listener
    const services: Services = {
      cluster: this.#cluster,
      coordinator,
      waiting,
      faults: this.faults,
      timers,
      random,
      options: this.#options,
      apiKeys: dispatcher.apiKeys,
      notify: tell,
    }
    const connections = new Set<ClientConnection>()
    const closing = new Set<ClientConnection>()
    const home: ConnectionHome = {
      services,
      dispatcher,
      memory: new RequestMemory(this.#options.maxRequestMemoryBytes),
      maxUnsentBytes: this.#options.maxUnsentBytes,
      ended: (connection, error) => {
        connections.delete(connection)
        closing.delete(connection)
        tell({ type: 'disconnected', node: connection.node, remote: connection.remote, error })
        if (connections.size === 0 && closing.size === 0) this.#allClosed?.()
      },
    }
    return { timers, services, home, listeners: [], connections, closing }
  }

  #accept(run: Run, connection: Connection, node: number): ConnectionHandler {
    const client = new ClientConnection(run.home, connection, node)
    if (this.#run !== run || run.connections.size >= this.#options.maxConnections) {
      run.closing.add(client)
      client.close(
        new MillraceError('ERR_TOO_MANY_CONNECTIONS', 'the broker takes no more connections (maxConnections)'),
      )
      return client
    }
    run.connections.add(client)
    run.services.notify({ type: 'connected', node, remote: connection.remote })
    return client
  }

  /** Ends a run: from here on nothing of it does anything. */
  #stop(run: Run): void {
    run.timers.end()
    this.#cluster.detach()
    for (const connection of run.connections) {
      run.closing.add(connection)
      connection.close()
    }
    run.connections.clear()
  }
}

function address(node: Node): string {
  return node.host.includes(':') ? `[${node.host}]:${node.port}` : `${node.host}:${node.port}`
}

function topicSpecs(topics: TableOptions['topics']): readonly TopicSpec[] {
  if (Array.isArray(topics)) return topics as readonly TopicSpec[]
  return Object.entries(topics as Readonly<Record<string, number>>).map(([name, partitions]) => ({ name, partitions }))
}

/** Faults that concern several options, or what the table cannot see. */
function optionFaults(options: Resolved<TableOptions>, logs: BrokerLogs | undefined): string[] {
  const faults: string[] = []
  if (!isLoopback(options.host) && !options.insecure) {
    faults.push(
      `host ${options.host} can be reached by other machines and there is no authentication: set insecure: true if that is what you want`,
    )
  }
  if ((options.host === '0.0.0.0' || options.host === '::') && options.advertisedHost === '') {
    faults.push(`host ${options.host} is no address that clients can be told: set advertisedHost too`)
  }
  if (options.minSessionTimeoutMs > options.maxSessionTimeoutMs) {
    faults.push('minSessionTimeoutMs must not be above maxSessionTimeoutMs')
  }
  if (logs !== undefined && !(logs instanceof KeptLogs)) faults.push('logs must come from broker.logs')
  else if (logs instanceof KeptLogs && logs.cluster.nodeCount !== options.nodes) {
    faults.push(`nodes must be ${logs.cluster.nodeCount}, as it was when the logs were written`)
  }
  for (const topic of topicSpecs(options.topics)) {
    if (typeof topic?.name !== 'string') faults.push('every topic needs a name')
  }
  return faults
}
