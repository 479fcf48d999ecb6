/**
 * Member: what a processor is between joining its group and leaving it: the membership, the producer, the input consumer,
 * and the tasks of the partitions it was given. It makes partitions ready (offsets, restore, joins), runs them, and gives
 * them back after a last checkpoint.
 * Owner of the set of partitions: which are ours, which are being made ready, which are ending.
 */
import { ClosedError, describeError, MillraceError } from '../base/errors.ts'
import type { Resolved } from '../base/options.ts'
import { sleep, type TimerHandle } from '../base/scope.ts'
import { Span } from '../storage/index.ts'
import { Changelog, type ForeignRange } from './changelog.ts'
import { ChangelogWatch } from './changelog-watch.ts'
import { type CommitOutcome, Committer } from './committer.ts'
import { StreamsError } from './errors.ts'
import { readForeignKeys } from './foreign-writes.ts'
import type { GroupGraph, InputEdge } from './graph.ts'
import { Lease } from './lease.ts'
import type { KeyPartitioner } from './partitioner.ts'
import type { ConsumerPort, GroupMembership, KafkaPort, ProducerPort, TopicPartition } from './port.ts'
import { lostOffsets, type StartPosition, startPositions } from './positions.ts'
import type { ProcessorEvent } from './processor-events.ts'
import type { ProcessorOptions } from './processor-options.ts'
import type { RecoveryProgress } from './processor-state.ts'
import type { ContextShared } from './record-context.ts'
import { encodeCommitNote, encodeStoreState } from './store-state.ts'
import type { TableReads } from './table-reads.ts'
import type { TableRegistry } from './table-registry.ts'
import { Task, type TaskHost } from './task.ts'
import { TaskRunner } from './task-runner.ts'
import { TaskTable } from './task-table.ts'

/** What a member gets from its processor. */
export interface MemberHost {
  readonly kafka: KafkaPort
  readonly registry: TableRegistry
  readonly requestTimeoutMs: number
  readonly graph: GroupGraph
  readonly inputs: readonly InputEdge[]
  readonly options: Resolved<ProcessorOptions>
  readonly partitioner: KeyPartitioner
  readonly partitionCount: number
  readonly lookups: ReadonlyMap<string, TableReads>
  /** Fires when the processor ends. */
  readonly signal: AbortSignal
  /** The joined tables of a partition; resolves when they and the lookups are recovered. */
  joinsOf(partition: number): Promise<ReadonlyMap<string, TableReads>>
  /** The partition is not read any more: its joined tables need not be followed for it. */
  leaveJoins(partition: number): void
  event(event: ProcessorEvent): void
  /** The member's phase may have changed. */
  changed(): void
  /** A partition beyond the count the processor began with was assigned. */
  partitionsGrew(): void
  /** Ends the processor. */
  fail(cause: unknown): void
}

export type MemberPhase =
  | { readonly at: 'joining' }
  | { readonly at: 'recovering'; readonly progress: RecoveryProgress }
  | { readonly at: 'running'; readonly partitions: readonly number[] }

interface TaskStart {
  readonly abort: AbortController
  done: Promise<void>
}

export class Member {
  readonly #host: MemberHost
  readonly #inputs: readonly InputEdge[]
  readonly #producer: ProducerPort
  readonly #consumer: ConsumerPort
  readonly #membership: GroupMembership
  readonly #committer: Committer
  readonly #runner: TaskRunner
  readonly #taskHost: TaskHost
  readonly #running: Promise<void>
  readonly #watch: ChangelogWatch
  #checkpointTimer: TimerHandle | undefined
  /** The group has answered since the last revocation; an assignment may be empty. */
  #hasAssignment = false
  /** Partitions that the group gave to this instance and has not asked back. */
  readonly #mine = new Set<number>()
  /** Partitions that are being made ready. */
  readonly #starting = new Map<number, TaskStart>()
  /** Partitions whose task has ended while records of it were still on their way. */
  readonly #ending = new Map<number, Promise<void>>()
  readonly #span = new Span()

