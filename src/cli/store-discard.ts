/** `millrace store discard`: removes a table from this machine, after saying what is in it. */
import { existsSync, rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { MillraceError } from '../base/errors.ts'
import { StoreError } from '../storage/index.ts'
import { decodeStoreState } from '../streams/index.ts'
import { counted, isAside, sized, type StorePlace, storesIn, withStore } from './store-directory.ts'
import { parsedArguments } from './usage.ts'

const usage = `usage: millrace store discard DIR [--yes]

Says what is in the table of a partition, or of all partitions of <dir>/<group>/<table>, and with --yes removes it, with
what a rebuild kept aside. At its next start the application builds it again from its topic: what only this machine has
is lost.

  --yes   remove it; without, nothing is changed`

/** Runs the command. */
export async function discardCommand(args: readonly string[]): Promise<void> {
  const { places, yes } = discardArguments(args) ?? {}
  if (places === undefined) {
    console.log(usage)
    return
  }
  // All are looked at before the first is removed: one that is in use keeps the others.
  for (const place of places) console.log(await described(place))
  if (yes !== true) {
    throw new MillraceError('ERR_NOT_CONFIRMED', 'nothing was removed: add --yes to remove this')
  }
  for (const { path, name } of places) {
    for (const one of [path, `${path}.old`, `${path}.gone`]) if (existsSync(one)) rmSync(one, { recursive: true })
    console.log(`${name}: removed`)
  }
}

function discardArguments(args: readonly string[]): { places: StorePlace[]; yes: boolean } | undefined {
  const options = { yes: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
  const parsed = parsedArguments(usage, () =>
    parseArgs({ args: [...args], options, strict: true, allowPositionals: true }),
  )
  if (parsed.values.help === true) return undefined
  return { places: storesIn(parsed.positionals, usage), yes: parsed.values.yes === true }
}

/** What is in a store; also a damaged one may be removed, one that is in use may not. */
async function described(place: StorePlace): Promise<string> {
  const aside = !isAside(place) && existsSync(`${place.path}.old`) ? '; a rebuild keeps the table before it aside' : ''
  try {
    return await withStore(place, async (store) => {
      const { checkpoint, entryCount, byteLength } = store
      const state = checkpoint === undefined ? undefined : decodeStoreState(checkpoint.state)
      const followed =
        checkpoint === undefined
          ? 'it has no checkpoint'
          : `its topic was followed to offset ${checkpoint.position}${state === undefined ? '' : ` (topic id ${state.topicId})`}`
      return `${place.name}: about ${counted(entryCount)} entries, ${sized(byteLength)}; ${followed}${aside}`
    })
  } catch (cause) {
    if (!(cause instanceof StoreError) || cause.code === 'ERR_STORE_LOCKED') throw cause
    return `${place.name}: cannot be read (${cause.message})${aside}`
  }
}
