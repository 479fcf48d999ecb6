/**
 * Processor: one member of a group. It waits for its topics, joins, and for every partition it is given restores the table
 * and runs a task; it gives partitions back after a last checkpoint. Its parts do the work: Member (group and partitions),
 * TaskRunner (the loop), Task (records), Checkpoint, Committer, Lease, TableRegistry (stores).
 * Owner of the life cycle: the state, and the table copies that joins and lookups follow.
 */
import { assert } from '../base/assert.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { ClosedError, describeError, MillraceError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import { type Resolved, resolveOptions } from '../base/options.ts'
import type { Declaration, StateOf } from './context.ts'
import { RecordError, StreamsError } from './errors.ts'
import { type AnyGroup, describeGroup, type GroupGraph, type InputEdge } from './graph.ts'
import { Member } from './member.ts'
import { type KeyPartitioner, keyPartitioner } from './partitioner.ts'
import type { KafkaPort } from './port.ts'
import { type ProcessorOptions, processorOptionTable } from './processor-options.ts'
import type { ProcessorState } from './processor-state.ts'
import type { TableCopy } from './table-copy.ts'
import { keyBytes, TableReads } from './table-reads.ts'
import type { TableRegistry } from './table-registry.ts'
import {
  coPartitioned,
  createMissing,
  exists,
  loopTopicOf,
  requireCompacted,
  sharedPartitionCount,
  tableTopicOf,
  waitForTopics,
} from './topics.ts'

/** What a processor gets from its application. */
export interface ProcessorHost {
  /** The processor's own connections: closed with it. */
  readonly kafka: KafkaPort
  readonly registry: TableRegistry
  readonly requestTimeoutMs: number
  /** Partitions of inputs that are made on the embedded broker; undefined on any other. */
  readonly createInputs: number | undefined
}

/** A processor whose group table has values of a known type. */
export interface TypedProcessor<D extends Declaration> extends Processor {
  /**
   * The group table's value at a key, as of the last checkpoint, if its partition is running here; undefined if there is
   * none. Throws as `Processor.get`.
   */
  get(key: string | Uint8Array): StateOf<D> | undefined
}

export class Processor implements AsyncDisposable {
  /** The group's name, which is also its consumer group id. */
  readonly group: string
  readonly #open: () => Promise<ProcessorHost>
  #opened: ProcessorHost | undefined
  readonly #graph: GroupGraph
  readonly #inputs: readonly InputEdge[]
  readonly #options: Resolved<ProcessorOptions>
  readonly #partitioner: KeyPartitioner
  #state: ProcessorState = { at: 'created' }
  readonly #started: Deferred = deferred(true)
  readonly #done: Deferred = deferred(true)
  readonly #abort = new AbortController()
  #closing: Promise<void> | undefined
  #partitionCount = 0
  #member: Member | undefined
  #unwatch: (() => void) | undefined
  readonly #lookups = new Map<string, TableReads>()
  /** Copies it follows for joins and lookups, each with what ends listening to it. */
  readonly #copies = new Map<TableCopy, () => void>()
  readonly #joins = new Map<string, (TableCopy | undefined)[]>()

  /** Throws GraphError for a group that contradicts itself and OptionError. Connects to nothing yet. */
  constructor(open: () => Promise<ProcessorHost>, group: AnyGroup, options: ProcessorOptions) {
    this.#open = open
    this.#graph = describeGroup(group)
    this.group = this.#graph.name
    this.#inputs = this.#graph.loop === undefined ? this.#graph.inputs : [...this.#graph.inputs, this.#graph.loop]
    this.#options = resolveOptions(`the processor of ${this.group}`, processorOptionTable, options)
    this.#partitioner = keyPartitioner(this.#options.partitioner)
  }

  /** What it is doing now. */
  get state(): ProcessorState {
    return this.#state
  }

  /** Resolves when the processor has been closed; rejects with the error that ended it. */
  get done(): Promise<void> {
    return this.#done.promise
  }

