/**
 * Consumer: the public face. Owns what is in the user's hands (the chunk taken last), the pauses the user asked for, and
 * how it reads: assigned by hand, or as a member of a group (group-reader.ts). Positions belong to cursors, commits to
 * Commits. Start at `take` and `wait`.
 */
import { ClosedError, MillraceError, OptionError } from '../../base/errors.ts'
import { type Resolved, resolveOptions } from '../../base/options.ts'
import type { CommittedOffset, OffsetToCommit } from '../group/membership.ts'
import { groupFaults } from '../group/options.ts'
import type { Chunk, FetchedChunk } from './chunk.ts'
import { Commits } from './commits.ts'
import type { Cursor } from './cursor.ts'
import { ConsumerUsageError } from './errors.ts'
import { GroupReader } from './group-reader.ts'
import { ChunkIterator, type IteratedConsumer, RecordIterator } from './iterators.ts'
import { type ConsumerOptions, consumerTable } from './options.ts'
import { PartitionMap, partitionName, type TopicPartition } from './partition-map.ts'
import type { ClientPort } from './port.ts'
import { Reading, type StartingPoint } from './reading.ts'
import type { ConsumerRecord } from './record.ts'

/** Reads partitions, assigned by hand or by a group. Made by `client.consumer()`. */
export class Consumer implements AsyncDisposable {
  readonly #port: ClientPort
  readonly #options: Resolved<ConsumerOptions>
  /** Sockets of its own: the usual lane and the one beside it. */
  readonly #lanes: readonly [string, string]
  readonly #reading: Reading
  readonly #commits: Commits | undefined
  /** Partitions the user paused; outlives a rebalance. */
  readonly #paused = new PartitionMap<true>()
  readonly #iterated: IteratedConsumer
  #group: GroupReader | undefined
  /** What the user works on, and how far it came when it can tell. */
  #hand: { readonly chunk: Chunk; readonly progress: (() => number) | undefined } | undefined
  #fatal: MillraceError | undefined
  #closing: Promise<void> | undefined

