/**
 * Task: the serial loop of one partition number of a group: records of all its inputs, one after another, and the
 * checkpoint that makes what they did durable. The processor gives it chunks and slices of time; a task never waits inside
 * a slice. A callback that returns a promise stops only its own task until it settles.
 * Owner of the inbox, the positions and the current sends; tables, context and checkpoint belong to it alone.
 */
import { assert } from '../base/assert.ts'
import { describeError, MillraceError } from '../base/errors.ts'
import type { Scope, TimerHandle } from '../base/scope.ts'
import type { Changelog } from './changelog.ts'
import { Checkpoint, type CheckpointHost, type TableOfTask } from './checkpoint.ts'
import { decodeFrom } from './codec.ts'
import type { CommitOutcome } from './committer.ts'
import type { Entry } from './entries.ts'
import { RecordError, type RecordPlace, StreamsError } from './errors.ts'
import type { GroupGraph, InputEdge } from './graph.ts'
import type { KeyPartitioner } from './partitioner.ts'
import type { ChunkPort, CursorPort, OffsetToCommit, ProducerPort } from './port.ts'
import type { ProcessorEvent } from './processor-events.ts'
import { type ContextShared, RecordContext } from './record-context.ts'
import { Sends } from './sends.ts'
import type { TableReads } from './table-reads.ts'

export type TaskState = 'starting' | 'running' | 'closed'

/** The limits and policies of a task; from the processor's options. */
export interface TaskPolicy {
  readonly nullKeys: 'fail' | 'skip' | 'empty'
  readonly nullValues: 'skip' | 'fail'
  readonly misroutedKeys: 'warn' | 'fail' | 'ignore'
  readonly callbackTimeoutMs: number
  readonly maxCheckpointBytes: number
  readonly cacheBytes: number
  readonly maxInboxBytes: number
}

/** What a task needs of its processor. */
export interface TaskHost {
  readonly scope: Scope
  readonly graph: GroupGraph
  readonly shared: ContextShared
  readonly policy: TaskPolicy
  readonly partitioner: KeyPartitioner
  /** Partitions of the inputs: for the check of misrouted keys. */
  readonly partitionCount: number
  readonly producer: ProducerPort
  wake(): void
  event(event: ProcessorEvent): void
  commit(offsets: readonly OffsetToCommit[], done: (outcome: CommitOutcome) => void): void
  /** The commit metadata of an input: what a later start must know. */
  commitMetadata(topic: string, streamTime: number): string
  /** What the store's checkpoint says of the topic it follows. */
  storeState(changelog: Changelog): Buffer
  /** The processor ends with this error. */
  fatal(error: MillraceError): void
  /** The task cannot go on here (fenced, or its changelog failed): it is closed without a checkpoint, and restored. */
  lost(task: Task, error: MillraceError | undefined): void
}

interface Waiting {
  readonly chunk: ChunkPort
  readonly input: number
}

/** Records between two looks at the clock. */
const recordsPerLook = 64
/** One record in so many is checked for its partition. */
const misroutedSample = 256

export class Task implements CheckpointHost {
  readonly partition: number
  readonly tables: readonly TableOfTask[]
  readonly inputs: readonly InputEdge[]
  state: TaskState = 'starting'
  /** Bytes of chunks that wait or are being processed. */
  inboxBytes = 0
  /** Records handed to callbacks. */
  processed = 0
  readonly #host: TaskHost
  readonly #context: RecordContext
  readonly #checkpoint: Checkpoint
  readonly #inbox: Waiting[] = []
  #chunk: ChunkPort | undefined
  #cursor: CursorPort | undefined
  #input = 0
  // By input: next offset to process, the same at the cut, and what is committed.
  readonly #next: number[]
  readonly #cut: number[]
  readonly #committed: number[]
  /** What a rebalance kept from being committed: done as far as this task can. */
  readonly #kept: number[]
  #streamTime = -1
  #cutStreamTime = -1
  #sends: Sends
  #frozenSends: Sends | undefined
  #producerFull = false
  /** A callback's promise is pending; its number tells a late one from the current one. */
  #suspended = 0
  #suspensions = 0
  #callbackTimer: TimerHandle | undefined
  #wanted = false
  /** Its checkpoint failed for good: what is not committed never will be. */
  #broken = false
  #sample = 0

