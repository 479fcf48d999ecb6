/**
 * Positions: where the inputs of newly assigned partitions begin. Asked in this order, because the order is what makes a
 * table never older than the offset that processing starts from: first the committed offsets (stable ones only), then the
 * changelog's high watermark, then the restore up to it. A position chosen for want of a committed one is committed
 * before the first record is processed, so that a crash does not choose again. No state.
 */
import { StreamsError } from './errors.ts'
import type { GroupGraph, InputEdge } from './graph.ts'
import type { CommittedOffset, GroupMembership, KafkaPort, TopicPartition } from './port.ts'
import { decodeCommitNote } from './store-state.ts'

/** Where one input partition begins. */
export interface StartPosition extends TopicPartition {
  readonly input: number
  readonly offset: number
  /** Chosen here, not committed yet. */
  readonly chosen: boolean
}

export interface PositionPolicy {
  readonly startFrom: 'earliest' | 'latest'
  readonly onLostOffsets: 'fail' | 'earliest' | 'latest'
}

export async function startPositions(
  kafka: KafkaPort,
  membership: GroupMembership,
  graph: GroupGraph,
  inputs: readonly InputEdge[],
  partitions: readonly number[],
  policy: PositionPolicy,
  signal: AbortSignal,
): Promise<StartPosition[]> {
  const at: { topic: string; partition: number; input: number }[] = []
  for (const partition of partitions) {
    for (let input = 0; input < inputs.length; input++) at.push({ topic: inputs[input]!.topic, partition, input })
  }
  const committed = await membership.committed(at, { requireStable: true, signal })
  signal.throwIfAborted()
  const earliest = await kafka.listOffsets(at, 'earliest', signal)
  const latest = await kafka.listOffsets(at, 'latest', signal)
  return at.map(({ topic, partition, input }, i) => {
    const one = committed.find((offset) => offset.topic === topic && offset.partition === partition)
    const range = { from: earliest[i]!, to: latest[i]! }
    const isLoop = inputs[input] === graph.loop
    const known = one === undefined || one.offset < 0 ? undefined : one
    if (known === undefined) {
      const offset = isLoop || policy.startFrom === 'earliest' ? range.from : range.to
      return { topic, partition, input, offset, chosen: true }
    }
    const lost = lostRange(kafka, known, range)
    if (lost === undefined) return { topic, partition, input, offset: known.offset, chosen: false }
    if (policy.onLostOffsets === 'fail') throw lostOffsets(graph.name, topic, partition, lost)
    return {
      topic,
      partition,
      input,
      offset: policy.onLostOffsets === 'earliest' ? range.from : range.to,
      chosen: true,
    }
  })
}

/** The error that names what the broker deleted. */
export function lostOffsets(group: string, topic: string, partition: number, what: string): StreamsError {
  return new StreamsError(
    'ERR_LOST_OFFSETS',
    `group ${group} cannot go on in ${topic}/${partition}: ${what}. Set onLostOffsets to 'earliest' or 'latest' to accept the loss`,
  )
}

function lostRange(
  kafka: KafkaPort,
  committed: CommittedOffset,
  log: { readonly from: number; readonly to: number },
): string | undefined {
  const note = decodeCommitNote(committed.metadata)
  const id = kafka.metadata.view.topic(committed.topic)?.id ?? ''
  if (note !== undefined && note.topicId !== id) {
    return `offset ${committed.offset} was committed for a topic of this name that was deleted (id ${note.topicId}, now ${id})`
  }
  if (committed.offset < log.from)
    return `offsets ${committed.offset} to ${log.from - 1} were deleted before they were processed`
  if (committed.offset > log.to) return `offset ${committed.offset} is committed, but the log ends at ${log.to}`
  return undefined
}
