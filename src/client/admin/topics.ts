/** Creating, deleting and describing topics. */
import { MillraceError } from '../../base/errors.ts'
import { createTopics } from '../../protocol/api/create-topics.ts'
import { deleteTopics } from '../../protocol/api/delete-topics.ts'
import { BrokerError, type KafkaErrorName } from '../../protocol/errors.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { TopicView } from '../cluster-view.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** A topic to be created. */
export interface NewTopic {
  /** 1 to 249 of a–z, A–Z, 0–9, `.`, `_`, `-`. */
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
  const { validateOnly = false } = options
  const names = topics.map(({ name }) => name)
  return eachTopic(context, 'creating', names, 'TOPIC_ALREADY_EXISTS', options, async (open, timeoutMs) => {
    const wanted = topics.filter(({ name }) => open.has(name))
    const response = await context.request(
      createTopics,
      'controller',
      {
        topics: wanted.map(({ name, partitions, replicationFactor = -1, configs = {} }) => ({
          name,
          numPartitions: partitions,
          replicationFactor,
          assignments: [],
          configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
        })),
        timeoutMs,
        validateOnly,
      },
      { extraWaitMs: timeoutMs },
    )
    return response.topics
  })
}

/** One result per topic, in order. */
export function remove(
  context: AdminContext,
  names: readonly string[],
  options: AdminCallOptions,
): Promise<TopicResult[]> {
  return eachTopic(context, 'deleting', names, 'UNKNOWN_TOPIC_OR_PARTITION', options, async (open, timeoutMs) => {
    const topicNames = [...open]
    const topics = topicNames.map((name) => ({ name, topicId: ZERO_UUID }))
    const input = { topics, topicNames, timeoutMs }
    return (await context.request(deleteTopics, 'controller', input, { extraWaitMs: timeoutMs })).responses
  })
}

interface Answer {
  readonly name: string | null
  readonly errorCode: number
  readonly errorMessage: string | null
}

/**
 * Asks until every topic has an answer that no retry would change; those that have one are not asked again. After a try
 * whose outcome is unknown, the error `done` means that it had succeeded.
 */
async function eachTopic(
  context: AdminContext,
  doing: string,
  names: readonly string[],
  done: KafkaErrorName,
  options: AdminCallOptions,
  ask: (open: ReadonlySet<string>, timeoutMs: number) => Promise<readonly Answer[]>,
): Promise<TopicResult[]> {
  const results = new Map<string, TopicResult>()
  const open = new Set(names)
  let unknownOutcome = false
  await retryingCall(context, `${doing} ${names.join(', ')}`, options, async (remainingMs) => {
    let answers: readonly Answer[]
    try {
      answers = await ask(open, Math.min(30_000, Math.ceil(remainingMs)))
    } catch (cause) {
      unknownOutcome = true
      throw cause
    }
    let again: BrokerError | undefined
    for (const { name, errorCode, errorMessage } of answers) {
      if (name === null) continue
      const error = errorCode === 0 ? undefined : new BrokerError(errorCode, `${doing} topic ${name}`, errorMessage)
      if (error?.retriable === true && error.code !== done) {
        if (error.code === 'REQUEST_TIMED_OUT') unknownOutcome = true
        again = error
        continue
      }
      open.delete(name)
      results.set(name, error === undefined || (unknownOutcome && error.code === done) ? { name } : { name, error })
    }
    if (again === undefined) return
    // The controller may be another by now.
    context.metadata.refresh(again.message)
    throw again
  })
  return names.map((name) => results.get(name) ?? { name })
}

/** The topics as the cluster sees them now. A missing one is left out. */
export async function describe(
  context: AdminContext,
  names: readonly string[],
  options: AdminCallOptions,
): Promise<TopicView[]> {
  return retryingCall(context, `describing ${names.join(', ')}`, options, async (remainingMs) => {
    await context.metadata.require(names, remainingMs)
    const view = await context.metadata.refreshed('describe topics', remainingMs)
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
