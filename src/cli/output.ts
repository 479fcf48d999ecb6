/**
 * What commands print: results on stdout, which may be a pipe that is slower than we are or ends early (`| head`), and on
 * stderr how far long work is, if somebody sits there. Owns the listeners on stdout.
 */

/** The reader of stdout has gone away: there is nobody to print for, which is no failure. */
export class OutputEnded extends Error {
  override readonly name = 'OutputEnded'
}

/** Characters collected before they are written. */
const pieceLength = 64 * 1024

/** Lines to stdout, many at a time. */
export class Output {
  #lines = ''
  #isEnded = false

  constructor() {
    process.stdout.on('error', this.#onError)
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error
    this.#isEnded = true
  }

  /** Adds a line. What it returns is to be waited for, if anything. Rejects with OutputEnded when nobody reads any more. */
  line(text: string): Promise<void> | undefined {
    this.#lines += `${text}\n`
    return this.#lines.length < pieceLength ? undefined : this.flush()
  }

  /** Resolves when everything is on its way. */
  async flush(): Promise<void> {
    const text = this.#lines
    this.#lines = ''
    if (!this.#isEnded && text !== '') {
      const error = await new Promise<Error | null | undefined>((resolve) => void process.stdout.write(text, resolve))
      if (error instanceof Error) this.#onError(error)
    }
    if (this.#isEnded) throw new OutputEnded('nobody reads what is printed')
  }
}

/** Runs the body of a command with its output; ends quietly when nobody reads it. */
export async function withOutput(body: (output: Output) => Promise<void>): Promise<void> {
  const output = new Output()
  try {
    try {
      await body(output)
    } finally {
      await output.flush()
    }
  } catch (error) {
    if (!(error instanceof OutputEnded)) throw error
  }
}

/** Milliseconds before anything is said, and between two times. */
const quietMs = 500
const againMs = 200

/** A line on stderr that says how far work is, when stderr is a terminal. */
export class ProgressLine {
  readonly #isShown = process.stderr.isTTY === true
  #nextMs = performance.now() + quietMs
  #width = 0

  /** To be called often; `text` is asked only when it is time. */
  update(text: () => string): void {
    if (!this.#isShown || performance.now() < this.#nextMs) return
    this.#nextMs = performance.now() + againMs
    const line = text().slice(0, (process.stderr.columns ?? 80) - 1)
    process.stderr.write(`\r${line.padEnd(this.#width)}`)
    this.#width = line.length
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`)
    this.#width = 0
  }
}
