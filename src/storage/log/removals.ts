/**
 * Removing files that no version has any more, one after the other and without blocking: the system takes milliseconds to
 * give back the room of a large one. Owns the queue; a store waits for it before it gives its lock away.
 */
import type { StoreFiles } from './format.ts'

export class Removals {
  readonly #files: Pick<StoreFiles, 'fs' | 'checkLock'>
  /** To be told of a file that stays; the next opening of its store tries again. */
  readonly failed: (error: unknown) => void
  readonly #paths: string[] = []
  #running: Promise<void> | undefined
  #isStopped = false

  constructor(files: Pick<StoreFiles, 'fs' | 'checkLock'>, failed: (error: unknown) => void) {
    this.#files = files
    this.failed = failed
  }

  /** The file goes soon. Nobody has it open. */
  remove(path: string): void {
    if (this.#isStopped) return
    this.#paths.push(path)
    this.#running ??= this.#run()
  }

  /** The store may not be changed any more: nothing else goes. What stays is removed when it is opened next. */
  stop(): void {
    this.#isStopped = true
    this.#paths.length = 0
  }

  /** Undefined when there is nothing to wait for; else it resolves when everything so far is gone, or told of. */
  idle(): Promise<void> | undefined {
    return this.#running
  }

  async #run(): Promise<void> {
    for (let path = this.#paths.shift(); path !== undefined; path = this.#paths.shift()) {
      try {
        await this.#removeNow(path)
      } catch (error) {
        this.failed(error)
      }
    }
    this.#running = undefined
  }

  /** Only rejects, never throws: `#run` must not have ended before `#running` says that it runs. */
  async #removeNow(path: string): Promise<void> {
    // It may be a long time since the manifest was written that does without it, and another owner's may name it.
    this.#files.checkLock?.()
    await this.#files.fs.remove(path)
  }
}
