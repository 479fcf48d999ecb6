/**
 * `millrace store republish`: writes a table from this machine back into its topic, when the topic has lost it: deleted,
 * made anew, or cut. Afterwards the topic says what the store says, and the store's checkpoint says that it has all of it.
 */
import { parseArgs } from 'node:util'
import { MillraceError } from '../base/errors.ts'
import { Client, type DeliveryObserver } from '../client/index.ts'
import type { LogStore } from '../storage/index.ts'
import { encodeStoreState } from '../streams/index.ts'
import { counted, sized, type StorePlace, storesIn, withStore } from './store-directory.ts'
import { parsedArguments, UsageError } from './usage.ts'

const usage = `usage: millrace store republish DIR --brokers host:port [--topic T] [--partition N] [--yes]

Writes the table in DIR back into its topic's partition, and makes the table go on from there at the next start. DIR may
also be <dir>/<group>/<table>: then all partitions that lie there are written. The topic must exist with its partitions,
and be compacted. No instance of the group may run, on any machine.

  --brokers host:port   where the topic is; several with commas
  --topic T             the topic; default: the table's name, as DIR says
  --partition N         the partition; default: as DIR says
  --yes                 also when the partition is not empty: keys that only it has are deleted from it`

interface RepublishArguments {
  readonly places: readonly StorePlace[]
  readonly brokers: string
  readonly topic: string | undefined
  readonly partition: number | undefined
  readonly yes: boolean
}

/** Runs the command. */
export async function republishCommand(args: readonly string[]): Promise<void> {
  const given = republishArguments(args)
  if (given === undefined) {
    console.log(usage)
    return
  }
  const client = new Client({ brokers: given.brokers, clientId: 'millrace-store-republish' })
  try {
    for (const place of given.places) {
      const topic = given.topic ?? place.topic
      const partition = given.partition ?? place.partition
      if (topic === undefined) throw new UsageError(`--topic is missing: ${place.path} does not say it`, usage)
      if (partition === undefined) throw new UsageError(`--partition is missing: ${place.path} does not say it`, usage)
      await withStore(place, (store) => new Republishing(client, store, topic, partition).run(given.yes))
    }
  } finally {
    await client.close()
  }
}

