/** Waits until a group has processed everything its topic holds, as Kafka's own numbers say. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'millrace/client'

/** Resolves when the group's committed offsets have reached the ends of the topic's partitions. */
export async function drained(brokers: string, groupId: string, topic: string, signal: AbortSignal): Promise<void> {
  const client = new Client({ brokers })
  try {
    const view = await client.metadata.require([topic])
    const partitions = (view.topic(topic)?.partitions ?? []).map(({ index }) => ({ topic, partition: index }))
    const group = client.consumer({ groupId })
    for (;;) {
      const ends = await client.listOffsets(partitions, 'latest')
      const committed = await group.committed(partitions)
      const behind = committed.filter(
        ({ topic, partition, offset }) => Math.max(0, offset) < (ends.get(topic, partition)?.offset ?? 0),
      )
      if (behind.length === 0) return
      await sleep(50, undefined, { signal })
    }
  } finally {
    await client.close()
  }
}
