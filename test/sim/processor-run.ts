/**
 * ProcessorRun: one world in which instances of a group process inputs while troubles of the catalogue (injection.ts) happen
 * at the steps of their checkpoints. Owns the instances and the troubles still to come; what must hold is the oracle's.
 */
import * as assert from 'uvu/assert'
import { Client } from '../../src/client/index.ts'
import { fetch } from '../../src/protocol/api/fetch.ts'
import { heartbeat } from '../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../src/protocol/api/join-group.ts'
import { listOffsets } from '../../src/protocol/api/list-offsets.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { offsetCommit } from '../../src/protocol/api/offset-commit.ts'
import { offsetFetch } from '../../src/protocol/api/offset-fetch.ts'
import { produce } from '../../src/protocol/api/produce.ts'
import { syncGroup } from '../../src/protocol/api/sync-group.ts'
import { decodeRequest, decodeRequestHeader, decodeResponse } from '../../src/protocol/frame.ts'
import type { Codec } from '../../src/streams/codec.ts'
import { json, string } from '../../src/streams/codecs/index.ts'
import { type AnyGroup, defineGroup } from '../../src/streams/graph.ts'
import { stream } from '../../src/streams/handles.ts'
import type { KafkaPort } from '../../src/streams/port.ts'
import type { ProcessorOptions } from '../../src/streams/processor-options.ts'
import { SimApp } from './app.ts'
import { SimCluster } from './cluster.ts'
import { drawInjections, fatalCodes, type Injection, nameOf, type Step } from './injection.ts'
import { type Behaviour, type Input, loopId, Oracle, type State, topics } from './oracle.ts'
import type { Process, TappedRequest } from './process.ts'
import type { SeededRandom } from './random.ts'
import { count, type Tally } from './seeds.ts'
import { traceWire } from './wire-trace.ts'
import type { World } from './world.ts'

const inputStream = stream(topics.input, string)
const secondStream = stream(topics.second, string)
const outputStream = stream(topics.output, string)
/** Well below the session time-out: a stall can outlast the session, the wire cannot. */
const requestTimeoutMs = 800
const sessionTimeoutMs = 3000

interface Plan {
  readonly partitions: number
  readonly records: number
  readonly apps: number
  readonly nodes: number
  readonly keys: number
  readonly twoInputs: boolean
  readonly injections: readonly Injection[]
  readonly behaviours: readonly Behaviour[]
  readonly options: ProcessorOptions
  readonly staticMembers: boolean
  readonly storeLingerMs: number
  /** Instances lose their disks when they die. */
  readonly diskless: boolean
  readonly restoreAtEnd: boolean
}

const allBehaviours: readonly Behaviour[] = [
  'change in place and set',
  'set a new object',
  'change in place and forget',
  'read only',
  'delete',
  'set, then throw once',
  'wait, then set',
  'wait, then reject once',
  'loop',
]

function draw(seed: number, random: SeededRandom): Plan {
  const behaviours: Behaviour[] = ['set a new object', 'change in place and set']
  for (const one of allBehaviours) if (random.chance(0.5)) behaviours.push(one)
  return {
    partitions: random.between(1, 4),
    records: random.between(20, 120),
    apps: random.between(1, 2),
    nodes: random.between(1, 2),
    keys: random.between(1, 8),
    twoInputs: random.chance(0.3),
    injections: drawInjections(seed, random),
    behaviours,
    staticMembers: random.chance(0.4),
    storeLingerMs: random.pick([0, 500, 60_000]),
    diskless: random.chance(0.5),
    restoreAtEnd: random.chance(0.25),
    options: {
      sessionTimeoutMs,
      heartbeatIntervalMs: 300,
      rebalanceTimeoutMs: 2000,
      closeTimeoutMs: 3000,
      checkpointIntervalMs: random.pick([5, 10, 20, 50]),
      cacheBytes: random.pick([0, 64 * 1024 * 1024]),
    },
  }
}

/** Request → the step's name. */
const stepOf = new Map<number, string>([
  [joinGroup.key, 'JoinGroup'],
  [syncGroup.key, 'SyncGroup'],
  [offsetFetch.key, 'OffsetFetch'],
  [listOffsets.key, 'ListOffsets'],
  [fetch.key, 'Fetch'],
  [heartbeat.key, 'Heartbeat'],
  [offsetCommit.key, 'commit'],
])