  /** Joins the group. */
  constructor(host: MemberHost) {
    this.#host = host
    this.#inputs = host.inputs
    const { kafka, requestTimeoutMs, options } = host
    const { sessionTimeoutMs } = options
    // A record that is appended in the lease's last moment has this long to arrive before the session can end; later it
    // must not be sent any more, because the partition may have another owner.
    // (The group also goes on without a member that has not rejoined within the rebalance time-out.)
    const membershipMs = Math.min(sessionTimeoutMs, options.rebalanceTimeoutMs)
    const marginMs = Math.floor(Math.min(requestTimeoutMs, membershipMs / 2))
    const crash = (cause: unknown): void => this.#host.fail(cause)
    const producer = kafka.producer({
      partitioner: options.partitioner,
      compression: options.compression,
      deliveryTimeoutMs: marginMs,
      maxBufferedBytes: options.maxProducerBytes,
    })
    const consumer = kafka.consumer({ isolation: 'read_committed', startFrom: 'error' })
    const membership = kafka.group({
      groupId: this.#host.graph.name,
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
          if (this.#mine.size === 0) this.#hasAssignment = false
          this.#lostPartitions(partitionsOf(removed), undefined)
        },
        onError: (fatal) => this.#host.fail(fatal),
      },
    })
    const inputNumbers = new Map(this.#inputs.map((input, i) => [input.topic, i]))
    const runner = new TaskRunner({
      scheduler: kafka.scope.scheduler,
      consumer,
      lease: new Lease(kafka.scope.scheduler, membership, membershipMs, marginMs),
      maxInboxBytes: options.maxInboxBytes,
      inputOf: (topic) => inputNumbers.get(topic) ?? -1,
      leaseLapsed: () => this.#host.event({ kind: 'leaseLapsed' }),
      consumerFailed: (error) => this.#consumerFailed(error),
    })
    this.#producer = producer
    this.#consumer = consumer
    this.#membership = membership
    this.#committer = new Committer(kafka.scope, membership, crash)
    this.#runner = runner
    this.#taskHost = this.#makeTaskHost(producer, runner)
    this.#running = runner.run().catch(crash)
    this.#watch = new ChangelogWatch({
      scheduler: kafka.scope.scheduler,
      intervalMs: sessionTimeoutMs,
      changelogs: () => runner.tasks.flatMap((task) => task.tables.map(({ changelog }) => changelog)),
      ends: (partitions, signal) => kafka.listOffsets(partitions, 'latest', signal ?? this.#host.signal),
      failed: crash,
    })
    this.#armCheckpoints()
    membership.join()
  }

  get phase(): MemberPhase {
    if (!this.#hasAssignment) return { at: 'joining' }
    if (this.#starting.size > 0) {
      return { at: 'recovering', progress: { partitions: [...this.#starting.keys()].sort((a, b) => a - b) } }
    }
    return { at: 'running', partitions: this.#runner.tasks.map((task) => task.partition).sort((a, b) => a - b) }
  }

  /** The running task of a partition. */
  task(partition: number): Task | undefined {
    return this.#runner.task(partition)
  }

  /** Ends everything, in order: tasks (a last checkpoint within `timeoutMs`), membership, producer, consumer. */
  async close(timeoutMs: number): Promise<void> {
    const { scheduler } = this.#host.kafka.scope
    const deadline = scheduler.monotonic() + timeoutMs
    const partitions = [...this.#runner.tasks.map((task) => task.partition), ...this.#starting.keys()]
    await this.#giveUp(partitions, timeoutMs)
    if (this.#checkpointTimer !== undefined) scheduler.clearTimer(this.#checkpointTimer)
    this.#watch.stop()
    this.#committer.close()
    // What is still on its way after the last checkpoint's time will not be committed: there is nothing to wait for.
    const leftMs = Math.max(0, deadline - scheduler.monotonic())
    await Promise.all([this.#membership.close(), this.#producer.close({ timeoutMs: leftMs })])
    await Promise.all(this.#ending.values())
    this.#runner.stop()
    await this.#consumer.close()
    await this.#running
  }

  #makeTaskHost(producer: ProducerPort, runner: TaskRunner): TaskHost {
    const { kafka } = this.#host
    const options = this.#host.options
    const shared: ContextShared = {
      graph: this.#host.graph,
      outputs: new Map(this.#host.graph.outputs.map((edge) => [edge.topic, edge])),
      lookups: this.#host.lookups,
      producer,
      maxCallbackBytes: options.maxCallbackBytes,
      emitNow: options.emitTimestamps === 'now',
      now: () => kafka.scope.scheduler.now(),
    }
    const topicId = (topic: string): string => kafka.metadata.view.topic(topic)?.id ?? ''
    return {
      scope: kafka.scope,
      graph: this.#host.graph,
      shared,
      policy: options,
      partitioner: this.#host.partitioner,
      partitionCount: this.#host.partitionCount,
      producer,
      wake: runner.wake,
      event: (event) => this.#host.event(event),
      commit: (offsets, done) => this.#committer.commit(offsets, done),
      commitMetadata: (topic, streamTime) => encodeCommitNote({ topicId: topicId(topic), streamTime }),
      storeState: ({ topic, leaderEpoch }) =>
        encodeStoreState({ topicId: topicId(topic), leaderEpoch, wallMs: wholeMinute(kafka.scope.scheduler.now()) }),
      fatal: (error) => this.#host.fail(error),
      lost: (task, error) => this.#taskLost(task, error),
    }
  }

  #armCheckpoints(): void {
    this.#checkpointTimer = this.#host.kafka.scope.scheduler.setTimer(this.#host.options.checkpointIntervalMs, () => {
      this.#runner.checkpointAll()
      this.#armCheckpoints()
    })
  }

  #assigned(added: readonly TopicPartition[]): void {
    if (this.#host.signal.aborted) return
    const partitions = partitionsOf(added)
    this.#host.event({ kind: 'assigned', partitions })
    if (partitions.some((partition) => partition >= this.#host.partitionCount)) {
      this.#host.partitionsGrew()
      return
    }
    this.#hasAssignment = true
    for (const partition of partitions) {
      this.#mine.add(partition)
      this.#startTask(partition)
    }
    this.#host.changed()
  }

  #startTask(partition: number): void {
    if (!this.#mine.has(partition)) return
    const previous = this.#starting.get(partition)
    if (previous?.abort.signal.aborted === false || this.#runner.task(partition) !== undefined) return
    const abort = new AbortController()
    const start = async (): Promise<void> => {
      await previous?.done
      try {
        await this.#makeReady(partition, abort.signal)
      } catch (cause) {
        if (!abort.signal.aborted) this.#host.fail(cause)
      } finally {
        if (this.#starting.get(partition) === entry) this.#starting.delete(partition)
        this.#host.changed()
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
    await orAborted(this.#committer.settleKept(inputs), signal)
    const starts = await this.#startPositions(partition, signal)
    const tables = []
    const { table } = this.#host.graph
    if (table !== undefined) {
      const askedMs = kafka.scope.scheduler.now()
      const [target = 0] = await kafka.listOffsets([{ topic: table.topic, partition }], 'latest', signal)
      signal.throwIfAborted()
      const group = this.#host.graph.name
      await registry.acquire(group, table.topic, partition)
      try {
        const began = kafka.scope.scheduler.monotonic()
        const at = { group, topic: table.topic, partition, target, askedMs }
        const { copy, localEntries, rebuilt } = await registry.restore(at, signal)
        const { store, from, position, applied: records, leaderEpoch } = copy
        const durationMs = kafka.scope.scheduler.monotonic() - began
        this.#host.event({
          kind: 'restored',
          topic: table.topic,
          partition,
          records,
          durationMs,
          fromOffset: from,
          toOffset: position,
          localEntries,
          rebuilt,
        })
        const hashSeed = kafka.scope.random.bytes(4).readInt32LE(0)
        const taskTable = new TaskTable(table.topic, partition, table.codec, store, hashSeed, this.#span)
        const start = { topic: table.topic, partition, position, leaderEpoch }
        const changed = this.#runner.wake
        const changelog: Changelog = new Changelog(start, this.#producer, changed, (range) => {
          const task = this.#runner.task(partition)
          if (task !== undefined && task.tables[0]?.changelog === changelog) void this.#reassert(task, changelog, range)
        })
        tables.push({ table: taskTable, changelog })
      } catch (cause) {
        registry.release(this.#host.graph.name, table.topic, partition)
        throw cause
      }
    }
    try {
      const joins = await this.#host.joinsOf(partition)
      signal.throwIfAborted()
      await this.#commitChosen(starts, signal)
      signal.throwIfAborted()
      this.#runTask(new Task(this.#taskHost, partition, tables, joins), starts)
    } catch (cause) {
      this.#host.leaveJoins(partition)
      if (table !== undefined) registry.release(this.#host.graph.name, table.topic, partition)
      throw cause
    }
  }

  #startPositions(partition: number, signal: AbortSignal): Promise<StartPosition[]> {
    const { kafka } = this.#host
    return startPositions(
      kafka,
      this.#membership,
      this.#host.graph,
      this.#inputs,
      [partition],
      this.#host.options,
      signal,
    )
  }

  async #commitChosen(starts: readonly StartPosition[], signal: AbortSignal): Promise<void> {
    const metadata = this.#taskHost
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
      const committed = new Promise<CommitOutcome>((resolve) => this.#committer.commit(chosen, resolve))
      const outcome = await orAborted(committed, signal)
      if (outcome.kind === 'failed') throw outcome.error
      if (outcome.kind === 'committed') return
      // If the group has moved on, the revocation or loss that comes now aborts this start.
      await this.#membership.heartbeatNow().catch(() => {})
      await sleep(this.#host.kafka.scope, 100, signal)
    }
  }

  #runTask(task: Task, starts: readonly StartPosition[]): void {
    for (const start of starts) task.startAt(start.input, start.offset)
    task.state = 'running'
    this.#runner.add(task)
    this.#consumer.assign(starts.map(({ topic, partition, offset }) => ({ topic, partition, offset })))
  }

  /** Gives partitions up in good order: callbacks end, a last checkpoint, then the membership goes on. */
  async #revoked(removed: readonly TopicPartition[]): Promise<void> {
    const partitions = partitionsOf(removed)
    this.#host.event({ kind: 'revoked', partitions })
    await this.#giveUp(partitions, this.#host.options.rebalanceTimeoutMs * 0.8)
    this.#hasAssignment = false
    this.#host.changed()
  }

  async #giveUp(partitions: readonly number[], timeoutMs: number): Promise<void> {
    const runner = this.#runner
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
    const late = new AbortController()
    const timer = this.#host.kafka.scope.scheduler.setTimer(timeoutMs, () => {
      late.abort(new ClosedError('a partition'))
      runner.wake()
    })
    const settled = (): boolean =>
      tasks.every((task) => {
        if (task.state === 'closed' || task.settled) return true
        task.wantCheckpoint()
        return false
      })
    await runner.until(() => late.signal.aborted || settled())
    // The next owner takes what the changelog says: what a stale instance wrote must be written over before.
    const changelogs = tasks.flatMap((task) => (task.state === 'running' ? task.tables : []))
    await this.#watch
      .look(
        changelogs.map(({ changelog }) => changelog),
        late.signal,
      )
      .catch(() => {}) // late, or the cluster is away: the window stays open
    await runner.until(() => late.signal.aborted || settled())
    this.#host.kafka.scope.scheduler.clearTimer(timer)
    for (const task of tasks) this.#endTask(task)
    await Promise.all(partitions.map((partition) => this.#starting.get(partition)?.done))
  }

  #lostPartitions(partitions: readonly number[], error: MillraceError | undefined): void {
    this.#host.event({ kind: 'lost', partitions, error })
    for (const partition of partitions) {
      this.#starting.get(partition)?.abort.abort(new ClosedError(`partition ${partition}`))
      const task = this.#runner.task(partition)
      if (task === undefined) continue
      this.#unassign(task)
      this.#endTask(task)
    }
    this.#host.changed()
  }

  /** A task whose writes failed, or whose commit was refused, is restored here if its partition is still ours. */
  #taskLost(task: Task, error: MillraceError | undefined): void {
    this.#lostPartitions([task.partition], error)
    if (error === undefined) {
      const again = (): void => this.#startTask(task.partition)
      this.#membership.heartbeatNow().then(again, again) // the membership reacts to the answer itself, and first
    } else this.#startTask(task.partition)
    this.#host.changed()
  }

  #unassign(task: Task): void {
    this.#consumer.unassign(task.inputs.map(({ topic }) => ({ topic, partition: task.partition })))
  }

  /** Closes a task; its partition is free for a next one when nothing of it is on its way any more. */
  #endTask(task: Task): void {
    if (task.state === 'closed') return
    task.close()
    this.#runner.remove(task)
    const { partition } = task
    for (const { table } of task.tables) table.abandon()
    const ended = this.#runner
      .until(() => task.inFlight === 0)
      .then(() => {
        this.#host.leaveJoins(partition)
        for (const { table } of task.tables) this.#host.registry.release(this.#host.graph.name, table.topic, partition)
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
      const keys = await readForeignKeys(this.#host.kafka, changelog, range, onKey, this.#host.signal)
      changelog.reasserted(range)
      const { topic, partition } = changelog
      if (keys > 0) {
        this.#host.event({
          kind: 'foreignChangelogWrite',
          topic,
          partition,
          fromOffset: range.from,
          toOffset: range.to,
          keys,
        })
      }
      task.wantCheckpoint()
      this.#runner.wake()
    } catch (cause) {
      if (!this.#host.signal.aborted && task.state === 'running')
        this.#taskLost(
          task,
          cause instanceof MillraceError
            ? cause
            : new StreamsError(
                'ERR_CHANGELOG',
                `reading the foreign writes of ${changelog.topic}/${changelog.partition} failed: ${describeError(cause)}`,
                { retriable: true, cause },
              ),
        )
    }
  }

  #consumerFailed(error: unknown): void {
    const at = error as { code?: string; topic?: string; partition?: number; offset?: number }
    if (at.code !== 'OFFSET_OUT_OF_RANGE' || at.topic === undefined || at.partition === undefined) {
      this.#host.fail(error)
      return
    }
    const { topic, partition } = at
    const policy = this.#host.options.onLostOffsets
    if (policy === 'fail') {
      this.#host.fail(
        lostOffsets(this.#host.graph.name, topic, partition, `offset ${at.offset} is not in its log any more`),
      )
      return
    }
    void this.#host.kafka.listOffsets([{ topic, partition }], policy, this.#host.signal).then(
      ([offset = 0]) => {
        if (this.#runner.task(partition) === undefined) return
        this.#consumer.unassign([{ topic, partition }])
        this.#consumer.assign([{ topic, partition, offset }])
      },
      (cause: unknown) => this.#host.fail(cause),
    )
  }
}

/** Down to the minute: a checkpoint without changes then has the same state as the last one and need not be written. */
function wholeMinute(ms: number): number {
  return ms - (ms % 60_000)
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
