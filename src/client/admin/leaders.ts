/** Asking the leaders of partitions: each once, what they refuse retriably again, until every partition has its answer. */
import { MillraceError } from '../../base/errors.ts'
import { BrokerError } from '../../protocol/errors.ts'
import { PartitionMap, partitionName, type TopicPartition } from '../consumer/partition-map.ts'
import { type AdminCallOptions, type AdminContext, retryingCall } from './context.ts'

/** One partition's answer. */
export interface LeaderAnswer<T> extends TopicPartition {
  readonly errorCode: number
  readonly value: T
}

/** Partitions of one request, by topic. */
export function byTopic<P extends TopicPartition>(partitions: readonly P[]): Map<string, P[]> {
  const topics = new Map<string, P[]>()
  for (const at of partitions) {
    const list = topics.get(at.topic)
    if (list === undefined) topics.set(at.topic, [at])
    else list.push(at)
  }
  return topics
}

/** `ask` sends one request to a leader. Rejects with BrokerError for what no retry mends, TimeoutError or AbortError. */
export async function askLeaders<P extends TopicPartition, T>(
  context: AdminContext,
  what: string,
  partitions: readonly P[],
  options: AdminCallOptions,
  ask: (node: number, partitions: readonly P[]) => Promise<readonly LeaderAnswer<T>[]>,
): Promise<PartitionMap<T>> {
  const answers = new PartitionMap<T>()
  if (partitions.length === 0) return answers
  const topics = [...new Set(partitions.map(({ topic }) => topic))]
  const subject = `${what} of ${topics.join(', ')}`
  await retryingCall(context, subject, options, async (remainingMs) => {
    await context.metadata.require(topics, remainingMs)
    const { leaders, without } = leadersOf(context, partitions, answers)
    const asked = [...leaders].map(async ([node, led]) => {
      let refused: BrokerError | undefined
      for (const { topic, partition, errorCode, value } of await ask(node, led)) {
        if (errorCode === 0) answers.set(topic, partition, value)
        else refused ??= new BrokerError(errorCode, `${what} of ${partitionName(topic, partition)}`)
      }
      if (refused === undefined) return
      context.metadata.refresh(refused.message)
      throw refused
    })
    const failures = (await Promise.allSettled(asked)).flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    // What no retry mends is told before what one might.
    const first =
      failures.find((cause) => !(cause instanceof MillraceError && cause.retriable)) ?? failures[0] ?? without
    if (first !== undefined) throw first
  })
  return answers
}

function leadersOf<P extends TopicPartition>(
  context: AdminContext,
  partitions: readonly P[],
  answered: PartitionMap<unknown>,
): { leaders: Map<number, P[]>; without: MillraceError | undefined } {
  const leaders = new Map<number, P[]>()
  let without: MillraceError | undefined
  for (const at of partitions) {
    if (answered.has(at.topic, at.partition)) continue
    const leader = context.metadata.view.partition(at.topic, at.partition)?.leader ?? -1
    if (leader < 0) {
      const name = partitionName(at.topic, at.partition)
      context.metadata.refresh(`${name} has no leader`)
      const code = context.metadata.view.topic(at.topic)?.error ?? 'LEADER_NOT_AVAILABLE'
      without ??= new MillraceError(code, `${name} has no leader, or does not exist (${code})`, { retriable: true })
      continue
    }
    const led = leaders.get(leader)
    if (led === undefined) leaders.set(leader, [at])
    else led.push(at)
  }
  return { leaders, without }
}
