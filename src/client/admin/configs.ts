/** Reading the configuration of topics and brokers. */
import { describeConfigs } from '../../protocol/api/describe-configs.ts'
import { BrokerError } from '../../protocol/errors.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** Whose configuration. */
export type ConfigResource = { readonly topic: string } | { readonly broker: number }

/** One setting. */
export interface ConfigEntry {
  /** Kafka's name, `cleanup.policy`. */
  readonly name: string
  /** Null: not set, or kept from view. */
  readonly value: string | null
  /** Cannot be changed while the broker runs. */
  readonly readOnly: boolean
  /** A password or the like: its value is kept from view. */
  readonly sensitive: boolean
}

/** Kafka's numbers of resource types. */
const resourceTypes = { topic: 2, broker: 4 } as const

/** The settings of a resource, all or those named. */
export function describe(
  context: AdminContext,
  resource: ConfigResource,
  names: readonly string[] | undefined,
  options: AdminCallOptions,
): Promise<Map<string, ConfigEntry>> {
  const isTopic = 'topic' in resource
  const resourceName = isTopic ? resource.topic : String(resource.broker)
  const subject = `configuration of ${isTopic ? 'topic' : 'broker'} ${resourceName}`
  const configurationKeys = names === undefined ? null : [...names]
  const resourceType = isTopic ? resourceTypes.topic : resourceTypes.broker
  const resources = [{ resourceType, resourceName, configurationKeys }]
  // Every broker knows all topics; its own settings only itself.
  const to = isTopic ? 'any' : { node: resource.broker }
  return retryingCall(context, subject, options, async (remainingMs) => {
    if (!isTopic) await context.metadata.require([], remainingMs)
    const response = await context.request(describeConfigs, to, { resources })
    const entries = new Map<string, ConfigEntry>()
    for (const { errorCode, errorMessage, configs } of response.results) {
      if (errorCode !== 0) throw new BrokerError(errorCode, subject, errorMessage)
      for (const { name, value, readOnly, isSensitive } of configs) {
        entries.set(name, { name, value, readOnly, sensitive: isSensitive })
      }
    }
    return entries
  })
}
