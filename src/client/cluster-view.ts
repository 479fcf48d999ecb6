/**
 * Cluster view: what we believe about the cluster at one moment. Immutable; the next moment is another view. Only
 * Metadata makes new ones. `merge` is where beliefs are compared: a partition's leader never goes back to an older
 * leader epoch (a broker that lags behind may answer last), unless the topic was deleted and made anew.
 */
import { kafkaError, type KafkaErrorName } from '../protocol/errors.ts'
import { ZERO_UUID } from '../protocol/uuid.ts'

/** A broker. */
export interface NodeView {
  /** Its number in the cluster; −1 for an address nobody has told the number of. */
  readonly id: number
  /** As the cluster advertises it. */
  readonly host: string
  /** As the cluster advertises it. */
  readonly port: number
  /** Null: the broker has none. */
  readonly rack: string | null
}

/** A partition and who leads it. */
export interface PartitionView {
  /** Its number in the topic, from 0 on. */
  readonly index: number
  /** Node id, or -1: nobody at the moment. */
  readonly leader: number
  /** Grows with each change of leader; -1 unknown. */
  readonly leaderEpoch: number
}

/** A topic. With `error` set `partitions` may be empty: `UNKNOWN_TOPIC_OR_PARTITION` means it does not exist. */
export interface TopicView {
  /** At most 249 characters. */
  readonly name: string
  /** 32 hex digits; ZERO_UUID when the broker knows no ids. */
  readonly id: string
  /** Dense: `partitions[i].index === i`. */
  readonly partitions: readonly PartitionView[]
  /** Why nothing more is known of it. */
  readonly error?: KafkaErrorName
}

/** What Metadata learned from one response, in our own words. */
export interface ClusterNews {
  readonly clusterId: string | null
  readonly controller: number
  readonly nodes: readonly NodeView[]
  readonly topics: readonly {
    readonly errorCode: number
    readonly name: string
    readonly id: string
    readonly partitions: readonly PartitionView[]
  }[]
}

/** What a client believes about the cluster at one moment. Immutable. */
export class ClusterView {
  /** Counts the views of one client; a larger one is newer. */
  readonly version: number
  /** Null before the first answer, and when the broker does not say. */
  readonly clusterId: string | null
  /** Node id of the broker to send administration to, or -1. */
  readonly controller: number
  readonly #nodes: ReadonlyMap<number, NodeView>
  readonly #topics: ReadonlyMap<string, TopicView>
  readonly #ids: ReadonlyMap<string, TopicView>

  constructor(
    version: number,
    clusterId: string | null,
    controller: number,
    nodes: ReadonlyMap<number, NodeView>,
    topics: ReadonlyMap<string, TopicView>,
  ) {
    this.version = version
    this.clusterId = clusterId
    this.controller = controller
    this.#nodes = nodes
    this.#topics = topics
    const ids = new Map<string, TopicView>()
    for (const topic of topics.values()) if (topic.id !== ZERO_UUID) ids.set(topic.id, topic)
    this.#ids = ids
  }

  /** Nothing known yet. */
  static empty(): ClusterView {
    return new ClusterView(0, null, -1, new Map(), new Map())
  }

  /** The topic; undefined when it was never asked for. */
  topic(name: string): TopicView | undefined {
    return this.#topics.get(name)
  }

  /** The topic with this id (32 hex digits), if it is known. */
  topicById(id: string): TopicView | undefined {
    return this.#ids.get(id)
  }

  /** The broker with this number, if it is known. */
  node(id: number): NodeView | undefined {
    return this.#nodes.get(id)
  }

  /** All known brokers. */
  get nodes(): readonly NodeView[] {
    return [...this.#nodes.values()]
  }

  /** All topics that were asked for, those with an `error` too. */
  get topics(): readonly TopicView[] {
    return [...this.#topics.values()]
  }

  /** The partition, or undefined when the topic or the partition is unknown. */
  partition(topic: string, index: number): PartitionView | undefined {
    return this.#topics.get(topic)?.partitions[index]
  }

  /** The next view with what a broker said of one partition's leader, or this one when that is no news. */
  withLeader(topic: string, partition: PartitionView, nodes: readonly NodeView[]): ClusterView {
    const known = this.#topics.get(topic)
    const before = known?.partitions[partition.index]
    if (known === undefined || before === undefined || partition.leaderEpoch <= before.leaderEpoch) return this
    const allNodes = new Map(this.#nodes)
    for (const node of nodes) if (!allNodes.has(node.id)) allNodes.set(node.id, node)
    const topics = new Map(this.#topics)
    topics.set(topic, { ...known, partitions: known.partitions.with(partition.index, partition) })
    return new ClusterView(this.version + 1, this.clusterId, this.controller, allNodes, topics)
  }

  /** The next view. Topics for which `keep` is false are forgotten unless the news has them. */
  merge(news: ClusterNews, keep: (topic: string) => boolean): ClusterView {
    const sameCluster = this.clusterId === null || news.clusterId === null || this.clusterId === news.clusterId
    const topics = new Map<string, TopicView>()
    if (sameCluster) for (const topic of this.#topics.values()) if (keep(topic.name)) topics.set(topic.name, topic)
    for (const topic of news.topics) {
      topics.set(topic.name, mergeTopic(sameCluster ? this.#topics.get(topic.name) : undefined, topic))
    }
    const nodes = new Map<number, NodeView>()
    for (const node of news.nodes) nodes.set(node.id, node)
    return new ClusterView(this.version + 1, news.clusterId ?? this.clusterId, news.controller, nodes, topics)
  }
}

function mergeTopic(before: TopicView | undefined, news: ClusterNews['topics'][number]): TopicView {
  const same = before !== undefined && (before.id === news.id || before.id === ZERO_UUID || news.id === ZERO_UUID)
  if (news.errorCode !== 0) {
    const error = kafkaError(news.errorCode).name
    // A topic that is gone has no partitions. Any other error says nothing about what we knew.
    const gone = error === 'UNKNOWN_TOPIC_OR_PARTITION' || error === 'INVALID_TOPIC_EXCEPTION' || before === undefined
    return { name: news.name, id: gone ? news.id : before.id, partitions: gone ? [] : before.partitions, error }
  }
  const partitions: PartitionView[] = []
  for (const partition of [...news.partitions].sort((a, b) => a.index - b.index)) {
    while (partitions.length < partition.index) {
      partitions.push({ index: partitions.length, leader: -1, leaderEpoch: -1 })
    }
    const known = same ? before.partitions[partition.index] : undefined
    const older = known !== undefined && partition.leaderEpoch >= 0 && partition.leaderEpoch < known.leaderEpoch
    partitions.push(older ? known : partition)
  }
  // A topic never loses partitions: a broker that names fewer lags behind.
  if (same && before.id === news.id && news.id !== ZERO_UUID)
    partitions.push(...before.partitions.slice(partitions.length))
  return { name: news.name, id: news.id, partitions }
}
