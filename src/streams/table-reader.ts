/**
 * TableReader: feeds table copies from the changelogs, all of an application's through one consumer, so that restoring
 * and live input never share a fetch. Raw bytes go from the fetch to the store in slices; nothing is decoded.
 * Owner: the consumer and the loop; a copy belongs to who added it.
 */
import type { Scheduler } from '../base/scope.ts'
import { type ChunkPort, type ConsumerPort, isOfPartition } from './port.ts'
import type { TableCopy } from './table-copy.ts'
import { nextTurn, sliceMs, Wake } from './turns.ts'

export class TableReader {
  readonly #scheduler: Scheduler
  readonly #consumer: ConsumerPort
  /** topic → partition → the copies that read it: a table may be restored by a task while others follow it. */
  readonly #copies = new Map<string, TableCopy>()
  readonly #wake = new Wake()
  #closed = false
  #waiting = false
  readonly #loop: Promise<void>

  constructor(scheduler: Scheduler, consumer: ConsumerPort) {
    this.#scheduler = scheduler
    this.#consumer = consumer
    this.#loop = this.#run()
  }

  /** Begins to feed `copy` from its position. At most one copy of a partition per reader. */
  add(copy: TableCopy): void {
    this.#copies.set(nameOf(copy.topic, copy.partition), copy)
    this.#consumer.assign([{ topic: copy.topic, partition: copy.partition, offset: copy.position }])
    this.#wake.wake()
  }

  remove(copy: TableCopy): void {
    const name = nameOf(copy.topic, copy.partition)
    if (this.#copies.get(name) !== copy) return
    this.#copies.delete(name)
    this.#consumer.unassign([copy])
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#wake.wake()
    await this.#consumer.close()
    await this.#loop
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      let chunk: ChunkPort | undefined
      try {
        chunk = this.#consumer.take()
      } catch (error) {
        this.#failed(error)
        // The error of one partition comes once and the others go on; any other means that the consumer is over.
        if (isOfPartition(error)) continue
        await this.#wake.wait()
        continue
      }
      if (chunk === undefined) {
        this.#listen()
        await this.#wake.wait()
        continue
      }
      const copy = this.#copies.get(nameOf(chunk.topic, chunk.partition))
      if (copy === undefined) continue
      try {
        copy.offer(chunk)
        await this.#apply(copy)
      } catch (error) {
        this.remove(copy)
        copy.fail(error)
      }
    }
  }

  async #apply(copy: TableCopy): Promise<void> {
    for (;;) {
      const deadline = this.#scheduler.monotonic() + sliceMs
      const done = copy.applySome(() => this.#scheduler.monotonic() >= deadline)
      if (this.#scheduler.monotonic() >= deadline) await nextTurn(this.#scheduler)
      if (!done && !this.#closed) continue
      // A changelog comes faster than tables are written: else the store would have to block this thread.
      const ready = copy.store.ready?.()
      if (ready !== undefined && !this.#closed) await ready
      return
    }
  }

  /** One wait at a time; a failure of a partition fails its copy. */
  #listen(): void {
    if (this.#waiting) return
    this.#waiting = true
    this.#consumer.wait().then(
      () => {
        this.#waiting = false
        this.#wake.wake()
      },
      (error: unknown) => {
        this.#waiting = false
        this.#failed(error)
        this.#wake.wake()
      },
    )
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    const at = error as { topic?: string; partition?: number }
    const one = this.#copies.get(nameOf(at.topic ?? '', at.partition ?? -1))
    const failed = one === undefined ? [...this.#copies.values()] : [one]
    for (const copy of failed) {
      this.remove(copy)
      copy.fail(error)
    }
  }
}

function nameOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
