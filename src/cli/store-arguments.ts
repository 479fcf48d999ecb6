/** The command line of verbs that only take DIR and --json. */
import { parseArgs } from 'node:util'
import { type StorePlace, storesIn } from './store-directory.ts'
import { parsedArguments } from './usage.ts'

const options = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const

/** What it says; undefined: only help was asked for. Throws UsageError, and what `storesIn` does. */
export function storeArguments(
  args: readonly string[],
  usage: string,
): { readonly places: StorePlace[]; readonly json: boolean } | undefined {
  const { values, positionals } = parsedArguments(usage, () =>
    parseArgs({ args: [...args], options, strict: true, allowPositionals: true }),
  )
  if (values.help === true) return undefined
  return { places: storesIn(positionals, usage), json: values.json === true }
}
