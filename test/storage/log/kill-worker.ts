/**
 * The process that kill.test.ts kills: opens a store and goes on with a history behind `unit`, telling its parent on
 * standard output, with a system call each, which moves it began (`m`), that the store is open (`o`), what must outlive
 * a kill (`k`), and what failed (`e`). Owns the store until it dies.
 */
import { writeSync } from 'node:fs'
import { LogEngine, type SyncPolicy } from '../../../src/storage/index.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'
import { Driver } from '../support/driver.ts'
import { FaultFs, type FsCall } from '../support/fault-fs.ts'
import { contentOf } from '../support/inspect.ts'
import { directory } from '../support/lives.ts'
import { Oracle, unitsPerMove } from '../support/oracle.ts'

/** How a life is to go; given as JSON. */
export interface WorkerOrder {
  readonly dir: string
  readonly seed: number
  /** The store stands behind this one. */
  readonly unit: number
  readonly moves: number
  readonly writeBufferBytes: number
  readonly sync: SyncPolicy
  /** Dies at this operation of the file system, counted from 1; `torn`: at this write, half-way; 0: never by itself. */
  readonly at: number
  readonly when: 'before' | 'after' | 'torn'
}

function tell(line: string): void {
  writeSync(1, `${line}\n`)
}

function die(): void {
  process.kill(process.pid, 'SIGKILL')
}

async function live(order: WorkerOrder): Promise<void> {
  const fs = new FaultFs(nodeFs())
  const { at, when } = order
  if (at > 0 && when === 'torn') fs.fail({ kinds: ['write'], path: /\/g\/t\//, at, written: 0.5, onFail: die })
  else if (at > 0) {
    const hook = ({ count }: FsCall): void => {
      if (count === at) die()
    }
    if (when === 'before') fs.before = hook
    else fs.after = hook
  }
  const { dir, writeBufferBytes, sync, seed, unit, moves } = order
  const engine = new LogEngine({ dir, fs, writeBufferBytes, sync, syncIntervalMs: 5, cacheBytes: 4096 })
  const store = await engine.open(directory)
  const oracle = new Oracle(seed, {}, contentOf(store), unit)
  const driver = new Driver(store, oracle, { onKept: ({ kept }) => tell(`k ${kept}`) })
  tell('o')
  const first = Math.floor((unit + 1) / unitsPerMove)
  for (let move = first; move < first + moves; move++) {
    tell(`m ${move}`)
    await driver.run(move + 1)
  }
  await engine.close()
  tell(`k ${oracle.unit}`)
}

const order = JSON.parse(process.argv[2] ?? '{}') as WorkerOrder
try {
  await live(order)
} catch (cause) {
  tell(`e ${JSON.stringify(cause instanceof Error ? cause.stack : String(cause))}`)
  process.exitCode = 1
}
