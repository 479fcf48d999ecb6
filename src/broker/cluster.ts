/**
 * Cluster: topics, ids, leaders and settings; what survives a crash of the broker.
 * Owns   all of it: it is the sole writer. The run of a broker (listeners, connections, waiting requests, timers) stands
 *        beside it and hears of changes through `listener`.
 */
import type { Random } from '../base/scope.ts'
import { BrokerError, errorCodes } from '../protocol/errors.ts'
import { ZERO_UUID } from '../protocol/uuid.ts'
import type { BrokerEvent } from './events.ts'
import { LogMemory } from './log.ts'
import { Partition, type PartitionLimits } from './partition.ts'
import { checkTopicConfig, checkTopicName, TopicConfig } from './topic-config.ts'

/** The topic that groups are kept in. */
export const offsetsTopic = '__consumer_offsets'

export interface Node {
  readonly id: number
  readonly host: string
  readonly port: number
}

export interface Topic {
  readonly name: string
  /** 32 hex digits. */
  readonly id: string
  readonly internal: boolean
  readonly config: TopicConfig
  readonly partitions: readonly Partition[]
}

/** A topic as asked for: −1 means the default. */
export interface NewTopic {
  readonly name: string
  readonly partitions: number
  readonly replicationFactor: number
  readonly configs: ReadonlyMap<string, string | null>
  readonly assignments?: readonly { readonly partitionIndex: number; readonly brokerIds: readonly number[] }[]
}

export interface Refusal {
  readonly errorCode: number
  readonly message: string
}

/** A request that passed every check. */
export interface TopicPlan {
  readonly name: string
  readonly leaders: readonly number[]
  readonly config: TopicConfig
}

export interface ClusterListener {
  /** `bytes` more can be read. */
  appended(partition: Partition, bytes: number): void
  /** Leader or existence changed: whoever waits must look again. */
  changed(partition: Partition): void
  deleted(topic: Topic): void
  notify(event: BrokerEvent): void
}

export interface ClusterLimits extends PartitionLimits {
  readonly defaultPartitions: number
  readonly maxPartitions: number
  readonly maxMemoryBytes: number
}

/** A segment is looked at this long after it was begun, as Kafka's `log.retention.check.interval.ms` has it. */
const retentionCheckMs = 300_000

const quiet: ClusterListener = { appended() {}, changed() {}, deleted() {}, notify() {} }

export class Cluster {
  readonly id: string
  /** The current run of the broker; set by it, and reset when it ends. */
  listener: ClusterListener = quiet
  readonly memory = new LogMemory()
  readonly #random: Random
  readonly #limits: ClusterLimits
  readonly #nodeCount: number
  #nodes: readonly Node[] = []
  readonly #topics = new Map<string, Topic>()
  readonly #topicsById = new Map<string, Topic>()
  /** Topic names with `.` as `_`: Kafka's metrics cannot tell these apart, so it refuses a second one. */
  readonly #flatNames = new Map<string, string>()
  #partitionCount = 0
  #nextLeader = 0
  #nextProducerId = 0
  #memoryReported = false

  constructor(random: Random, nodeCount: number, limits: ClusterLimits) {
    this.#random = random
    this.#nodeCount = nodeCount
    this.#limits = limits
    this.id = random.bytes(16).toString('base64url')
  }

  /** Silences the listener: the run is over. */
  detach(): void {
    this.listener = quiet
  }

  get nodeCount(): number {
    return this.#nodeCount
  }

  get nodes(): readonly Node[] {
    return this.#nodes
  }

  setNodes(nodes: readonly Node[]): void {
    this.#nodes = nodes
  }

  node(id: number): Node | undefined {
    return this.#nodes.find((node) => node.id === id)
  }

  /** The node that clients are told is the controller. */
  get controller(): number {
    return 1
  }

