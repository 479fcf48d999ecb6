/** `millrace store <verb>`: tools for tables on disk. Finds the verb; each has a file of its own. */
import { UsageError } from './usage.ts'

/** One verb. */
interface Verb {
  /** One line of the usage. */
  readonly summary: string
  /** Runs it with the arguments behind the verb. */
  run(args: readonly string[]): Promise<void>
}

const verbs: ReadonlyMap<string, Verb> = new Map<string, Verb>([
  [
    'inspect',
    {
      summary: 'what a table consists of, and how far it has followed its topic',
      run: async (args) => (await import('./store-inspect.ts')).inspectCommand(args),
    },
  ],
  [
    'dump',
    {
      summary: 'its entries in the order of their keys',
      run: async (args) => (await import('./store-dump.ts')).dumpCommand(args),
    },
  ],
  [
    'verify',
    {
      summary: 'read all of it and say what is damaged',
      run: async (args) => (await import('./store-verify.ts')).verifyCommand(args),
    },
  ],
  [
    'compact',
    {
      summary: 'merge it into as few files and bytes as it needs',
      run: async (args) => (await import('./store-compact.ts')).compactCommand(args),
    },
  ],
  [
    'republish',
    {
      summary: 'write a table back into its topic, which lost it',
      run: async (args) => (await import('./store-republish.ts')).republishCommand(args),
    },
  ],
  [
    'discard',
    {
      summary: 'remove a table; it is built again from its topic',
      run: async (args) => (await import('./store-discard.ts')).discardCommand(args),
    },
  ],
])

const width = Math.max(...[...verbs.keys()].map((name) => name.length))
const usage = `usage: millrace store <verb> DIR [options]

verbs:
${[...verbs].map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`).join('\n')}

DIR is the directory of one table's partition, <dir>/<group>/<table>/<partition>, or of a table with all its partitions,
<dir>/<group>/<table>. Only inspect, dump and verify may be used while a process has it open; they change nothing.
millrace store <verb> --help tells more.`

/** Runs the verb that the arguments name. */
export async function storeCommand(args: readonly string[]): Promise<void> {
  const [name, ...rest] = args
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    console.log(usage)
    return
  }
  const verb = verbs.get(name)
  if (verb === undefined) throw new UsageError(`unknown verb '${name}' of store`, usage)
  await verb.run(rest)
}
