/**
 * TableRegistry: an application's local tables. Stores belong here, not to tasks: a partition that was given up keeps its
 * store for a while (`storeLingerMs`), so that getting it back costs only the tail. Copies that joins, lookups and views
 * follow are shared: one per (topic, partition) and application.
 * Owner of every store and shared copy, and of the two readers: restoring tasks never wait behind followers.
 */
import { assert } from '../base/assert.ts'
import type { TimerHandle } from '../base/scope.ts'
import type { StorageEngine, Store, StoreDirectory } from '../storage/index.ts'
import { StreamsError } from './errors.ts'
import type { KafkaPort } from './port.ts'
import { checkpointState, topicIdOf } from './store-state.ts'
import { TableCopy } from './table-copy.ts'
import { TableReader } from './table-reader.ts'

/** The group name under which followed copies are stored; no group can have it. */
const copiesGroup = '~copies'

interface OpenStore {
  readonly store: Promise<Store>
  users: number
  linger: TimerHandle | undefined
}

interface Followed {
  readonly copy: Promise<TableCopy>
  users: number
}

export class TableRegistry {
  readonly #kafka: KafkaPort
  readonly #engine: StorageEngine
  readonly #lingerMs: number
  readonly #stores = new Map<string, OpenStore>()
  /** Stores whose time is over and that are not closed yet. */
  readonly #closingStores = new Map<string, Promise<void>>()
  readonly #followed = new Map<string, Followed>()
  readonly #closed = new AbortController()
  #restorer: TableReader | undefined
  #follower: TableReader | undefined

  constructor(kafka: KafkaPort, engine: StorageEngine, lingerMs: number) {
    this.#kafka = kafka
    this.#engine = engine
    this.#lingerMs = lingerMs
  }

  /** Opens a task's store, or takes up the one that lingers. One user at a time. */
  async acquire(group: string, topic: string, partition: number): Promise<Store> {
    const name = nameOf(group, topic, partition)
    const open = this.#stores.get(name)
    if (open !== undefined) {
      assert(open.users === 0, 'a store has two users')
      open.users = 1
      if (open.linger !== undefined) this.#kafka.scope.scheduler.clearTimer(open.linger)
      open.linger = undefined
      return open.store
    }
    const store = this.#openStore(name, { group, table: topic, partition })
    const opened: OpenStore = { store, users: 1, linger: undefined }
    this.#stores.set(name, opened)
    store.catch(() => {
      if (this.#stores.get(name) === opened) this.#stores.delete(name)
    })
    return store
  }

  /** The user is done: the store stays open for `storeLingerMs`. */
  release(group: string, topic: string, partition: number): void {
    const name = nameOf(group, topic, partition)
    const open = this.#stores.get(name)
    if (open === undefined || open.users === 0) return
    open.users = 0
    open.linger = this.#kafka.scope.scheduler.setTimer(this.#lingerMs, () => {
      this.#stores.delete(name)
      const closing = open.store
        .then((store) => store.close())
        .finally(() => {
          if (this.#closingStores.get(name) === closing) this.#closingStores.delete(name)
        })
      this.#closingStores.set(name, closing)
      closing.catch(() => {}) // whoever opens the store next is told
    })
  }

