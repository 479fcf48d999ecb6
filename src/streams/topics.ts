/**
 * Topics: which topics a group or a view needs, whether they fit together, and how those that millrace owns are made.
 * Inputs are never created behind the user's back, except on the embedded broker, which is the application's own.
 * No state.
 */
import { describeError, MillraceError } from '../base/errors.ts'
import { sleep } from '../base/scope.ts'
import { StreamsError } from './errors.ts'
import type { GroupGraph } from './graph.ts'
import type { KafkaPort, NewTopic, TopicPicture } from './port.ts'

/** Makes topics that do not exist; one that does is left as it is. */
export async function createMissing(kafka: KafkaPort, topics: readonly NewTopic[]): Promise<void> {
  if (topics.length === 0) return
  await kafka.metadata.require(topics.map((topic) => topic.name))
  // One topic may be asked for in several roles.
  const once = new Map(topics.map((topic) => [topic.name, topic]))
  const missing = [...once.values()].filter((topic) => !exists(kafka.metadata.view.topic(topic.name)))
  if (missing.length === 0) return
  try {
    await kafka.admin.createTopics(missing)
  } catch (cause) {
    // Another instance may have made them in between.
    if (!(cause instanceof MillraceError && cause.code === 'TOPIC_ALREADY_EXISTS')) throw cause
  }
  await kafka.metadata.refreshed(`made ${missing.map((topic) => topic.name).join(', ')}`)
}

/** The topic of a group's table: compacted, so that the last value of a key is never deleted. */
export function tableTopicOf(name: string, partitions: number): NewTopic {
  return { name, partitions, configs: { 'cleanup.policy': 'compact' } }
}

/** The topic of a group's loop: kept until it was processed, however long that takes. */
export function loopTopicOf(name: string, partitions: number): NewTopic {
  return { name, partitions, configs: { 'cleanup.policy': 'delete', 'retention.ms': '-1' } }
}

export function exists(topic: TopicPicture | undefined): topic is TopicPicture {
  return topic !== undefined && topic.error === undefined && topic.partitions.length > 0
}

/** Names of the given topics that do not exist, or cannot be looked up now, each with the reason. */
function absent(kafka: KafkaPort, topics: readonly string[]): string[] {
  const reasons: string[] = []
  for (const name of topics) {
    const topic = kafka.metadata.view.topic(name)
    const error = topic?.error ?? 'not looked up yet'
    if (!exists(topic)) reasons.push(`${name} (${error})`)
  }
  return reasons
}

/**
 * Waits until all topics exist; `report` hears the reason while some do not.
 * Rejects with `ERR_TOPIC_MISSING` after `timeoutMs`, or with the signal's reason.
 */
export async function waitForTopics(
  kafka: KafkaPort,
  topics: readonly string[],
  timeoutMs: number,
  report: (reason: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { scheduler } = kafka.scope
  const deadline = scheduler.monotonic() + timeoutMs
  for (const topic of topics) kafka.metadata.track(topic)
  let delayMs = 20
  for (;;) {
    let reason: string
    try {
      await kafka.metadata.require(topics)
      const missing = absent(kafka, topics)
      if (missing.length === 0) return
      reason = `missing topics: ${missing.join(', ')}`
    } catch (cause) {
      if (!(cause instanceof MillraceError) || !cause.retriable) throw cause
      reason = `the cluster does not answer: ${describeError(cause)}`
    }
    report(reason)
    const leftMs = deadline - scheduler.monotonic()
    if (leftMs <= 0) {
      const remedy = 'create them, or call ensureStreams before start'
      throw new StreamsError('ERR_TOPIC_MISSING', `after ${timeoutMs} ms, ${reason}: ${remedy}`, { retriable: true })
    }
    await sleep(kafka.scope, Math.min(delayMs, Math.max(1, leftMs)), signal)
    delayMs = Math.min(500, delayMs * 2)
    await kafka.metadata.refreshed('waiting for topics').catch((cause: unknown) => {
      if (!(cause instanceof MillraceError) || !cause.retriable) throw cause
    })
  }
}

/**
 * The partition count that inputs, joins and the group's own topics share.
 * @throws {StreamsError} `ERR_PARTITION_COUNT`, naming every topic with its count
 */
export function sharedPartitionCount(kafka: KafkaPort, graph: GroupGraph): number {
  const names = coPartitioned(graph)
  const counts = new Map<string, number>()
  for (const name of names) {
    const topic = kafka.metadata.view.topic(name)
    if (exists(topic)) counts.set(name, topic.partitions.length)
  }
  const distinct = new Set(counts.values())
  if (distinct.size > 1) {
    const each = [...counts].map(([name, count]) => `${name} has ${count}`).join(', ')
    throw new StreamsError(
      'ERR_PARTITION_COUNT',
      `the topics of group ${graph.name} must have equal partition counts: ${each}. A key must lie in the same ` +
        'partition number of each; copy the topic that differs into one with the right count',
    )
  }
  return counts.get(graph.inputs[0]!.topic) ?? 0
}

/** Inputs, joins, loop and table of a group. */
export function coPartitioned(graph: GroupGraph): string[] {
  const names = [...graph.inputs, ...graph.joins].map((edge) => edge.topic)
  if (graph.table !== undefined) names.push(graph.table.topic)
  if (graph.loop !== undefined) names.push(graph.loop.topic)
  return names
}

/**
 * Checks that a topic keeps the last value of each key.
 * @throws {StreamsError} `ERR_TABLE_NOT_COMPACTED`
 */
export async function requireCompacted(kafka: KafkaPort, topic: string): Promise<void> {
  const config = await kafka.admin.topicConfig(topic, ['cleanup.policy'])
  const policy = config.get('cleanup.policy') ?? ''
  if (policy.split(',').some((word) => word.trim() === 'compact')) return
  throw new StreamsError(
    'ERR_TABLE_NOT_COMPACTED',
    `topic ${topic} is used as a table but has cleanup.policy=${policy || 'delete'}: Kafka would delete its keys in time. ` +
      'Set cleanup.policy=compact on the topic',
  )
}