/** What the command line says; undefined: only help was asked for. */
export function republishArguments(args: readonly string[]): RepublishArguments | undefined {
  const options = {
    brokers: { type: 'string' },
    topic: { type: 'string' },
    partition: { type: 'string' },
    yes: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  const parsed = parsedArguments(usage, () =>
    parseArgs({ args: [...args], options, strict: true, allowPositionals: true }),
  )
  const { brokers, topic, partition, yes, help } = parsed.values
  if (help === true) return undefined
  if (brokers === undefined) throw new UsageError('--brokers is missing', usage)
  if (partition !== undefined && !/^\d{1,9}$/.test(partition)) {
    throw new UsageError(`--partition must be a whole number, not '${partition}'`, usage)
  }
  const places = storesIn(parsed.positionals, usage)
  if (places.length > 1 && partition !== undefined) {
    throw new UsageError('--partition needs the DIR of one partition', usage)
  }
  return {
    places,
    brokers,
    topic,
    partition: partition === undefined ? undefined : Number(partition),
    yes: yes === true,
  }
}

/** How often it says how far it is, milliseconds. */
const progressMs = 1_000
/** Entries between two turns of the event loop. */
const entriesPerTurn = 1_000

/** One store on its way into one partition. Owns the counts. */
class Republishing {
  readonly #client: Client
  readonly #store: LogStore
  readonly #topic: string
  readonly #partition: number
  readonly #producer
  #written = 0
  #bytes = 0
  #delivered = 0
  #position = -1
  #leaderEpoch = -1
  #failure: MillraceError | undefined
  #foreign = false
  #saidAt = performance.now()

  constructor(client: Client, store: LogStore, topic: string, partition: number) {
    this.#client = client
    this.#store = store
    this.#topic = topic
    this.#partition = partition
    this.#producer = client.producer()
  }

  get #name(): string {
    return `${this.#topic}/${this.#partition}`
  }

  async run(yes: boolean): Promise<void> {
    const at = [{ topic: this.#topic, partition: this.#partition }]
    const topicId = await this.#checkTopic()
    const begin = (await this.#client.listOffsets(at, 'earliest')).get(this.#topic, this.#partition)?.offset ?? 0
    const end =
      (await this.#client.listOffsets(at, 'latest', 'read_uncommitted')).get(this.#topic, this.#partition)?.offset ?? 0
    const strangers = await this.#strangers(begin, end)
    if (end > begin && !yes) {
      throw new MillraceError(
        'ERR_NOT_CONFIRMED',
        `${this.#name} is not empty: it has offsets ${begin} to ${end - 1}. Nothing was written: add --yes to write the ` +
          `table over that and to delete the ${counted(strangers.length)} keys from it that the table does not have`,
      )
    }
    this.#position = end
    console.log(`${this.#store.name} → ${this.#name}: about ${counted(this.#store.entryCount)} entries`)
    const iterator = this.#store.iterate()
    try {
      while (iterator.next()) {
        const { key, value } = iterator
        await this.#append(key.bytes, key.from, key.to, value.bytes, value.from, value.to)
      }
    } finally {
      iterator.close()
    }
    for (const key of strangers) await this.#append(key, 0, key.length, null, 0, 0)
    const askedMs = Date.now()
    await this.#producer.flush()
    await this.#check()
    const state = encodeStoreState({ topicId, leaderEpoch: this.#leaderEpoch, wallMs: askedMs })
    this.#store.writer().commit({ position: this.#position, state })
    await this.#store.sync()
    const deleted = strangers.length === 0 ? '' : `, ${counted(strangers.length)} keys deleted`
    console.log(
      `${this.#name}: ${counted(this.#written - strangers.length)} entries written (${sized(this.#bytes)})${deleted}; ` +
        `the table goes on from offset ${this.#position}`,
    )
  }

  /** The topic's id. Throws MillraceError unless it can hold the table. */
  async #checkTopic(): Promise<string> {
    const view = (await this.#client.metadata.require([this.#topic])).topic(this.#topic)
    if (view === undefined || view.error !== undefined || view.partitions[this.#partition] === undefined) {
      const what = view?.error ?? `it has ${view?.partitions.length ?? 0} partitions`
      throw new MillraceError(
        'ERR_NO_TOPIC',
        `${this.#name} does not exist (${what}): make the topic with the partitions it had, compacted`,
      )
    }
    const config = await this.#client.admin().describeTopicConfig(this.#topic, ['cleanup.policy'])
    const policy = config.get('cleanup.policy')?.value ?? ''
    if (!policy.split(',').some((word) => word.trim() === 'compact')) {
      const text = `topic ${this.#topic} has cleanup.policy=${policy}: set it to compact, or Kafka deletes the table in time`
      throw new MillraceError('ERR_NOT_COMPACTED', text)
    }
    return view.id
  }

  /** Keys with a value in the partition that the store does not have. */
  async #strangers(begin: number, end: number): Promise<Buffer[]> {
    if (end <= begin) return []
    const found = new Map<string, boolean>()
    const consumer = this.#client.consumer({ isolation: 'read_committed', startFrom: 'error' })
    try {
      consumer.assign([{ topic: this.#topic, partition: this.#partition, offset: begin }])
      for (let position = begin; position < end; ) {
        const chunk = consumer.take()
        if (chunk === undefined) {
          await consumer.wait()
          continue
        }
        const cursor = chunk.cursor()
        while (cursor.next()) {
          const { bytes, keyFrom, keyTo, valueFrom } = cursor
          if (keyFrom < 0 || this.#store.has(bytes.subarray(keyFrom, keyTo))) continue
          found.set(bytes.toString('latin1', keyFrom, keyTo), valueFrom >= 0)
        }
        position = chunk.nextOffset
      }
    } finally {
      await consumer.close()
    }
    return [...found].filter(([, hasValue]) => hasValue).map(([key]) => Buffer.from(key, 'latin1'))
  }

  async #append(
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer | null,
    valueFrom: number,
    valueTo: number,
  ): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const now = Date.now()
    const room = this.#producer.append(
      this.#topic,
      this.#partition,
      now,
      key,
      keyFrom,
      keyTo,
      value,
      valueFrom,
      valueTo,
      undefined,
      this.#observer,
    )
    this.#written += 1
    this.#bytes += keyTo - keyFrom + valueTo - valueFrom
    if (!room) await this.#producer.ready()
    else if (this.#written % entriesPerTurn === 0) await new Promise((resolve) => setImmediate(resolve))
    if (performance.now() - this.#saidAt < progressMs) return
    this.#saidAt = performance.now()
    console.log(`${this.#name}: ${counted(this.#written)} written, ${counted(this.#delivered)} acknowledged`)
  }

  readonly #observer: DeliveryObserver = {
    delivered: (_topic, _partition, baseOffset, count, leaderEpoch) => {
      // A duplicate that the broker recognised may come without an offset.
      if (baseOffset >= 0 && baseOffset !== this.#position) this.#foreign = true
      this.#position = (baseOffset < 0 ? this.#position : baseOffset) + count
      this.#leaderEpoch = Math.max(this.#leaderEpoch, leaderEpoch)
      this.#delivered += count
    },
    failed: (error) => {
      this.#failure ??= error
    },
  }

  /** Everything arrived, and nobody else wrote. */
  async #check(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const at = [{ topic: this.#topic, partition: this.#partition }]
    const end = (await this.#client.listOffsets(at, 'latest', 'read_uncommitted')).get(this.#topic, this.#partition)
    if (!this.#foreign && end?.offset === this.#position) return
    throw new MillraceError(
      'ERR_FOREIGN_WRITES',
      `somebody else wrote to ${this.#name} meanwhile: stop every instance of the group, then republish again with --yes`,
    )
  }
}
