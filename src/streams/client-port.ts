/** The client as the streams layer's port: the only place where the two rooms' shapes are brought together. No state. */
import { Client, type ClientOptions } from '../client/index.ts'
import { type AdminPort, type KafkaPort, maxRecordBytes } from './port.ts'

/** Connects as a port. The port owns the client: closing it closes everything made of it. */
export function clientPort(options: ClientOptions): KafkaPort & { readonly client: Client } {
  const client = new Client(options)
  const admin = client.admin()
  const adminPort: AdminPort = {
    createTopics: (topics) => admin.createTopics(topics),
    async topicConfig(topic, names) {
      const config = await admin.describeTopicConfig(topic, names)
      return new Map([...config].map(([name, entry]) => [name, entry.value]))
    },
  }
  return {
    client,
    scope: client.scope,
    metadata: client.metadata,
    admin: adminPort,
    async listOffsets(partitions, at, signal) {
      const found = await client.listOffsets(partitions, at, 'read_uncommitted', signal)
      return partitions.map(({ topic, partition }) => found.get(topic, partition)?.offset ?? 0)
    },
    async epochEnd({ topic, partition }, leaderEpoch, signal) {
      const question = [{ topic, partition, leaderEpoch }]
      const found = await admin.offsetForLeaderEpoch(question, signal === undefined ? {} : { signal })
      return found.get(topic, partition)?.endOffset ?? -1
    },
    producer: (settings) => client.producer({ ...settings, maxRequestBytes: maxRecordBytes }),
    consumer: (settings) => client.consumer(settings),
    group: (settings) => client.group({ ...settings, assignors: ['copartition'] }),
    close: () => client.close(),
  }
}