class Run {
  readonly world: World
  readonly plan: Plan
  readonly cluster: SimCluster
  readonly oracle: Oracle
  readonly tally: Tally
  readonly apps: SimApp[] = []
  readonly #counts = new Map<Step, number>()
  /** What has happened of the catalogue, in all worlds. */
  readonly #fired: Set<string>
  #pending: Injection[]
  readonly #broken: Broken
  /** Ids whose callback has thrown on purpose. */
  readonly #thrown = new Set<number>()
  #stable = false
  #over = false
  #nextId = 0
  #placed = 0

  constructor(world: World, plan: Plan, cluster: SimCluster, tally: Tally, fired: Set<string>, broken: Broken) {
    this.world = world
    this.#fired = fired
    this.#broken = broken
    this.plan = plan
    this.cluster = cluster
    this.tally = tally
    this.oracle = new Oracle(world, cluster, plan.partitions)
    this.#pending = [...plan.injections]
    for (let i = 0; i < plan.apps + 1; i++) this.apps.push(this.#app(`app-${i}`))
    this.#watchWire()
    this.watchBroker()
  }

  #app(name: string): SimApp {
    const { wrap } = this.#broken
    const app = new SimApp(this.world, {
      name,
      brokers: this.cluster.brokers,
      requestTimeoutMs,
      storeLingerMs: this.plan.storeLingerMs,
      processor: { ...this.plan.options, groupInstanceId: this.plan.staticMembers ? name : '' },
      group: (process) => this.#group(process),
      ...(wrap === undefined ? {} : { wrap }),
      failed: (one, error) => void this.#failed(one, error),
      event: (_app, event) => {
        count(this.tally, event.kind)
        if (event.kind === 'foreignChangelogWrite') this.oracle.foreign = true
      },
    })
    app.disk.hooks = {
      beforeCommit: (process) => this.#step('store before', process),
      afterCommit: (process, store, checkpoint) => {
        if (checkpoint !== undefined) this.oracle.stored(store, checkpoint.position)
        this.#step('store after', process)
      },
    }
    return app
  }

  // ── What the processor does ────────────────────────────────────────────────────────────────────────────────────────

  #group(process: Process): AnyGroup {
    const declared = defineGroup('g', {
      table: this.#broken.codec ?? json<State>(),
      outputs: [outputStream],
      loop: string,
    })
    const handled = declared
      .on(inputStream, (ctx, value) => this.#handle(process, ctx, value))
      .onLoop((ctx, value) => {
        const state = ctx.get() ?? { seen: [] }
        state.seen.push(loopId(Number(value)))
        ctx.set(state)
      })
    return this.plan.twoInputs ? handled.on(secondStream, (ctx, value) => this.#handle(process, ctx, value)) : handled
  }

  #handle(
    process: Process,
    ctx: {
      readonly topic: string
      readonly partition: number
      readonly offset: number
      readonly key: string
      get(): State | undefined
      set(value: State): void
      delete(): void
      emit(to: typeof outputStream, key: string, value: string): void
      loopback(key: string, value: string): void
    },
    value: string,
  ): void | Promise<void> {
    this.#step('callback', process)
    const input = this.oracle.inputs[Number(value)]
    if (input === undefined) throw new Error(`an input that was never sent: ${value}`)
    this.oracle.placed(input, ctx.partition, ctx.offset)
    const state = ctx.get()
    this.oracle.sees(input, state)
    const { id } = input
    const first = !this.#thrown.has(id)
    switch (input.behaviour) {
      case 'read only':
        return
      case 'change in place and forget':
        state?.seen.push(id)
        return
      case 'delete':
        ctx.delete()
        ctx.emit(outputStream, ctx.key, value)
        return
      case 'set a new object':
        ctx.set({ seen: [...(state?.seen ?? []), id] })
        ctx.emit(outputStream, ctx.key, value)
        return
      case 'set, then throw once':
      case 'change in place and set':
      case 'loop': {
        const changed = state ?? { seen: [] }
        changed.seen.push(id)
        ctx.set(changed)
        ctx.emit(outputStream, ctx.key, value)
        if (input.behaviour === 'loop') ctx.loopback(`loop-${id % 5}`, value)
        if (input.behaviour === 'set, then throw once' && first) {
          this.#thrown.add(id)
          throw new Error('thrown on purpose')
        }
        return
      }
      case 'wait, then set':
      case 'wait, then reject once':
        return this.#slowly(process, ctx, state, id, input.behaviour === 'wait, then reject once' && first)
    }
  }

