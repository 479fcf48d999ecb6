/** A simulated cluster with one client and one producer, and the Produce requests on the wire counted. */
import { BatchScanner } from '../../../src/protocol/record-view.ts'
import type { MillraceError } from '../../../src/base/errors.ts'
import type { Broker, BrokerOptions } from '../../../src/broker/index.ts'
import { Client, type ClientEvent, type Producer, type ProducerOptions } from '../../../src/client/index.ts'
import type { ClientOptions } from '../../../src/client/options.ts'
import { produce } from '../../../src/protocol/api/produce.ts'
import { decodeRequest, decodeRequestHeader } from '../../../src/protocol/frame.ts'
import { SimCluster } from '../../sim/cluster.ts'
import { World } from '../../sim/world.ts'

/** One batch of a Produce request as it left. */
export interface SentBatch {
  readonly request: number
  readonly at: number
  readonly node: number
  readonly version: number
  readonly partition: number
  readonly count: number
  readonly bytes: number
  readonly epoch: number
  readonly sequence: number
  readonly compression: string
}

export interface ProducerWorld {
  readonly world: World
  readonly cluster: SimCluster
  readonly broker: Broker
  readonly client: Client
  readonly producer: Producer
  readonly events: ClientEvent[]
  /** Batches that have left, in order. */
  readonly sent: SentBatch[]
  /** Produce requests that have left. */
  readonly requests: () => number
  /** Values in a partition's log, in order. */
  readonly values: (partition?: number, topic?: string) => string[]
}

export interface ProducerWorldOptions {
  readonly seed?: number
  readonly nodes?: number
  readonly topics?: NonNullable<BrokerOptions['topics']>
  readonly broker?: BrokerOptions
  readonly client?: Omit<ClientOptions, 'brokers'>
  readonly producer?: ProducerOptions
}

export async function producerWorld(
  options: ProducerWorldOptions,
  body: (it: ProducerWorld) => Promise<void>,
): Promise<void> {
  const world = new World(options.seed ?? Number(process.env['SEED'] ?? 1), { latencyMs: [0.5, 0.5] })
  await world.run(async () => {
    const { nodes = 1, topics = { t: 1 } } = options
    const cluster = await SimCluster.start(world, {
      nodes,
      topics,
      ...(options.broker === undefined ? {} : { options: options.broker }),
    })
    const sent: SentBatch[] = []
    let requests = 0
    world.tap = {
      onRequest: (_process, tapped) => {
        if (tapped.apiKey !== produce.key) return true
        const frame = tapped.frame()
        const header = decodeRequestHeader(frame)
        requests += 1
        for (const { partitionData } of decodeRequest(produce, header, frame).topicData) {
          for (const { index, records } of partitionData) {
            const batch = new BatchScanner(records!).next()!
            sent.push({
              request: requests,
              at: world.now,
              node: 0,
              version: header.apiVersion,
              partition: index,
              count: batch.count,
              bytes: records!.length,
              epoch: batch.producerEpoch,
              sequence: batch.baseSequence,
              compression: batch.compression,
            })
          }
        }
        return true
      },
    }
    const events: ClientEvent[] = []
    const client = new Client({
      brokers: cluster.brokers,
      scope: world.process('app').scope,
      onEvent: (event) => events.push(event),
      ...options.client,
    })
    const producer = client.producer(options.producer)
    await body({
      world,
      cluster,
      broker: cluster.broker,
      client,
      producer,
      events,
      sent,
      requests: () => requests,
      values: (partition = 0, topic = 't') =>
        cluster.broker.records(topic, partition).map(({ value }) => value?.toString() ?? 'null'),
    })
    await client.close()
  })
}

/** The error a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<MillraceError> {
  try {
    await promise
  } catch (cause) {
    return cause as MillraceError
  }
  throw new Error('expected a rejection')
}

/** '0', '1', … as values of `count` records for partition 0 of topic `t`. */
export function numbered(count: number, from = 0): { topic: string; partition: number; value: string }[] {
  return Array.from({ length: count }, (_, i) => ({ topic: 't', partition: 0, value: String(from + i) }))
}

export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => String(from + i))
}
