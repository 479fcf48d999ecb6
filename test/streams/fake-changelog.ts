/**
 * A changelog partition without a broker: records, a topic id and leader epochs that a test changes at will, and the port
 * through which the registry sees them. Fetches end where the test says, so that a restore can be looked at half-way.
 */
import { ClosedError } from '../../src/base/errors.ts'
import { realScheduler } from '../../src/base/real-scheduler.ts'
import type { Assignment, ChunkPort, ConsumerPort, CursorPort, KafkaPort } from '../../src/streams/port.ts'
import { Wake } from '../../src/streams/turns.ts'

export interface ChangelogRecord {
  readonly offset: number
  readonly key: string
  /** Undefined: a deletion. */
  readonly value: string | undefined
  readonly epoch: number
}

export class FakeChangelog {
  topicId = 'a'.repeat(32)
  epoch = 0
  earliest = 0
  end = 0
  deleteRetentionMs = 86_400_000
  /** Moves the wall clock. */
  skewMs = 0
  /** Fetches bring nothing from this offset on. */
  fetchLimit = Number.POSITIVE_INFINITY
  /** Records that consumers were given. */
  fetched = 0
  records: ChangelogRecord[] = []
  readonly #wakes = new Set<Wake>()

  /** Appends records; a value of undefined deletes. */
  append(...entries: [key: string, value: string | undefined][]): void {
    for (const [key, value] of entries) this.records.push({ offset: this.end++, key, value, epoch: this.epoch })
    this.wake()
  }

  /** Deletes the topic and makes it anew. */
  remake(): void {
    this.topicId = (this.topicId.startsWith('a') ? 'b' : 'a').repeat(32)
    this.epoch = 0
    this.truncate(0)
    this.earliest = 0
  }

  /** Loses everything from `end` on. */
  truncate(end: number): void {
    this.end = end
    this.records = this.records.filter(({ offset }) => offset < end)
  }

  /** Lets what waits look again. */
  wake(): void {
    for (const wake of this.#wakes) wake.wake()
  }

  /** The registry's Kafka; only what it uses. */
  port(): KafkaPort {
    const scheduler = { ...realScheduler, now: () => Date.now() + this.skewMs }
    const port: Partial<KafkaPort> = {
      scope: { scheduler } as KafkaPort['scope'],
      metadata: {
        view: { topic: (name: string) => ({ name, id: this.topicId, partitions: [{ index: 0 }] }) },
      } as unknown as KafkaPort['metadata'],
      admin: {
        createTopics: () => Promise.resolve(),
        topicConfig: () => Promise.resolve(new Map([['delete.retention.ms', String(this.deleteRetentionMs)]])),
      },
      listOffsets: (partitions, at) =>
        Promise.resolve(partitions.map(() => (at === 'earliest' ? this.earliest : this.end))),
      epochEnd: (_at, leaderEpoch) => Promise.resolve(this.#epochEnd(leaderEpoch)),
      consumer: () => this.#consumer(),
    }
    return port as KafkaPort
  }

  #epochEnd(leaderEpoch: number): number {
    if (leaderEpoch > this.epoch) return -1
    return this.records.find(({ epoch }) => epoch > leaderEpoch)?.offset ?? this.end
  }

  #consumer(): ConsumerPort {
    const wake = new Wake()
    this.#wakes.add(wake)
    let at: Assignment | undefined
    let closed = false
    const limit = (): number => Math.min(this.end, this.fetchLimit)
    return {
      assign: ([first]) => {
        at = first
        wake.wake()
      },
      unassign: () => {
        at = undefined
      },
      take: () => {
        if (closed) throw new ClosedError('the consumer')
        if (at === undefined || at.offset >= limit()) return undefined
        const { topic, partition, offset: from } = at
        const records = this.records.filter(({ offset }) => offset >= from && offset < limit())
        this.fetched += records.length
        at = { ...at, offset: limit() }
        return chunkOf(topic, partition, records, limit(), this.end)
      },
      wait: () => wake.wait(),
      pause: () => {},
      resume: () => {},
      close: () => {
        closed = true
        this.#wakes.delete(wake)
        wake.wake()
        return Promise.resolve()
      },
    }
  }
}

function chunkOf(
  topic: string,
  partition: number,
  records: readonly ChangelogRecord[],
  nextOffset: number,
  highWatermark: number,
): ChunkPort {
  const leaderEpoch = records.at(-1)?.epoch ?? -1
  const cursor = (): CursorPort => {
    let next = 0
    const at = {
      offset: -1,
      timestamp: 0,
      bytes: Buffer.alloc(0),
      keyFrom: 0,
      keyTo: 0,
      valueFrom: 0,
      valueTo: 0,
      headerCount: 0,
      headers: () => [],
      next: (): boolean => {
        const record = records[next++]
        if (record === undefined) return false
        const key = Buffer.from(record.key)
        at.bytes = Buffer.concat([key, Buffer.from(record.value ?? '')])
        at.offset = record.offset
        at.keyTo = key.length
        at.valueFrom = record.value === undefined ? -1 : key.length
        at.valueTo = record.value === undefined ? -1 : at.bytes.length
        return true
      },
    }
    return at
  }
  return { topic, partition, nextOffset, highWatermark, leaderEpoch, byteLength: 1, cursor }
}
