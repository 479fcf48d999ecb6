/**
 * Where the system tests run, chosen by the environment, so that one suite judges every broker:
 *   nothing set            the embedded broker, one per target
 *   KAFKA_BROKERS          that Kafka; its tests cannot kill or restart it
 *   MILLRACE_KAFKA=3.9|4.3 an Apache Kafka fetched by Maven; with KAFKA_BROKERS, which then names a running one of this
 *                          version, only tests that ask for a broker of their own start another
 * A target that cannot be opened is an error, never a skip.
 * MILLRACE_STORAGE=log   keeps the tables of tests that use `tables()` on disk; default: in memory
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Broker } from '../../src/broker/index.ts'
import type { MillraceOptions } from '../../src/index.ts'
import { Kafka } from '../support/kafka.ts'

export interface Target extends AsyncDisposable {
  /** `embedded` or `Apache Kafka 4.3.1` or `Kafka at host:port`. */
  readonly name: string
  readonly embedded: boolean
  /** Bootstrap list. */
  readonly brokers: string
  /** Ends the broker as kill -9 does; its data stay. Present with `own`. */
  kill?(): Promise<void>
  /** Brings it back on the same address with its data. Present with `own`. */
  restart?(): Promise<void>
  close(): Promise<void>
}

export interface TargetOptions {
  /** A broker that belongs to this test alone and can be killed and restarted. */
  readonly own?: boolean
}

const shared = process.env['KAFKA_BROKERS'] || undefined
const version = process.env['MILLRACE_KAFKA'] || undefined
/** Why a test that needs a broker of its own cannot run here, or undefined: `if (noOwnBroker) test.skip(name, noOwnBroker)`. */
export const noOwnBroker: string | undefined =
  shared !== undefined && version === undefined ? 'KAFKA_BROKERS names a broker that is not ours to kill' : undefined

const storage = process.env['MILLRACE_STORAGE'] || 'memory'
if (storage !== 'memory' && storage !== 'log') throw new Error(`MILLRACE_STORAGE must be memory or log, not ${storage}`)
let root: string | undefined

/** Options of an application that say where its tables are: in a directory of its own, or in memory. */
export function tables(): Pick<MillraceOptions, 'storage'> {
  if (storage === 'memory') return {}
  if (root === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'millrace-tables-'))
    root = made
    process.once('exit', () => rmSync(made, { recursive: true, force: true }))
  }
  return { storage: { dir: mkdtempSync(join(root, 'app-')) } }
}

let names = 0
/** A name for a topic or group that no other test, process or earlier run uses. */
export function unique(prefix: string): string {
  return `${prefix}-${process.pid.toString(36)}-${Date.now().toString(36)}-${++names}`
}

export async function openTarget(options: TargetOptions = {}): Promise<Target> {
  const own = options.own ?? false
  if (own && noOwnBroker !== undefined) throw new Error(noOwnBroker)
  if (shared !== undefined && !own) {
    const name = version === undefined ? `Kafka at ${shared}` : `Apache Kafka ${version}`
    return disposable({ name, embedded: false, brokers: shared, close: () => Promise.resolve() })
  }
  if (version !== undefined) {
    const kafka = await Kafka.start(version)
    return disposable({
      name: `Apache Kafka ${kafka.version}`,
      embedded: false,
      brokers: kafka.brokers,
      kill: () => kafka.kill(),
      restart: () => kafka.restart(),
      close: () => kafka.close(),
    })
  }
  // As short as the Kafka that the tests start allows it.
  const broker = await Broker.start({ minSessionTimeoutMs: 1_000 })
  return disposable({
    name: 'embedded',
    embedded: true,
    brokers: broker.brokers,
    kill: () => Promise.resolve(broker.crash()),
    restart: () => Promise.resolve(broker.restart()),
    close: () => broker.close(),
  })
}

/** Runs `body` on a target and closes it whatever happens. */
export async function withTarget<T>(options: TargetOptions, body: (target: Target) => Promise<T>): Promise<T> {
  const target = await openTarget(options)
  try {
    return await body(target)
  } finally {
    await target.close()
  }
}

function disposable(target: Omit<Target, typeof Symbol.asyncDispose>): Target {
  return Object.assign(target, { [Symbol.asyncDispose]: () => target.close() })
}