  get topics(): ReadonlyMap<string, Topic> {
    return this.#topics
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  topicById(id: string): Topic | undefined {
    return this.#topicsById.get(id)
  }

  partition(topic: string, index: number): Partition | undefined {
    return this.#topics.get(topic)?.partitions[index]
  }

  newProducerId(): number {
    this.#nextProducerId += 1
    return this.#nextProducerId
  }

  /** Checks a new topic against Kafka's rules and the limits; changes nothing. */
  plan(asked: NewTopic, internal = false): TopicPlan | Refusal {
    const { name } = asked
    const badName = checkTopicName(name)
    if (badName !== undefined) return { errorCode: errorCodes.INVALID_TOPIC_EXCEPTION, message: badName }
    if (this.#topics.has(name)) {
      return { errorCode: errorCodes.TOPIC_ALREADY_EXISTS, message: `Topic '${name}' already exists.` }
    }
    const twin = this.#flatNames.get(name.replaceAll('.', '_'))
    if (twin !== undefined) {
      return {
        errorCode: errorCodes.INVALID_TOPIC_EXCEPTION,
        message: `Topic '${name}' collides with existing topic: ${twin}`,
      }
    }
    const leaders = this.#planLeaders(asked)
    if ('errorCode' in leaders) return leaders
    if (!internal && this.#partitionCount + leaders.length > this.#limits.maxPartitions) {
      return {
        errorCode: errorCodes.POLICY_VIOLATION,
        message: `${leaders.length} more partitions would exceed the broker's maxPartitions, ${this.#limits.maxPartitions}`,
      }
    }
    const overrides = new Map<string, string>()
    for (const [key, value] of asked.configs) {
      const fault = checkTopicConfig(key, value)
      if (fault !== undefined) return { errorCode: errorCodes.INVALID_CONFIG, message: fault }
      overrides.set(key, value ?? '')
    }
    return { name, leaders, config: new TopicConfig(overrides) }
  }

  #planLeaders(asked: NewTopic): readonly number[] | Refusal {
    const assignments = asked.assignments ?? []
    if (assignments.length > 0) return this.#assignedLeaders(asked, assignments)
    const count = asked.partitions === -1 ? this.#limits.defaultPartitions : asked.partitions
    if (count < 1) {
      return {
        errorCode: errorCodes.INVALID_PARTITIONS,
        message: `Number of partitions was set to an invalid non-positive value: ${count}`,
      }
    }
    if (count > this.#limits.maxPartitions) {
      return {
        errorCode: errorCodes.POLICY_VIOLATION,
        message: `${count} partitions exceed the broker's maxPartitions, ${this.#limits.maxPartitions}`,
      }
    }
    const replicas = asked.replicationFactor
    if (replicas !== -1 && (replicas < 1 || replicas > this.#nodeCount)) {
      return {
        errorCode: errorCodes.INVALID_REPLICATION_FACTOR,
        message: `Replication factor ${replicas} is not possible with ${this.#nodeCount} broker(s); the embedded broker keeps one copy whatever is asked`,
      }
    }
    return Array.from({ length: count }, (_, i) => ((this.#nextLeader + i) % this.#nodeCount) + 1)
  }

  #assignedLeaders(asked: NewTopic, assignments: NonNullable<NewTopic['assignments']>): readonly number[] | Refusal {
    const refuse = (message: string): Refusal => ({ errorCode: errorCodes.INVALID_REPLICA_ASSIGNMENT, message })
    if (asked.partitions !== -1 || asked.replicationFactor !== -1) {
      return {
        errorCode: errorCodes.INVALID_REQUEST,
        message: 'with a manual assignment, partitions and replication factor must be -1',
      }
    }
    const leaders = new Map<number, number>()
    for (const { partitionIndex, brokerIds } of assignments) {
      const leader = brokerIds[0]
      if (leader === undefined || brokerIds.some((id) => id < 1 || id > this.#nodeCount)) {
        return refuse(`partition ${partitionIndex} names brokers that do not exist: ${brokerIds.join(', ')}`)
      }
      leaders.set(partitionIndex, leader)
    }
    const list = Array.from({ length: leaders.size }, (_, i) => leaders.get(i))
    if (leaders.size !== assignments.length || list.includes(undefined))
      return refuse('partitions must be 0, 1, 2, … each once')
    return list as number[]
  }

  /** Creates what was planned. */
  create(plan: TopicPlan, internal = false): Topic {
    const partitions: Partition[] = []
    const topic: Topic = { name: plan.name, id: this.#newTopicId(), internal, config: plan.config, partitions }
    plan.leaders.forEach((leader, index) => {
      partitions.push(new Partition(topic, index, leader, this.memory, this.#limits))
    })
    this.#nextLeader = (this.#nextLeader + 1) % this.#nodeCount
    this.#partitionCount += partitions.length
    this.#topics.set(topic.name, topic)
    this.#topicsById.set(topic.id, topic)
    this.#flatNames.set(topic.name.replaceAll('.', '_'), topic.name)
    return topic
  }

  #newTopicId(): string {
    for (;;) {
      const id = this.#random.bytes(16).toString('hex')
      if (id !== ZERO_UUID && !this.#topicsById.has(id)) return id
    }
  }

  /** The topic of the coordinator, created when first needed. */
  offsetsTopic(partitions: number): Topic {
    const known = this.#topics.get(offsetsTopic)
    if (known !== undefined) return known
    const configs = new Map([['cleanup.policy', 'compact']])
    const plan = this.plan({ name: offsetsTopic, partitions, replicationFactor: -1, configs }, true)
    if ('errorCode' in plan) throw new BrokerError(plan.errorCode, offsetsTopic, plan.message)
    return this.create(plan, true)
  }

  delete(topic: Topic): void {
    this.#topics.delete(topic.name)
    this.#topicsById.delete(topic.id)
    this.#flatNames.delete(topic.name.replaceAll('.', '_'))
    this.#partitionCount -= topic.partitions.length
    for (const partition of topic.partitions) {
      partition.delete()
      this.listener.changed(partition)
    }
    this.listener.deleted(topic)
  }

  /** Makes `node` the leader of a partition in a new epoch; −1: nobody leads. */
  moveLeader(partition: Partition, node: number): void {
    partition.lead(node)
    this.listener.changed(partition)
  }

  /** A batch of `bytes` was appended: applies retention and the memory limit, then tells who waits. */
  appended(partition: Partition, bytes: number, now: number): void {
    this.#retain(partition, now)
    if (this.memory.used > this.#limits.maxMemoryBytes) this.#freeMemory(partition)
    this.listener.appended(partition, bytes)
  }

  /** Drops closed segments that `retention.ms` or `retention.bytes` no longer keep. */
  #retain(partition: Partition, now: number): void {
    const { config } = partition.topic
    const { log } = partition
    if (!config.deletes) return
    let freed = 0
    for (let oldest = log.oldest; oldest !== undefined && log.segmentCount > 1; oldest = log.oldest) {
      const due = now - oldest.createdAt >= retentionCheckMs
      const tooOld = due && config.retentionMs >= 0 && now - oldest.maxTimestamp > config.retentionMs
      const tooMuch = config.retentionBytes >= 0 && log.byteLength - oldest.byteLength >= config.retentionBytes
      if (!tooOld && !tooMuch) break
      freed += log.dropOldest()
    }
    if (freed > 0) this.#dropped(partition, freed, 'retention')
  }

  /** Drops the oldest segments of delete-policy topics until the limit is met; what `current` writes to goes last. */
  #freeMemory(current: Partition): void {
    const limit = this.#limits.maxMemoryBytes
    while (this.memory.used > limit) {
      const victim = this.#oldestPartition(current)
      if (victim === undefined) break
      const freed = victim.log.dropOldest()
      this.#dropped(victim, freed, 'memory')
    }
    if (this.memory.used <= limit) {
      this.#memoryReported = false
    } else if (!this.#memoryReported) {
      this.#memoryReported = true
      this.listener.notify({ type: 'memoryExceeded', byteLength: this.memory.used, maxMemoryBytes: limit })
    }
  }

  #oldestPartition(current: Partition): Partition | undefined {
    let oldest: Partition | undefined
    let oldestAge = Number.POSITIVE_INFINITY
    for (const topic of this.#topics.values()) {
      if (!topic.config.deletes) continue
      for (const partition of topic.partitions) {
        const segment = partition.log.oldest
        if (segment === undefined || (partition === current && partition.log.segmentCount === 1)) continue
        // segments still written to come after all that are closed
        const age = partition.log.segmentCount === 1 ? segment.age + Number.MAX_SAFE_INTEGER / 2 : segment.age
        if (age >= oldestAge) continue
        oldest = partition
        oldestAge = age
      }
    }
    return oldest
  }

  #dropped(partition: Partition, byteLength: number, why: 'retention' | 'memory'): void {
    this.listener.notify({
      type: 'segmentsDropped',
      topic: partition.topic.name,
      partition: partition.index,
      logStartOffset: partition.log.startOffset,
      byteLength,
      why,
    })
  }
}
