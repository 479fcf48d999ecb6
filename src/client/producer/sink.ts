/**
 * Sink: the outbox of one broker (idea: franz-go's sink).
 * Owns   the Produce requests in flight to it, at most `maxInFlight`, and the list of queues that have something for it.
 * Reads  PartitionQueue.next.   Never  settles promises or decides about order: PartitionQueue does.
 * A request takes one batch of each queue, in turn, up to `maxRequestBytes`. Start at `drain`. Nothing is taken before the
 * connection stands: requests that wait for one can fail one by one, and then a later batch would leave before an earlier.
 * The sink with node -1 keeps the queues of partitions that have no leader; it sends nothing.
 */
import { describeError, MillraceError } from '../../base/errors.ts'
import { produce } from '../../protocol/api/produce.ts'
import { BrokerError, kafkaError, ProtocolError } from '../../protocol/errors.ts'
import type { ResponseOf } from '../../protocol/schema.ts'
import { ZERO_UUID } from '../../protocol/uuid.ts'
import type { BrokerLink, BrokerLinks } from '../broker-link.ts'
import { UnknownBrokerError } from '../request-router.ts'
import type { ProducerBatch } from './batch.ts'
import { FatalProducerError, fatalProducerCodes } from './errors.ts'
import type { ProducerHost } from './host.ts'
import { outcomeOf } from './outcome.ts'
import type { Outbox, PartitionQueue } from './partition-queue.ts'

/** One batch in a request. */
interface Part {
  readonly queue: PartitionQueue
  readonly batch: ProducerBatch
  answered: boolean
}

/** A request on its way. */
interface Sent {
  /** By topic name, and by topic id where there is one; then by partition. */
  readonly topics: Map<string, Map<number, Part>>
  readonly parts: Part[]
  /** Bytes were handed to a socket: without an answer, nobody knows. */
  handed: boolean
}

type PartitionAnswer = ResponseOf<typeof produce>['responses'][number]['partitionResponses'][number]

const acksCode = { all: -1, leader: 1, none: 0 } as const
const lane = 'produce'
/** Batches are closed for at most so long in one go, milliseconds. */
const sliceMs = 4
/** The last version that names topics. */
const namedVersion = 12

export class Sink implements Outbox {
  readonly node: number
  readonly #host: ProducerHost
  readonly #links: BrokerLinks
  readonly #ackTimeoutMs: number
  readonly #queues = new Set<PartitionQueue>()
  readonly #sent = new Set<Sent>()
  #busy = false
  #connecting = false

  constructor(host: ProducerHost, links: BrokerLinks, node: number) {
    this.node = node
    this.#host = host
    this.#links = links
    // The broker's own limit for gathering acks ends before ours for hearing from it.
    this.#ackTimeoutMs = Math.max(1, Math.floor(links.context.requestTimeoutMs / 2))
  }

  /** Requests that wait for an answer. */
  get inFlight(): number {
    return this.#sent.size
  }

  /** Queues with something to send. */
  get queues(): ReadonlySet<PartitionQueue> {
    return this.#queues
  }

  enlist(queue: PartitionQueue): void {
    this.#queues.add(queue)
  }

  delist(queue: PartitionQueue): void {
    this.#queues.delete(queue)
  }

  poke(): void {
    this.drain(false)
  }

