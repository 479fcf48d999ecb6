/**
 * The lock of a store's directory: a file LOCK that says who has it open. Node has no flock, so a lock that its holder
 * left behind is told by asking whether that process still lives, and is taken over. Two that take it over at once end
 * with one holder, as renaming is atomic. Of a holder on another machine, or in another container, nobody can say whether it
 * lives: its lock is taken over as well (a container that was started elsewhere must find its tables), but whoever does so
 * makes all files anew that such a holder may be writing (`mayHaveRival`). And a holder that lost its lock finds out by
 * `check()`: before everything by which it would change names in the directory, and before it says that something is durable.
 *
 * Owns: LOCK while it is held, and the two sets below, which know the locks of this thread.
 */
import type { Fs } from '../../base/fs.ts'
import { StoreError } from '../errors.ts'
import { lockName } from './format.ts'
import { isTooMany, tooManyRemedy } from './handles.ts'
import type { LockOwner, ProcessIdentity } from './process-identity.ts'
import { hasCode, readSmallFile } from './small-file.ts'
import { markUnsynced } from './unsynced.ts'

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
  readonly #roomy: Fs
  readonly #path: string
  readonly #store: string
  readonly #nonce: string
  /** Whoever had it before may be alive, and not know yet that it is ours now. */
  readonly mayHaveRival: boolean
  #released = false

  private constructor(fs: Fs, roomy: Fs, path: string, store: string, nonce: string, mayHaveRival: boolean) {
    this.#fs = fs
    this.#roomy = roomy
    this.#path = path
    this.#store = store
    this.#nonce = nonce
    this.mayHaveRival = mayHaveRival
  }

  /**
   * Takes the lock `path`, whose directory exists, for `identity`. Throws StoreError ERR_STORE_LOCKED, which says who holds
   * it, or the system's error. `roomy`: for looking at it later, the same files where more can be opened.
   */
  static acquire(fs: Fs, path: string, store: string, identity: ProcessIdentity, roomy = fs): StoreLock {
    const held = locked.get(fs) ?? new Map<string, string>()
    locked.set(fs, held)
    if (held.has(path))
      throw lockedError(store, path, 'it is open already in this process: use that store, or close it first')
    let mayHaveRival: boolean
    try {
      mayHaveRival = take(fs, path, store, identity)
    } catch (error) {
      abandon(fs, path, identity.nonce)
      throw error
    }
    held.set(path, identity.nonce)
    return new StoreLock(fs, roomy, path, store, identity.nonce, mayHaveRival)
  }

  /**
   * Throws StoreError ERR_STORE_POISONED when the lock is not ours any more: somebody took it over, or removed the file;
   * ERR_STORE_IO when it cannot look. To be called before everything that changes which files count.
   */
  check(): void {
    const found = this.#released ? undefined : this.#look()
    if (found !== undefined && found !== 'unfinished' && found.nonce === this.#nonce) return
    const who = found === undefined || found === 'unfinished' ? 'nobody' : `process ${found.pid} on ${found.host}`
    const text = `the lock ${this.#path} was lost: now ${who} has it. This store may not be written any more; close it`
    throw new StoreError('ERR_STORE_POISONED', this.#store, text, undefined, { file: lockName })
  }

  #look(): Found {
    try {
      return ownRecord(this.#roomy, this.#path)
    } catch (cause) {
      const { code = String(cause) } = cause as { readonly code?: string }
      const remedy = isTooMany(cause) ? `: ${tooManyRemedy}` : ''
      const text = `its lock cannot be read (${code})${remedy}, so that it is not known whether it is still ours. Nothing has changed`
      throw new StoreError('ERR_STORE_IO', this.#store, text, cause, { file: lockName })
    }
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

/**
 * Makes LOCK ours. True: whoever had it may be alive. Throws StoreError ERR_STORE_LOCKED or the system's error; a LOCK of ours
 * may be there then.
 */
function take(fs: Fs, path: string, store: string, identity: ProcessIdentity): boolean {
  const record = encodeRecord(identity)
  let mayHaveRival = false
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const found = readForeign(fs, path, store)
    if (found === undefined) {
      // It is looked at again: somebody may have taken the file for a dead one's before the record was in it.
      create(fs, path, record)
    } else if (found !== 'unfinished' && found.nonce === identity.nonce) {
      return mayHaveRival
    } else if (found === 'unfinished' || abandoned.has(found.nonce)) {
      takeAway(fs, path, found, identity.nonce)
    } else {
      const state = holderState(found, identity)
      if (state !== 'alive') {
        if (state === 'unknown') {
          mayHaveRival = true
          // If we die now, or cannot open the store, the next one must know that there was such an owner.
          markUnsynced(fs, path.slice(0, path.lastIndexOf('/')), true)
        }
        takeAway(fs, path, found, identity.nonce)
        continue
      }
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
  const found = ownRecord(fs, path)
  if (isRecord(found) && found.nonce === nonce) fs.removeSync(path)
}

/** What is known of the holder of a lock. `unknown`: it is on another machine or in another container, or it died there. */
export type HolderState = 'alive' | 'gone' | 'unknown'

/**
 * Whether the holder of a lock is gone. It is if no process has its number, or one that started at another time; but if its
 * process numbers are not ours, these mean nothing. One of another boot is gone, or on another machine. Where boots are
 * unknown, one of another machine is taken to be alive.
 */
export function holderState(owner: LockOwner, self: ProcessIdentity): HolderState {
  if (owner.bootId !== '' && self.bootId !== '') {
    if (owner.bootId !== self.bootId) return 'unknown'
  } else if (owner.host !== self.host) return 'alive'
  const startTime = self.startTimeOf(owner.pid)
  const isIt = startTime !== undefined && (startTime === '' || owner.startTime === '' || startTime === owner.startTime)
  if (isIt) return 'alive'
  const isOurs =
    owner.initTime === '' || self.initTime === '' ? owner.host === self.host : owner.initTime === self.initTime
  return isOurs ? 'gone' : 'unknown'
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

function encodeRecord({ pid, host, bootId, startTime, initTime, nonce }: LockOwner): Buffer {
  return Buffer.from(`${JSON.stringify({ pid, host, bootId, startTime, initTime, nonce })}\n`)
}

/**
 * Who has the lock `path`, or had it when it died (see `holderState`); undefined when there is none. Throws the system's
 * error.
 */
export function readRecord(fs: Fs, path: string): Found {
  const bytes = readSmallFile(fs, path, readBytes)
  if (bytes === undefined) return undefined
  try {
    const record = JSON.parse(bytes.toString()) as Record<string, unknown>
    // Locks of earlier releases have none.
    const { pid, host, bootId, startTime, initTime = '', nonce } = record
    if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid < 1) return 'unfinished'
    if (typeof host !== 'string' || typeof bootId !== 'string') return 'unfinished'
    if (typeof startTime !== 'string' || typeof initTime !== 'string' || typeof nonce !== 'string') return 'unfinished'
    return { pid, host, bootId, startTime, initTime, nonce }
  } catch {
    return 'unfinished'
  }
}

/** What is in the place of a lock that we have taken: when that is no file any more, ours is gone. Throws the system's error. */
function ownRecord(fs: Fs, path: string): Found {
  try {
    return readRecord(fs, path)
  } catch (error) {
    if (hasCode(error, 'ENOTDIR') || hasCode(error, 'EISDIR')) return undefined
    throw error
  }
}

/** What is in the place of a lock that we want. Throws StoreError ERR_STORE_IO for a directory, or the system's error. */
function readForeign(fs: Fs, path: string, store: string): Found {
  try {
    return readRecord(fs, path)
  } catch (error) {
    if (!hasCode(error, 'EISDIR')) throw error
    const text = `${path} is a directory, but must be the file that says who has the store open: remove it`
    throw new StoreError('ERR_STORE_IO', store, text, error, { file: lockName })
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