  async #slowly(
    process: Process,
    ctx: {
      readonly key: string
      set(value: State): void
      emit(to: typeof outputStream, key: string, value: string): void
    },
    state: State | undefined,
    id: number,
    rejects: boolean,
  ): Promise<void> {
    const changed = state ?? { seen: [] }
    changed.seen.push(id)
    if (rejects) ctx.set(changed)
    await new Promise<void>((resolve) => void process.scope.scheduler.setTimer(1 + (id % 40), resolve))
    if (rejects) {
      this.#thrown.add(id)
      throw new Error('thrown on purpose')
    }
    ctx.set(changed)
    ctx.emit(outputStream, ctx.key, String(id))
  }

  // ── What goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────

  #watchWire(): void {
    this.world.tap = {
      onRequest: (process, request) => this.#onRequest(process, request),
      onResponse: (process, request, response) => this.#onResponse(process, request, response),
    }
    traceWire(this.world)
  }

  #isApp(process: Process): boolean {
    return process.name.startsWith('app-')
  }

  #onRequest(process: Process, request: TappedRequest): boolean {
    if (!this.#isApp(process)) return true
    if (request.apiKey === offsetCommit.key) this.#noteCommit(request)
    for (const what of this.#stepsOf(request)) {
      if (!this.#step(`${what} leaves` as Step, process)) return false
    }
    return true
  }

  #onResponse(process: Process, request: TappedRequest, response: Buffer): boolean {
    if (request.apiKey === metadata.key) this.#learnTopicIds(request, response)
    if (!this.#isApp(process)) return true
    for (const what of this.#stepsOf(request)) {
      if (!this.#step(`${what} answered` as Step, process)) return false
    }
    return true
  }

  #stepsOf(request: TappedRequest): readonly string[] {
    if (request.apiKey === produce.key) return this.#produces(request)
    const what = stepOf.get(request.apiKey)
    return what === undefined ? [] : [what]
  }

  #produces(request: TappedRequest): readonly string[] {
    const frame = request.frame()
    const { topicData } = decodeRequest(produce, decodeRequestHeader(frame), frame)
    const names = topicData.map(({ name, topicId }) => (name === '' ? this.#topicOfId(topicId) : name))
    const found = []
    if (names.includes(topics.table)) found.push('changelog')
    if (names.includes(topics.output)) found.push('output')
    return found
  }

  readonly #topicIds = new Map<string, string>()
  #topicOfId(id: string): string {
    return this.#topicIds.get(id) ?? ''
  }

  #learnTopicIds(request: TappedRequest, response: Buffer): void {
    for (const { topicId, name } of decodeResponse(metadata, request.apiVersion, response).topics) {
      if (name !== null) this.#topicIds.set(topicId, name)
    }
  }

  #noteCommit(request: TappedRequest): void {
    const frame = request.frame()
    const commit = decodeRequest(offsetCommit, decodeRequestHeader(frame), frame)
    // A static member that starts again takes its place in the generation over.
    const member = commit.groupInstanceId ?? commit.memberId
    for (const { name, topicId, partitions } of commit.topics) {
      const topic = name === '' ? this.#topicOfId(topicId) : name
      for (const { partitionIndex } of partitions) {
        this.oracle.commits(member, commit.generationIdOrMemberEpoch, topic, partitionIndex)
      }
    }
  }

  /** Looks at what the broker did, in the broker. To be called again after its restart. */
  watchBroker(): void {
    const { faults } = this.cluster
    for (const { name } of this.apps) {
      const match = { clientId: name, times: Number.POSITIVE_INFINITY }
      const step = (what: Step) => () => {
        const process = this.#appNamed(name)?.process
        if (process !== undefined) this.#step(what, process)
      }
      faults.call('Produce', 'after', step('changelog written'), { ...match, topic: topics.table })
      faults.call('Produce', 'after', step('output written'), { ...match, topic: topics.output })
      faults.call('OffsetCommit', 'after', () => this.oracle.committed(), match)
      faults.call('OffsetCommit', 'after', step('commit written'), match)
    }
  }

  #appNamed(name: string): SimApp | undefined {
    return this.apps.find((app) => app.name === name)
  }

  /** A step happens: whatever is to happen with it, happens. False: what is on the wire is lost. */
  #step(step: Step, process: Process): boolean {
    if (this.#stable || !process.alive) return true
    const nth = (this.#counts.get(step) ?? 0) + 1
    this.#counts.set(step, nth)
    let passes = true
    for (const injection of this.#pending) {
      if (injection.step !== step || injection.nth !== nth) continue
      this.#pending = this.#pending.filter((one) => one !== injection)
      if (!this.#inject(injection, process)) passes = false
    }
    return passes
  }

  #inject(injection: Injection, process: Process): boolean {
    const { world, cluster } = this
    const { action, step, ms, error, after } = injection
    count(this.tally, action)
    this.#fired.add(nameOf(injection))
    world.note(`${process.name}: ${nameOf(injection)}, the ${injection.nth}. time`)
    const app = this.#appNamed(process.name)
    switch (action) {
      case 'kill':
        app?.kill()
        if (this.plan.diskless) void app?.disk.wipe()
        void this.#restart(app, ms)
        return true
      case 'cut':
        world.cut(process.name)
        return true
      case 'lose':
        return false
      case 'error': {
        const api = apiOf(step)
        const topic = step.startsWith('changelog')
          ? topics.table
          : step.startsWith('output')
            ? topics.output
            : undefined
        const match = {
          clientId: process.name,
          when: after ? 'after' : 'before',
          ...(topic === undefined ? {} : { topic }),
        } as const
        cluster.faults.answer(api, error, match)
        return true
      }
      case 'stall':
        process.stall(ms < 200 ? ms : 1000 + 4 * ms)
        return true
      case 'isolate':
        world.isolate(process.name, ms)
        return true
      case 'join':
        this.apps.find((one) => one.down)?.start()
        return true
      case 'leave': {
        const leaving = this.world.random.pick(this.apps)
        void leaving.close().then(() => this.#restart(leaving, ms))
        return true
      }
      case 'crash':
        // Not inside its own turn.
        world.outside.scope.scheduler.setTimer(1, () => void this.#crashBroker(ms))
        return true
      case 'leader': {
        const partition = world.random.int(this.plan.partitions)
        const topic = world.random.pick([topics.input, topics.output, topics.table])
        world.outside.scope.scheduler.setTimer(1, () => {
          if (cluster.up) cluster.faults.moveLeader(topic, partition, world.random.pick(cluster.nodeIds))
        })
        return true
      }
      case 'coordinator':
        world.outside.scope.scheduler.setTimer(1, () => {
          if (cluster.up) cluster.faults.moveCoordinator('g', world.random.pick(cluster.nodeIds))
        })
        return true
    }
  }

  async #crashBroker(ms: number): Promise<void> {
    this.cluster.crash()
    await this.world.sleep(ms)
    await this.restartBroker()
  }

  async restartBroker(): Promise<void> {
    if (this.cluster.up) return
    await this.cluster.restart()
    this.watchBroker()
  }

  async #restart(app: SimApp | undefined, ms: number): Promise<void> {
    await this.world.sleep(1 + ms)
    if (app?.down === true && !this.#over) app.start()
  }

  async #failed(app: SimApp, error: unknown): Promise<void> {
    if (!isExpected(error)) {
      this.world.fail(new Error(`the processor of ${app.name} ended`, { cause: error }))
      return
    }
    await this.world.until(`${app.name} is gone`, () => app.down)
    await this.#restart(app, 50)
  }

  // ── The course of a run ────────────────────────────────────────────────────────────────────────────────────────────

  /** Sends the inputs, a few at a time. */
  async produce(): Promise<void> {
    const random = this.world.random.fork()
    const process = this.world.process('producer')
    const client = new Client({
      brokers: this.cluster.brokers,
      scope: process.scope,
      clientId: 'producer',
      requestTimeoutMs: 1000,
    })
    const producer = client.producer({ deliveryTimeoutMs: 600_000 })
    const sends: Promise<void>[] = []
    const send = (topic: string, key: string, behaviour: Behaviour, partition: number): void => {
      const input: Input = { id: this.#nextId++, key, topic, behaviour, partition: -1, offset: -1 }
      this.oracle.inputs.push(input)
      const record = { topic, key, value: String(input.id), ...(partition < 0 ? {} : { partition }) }
      sends.push(
        producer.send(record).then((sent) => {
          this.oracle.placed(input, sent.partition, sent.offset)
          this.#placed += 1
        }),
      )
    }
    let throwing = 0
    const pace = random.pick([20, 60, 200])
    while (this.#nextId < this.plan.records) {
      const burst = random.between(1, 10)
      for (let i = 0; i < burst; i++) {
        const second = this.plan.twoInputs && random.chance(0.4)
        const key = `${second ? 'b' : 'a'}${random.int(this.plan.keys)}`
        const behaviour = random.pick(this.plan.behaviours)
        const throws = behaviour.endsWith(' once')
        // Each ends an instance: a few are enough.
        const chosen = throws && throwing >= 2 ? 'change in place and set' : behaviour
        if (throws) throwing += 1
        send(second ? topics.second : topics.input, key, chosen, -1)
      }
      await new Promise<void>((resolve) => void process.scope.scheduler.setTimer(random.between(1, pace), resolve))
    }
    await Promise.all(sends)
    this.#sendLast = async () => {
      for (let partition = 0; partition < this.plan.partitions; partition++) {
        send(topics.input, `last-${partition}`, 'set a new object', partition)
      }
      await Promise.all(sends)
    }
  }
  #sendLast: () => Promise<void> = async () => {}

  /** Nothing goes wrong any more: everything must be processed, committed and repaired. */
  async settle(): Promise<void> {
    const { world, cluster } = this
    this.#stable = true
    cluster.faults.clear()
    await this.restartBroker()
    cluster.faults.clear()
    this.watchBroker()
    if (this.apps.every((app) => !app.up)) {
      const app = this.apps.find((one) => one.down)
      if (app !== undefined) app.start()
      else await this.#restart(this.apps[0], 4000)
    }
    await world.within('the inputs are acknowledged', 60_000, this.#sendLast())
    await world.until('everything is committed', () => this.#allCommitted(), 60_000)
    if (this.oracle.foreign) {
      // Foreign writes are found by the next write to the changelog, and repaired by the one after.
      await this.#sendLast()
      await world.sleep(500)
      await world.until('everything is committed', () => this.#allCommitted(), 60_000)
    }
    this.oracle.committed()
  }

  #allCommitted(): boolean {
    if (this.#placed < this.oracle.inputs.length) return false
    const committed = this.cluster.broker.committedOffsets('g')
    const consumed = [topics.input, topics.loop, ...(this.plan.twoInputs ? [topics.second] : [])]
    return consumed.every((topic) => {
      for (let partition = 0; partition < this.plan.partitions; partition++) {
        const { next } = this.cluster.broker.offsets(topic, partition)
        if (next > 0 && committed.get(topic)?.get(partition) !== next) return false
      }
      return true
    })
  }

  async close(): Promise<void> {
    this.#over = true
    for (const app of this.apps) await this.world.within(`${app.name} closes`, 20_000, app.close())
    for (const app of this.apps) for (const store of app.disk.stores()) this.oracle.checkStore(store)
  }

  /** A new instance without a disk must come to the same table. */
  async restoreFresh(): Promise<void> {
    const app = this.#app('app-fresh')
    this.apps.push(app)
    app.start()
    await this.world.until('a fresh instance runs', () => {
      const state = app.processor?.state
      return state?.at === 'running' && state.partitions.length === this.plan.partitions
    })
    for (let partition = 0; partition < this.plan.partitions; partition++) {
      for (const [key, seen] of this.oracle.table(partition)) {
        if (key.startsWith('last-')) continue // sent to a partition of our choice
        assert.equal((app.processor?.get(key) as State | undefined)?.seen, seen, `a fresh restore of ${key}`)
      }
    }
    await this.close()
  }
}

function apiOf(step: Step): string {
  if (step.startsWith('changelog') || step.startsWith('output')) return 'Produce'
  if (step.startsWith('commit')) return 'OffsetCommit'
  return step.slice(0, step.indexOf(' '))
}

/** Errors that we caused and that must end a processor. */
function isExpected(error: unknown): boolean {
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    if (one.message === 'thrown on purpose') return true
    if (fatalCodes.has((one as { code?: string }).code ?? '')) return true
  }
  return false
}

/** A fault of ours, put in on purpose: the simulation must find it. */
export interface Broken {
  /** Changes what the processor sees of Kafka. */
  wrap?(kafka: KafkaPort): KafkaPort
  readonly codec?: Codec<State>
}

/** One world: plan, trouble, settling, and the checks of the end. */
export async function processorWorld(
  world: World,
  tally: Tally,
  fired: Set<string>,
  broken: Broken = {},
): Promise<void> {
  const plan = draw(world.seed, world.random)
  world.note(JSON.stringify(plan))
  const { partitions } = plan
  const cluster = await SimCluster.start(world, {
    nodes: plan.nodes,
    topics: [topics.input, topics.second, topics.output].map((name) => ({ name, partitions })),
  })
  const run = new Run(world, plan, cluster, tally, fired, broken)
  for (let i = 0; i < plan.apps; i++) run.apps[i]!.start()
  await world.within('the inputs are sent', 60_000, run.produce())
  await world.sleep(world.random.between(0, 300))
  await run.settle()
  await run.close()
  run.oracle.final(plan.injections.length === 0)
  if (plan.restoreAtEnd) await run.restoreFresh()
  count(tally, 'records', run.oracle.inputs.length)
}
