/** PartitionMap: values by topic and partition, without building a string key per look-up. */

/** One partition of a topic. */
export interface TopicPartition {
  /** The topic's name. */
  readonly topic: string
  /** From 0 on. */
  readonly partition: number
}

/** `orders/7`, for messages. */
export function partitionName(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

/** Values by topic and partition. */
export class PartitionMap<T> {
  readonly #topics = new Map<string, Map<number, T>>()
  #size = 0

  /** Entries. */
  get size(): number {
    return this.#size
  }

  /** The value of a partition; undefined if there is none. */
  get(topic: string, partition: number): T | undefined {
    return this.#topics.get(topic)?.get(partition)
  }

  /** Whether there is a value. */
  has(topic: string, partition: number): boolean {
    return this.#topics.get(topic)?.has(partition) ?? false
  }

  /** Puts a value in, in place of the one before. */
  set(topic: string, partition: number, value: T): void {
    let partitions = this.#topics.get(topic)
    if (partitions === undefined) {
      partitions = new Map()
      this.#topics.set(topic, partitions)
    }
    if (!partitions.has(partition)) this.#size += 1
    partitions.set(partition, value)
  }

  /** Whether there was a value to take out. */
  delete(topic: string, partition: number): boolean {
    const partitions = this.#topics.get(topic)
    if (partitions === undefined || !partitions.delete(partition)) return false
    this.#size -= 1
    if (partitions.size === 0) this.#topics.delete(topic)
    return true
  }

  /** Takes all values out. */
  clear(): void {
    this.#topics.clear()
    this.#size = 0
  }

  /** Whether any partition of the topic is present. */
  hasTopic(topic: string): boolean {
    return this.#topics.has(topic)
  }

  /** Topics with at least one value. */
  topics(): IterableIterator<string> {
    return this.#topics.keys()
  }

  /** By topic, in order of first appearance; so are `keys` and `entries`. */
  *values(): Generator<T> {
    for (const partitions of this.#topics.values()) yield* partitions.values()
  }

  /** The partitions. */
  *keys(): Generator<TopicPartition> {
    for (const [topic, partitions] of this.#topics) {
      for (const partition of partitions.keys()) yield { topic, partition }
    }
  }

  /** Topic, partition and value. */
  *entries(): Generator<readonly [string, number, T]> {
    for (const [topic, partitions] of this.#topics) {
      for (const [partition, value] of partitions) yield [topic, partition, value]
    }
  }
}

/** The partitions by topic, topics in order of first appearance: the shape of most requests. */
export function byTopic<T extends TopicPartition>(partitions: Iterable<T>): Map<string, T[]> {
  const topics = new Map<string, T[]>()
  for (const p of partitions) {
    const list = topics.get(p.topic)
    if (list === undefined) topics.set(p.topic, [p])
    else list.push(p)
  }
  return topics
}