  /** Opens a store, after the one that is being closed in the same place. */
  async #openStore(name: string, directory: StoreDirectory): Promise<Store> {
    await this.#closingStores.get(name)
    return this.#engine.open(directory)
  }

  /**
   * Brings a task's store up to `target` (a high watermark that was asked for after the task's committed offsets were
   * read). Resolves with the position reached.
   */
  async restore(
    at: { topic: string; partition: number; store: Store; target: number },
    signal: AbortSignal,
  ): Promise<TableCopy> {
    const { topic, partition, store, target } = at
    const start = await this.#startOf(topic, partition, store, target, signal)
    const copy = new TableCopy(topic, partition, store, checkpointState(this.#topicId(topic)))
    this.#restorer ??= new TableReader(this.#kafka.scope.scheduler, this.#tableConsumer())
    const reader = this.#restorer
    const onAbort = (): void => copy.fail(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      copy.begin(start, target)
      if (!copy.recovered) reader.add(copy)
      await copy.whenRecovered()
    } finally {
      signal.removeEventListener('abort', onAbort)
      reader.remove(copy)
      copy.close(signal.reason)
    }
    return copy
  }

  /** A shared copy that is kept up to date; give it back with `unfollow`. Not necessarily recovered yet. */
  async follow(topic: string, partition: number): Promise<TableCopy> {
    const name = nameOf(copiesGroup, topic, partition)
    let followed = this.#followed.get(name)
    if (followed === undefined) {
      followed = { copy: this.#openCopy(topic, partition), users: 0 }
      this.#followed.set(name, followed)
      followed.copy.catch(() => this.#followed.delete(name))
    }
    followed.users += 1
    return followed.copy
  }

  unfollow(copy: TableCopy): void {
    const name = nameOf(copiesGroup, copy.topic, copy.partition)
    const followed = this.#followed.get(name)
    if (followed === undefined) return
    followed.users -= 1
    if (followed.users > 0) return
    this.#followed.delete(name)
    this.#follower?.remove(copy)
    copy.close(new StreamsError('ERR_STATE', `nobody follows ${copy.topic}/${copy.partition} any more`))
    this.release(copiesGroup, copy.topic, copy.partition)
  }

  async close(): Promise<void> {
    this.#closed.abort(new StreamsError('ERR_STATE', 'the application was closed'))
    await Promise.all([this.#restorer?.close(), this.#follower?.close()])
    for (const { copy } of this.#followed.values()) {
      const opened = await copy.catch(() => undefined)
      opened?.close(this.#closed.signal.reason)
    }
    for (const { linger } of this.#stores.values()) {
      if (linger !== undefined) this.#kafka.scope.scheduler.clearTimer(linger)
    }
    this.#followed.clear()
    this.#stores.clear()
    await this.#engine.close()
  }

  async #openCopy(topic: string, partition: number): Promise<TableCopy> {
    const { signal } = this.#closed
    const store = await this.acquire(copiesGroup, topic, partition)
    const at = [{ topic, partition }]
    const [target = 0] = await this.#kafka.listOffsets(at, 'latest', signal)
    const start = await this.#startOf(topic, partition, store, target, signal)
    const copy = new TableCopy(topic, partition, store, checkpointState(this.#topicId(topic)))
    this.#follower ??= new TableReader(this.#kafka.scope.scheduler, this.#tableConsumer())
    copy.begin(start, target)
    this.#follower.add(copy)
    return copy
  }

  /** Where to read on: the store's checkpoint if it belongs to this topic and is inside its log, else the beginning. */
  async #startOf(topic: string, partition: number, store: Store, target: number, signal: AbortSignal): Promise<number> {
    const [earliest = 0] = await this.#kafka.listOffsets([{ topic, partition }], 'earliest', signal)
    const { checkpoint } = store
    if (checkpoint === undefined) return earliest
    const sameTopic = topicIdOf(checkpoint.state) === this.#topicId(topic)
    if (sameTopic && checkpoint.position <= target && checkpoint.position >= earliest) return checkpoint.position
    const shrunk = target < checkpoint.position
    if (shrunk && store.entryCount > 0) {
      throw new StreamsError(
        'ERR_TABLE_DIVERGED',
        `the local table of ${topic}/${partition} has followed its topic to offset ${checkpoint.position}, but the topic ` +
          `${sameTopic ? '' : 'was made anew and '}ends at ${target}: the local copy may be the only one left. ` +
          'Restart the process to discard it and rebuild from the topic',
      )
    }
    // Another topic, or records that compaction passed: what is here cannot be brought up to date.
    store.clear()
    return earliest
  }

  #topicId(topic: string): string {
    return this.#kafka.metadata.view.topic(topic)?.id ?? ''
  }

  #tableConsumer(): ReturnType<KafkaPort['consumer']> {
    return this.#kafka.consumer({ isolation: 'read_committed', startFrom: 'error' })
  }
}

function nameOf(group: string, topic: string, partition: number): string {
  return `${group} ${topic}/${partition}`
}
