/**
 * Stores that are kept aside while new ones are built in their places: `<partition>` is renamed to `<partition>.old`, and
 * removed when the new one is durably complete (by way of `<partition>.gone`, so that a removal that is broken off never
 * leaves half a store that looks like a whole one). Owns those names; the open stores are the engine's.
 */
import type { Fs } from '../../base/fs.ts'
import type { Store, StoreDirectory, StoresAside } from '../contract.ts'
import { storeName } from '../directory.ts'
import { StoreError } from '../errors.ts'
import { lockName } from './format.ts'
import type { StoreLock } from './lock.ts'

/** What it needs of its engine. */
export interface AsideHost {
  readonly fs: Fs
  pathOf(directory: StoreDirectory): string
  /** Takes the lock of the store in `dir`. Throws StoreError. */
  lock(dir: string, name: string): StoreLock
  /** Opens the store in `dir`. Throws StoreError. */
  open(dir: string, name: string): Promise<Store>
  /** Makes everything in the store durable if it is open. Rejects with StoreError. */
  flush(dir: string): Promise<void>
}

export class LogAside implements StoresAside {
  readonly #host: AsideHost

  constructor(host: AsideHost) {
    this.#host = host
  }

  has(directory: StoreDirectory): boolean {
    return this.#host.fs.existsSync(this.pathOf(directory))
  }

  pathOf(directory: StoreDirectory): string {
    return `${this.#host.pathOf(directory)}.old`
  }

  async put(directory: StoreDirectory): Promise<void> {
    const { fs } = this.#host
    const dir = this.#host.pathOf(directory)
    const old = this.pathOf(directory)
    const name = storeName(directory)
    if (fs.existsSync(old)) throw new StoreError('ERR_STORE_IO', name, `there is one aside already: ${old}`)
    // Whoever has the lock has the files; it moves with them, and opening the new store makes another.
    const lock = this.#host.lock(dir, name)
    try {
      guarded(name, `${dir} cannot be moved aside`, () => {
        fs.renameSync(dir, old)
        fs.syncDirSync(parentOf(dir))
      })
    } finally {
      lock.release()
    }
    if (fs.existsSync(`${old}/${lockName}`)) fs.removeSync(`${old}/${lockName}`)
  }

  async open(directory: StoreDirectory): Promise<Store> {
    return this.#host.open(this.pathOf(directory), `${storeName(directory)}.old`)
  }

  async remove(directory: StoreDirectory): Promise<void> {
    const { fs } = this.#host
    const dir = this.#host.pathOf(directory)
    const old = this.pathOf(directory)
    await this.#host.flush(dir)
    if (!fs.existsSync(old)) return
    guarded(storeName(directory), `${old} cannot be removed`, () => {
      this.sweep(dir)
      fs.renameSync(old, `${dir}.gone`)
      fs.syncDirSync(parentOf(dir))
      this.sweep(dir)
    })
  }

  /** Removes what a removal left that was broken off. Throws the system's error. */
  sweep(dir: string): void {
    if (this.#host.fs.existsSync(`${dir}.gone`)) this.#host.fs.removeSync(`${dir}.gone`)
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

function guarded(store: string, what: string, work: () => void): void {
  try {
    work()
  } catch (cause) {
    const { code = 'unknown', message = String(cause) } = cause as { code?: string; message?: string }
    throw new StoreError('ERR_STORE_IO', store, `${what} (${code}): ${message}`, cause)
  }
}
