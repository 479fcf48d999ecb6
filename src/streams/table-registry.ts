/**
 * TableRegistry: an application's local tables. Stores belong here, not to tasks: a partition that was given up keeps its
 * store for a while (`storeLingerMs`), so that getting it back costs only the tail. Copies that joins, lookups and views
 * follow are shared: one per (topic, partition) and application.
 * Owner of every store and shared copy, and of the two readers: restoring tasks never wait behind followers.
 */
import { assert } from '../base/assert.ts'
import type { TimerHandle } from '../base/scope.ts'
import { notify } from '../base/events.ts'
import type { StorageEngine, Store, StoreDirectory } from '../storage/index.ts'
import { StreamsError, TableDivergedError } from './errors.ts'
import type { KafkaPort } from './port.ts'
import { decodeStoreState } from './store-state.ts'
import { type CopyStart, TableCopy } from './table-copy.ts'
import type { TableEvent } from './table-events.ts'
import { decideOpening, needsDeleteRetention, needsEpochEnd, type OpeningFacts } from './table-opening.ts'
import { TableReader } from './table-reader.ts'

/** The group name under which followed copies are stored; no group can have it. */
const copiesGroup = '~copies'

interface OpenStore {
  store: Promise<Store>
  users: number
  linger: TimerHandle | undefined
}

/** A store whose user wants it brought up to date. */
interface StoreToRestore {
  /** The group that keeps its table in it; `copiesGroup` for a copy that is followed. */
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** The log's end: a high watermark that was asked for after the task's committed offsets were read. */
  readonly target: number
  /** When it was asked for, milliseconds of the wall clock. */
  readonly askedMs: number
}

/** What a restored table is, and how it came about. */
export interface RestoredTable {
  /** It has ended; its store is the table's. */
  readonly copy: TableCopy
  /** Entries that were there and stayed, about. */
  readonly localEntries: number
  /** Why what was there was built anew; undefined: it was not. */
  readonly rebuilt: string | undefined
}

interface Followed {
  readonly copy: Promise<TableCopy>
  users: number
}

export class TableRegistry {
  readonly #kafka: KafkaPort
  readonly #engine: StorageEngine
  readonly #lingerMs: number
  readonly #onEvent: ((event: TableEvent) => void) | undefined
  readonly #stores = new Map<string, OpenStore>()
  /** Stores whose time is over and that are not closed yet. */
  readonly #closingStores = new Map<string, Promise<void>>()
  readonly #followed = new Map<string, Followed>()
  /** Questions after the topics' `delete.retention.ms` that are being asked. */
  readonly #retentions = new Map<string, Promise<number | undefined>>()
  readonly #closed = new AbortController()
  #restorer: TableReader | undefined
  #follower: TableReader | undefined

