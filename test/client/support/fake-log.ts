/** FakeLog: partitions as lists of encoded batches, and a Fetch script that serves them the way a broker does. */
import { fetch } from '../../../src/protocol/api/fetch.ts'
import { listOffsets } from '../../../src/protocol/api/list-offsets.ts'
import { offsetForLeaderEpoch } from '../../../src/protocol/api/offset-for-leader-epoch.ts'
import { errorCodes, type KafkaErrorName } from '../../../src/protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../../src/protocol/schema.ts'
import { encodeBatch, type PlainBatch } from '../../protocol/batches.ts'
import { type FakePort, idOf } from './fake-port.ts'

export interface Aborted {
  readonly producerId: number
  readonly firstOffset: number
  /** Offset of its marker. */
  readonly lastOffset: number
}

export class FakePartition {
  readonly #batches: { readonly bytes: Buffer; readonly from: number; readonly next: number }[] = []
  start = 0
  end = 0
  leaderEpoch = 0
  aborted: Aborted[] = []
  /** Answers this instead, while set. */
  error: KafkaErrorName | undefined

  /** Appends records with the values given; returns the base offset. */
  append(values: readonly string[], more: Partial<PlainBatch> = {}): number {
    const records = values.map((value) => ({ key: null, value: Buffer.from(value) }))
    return this.appendBatch({ records, ...more })
  }

  /** Appends a batch that may skip offsets (`baseOffset`) or cover more than its records (`lastOffsetDelta`). */
  appendBatch(batch: PlainBatch): number {
    const base = Number(batch.baseOffset ?? BigInt(this.end))
    const next = base + (batch.lastOffsetDelta ?? Math.max(0, (batch.records?.length ?? 1) - 1)) + 1
    const bytes = encodeBatch({ leaderEpoch: this.leaderEpoch, ...batch, baseOffset: BigInt(base) })
    this.#batches.push({ bytes, from: base, next })
    this.end = next
    return base
  }

  /** Changes the bytes of the batch that holds `offset`. */
  damage(offset: number, change: (bytes: Buffer) => void): void {
    const batch = this.#batches.find((b) => b.next > offset)
    if (batch === undefined) throw new Error(`no batch holds ${offset}`)
    change(batch.bytes)
  }

  /** What a broker returns from `offset` on: whole batches up to `maxBytes`, the last cut off; the first always whole. */
  read(offset: number, maxBytes: number, first: boolean): Buffer {
    const parts: Buffer[] = []
    let room = maxBytes
    for (const batch of this.#batches) {
      if (batch.next <= offset || room <= 0) continue
      const whole = batch.bytes.length <= room || (first && parts.length === 0)
      parts.push(whole ? batch.bytes : batch.bytes.subarray(0, room))
      room -= batch.bytes.length
    }
    return Buffer.concat(parts)
  }
}

export class FakeLog {
  readonly #partitions = new Map<string, FakePartition[]>()
  readonly #names = new Map<string, string>()
  readonly #port: FakePort
  readonly #waiting = new Set<() => void>()

  constructor(port: FakePort) {
    this.#port = port
    this.serve()
  }

  /** Answers fetches and offset look-ups (again). */
  serve(): void {
    const port = this.#port
    this.#serveEpochs()
    port.on(fetch, (request) => this.answerFetch(request))
    port.on(listOffsets, (request) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex, timestamp }) => {
          const partition = this.at(name, partitionIndex)
          const errorCode = partition.error === undefined ? 0 : errorCodes[partition.error]
          return { partitionIndex, errorCode, offset: timestamp === -2 ? partition.start : partition.end }
        }),
      })),
    }))
  }

  /** Answers where leader epochs end: nothing was ever truncated. */
  #serveEpochs(): void {
    this.#port.on(offsetForLeaderEpoch, (request) => ({
      throttleTimeMs: 0,
      topics: request.topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map(({ partition, leaderEpoch }) => {
          const endOffset = this.at(topic, partition).end
          return { errorCode: 0, partition, leaderEpoch, endOffset }
        }),
      })),
    }))
  }

  /** A topic whose partitions are led by node 1, unless said otherwise. */
  topic(
    name: string,
    partitions: number,
    leaders: readonly number[] = new Array<number>(partitions).fill(1),
  ): FakePartition[] {
    const list = Array.from({ length: partitions }, () => new FakePartition())
    this.#partitions.set(name, list)
    this.#names.set(idOf(name), name)
    this.#port.metadata.set(name, leaders)
    return list
  }

  /** The topic has another id from now on. */
  rename(topic: string, id: string): void {
    this.#names.set(id, topic)
    this.#port.metadata.set(
      topic,
      this.#partitions.get(topic)!.map(() => 1),
      { id },
    )
  }

  at(topic: string, partition: number): FakePartition {
    const found = this.#partitions.get(topic)?.[partition]
    if (found === undefined) throw new Error(`the fake log has no ${topic}/${partition}`)
    return found
  }

  /** Answers the fetches that wait. */
  wake(): void {
    for (const waiting of [...this.#waiting]) waiting()
  }

  async answerFetch(request: FetchRequest): Promise<FetchAnswer> {
    const answer = this.#answer(request)
    if (answer.bytes >= request.minBytes || answer.failed || request.maxWaitMs === 0) return answer
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done)
        resolve()
      }
      this.#waiting.add(done)
      this.#port.scope.scheduler.setTimer(request.maxWaitMs, done)
    })
    return this.#answer(request)
  }

  #answer(request: FetchRequest): FetchAnswer & { readonly bytes: number; readonly failed: boolean } {
    let bytes = 0
    let failed = false
    const responses = request.topics.map(({ topic, topicId, partitions }) => {
      const name = topic === '' ? (this.#names.get(topicId) ?? '') : topic
      return {
        topic: name,
        topicId,
        partitions: partitions.map((wanted) => {
          const partition = this.at(name, wanted.partition)
          let error = partition.error
          if (error === undefined && (wanted.fetchOffset < partition.start || wanted.fetchOffset > partition.end)) {
            error = 'OFFSET_OUT_OF_RANGE'
          }
          if (error !== undefined) failed = true
          const room = Math.min(wanted.partitionMaxBytes, request.maxBytes - bytes)
          const records = error === undefined ? partition.read(wanted.fetchOffset, room, bytes === 0) : Buffer.alloc(0)
          bytes += records.length
          return {
            partitionIndex: wanted.partition,
            errorCode: error === undefined ? 0 : errorCodes[error],
            highWatermark: partition.end,
            lastStableOffset: partition.end,
            logStartOffset: partition.start,
            abortedTransactions:
              request.isolationLevel === 1 ? partition.aborted.filter((a) => a.lastOffset >= wanted.fetchOffset) : null,
            records,
          }
        }),
      }
    })
    return { throttleTimeMs: 0, responses, bytes, failed }
  }
}

type FetchRequest = RequestOf<typeof fetch>
type FetchAnswer = ResponseInput<typeof fetch>
