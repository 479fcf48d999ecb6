/** `millrace store inspect`: what a table on disk consists of, and how far it has followed its topic. Changes nothing. */
import { ReadOnlyStore, type StoreFault, type StoreInfo, type TableInfo } from '../storage/index.ts'
import { decodeStoreState } from '../streams/index.ts'
import { formatBytes } from './bytes-text.ts'
import { withOutput } from './output.ts'
import { storeArguments } from './store-arguments.ts'
import { counted, sized, type StorePlace } from './store-directory.ts'
import { columns } from './text-table.ts'

const usage = `usage: millrace store inspect DIR [--json]

Says what is in DIR, the table of a partition, or in all partitions of <dir>/<group>/<table>: how far it has followed its
topic, its files, and who has it open. Changes nothing, and may be used while a process has the table open.

  --json   one JSON object for each table, on a line of its own; keys in base64`

/** Longest key shown, characters. */
const maxKeyLength = 24

/** Runs the command. */
export async function inspectCommand(args: readonly string[]): Promise<void> {
  const given = storeArguments(args, usage)
  if (given === undefined) {
    console.log(usage)
    return
  }
  const now = Date.now()
  await withOutput(async (output) => {
    for (const [i, place] of given.places.entries()) {
      using store = ReadOnlyStore.open(place.path, { name: place.name })
      const info = store.info()
      if (given.json) await output.line(JSON.stringify(jsonOf(place, info)))
      else await output.line(`${i > 0 ? '\n' : ''}${textOf(place, info, now)}`)
    }
  })
}

/** The same as an object of plain values; its fields are API. */
function jsonOf({ path }: StorePlace, info: StoreInfo): object {
  const { checkpoint } = info
  const bound = ({ space, key }: TableInfo['min']): object => ({ space, key: key.toString('base64') })
  return {
    path,
    ...info,
    checkpoint: checkpoint && {
      ...checkpoint,
      state: checkpoint.state.toString('base64'),
      decoded: decodeStoreState(checkpoint.state),
    },
    runs: info.runs.map(({ level, tables }) => ({
      level,
      tables: tables.map((table) => ({ ...table, min: bound(table.min), max: bound(table.max) })),
    })),
  }
}

function textOf({ path }: StorePlace, info: StoreInfo, now: number): string {
  const lines = [info.name, `  path        ${path}`]
  const add = (what: string, text: string): void => void lines.push(`  ${what.padEnd(12)}${text}`)
  if (info.storeId !== undefined) add('id', info.storeId)
  add('format', `version ${info.formatVersion}`)
  if (info.manifest !== undefined) {
    const { file, bytes, states, createdMs } = info.manifest
    add('manifest', `${file}: ${sized(bytes)}, ${counted(states)} states since ${new Date(createdMs).toISOString()}`)
  }
  add('checkpoint', checkpointText(info, now))
  if (info.lastBatch !== undefined) {
    add('batches', `${counted(info.lastBatch)}, of which ${counted(info.flushedBatch ?? 0)} are in tables`)
  }
  add('open', info.owner === undefined ? 'by nobody' : `by process ${info.owner.pid} on ${info.owner.host}`)
  lines.push('', ...tablesText(info))
  if (info.logs.length > 0) lines.push('', ...logsText(info))
  for (const [heading, isMeant] of [
    ['damaged', ({ code }: StoreFault) => code === undefined],
    ['cannot be read', ({ code }: StoreFault) => code !== undefined],
  ] as const) {
    const faults = info.faults.filter(isMeant)
    if (faults.length > 0) lines.push('', `  ${heading}:`)
    for (const { file, offset, what } of faults) lines.push(`    ${file}, byte ${offset}: ${what}`)
  }
  return lines.join('\n')
}

function checkpointText({ checkpoint, manifest }: StoreInfo, now: number): string {
  if (checkpoint === undefined) return manifest === undefined ? 'not known' : 'none'
  const { position, state, wallMs } = checkpoint
  const decoded = decodeStoreState(state)
  const said = decoded === undefined ? formatBytes(state, 'hex') : JSON.stringify(decoded)
  return `${counted(position)}, ${ageText(now - wallMs)}; state ${said === '' ? 'empty' : said}`
}

/** `3 h old`. */
function ageText(ageMs: number): string {
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ] as const
  for (const [unit, ms] of units) if (ageMs >= 2 * ms) return `${counted(Math.floor(ageMs / ms))} ${unit} old`
  return ageMs < 0 ? 'from the future: clocks differ' : 'just now'
}

function keyText({ space, key }: TableInfo['min']): string {
  const text = key.length === 0 ? '(empty)' : formatBytes(key, 'text')
  const short = text.length <= maxKeyLength ? text : `${text.slice(0, maxKeyLength - 1)}…`
  return space === 0 ? short : `${space}:${short}`
}

function tablesText({ runs, manifest }: StoreInfo): string[] {
  if (manifest === undefined) return ['  tables and logs are not known, as nothing says which of them count']
  if (runs.length === 0) return ['  no tables yet']
  if (runs.every(({ tables }) => tables.length === 0)) return ['  none of its tables can be read']
  const rows = runs.flatMap(({ level, tables }, i) =>
    tables.map((table) => [
      level === 'last' ? 'last' : `upper ${i + 1}`,
      table.file,
      counted(table.entries),
      counted(table.deletions),
      sized(table.bytes),
      `${keyText(table.min)} … ${keyText(table.max)}`,
    ]),
  )
  return columns(
    ['  run', 'table', 'entries', 'deletions', 'size', 'keys'],
    rows.map(([run, ...rest]) => [`  ${run}`, ...rest]),
    [2, 3, 4],
  )
}

function logsText({ logs }: StoreInfo): string[] {
  const rows = logs.map(({ file, bytes, batches, records, end, unusedBytes }) => [
    `  ${file}`,
    counted(batches),
    counted(records),
    sized(bytes),
    end === 'end' ? '' : `${end}: ${sized(unusedBytes)} do not count`,
  ])
  return columns(['  log', 'batches', 'records', 'size', ''], rows, [1, 2, 3])
}