  /** Made by `client.consumer()`. `lane` names its own sockets. Throws OptionError. */
  constructor(port: ClientPort, options: ConsumerOptions = {}, lane = 'fetch') {
    this.#port = port
    this.#options = resolveOptions<ConsumerOptions>('consumer', consumerTable, options)
    const { groupId, groupInstanceId } = this.#options
    const faults = groupFaults(this.#options)
    if (groupId === '' && groupInstanceId !== '') faults.push('groupInstanceId needs a groupId')
    if (faults.length > 0) throw new OptionError('consumer', faults)
    this.#lanes = [lane, `${lane}:beside`]
    this.#reading = new Reading(port, this.#options, this.#lanes, (cause) => this.#fail(cause))
    if (groupId !== '') {
      this.#commits = new Commits(
        port,
        this.#options,
        () => this.#settled(),
        (event) => this.#reading.event(event),
      )
    }
    this.#iterated = new Iterated(
      this,
      (progress) => this.#take(progress),
      (chunk, offset) => this.#putBack(chunk, offset),
    )
  }

  // What to read

  /**
   * Adds partitions by hand, each at `offset`, or where the group has committed (with `groupId`), or as `startFrom` says.
   * Those that are assigned already move only if an offset is given. Throws ConsumerUsageError after `subscribe`.
   */
  assign(partitions: readonly StartingPoint[]): void {
    this.#use()
    if (this.#group !== undefined)
      throw new ConsumerUsageError('a subscribed consumer gets its partitions from the group')
    const added = new Set(this.#reading.add(partitions, (p) => this.#paused.has(p.topic, p.partition)))
    const unplaced: Cursor[] = []
    for (const { topic, partition, offset, leaderEpoch } of partitions) {
      const cursor = this.#cursor(topic, partition)
      if (offset !== undefined) this.#reading.place(cursor, checkedOffset(offset), leaderEpoch)
      else if (added.has(cursor) && this.#commits === undefined) this.#reading.place(cursor, undefined)
      else if (added.has(cursor)) unplaced.push(cursor)
    }
    if (unplaced.length > 0) void this.#placeByGroup(unplaced)
    this.#commits?.start()
  }

  /** Removes partitions; their buffered data is dropped, nothing is committed. Unknown ones are ignored. */
  unassign(partitions: readonly TopicPartition[]): void {
    this.#use()
    if (this.#group !== undefined)
      throw new ConsumerUsageError('a subscribed consumer gives partitions up with the group')
    for (const { topic, partition } of partitions) this.#paused.delete(topic, partition)
    this.#reading.remove(partitions)
  }

  /** The partitions that are read now. */
  assignment(): TopicPartition[] {
    return [...this.#reading.cursors.keys()]
  }

  /** Joins the group (option `groupId`) and reads what it assigns; called again, changes the topics. */
  subscribe(topics: readonly string[]): void {
    this.#use()
    if (this.#commits === undefined) throw new ConsumerUsageError('subscribe needs the option groupId')
    if (topics.length === 0) throw new ConsumerUsageError('subscribe needs at least one topic; close() to stop')
    if (this.#group !== undefined) {
      this.#group.membership.subscribe(topics)
      return
    }
    if (this.#reading.cursors.size > 0) throw new ConsumerUsageError('this consumer has partitions assigned by hand')
    this.#group = new GroupReader(this.#port, this.#options, topics, {
      reading: this.#reading,
      commits: this.#commits,
      paused: this.#paused,
      failed: (error) => this.#fail(error),
    })
    this.#commits.start()
  }

  // Records

  /**
   * Next buffered chunk, partitions in turn; undefined when there is none. Taking the next one says that the last one is
   * processed (auto-commit). Throws the error of a partition that rests (each once: CorruptRecordsError,
   * OffsetOutOfRangeError, NoOffsetError, LogTruncatedError, TopicRecreatedError, PartitionRefusedError), always the
   * error that ended the consumer, ClosedError after `close()`.
   */
  take(): FetchedChunk | undefined {
    return this.#take(undefined)
  }

  /**
   * Resolves when `take()` may return or throw something, or when the assignment changed; never misses what happened
   * since the last wait. May resolve without need. Rejects with AbortError.
   */
  wait(signal?: AbortSignal): Promise<void> {
    if (this.#closing !== undefined || this.#fatal !== undefined) return Promise.resolve()
    return this.#reading.delivery.wait(signal)
  }

  /** Chunks until the consumer is closed. Rejects with what `take()` throws; the next iterator goes on. One loop at a time. */
  batches(options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<FetchedChunk> {
    return new ChunkIterator(this.#iterated, options.signal)
  }

  /** Records until the consumer is closed. Like `batches()`, and slower: one promise per record. */
  records(options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<ConsumerRecord> {
    return new RecordIterator(this.#iterated, options.signal)
  }

  // Positions

  /**
   * Stops fetching and delivering partitions at once; what is buffered is kept, and so is the rest of a chunk that
   * `records()` is in. A chunk that was taken is the caller's. Lasts over a rebalance that keeps the partition.
   */
  pause(partitions: readonly TopicPartition[]): void {
    this.#use()
    for (const { topic, partition } of partitions) {
      const cursor = this.#cursor(topic, partition)
      this.#paused.set(topic, partition, true)
      this.#reading.pause(cursor)
    }
  }

  /** Hands out records of these partitions again. */
  resume(partitions: readonly TopicPartition[]): void {
    this.#use()
    for (const { topic, partition } of partitions) {
      const cursor = this.#cursor(topic, partition)
      this.#paused.delete(topic, partition)
      this.#reading.resume(cursor)
    }
  }

  /** Partitions paused by `pause`. */
  paused(): TopicPartition[] {
    return [...this.#paused.keys()]
  }

  /** Moves the position at once; buffered data and answers under way are dropped. */
  seek(partition: TopicPartition, offset: number | 'earliest' | 'latest', leaderEpoch = -1): void {
    this.#use()
    this.#reading.place(this.#cursor(partition.topic, partition.partition), checkedOffset(offset), leaderEpoch)
  }

  /** Offset of the next record `take()` hands out; undefined while unknown or not assigned. */
  position({ topic, partition }: TopicPartition): number | undefined {
    return known(this.#reading.cursors.get(topic, partition)?.position)
  }

  /** End of the partition (read_uncommitted) by the last answer; undefined before the first. */
  highWatermark({ topic, partition }: TopicPartition): number | undefined {
    return known(this.#reading.cursors.get(topic, partition)?.highWatermark)
  }

  /** Records behind the end that this consumer may see (by isolation), undefined while unknown. */
  lag({ topic, partition }: TopicPartition): number | undefined {
    const cursor = this.#reading.cursors.get(topic, partition)
    if (cursor === undefined || cursor.position < 0 || cursor.highWatermark < 0) return undefined
    const { lastStableOffset, highWatermark } = cursor
    const end = this.#options.isolation === 'read_committed' && lastStableOffset >= 0 ? lastStableOffset : highWatermark
    return Math.max(0, end - cursor.position)
  }

  /** Fetched bytes that were not taken yet. */
  get bufferedBytes(): number {
    let bytes = 0
    for (const cursor of this.#reading.cursors.values()) bytes += cursor.bufferedBytes
    return bytes
  }

  // Commits

  /**
   * Commits `offsets` (next offset to process), or everything that counts as processed: chunks and records after which
   * the next one was asked for, so not what the loop is working on. Retries what is transient.
   * Rejects with CommitError when a partition is refused, which after a rebalance is normal; with ConsumerUsageError
   * without `groupId`.
   */
  commit(offsets?: readonly OffsetToCommit[]): Promise<void> {
    return this.#needCommits().commit(offsets)
  }

  /** Committed positions of the group, -1 where there is none. */
  committed(partitions: readonly TopicPartition[]): Promise<readonly CommittedOffset[]> {
    return this.#needCommits().committed(partitions)
  }

  // The end

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Commits what is processed, leaves the group (static members stay), drops everything. Bounded by `closeTimeoutMs`. Never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#reading.delivery.wake()
    const { scheduler } = this.#port.scope
    let timer: ReturnType<typeof scheduler.setTimer> | undefined
    const bound = new Promise<void>((resolve) => {
      timer = scheduler.setTimer(this.#options.closeTimeoutMs, resolve)
    })
    try {
      await Promise.race([this.#leaveGroup(), bound])
    } finally {
      if (timer !== undefined) scheduler.clearTimer(timer)
      this.#commits?.close()
      this.#reading.close()
      for (const lane of this.#lanes) this.#port.closeLane(lane)
      this.#reading.delivery.wake()
    }
  }

  /** Last commit and farewell; errors were told as events. */
  async #leaveGroup(): Promise<void> {
    if (this.#group !== undefined) await this.#group.membership.close()
    else if (this.#reading.cursors.size > 0) await this.#commits?.last(this.assignment())
  }

  // Steps

  #take(progress: (() => number) | undefined): Chunk | undefined {
    this.#use()
    if (this.#fatal !== undefined) throw this.#fatal
    const hand = this.#hand
    if (hand !== undefined) {
      this.#hand = undefined
      hand.chunk.done(hand.chunk.nextOffset)
    }
    const chunk = this.#reading.delivery.take()
    if (chunk !== undefined) this.#hand = { chunk, progress }
    return chunk
  }

  #putBack(chunk: Chunk, offset: number): void {
    if (this.#hand?.chunk === chunk) this.#hand = undefined
    chunk.done(offset)
    chunk.putBack(offset)
  }

  /** The cursors, with what is known about the progress of the chunk in the user's hands. */
  #settled(): Iterable<Cursor> {
    const hand = this.#hand
    if (hand?.progress !== undefined) hand.chunk.done(hand.progress())
    return this.#reading.cursors.values()
  }

  /** Assigned by hand with a groupId: where did the group stop? */
  async #placeByGroup(cursors: readonly Cursor[]): Promise<void> {
    try {
      const committed = await this.#needCommits().committed(cursors)
      for (const [index, cursor] of cursors.entries()) {
        if (cursor.state.at !== 'unplaced') continue
        const { offset, leaderEpoch } = committed[index]!
        this.#reading.place(cursor, offset < 0 ? undefined : offset, leaderEpoch)
      }
    } catch (cause) {
      if (this.#closing !== undefined) return
      this.#fail(cause instanceof MillraceError ? cause : new MillraceError('ERR_INTERNAL', String(cause), { cause }))
    }
  }

  #fail(error: MillraceError): void {
    this.#fatal ??= error
    this.#reading.delivery.wake()
  }

  #use(): void {
    if (this.#closing !== undefined) throw new ClosedError('the consumer')
  }

  #needCommits(): Commits {
    this.#use()
    if (this.#commits === undefined) throw new ConsumerUsageError('committing needs the option groupId')
    return this.#commits
  }

  #cursor(topic: string, partition: number): Cursor {
    const cursor = this.#reading.cursors.get(topic, partition)
    if (cursor === undefined) throw new ConsumerUsageError(`${partitionName(topic, partition)} is not assigned`)
    return cursor
  }
}

/** Keeps the iterators' side off the public class. */
class Iterated implements IteratedConsumer {
  readonly take: IteratedConsumer['take']
  readonly putBack: IteratedConsumer['putBack']
  readonly #consumer: Consumer

  constructor(consumer: Consumer, take: IteratedConsumer['take'], putBack: IteratedConsumer['putBack']) {
    this.#consumer = consumer
    this.take = take
    this.putBack = putBack
  }

  get closed(): boolean {
    return this.#consumer.closed
  }

  wait(signal?: AbortSignal): Promise<void> {
    return this.#consumer.wait(signal)
  }
}

function known(value: number | undefined): number | undefined {
  return value === undefined || value < 0 ? undefined : value
}

function checkedOffset(offset: number | 'earliest' | 'latest'): number | 'earliest' | 'latest' {
  if (offset === 'earliest' || offset === 'latest') return offset
  if (Number.isSafeInteger(offset) && offset >= 0) return offset
  throw new ConsumerUsageError(`an offset must be a whole number from 0, 'earliest' or 'latest', not ${String(offset)}`)
}
