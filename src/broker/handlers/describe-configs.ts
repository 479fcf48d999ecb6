/** DescribeConfigs: settings of topics (type 2) and of the broker (type 4), with defaults and where values come from. */
import { describeConfigs } from '../../protocol/api/describe-configs.ts'
import { errorCodes } from '../../protocol/errors.ts'
import type { RequestOf, ResponseInput } from '../../protocol/schema.ts'
import { faultOf, handle, objects, type RequestContext } from '../dispatch.ts'
import { type ConfigRow, configSources, configTypes, type TopicConfig, topicConfigs } from '../topic-config.ts'

type Asked = RequestOf<typeof describeConfigs>['resources'][number]
type Result = ResponseInput<typeof describeConfigs>['results'][number]
type Config = Result['configs'][number]

const topicResource = 2
const brokerResource = 4

interface Detail {
  readonly synonyms: boolean
  readonly documentation: boolean
}

function failed(asked: Asked, errorCode: number, errorMessage: string | null = null): Result {
  const { resourceType, resourceName } = asked
  return { errorCode, errorMessage, resourceType, resourceName, configs: [] }
}

function topicConfig(row: ConfigRow, config: TopicConfig, detail: Detail): Config {
  const own = config.overrides.get(row.name)
  const synonyms: { name: string; value: string; source: number }[] = []
  if (detail.synonyms) {
    if (own !== undefined) synonyms.push({ name: row.name, value: own, source: configSources.TOPIC })
    if (row.synonym !== undefined)
      synonyms.push({ name: row.synonym, value: row.default, source: configSources.DEFAULT })
  }
  return {
    name: row.name,
    value: config.value(row.name),
    readOnly: false,
    configSource: own === undefined ? configSources.DEFAULT : configSources.TOPIC,
    isSensitive: false,
    synonyms,
    configType: configTypes[row.type],
    documentation: detail.documentation ? row.doc : null,
  }
}

interface BrokerSetting {
  readonly name: string
  readonly value: string
  readonly type: keyof typeof configTypes
  readonly source: number
  readonly doc: string
}

function brokerSettings(context: RequestContext): BrokerSetting[] {
  const { options } = context.services
  const given = (name: string, value: number | boolean, doc: string): BrokerSetting => ({
    name,
    value: String(value),
    type: typeof value === 'boolean' ? 'BOOLEAN' : 'INT',
    source: configSources.STATIC_BROKER,
    doc,
  })
  const settings = [
    given('node.id', context.node, 'number of this node'),
    given('auto.create.topics.enable', false, 'topics are never created by asking for them'),
    given('num.partitions', options.defaultPartitions, 'partitions of a topic created with -1'),
    given('default.replication.factor', 1, 'one copy'),
    given('group.min.session.timeout.ms', options.minSessionTimeoutMs, 'shortest session of a group member'),
    given('group.max.session.timeout.ms', options.maxSessionTimeoutMs, 'longest session of a group member'),
    given('offset.metadata.max.bytes', options.maxOffsetMetadataBytes, 'largest metadata of a committed offset'),
    given('fetch.max.bytes', options.maxFetchBytes, 'largest fetch answer'),
  ]
  for (const row of topicConfigs.values()) {
    if (row.synonym === undefined) continue
    settings.push({
      name: row.synonym,
      value: row.default,
      type: row.type,
      source: configSources.DEFAULT,
      doc: row.doc,
    })
  }
  return settings
}

function brokerConfig(setting: BrokerSetting, detail: Detail): Config {
  const { name, value, source } = setting
  return {
    name,
    value,
    readOnly: true,
    configSource: source,
    isSensitive: false,
    synonyms: detail.synonyms ? [{ name, value, source }] : [],
    configType: configTypes[setting.type],
    documentation: detail.documentation ? setting.doc : null,
  }
}

function describe(asked: Asked, context: RequestContext, detail: Detail): Result {
  const { cluster } = context.services
  const { resourceType, resourceName, configurationKeys } = asked
  const wanted = (name: string): boolean => configurationKeys === null || configurationKeys.includes(name)
  const found = (configs: Config[]): Result => ({
    errorCode: 0,
    errorMessage: null,
    resourceType,
    resourceName,
    configs,
  })
  if (resourceType === topicResource) {
    const forced = faultOf(context, describeConfigs, 'before', resourceName)
    if (forced !== 0) return failed(asked, forced)
    const topic = cluster.topic(resourceName)
    if (topic === undefined) return failed(asked, errorCodes.UNKNOWN_TOPIC_OR_PARTITION)
    const rows = [...topicConfigs.values()].filter((row) => wanted(row.name))
    return found(rows.map((row) => topicConfig(row, topic.config, detail)))
  }
  if (resourceType === brokerResource) {
    if (resourceName === '') return found([]) // cluster-wide dynamic settings: there are none
    if (resourceName !== String(context.node)) {
      const why = `this is node ${context.node}: ask node ${resourceName} for its own settings`
      return failed(asked, errorCodes.INVALID_REQUEST, why)
    }
    return found(
      brokerSettings(context)
        .filter((setting) => wanted(setting.name))
        .map((setting) => brokerConfig(setting, detail)),
    )
  }
  return failed(asked, errorCodes.INVALID_REQUEST, `the embedded broker has no resources of type ${resourceType}`)
}

export const describeConfigsHandler = handle(
  describeConfigs,
  {
    memory: objects,
    refuse: (request, errorCode) => ({
      throttleTimeMs: 0,
      results: request.resources.map((asked) => failed(asked, errorCode)),
    }),
    topics: (request) => request.resources.map((r) => ({ name: r.resourceName, partitions: undefined })),
  },
  (request, context) => {
    const detail = { synonyms: request.includeSynonyms, documentation: request.includeDocumentation }
    return { throttleTimeMs: 0, results: request.resources.map((asked) => describe(asked, context, detail)) }
  },
)
