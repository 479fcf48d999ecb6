/**
 * Instance: one life of one member of the simulated group: a process with a processor in it. Owns the process, the
 * processor, the stores it lent from a disk. A processor that failed may be followed by another in the same process, which
 * takes up the lingering stores.
 */
import { MemoryEngine } from '../../src/storage/index.ts'
import { clientPort } from '../../src/streams/client-port.ts'
import type { KafkaPort } from '../../src/streams/port.ts'
import { Processor } from '../../src/streams/processor.ts'
import type { ProcessorEvent } from '../../src/streams/processor-events.ts'
import type { ProcessorOptions } from '../../src/streams/processor-options.ts'
import { TableRegistry } from '../../src/streams/table-registry.ts'
import { makeGroup, type Place, type State } from './checkpoint-group.ts'
import type { Life } from './checkpoint-oracle.ts'
import { SimDisk } from './disk.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

export interface InstanceOptions {
  readonly brokers: string
  readonly requestTimeoutMs: number
  readonly storeLingerMs: number
  readonly processor: ProcessorOptions
  /** A test-only wrapper around what the processor sees of Kafka. */
  readonly wrap: (kafka: KafkaPort) => KafkaPort
}

/** Who hears of what instances do. */
export interface InstanceListener {
  began(instance: Instance, at: Place): void
  saw(instance: Instance, at: Place, state: State): void
  encoding(instance: Instance, when: 'before' | 'after'): void
  skips(id: number): boolean
  event(instance: Instance, event: ProcessorEvent): void
  /** The processor ended by itself. */
  failed(instance: Instance, error: unknown): void
  nextLife(slot: string): Life
}

export class Instance {
  readonly slot: string
  readonly process: Process
  readonly disk: SimDisk
  life: Life
  processor!: Processor
  readonly #world: World
  readonly #options: InstanceOptions
  readonly #listener: InstanceListener
  readonly #shared: KafkaPort
  #own: KafkaPort | undefined
  readonly #registry: TableRegistry
  #closing: Promise<void> | undefined

  /** `name`: of the process. `disk`: what its machine had before. */
  constructor(
    world: World,
    at: { slot: string; name: string; disk: SimDisk | undefined },
    options: InstanceOptions,
    listener: InstanceListener,
  ) {
    this.slot = at.slot
    this.#world = world
    this.#options = options
    this.#listener = listener
    this.process = world.process(at.name)
    this.disk = at.disk ?? new SimDisk(new MemoryEngine())
    this.life = listener.nextLife(at.slot)
    this.#shared = this.#connect()
    this.#registry = new TableRegistry(this.#shared, this.disk.engine(this.process), options.storeLingerMs)
    this.startProcessor()
  }

  /** A first or another processor in this process. */
  startProcessor(): void {
    const { slot } = this
    const { processor: options, requestTimeoutMs } = this.#options
    const listener = this.#listener
    if (this.processor !== undefined) this.life = listener.nextLife(slot)
    this.#world.note(`${this.process.name} starts as life ${this.life.number} of ${slot}`)
    const group = makeGroup({
      began: (at) => listener.began(this, at),
      saw: (at, state) => listener.saw(this, at, state),
      encoding: (when) => listener.encoding(this, when),
      sleep: (ms) => new Promise((resolve) => void this.process.scope.scheduler.setTimer(ms, resolve)),
      skips: (id) => listener.skips(id),
    })
    const open = async () => {
      this.#own = this.#connect()
      return { kafka: this.#own, registry: this.#registry, requestTimeoutMs, createInputs: undefined }
    }
    const onEvent = (event: ProcessorEvent): void => {
      if (this.process.alive) listener.event(this, event)
    }
    const processor = new Processor(open, group, { ...options, onEvent })
    this.processor = processor
    processor.start().catch(() => {}) // `done` tells the same
    processor.done.catch((error: unknown) => {
      if (this.process.alive && this.#closing === undefined && this.processor === processor)
        listener.failed(this, error)
    })
  }

  /** Runs, and was not told to end. */
  get up(): boolean {
    return this.process.alive && this.#closing === undefined && this.processor.state.at !== 'failed'
  }

  /** The id of a topic as this instance knows it; '' before. */
  tableTopicId(topic: string): string {
    return this.#own?.metadata.view.topic(topic)?.id ?? ''
  }

  kill(): void {
    this.#world.note(`${this.process.name} is killed`)
    this.process.kill()
  }

  /** Ends in good order, at most as long as it takes. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#world.note(`${this.process.name} closes`)
    await this.processor.close()
    await this.#registry.close()
    await this.#shared.close()
    this.#world.note(`${this.process.name} has closed`)
    this.process.kill()
  }

  #connect(): KafkaPort {
    const { brokers, requestTimeoutMs, wrap } = this.#options
    const { scope, name } = this.process
    return wrap(clientPort({ brokers, requestTimeoutMs, connectTimeoutMs: 1000, scope, clientId: name }))
  }
}