  /** Sends what may be sent now. `slotFreed`: an answer has just come in. */
  drain(slotFreed: boolean): void {
    if (this.node < 0 || this.#busy || this.#connecting || this.#queues.size === 0) return
    const link = this.#links.node(this.node)
    if (link !== undefined && !link.isReady(lane)) {
      this.#connect(link)
      return
    }
    this.#busy = true
    const until = this.#host.scope.scheduler.monotonic() + sliceMs
    while (this.#sent.size < this.#host.options.maxInFlight) {
      const sent = this.#collect(slotFreed, until)
      if (sent === undefined) break
      this.#send(sent)
      if (this.#host.scope.scheduler.monotonic() < until) continue
      // Checksums and codecs take their time: the event loop has its turn, then it goes on.
      this.#host.work()
      break
    }
    this.#busy = false
  }

  /** Gives up on everything in flight. Its memory is not reused: sockets may still be sending from it. */
  abandon(error: MillraceError): void {
    const requests = [...this.#sent]
    this.#sent.clear()
    for (const { parts } of requests) {
      for (const { queue, batch, answered } of parts) {
        if (!answered) batch.failed(error, queue.topic, queue.partition, true)
      }
    }
  }

  #connect(link: BrokerLink): void {
    this.#connecting = true
    link.whenReady(lane, 'Produce', this.#links.context.requestTimeoutMs).then(
      () => {
        this.#connecting = false
        this.drain(true)
      },
      (cause: unknown) => {
        const again = this.#unreachable(cause)
        this.#connecting = false
        if (again) this.drain(true)
      },
    )
  }

  /**
   * The broker cannot be reached: the leader may be another by now, or will be; batches wait within their own time. False:
   * trying again at once makes no sense.
   */
  #unreachable(cause: unknown): boolean {
    if (!(cause instanceof MillraceError) || !cause.retriable) {
      // No other try will do: batches are taken and get the error as the answer.
      for (;;) {
        const sent = this.#collect(true, Number.POSITIVE_INFINITY)
        if (sent === undefined) break
        this.#sent.add(sent)
        this.#lost(sent, cause)
      }
      return false
    }
    for (const queue of this.#queues) queue.unreachable(cause)
    this.#host.metadata.refresh(`broker ${this.node} cannot be reached: ${cause.code}`)
    return true
  }

  #collect(slotFreed: boolean, until: number): Sent | undefined {
    const now = this.#host.scope.scheduler.monotonic()
    let room = this.#host.options.maxRequestBytes
    let sent: Sent | undefined
    for (const queue of [...this.#queues]) {
      if (!queue.hasWork) {
        this.#queues.delete(queue)
        continue
      }
      const batch = queue.next(now, sent === undefined ? Number.POSITIVE_INFINITY : room, slotFreed)
      if (batch === undefined) continue
      sent ??= { topics: new Map(), parts: [], handed: false }
      const part: Part = { queue, batch, answered: false }
      let partitions = sent.topics.get(queue.topic)
      if (partitions === undefined) {
        partitions = new Map()
        sent.topics.set(queue.topic, partitions)
      }
      partitions.set(queue.partition, part)
      sent.parts.push(part)
      // To the end of the list: the next request begins with the others.
      this.#queues.delete(queue)
      if (queue.hasWork) this.#queues.add(queue)
      room -= batch.bytes!.length
      if (room <= 0 || this.#host.scope.scheduler.monotonic() >= until) break
    }
    return sent
  }

  #send(sent: Sent): void {
    const link = this.#links.node(this.node)
    this.#sent.add(sent)
    if (link === undefined) {
      this.#host.scope.scheduler.immediate(() =>
        this.#lost(sent, new UnknownBrokerError(`broker ${this.node} is gone`)),
      )
      return
    }
    const { view } = this.#host.metadata
    const { acks } = this.#host.options
    let named = false
    const topicData = []
    for (const [name, partitions] of [...sent.topics]) {
      const topicId = view.topic(name)?.id ?? ZERO_UUID
      if (topicId === ZERO_UUID) named = true
      else sent.topics.set(topicId, partitions)
      const partitionData = []
      for (const [index, { batch }] of partitions) partitionData.push({ index, records: batch.bytes! })
      topicData.push({ name, topicId, partitionData })
    }
    const input = { transactionalId: null, acks: acksCode[acks], timeoutMs: this.#ackTimeoutMs, topicData }
    const call = {
      lane,
      timeoutMs: this.#links.context.requestTimeoutMs,
      maxVersion: named ? namedVersion : produce.maxVersion,
      oneWay: acks === 'none',
      onSent: () => {
        sent.handed = true
      },
    }
    link.call(produce, input, call).then(
      (response) => this.#answered(sent, response),
      (cause: unknown) => this.#lost(sent, cause),
    )
  }

  #answered(sent: Sent, response: ResponseOf<typeof produce> | undefined): void {
    if (!this.#sent.delete(sent)) return
    this.#busy = true
    if (response === undefined) {
      for (const part of sent.parts) this.#delivered(part, -1, -1)
    } else {
      for (const { name, topicId, partitionResponses } of response.responses) {
        const partitions = sent.topics.get(name === '' ? topicId : name)
        for (const answer of partitionResponses) {
          const part = partitions?.get(answer.index)
          if (part !== undefined && !part.answered) this.#judge(part, answer)
        }
      }
      this.#follow(sent, response)
    }
    for (const part of sent.parts) {
      if (part.answered) continue
      const { topic, partition } = part.queue
      this.#returned(part, new ProtocolError(`broker ${this.node} did not answer for ${topic}/${partition}`), true)
    }
    this.#busy = false
    this.drain(true)
  }

  /** Batches that came to the wrong broker need not wait for the metadata if the answer names the right one. */
  #follow(sent: Sent, { responses, nodeEndpoints }: ResponseOf<typeof produce>): void {
    const nodes = nodeEndpoints.map(({ nodeId, host, port, rack }) => ({ id: nodeId, host, port, rack }))
    for (const { name, topicId, partitionResponses } of responses) {
      for (const { index, errorCode, currentLeader } of partitionResponses) {
        if (errorCode === 0 || currentLeader.leaderId < 0) continue
        const queue = sent.topics.get(name === '' ? topicId : name)?.get(index)?.queue
        if (queue === undefined) continue
        const { leaderId: leader, leaderEpoch } = currentLeader
        this.#host.metadata.learnLeader(queue.topic, { index, leader, leaderEpoch }, nodes)
      }
    }
  }

  #judge(part: Part, answer: PartitionAnswer): void {
    const { queue, batch } = part
    const outcome = outcomeOf(answer.errorCode)
    if (outcome === 'delivered') {
      this.#delivered(part, answer.baseOffset, answer.logAppendTimeMs)
      return
    }
    const error = refusal(this.node, queue, answer)
    switch (outcome) {
      case 'retry':
      case 'retryMaybe':
        if (kafkaError(answer.errorCode).recovery === 'refreshMetadata') {
          this.#host.metadata.refresh(`${error.code} from broker ${this.node}, ${queue.topic}/${queue.partition}`)
        }
        this.#returned(part, error, outcome === 'retryMaybe')
        return
      case 'sequence':
        part.answered = true
        queue.outOfSequence(batch, error)
        return
      case 'split':
        part.answered = true
        queue.tooLarge(batch, error)
        return
      case 'fatal':
      case 'failed':
        part.answered = true
        queue.refused(batch, error)
        if (outcome === 'fatal') this.#host.fatal(error)
        return
    }
  }

