/**
 * Processor: one member of a group. It waits for its topics, joins, and for every partition it is given restores the table
 * and runs a task; it gives partitions back after a last checkpoint. Its parts do the work: TaskRunner (the loop), Task
 * (records), Checkpoint, Committer, Lease, TableRegistry (stores).
 * Owner of the life cycle: the state, the membership, the producer and the consumer of the inputs.
 */
import { assert } from '../base/assert.ts'
import { type Deferred, deferred } from '../base/deferred.ts'
import { ClosedError, describeError, MillraceError } from '../base/errors.ts'
import { notify } from '../base/events.ts'
import { type Resolved, resolveOptions } from '../base/options.ts'
import { sleep, type TimerHandle } from '../base/scope.ts'
import { Span } from '../storage/index.ts'
import { Changelog, type ForeignRange } from './changelog.ts'
import { type CommitOutcome, Committer } from './committer.ts'
import type { Declaration, StateOf } from './context.ts'
import { RecordError, StreamsError } from './errors.ts'
import { readForeignKeys } from './foreign-writes.ts'
import { type AnyGroup, describeGroup, type GroupGraph, type InputEdge } from './graph.ts'
import { Lease } from './lease.ts'
import { type KeyPartitioner, keyPartitioner } from './partitioner.ts'
import type { ConsumerPort, GroupMembership, KafkaPort, ProducerPort, TopicPartition } from './port.ts'
import { lostOffsets, type StartPosition, startPositions } from './positions.ts'
import type { ProcessorEvent } from './processor-events.ts'
import { type ProcessorOptions, processorOptionTable } from './processor-options.ts'
import type { ProcessorState } from './processor-state.ts'
import type { ContextShared } from './record-context.ts'
import { checkpointState, encodeCommitNote } from './store-state.ts'
import type { TableCopy } from './table-copy.ts'
import { keyBytes, TableReads } from './table-reads.ts'
import type { TableRegistry } from './table-registry.ts'
import { Task, type TaskHost } from './task.ts'
import { TaskRunner } from './task-runner.ts'
import { TaskTable } from './task-table.ts'
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