  constructor(
    host: TaskHost,
    partition: number,
    tables: readonly TableOfTask[],
    joins: ReadonlyMap<string, TableReads>,
  ) {
    this.#host = host
    this.partition = partition
    this.tables = tables
    this.inputs = host.graph.loop === undefined ? host.graph.inputs : [...host.graph.inputs, host.graph.loop]
    this.#next = this.inputs.map(() => -1)
    this.#cut = this.inputs.map(() => -1)
    this.#committed = this.inputs.map(() => -1)
    this.#kept = this.inputs.map(() => -1)
    this.#sends = new Sends(host.wake)
    this.#context = new RecordContext(host.shared, partition, tables[0]?.table, joins)
    this.#checkpoint = new Checkpoint(this)
  }

  /** Where an input begins: its committed offset. */
  startAt(input: number, offset: number): void {
    this.#next[input] = offset
    this.#committed[input] = offset
  }

  /** The next offset of an input that would be processed. */
  position(input: number): number {
    return this.#next[input]!
  }

  /** What the group has for an input. */
  committedOffset(input: number): number {
    return this.#committed[input]!
  }

  /** Takes a chunk of one of its inputs. */
  offer(chunk: ChunkPort, input: number): void {
    assert(this.state !== 'closed', 'a closed task got a chunk')
    this.inboxBytes += chunk.byteLength
    this.#inbox.push({ chunk, input })
  }

