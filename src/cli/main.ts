#!/usr/bin/env node
/** The `millrace` command: finds the subcommand and reports its errors. Exit codes: 0 done, 1 failed, 2 wrong usage. */
import { MillraceError } from '../base/errors.ts'
import { UsageError } from './usage.ts'

const usage = `usage: millrace <command> [options]

commands:
  broker   run an embedded, Kafka-compatible broker (development, tests, single machines)
  store    look after tables on disk

millrace <command> --help tells more.`

async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args
  switch (command) {
    case 'broker': {
      const { brokerCommand } = await import('./broker.ts')
      await brokerCommand(rest)
      return
    }
    case 'store': {
      const { storeCommand } = await import('./store.ts')
      await storeCommand(rest)
      return
    }
    case undefined:
    case 'help':
    case '--help':
    case '-h':
      console.log(usage)
      return
    default:
      throw new UsageError(`unknown command '${command}'`, usage)
  }
}

try {
  await main(process.argv.slice(2))
} catch (cause) {
  if (cause instanceof UsageError) {
    console.error(`millrace: ${cause.message}\n\n${cause.usage}`)
    process.exitCode = 2
  } else if (cause instanceof MillraceError) {
    console.error(`millrace: ${cause.message}`)
    process.exitCode = 1
  } else if (cause instanceof Error && 'syscall' in cause) {
    // The system refused something: no right to read, an address in use. Its message names what and where.
    console.error(`millrace: ${cause.message}`)
    process.exitCode = 1
  } else {
    throw cause
  }
}
