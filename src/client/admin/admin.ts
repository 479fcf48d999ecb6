/** Admin: topics and their configuration. Holds no state: every call is a request that is retried until it succeeds. */
import type { TopicView } from '../cluster-view.ts'
import { type ConfigEntry, describeTopicConfig } from './configs.ts'
import type { AdminCallOptions, AdminContext } from './context.ts'
import { create, describe, type NewTopic, remove, throwFirst } from './topics.ts'

/** Administration of a cluster; made by `client.admin()`. Retriable failures are retried within `timeoutMs`. */
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
    return describeTopicConfig(this.#context, topic, names, options)
  }
}
