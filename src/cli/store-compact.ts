/** `millrace store compact`: merges a table on disk into as few files and bytes as it needs. */
import { dirname } from 'node:path'
import { logEngine, ReadOnlyStore, type StoreEvent } from '../storage/index.ts'
import { type Output, ProgressLine, withOutput } from './output.ts'
import { storeArguments } from './store-arguments.ts'
import { counted, sized, type StorePlace } from './store-directory.ts'

const usage = `usage: millrace store compact DIR [--json]

Brings everything in DIR, the table of a partition, or in all partitions of <dir>/<group>/<table>, into one run of tables
without what was overwritten or deleted. A running application does what is needed of this by itself. No process may have
the table open.

  --json   what changed in each table as a JSON object, on a line of its own`

/** Files and bytes of a store. */
interface Extent {
  readonly files: number
  readonly entries: number
  readonly bytes: number
}

/** Runs the command. */
export async function compactCommand(args: readonly string[]): Promise<void> {
  const given = storeArguments(args, usage)
  if (given === undefined) {
    console.log(usage)
    return
  }
  await withOutput(async (output) => {
    for (const place of given.places) await compact(place, given.json, output)
  })
}

async function compact(place: StorePlace, json: boolean, output: Output): Promise<void> {
  const before = extentOf(place)
  const recovered: Extract<StoreEvent, { kind: 'recovered' }>[] = []
  const onEvent = (event: StoreEvent): void => {
    if (event.kind === 'recovered') recovered.push(event)
  }
  const engine = logEngine({ dir: dirname(place.path), onEvent })
  const line = new ProgressLine()
  const started = performance.now()
  const show = setInterval(() => {
    line.update(() => `${place.name}: compacting for ${Math.floor((performance.now() - started) / 1000)} s`)
  }, 100)
  try {
    const store = await engine.openPath(place.path)
    await store.compact()
  } finally {
    clearInterval(show)
    line.clear()
    await engine.close()
  }
  const after = extentOf(place)
  for (const { file, droppedBytes, reason } of recovered) {
    console.error(
      `millrace: ${place.name}: ${counted(droppedBytes)} bytes at the end of ${file} did not count (${reason})`,
    )
  }
  const text = (extent: Extent): string =>
    `${sized(extent.bytes)} in ${counted(extent.files)} files, ${counted(extent.entries)} entries`
  const { path, name } = place
  if (json) await output.line(JSON.stringify({ path, name, before, after }))
  else await output.line(`${name}: ${text(before)} → ${text(after)}`)
}

/** Superseded entries and deletions count as entries. */
function extentOf(place: StorePlace): Extent {
  using store = ReadOnlyStore.open(place.path, { name: place.name })
  const { runs, logs } = store.info()
  const tables = runs.flatMap((run) => run.tables)
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0)
  return {
    files: tables.length + logs.length,
    entries: sum([...tables.map(({ entries }) => entries), ...logs.map(({ records }) => records)]),
    bytes: sum([...tables, ...logs].map(({ bytes }) => bytes)),
  }
}
