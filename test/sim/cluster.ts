/**
 * SimCluster: the embedded broker as the cluster of a simulated world, in a process of its own that can crash and come
 * back with its logs. Owns the broker and its process; addresses stay the same over restarts.
 */
import { Broker, type BrokerOptions, type Faults } from '../../src/broker/index.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

export interface SimClusterOptions {
  readonly nodes: number
  readonly topics: NonNullable<BrokerOptions['topics']>
  readonly options?: BrokerOptions
}

const firstPort = 9092

export class SimCluster {
  readonly world: World
  readonly nodes: number
  readonly #options: BrokerOptions
  /** Bootstrap list. */
  readonly brokers: string
  #broker: Broker
  #process: Process
  #starting: Promise<void> | undefined

  private constructor(world: World, options: BrokerOptions, nodes: number, process: Process, broker: Broker) {
    this.world = world
    this.#options = options
    this.nodes = nodes
    this.brokers = Array.from({ length: nodes }, (_, i) => `127.0.0.1:${firstPort + i}`).join()
    this.#process = process
    this.#broker = broker
  }

  static async start(world: World, given: SimClusterOptions): Promise<SimCluster> {
    const process = world.process('broker')
    const options = { minSessionTimeoutMs: 1, ...given.options, port: firstPort, nodes: given.nodes }
    const broker = await Broker.start({ ...options, scope: process.scope, topics: given.topics })
    return new SimCluster(world, options, given.nodes, process, broker)
  }

  get broker(): Broker {
    return this.#broker
  }

  get faults(): Faults {
    return this.#broker.faults
  }

  get up(): boolean {
    return this.#process.alive
  }

  /** Ids of the nodes: 1, 2, … */
  get nodeIds(): readonly number[] {
    return Array.from({ length: this.nodes }, (_, i) => i + 1)
  }

  /** kill -9 of the broker: what it had appended stays (the operating system writes it), what it had not answered is open. */
  crash(): void {
    if (!this.up) return
    this.world.note('the broker crashes')
    this.#broker.crash()
    this.#process.kill()
  }

  /** Starts it again with its logs. */
  async restart(): Promise<void> {
    if (this.up) return
    this.#starting ??= this.#restart().finally(() => {
      this.#starting = undefined
    })
    await this.#starting
  }

  async #restart(): Promise<void> {
    this.world.note('the broker starts again')
    const old = this.#broker
    this.#process = this.world.process('broker')
    this.#broker = await Broker.start({ ...this.#options, scope: this.#process.scope, logs: old.logs })
  }

  stall(ms: number): void {
    this.world.note(`the broker stands still for ${ms} ms`)
    this.#process.stall(ms)
  }
}
