/** DeleteTopics: by name, from version 6 also by id. Offsets that groups committed for them go too. */
import { deleteTopics } from '../../protocol/api/delete-topics.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import { findTopic, unknownTopic } from './lookup.ts'

type Row = ResponseInput<typeof deleteTopics>['responses'][number]

interface Asked {
  readonly name: string | null
  readonly topicId: string
}

function askedOf(request: RequestOf<typeof deleteTopics>, version: number): readonly Asked[] {
  return version >= 6 ? request.topics : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }))
}

function row(asked: Asked, errorCode: number, errorMessage: string | null = null): Row {
  return { name: asked.name, topicId: asked.topicId, errorCode, errorMessage }
}

function remove(asked: Asked, context: RequestContext): Row {
  const byId = asked.topicId !== ZERO_UUID
  if (byId === (asked.name !== null)) {
    return row(asked, errorCodes.INVALID_REQUEST, 'give either the name or the id of a topic')
  }
  const topic = findTopic(context, asked.name, asked.topicId)
  if (topic === undefined) return row(asked, unknownTopic(byId))
  const forced = faultOf(context, deleteTopics, 'before', topic.name)
  if (forced !== 0) return row(asked, forced)
  if (topic.internal) return row(asked, errorCodes.INVALID_REQUEST, `${topic.name} is the broker's own`)
  context.services.cluster.delete(topic)
  return row({ name: topic.name, topicId: topic.id }, 0)
}

export const deleteTopicsHandler = handle(
  deleteTopics,
  {
    memory: objects,
    refuse: (request, errorCode, context) => ({
      throttleTimeMs: 0,
      responses: askedOf(request, context.apiVersion).map((asked) => row(asked, errorCode)),
    }),
    topics: (request, context) =>
      askedOf(request, context.apiVersion).map((t) => ({
        name: findTopic(context, t.name, t.topicId)?.name ?? t.name ?? '',
        partitions: undefined,
      })),
  },
  (request, context) => ({
    throttleTimeMs: 0,
    responses: askedOf(request, context.apiVersion).map((asked) => remove(asked, context)),
  }),
)
