/**
 * The lock of a store's directory: a file LOCK that says who has it open. Node has no flock, so a lock that its holder
 * left behind is told by asking whether that process still lives, and is taken over. Two that take it over at once end
 * with one holder, as renaming is atomic. If a holder is ever wrongly taken for dead (another container that shares the
 * directory but not the process numbers; directories shared between machines are not supported) it finds out by
 * `check()`, which is why nothing that others would build on is written without one.
 *
 * Owns: LOCK while it is held, and the two sets below, which know the locks of this thread.
 */
import type { Fs } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { lockName } from './format.ts'
import type { LockOwner, ProcessIdentity } from './process-identity.ts'
import { hasCode, readSmallFile } from './small-file.ts'

/** Longer than any lock's record. */
const readBytes = 4096
/** So often others may come first before it is given up. */
const maxAttempts = 16

/** By path, the nonces of locks held through a file system: a second one is refused even when LOCK was removed by hand. */
const locked = new WeakMap<Fs, Map<string, string>>()
/** Nonces of locks that nobody here holds although their file could not be removed. */
const abandoned = new Set<string>()

/** What was found where a lock should be. `unfinished`: its maker has not written it, and may never do so. */
export type Found = LockOwner | 'unfinished' | undefined

/** A lock that is held. */
export class StoreLock {
  readonly #fs: Fs
  readonly #path: string
  readonly #store: string
  readonly #nonce: string
  #released = false

  private constructor(fs: Fs, path: string, store: string, nonce: string) {
    this.#fs = fs
    this.#path = path
    this.#store = store
    this.#nonce = nonce
  }

  /**
   * Takes the lock `path`, whose directory exists, for `identity`. Throws StoreError ERR_STORE_LOCKED, which says who holds
   * it, or the system's error.
   */
  static acquire(fs: Fs, path: string, store: string, identity: ProcessIdentity): StoreLock {
    const held = locked.get(fs) ?? new Map<string, string>()
    locked.set(fs, held)
    if (held.has(path))
      throw lockedError(store, path, 'it is open already in this process: use that store, or close it first')
    try {
      take(fs, path, store, identity)
    } catch (error) {
      abandon(fs, path, identity.nonce)
      throw error
    }
    held.set(path, identity.nonce)
    return new StoreLock(fs, path, store, identity.nonce)
  }

