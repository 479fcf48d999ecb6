/** A scripted client port in virtual time: waits of minutes take no time, and what hangs is found at once. */
import { Consumer } from '../../../src/client/consumer/consumer.ts'
import type { ConsumerEvent } from '../../../src/client/consumer/events.ts'
import type { ConsumerOptions } from '../../../src/client/consumer/options.ts'
import { World } from '../../sim/world.ts'
import { FakeLog } from './fake-log.ts'
import { FakePort } from './fake-port.ts'

export interface Scene {
  readonly world: World
  readonly port: FakePort
  readonly log: FakeLog
  /** Events of all consumers of the scene, in order. */
  readonly events: ConsumerEvent[]
  /** A consumer on the port; quick retries unless the options say otherwise. */
  consumer(options?: ConsumerOptions): Consumer
}

export function inWorld(body: (scene: Scene) => Promise<void>, seed = 1): () => Promise<void> {
  return async () => {
    const world = new World(seed)
    await world.run(async () => {
      const port = new FakePort(world.process('client').scope)
      const log = new FakeLog(port)
      const events: ConsumerEvent[] = []
      const consumers: Consumer[] = []
      await body({
        world,
        port,
        log,
        events,
        consumer(options = {}) {
          const quick = {
            retryBackoffMs: 10,
            retryBackoffMaxMs: 100,
            onEvent: (e: ConsumerEvent) => void events.push(e),
          }
          const consumer = new Consumer(port, { ...quick, ...options }, `fetch:${consumers.length}`)
          consumers.push(consumer)
          return consumer
        },
      })
      await Promise.all(consumers.map((c) => c.close()))
    })
  }
}

/** Takes chunks until `count` records came; `t/0:5` each. */
export async function readSome(consumer: Consumer, count: number): Promise<string[]> {
  const seen: string[] = []
  while (seen.length < count) {
    const chunk = consumer.take()
    if (chunk === undefined) await consumer.wait()
    else for (const r of chunk.records()) seen.push(`${r.topic}/${r.partition}:${r.offset}`)
  }
  return seen
}

/** Events of one type. */
export function ofType<T extends ConsumerEvent['type']>(
  events: readonly ConsumerEvent[],
  type: T,
): Extract<ConsumerEvent, { type: T }>[] {
  return events.filter((e): e is Extract<ConsumerEvent, { type: T }> => e.type === type)
}
