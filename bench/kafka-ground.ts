/** What the Kafka workloads stand on: a broker, and the topics that the cases read or write. Owns those topics. */
import { Kafka } from '../test/support/kafka.ts'
import { consumedRecords, warmRecords } from './consumer.ts'
import { counterRecords, counterWarmRecords } from './counter.ts'
import { countTopic, createTopic, deleteTopics, fillTopic } from './topics.ts'
import type { Case, Ground, KafkaContext, Measurement, RunContext } from './workload.ts'

interface Topics {
  readonly topic: string
  readonly warmTopic: string
}

export class KafkaGround implements Ground<KafkaContext> {
  readonly versions: Readonly<Record<string, string>>
  readonly #brokers: string
  readonly #scale: number
  /** The filled topics, by input. */
  readonly #filled = new Map<string, Topics>()

  constructor(brokers: string, kafkaVersion: string, scale: number) {
    this.#brokers = brokers
    this.#scale = scale
    this.versions = { kafka: kafkaVersion }
  }

  /** A broker that has just been started is slow: whoever is measured first would pay for its compiler. */
  async warm(): Promise<void> {
    const topic = `bench-${process.pid}-${Date.now().toString(36)}-warm`
    await fillTopic(this.#brokers, topic, 2_000_000)
    await deleteTopics(this.#brokers, [topic])
  }

  async around(
    found: Case,
    system: string,
    own: RunContext,
    run: (context: KafkaContext) => Promise<Measurement>,
  ): Promise<Measurement> {
    const brokers = this.#brokers
    if (found.input !== 'none') return run({ ...own, brokers, ...(await this.#input(found.input)) })
    const topics = { topic: `${own.id}-out`, warmTopic: `${own.id}-warm` }
    try {
      await createTopic(brokers, topics.topic)
      await createTopic(brokers, topics.warmTopic)
      const result = await run({ ...own, brokers, ...topics })
      const expected = result.notes['expectedInTopic']
      const count = expected === undefined ? undefined : await countTopic(brokers, topics.topic)
      if (count !== expected)
        throw new Error(`${found.name} ${system}: ${count} records arrived instead of ${expected}`)
      return result
    } finally {
      await deleteTopics(brokers, [topics.topic, topics.warmTopic])
    }
  }

  /** The topics that all systems of a case read: `plain` for the consumer, `keyed` for the counter. */
  async #input(input: string): Promise<Topics> {
    const before = this.#filled.get(input)
    if (before !== undefined) return before
    const id = `bench-${process.pid}-${Date.now().toString(36)}`
    const [count, warm] = input === 'plain' ? [consumedRecords, warmRecords] : [counterRecords, counterWarmRecords]
    const topics = { topic: `${id}-${input}`, warmTopic: `${id}-${input}-warm` }
    await fillTopic(this.#brokers, topics.topic, Math.round(count * this.#scale))
    await fillTopic(this.#brokers, topics.warmTopic, Math.round(warm * this.#scale))
    this.#filled.set(input, topics)
    return topics
  }
}

/** The heap and collector of a usual broker, not the quick start of the tests. */
const brokerJvm = ['-Xms1g', '-Xmx1g', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20']
const brokerConfig = { 'log.segment.bytes': '268435456', 'group.initial.rebalance.delay.ms': '0' }

/** Runs `body` on the Kafka in KAFKA_BROKERS, or on one that is started for it. */
export async function withKafka(scale: number, body: (ground: KafkaGround) => Promise<void>): Promise<void> {
  const address = process.env['KAFKA_BROKERS']
  const kafka = address === undefined ? await Kafka.start('4.3', { jvm: brokerJvm, config: brokerConfig }) : undefined
  try {
    const version = kafka?.version ?? process.env['KAFKA_VERSION'] ?? 'unknown'
    const ground = new KafkaGround(kafka?.brokers ?? address!, version, scale)
    await ground.warm()
    await body(ground)
  } finally {
    await kafka?.close()
  }
}
