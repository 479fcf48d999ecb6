/** CreateTopics: any node takes it. One copy of each partition is kept, whatever replication factor was asked. */
import { createTopics } from '../../protocol/api/create-topics.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import { offsetsTopic } from '../cluster.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import { configSources, type TopicConfig, topicConfigs } from '../topic-config.ts'

type Asked = RequestOf<typeof createTopics>['topics'][number]
type Row = ResponseInput<typeof createTopics>['topics'][number]

function failed(name: string, errorCode: number, errorMessage: string | null = null): Row {
  return { name, topicId: ZERO_UUID, errorCode, errorMessage, configs: [] }
}

function described(config: TopicConfig) {
  return [...topicConfigs.keys()].map((name) => ({
    name,
    value: config.value(name),
    readOnly: false,
    configSource: config.overrides.has(name) ? configSources.TOPIC : configSources.DEFAULT,
    isSensitive: false,
  }))
}

function create(asked: Asked, context: RequestContext, validateOnly: boolean): Row {
  const { cluster } = context.services
  const { name } = asked
  const forced = faultOf(context, createTopics, 'before', name)
  if (forced !== 0) return failed(name, forced)
  if (name === offsetsTopic) return failed(name, errorCodes.INVALID_TOPIC_EXCEPTION, `${name} is the broker's own`)
  const plan = cluster.plan({
    name,
    partitions: asked.numPartitions,
    replicationFactor: asked.replicationFactor,
    configs: new Map(asked.configs.map((c) => [c.name, c.value])),
    assignments: asked.assignments,
  })
  if ('errorCode' in plan) return failed(name, plan.errorCode, plan.message)
  const topicId = validateOnly ? ZERO_UUID : cluster.create(plan).id
  return {
    name,
    topicId,
    errorCode: 0,
    errorMessage: null,
    numPartitions: plan.leaders.length,
    replicationFactor: 1,
    configs: described(plan.config),
  }
}

export const createTopicsHandler = handle(
  createTopics,
  {
    memory: objects,
    refuse: (request, errorCode) => ({
      throttleTimeMs: 0,
      topics: request.topics.map((t) => failed(t.name, errorCode)),
    }),
    topics: (request) => request.topics.map((t) => ({ name: t.name, partitions: undefined })),
  },
  (request, context) => {
    const counts = new Map<string, number>()
    for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
    const once = new Map(request.topics.map((asked) => [asked.name, asked]))
    return {
      throttleTimeMs: 0,
      topics: [...once.values()].map((asked) =>
        (counts.get(asked.name) ?? 0) > 1
          ? failed(
              asked.name,
              errorCodes.INVALID_REQUEST,
              `Topic '${asked.name}' is named more than once in the request.`,
            )
          : create(asked, context, request.validateOnly),
      ),
    }
  },
)
