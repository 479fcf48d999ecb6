/**
 * CheckpointRun: one world of the checkpoint simulation: a broker, members of one group that come and go, and troubles
 * that hit exactly before or after the n-th time that a step of a checkpoint happens. Owns the members and the troubles
 * that are still to come; what must hold is the oracle's.
 */
import { Client } from '../../src/client/index.ts'
import { Millrace } from '../../src/millrace.ts'
import { heartbeat } from '../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../src/protocol/api/join-group.ts'
import { listOffsets } from '../../src/protocol/api/list-offsets.ts'
import { offsetCommit } from '../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../src/protocol/api/offset-fetch.ts'
import { produce } from '../../src/protocol/api/produce.ts'
import { syncGroup } from '../../src/protocol/api/sync-group.ts'
import { kafkaError } from '../../src/protocol/errors.ts'
import { decodeRequest, decodeRequestHeader, decodeResponse } from '../../src/protocol/frame.ts'
import { BatchScanner } from '../../src/protocol/record-view.ts'
import { json } from '../../src/streams/codecs/index.ts'
import { table } from '../../src/streams/handles.ts'
import type { KafkaPort } from '../../src/streams/port.ts'
import type { ProcessorEvent } from '../../src/streams/processor-events.ts'
import { names, type Order, type Place, type State } from './checkpoint-group.ts'
import { Instance, type InstanceListener } from './checkpoint-instance.ts'
import { CheckpointOracle, type Life } from './checkpoint-oracle.ts'
import { drawPlan, isCalm, type Plan, sessionTimeoutMs, type Step, type Trouble } from './checkpoint-plan.ts'
import { SimCluster } from './cluster.ts'
import type { SimDisk } from './disk.ts'
import type { Process, TappedRequest } from './process.ts'
import type { SeededRandom } from './random.ts'
import { count, type Tally } from './seeds.ts'
import { traceWire } from './wire-trace.ts'
import type { World } from './world.ts'

/** What ends a processor and is expected to. */
const expectedEnds: ReadonlySet<string> = new Set(['ERR_CALLBACK', 'FENCED_INSTANCE_ID', 'GROUP_AUTHORIZATION_FAILED'])

/** The machine that comes when all others have left. */
const freshSlot = 'fresh'
const requestTimeoutMs = 600

const requestSteps = new Map<number, Step>([
  [offsetCommit.key, 'committing'],
  [offsetFetch.key, 'positions'],
  [listOffsets.key, 'end of log'],
  [heartbeat.key, 'heartbeat'],
  [joinGroup.key, 'join'],
  [syncGroup.key, 'sync'],
])

interface SentCommit {
  readonly life: Life
  readonly generation: number
  readonly sentAt: number
  readonly offsets: readonly { topic: string; partition: number; offset: number }[]
}

export class CheckpointRun implements InstanceListener {
  readonly oracle: CheckpointOracle
  readonly #world: World
  readonly #plan: Plan
  readonly #cluster: SimCluster
  readonly #tally: Tally
  readonly #wrap: (kafka: KafkaPort) => KafkaPort
  readonly #instances: Instance[] = []
  readonly #byProcess = new Map<string, Instance>()
  /** The disk of each machine. */
  readonly #disks = new Map<string, SimDisk>()
  #lives = 0
  readonly #counts = new Map<string, number>()
  #troubles: readonly Trouble[]
  readonly #poisoned = new Set<number>()
  /** When a process sent the last request of the membership that was answered. */
  readonly #heardAt = new Map<string, number>()
  readonly #sentAt = new WeakMap<TappedRequest, number>()
  readonly #commits = new Map<TappedRequest, SentCommit>()
  #quiet = false
  /** When the last trouble is over, for those it befell. */
  #calmAt = 0
  #over = false
  #sent = 0
  #acked = 0

  constructor(world: World, plan: Plan, cluster: SimCluster, tally: Tally, wrap = (kafka: KafkaPort) => kafka) {
    this.#world = world
    this.#plan = plan
    this.#cluster = cluster
    this.#tally = tally
    this.#wrap = wrap
    this.#troubles = plan.troubles
    this.oracle = new CheckpointOracle(world, cluster, plan.partitions)
    world.tap = {
      onRequest: (process, request) => this.#onRequest(process, request),
      onResponse: (process, request, response) => this.#onResponse(process, request, response),
    }
    traceWire(world)
    this.#watchBroker()
  }

