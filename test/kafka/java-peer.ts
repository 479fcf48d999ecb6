/**
 * Kafka's own data classes as a child process (Conformance.java): one line asked, one line answered, in order. Owns the
 * process; `close` ends it.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Deferred, deferred } from '../../src/base/deferred.ts'
import { kafkaJars } from '../support/kafka-jars.ts'

const program = join(import.meta.dirname, '..', '..', '..', 'test', 'kafka', 'Conformance.java')

export class JavaPeer {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #waiting: Deferred<string>[] = []
  #complaint = ''

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child
    createInterface({ input: child.stdout }).on('line', (line) => {
      const next = this.#waiting.shift()
      if (line.startsWith('!')) next?.reject(new Error(`Kafka's classes say ${line.slice(1)}`))
      else next?.resolve(line)
    })
    child.stderr.on('data', (chunk) => (this.#complaint += chunk))
    const end = (why: string): void => {
      for (const next of this.#waiting.splice(0)) next.reject(new Error(`${why}\n${this.#complaint}`))
    }
    child.on('error', (cause) => end(`cannot run java (install a JDK 17): ${cause.message}`))
    child.on('close', (code) => end(`java ended with ${code}`))
  }

  /** Starts the program over the jars of a Kafka release (`4.3`). */
  static async start(version: string): Promise<JavaPeer> {
    const classPath = join(await kafkaJars(version), '*')
    return new JavaPeer(spawn('java', ['-Xshare:auto', '-cp', classPath, program]))
  }

  /** The answer to one command; rejects with what Java threw. */
  ask(line: string): Promise<string> {
    const answer = deferred<string>()
    this.#waiting.push(answer)
    this.#child.stdin.write(`${line}\n`)
    return answer.promise
  }

  /** A message: its bytes and what Kafka's JSON converter says it holds. */
  async message(line: string): Promise<{ bytes: Buffer; json: unknown }> {
    const answer = await this.ask(line)
    const space = answer.indexOf(' ')
    return { bytes: Buffer.from(answer.slice(0, space), 'hex'), json: JSON.parse(answer.slice(space + 1)) }
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        resolve()
        return
      }
      this.#child.once('close', () => resolve())
      this.#child.stdin.end()
    })
  }
}