  constructor(kafka: KafkaPort, engine: StorageEngine, lingerMs: number, onEvent?: (event: TableEvent) => void) {
    this.#kafka = kafka
    this.#engine = engine
    this.#lingerMs = lingerMs
    this.#onEvent = onEvent
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
   * Brings a task's store up to the target; `acquire` it first. What is restored is in the copy's store: if it had to be
   * built anew, that is another than was acquired. Rejects with TableDivergedError, the signal's reason, or what failed.
   */
  async restore(at: StoreToRestore, signal: AbortSignal): Promise<RestoredTable> {
    const opened = await this.#open(at, signal)
    const { copy, start } = opened
    this.#restorer ??= new TableReader(this.#kafka.scope.scheduler, this.#tableConsumer())
    const reader = this.#restorer
    const onAbort = (): void => copy.fail(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      copy.begin(start)
      if (!copy.recovered) reader.add(copy)
      await copy.whenRecovered()
      await this.#recovered(at, opened)
    } finally {
      signal.removeEventListener('abort', onAbort)
      reader.remove(copy)
      copy.close(signal.reason)
    }
    return opened
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
    await this.acquire(copiesGroup, topic, partition)
    try {
      const askedMs = this.#kafka.scope.scheduler.now()
      const [target = 0] = await this.#kafka.listOffsets([{ topic, partition }], 'latest', signal)
      const at = { group: copiesGroup, topic, partition, target, askedMs }
      const opened = await this.#open(at, signal)
      this.#follower ??= new TableReader(this.#kafka.scope.scheduler, this.#tableConsumer())
      const { copy } = opened
      copy.begin(opened.start)
      copy.whenRecovered().then(
        () => this.#recovered(at, opened),
        () => {}, // the copy's state says so
      )
      this.#follower.add(copy)
      return copy
    } catch (cause) {
      this.release(copiesGroup, topic, partition)
      throw cause
    }
  }

  /** A copy of what the store has, and where it begins: on from its checkpoint, or from nothing. */
  async #open(
    at: StoreToRestore,
    signal: AbortSignal,
  ): Promise<RestoredTable & { readonly copy: TableCopy; readonly start: CopyStart }> {
    const { group, topic, partition, target, askedMs } = at
    const { scheduler } = this.#kafka.scope
    const open = this.#stores.get(nameOf(group, topic, partition))
    assert(open !== undefined, 'a store is restored that nobody acquired')
    let store = await open.store
    await this.#checkAside(at, signal)
    const facts = await this.#facts(at, store, signal)
    const opening = decideOpening(facts)
    let rebuilt: string | undefined
    let start: CopyStart = { from: 0, target, askedMs, leaderEpoch: -1, wallMs: askedMs }
    switch (opening.kind) {
      case 'resume': {
        const { leaderEpoch = -1, wallMs = -1 } = facts.checkpoint?.state ?? {}
        start = { ...start, from: opening.from, leaderEpoch, wallMs }
        break
      }
      case 'fill':
        if (facts.hasEntries || facts.checkpoint !== undefined) store.clear()
        start = { ...start, from: opening.from }
        break
      case 'rebuild': {
        rebuilt = opening.reason
        const place = { group: shownGroup(group), topic, partition }
        notify(this.#onEvent, { type: 'tableRebuild', ...place, reason: rebuilt })
        store = await this.#setAside(at, open, store)
        start = { ...start, from: opening.from }
        break
      }
      case 'diverged':
        throw this.#diverged(at, facts, opening.reason, this.#engine.pathOf?.({ group, table: topic, partition }))
    }
    const now = (): number => scheduler.now()
    const copy = new TableCopy({ topic, partition }, store, facts.topicId, now)
    return { copy, start, rebuilt, localEntries: opening.kind === 'resume' ? store.entryCount : 0 }
  }

  async #facts({ topic, partition, target }: StoreToRestore, store: Store, signal: AbortSignal): Promise<OpeningFacts> {
    const [earliest = 0] = await this.#kafka.listOffsets([{ topic, partition }], 'earliest', signal)
    const { checkpoint } = store
    const state = checkpoint === undefined ? undefined : decodeStoreState(checkpoint.state)
    const facts: OpeningFacts = {
      checkpoint: checkpoint === undefined ? undefined : { position: checkpoint.position, state },
      hasEntries: hasEntries(store),
      topicId: this.#kafka.metadata.view.topic(topic)?.id ?? '',
      earliest,
      end: target,
      epochEnd: undefined,
      deleteRetentionMs: undefined,
      nowMs: this.#kafka.scope.scheduler.now(),
    }
    const epochEnd = needsEpochEnd(facts)
      ? await this.#kafka.epochEnd({ topic, partition }, state?.leaderEpoch ?? -1, signal)
      : undefined
    const deleteRetentionMs = needsDeleteRetention(facts) ? await this.#deleteRetention(topic) : undefined
    return { ...facts, epochEnd, deleteRetentionMs }
  }