  /**
   * Throws StoreError ERR_STORE_POISONED when the lock is not ours any more: somebody took it over, or removed the file.
   * To be called before every write that changes which files count. Also throws the system's error when it cannot look.
   */
  check(): void {
    const found = this.#released ? undefined : readRecord(this.#fs, this.#path)
    if (found !== undefined && found !== 'unfinished' && found.nonce === this.#nonce) return
    const who = found === undefined || found === 'unfinished' ? 'nobody' : `process ${found.pid} on ${found.host}`
    const text = `the lock ${this.#path} was lost: now ${who} has it. This store may not be written any more; close it`
    throw new StoreError('ERR_STORE_POISONED', this.#store, text, undefined, { file: lockName })
  }

  /**
   * Gives the lock back; what is not ours any more stays. May be called any number of times. After the system's error the
   * file may be there still: this process can lock the store again, others when this one has ended or `release` was
   * called again with success.
   */
  release(): void {
    if (this.#released) return
    const held = locked.get(this.#fs)
    if (held?.get(this.#path) === this.#nonce) held.delete(this.#path)
    abandoned.add(this.#nonce)
    removeOwn(this.#fs, this.#path, this.#nonce)
    this.#released = true
    abandoned.delete(this.#nonce)
  }
}

/** Makes LOCK ours. Throws StoreError ERR_STORE_LOCKED or the system's error; a LOCK of ours may be there then. */
function take(fs: Fs, path: string, store: string, identity: ProcessIdentity): void {
  const record = encodeRecord(identity)
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const found = readRecord(fs, path)
    if (found === undefined) {
      // It is looked at again: somebody may have taken the file for a dead one's before the record was in it.
      create(fs, path, record)
    } else if (found !== 'unfinished' && found.nonce === identity.nonce) {
      return
    } else if (found === 'unfinished' || abandoned.has(found.nonce) || isStale(found, identity)) {
      takeAway(fs, path, found, identity.nonce)
    } else {
      throw lockedError(store, path, holderText(found, identity, path))
    }
  }
  throw lockedError(store, path, 'several processes are opening it at once')
}

/** Who has it, and what to do. */
function holderText({ pid, host, startTime }: LockOwner, self: ProcessIdentity, path: string): string {
  if (pid === self.pid && host === self.host && startTime === self.startTime) {
    const where = `this process (${pid}) has it open, through another engine or in another thread`
    return `${where}: close it there first. Only if that thread was ended without, remove ${path}`
  }
  return `process ${pid} on ${host} has it open. Stop that process; if it is none of yours, remove ${path}`
}

/** After a failure: a LOCK of ours holds nobody up, whether it can be removed or not. */
function abandon(fs: Fs, path: string, nonce: string): void {
  abandoned.add(nonce)
  try {
    removeOwn(fs, path, nonce)
    abandoned.delete(nonce)
  } catch {
    // It stays in the set.
  }
}

/** Removes LOCK if it is ours. Throws the system's error. */
function removeOwn(fs: Fs, path: string, nonce: string): void {
  const found = readRecord(fs, path)
  if (isRecord(found) && found.nonce === nonce) fs.removeSync(path)
}

/**
 * Whether the holder of a lock is gone. One of another boot is, or one whose number no process has, or a process that
 * started at another time. One of another machine can only be told by its boot.
 */
export function isStale(owner: LockOwner, self: ProcessIdentity): boolean {
  if (owner.bootId !== '' && self.bootId !== '') {
    if (owner.bootId !== self.bootId) return true
  } else if (owner.host !== self.host) return false
  const startTime = self.startTimeOf(owner.pid)
  if (startTime === undefined) return true
  return startTime !== '' && owner.startTime !== '' && startTime !== owner.startTime
}

/** Makes the file of a lock unless there is one. */
function create(fs: Fs, path: string, record: Buffer): void {
  let file: ReturnType<Fs['openSync']>
  try {
    file = fs.openSync(path, 'createNew')
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return
    throw error
  }
  try {
    file.writeSync(record, 0, record.length, 0)
  } catch (error) {
    // Whoever comes next would take it for unfinished anyway.
    removeQuietly(fs, path)
    throw error
  } finally {
    file.closeSync()
  }
}

/**
 * Takes away the lock of a dead holder. Between looking and renaming, another may have done the same and made a new lock:
 * what was renamed is looked at, and put back if it is not what was found.
 */
function takeAway(fs: Fs, path: string, found: LockOwner | 'unfinished', nonce: string): void {
  const aside = `${path}.${nonce}.tmp`
  try {
    fs.renameSync(path, aside)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return
    throw error
  }
  let same = false
  try {
    const taken = readRecord(fs, aside)
    same = taken === found || (isRecord(taken) && isRecord(found) && taken.nonce === found.nonce)
  } finally {
    if (same || fs.existsSync(path)) removeQuietly(fs, aside)
    else fs.renameSync(aside, path)
  }
}

function isRecord(found: Found): found is LockOwner {
  return typeof found === 'object'
}

function encodeRecord({ pid, host, bootId, startTime, nonce }: LockOwner): Buffer {
  return Buffer.from(`${JSON.stringify({ pid, host, bootId, startTime, nonce })}\n`)
}

/**
 * Who has the lock `path`, or had it when it died (see `isStale`); undefined when there is none. Throws the system's
 * error.
 */
export function readRecord(fs: Fs, path: string): Found {
  const bytes = readSmallFile(fs, path, readBytes)
  if (bytes === undefined) return undefined
  try {
    const { pid, host, bootId, startTime, nonce } = JSON.parse(bytes.toString()) as Record<string, unknown>
    if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid < 1) return 'unfinished'
    if (typeof host !== 'string' || typeof bootId !== 'string') return 'unfinished'
    if (typeof startTime !== 'string' || typeof nonce !== 'string') return 'unfinished'
    return { pid, host, bootId, startTime, nonce }
  } catch {
    return 'unfinished'
  }
}

function removeQuietly(fs: Fs, path: string): void {
  try {
    fs.removeSync(path)
  } catch {
    // It hinders nobody, and is removed with other temporary files.
  }
}

function lockedError(store: string, path: string, what: string): StoreError {
  return new StoreError('ERR_STORE_LOCKED', store, `${path} is locked: ${what}`, undefined, { file: lockName })
}
