/** Command lines that cannot be understood. */
import { describeError } from '../base/errors.ts'

/** A command was called wrongly: `main` prints it with the usage and exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** How the command is called. */
  readonly usage: string
  constructor(message: string, usage: string) {
    super(message)
    this.usage = usage
  }
}

/** What `parse` makes of a command line. Throws UsageError when it refuses it. */
export function parsedArguments<T>(usage: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw new UsageError(describeError(cause), usage)
  }
}