  /** No answer came. */
  #lost(sent: Sent, cause: unknown): void {
    if (!this.#sent.delete(sent)) return
    this.#busy = true
    const error =
      cause instanceof MillraceError ? cause : new MillraceError('ERR_PRODUCE', describeError(cause), { cause })
    const fatal = fatalProducerCodes.find((code) => code === error.code)
    if (error.retriable) this.#host.metadata.refresh(`Produce to broker ${this.node} failed: ${error.code}`)
    for (const part of sent.parts) {
      if (error.retriable || error instanceof ProtocolError) this.#returned(part, error, sent.handed)
      else {
        part.answered = true
        part.queue.refused(part.batch, error)
      }
    }
    this.#busy = false
    if (fatal !== undefined) this.#host.fatal(new FatalProducerError(fatal, error))
    else this.drain(true)
  }

  #delivered(part: Part, baseOffset: number, appendTime: number): void {
    part.answered = true
    part.queue.delivered(part.batch, baseOffset, appendTime)
  }

  #returned(part: Part, error: MillraceError, maybeWritten: boolean): void {
    part.answered = true
    part.queue.returned(part.batch, error, maybeWritten)
  }
}

function refusal(node: number, queue: PartitionQueue, answer: PartitionAnswer): BrokerError {
  const { errorCode, errorMessage, recordErrors } = answer
  const first = recordErrors[0]
  const record =
    first === undefined ? '' : ` (record ${first.batchIndex} of the batch: ${first.batchIndexErrorMessage ?? ''})`
  const detail =
    errorMessage === null
      ? record === ''
        ? null
        : `${kafkaError(errorCode).text}${record}`
      : `${errorMessage}${record}`
  return new BrokerError(errorCode, `produce to ${queue.topic}/${queue.partition} on broker ${node}`, detail)
}