  /**
   * Joins the group and resolves when every partition this instance was given first is restored and running (there may be
   * none). Rejects with what ended it before, or with the signal's reason, after closing it.
   * @throws {StreamsError} `ERR_STATE` when called twice; `ERR_TOPIC_MISSING`, `ERR_PARTITION_COUNT`,
   * `ERR_TABLE_NOT_COMPACTED`, `ERR_LOST_OFFSETS` and the rest of `StreamsErrorCode`
   */
  async start(options: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#state.at !== 'created') {
      throw new StreamsError('ERR_STATE', `the processor of ${this.group} was started before: it is ${this.#state.at}`)
    }
    const { signal } = options
    const onAbort = (): void => void this.close()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      signal?.throwIfAborted()
      this.#enter({ at: 'waitingForTopics', reason: 'connecting' })
      this.#opened = await this.#open()
      await this.#prepare()
      this.#enter({ at: 'joining' })
      this.#member = this.#join(this.#opened)
      await this.#started.promise
    } catch (cause) {
      if (signal?.aborted === true) throw signal.reason
      const error = this.#asError(cause)
      this.#fail(error)
      throw error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /**
   * The group table's value at a key, as of the last checkpoint, if its partition is running here; undefined if there is
   * none. Synchronous and local.
   * @throws {StreamsError} `ERR_UNDECLARED` without a table, `ERR_PARTITION_ELSEWHERE` (retriable), `ERR_CODEC`
   */
  get(key: string | Uint8Array): unknown {
    if (this.#graph.table === undefined) {
      throw new StreamsError('ERR_UNDECLARED', `group ${this.group} has no table: add table: codec to defineGroup`)
    }
    const bytes = keyBytes(key)
    const partition = this.#partitionCount === 0 ? -1 : this.#partitioner(bytes, 0, bytes.length, this.#partitionCount)
    const task = this.#member?.task(partition)
    if (task === undefined) {
      throw new StreamsError(
        'ERR_PARTITION_ELSEWHERE',
        `partition ${partition} of group ${this.group} is not running on this instance: open a view of ${this.#graph.table.topic}`,
        { retriable: true },
      )
    }
    return task.tables[0]!.table.stored(bytes)
  }

  /**
   * Ends the processor: running callbacks end, a last checkpoint is made, the group is left (a static member keeps its
   * place). Takes at most `closeTimeoutMs`, then drops what is not committed. Never rejects; later calls return the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #host(): ProcessorHost {
    assert(this.#opened !== undefined, 'the processor was used before it was opened')
    return this.#opened
  }

  // ── Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #prepare(): Promise<void> {
    const { kafka, createInputs } = this.#host
    const graph = this.#graph
    const { signal } = this.#abort
    const edges = [...graph.inputs, ...graph.outputs, ...graph.joins, ...graph.lookups]
    const given = edges.map((edge) => edge.topic)
    this.#enter({ at: 'waitingForTopics', reason: `looking up ${given.join(', ')}` })
    if (createInputs !== undefined) {
      const streams = [...graph.inputs, ...graph.outputs].map((edge) => ({
        name: edge.topic,
        partitions: createInputs,
      }))
      const tables = [...graph.joins, ...graph.lookups].map((edge) => tableTopicOf(edge.topic, createInputs))
      await createMissing(kafka, [...streams, ...tables])
    }
    const report = (reason: string): void => this.#enter({ at: 'waitingForTopics', reason })
    await waitForTopics(kafka, given, this.#options.missingTopicTimeoutMs, report, signal)
    await kafka.metadata.require(coPartitioned(graph))
    this.#partitionCount = sharedPartitionCount(kafka, graph)
    const own = []
    if (graph.table !== undefined) own.push(tableTopicOf(graph.table.topic, this.#partitionCount))
    if (graph.loop !== undefined) own.push(loopTopicOf(graph.loop.topic, this.#partitionCount))
    await createMissing(kafka, own)
    const ownNames = own.map((topic) => topic.name)
    if (own.length > 0) {
      await waitForTopics(kafka, ownNames, this.#options.missingTopicTimeoutMs, report, signal)
    }
    this.#partitionCount = sharedPartitionCount(kafka, graph)
    const tables = [...(graph.table === undefined ? [] : [graph.table]), ...graph.joins, ...graph.lookups]
    for (const edge of tables) await requireCompacted(kafka, edge.topic)
    await this.#followTables()
    signal.throwIfAborted()
    this.#unwatch = kafka.metadata.onChange(() => this.#checkPartitionCounts())
  }

  /** Lookups are followed in full; joins partition by partition, when a task needs them. */
  async #followTables(): Promise<void> {
    for (const edge of this.#graph.lookups) {
      const topic = this.#host.kafka.metadata.view.topic(edge.topic)
      assert(exists(topic), 'a lookup topic vanished')
      const copies = await Promise.all(topic.partitions.map(({ index }) => this.#follow(edge.topic, index)))
      this.#lookups.set(edge.topic, new TableReads(edge, copies, this.#partitioner))
    }
    for (const edge of this.#graph.joins) this.#joins.set(edge.topic, [])
  }

  async #follow(topic: string, partition: number): Promise<TableCopy> {
    const copy = await this.#host.registry.follow(topic, partition)
    const unlisten = copy.onChange(() => {
      if (copy.state.at === 'failed') this.#fail(this.#asError(copy.state.error))
    })
    this.#copies.set(copy, unlisten)
    return copy
  }

  #join({ kafka, registry, requestTimeoutMs }: ProcessorHost): Member {
    return new Member({
      kafka,
      registry,
      requestTimeoutMs,
      graph: this.#graph,
      inputs: this.#inputs,
      options: this.#options,
      partitioner: this.#partitioner,
      partitionCount: this.#partitionCount,
      lookups: this.#lookups,
      signal: this.#abort.signal,
      joinsOf: (partition) => this.#joinsOf(partition),
      leaveJoins: (partition) => this.#leaveJoins(partition),
      event: (event) => notify(this.#options.onEvent, event),
      changed: () => this.#reportProgress(),
      partitionsGrew: () => this.#checkPartitionCounts(),
      fail: (cause) => this.#fail(this.#asError(cause)),
    })
  }

  async #joinsOf(partition: number): Promise<Map<string, TableReads>> {
    const joins = new Map<string, TableReads>()
    for (const edge of this.#graph.joins) {
      const copies = this.#joins.get(edge.topic)!
      copies[partition] ??= await this.#follow(edge.topic, partition)
      await copies[partition]!.whenRecovered()
      joins.set(edge.topic, new TableReads(edge, copies, this.#partitioner))
    }
    for (const reads of this.#lookups.values()) {
      for (const copy of reads.copies) await copy?.whenRecovered()
    }
    return joins
  }

  #leaveJoins(partition: number): void {
    for (const copies of this.#joins.values()) {
      const copy = copies[partition]
      if (copy === undefined) continue
      copies[partition] = undefined
      this.#unfollow(copy)
    }
  }

  #unfollow(copy: TableCopy): void {
    this.#copies.get(copy)?.()
    this.#copies.delete(copy)
    this.#host.registry.unfollow(copy)
  }

  // ── Errors and states ──────────────────────────────────────────────────────────────────────────────────────────────

  #checkPartitionCounts(): void {
    if (this.#partitionCount === 0 || this.#abort.signal.aborted) return
    for (const name of coPartitioned(this.#graph)) {
      const topic = this.#host.kafka.metadata.view.topic(name)
      if (!exists(topic) || topic.partitions.length === this.#partitionCount) continue
      const what = `topic ${name} now has ${topic.partitions.length} partitions, the group began with ${this.#partitionCount}`
      const remedy = 'keys would move to other partitions than their table: move the data to topics with the new count'
      this.#fail(new StreamsError('ERR_PARTITION_COUNT', `${what}: ${remedy}`))
      return
    }
  }

  #reportProgress(): void {
    // What failed while a partition was made ready leaves none to wait for: that is not a start.
    if (this.#closing !== undefined) return
    const { at } = this.#state
    if (
      this.#member === undefined ||
      (at !== 'waitingForTopics' && at !== 'joining' && at !== 'recovering' && at !== 'running')
    )
      return
    const { phase } = this.#member
    if (phase.at === 'joining' && at === 'joining') return
    this.#enter(phase)
    if (phase.at === 'running') this.#started.resolve()
  }

  #enter(state: ProcessorState): void {
    if (this.#state.at === 'closed' || this.#state.at === 'failed') return
    this.#state = state
    notify(this.#options.onStateChange, state)
  }

  #asError(cause: unknown): MillraceError {
    if (cause instanceof MillraceError) return cause
    return new StreamsError('ERR_STATE', `the processor of ${this.group} ended: ${describeError(cause)}`, { cause })
  }

  #fail(error: MillraceError): void {
    if (this.#closing !== undefined) return
    // After a callback's error what was done before it is good and worth a last checkpoint; after others it may not be.
    this.#closing = this.#shutDown(error instanceof RecordError ? this.#options.closeTimeoutMs : 0, error)
  }

  #close(): Promise<void> {
    this.#enter({ at: 'closing' })
    return this.#shutDown(this.#options.closeTimeoutMs, undefined)
  }

  async #shutDown(timeoutMs: number, error: MillraceError | undefined): Promise<void> {
    this.#unwatch?.()
    this.#abort.abort(error ?? new ClosedError(`the processor of ${this.group}`))
    if (this.#opened !== undefined) await this.#release(this.#opened, timeoutMs)
    if (error === undefined) {
      this.#enter({ at: 'closed' })
      this.#started.reject(new ClosedError(`the processor of ${this.group}`))
      this.#done.resolve()
    } else {
      this.#enter({ at: 'failed', error })
      this.#started.reject(error)
      this.#done.reject(error)
    }
  }

  /** Gives everything back, in order: tasks, membership, producer, consumer, copies, connections. */
  async #release(host: ProcessorHost, timeoutMs: number): Promise<void> {
    await this.#member?.close(timeoutMs)
    for (const copy of [...this.#copies.keys()]) this.#unfollow(copy)
    await host.kafka.close()
  }
}