  /** Everything it did is committed (or kept for after a rebalance) and nothing is on its way; or it cannot be. */
  get settled(): boolean {
    if (this.#broken) return true
    if (this.#checkpoint.state !== 'idle' || this.#suspended !== 0 || this.#hasChanges()) return false
    return this.#next.every((next, i) => next === this.#committed[i] || next === this.#kept[i])
  }

  /** Records on their way to brokers, of any cut: a partition may be taken up again only when there are none. */
  get inFlight(): number {
    let count = this.#sends.pending + (this.#frozenSends?.pending ?? 0)
    for (const { changelog } of this.tables) count += changelog.pending
    return count
  }

  /** A callback's promise is pending. */
  get suspended(): boolean {
    return this.#suspended !== 0
  }

  /** A checkpoint is due: the interval has passed, or the task is to end. */
  wantCheckpoint(): void {
    this.#wanted = true
  }

  /**
   * Works until `late` says that the slice is over. `process` false: only the checkpoint. True when there is more to do
   * right now.
   */
  run(late: () => boolean, process: boolean): boolean {
    if (this.state !== 'running' || this.#broken) return false
    if (this.#wanted && this.#checkpoint.state === 'idle' && this.#suspended === 0) {
      this.#wanted = false
      if (this.#hasWork()) this.#checkpoint.begin()
    }
    const more = this.#checkpoint.step(late)
    if (this.state !== 'running' || this.#broken) return false
    if (late()) return true
    return (process && this.#process(late)) || more
  }

  /** Ends the task as it is: nothing more is processed, sent or committed by it. */
  close(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#checkpoint.abandon()
    this.#suspended = 0
    this.#stopCallbackTimer()
    this.#inbox.length = 0
    this.#chunk = undefined
    this.#cursor = undefined
    this.inboxBytes = 0
  }

  #hasChanges(): boolean {
    for (const { table, changelog } of this.tables) if (table.dirtyCount > 0 || !changelog.repaired) return true
    return this.#sends.pending > 0 || this.#sends.failure !== undefined
  }

  #hasWork(): boolean {
    if (this.#hasChanges()) return true
    for (let i = 0; i < this.inputs.length; i++) if (this.#next[i] !== this.#committed[i]) return true
    return false
  }

  get #full(): boolean {
    let bytes = 0
    for (const { table } of this.tables) bytes += table.bufferedBytes
    if (bytes < this.#host.policy.maxCheckpointBytes) return false
    this.#wanted = true
    return this.#checkpoint.state !== 'idle'
  }

  // ── Records ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #process(late: () => boolean): boolean {
    let left = recordsPerLook
    while (this.#suspended === 0 && !this.#producerFull) {
      if (this.#cursor === undefined && !this.#nextChunk()) return false
      const cursor = this.#cursor!
      let more: boolean
      try {
        more = cursor.next()
      } catch (cause) {
        this.#fail('ERR_RECORD', 'the batch cannot be read', cause)
        return false
      }
      if (!more) {
        this.#endChunk()
        continue
      }
      if (!this.#record(cursor)) return false
      left -= 1
      if (left === 0) {
        left = recordsPerLook
        if (this.#full) return this.#checkpoint.state === 'idle'
        if (late()) return true
      }
    }
    return false
  }

  #nextChunk(): boolean {
    const next = this.#inbox.shift()
    if (next === undefined) return false
    this.#chunk = next.chunk
    this.#cursor = next.chunk.cursor()
    this.#input = next.input
    return true
  }

  #endChunk(): void {
    const chunk = this.#chunk
    assert(chunk !== undefined, 'a chunk ended that never began')
    this.#next[this.#input] = chunk.nextOffset
    this.inboxBytes -= chunk.byteLength
    this.#chunk = undefined
    this.#cursor = undefined
    for (const { table } of this.tables) table.evict(this.#host.policy.cacheBytes)
  }

  /** One record to its callback. False when the task cannot go on now. */
  #record(cursor: CursorPort): boolean {
    const { graph, policy } = this.#host
    const input = this.#input
    const edge = this.inputs[input]!
    let { keyFrom, keyTo } = cursor
    if (keyFrom < 0) {
      if (policy.nullKeys === 'skip') return this.#skip(cursor)
      if (policy.nullKeys === 'fail') return this.#fail('ERR_RECORD', "its key is null (nullKeys: 'skip' or 'empty')")
      keyFrom = 0
      keyTo = 0
    }
    if (cursor.valueFrom < 0) {
      if (policy.nullValues === 'skip') return this.#skip(cursor)
      return this.#fail('ERR_RECORD', "its value is null (nullValues: 'skip')")
    }
    if (policy.misroutedKeys !== 'ignore' && !this.#routed(cursor, keyFrom, keyTo)) return false
    const table = this.tables[0]?.table
    const entry = table?.entries.entry(cursor.bytes, keyFrom, keyTo)
    let key: unknown
    let value: unknown
    try {
      if (entry === undefined) key = decodeFrom(graph.keyCodec, cursor.bytes, keyFrom, keyTo)
      else {
        entry.key ??= decodeFrom(graph.keyCodec, cursor.bytes, keyFrom, keyTo)
        key = entry.key
      }
    } catch (cause) {
      const remedy = "option key of defineGroup chooses the keys' codec"
      return this.#fail('ERR_RECORD', `its key cannot be decoded: ${describeError(cause)} (${remedy})`, cause)
    }
    try {
      value = decodeFrom(edge.codec, cursor.bytes, cursor.valueFrom, cursor.valueTo)
    } catch (cause) {
      return this.#fail('ERR_RECORD', `its value cannot be decoded: ${describeError(cause)}`, cause, key)
    }
    this.#context.begin(edge.topic, cursor, entry, key)
    let returned: void | Promise<void>
    try {
      returned = edge.handler(this.#context, value)
    } catch (cause) {
      return this.#threw(cause, key)
    }
    if (isPromise(returned)) {
      this.#suspend(returned, key)
      return false
    }
    this.#finish(cursor)
    return true
  }

  #finish(cursor: CursorPort): void {
    const room = this.#context.merge(this.#input, this.#sends)
    this.#next[this.#input] = cursor.offset + 1
    if (cursor.timestamp > this.#streamTime) this.#streamTime = cursor.timestamp
    this.processed += 1
    if (!room) this.producerFull()
  }

  #skip(cursor: CursorPort): boolean {
    this.#next[this.#input] = cursor.offset + 1
    return true
  }

  #suspend(promise: Promise<void>, key: unknown): void {
    this.#suspensions += 1
    const ticket = this.#suspensions
    this.#suspended = ticket
    const { callbackTimeoutMs } = this.#host.policy
    if (callbackTimeoutMs > 0) {
      this.#callbackTimer = this.#host.scope.scheduler.setTimer(callbackTimeoutMs, () => {
        if (this.#suspended !== ticket) return
        this.#fail('ERR_CALLBACK_TIMEOUT', `the callback has not ended within ${callbackTimeoutMs} ms`, undefined, key)
      })
    }
    promise.then(
      () => {
        if (!this.#resume(ticket)) return
        this.#finish(this.#cursor!)
        this.#host.wake()
      },
      (cause: unknown) => {
        if (this.#resume(ticket)) this.#threw(cause, key)
      },
    )
  }

  #resume(ticket: number): boolean {
    if (this.#suspended !== ticket) return false
    this.#suspended = 0
    this.#stopCallbackTimer()
    return true
  }

  #stopCallbackTimer(): void {
    if (this.#callbackTimer !== undefined) this.#host.scope.scheduler.clearTimer(this.#callbackTimer)
    this.#callbackTimer = undefined
  }

  #threw(cause: unknown, key: unknown): false {
    this.#context.drop()
    const code = cause instanceof StreamsError ? cause.code : 'ERR_CALLBACK'
    return this.#fail(code, `the callback threw: ${describeError(cause)}`, cause, key)
  }

  /** Ends the processor with an error that names the record. */
  #fail(code: StreamsError['code'], what: string, cause?: unknown, key?: unknown): false {
    const at = {
      topic: this.inputs[this.#input]!.topic,
      partition: this.partition,
      offset: this.#cursor?.offset ?? this.#next[this.#input]!,
      ...(key === undefined ? {} : { key: String(key) }),
    }
    this.#suspended = 0
    this.#stopCallbackTimer()
    this.#host.fatal(new RecordError(code, at, what, cause))
    return false
  }

  #routed(cursor: CursorPort, keyFrom: number, keyTo: number): boolean {
    this.#sample += 1
    if (this.#sample % misroutedSample !== 1 || cursor.keyFrom < 0) return true
    const expected = this.#host.partitioner(cursor.bytes, keyFrom, keyTo, this.#host.partitionCount)
    if (expected === this.partition) return true
    const { topic } = this.inputs[this.#input]!
    const { partition } = this
    this.#host.event({ kind: 'misroutedKey', topic, partition, offset: cursor.offset, expectedPartition: expected })
    if (this.#host.policy.misroutedKeys === 'warn') return true
    const what = `its key belongs to partition ${expected}: the producer uses another partitioner (option partitioner)`
    return this.#fail('ERR_MISROUTED_KEYS', what)
  }

  // ── What the checkpoint asks for ─────────────────────────────────────────────────────────────────────────────────

  cutSends(): Sends {
    const frozen = this.#sends
    this.#sends = new Sends(this.#host.wake)
    this.#frozenSends = frozen
    return frozen
  }

  cutPositions(): void {
    for (let i = 0; i < this.#next.length; i++) this.#cut[i] = this.#next[i]!
    this.#cutStreamTime = this.#streamTime
  }

  /** Every input's offset, changed or not: only a commit tells whether this member is still in the group. */
  commit(done: (outcome: CommitOutcome) => void): void {
    const offsets = this.inputs.map((input, i) => ({
      topic: input.topic,
      partition: this.partition,
      offset: this.#cut[i]!,
      metadata: this.#host.commitMetadata(input.topic, this.#cutStreamTime),
    }))
    this.#host.commit(offsets, done)
  }

  committed(): void {
    for (let i = 0; i < this.#cut.length; i++) this.#committed[i] = this.#cut[i]!
  }

  kept(): void {
    for (let i = 0; i < this.#cut.length; i++) this.#kept[i] = this.#cut[i]!
  }

  failed(error: unknown, entry: Entry | undefined): void {
    const failure = entry === undefined ? this.#sendFailure(error) : this.#encodeFailure(error, entry)
    if (failure.retriable) this.#host.lost(this, failure)
    else {
      this.#broken = true
      this.#host.fatal(failure)
    }
  }

  lost(): void {
    this.#host.lost(this, undefined)
  }

  producerFull(): void {
    if (this.#producerFull) return
    this.#producerFull = true
    const again = (): void => {
      this.#producerFull = false
      this.#host.wake()
    }
    this.#host.producer.ready().then(again, again) // a broken producer shows in its deliveries
  }

  storeState(one: TableOfTask): Buffer {
    return this.#host.storeState(one.changelog)
  }

  idle(): void {
    this.#host.wake()
  }

  #sendFailure(error: unknown): MillraceError {
    const place = `group ${this.#host.graph.name}, partition ${this.partition}`
    const cause = error as MillraceError
    const oversize = cause.code === 'MESSAGE_TOO_LARGE' ? this.#oversize(cause) : undefined
    if (oversize !== undefined) return oversize
    const message = `${place}: a write of its checkpoint failed: ${describeError(error)}`
    return new StreamsError('ERR_CHANGELOG', message, { retriable: cause.retriable === true, cause })
  }

  /** A record of the cut was too large: brokers name no record, but the largest one is among those they refuse. */
  #oversize(error: MillraceError): MillraceError | undefined {
    const table = this.tables.find(({ changelog }) => changelog.failure === error)?.table
    const found = table?.largest()
    if (found !== undefined) return this.#setTooLarge(error, found.entry, found.bytes)
    const largest = this.#frozenSends?.failure === error ? this.#frozenSends.largest : undefined
    if (largest === undefined || largest.bytes < 0) return undefined
    const at = this.#place(largest.input, largest.offset, largest.key)
    const what = `what it emitted to ${largest.topic} (${largest.bytes} bytes) cannot be sent: ${error.message}`
    return new RecordError('ERR_CHANGELOG', at, what, error)
  }

  #setTooLarge(error: MillraceError, entry: Entry, bytes: number): MillraceError {
    const at = this.#place(entry.inputIndex, entry.inputOffset, entry.key)
    const what = `the value it set (${bytes} bytes with its key) is too large for its table topic: ${error.message}`
    return new RecordError('ERR_CHANGELOG', at, what, error)
  }

  #encodeFailure(error: unknown, entry: Entry): MillraceError {
    if (error instanceof MillraceError && error.code === 'MESSAGE_TOO_LARGE') {
      return this.#setTooLarge(error, entry, entry.to - entry.from + entry.keyTo - entry.keyFrom)
    }
    const at = this.#place(entry.inputIndex, entry.inputOffset, entry.key)
    return new RecordError('ERR_CODEC', at, `the value it set cannot be encoded: ${describeError(error)}`, error)
  }

  #place(input: number, offset: number, key: unknown): RecordPlace {
    const topic = this.inputs[input]?.topic ?? this.#host.graph.name
    return { topic, partition: this.partition, offset, ...(key === undefined ? {} : { key: String(key) }) }
  }
}

function isPromise(value: unknown): value is Promise<void> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