type TaskStart = { readonly abort: AbortController; readonly done: Promise<void> }

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
  #producer: ProducerPort | undefined
  #consumer: ConsumerPort | undefined
  #membership: GroupMembership | undefined
  #committer: Committer | undefined
  #runner: TaskRunner | undefined
  #taskHost: TaskHost | undefined
  #running: Promise<void> = Promise.resolve()
  #checkpointTimer: TimerHandle | undefined
  #unwatch: (() => void) | undefined
  readonly #lookups = new Map<string, TableReads>()
  /** Copies it follows for joins and lookups. */
  readonly #copies: TableCopy[] = []
  readonly #joins = new Map<string, (TableCopy | undefined)[]>()
  /** Partitions that the group gave to this instance and has not asked back. */
  readonly #mine = new Set<number>()
  /** Partitions that are being made ready. */
  readonly #starting = new Map<number, TaskStart>()
  /** Partitions whose task has ended while records of it were still on their way. */
  readonly #ending = new Map<number, Promise<void>>()
  readonly #span = new Span()

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
      this.#join()
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
    const task = this.#runner?.task(partition)
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
    const given = [...graph.inputs, ...graph.joins, ...graph.lookups].map((edge) => edge.topic)
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
    await kafka.metadata.require([...coPartitioned(graph), ...graph.outputs.map((edge) => edge.topic)])
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
    this.#copies.push(copy)
    copy.onChange(() => {
      if (copy.state.at === 'failed') this.#fail(this.#asError(copy.state.error))
    })
    return copy
  }

  #join(): void {
    const { kafka, requestTimeoutMs } = this.#host
    const options = this.#options
    const { sessionTimeoutMs } = options
    const crash = (cause: unknown): void => this.#fail(this.#asError(cause))
    const producer = kafka.producer({
      partitioner: options.partitioner,
      compression: options.compression,
      deliveryTimeoutMs: sessionTimeoutMs,
      maxBufferedBytes: options.maxProducerBytes,
    })
    const consumer = kafka.consumer({ isolation: 'read_committed', startFrom: 'error' })
    const membership = kafka.group({
      groupId: this.group,
      groupInstanceId: options.groupInstanceId,
      topics: this.#inputs.map((input) => input.topic),
      sessionTimeoutMs,
      heartbeatIntervalMs: options.heartbeatIntervalMs,
      rebalanceTimeoutMs: options.rebalanceTimeoutMs,
      listener: {
        onAssigned: (added) => this.#assigned(added),
        onRevoked: (removed) => this.#revoked(removed),
        onLost: (removed) => {
          for (const partition of partitionsOf(removed)) this.#mine.delete(partition)
          this.#lostPartitions(partitionsOf(removed), undefined)
        },
        onError: (fatal) => this.#fail(fatal),
      },
    })
    const inputNumbers = new Map(this.#inputs.map((input, i) => [input.topic, i]))
    const runner = new TaskRunner({
      scheduler: kafka.scope.scheduler,
      consumer,
      lease: new Lease(
        kafka.scope.scheduler,
        membership,
        sessionTimeoutMs,
        Math.min(requestTimeoutMs, sessionTimeoutMs / 2),
      ),
      maxInboxBytes: options.maxInboxBytes,
      inputOf: (topic) => inputNumbers.get(topic) ?? -1,
      leaseLapsed: () => this.#event({ kind: 'leaseLapsed' }),
      consumerFailed: (error) => this.#consumerFailed(error),
    })
    this.#producer = producer
    this.#consumer = consumer
    this.#membership = membership
    this.#committer = new Committer(kafka.scope, membership, crash)
    this.#runner = runner
    this.#taskHost = this.#makeTaskHost(producer, runner)
    this.#running = runner.run().catch(crash)
    this.#armCheckpoints()
    this.#enter({ at: 'joining' })
    membership.join()
  }

  #makeTaskHost(producer: ProducerPort, runner: TaskRunner): TaskHost {
    const { kafka } = this.#host
    const options = this.#options
    const shared: ContextShared = {
      graph: this.#graph,
      outputs: new Map(this.#graph.outputs.map((edge) => [edge.topic, edge])),
      lookups: this.#lookups,
      producer,
      maxCallbackBytes: options.maxCallbackBytes,
      emitNow: options.emitTimestamps === 'now',
      now: () => kafka.scope.scheduler.now(),
    }
    const topicId = (topic: string): string => kafka.metadata.view.topic(topic)?.id ?? ''
    return {
      scope: kafka.scope,
      graph: this.#graph,
      shared,
      policy: options,
      partitioner: this.#partitioner,
      partitionCount: this.#partitionCount,
      producer,
      wake: runner.wake,
      event: (event) => this.#event(event),
      commit: (offsets, done) => this.#committer!.commit(offsets, done),
      commitMetadata: (topic, streamTime) => encodeCommitNote({ topicId: topicId(topic), streamTime }),
      storeState: (topic) => checkpointState(topicId(topic)),
      fatal: (error) => this.#fail(error),
      lost: (task, error) => this.#taskLost(task, error),
    }
  }

  #armCheckpoints(): void {
    this.#checkpointTimer = this.#host.kafka.scope.scheduler.setTimer(this.#options.checkpointIntervalMs, () => {
      this.#runner?.checkpointAll()
      this.#armCheckpoints()
    })
  }

  // ── Assignment ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #assigned(added: readonly TopicPartition[]): void {
    if (this.#abort.signal.aborted) return
    const partitions = partitionsOf(added)
    this.#event({ kind: 'assigned', partitions })
    if (partitions.some((partition) => partition >= this.#partitionCount)) {
      this.#checkPartitionCounts()
      return
    }
    for (const partition of partitions) {
      this.#mine.add(partition)
      this.#startTask(partition)
    }
    this.#reportProgress()
  }

  #startTask(partition: number): void {
    if (!this.#mine.has(partition)) return
    const previous = this.#starting.get(partition)
    if (previous?.abort.signal.aborted === false || this.#runner?.task(partition) !== undefined) return
    const abort = new AbortController()
    const start = async (): Promise<void> => {
      await previous?.done
      try {
        await this.#makeReady(partition, abort.signal)
      } catch (cause) {
        if (!abort.signal.aborted) this.#fail(this.#asError(cause))
      } finally {
        if (this.#starting.get(partition) === entry) this.#starting.delete(partition)
        this.#reportProgress()
      }
    }
    const entry: { readonly abort: AbortController; done: Promise<void> } = { abort, done: Promise.resolve() }
    this.#starting.set(partition, entry)
    entry.done = start()
  }

  /** Offsets first, then the changelog's end, then the restore, then the first record: see positions.ts. */
  async #makeReady(partition: number, signal: AbortSignal): Promise<void> {
    const { kafka, registry } = this.#host
    await this.#ending.get(partition)
    signal.throwIfAborted()
    const inputs = this.#inputs.map(({ topic }) => ({ topic, partition }))
    await orAborted(this.#committer!.settleKept(inputs), signal)
    const starts = await this.#startPositions(partition, signal)
    const tables = []
    const { table } = this.#graph
    if (table !== undefined) {
      const [target = 0] = await kafka.listOffsets([{ topic: table.topic, partition }], 'latest', signal)
      signal.throwIfAborted()
      const store = await registry.acquire(this.group, table.topic, partition)
      try {
        const began = kafka.scope.scheduler.monotonic()
        const copy = await registry.restore({ topic: table.topic, partition, store, target }, signal)
        const durationMs = kafka.scope.scheduler.monotonic() - began
        this.#event({ kind: 'restored', topic: table.topic, partition, records: copy.applied, durationMs })
        const hashSeed = kafka.scope.random.bytes(4).readInt32LE(0)
        const taskTable = new TaskTable(table.topic, partition, table.codec, store, hashSeed, this.#span)
        const at = { topic: table.topic, partition, position: copy.position }
        const changed = this.#runner!.wake
        const changelog: Changelog = new Changelog(at, this.#producer!, changed, (range) => {
          const task = this.#runner?.task(partition)
          if (task !== undefined && task.tables[0]?.changelog === changelog) void this.#reassert(task, changelog, range)
        })
        tables.push({ table: taskTable, changelog })
      } catch (cause) {
        registry.release(this.group, table.topic, partition)
        throw cause
      }
    }
    try {
      const joins = await this.#joinsOf(partition)
      signal.throwIfAborted()
      await this.#commitChosen(starts, signal)
      signal.throwIfAborted()
      this.#runTask(new Task(this.#taskHost!, partition, tables, joins), starts)
    } catch (cause) {
      if (table !== undefined) registry.release(this.group, table.topic, partition)
      throw cause
    }
  }

  #startPositions(partition: number, signal: AbortSignal): Promise<StartPosition[]> {
    const { kafka } = this.#host
    return startPositions(kafka, this.#membership!, this.#graph, this.#inputs, [partition], this.#options, signal)
  }

  async #commitChosen(starts: readonly StartPosition[], signal: AbortSignal): Promise<void> {
    const metadata = this.#taskHost!
    const chosen = starts
      .filter((start) => start.chosen)
      .map(({ topic, partition, offset }) => ({
        topic,
        partition,
        offset,
        metadata: metadata.commitMetadata(topic, -1),
      }))
    if (chosen.length === 0) return
    for (;;) {
      const committed = new Promise<CommitOutcome>((resolve) => this.#committer!.commit(chosen, resolve))
      const outcome = await orAborted(committed, signal)
      if (outcome.kind === 'failed') throw outcome.error
      if (outcome.kind === 'committed') return
      // If the group has moved on, the revocation or loss that comes now aborts this start.
      await this.#membership!.heartbeatNow().catch(() => {})
      await sleep(this.#host.kafka.scope, 100, signal)
    }
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

  #runTask(task: Task, starts: readonly StartPosition[]): void {
    for (const start of starts) task.startAt(start.input, start.offset)
    task.state = 'running'
    this.#runner!.add(task)
    this.#consumer!.assign(starts.map(({ topic, partition, offset }) => ({ topic, partition, offset })))
  }

  /** Gives partitions up in good order: callbacks end, a last checkpoint, then the membership goes on. */
  async #revoked(removed: readonly TopicPartition[]): Promise<void> {
    const partitions = partitionsOf(removed)
    this.#event({ kind: 'revoked', partitions })
    await this.#giveUp(partitions, this.#options.rebalanceTimeoutMs * 0.8)
    if (this.#state.at === 'running' || this.#state.at === 'recovering') this.#enter({ at: 'joining' })
  }

  async #giveUp(partitions: readonly number[], timeoutMs: number): Promise<void> {
    const runner = this.#runner!
    for (const partition of partitions) {
      this.#mine.delete(partition)
      this.#starting.get(partition)?.abort.abort(new ClosedError(`partition ${partition}`))
    }
    const tasks = partitions.map((partition) => runner.task(partition)).filter((task) => task !== undefined)
    for (const task of tasks) {
      this.#unassign(task)
      runner.drain(task)
      task.wantCheckpoint()
    }
    let late = false
    const timer = this.#host.kafka.scope.scheduler.setTimer(timeoutMs, () => {
      late = true
      runner.wake()
    })
    const settled = (): boolean =>
      tasks.every((task) => {
        if (task.state === 'closed' || task.settled) return true
        task.wantCheckpoint()
        return false
      })
    await runner.until(() => late || settled())
    this.#host.kafka.scope.scheduler.clearTimer(timer)
    for (const task of tasks) this.#endTask(task)
    await Promise.all(partitions.map((partition) => this.#starting.get(partition)?.done))
  }

  #lostPartitions(partitions: readonly number[], error: MillraceError | undefined): void {
    this.#event({ kind: 'lost', partitions, error })
    for (const partition of partitions) {
      this.#starting.get(partition)?.abort.abort(new ClosedError(`partition ${partition}`))
      const task = this.#runner?.task(partition)
      if (task === undefined) continue
      this.#unassign(task)
      this.#endTask(task)
    }
    if (this.#state.at === 'running') this.#enter({ at: 'joining' })
  }

  /** A task whose writes failed, or whose commit was refused, is restored here if its partition is still ours. */
  #taskLost(task: Task, error: MillraceError | undefined): void {
    this.#lostPartitions([task.partition], error)
    if (error === undefined) {
      const again = (): void => this.#startTask(task.partition)
      this.#membership?.heartbeatNow().then(again, again) // the membership reacts to the answer itself, and first
    } else this.#startTask(task.partition)
    this.#reportProgress()
  }

  #unassign(task: Task): void {
    this.#consumer?.unassign(task.inputs.map(({ topic }) => ({ topic, partition: task.partition })))
  }

  /** Closes a task; its partition is free for a next one when nothing of it is on its way any more. */
  #endTask(task: Task): void {
    if (task.state === 'closed') return
    task.close()
    this.#runner!.remove(task)
    const { partition } = task
    for (const { table } of task.tables) table.abandon()
    const ended = this.#runner!.until(() => task.inFlight === 0).then(() => {
      for (const { table } of task.tables) this.#host.registry.release(this.group, table.topic, partition)
      if (this.#ending.get(partition) === ended) this.#ending.delete(partition)
    })
    this.#ending.set(partition, ended)
  }

  async #reassert(task: Task, changelog: Changelog, range: ForeignRange): Promise<void> {
    const table = task.tables.find((one) => one.changelog === changelog)?.table
    if (table === undefined) return
    const now = this.#host.kafka.scope.scheduler.now()
    try {
      const onKey = (bytes: Buffer, from: number, to: number): void => {
        if (task.state === 'running') table.reassert(bytes, from, to, now)
      }
      const keys = await readForeignKeys(this.#host.kafka, changelog, range, onKey, this.#abort.signal)
      changelog.reasserted(range)
      const { topic, partition } = changelog
      if (keys > 0) {
        this.#event({
          kind: 'foreignChangelogWrite',
          topic,
          partition,
          fromOffset: range.from,
          toOffset: range.to,
          keys,
        })
      }
      task.wantCheckpoint()
      this.#runner?.wake()
    } catch (cause) {
      if (!this.#abort.signal.aborted && task.state === 'running') this.#taskLost(task, this.#asError(cause))
    }
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

  #consumerFailed(error: unknown): void {
    const at = error as { code?: string; topic?: string; partition?: number; offset?: number }
    if (at.code !== 'OFFSET_OUT_OF_RANGE' || at.topic === undefined || at.partition === undefined) {
      this.#fail(this.#asError(error))
      return
    }
    const { topic, partition } = at
    const policy = this.#options.onLostOffsets
    if (policy === 'fail') {
      this.#fail(lostOffsets(this.group, topic, partition, `offset ${at.offset} is not in its log any more`))
      return
    }
    void this.#host.kafka.listOffsets([{ topic, partition }], policy, this.#abort.signal).then(
      ([offset = 0]) => {
        if (this.#runner?.task(partition) === undefined) return
        this.#consumer?.unassign([{ topic, partition }])
        this.#consumer?.assign([{ topic, partition, offset }])
      },
      (cause: unknown) => this.#fail(this.#asError(cause)),
    )
  }

  #reportProgress(): void {
    const { at } = this.#state
    if (at !== 'joining' && at !== 'recovering' && at !== 'running') return
    if (this.#starting.size > 0) {
      this.#enter({ at: 'recovering', progress: { partitions: [...this.#starting.keys()].sort((a, b) => a - b) } })
      return
    }
    const partitions = this.#runner!.tasks.map((task) => task.partition).sort((a, b) => a - b)
    this.#enter({ at: 'running', partitions })
    this.#started.resolve()
  }

  #enter(state: ProcessorState): void {
    if (this.#state.at === 'closed' || this.#state.at === 'failed') return
    this.#state = state
    notify(this.#options.onStateChange, state)
  }

  #event(event: ProcessorEvent): void {
    notify(this.#options.onEvent, event)
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
    const { kafka, registry } = host
    const runner = this.#runner
    const { scheduler } = kafka.scope
    const deadline = scheduler.monotonic() + timeoutMs
    if (runner !== undefined) {
      const partitions = [...runner.tasks.map((task) => task.partition), ...this.#starting.keys()]
      await this.#giveUp(partitions, timeoutMs)
    }
    if (this.#checkpointTimer !== undefined) scheduler.clearTimer(this.#checkpointTimer)
    this.#committer?.close()
    // What is still on its way after the last checkpoint's time will not be committed: there is nothing to wait for.
    const leftMs = Math.max(0, deadline - scheduler.monotonic())
    await Promise.all([this.#membership?.close(), this.#producer?.close({ timeoutMs: leftMs })])
    await Promise.all(this.#ending.values())
    runner?.stop()
    await this.#consumer?.close()
    await this.#running
    for (const copy of this.#copies) registry.unfollow(copy)
    await kafka.close()
  }
}

/** Waits for `promise`, or rejects with the signal's reason; then what becomes of the promise matters to nobody. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function partitionsOf(partitions: readonly TopicPartition[]): number[] {
  return [...new Set(partitions.map((one) => one.partition))].sort((a, b) => a - b)
}
