/**
 * Making a file durable, one sync at a time: of two at once, the one could be told that all is well because the other was
 * told of the failure. A sync that failed is never tried again, as the system may have dropped what was written. Owns the
 * handle: a file is not closed under a running sync, which might hit another file of the same descriptor then.
 */
import type { FileHandle } from '../../base/fs.ts'

export class FileSync {
  /** Bytes from the start that are known to be durable. */
  durable: number
  readonly #file: FileHandle
  #running: Promise<void> | undefined
  #failure: { readonly cause: unknown } | undefined
  #isClosed = false

  constructor(file: FileHandle, durable: number) {
    this.#file = file
    this.durable = durable
  }

  /** Whether a sync is running: `upToSync` does not wait for it. */
  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when the first `size` bytes, which are written, are durable, or the file was closed. Rejects with the system's error. */
  async upTo(size: number): Promise<void> {
    while (this.durable < size && !this.#isClosed) {
      if (this.#failure !== undefined) throw this.#failure.cause
      this.#running ??= this.#run(size)
      await this.#running
    }
  }

  async #run(size: number): Promise<void> {
    const before = this.durable
    try {
      await this.#file.sync()
      this.durable = Math.max(this.durable, size)
    } catch (cause) {
      this.#failure ??= { cause }
      this.durable = before
      throw cause
    } finally {
      this.#running = undefined
      if (this.#isClosed) this.#file.closeSync()
    }
  }

  /** The same at once. Throws the system's error. */
  upToSync(size: number): void {
    if (this.#failure !== undefined) throw this.#failure.cause
    try {
      this.#file.syncSync()
    } catch (cause) {
      this.#failure = { cause }
      throw cause
    }
    this.durable = Math.max(this.durable, size)
  }

  /** Closes the file, at the latest when a running sync has ended. Throws the system's error. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#running === undefined) this.#file.closeSync()
  }
}
