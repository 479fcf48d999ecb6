/** Creating, deleting and describing topics. */
import { MillraceError } from '../../base/errors.ts'
import { createTopics } from '../../protocol/api/create-topics.ts'
import { deleteTopics } from '../../protocol/api/delete-topics.ts'
import { BrokerError } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { TopicView } from '../cluster-view.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** A topic to be created. */
export interface NewTopic {
  readonly name: string
  /** −1: the broker's default (`num.partitions`). */
  readonly partitions: number
  /** −1 (default): the broker's default. */
  readonly replicationFactor?: number
  /** Settings by Kafka's names (`cleanup.policy`), values as text. */
  readonly configs?: Readonly<Record<string, string>>
}

/** What became of each topic; `error` is absent when it was done. */
export interface TopicResult {
  readonly name: string
  readonly error?: BrokerError
}

/** One result per topic, in order; retriable refusals are tried again. */
export function create(
  context: AdminContext,
  topics: readonly NewTopic[],
  options: AdminCallOptions & { readonly validateOnly?: boolean },
): Promise<TopicResult[]> {
  const what = `creating ${topics.map((topic) => topic.name).join(', ')}`
  return retryingCall(context, what, options, async (remainingMs) => {
    const timeoutMs = Math.min(30_000, Math.ceil(remainingMs))
    const response = await context.request(
      createTopics,
      'controller',
      {
        topics: topics.map((topic) => ({
          name: topic.name,
          numPartitions: topic.partitions,
          replicationFactor: topic.replicationFactor ?? -1,
          assignments: [],
          configs: Object.entries(topic.configs ?? {}).map(([name, value]) => ({ name, value })),
        })),
        timeoutMs,
        validateOnly: options.validateOnly ?? false,
      },
      { extraWaitMs: timeoutMs },
    )
    return response.topics.map(({ name, errorCode, errorMessage }) => result(name, 'topic', errorCode, errorMessage))
  })
}

/** One result per topic, in order. */
export function remove(
  context: AdminContext,
  names: readonly string[],
  options: AdminCallOptions,
): Promise<TopicResult[]> {
  return retryingCall(context, `deleting ${names.join(', ')}`, options, async (remainingMs) => {
    const timeoutMs = Math.min(30_000, Math.ceil(remainingMs))
    const response = await context.request(
      deleteTopics,
      'controller',
      { topics: names.map((name) => ({ name, topicId: ZERO_UUID })), topicNames: [...names], timeoutMs },
      { extraWaitMs: timeoutMs },
    )
    return response.responses.map(({ name, errorCode, errorMessage }) =>
      result(name ?? '', 'topic', errorCode, errorMessage),
    )
  })
}

/** Rejects the whole attempt when a refusal is worth another try. */
function result(name: string, kind: string, errorCode: number, message: string | null): TopicResult {
  if (errorCode === 0) return { name }
  const error = new BrokerError(errorCode, `${kind} ${name}`, message)
  if (error.retriable) throw error
  return { name, error }
}

/** The topics as the cluster sees them now. A missing one is left out. */
export async function describe(
  context: AdminContext,
  names: readonly string[],
  options: AdminCallOptions,
): Promise<TopicView[]> {
  return retryingCall(context, `describing ${names.join(', ')}`, options, async () => {
    await context.metadata.require(names)
    const view = await context.metadata.refreshed('describe topics')
    return names.flatMap((name) => {
      const topic = view.topic(name)
      if (topic === undefined || topic.error === 'UNKNOWN_TOPIC_OR_PARTITION') return []
      if (topic.error !== undefined) {
        throw new MillraceError(topic.error, `topic ${name} cannot be described: ${topic.error}`, { retriable: true })
      }
      return [topic]
    })
  })
}

/** Throws the first error of `results`. */
export function throwFirst(results: readonly TopicResult[]): void {
  for (const { error } of results) if (error !== undefined) throw error
}
