/**
 * The process that soak.long.test.ts kills: opens several stores of one engine, with a worker thread, and goes on with a
 * history in each, telling its parent on standard output which moves it began (`m store move`), that all are open (`o`),
 * what must outlive a kill (`k store unit`), what it takes of the machine (`r` and a Sample), and what failed (`e`).
 */
import { existsSync, readdirSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { LogEngine, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { Driver, turn } from '../support/driver.ts'
import { contentOf } from '../support/inspect.ts'
import { type HistoryOptions, Oracle, unitsPerMove } from '../support/oracle.ts'

/** How a life is to go; given as JSON. */
export interface SoakOrder {
  readonly dir: string
  readonly seed: number
  /** Where each store stands. */
  readonly units: readonly number[]
}

/** What the process takes, and what its stores take of the disk. */
export interface Sample {
  readonly rssBytes: number
  /** Descriptors open beyond those before the engine was made; −1: the system does not tell. */
  readonly descriptors: number
  /** Most files in the directory of a store; bytes of all stores, and of their keys and values. */
  readonly mostFiles: number
  readonly files: number
  readonly diskBytes: number
  readonly liveBytes: number
}

/** Of store `i`: large enough that there is always something to merge. */
export const soakHistory: HistoryOptions = { keys: 4000, weights: { clear: 0.05, compact: 0.3, read: 0.3 } }

/** Where store `i` is. */
export function soakDirectory(partition: number): { group: string; table: string; partition: number } {
  return { group: 'g', table: 't', partition }
}

function tell(line: string): void {
  writeSync(1, `${line}\n`)
}

function descriptors(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : Number.NaN
}

async function live({ dir, seed, units }: SoakOrder): Promise<void> {
  const before = descriptors()
  const onEvent = (event: StoreEvent): void => {
    if (event.kind === 'failed') tell(`e ${JSON.stringify(event.error.message)}`)
  }
  const engine = new LogEngine({ dir, writeBufferBytes: 65_536, cacheBytes: 2 ** 20, syncIntervalMs: 100, onEvent })
  const stores: LogStore[] = []
  for (const i of units.keys()) stores.push(await engine.open(soakDirectory(i)))
  const drivers = stores.map((store, i) => {
    const oracle = new Oracle(seed + i, soakHistory, contentOf(store), units[i])
    return new Driver(store, oracle, { onKept: ({ kept }) => tell(`k ${i} ${kept}`) })
  })
  tell('o')
  const sample = (): void => {
    const sizes = stores.map((_, i) => sizesOf(join(dir, 'g/t', String(i))))
    let liveBytes = 0
    for (const { oracle } of drivers) {
      for (const [id, value] of oracle.model.entries) liveBytes += id.length - 1 + value.length
    }
    const open = descriptors() - before
    const taken: Sample = {
      rssBytes: process.memoryUsage.rss(),
      descriptors: Number.isNaN(open) ? -1 : open,
      mostFiles: Math.max(...sizes.map((one) => one.length)),
      files: sizes.reduce((sum, one) => sum + one.length, 0),
      diskBytes: sizes.flat().reduce((sum, size) => sum + size, 0),
      liveBytes,
    }
    tell(`r ${JSON.stringify(taken)}`)
  }
  setInterval(sample, 250)
  await Promise.all(
    drivers.map(async (driver, i) => {
      for (let move = Math.floor((driver.oracle.unit + 1) / unitsPerMove); ; move++) {
        tell(`m ${i} ${move}`)
        await driver.run(move + 1)
        await (stores[i]!.ready() ?? (move % 8 === 0 ? turn() : undefined))
      }
    }),
  )
}

/** The sizes of the files of a directory; those that go meanwhile do not count. */
function sizesOf(path: string): number[] {
  return readdirSync(path).flatMap((name) => statSync(join(path, name), { throwIfNoEntry: false })?.size ?? [])
}

const order = process.argv[2]
if (order !== undefined) {
  try {
    await live(JSON.parse(order) as SoakOrder)
  } catch (cause) {
    tell(`e ${JSON.stringify(cause instanceof Error ? cause.stack : String(cause))}`)
    process.exit(1)
  }
}
