/**
 * The peers, loaded from this folder's own node_modules, and as much of their types as the workloads use: the project
 * itself compiles without them.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { benchRoot } from './paths.ts'

const require = createRequire(join(benchRoot, 'package.json'))

/** A package of this folder. */
export function requirePeer(name: string): unknown {
  return require(name)
}

export interface KafkaJsMessage {
  key: Buffer | string | null
  value: Buffer | string | null
  partition?: number
}
interface KafkaJsBatch {
  topic: string
  partition: number
  messages: { key: Buffer | null; value: Buffer | null; offset: string }[]
}
export interface KafkaJsBatchPayload {
  batch: KafkaJsBatch
  resolveOffset(offset: string): void
  heartbeat(): Promise<void>
  commitOffsetsIfNecessary(): Promise<void>
}
interface KafkaJsConsumer {
  connect(): Promise<void>
  subscribe(options: { topics: string[]; fromBeginning: boolean }): Promise<void>
  run(options: {
    eachBatchAutoResolve?: boolean
    autoCommit?: boolean
    autoCommitInterval?: number
    partitionsConsumedConcurrently?: number
    eachBatch(payload: KafkaJsBatchPayload): Promise<void>
  }): Promise<void>
  commitOffsets(offsets: { topic: string; partition: number; offset: string }[]): Promise<void>
  disconnect(): Promise<void>
}
interface KafkaJsProducer {
  connect(): Promise<void>
  send(record: { topic: string; acks?: number; messages: KafkaJsMessage[] }): Promise<unknown>
  disconnect(): Promise<void>
}
interface KafkaJsAdmin {
  connect(): Promise<void>
  createTopics(options: {
    waitForLeaders: boolean
    topics: {
      topic: string
      numPartitions: number
      replicationFactor: number
      configEntries?: { name: string; value: string }[]
    }[]
  }): Promise<boolean>
  deleteTopics(options: { topics: string[] }): Promise<void>
  fetchTopicOffsets(topic: string): Promise<{ partition: number; offset: string }[]>
  fetchOffsets(options: {
    groupId: string
    topics: string[]
  }): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>
  disconnect(): Promise<void>
}
interface KafkaJs {
  producer(options?: object): KafkaJsProducer
  consumer(options: object): KafkaJsConsumer
  admin(): KafkaJsAdmin
}

/** A kafkajs client; quiet, with its own default partitioner. */
export function kafkaJs(brokers: string, clientId = 'bench'): KafkaJs {
  const { Kafka, logLevel, Partitioners } = require('kafkajs') as {
    Kafka: new (options: object) => KafkaJs
    logLevel: { ERROR: number }
    Partitioners: { DefaultPartitioner: unknown }
  }
  const kafka = new Kafka({ clientId, brokers: brokers.split(','), logLevel: logLevel.ERROR })
  const producer = kafka.producer.bind(kafka)
  kafka.producer = (options) => producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options })
  return kafka
}

interface KafkaTsMessage {
  partition: number
  key: Buffer | null
  value: Buffer
}
interface KafkaTs {
  connect?(): Promise<void>
  producer(options?: object): {
    connect?(): Promise<void>
    send(topic: string, messages: { key: Buffer; value: Buffer }[] | { key: Buffer; value: Buffer }): Promise<unknown>
    flush(): Promise<void>
    disconnect(): Promise<void>
  }
  consumer(options: object): {
    runBatch(topic: string, handler: (batch: KafkaTsMessage[]) => Promise<void>, options: object): Promise<void>
    stop(): Promise<void>
  }
  disconnect(): Promise<void>
}

/** A client of @kafkats/client. */
export async function kafkaTs(brokers: string): Promise<KafkaTs> {
  const path = require.resolve('@kafkats/client')
  const { KafkaClient } = (await import(pathToFileURL(path).href)) as { KafkaClient: new (options: object) => KafkaTs }
  const client = new KafkaClient({ brokers: brokers.split(','), clientId: 'bench' })
  await client.connect?.()
  return client
}

export interface Level {
  open(): Promise<void>
  getMany(keys: string[]): Promise<(string | undefined)[]>
  batch(operations: { type: 'put'; key: string; value: string }[]): Promise<void>
  iterator(): AsyncIterable<[string, string]>
  close(): Promise<void>
}

/** A LevelDB in `path`. */
export function level(path: string): Level {
  const { ClassicLevel } = require('classic-level') as { ClassicLevel: new (path: string, options: object) => Level }
  return new ClassicLevel(path, { keyEncoding: 'utf8', valueEncoding: 'utf8' })
}

/** Installed versions, by package. */
export function peerVersions(): Record<string, string> {
  const versions: Record<string, string> = {}
  const { devDependencies } = require('./package.json') as { devDependencies: Record<string, string> }
  for (const name of Object.keys(devDependencies)) {
    const { version } = require(join(benchRoot, 'node_modules', name, 'package.json')) as { version: string }
    versions[name] = version
  }
  return versions
}
