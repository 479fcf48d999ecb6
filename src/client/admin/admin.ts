/** Admin: topics, configuration, offsets. Holds no state: every call is a request that is retried until it succeeds. */
import type { TopicView } from '../cluster-view.ts'
import type { PartitionMap } from '../consumer/partition-map.ts'
import { type ConfigEntry, type ConfigResource, describe as describeConfigs } from './configs.ts'
import type { AdminCallOptions, AdminContext } from './context.ts'
import { type EpochEnd, type EpochQuestion, epochEnds } from './offsets.ts'
import { create, describe, type NewTopic, remove, throwFirst } from './topics.ts'

/**
 * Administration of a cluster; made by `client.admin()`. Retriable failures are retried within `timeoutMs`. All methods
 * reject with the BrokerError of what was refused for good, TimeoutError or AbortError. Offsets: `client.listOffsets`.
 */
export class Admin {
  readonly #context: AdminContext

  constructor(context: AdminContext) {
    this.#context = context
  }

  /**
   * Creates topics. Rejects with the BrokerError of the first one refused (`TOPIC_ALREADY_EXISTS`, `INVALID_PARTITIONS`,
   * …; the others may have been created), TimeoutError or AbortError.
   */
  async createTopics(
    topics: readonly NewTopic[],
    options: AdminCallOptions & { readonly validateOnly?: boolean } = {},
  ): Promise<void> {
    if (topics.length > 0) throwFirst(await create(this.#context, topics, options))
  }

  /** Deletes topics with everything in them. Rejects like `createTopics` (`UNKNOWN_TOPIC_OR_PARTITION`). */
  async deleteTopics(names: readonly string[], options: AdminCallOptions = {}): Promise<void> {
    if (names.length > 0) throwFirst(await remove(this.#context, names, options))
  }

  /** The topics as the cluster sees them now; those that do not exist are left out. */
  describeTopics(names: readonly string[], options: AdminCallOptions = {}): Promise<TopicView[]> {
    return describe(this.#context, names, options)
  }

  /** A topic's settings by name, defaults included: all, or those in `names`. */
  describeTopicConfig(
    topic: string,
    names?: readonly string[],
    options: AdminCallOptions = {},
  ): Promise<Map<string, ConfigEntry>> {
    return this.describeConfig({ topic }, names, options)
  }

  /** The settings of a topic or a broker by name, defaults included: all, or those in `names`. */
  describeConfig(
    resource: ConfigResource,
    names?: readonly string[],
    options: AdminCallOptions = {},
  ): Promise<Map<string, ConfigEntry>> {
    return describeConfigs(this.#context, resource, names, options)
  }

  /** Where leader epochs end (KIP-320): tells whether a log was truncated below a position read in that epoch. */
  offsetForLeaderEpoch(
    questions: readonly EpochQuestion[],
    options: AdminCallOptions = {},
  ): Promise<PartitionMap<EpochEnd>> {
    return epochEnds(this.#context, questions, options)
  }
}
