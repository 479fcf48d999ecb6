/**
 * Consumer groups on the target: members come, leave, crash and come back, under load, with every assignor; static members
 * restart unnoticed; only processed records are committed.
 */
import * as assert from 'uvu/assert'
import { Client, type Consumer, type ConsumerEvent, type TopicPartition } from '../../src/client/index.ts'
import { suite, until } from '../support/suite.ts'
import { type Severable, severable } from './severable.ts'
import { noOwnBroker, openTarget, type Target, unique } from './target.ts'

const test = suite('system/groups', { deadlineMs: 90_000 })
let target: Target
test.before(async () => {
  target = await openTarget()
})
test.after(() => target.close())

/** A broker that is not ours allows no shorter one than 6 s. */
const sessionTimeoutMs = noOwnBroker === undefined ? 3_000 : 6_000
const nameOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`

type AssignorName = 'range' | 'copartition'
interface MemberOptions {
  readonly instance?: string
  readonly assignor?: AssignorName
  readonly sessionTimeoutMs?: number
}

/** Everything that must hold of a group, noted as it happens; `faults` tells what did not. */
class Ledger {
  readonly faults: string[] = []
  /** Per partition the offsets that somebody has processed. */
  readonly processed = new Map<string, Set<number>>()
  /** Who owns what now, of those that can know it. */
  readonly #owners = new Map<string, Member>()
  /** Per generation who was given what. */
  readonly #generations = new Map<number, Map<string, string>>()

  given(member: Member, generation: number, partitions: readonly TopicPartition[]): void {
    const owners = this.#generations.get(generation) ?? new Map<string, string>()
    this.#generations.set(generation, owners)
    for (const partition of partitions.map(nameOf)) {
      const owner = owners.get(partition) ?? member.identity
      owners.set(partition, owner)
      if (owner !== member.identity)
        this.faults.push(`generation ${generation}: ${partition} belongs to ${owner} and ${member.identity}`)
    }
  }

  owns(member: Member, partitions: readonly TopicPartition[]): void {
    for (const partition of partitions.map(nameOf)) {
      const owner = this.#owners.get(partition)
      if (owner !== undefined && owner !== member)
        this.faults.push(`${member.name} got ${partition} while ${owner.name} still had it`)
      this.#owners.set(partition, member)
    }
  }

  gone(member: Member, partitions: readonly TopicPartition[]): void {
    for (const partition of partitions.map(nameOf))
      if (this.#owners.get(partition) === member) this.#owners.delete(partition)
  }

  record(partition: TopicPartition, offset: number): void {
    const offsets = this.processed.get(nameOf(partition)) ?? new Set()
    this.processed.set(nameOf(partition), offsets.add(offset))
  }

  /** Offsets below `end` that nobody has processed. */
  missing(partition: TopicPartition, end: number): number[] {
    const offsets = this.processed.get(nameOf(partition))
    return Array.from({ length: end }, (_, i) => i).filter((i) => offsets?.has(i) !== true)
  }

  get generations(): number {
    return this.#generations.size
  }
}

/** A program that reads in a group: takes records, works on them, goes on. */
class Member {
  readonly name: string
  /** What the group knows it by. */
  readonly identity: string
  readonly events: ConsumerEvent[] = []
  readonly client: Client
  readonly consumer: Consumer
  readonly ledger: Ledger
  owned: readonly TopicPartition[] = []
  generation = -1
  /** Rejects with what ended the consumer. */
  readonly done: Promise<void>
  failure: Error | undefined
  readonly #link: Severable = severable()
  #severed = false

  constructor(group: Group, name: string, options: MemberOptions) {
    this.name = name
    this.identity = options.instance ?? name
    this.ledger = group.ledger
    this.client = new Client({ brokers: target.brokers, clientId: name, scope: this.#link.scope })
    this.consumer = this.client.consumer({
      groupId: group.id,
      groupInstanceId: options.instance ?? '',
      assignors: [options.assignor ?? 'range'],
      sessionTimeoutMs: options.sessionTimeoutMs ?? sessionTimeoutMs,
      heartbeatIntervalMs: 300,
      autoCommitIntervalMs: 100,
      closeTimeoutMs: 1_000,
      maxPartitionBytes: 2_000,
      onAssigned: (partitions) => {
        this.owned = partitions
        this.ledger.owns(this, partitions)
      },
      onRevoked: (partitions) => this.#gaveUp(partitions),
      onLost: (partitions) => this.#gaveUp(partitions),
      onEvent: (event) => this.#heard(event),
    })
    this.consumer.subscribe(group.topics)
    this.done = this.#work()
    this.done.catch((cause: Error) => {
      this.failure = cause
    })
  }

  heard(kind: 'rebalanced' | 'lost'): number {
    return this.events.filter((event) => event.type === 'group' && event.event.type === kind).length
  }

  /** Crashes as far as anybody else can tell. */
  crash(): void {
    this.#severed = true
    this.#link.sever()
    this.ledger.gone(this, this.owned)
  }

  /** Its network is back; it does not know yet what happened meanwhile. */
  mend(): void {
    this.#severed = false
    this.#link.mend()
  }

  async close(): Promise<void> {
    await this.client.close()
    if (this.#severed) return
    await this.done
    this.ledger.gone(this, this.owned)
    this.owned = []
  }

  #gaveUp(partitions: readonly TopicPartition[]): void {
    this.ledger.gone(this, partitions)
    this.owned = []
  }

  #heard(event: ConsumerEvent): void {
    this.events.push(event)
    if (event.type !== 'group' || event.event.type !== 'rebalanced') return
    this.generation = event.event.generation
    this.ledger.given(this, event.event.generation, event.event.assigned)
  }

  async #work(): Promise<void> {
    for await (const record of this.consumer.records()) {
      // Sometimes work takes a turn, so that commits and rebalances meet a record that is not done.
      if (record.offset % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
      this.ledger.record(record, record.offset)
    }
  }
}

/** A group under load with its ledger; a watcher checks all the while that commits do not run ahead of the work. */
class Group {
  readonly id = unique('group')
  readonly ledger = new Ledger()
  readonly topics: readonly string[]
  readonly partitions: readonly TopicPartition[]
  readonly members = new Set<Member>()
  readonly #client = new Client({ brokers: target.brokers })
  readonly #offsets = this.#client.consumer({ groupId: this.id, autoCommitIntervalMs: 0 })
  #running = true
  #load: Promise<unknown> = Promise.resolve()
  #commits = 0

  /** `counts`: partitions of each topic. */
  private constructor(counts: readonly number[]) {
    const topics = counts.map((count) => ({ name: unique('members'), partitions: count }))
    this.topics = topics.map(({ name }) => name)
    this.partitions = topics.flatMap(({ name, partitions }) =>
      Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition })),
    )
  }

  static async run(counts: readonly number[], body: (group: Group) => Promise<void>): Promise<void> {
    const group = new Group(counts)
    try {
      await group.#client
        .admin()
        .createTopics(counts.map((partitions, i) => ({ name: group.topics[i]!, partitions, replicationFactor: 1 })))
      group.#load = Promise.all([group.#feed(), group.#watch()])
      group.#load.catch(() => {}) // awaited by `settled`
      await body(group)
    } finally {
      group.#running = false
      await Promise.allSettled([group.#load, ...[...group.members].map((member) => member.client.close())])
      await group.#client.close()
    }
  }

  join(name: string, options: MemberOptions = {}): Member {
    const member = new Member(this, name, options)
    this.members.add(member)
    return member
  }

  /** Resolves when these, and nobody else, have all partitions in one generation, as evenly as it goes. */
  async shared(what: string, ...members: readonly Member[]): Promise<void> {
    await until(
      () => {
        for (const { failure } of members) if (failure !== undefined) throw failure
        const generations = new Set(members.map((member) => member.generation))
        const names = new Set(members.flatMap((member) => member.owned.map(nameOf)))
        const owned = members.reduce((sum, member) => sum + member.owned.length, 0)
        const all = this.partitions.length
        return generations.size === 1 && owned === all && names.size === all && members.every((m) => m.owned.length > 0)
      },
      { deadlineMs: 30_000, what },
    )
    assert.equal(this.ledger.faults, [], what)
  }

  /** Something has been processed by everybody since now. */
  async progress(...members: readonly Member[]): Promise<void> {
    const position = (member: Member): number =>
      member.owned.reduce((sum, partition) => sum + (member.consumer.position(partition) ?? 0), 0)
    for (const member of members) {
      const from = position(member)
      await until(() => position(member) > from, { deadlineMs: 30_000, what: `progress of ${member.name}` })
    }
  }

  /** Ends the load; everything that was sent has been processed and is committed. */
  async settled(): Promise<void> {
    this.#running = false
    await this.#load
    const found = await this.#client.listOffsets(this.partitions, 'latest')
    const end = (at: TopicPartition): number => found.get(at.topic, at.partition)!.offset
    await until(
      async () => {
        const committed = await this.#offsets.committed(this.partitions)
        return committed.every((at) => at.offset === end(at))
      },
      { deadlineMs: 30_000, what: 'everything is committed' },
    )
    for (const at of this.partitions) assert.equal(this.ledger.missing(at, end(at)), [], `${nameOf(at)} has gaps`)
    assert.equal(this.ledger.faults, [])
    assert.ok(this.#commits > 0, 'the watcher saw no commit')
  }

  async #feed(): Promise<void> {
    const producer = this.#client.producer()
    for (let turn = 0; this.#running; turn++) {
      await producer.sendBatch(
        this.partitions.flatMap((at) => [0, 1, 2].map((i) => ({ ...at, key: `k${i}`, value: `turn ${turn}, ${i}` }))),
      )
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** Whatever is committed was processed before. */
  async #watch(): Promise<void> {
    const checked = new Map<string, number>()
    while (this.#running) {
      for (const at of await this.#offsets.committed(this.partitions)) {
        const before = checked.get(nameOf(at)) ?? 0
        if (at.offset > before) this.#commits++
        const gap = this.ledger.missing(at, at.offset)[0]
        if (gap !== undefined) throw new Error(`${nameOf(at)}: ${at.offset} is committed, but ${gap} is not processed`)
        if (at.offset < before && at.offset >= 0)
          this.ledger.faults.push(`${nameOf(at)}: committed went back from ${before} to ${at.offset}`)
        checked.set(nameOf(at), at.offset)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** Partition numbers by topic, in order. */
function numbersOf(member: Member, topic: string): number[] {
  return member.owned
    .filter((at) => at.topic === topic)
    .map(({ partition }) => partition)
    .sort((a, b) => a - b)
}

const laws: Readonly<Record<AssignorName, (group: Group, members: readonly Member[]) => void>> = {
  /** Per topic, neighbours stay together and nobody has two more than another. */
  range(group, members) {
    for (const topic of group.topics) {
      const shares = members.map((member) => numbersOf(member, topic))
      for (const share of shares) assert.is(share.at(-1)! - share[0]! + 1, share.length, `${topic}: ${share}`)
      const sizes = shares.map((share) => share.length)
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${topic}: ${sizes}`)
    }
  },
  /** Every number is with one member, in all topics that have it. */
  copartition(group, members) {
    const [wide, narrow] = group.topics as [string, string]
    for (const member of members) {
      const numbers = numbersOf(member, wide)
      assert.equal(
        numbersOf(member, narrow),
        numbers.filter((n) => n < 4),
        `${member.name} has ${numbers} of the other topic`,
      )
    }
    const sizes = members.map((member) => numbersOf(member, wide).length)
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${sizes}`)
  },
}

for (const assignor of ['range', 'copartition'] as const) {
  test(`three members under load, one crashes, one leaves, others come (${assignor})`, () =>
    Group.run([6, 4], async (group) => {
      const a = group.join('a', { assignor })
      await group.shared('a has all', a)
      const b = group.join('b', { assignor })
      const c = group.join('c', { assignor })
      await group.shared('a, b and c share', a, b, c)
      laws[assignor](group, [a, b, c])
      await group.progress(a, b, c)
      c.crash()
      await group.shared('a and b take over from c', a, b)
      laws[assignor](group, [a, b])
      await group.progress(a, b)
      const d = group.join('d', { assignor })
      await group.shared('d joins', a, b, d)
      await a.close()
      await group.shared('a has left', b, d)
      await group.progress(b, d)
      // The one that was thought dead comes back: it has lost what it had, and begins as a new member.
      c.mend()
      await group.shared('c is back', b, c, d)
      laws[assignor](group, [b, c, d])
      assert.is(c.heard('lost'), 1)
      await group.progress(b, c, d)
      await group.settled()
      for (const member of [b, c, d]) await member.close()
    }))
}

test('static members: a restart within the session changes nothing for the others, whoever leads', () =>
  Group.run([6], async (group) => {
    const long = { sessionTimeoutMs: 20_000 }
    let members = ['one', 'two', 'three'].map((instance) => group.join(instance, { instance, ...long }))
    await group.shared('three static members share', ...members)
    await group.progress(...members)
    for (let i = 0; i < members.length; i++) {
      const old = members[i]!
      const others = members.filter((member) => member !== old)
      const before = { owned: old.owned.map(nameOf).sort(), rebalances: others.map((o) => o.heard('rebalanced')) }
      const generations = group.ledger.generations
      if (i === 0) old.crash()
      await old.close()
      const restarted = group.join(`${old.name} again`, { instance: old.identity, ...long })
      await group.shared(`${old.name} is back`, restarted, ...others)
      assert.equal(restarted.owned.map(nameOf).sort(), before.owned)
      assert.equal(
        others.map((other) => other.heard('rebalanced')),
        before.rebalances,
      )
      assert.is(group.ledger.generations, generations, 'the generation has not changed')
      members = members.map((member) => (member === old ? restarted : member))
      await group.progress(...members)
    }
    await group.settled()
  }))

test('static members: one that was replaced while it was cut off ends fenced, and does no harm', () =>
  Group.run([4], async (group) => {
    const first = group.join('first', { instance: 'x' })
    const other = group.join('other', { instance: 'y' })
    await group.shared('two share', first, other)
    const { owned } = first
    first.crash()
    const second = group.join('second', { instance: 'x' })
    await group.shared('the second x has taken over', second, other)
    assert.equal(second.owned.map(nameOf).sort(), owned.map(nameOf).sort())
    first.mend()
    let error: { code?: string } | undefined
    await first.done.catch((cause: { code?: string }) => {
      error = cause
    })
    assert.is(error?.code, 'FENCED_INSTANCE_ID')
    await group.progress(second, other)
    await group.settled()
  }))

test('static and dynamic members: one that does not come back is replaced when its session ends', () =>
  Group.run([6], async (group) => {
    const stays = group.join('stays', { instance: 'stays' })
    const goes = group.join('goes', { instance: 'goes' })
    const dynamic = group.join('dynamic')
    await group.shared('all three share', stays, goes, dynamic)
    const closed = performance.now()
    await goes.close()
    await group.shared('the others have everything', stays, dynamic)
    const waited = performance.now() - closed
    assert.ok(
      waited > sessionTimeoutMs / 2,
      `a static member keeps its place when it closes, but lost it in ${waited} ms`,
    )
    await dynamic.close()
    await group.shared('the last one has everything', stays)
    await group.progress(stays)
    await group.settled()
  }))

test('what is in hand is not committed: the next member gets it again', async () => {
  await using client = new Client({ brokers: target.brokers })
  const topic = unique('in-hand')
  const groupId = unique('in-hand')
  await client.admin().createTopics([{ name: topic, partitions: 1, replicationFactor: 1 }])
  const producer = client.producer()
  for (let batch = 0; batch < 5; batch++)
    await producer.sendBatch(
      Array.from({ length: 10 }, (_, i) => ({ topic, partition: 0, value: `${batch * 10 + i}` })),
    )
  const at = { topic, partition: 0 }
  const options = { groupId, sessionTimeoutMs: 6_000, autoCommitIntervalMs: 20 }
  const committed = async (): Promise<number> => (await client.consumer(options).committed([at]))[0]!.offset
  const first = client.consumer(options)
  first.subscribe([topic])
  const seen: number[] = []
  for await (const { offset } of first.records()) {
    seen.push(offset)
    if (offset < 17) continue
    // Several commit intervals go by while record 17 is being worked on.
    await until(async () => (await committed()) === 17, { what: 'the commit of what is done' })
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.is(await committed(), 17)
    break
  }
  await first.close()
  assert.is(await committed(), 17)

  const second = client.consumer({ ...options, maxPartitionBytes: 1_024 })
  second.subscribe([topic])
  let chunk = second.take()
  while (chunk === undefined) {
    await second.wait()
    chunk = second.take()
  }
  assert.is(chunk.records()[0]?.offset, 17)
  const end = chunk.nextOffset
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.is(await committed(), 17, 'a chunk in hand is not done')
  second.take() // done with the first
  await until(async () => (await committed()) === end, { what: `the commit of ${end}` })
  await second.close()
})

test.run()
