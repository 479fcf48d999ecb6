/** The error of a command that was called wrongly: `main` prints it with the usage and exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** How the command is called. */
  readonly usage: string
  constructor(message: string, usage: string) {
    super(message)
    this.usage = usage
  }
}
