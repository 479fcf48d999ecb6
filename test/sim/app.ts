/**
 * SimApp: one application instance of a simulated world: a machine with a disk, on which a processor runs that may be
 * killed, closed, fail, and be started again. Owns its process, its processor and its disk.
 */
import { MillraceError } from '../../src/base/errors.ts'
import { MemoryEngine } from '../../src/storage/index.ts'
import { clientPort } from '../../src/streams/client-port.ts'
import type { AnyGroup } from '../../src/streams/graph.ts'
import type { KafkaPort } from '../../src/streams/port.ts'
import { Processor } from '../../src/streams/processor.ts'
import type { ProcessorEvent } from '../../src/streams/processor-events.ts'
import type { ProcessorOptions } from '../../src/streams/processor-options.ts'
import { TableRegistry } from '../../src/streams/table-registry.ts'
import { SimDisk } from './disk.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

export interface SimAppOptions {
  readonly name: string
  readonly brokers: string
  readonly requestTimeoutMs: number
  readonly storeLingerMs: number
  readonly processor: ProcessorOptions
  /** The group as this process runs it. */
  group(process: Process): AnyGroup
  /** A test-only wrapper around what the processor sees of Kafka. */
  wrap?(kafka: KafkaPort): KafkaPort
  /** The processor ended by itself. */
  failed(app: SimApp, error: unknown): void
  event?(app: SimApp, event: ProcessorEvent): void
}

interface Life {
  readonly process: Process
  readonly processor: Processor
  readonly registry: TableRegistry
  readonly shared: KafkaPort
  closing: Promise<void> | undefined
}

export class SimApp {
  readonly name: string
  readonly disk = new SimDisk(new MemoryEngine())
  readonly #world: World
  readonly #options: SimAppOptions
  #life: Life | undefined
  #lives = 0

  constructor(world: World, options: SimAppOptions) {
    this.name = options.name
    this.#world = world
    this.#options = options
  }

  get process(): Process | undefined {
    return this.#life?.process
  }

  get processor(): Processor | undefined {
    return this.#life?.processor
  }

  get up(): boolean {
    return this.#life?.process.alive === true && this.#life.closing === undefined
  }

  /** Nothing of it runs. */
  get down(): boolean {
    return this.#life === undefined || !this.#life.process.alive
  }

  start(): void {
    if (!this.down) return
    this.#lives += 1
    this.#world.note(`${this.name} starts`)
    const process = this.#world.process(this.name)
    const { brokers, requestTimeoutMs, wrap = (kafka) => kafka } = this.#options
    const connect = (): KafkaPort =>
      wrap(clientPort({ brokers, requestTimeoutMs, connectTimeoutMs: 1000, scope: process.scope, clientId: this.name }))
    const shared = connect()
    const registry = new TableRegistry(shared, this.disk.engine(process), this.#options.storeLingerMs)
    const open = async () => ({ kafka: connect(), registry, requestTimeoutMs, createInputs: undefined })
    const onEvent = (event: ProcessorEvent): void => {
      this.#world.note(`${this.name}: ${JSON.stringify(event)}`)
      this.#options.event?.(this, event)
    }
    const processor = new Processor(open, this.#options.group(process), { ...this.#options.processor, onEvent })
    const life: Life = { process, processor, registry, shared, closing: undefined }
    this.#life = life
    const ended = (error: unknown): void => {
      if (!process.alive || this.#life !== life || life.closing !== undefined) return
      const code = error instanceof MillraceError ? error.code : 'no code'
      this.#world.note(`${this.name} failed: ${code} ${String(error)}`)
      life.closing = this.#end(life)
      this.#options.failed(this, error)
    }
    processor.start().catch(() => {}) // `done` tells the same
    processor.done.catch(ended)
  }

  kill(): void {
    if (this.#life === undefined || !this.#life.process.alive) return
    this.#world.note(`${this.name} is killed`)
    this.#life.process.kill()
  }

  /** Closes in order; resolves when the process is gone. */
  async close(): Promise<void> {
    const life = this.#life
    if (life === undefined || !life.process.alive) return
    await this.#world.until(`${this.name} runs again`, () => !life.process.stalled)
    if (!life.process.alive) return
    this.#world.note(`${this.name} closes`)
    life.closing ??= this.#end(life)
    await Promise.race([life.closing, this.#world.until('it is killed', () => !life.process.alive, 3_600_000, 200)])
  }

  async #end(life: Life): Promise<void> {
    await life.processor.close()
    await life.registry.close()
    await life.shared.close()
    this.#world.note(`${this.name} has ended`)
    life.process.kill()
  }
}