  // ── Members ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Starts a member on a machine; the one before on it may still be alive. */
  enter(slot: string): void {
    if (this.#over && slot !== freshSlot) return
    const { isStatic, durable, processor, storeLingerMs } = this.#plan
    const before = this.#instances.find((one) => one.slot === slot && one.process.alive)
    const disk = durable && before === undefined ? this.#disks.get(slot) : undefined
    const options = {
      brokers: this.#cluster.brokers,
      requestTimeoutMs,
      storeLingerMs,
      processor: { ...processor, groupInstanceId: isStatic ? slot : '' },
      wrap: this.#wrap,
    }
    const name = `${slot}.${this.#instances.length}`
    const instance = new Instance(this.#world, { slot, name, disk }, options, this)
    this.#disks.set(slot, instance.disk)
    this.#instances.push(instance)
    this.#byProcess.set(name, instance)
    instance.disk.hooks = {
      beforeCommit: (process) => void this.#step('storing', 'before', process.name),
      afterCommit: (process, store, checkpoint) => {
        if (checkpoint !== undefined) this.oracle.stored(store, checkpoint.position)
        this.#step('storing', 'after', process.name)
      },
    }
  }

  nextLife(slot: string): Life {
    this.#lives += 1
    return { slot, number: this.#lives }
  }

  began(instance: Instance, at: Place): void {
    const place = { topic: at.topic, partition: at.partition, offset: at.offset, key: at.key }
    this.#step('callback', 'before', instance.process.name)
    if (instance.process.alive) this.oracle.began(instance.life, place)
  }

  saw(instance: Instance, at: Place, state: State): void {
    if (instance.process.alive) this.oracle.saw(at, state)
  }

  encoding(instance: Instance, when: 'before' | 'after'): void {
    const silentMs = this.#world.now - (this.#heardAt.get(instance.process.name) ?? 0)
    if (instance.process.alive && silentMs > sessionTimeoutMs - requestTimeoutMs + 1) {
      this.#world.fail(new Error(`${instance.process.name} works though its coordinator was silent for ${silentMs} ms`))
    }
    this.#step('encoding', when, instance.process.name)
  }

  skips(id: number): boolean {
    return this.#poisoned.has(id)
  }

  event(instance: Instance, event: ProcessorEvent): void {
    this.#world.note(`${instance.process.name}: ${JSON.stringify(event)}`)
    count(this.#tally, event.kind)
    if (event.kind === 'assigned') this.oracle.assigned(instance.life, event.partitions)
    if (event.kind === 'restored') this.oracle.restored(instance.life, event.partition)
    if (event.kind === 'lost') this.oracle.ended(instance.life, event.partitions)
  }

  /** Some time later the instance is started again, in its process or in a new one. */
  failed(instance: Instance, error: unknown): void {
    const { code, topic, partition, offset } = error as { code?: string } & Partial<Place>
    this.#world.note(`${instance.process.name} failed: ${String(error)}`)
    if (!hasCode(error, expectedEnds)) {
      this.#world.fail(new Error(`the processor of ${instance.process.name} ended`, { cause: error }))
      return
    }
    count(this.#tally, `ended by ${code}`)
    if (code === 'ERR_CALLBACK' && topic === names.input) {
      const record = this.#cluster.broker.records(topic, partition!)[offset!]
      this.#poisoned.add((JSON.parse(String(record?.value)) as Order).id)
    }
    this.oracle.ended(instance.life)
    const isReplaced = this.#instances.some(
      (one) => one.slot === instance.slot && one !== instance && one.process.alive,
    )
    if (isReplaced) instance.kill()
    else void this.#again(instance)
  }

  async #again(instance: Instance): Promise<void> {
    const { random } = this.#world
    await this.#world.sleep(random.between(1, 300))
    if (!instance.process.alive || this.#over) return
    if (random.chance(0.5)) {
      instance.startProcessor()
      return
    }
    instance.kill()
    this.enter(instance.slot)
  }

  // ── Troubles ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A step happens in a process. False: what is on the wire is lost. */
  #step(step: Step, when: 'before' | 'after', processName: string): boolean {
    const instance = this.#byProcess.get(processName)
    if (this.#quiet || instance?.process.alive !== true) return true
    const name = `${step} ${when}`
    const nth = (this.#counts.get(name) ?? 0) + 1
    this.#counts.set(name, nth)
    let passes = true
    for (const trouble of this.#troubles) {
      if (trouble.step !== step || trouble.when !== when || trouble.nth !== nth) continue
      count(this.#tally, trouble.does)
      this.#world.note(`${processName}: ${trouble.does} ${when} ${step} ${nth}`)
      if (!this.#make(trouble, instance)) passes = false
    }
    return passes
  }

  #make(trouble: Trouble, instance: Instance): boolean {
    const world = this.#world
    const { does, ms } = trouble
    this.#calmAt = Math.max(this.#calmAt, world.now + ms)
    switch (does) {
      case 'kill':
        this.oracle.ended(instance.life)
        instance.kill()
        void world.sleep(ms).then(() => this.enter(instance.slot))
        return true
      case 'cut':
        world.cut(instance.process.name)
        return true
      case 'lose':
        return false
      case 'stall':
        instance.process.stall(ms)
        return true
      case 'isolate':
        world.isolate(instance.process.name, ms)
        return true
      case 'answer': {
        const api = { topic: trouble.nth % 2 === 0 ? names.input : names.loop }
        const match = { clientId: instance.process.name, when: trouble.when, times: trouble.times }
        this.#cluster.faults.answer('OffsetCommit', trouble.error, trouble.nth % 3 === 0 ? { ...match, ...api } : match)
        return true
      }
      case 'enter':
        world.outside.scope.scheduler.setTimer(1, () => {
          if (!this.#instances.some((one) => one.slot === 'extra' && one.process.alive)) this.enter('extra')
        })
        return true
      case 'leave':
        world.outside.scope.scheduler.setTimer(1, () => void this.#leave(instance, ms))
        return true
      case 'replace':
        // A new life of the machine while the old one still runs, or stands still and does not know.
        if (ms > 400) instance.process.stall(ms)
        world.outside.scope.scheduler.setTimer(1, () => this.enter(instance.slot))
        return true
      case 'crash broker':
        world.outside.scope.scheduler.setTimer(1, () => void this.#crash(Math.min(ms, 1500)))
        return true
      case 'move coordinator':
        world.outside.scope.scheduler.setTimer(1, () => {
          const { up, faults, nodeIds } = this.#cluster
          if (up) faults.moveCoordinator(names.group, world.random.pick(nodeIds))
        })
        return true
    }
  }

  async #leave(instance: Instance, ms: number): Promise<void> {
    if (!instance.up) return
    await instance.close()
    await this.#world.sleep(ms)
    this.enter(instance.slot)
  }

  async #crash(ms: number): Promise<void> {
    if (!this.#cluster.up) return
    this.#cluster.crash()
    await this.#world.sleep(ms)
    await this.#cluster.restart()
    this.#watchBroker()
  }

  #watchBroker(): void {
    const forever = { times: Number.POSITIVE_INFINITY }
    this.#cluster.faults.call('OffsetCommit', 'after', () => this.oracle.committed(), forever)
    this.#cluster.faults.call('Produce', 'after', () => this.oracle.readTables(), forever)
  }

  #onRequest(process: Process, request: TappedRequest): boolean {
    const instance = this.#byProcess.get(process.name)
    if (instance === undefined) return true
    if (request.apiKey === produce.key) return this.#onProduce(instance, request)
    if (request.apiKey === offsetCommit.key) this.#onCommit(instance, request)
    const step = requestSteps.get(request.apiKey)
    if (isMembership(step)) this.#sentAt.set(request, this.#world.now)
    return step === undefined || this.#step(step, 'before', process.name)
  }

  readonly #changelogRequests = new WeakSet<TappedRequest>()

  #onProduce(instance: Instance, request: TappedRequest): boolean {
    const frame = request.frame()
    const { topicData } = decodeRequest(produce, decodeRequestHeader(frame), frame)
    let changes = false
    for (const { name, topicId, partitionData } of topicData) {
      if (name === names.table || this.#tableId(instance) === topicId) changes = true
      for (const { records } of partitionData) {
        const batch = records === null ? undefined : new BatchScanner(records).next()
        if (batch !== undefined) this.oracle.producer(instance.life, batch.producerId)
      }
    }
    if (!changes) return true
    this.#changelogRequests.add(request)
    return this.#step('changelog', 'before', instance.process.name)
  }

  #tableId(instance: Instance): string {
    return instance.tableTopicId(names.table)
  }

  #onCommit({ life }: Instance, request: TappedRequest): void {
    const frame = request.frame()
    const { generationIdOrMemberEpoch: generation, topics } = decodeRequest(
      offsetCommit,
      decodeRequestHeader(frame),
      frame,
    )
    const offsets = topics.flatMap(({ name: topic, partitions }) =>
      partitions.map(({ partitionIndex: partition, committedOffset: offset }) => ({ topic, partition, offset })),
    )
    this.#commits.set(request, { life, generation, sentAt: this.#world.now, offsets })
  }

  #onResponse(process: Process, request: TappedRequest, response: Buffer): boolean {
    if (!this.#byProcess.has(process.name)) return true
    const step = this.#changelogRequests.has(request) ? 'changelog' : requestSteps.get(request.apiKey)
    if (step !== undefined && !this.#step(step, 'after', process.name)) return false
    const sentAt = this.#sentAt.get(request)
    if (sentAt !== undefined) {
      this.#heardAt.set(process.name, Math.max(sentAt, this.#heardAt.get(process.name) ?? 0))
    }
    if (request.apiKey === offsetCommit.key && process.alive) this.#onCommitted(request, response)
    return true
  }

  #onCommitted(request: TappedRequest, response: Buffer): void {
    const commit = this.#commits.get(request)
    this.#commits.delete(request)
    if (commit === undefined) return
    const { life, generation, sentAt, offsets } = commit
    for (const { name: topic, partitions } of decodeResponse(offsetCommit, request.apiVersion, response).topics) {
      for (const { partitionIndex: partition, errorCode } of partitions) {
        if (errorCode !== 0) {
          count(this.#tally, kafkaError(errorCode).name)
          continue
        }
        const sent = offsets.find((one) => one.topic === topic && one.partition === partition)
        if (sent !== undefined) this.oracle.acknowledged(life, { ...sent, generation, sentAt })
      }
    }
  }

  // ── The course ─────────────────────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    for (let i = 0; i < this.#plan.members; i++) this.enter(`m${i}`)
  }

  /** Sends orders, a few at a time; resolves when all are acknowledged. `everywhere`: one to each partition instead. */
  async send(everywhere = false): Promise<void> {
    const { random } = this.#world
    const { records, partitions, keys, orders, paceMs } = this.#plan
    const process = this.#world.process(everywhere ? `last-${this.#sent}` : 'sender')
    const { brokers } = this.#cluster
    const client = new Client({ brokers, scope: process.scope, requestTimeoutMs: 1000 })
    const producer = client.producer({ deliveryTimeoutMs: 600_000 })
    const sends: Promise<unknown>[] = []
    const send = (key: string, order: Omit<Order, 'id'>, partition?: number): void => {
      this.#sent += 1
      const whole = { id: this.#sent, ...order }
      this.oracle.orders.set(whole.id, { ...whole, key })
      const at = partition === undefined ? {} : { partition }
      sends.push(
        producer.send({ topic: names.input, key, value: JSON.stringify(whole), ...at }).then(() => {
          this.#acked += 1
        }),
      )
    }
    if (everywhere) {
      const last = { does: 'add', how: 0, emits: false, loops: null, waitMs: 0 } as const
      for (let i = 0; i < partitions; i++) send(`last${i}`, last, i)
    }
    while (!everywhere && this.#sent < records) {
      for (let burst = random.between(1, 8); burst > 0; burst--) {
        const does = random.pick(orders)
        const prefix = does === 'put' || does === 'drop' ? 'p' : 'k'
        send(`${prefix}${random.int(keys)}`, {
          does,
          how: random.int(12),
          emits: random.chance(0.5),
          loops: random.chance(0.15) ? `k${random.int(keys)}` : null,
          waitMs: random.chance(0.1) ? random.between(1, 60) : 0,
        })
      }
      await this.#world.sleep(random.between(1, paceMs))
    }
    await Promise.all(sends)
    await client.close()
    process.kill()
  }

  /** Nothing goes wrong any more: everything is processed, committed and, where it must be, repaired. */
  async settle(): Promise<void> {
    const world = this.#world
    this.#quiet = true
    this.#cluster.faults.clear()
    await world.until('the broker runs', () => this.#cluster.up, 20_000)
    await this.#cluster.restart()
    this.#cluster.faults.clear()
    this.#watchBroker()
    await world.until('a member runs', () => this.#instances.some((one) => one.up && !one.process.stalled), 60_000)
    // Only then does what was held up on the wire arrive, and do those who stood still know that they own nothing.
    await world.sleep(Math.max(0, this.#calmAt + sessionTimeoutMs - world.now))
    if (world.seed % 2 === 0) await world.within('the last orders are sent', 60_000, this.send(true))
    await world.until('everything is committed', () => this.#drained(), 60_000, 50)
    // What a stale instance wrote is found and repaired, whether the owner writes or has nothing to do.
    this.oracle.readTables()
    if (this.oracle.staleWrites > 0) await world.sleep(2 * sessionTimeoutMs)
    await world.until('everything is committed', () => this.#drained(), 60_000, 50)
  }

  #drained(): boolean {
    const committed = this.#cluster.broker.committedOffsets(names.group)
    for (const topic of [names.input, names.loop]) {
      for (let partition = 0; partition < this.#plan.partitions; partition++) {
        const { next } = this.#cluster.broker.offsets(topic, partition)
        if (next > 0 && committed.get(topic)?.get(partition) !== next) return false
      }
    }
    return this.#acked === this.#sent
  }

  /** The running tables, a view and a fresh restore, against the log. */
  async compare(withView: boolean): Promise<void> {
    const world = this.#world
    const owner = new Map<number, Instance>()
    const running = (): boolean => {
      owner.clear()
      for (const one of this.#instances) {
        if (!one.up || one.process.stalled || one.processor.state.at !== 'running') continue
        for (const partition of one.processor.state.partitions) {
          // Somebody was cut off and has not noticed yet that it owns nothing any more.
          if (owner.has(partition)) return false
          owner.set(partition, one)
        }
      }
      return owner.size === this.#plan.partitions
    }
    await world.until('all partitions run', running, 60_000)
    for (const [partition, instance] of owner) {
      for (const store of instance.disk.stores()) {
        if (store.name === `${names.group}/${names.table}/${partition}`) this.oracle.finalStore(store)
      }
    }
    if (withView) await world.within('a view has read the table', 60_000, this.#view())
  }

  async #view(): Promise<void> {
    const process = this.#world.process('auditor')
    const app = new Millrace({ brokers: this.#cluster.brokers, scope: process.scope, requestTimeoutMs })
    const view = app.view(table(names.table, json<State>()))
    await view.start()
    const expected = new Map<string, string>()
    for (let partition = 0; partition < this.#plan.partitions; partition++) {
      for (const [key, value] of this.oracle.table(partition)) expected.set(key, value)
    }
    for await (const [key, state] of view.iterate()) {
      if (expected.get(key) !== JSON.stringify(state)) throw new Error(`a view has another value of ${key}`)
      expected.delete(key)
    }
    if (expected.size > 0) throw new Error(`a view lacks ${[...expected.keys()].join()}`)
    await app.close()
    process.kill()
  }

  /** Everybody leaves; then, with `fresh`, a machine with an empty disk takes over. */
  async close(fresh: boolean): Promise<void> {
    const world = this.#world
    this.#over = true
    for (const one of this.#instances) {
      if (!one.process.alive) continue
      await world.until(`${one.process.name} runs again`, () => !one.process.stalled)
      await world.within(`${one.process.name} closes`, 30_000, one.close())
    }
    if (!fresh) return
    this.enter(freshSlot)
    const instance = this.#instances.at(-1)!
    const all = (): boolean => {
      const { state } = instance.processor
      return state.at === 'running' && state.partitions.length === this.#plan.partitions
    }
    await world.until('a fresh machine runs', all, 60_000)
    for (const store of instance.disk.stores()) this.oracle.finalStore(store)
    await instance.close()
  }
}

function isMembership(step: Step | undefined): boolean {
  return step === 'heartbeat' || step === 'join' || step === 'sync'
}

function hasCode(error: unknown, codes: ReadonlySet<string>): boolean {
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    if (codes.has((one as { code?: string }).code ?? '')) return true
  }
  return false
}

/** One world from the beginning to the end. */
export async function runWorld(
  world: World,
  tally: Tally,
  options: { plan?: (random: SeededRandom) => Plan; wrap?: (kafka: KafkaPort) => KafkaPort } = {},
): Promise<void> {
  const plan = (options.plan ?? drawPlan)(world.random)
  world.note(JSON.stringify(plan))
  const { partitions, nodes } = plan
  const topics = [names.input, names.output].map((name) => ({ name, partitions }))
  const cluster = await SimCluster.start(world, { nodes, topics })
  const run = new CheckpointRun(world, plan, cluster, tally, options.wrap)
  run.start()
  await world.within('the orders are sent', 120_000, run.send())
  await world.sleep(world.random.between(0, 500))
  await run.settle()
  run.oracle.final(isCalm(plan))
  await run.compare(world.seed % 4 === 0)
  await run.close(world.seed % 4 === 1)
  count(tally, 'orders', plan.records)
  count(tally, 'reruns', run.oracle.reruns)
  count(tally, 'stale writes', run.oracle.staleWrites)
}
