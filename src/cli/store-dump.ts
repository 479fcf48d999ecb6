/** `millrace store dump`: the entries of a table on disk, in the order of their keys. Changes nothing. */
import { parseArgs } from 'node:util'
import { ReadOnlyStore, spaceCount, type StoreInfo, type StoreRange } from '../storage/index.ts'
import { type BytesFormat, formatBytes, parseBytes } from './bytes-text.ts'
import { withOutput } from './output.ts'
import { counted, type StorePlace, storesIn } from './store-directory.ts'
import { parsedArguments, UsageError } from './usage.ts'

const usage = `usage: millrace store dump DIR [--space N] [--prefix P] [--reverse] [--limit N] [--as text|hex|base64] [--json]

Prints the entries of the table in DIR in the order of their keys: key, tab, value. Changes nothing, and may be used while
a process has the table open: then it prints the table as it was when it began.

  --space N    the key space, 0 to ${spaceCount - 1}; default: 0, where the entries of a table are
  --prefix P   only keys that begin so; written as --as says
  --reverse    from the largest key to the smallest
  --limit N    at most so many
  --as F       how bytes are written: text (default; UTF-8, what cannot be shown as \\n, \\t, \\xNN, \\u{N}), hex or base64
  --json       each entry as a JSON object on a line of its own, {"key": …, "value": …}; default: in base64`

const formats: readonly BytesFormat[] = ['text', 'hex', 'base64']

/** Runs the command. */
export async function dumpCommand(args: readonly string[]): Promise<void> {
  const given = dumpArguments(args)
  if (given === undefined) {
    console.log(usage)
    return
  }
  const { place, range, limit, format, json } = given
  await withOutput(async (output) => {
    using store = ReadOnlyStore.open(place.path, { name: place.name })
    warn(place, store.info())
    let count = 0
    for (const [key, value] of store.entries(range)) {
      if (count === limit) break
      count += 1
      const [left, right] = [formatBytes(key, format), formatBytes(value, format)]
      const full = output.line(json ? JSON.stringify({ key: left, value: right }) : `${left}\t${right}`)
      if (full !== undefined) await full
    }
  })
}

/** What is missing although nothing fails: the ends of logs that do not count. */
function warn({ name }: StorePlace, { logs, owner }: StoreInfo): void {
  for (const { file, end, unusedBytes } of logs) {
    // Beside a running owner that is a batch that is just being written.
    if (unusedBytes === 0 || (end === 'torn' && owner !== undefined)) continue
    console.error(`millrace: ${name}: ${counted(unusedBytes)} bytes at the end of ${file} do not count (${end})`)
  }
}

interface DumpArguments {
  readonly place: StorePlace
  readonly range: StoreRange
  readonly limit: number
  readonly format: BytesFormat
  readonly json: boolean
}

/** What the command line says; undefined: only help was asked for. */
function dumpArguments(args: readonly string[]): DumpArguments | undefined {
  const options = {
    space: { type: 'string' },
    prefix: { type: 'string' },
    reverse: { type: 'boolean' },
    limit: { type: 'string' },
    as: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  const parsed = parsedArguments(usage, () =>
    parseArgs({ args: [...args], options, strict: true, allowPositionals: true }),
  )
  const { space = '0', prefix, reverse = false, limit, json = false, help } = parsed.values
  if (help === true) return undefined
  const as = parsed.values.as ?? (json ? 'base64' : 'text')
  const format = formats.find((one) => one === as)
  if (format === undefined) throw new UsageError(`--as must be text, hex or base64, not '${as}'`, usage)
  if (!/^\d{1,2}$/.test(space) || Number(space) >= spaceCount) {
    throw new UsageError(`--space must be 0 to ${spaceCount - 1}, not '${space}'`, usage)
  }
  if (limit !== undefined && !/^\d{1,15}$/.test(limit)) {
    throw new UsageError(`--limit must be a whole number, not '${limit}'`, usage)
  }
  const bytes = prefix === undefined ? Buffer.alloc(0) : parseBytes(prefix, format)
  if (bytes === undefined) throw new UsageError(`--prefix is not ${format}: '${prefix}'`, usage)
  const places = storesIn(parsed.positionals, usage)
  if (places.length > 1) throw new UsageError(`${parsed.positionals[0]} holds several partitions: name one`, usage)
  return {
    place: places[0]!,
    range: { space: Number(space), prefix: bytes, reverse },
    limit: limit === undefined ? Number.POSITIVE_INFINITY : Number(limit),
    format,
    json,
  }
}
