/**
 * Produce: appends record batches. One copy is kept, so acks −1 and 1 are the same. With acks 0 there is no answer; as in
 * Kafka, a failure then closes the connection. Transactions: not supported yet, refused.
 */
import { produce } from '../../protocol/api/produce.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { CloseConnection, faultOf, handle, type RequestContext, records } from '../dispatch.ts'
import { endpoints, findTopic, ledPartition, unknownTopic, wantsLeader } from './lookup.ts'

type Row = ResponseInput<typeof produce>['responses'][number]['partitionResponses'][number]
type Asked = RequestOf<typeof produce>['topicData'][number]

function failed(index: number, errorCode: number, errorMessage: string | null = null): Row {
  return { index, errorCode, baseOffset: -1, errorMessage, recordErrors: [] }
}

function answer(
  request: RequestOf<typeof produce>,
  context: RequestContext,
  rowOf: (asked: Asked, index: number, batch: Buffer | null) => Row,
): ResponseInput<typeof produce> {
  const responses = request.topicData.map((asked) => ({
    name: asked.name,
    topicId: asked.topicId,
    partitionResponses: asked.partitionData.map((partition) => rowOf(asked, partition.index, partition.records)),
  }))
  const leaders: number[] = []
  for (const { partitionResponses } of responses) {
    for (const row of partitionResponses) if (row.currentLeader != null) leaders.push(row.currentLeader.leaderId ?? -1)
  }
  return leaders.length === 0 ? { responses } : { responses, nodeEndpoints: endpoints(context, leaders) }
}

/** Appends one partition's batch. */
function append(context: RequestContext, asked: Asked, index: number, batch: Buffer | null): Row {
  const { cluster, timers } = context.services
  const byId = context.apiVersion >= 13
  const topic = byId && asked.topicId === ZERO_UUID ? undefined : findTopic(context, asked.name, asked.topicId)
  if (topic === undefined) return failed(index, unknownTopic(byId))
  const forced = faultOf(context, produce, 'before', topic.name, index)
  if (forced !== 0) return failed(index, forced)
  if (topic.internal) {
    return failed(index, errorCodes.INVALID_TOPIC_EXCEPTION, `clients do not write to ${topic.name}`)
  }
  const partition = ledPartition(context, topic, index, -1)
  if (typeof partition === 'number') {
    const row = failed(index, partition)
    const known = topic.partitions[index]
    if (known === undefined || !wantsLeader(partition)) return row
    return { ...row, currentLeader: { leaderId: known.leader, leaderEpoch: known.leaderEpoch } }
  }
  if (batch === null || batch.length === 0) {
    return failed(index, errorCodes.INVALID_RECORD, 'a produce request has exactly one record batch per partition')
  }
  const now = Math.trunc(timers.now())
  const appended = partition.append(batch, now, context.apiVersion >= 7)
  if (appended.errorCode === 0 && !appended.duplicate) cluster.appended(partition, batch.length, now)
  const late = faultOf(context, produce, 'after', topic.name, index)
  if (late !== 0) return failed(index, late)
  const { errorCode, baseOffset, appendTime, message } = appended
  return {
    index,
    errorCode,
    baseOffset,
    logAppendTimeMs: appendTime,
    logStartOffset: partition.log.startOffset,
    recordErrors: [],
    errorMessage: message,
  }
}

export const produceHandler = handle(
  produce,
  {
    memory: records,
    // librdkafka before 2.x takes a higher minimum for a broker without compression, so Kafka 4 tells 0 as well (KIP-896)
    advertisedMin: 0,
    refuse: (request, errorCode, context) => {
      if (request.acks === 0)
        throw new CloseConnection('ERR_PRODUCE_REFUSED', `produce with acks 0 failed: error ${errorCode}`)
      return answer(request, context, (_asked, index) => failed(index, errorCode))
    },
    topics: (request, context) =>
      request.topicData.map((t) => ({
        name: findTopic(context, t.name, t.topicId)?.name ?? t.name,
        partitions: t.partitionData.map((p) => p.index),
      })),
  },
  (request, context) => {
    const { acks, transactionalId } = request
    let refusal = 0
    if (acks < -1 || acks > 1) refusal = errorCodes.INVALID_REQUIRED_ACKS
    else if (transactionalId !== null) refusal = errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    const response = answer(request, context, (asked, index, batch) =>
      refusal === 0 ? append(context, asked, index, batch) : failed(index, refusal),
    )
    if (acks !== 0) return response
    for (const { name, partitionResponses } of response.responses) {
      for (const row of partitionResponses) {
        if (row.errorCode === 0) continue
        const why = `produce with acks 0 to ${name}/${row.index} failed: error ${row.errorCode} ${row.errorMessage ?? ''}`
        throw new CloseConnection('ERR_PRODUCE_REFUSED', why)
      }
    }
    return undefined
  },
)
