/**
 * An embedded broker in a process of its own, with little memory: old segments of its logs go, so that it can be written
 * to for ever, and nothing of it counts as memory or work of the process that measures.
 * Run as a program it serves until its standard input ends; `BoundedBroker.start` runs it so.
 * Owns the child process, which ends with this one at the latest.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Broker } from '../../src/broker/index.ts'

const maxMemoryBytes = 64 * 1024 * 1024

export class BoundedBroker {
  readonly brokers: string
  readonly #child: ChildProcess

  private constructor(brokers: string, child: ChildProcess) {
    this.brokers = brokers
    this.#child = child
  }

  static async start(): Promise<BoundedBroker> {
    const child = spawn(process.execPath, [import.meta.filename], { stdio: ['pipe', 'pipe', 'inherit'] })
    const line = await Promise.race([
      once(child.stdout!, 'data').then(([data]) => String(data).trim()),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`the broker ended with code ${code}`))),
    ])
    return new BoundedBroker(line, child)
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.stdin!.end()
    await ended
  }
}

if (process.argv[1] === import.meta.filename) {
  const broker = await Broker.start({ maxMemoryBytes })
  process.stdin.on('end', () => process.exit(0)).resume()
  console.log(broker.brokers)
}
