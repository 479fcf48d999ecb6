/**
 * A store of a few hundred bytes per file that has one of everything: two runs of tables, two logs, a manifest of several
 * states; and what opening its files gives when somebody has changed them. Stateless.
 */
import * as assert from 'uvu/assert'
import {
  LogEngine,
  type LogStore,
  ReadOnlyStore,
  Span,
  StoreError,
  type VerifyReport,
} from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { StillScheduler } from './driver.ts'
import { SimFs } from './sim-fs.ts'

/** Where the store is. */
export const directory = { group: 'g', table: 't', partition: 0 }
export const dir = '/data/g/t/0'

/** The files of a store, by name. */
export type Files = ReadonlyMap<string, Buffer>

export interface SmallStore {
  /** As the death of the process left them. */
  readonly files: Files
  /** What the store was after each batch; the first: empty. */
  readonly states: readonly string[]
}

/** Time stands still, so that the same bytes come out every time. */
class NoTime extends StillScheduler {
  override now(): number {
    return 1_700_000_000_000
  }
}

/** Random bytes are drawn from `seed`. */
export function engineOn(fs: SimFs, onEvent?: (event: { kind: string }) => void, seed = 1): LogEngine {
  return new LogEngine({
    dir: '/data',
    fs,
    random: new SeededRandom(seed),
    scheduler: new NoTime(),
    sync: 'never',
    cacheBytes: 0,
    ...(onEvent === undefined ? {} : { onEvent }),
  })
}

/** Operations of a batch: key with its space in front (`0a`), value or undefined. */
export type Operations = Readonly<Record<string, string | undefined>>

export function commit(store: LogStore, operations: Operations, position?: number): void {
  const batch = store.writer()
  for (const [name, value] of Object.entries(operations)) {
    const space = Number.parseInt(name[0]!, 16)
    const key = Buffer.from(name.slice(1), 'latin1')
    if (value === undefined) batch.delete(space, key, 0, key.length)
    else batch.put(space, key, 0, key.length, Buffer.from(value, 'latin1'), 0, value.length)
  }
  batch.commit(position === undefined ? undefined : { position, state: Buffer.from(`epoch ${position}`) })
}

const keys = ['0', '0a', '0apple', '0b', '0c', '0d', '0e', '0f', '0g', '1timer', 'fz']

/** Everything that a store says of itself, in one line; what a scan and lookups say agrees. Throws what reading throws. */
export function stateOf(store: LogStore): string {
  const found = new Map<string, string>()
  for (const space of [0, 1, 15]) {
    for (const [key, value] of store.entries({ space })) {
      found.set(`${space.toString(16)}${key.toString('latin1')}`, value.toString('latin1'))
    }
  }
  const out = new Span()
  for (const name of keys) {
    const key = Buffer.from(name.slice(1), 'latin1')
    const has = store.getSync(Number.parseInt(name[0]!, 16), key, 0, key.length, out)
    assert.is(has ? out.copy().toString('latin1') : undefined, found.get(name), `a lookup of ${name} against a scan`)
  }
  const { checkpoint } = store
  const at = checkpoint === undefined ? 'no checkpoint' : `${checkpoint.position} (${checkpoint.state})`
  return `${at}: ${JSON.stringify([...found])}`
}

/** The files of a store in a SimFs. */
export function filesOf(fs: SimFs): Map<string, Buffer> {
  return new Map(fs.readdirSync(dir).map((name) => [name, fs.contentOf(`${dir}/${name}`)]))
}

/** A disk with these files; the process that has written them is dead. */
export function diskWith(files: Files): SimFs {
  const fs = new SimFs()
  fs.mkdirSync(dir)
  for (const [name, content] of files) fs.tamper(`${dir}/${name}`, content)
  return fs.kill()
}

/** Makes the store; the same bytes for the same seed. */
export async function smallStore(seed = 1): Promise<SmallStore> {
  const fs = new SimFs()
  const engine = engineOn(fs, undefined, seed)
  const store = await engine.open(directory)
  const states = [stateOf(store)]
  const write = (operations: Operations, position?: number): void => {
    commit(store, operations, position)
    states.push(stateOf(store))
  }
  // Large enough that the next run is not merged into it.
  write({ '0': 'the empty key', '0apple': 'one', '0b': 'two', '1timer': 'soon', fz: 'x'.repeat(900) }, 10)
  write({ '0b': undefined, '0c': 'three' })
  await store.flush()
  write({ '0apple': 'four', '0d': 'y'.repeat(40) }, 20)
  write({ '0c': undefined })
  await store.flush()
  write({ '0e': 'five', '0f': 'six' }, 30)
  // Freezes the memtable; the flush itself would begin in the next turn.
  const flushed = store.flush()
  write({ '0a': 'seven', '0d': undefined, fz: 'eight' }, 40)
  write({ '0g': 'nine' })
  const files = filesOf(fs.kill())
  await flushed
  await engine.close()
  return { files, states }
}

/** What opening files gave: the index of the state that the store is in, or the error. */
export interface Outcome {
  /** Undefined: an error. */
  readonly state: number | undefined
  readonly code: string | undefined
  readonly error: StoreError | undefined
  /** Events `recovered`. */
  readonly recovered: readonly { readonly file: string; readonly droppedBytes: number; readonly reason: string }[]
  /** The disk afterwards; the store is closed. */
  readonly fs: SimFs
}

/** Opens a disk, reads everything and closes. Throws when it gives what never was, or an error that is no StoreError. */
export async function openDisk(fs: SimFs, states: readonly string[]): Promise<Outcome> {
  const recovered: { file: string; droppedBytes: number; reason: string }[] = []
  const engine = engineOn(
    fs,
    (event) => {
      if (event.kind === 'recovered') recovered.push(event as unknown as (typeof recovered)[0])
    },
    2,
  )
  try {
    const text = stateOf(await engine.open(directory))
    const state = states.indexOf(text)
    assert.ok(state >= 0, `the store never was so: ${text}`)
    return { state, code: undefined, error: undefined, recovered, fs }
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    return { state: undefined, code: error.code, error, recovered, fs }
  } finally {
    await engine.close()
    assert.equal(fs.open, [], 'files that stay open')
  }
}

export function openFiles(files: Files, states: readonly string[]): Promise<Outcome> {
  return openDisk(diskWith(files), states)
}

/** The report of a scrub from outside. */
export function scrub(fs: SimFs): VerifyReport {
  const store = ReadOnlyStore.open(dir, { fs })
  try {
    const steps = store.verify()
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
    }
  } finally {
    store.close()
    assert.equal(fs.open, [], 'files that stay open')
  }
}

/** Counts outcomes for a line that the runner shows. */
export class Tally {
  readonly #counts = new Map<string, number>()

  add(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1)
  }

  toString(): string {
    const all = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1))
    return all.map(([what, count]) => `${what} ${count.toLocaleString('en')}`).join(', ')
  }
}
