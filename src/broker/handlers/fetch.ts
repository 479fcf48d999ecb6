/**
 * Fetch: reads record batches, waiting for `minBytes` up to `maxWaitMs`. Sessions (KIP-227) are not kept: every answer has
 * session id 0, as from a broker whose session cache is full, so every request lists all its partitions.
 */
import { fetch } from '../../protocol/api/fetch.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import type { Partition } from '../partition.ts'
import { endpoints, findTopic, ledPartition, unknownTopic, wantsLeader } from './lookup.ts'

type Request = RequestOf<typeof fetch>
type Asked = Request['topics'][number]
type AskedPartition = Asked['partitions'][number]
type Row = ResponseInput<typeof fetch>['responses'][number]['partitions'][number]

/** One pass over what was asked. */
interface Reading {
  readonly responses: ResponseInput<typeof fetch>['responses']
  readonly partitions: readonly Partition[]
  readonly leaders: readonly number[]
  byteLength: number
  /** Something other than records must be told at once. */
  urgent: boolean
}

function failed(partitionIndex: number, errorCode: number): Row {
  return {
    partitionIndex,
    errorCode,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    abortedTransactions: null,
    records: [],
  }
}

class Pass {
  readonly #context: RequestContext
  readonly #committedOnly: boolean
  #left: number
  readonly partitions: Partition[] = []
  readonly leaders: number[] = []
  byteLength = 0
  urgent = false

  constructor(context: RequestContext, request: Request) {
    this.#context = context
    this.#committedOnly = request.isolationLevel === 1
    this.#left = Math.max(0, Math.min(request.maxBytes, context.services.options.maxFetchBytes))
  }

  read(asked: Asked, wanted: AskedPartition): Row {
    const context = this.#context
    const index = wanted.partition
    const byId = context.apiVersion >= 13
    const topic = findTopic(context, byId ? null : asked.topic, asked.topicId)
    if (topic === undefined) return this.#error(index, unknownTopic(byId))
    const forced = faultOf(context, fetch, 'before', topic.name, index)
    if (forced !== 0) return this.#error(index, forced)
    const partition = ledPartition(context, topic, index, wanted.currentLeaderEpoch)
    if (typeof partition === 'number') {
      const known = topic.partitions[index]
      const row = this.#error(index, partition)
      if (known === undefined || !wantsLeader(partition)) return row
      this.leaders.push(known.leader)
      return { ...row, currentLeader: { leaderId: known.leader, leaderEpoch: known.leaderEpoch } }
    }
    const { log } = partition
    const end = log.nextOffset
    const row: Row = {
      partitionIndex: index,
      errorCode: 0,
      highWatermark: end,
      lastStableOffset: end,
      logStartOffset: log.startOffset,
      abortedTransactions: this.#committedOnly ? [] : null,
      records: [],
    }
    if (wanted.lastFetchedEpoch >= 0) {
      const last = partition.endOfEpoch(wanted.lastFetchedEpoch)
      if (last.epoch < 0) return this.#error(index, errorCodes.OFFSET_OUT_OF_RANGE)
      if (last.epoch < wanted.lastFetchedEpoch || last.endOffset < wanted.fetchOffset) {
        this.urgent = true
        return { ...row, divergingEpoch: last }
      }
    }
    if (wanted.fetchOffset < log.startOffset || wanted.fetchOffset > end) {
      return this.#error(index, errorCodes.OFFSET_OUT_OF_RANGE)
    }
    this.partitions.push(partition)
    const first = this.byteLength === 0
    const batches = log.read(wanted.fetchOffset, Math.min(this.#left, Math.max(0, wanted.partitionMaxBytes)), first)
    let size = 0
    for (const batch of batches) size += batch.length
    this.byteLength += size
    this.#left = Math.max(0, this.#left - size)
    return { ...row, records: batches }
  }

  #error(index: number, errorCode: number): Row {
    this.urgent = true
    return failed(index, errorCode)
  }
}

function readAll(request: Request, context: RequestContext): Reading {
  const pass = new Pass(context, request)
  const responses = request.topics.map((asked) => ({
    topic: asked.topic,
    topicId: asked.topicId,
    partitions: asked.partitions.map((wanted) => pass.read(asked, wanted)),
  }))
  const { partitions, leaders, byteLength, urgent } = pass
  return { responses, partitions, leaders, byteLength, urgent }
}

function answer(reading: Reading, context: RequestContext): ResponseInput<typeof fetch> {
  const base = { throttleTimeMs: 0, sessionId: 0, errorCode: 0, responses: reading.responses }
  return reading.leaders.length === 0 ? base : { ...base, nodeEndpoints: endpoints(context, reading.leaders) }
}

export const fetchHandler = handle(
  fetch,
  {
    memory: objects,
    refuse: (request, errorCode, context) => ({
      throttleTimeMs: 0,
      // before version 7 there is no error for the whole answer
      errorCode: context.apiVersion >= 7 ? errorCode : 0,
      sessionId: 0,
      responses: request.topics.map((asked) => ({
        topic: asked.topic,
        topicId: asked.topicId,
        partitions: asked.partitions.map((wanted) => failed(wanted.partition, errorCode)),
      })),
    }),
    topics: (request, context) =>
      request.topics.map((t) => ({
        name: findTopic(context, t.topic, t.topicId)?.name ?? t.topic,
        partitions: t.partitions.map((p) => p.partition),
      })),
  },
  (request, context) => {
    if (request.sessionId !== 0) {
      return { throttleTimeMs: 0, errorCode: errorCodes.FETCH_SESSION_ID_NOT_FOUND, sessionId: 0, responses: [] }
    }
    const { services } = context
    const reading = readAll(request, context)
    const maxWaitMs = Math.min(request.maxWaitMs, services.options.maxFetchWaitMs)
    const missing = request.minBytes - reading.byteLength
    if (reading.urgent || missing <= 0 || maxWaitMs <= 0 || reading.partitions.length === 0)
      return answer(reading, context)
    return new Promise((resolve) => {
      const giveUp = services.waiting.wait(reading.partitions, missing, maxWaitMs, () =>
        resolve(answer(readAll(request, context), context)),
      )
      context.onGone(() => {
        giveUp()
        resolve(undefined)
      })
    })
  },
)
