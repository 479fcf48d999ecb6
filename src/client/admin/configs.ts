/** Reading the configuration of topics. */
import { describeConfigs } from '../../protocol/api/describe-configs.ts'
import { BrokerError } from '../../protocol/errors.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** Kafka's number of the resource type "topic". */
const topicResource = 2

/** One setting. */
export interface ConfigEntry {
  readonly name: string
  /** Null: not set, or kept from view. */
  readonly value: string | null
  readonly readOnly: boolean
  readonly sensitive: boolean
}

/** The settings of a topic, all or those named. */
export function describeTopicConfig(
  context: AdminContext,
  topic: string,
  names: readonly string[] | undefined,
  options: AdminCallOptions,
): Promise<Map<string, ConfigEntry>> {
  return retryingCall(context, `configuration of ${topic}`, options, async () => {
    const configurationKeys = names === undefined ? null : [...names]
    const resources = [{ resourceType: topicResource, resourceName: topic, configurationKeys }]
    const response = await context.request(describeConfigs, 'any', { resources })
    const entries = new Map<string, ConfigEntry>()
    for (const result of response.results) {
      if (result.errorCode !== 0)
        throw new BrokerError(result.errorCode, `configuration of ${topic}`, result.errorMessage)
      for (const { name, value, readOnly, isSensitive } of result.configs) {
        entries.set(name, { name, value, readOnly, sensitive: isSensitive })
      }
    }
    return entries
  })
}