  /** How long the topic keeps deletions, milliseconds; one question for all of its partitions that open together. */
  #deleteRetention(topic: string): Promise<number | undefined> {
    let asking = this.#retentions.get(topic)
    if (asking === undefined) {
      const name = 'delete.retention.ms'
      asking = this.#kafka.admin
        .topicConfig(topic, [name])
        .then((config) => {
          const text = config.get(name)
          const value = text === undefined || text === null || text === '' ? Number.NaN : Number(text)
          return Number.isNaN(value) ? undefined : value
        })
        .finally(() => this.#retentions.delete(topic))
      this.#retentions.set(topic, asking)
    }
    return asking
  }

  /** An empty store in the place of one that is kept aside until the new one has recovered, if the engine can. */
  async #setAside({ group, topic, partition }: StoreToRestore, open: OpenStore, store: Store): Promise<Store> {
    const { aside } = this.#engine
    const directory = { group, table: topic, partition }
    // What is aside already is the last one that was complete; what is here now never was.
    if (aside === undefined || aside.has(directory)) {
      store.clear()
      return store
    }
    const again = store
      .close()
      .then(() => aside.put(directory))
      .then(() => this.#engine.open(directory))
    open.store = again
    again.catch(() => {
      const name = nameOf(group, topic, partition)
      if (this.#stores.get(name) === open) this.#stores.delete(name)
    })
    return again
  }

  /**
   * A rebuild was broken off: what is aside was the last complete table. Throws TableDivergedError when the topic does not
   * have all of it any more.
   */
  async #checkAside(at: StoreToRestore, signal: AbortSignal): Promise<void> {
    const { aside } = this.#engine
    const directory = { group: at.group, table: at.topic, partition: at.partition }
    if (aside?.has(directory) !== true) return
    let old: Store
    try {
      old = await aside.open(directory)
    } catch {
      return // damaged: it is of no use to anybody
    }
    try {
      const facts = await this.#facts(at, old, signal)
      const opening = decideOpening(facts)
      if (opening.kind === 'diverged') throw this.#diverged(at, facts, opening.reason, aside.pathOf(directory))
    } finally {
      await old.close()
    }
  }

  /** The table is complete: what it was built beside goes. */
  async #recovered(at: StoreToRestore, { copy, localEntries, rebuilt }: RestoredTable): Promise<void> {
    const { group, topic, partition } = at
    const directory = { group, table: topic, partition }
    const { applied: records, from: fromOffset, position: toOffset } = copy
    const place = { group: shownGroup(group), topic, partition }
    notify(this.#onEvent, { type: 'tableRestored', ...place, records, fromOffset, toOffset, localEntries, rebuilt })
    const { aside } = this.#engine
    if (aside?.has(directory) !== true) return
    try {
      await aside.remove(directory)
    } catch (error) {
      // It is kept until the table is restored once more.
      notify(this.#onEvent, { type: 'tableAsideKept', ...place, error })
    }
  }

  #diverged(at: StoreToRestore, facts: OpeningFacts, why: string, directory: string | undefined): TableDivergedError {
    return new TableDivergedError({
      group: shownGroup(at.group),
      topic: at.topic,
      partition: at.partition,
      position: facts.checkpoint?.position ?? 0,
      earliest: facts.earliest,
      end: facts.end,
      why,
      directory,
    })
  }

  #tableConsumer(): ReturnType<KafkaPort['consumer']> {
    return this.#kafka.consumer({ isolation: 'read_committed', startFrom: 'error' })
  }
}

function hasEntries(store: Store): boolean {
  const iterator = store.iterate()
  try {
    return iterator.next()
  } finally {
    iterator.close()
  }
}

/** The group as users know it; undefined for the copies that are followed. */
function shownGroup(group: string): string | undefined {
  return group === copiesGroup ? undefined : group
}

function nameOf(group: string, topic: string, partition: number): string {
  return `${group} ${topic}/${partition}`
}
