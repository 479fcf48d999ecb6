/**
 * A broker in a simulated world and raw clients that speak the protocol frame by frame, for the broker's own tests.
 * Time is virtual: a session time-out of a minute costs nothing, and nothing depends on the machine.
 */
import type { Scope } from '../../../src/base/scope.ts'
import type { Connection } from '../../../src/base/network.ts'
import { type Deferred, deferred } from '../../../src/base/deferred.ts'
import { Broker, type BrokerEvent, type StartOptions } from '../../../src/broker/index.ts'
import { errorCodes, kafkaError, type KafkaErrorName } from '../../../src/protocol/errors.ts'
import { correlationIdOf, decodeResponse, encodeRequest } from '../../../src/protocol/frame.ts'
import type { Api } from '../../../src/protocol/schema.ts'
import { metadata } from '../../../src/protocol/api/metadata.ts'
import { produce } from '../../../src/protocol/api/produce.ts'
import { encodeBatch, type PlainBatch } from '../../protocol/batches.ts'
import { World } from '../../sim/world.ts'

const limits = { connectTimeoutMs: 1000, maxFrameBytes: 256 << 20 }

/** The name of an error code, `ok` for 0. */
export function named(code: number): KafkaErrorName | 'ok' {
  return code === 0 ? 'ok' : kafkaError(code).name
}

/** A connection without any logic of a client. */
export class RawClient {
  readonly clientId: string
  /** Resolves with the reason when the connection has ended. */
  readonly ended: Promise<Error | undefined>
  /** Frames in the order they arrived. */
  readonly frames: Buffer[] = []
  readonly #connection: Connection
  readonly #waiting: Map<number, Deferred<Buffer>>
  #next = 1

  constructor(
    connection: Connection,
    clientId: string,
    waiting: Map<number, Deferred<Buffer>>,
    ended: Promise<Error | undefined>,
  ) {
    this.#connection = connection
    this.clientId = clientId
    this.#waiting = waiting
    this.ended = ended
  }

  static async dial(
    from: { readonly scope: Pick<Scope, 'network'> },
    address: string,
    clientId = 'raw',
  ): Promise<RawClient> {
    const [host = '', port] = address.split(':')
    const waiting = new Map<number, Deferred<Buffer>>()
    const ended = deferred<Error | undefined>()
    let client: RawClient | undefined
    const handler = {
      onFrame: (frame: Buffer): void => {
        client?.frames.push(frame)
        const id = correlationIdOf(frame)
        waiting.get(id)?.resolve(frame)
        waiting.delete(id)
      },
      onClose: (reason: Error | undefined): void => {
        ended.resolve(reason)
        for (const each of waiting.values()) each.reject(reason ?? new Error('the broker closed the connection'))
      },
    }
    const connection = await from.scope.network.dial(host, Number(port), handler, limits)
    client = new RawClient(connection, clientId, waiting, ended.promise)
    return client
  }

  /** Sends a request and resolves with the decoded answer. */
  async ask<Out, In, ResOut, ResIn>(api: Api<Out, In, ResOut, ResIn>, version: number, input: In): Promise<ResOut> {
    const id = this.#next++
    const answer = deferred<Buffer>(true)
    this.#waiting.set(id, answer)
    this.#connection.send(encodeRequest(api, version, id, this.clientId, input))
    return decodeResponse(api, version, await answer.promise)
  }

  /** Sends a request that has no answer. */
  tell<Out, In, ResOut, ResIn>(api: Api<Out, In, ResOut, ResIn>, version: number, input: In): void {
    this.#connection.send(encodeRequest(api, version, this.#next++, this.clientId, input))
  }

  /** Sends any bytes as a frame. */
  sendRaw(frame: Buffer): void {
    this.#connection.send([frame])
  }

  close(): void {
    this.#connection.close()
  }
}

export interface Kit {
  readonly world: World
  readonly broker: Broker
  readonly events: BrokerEvent[]
  /** A new connection to a node (default 1). */
  client(node?: number, clientId?: string): Promise<RawClient>
  topicId(name: string): Promise<string>
  /** Waits on the world's clock. */
  sleep(ms: number): Promise<void>
  /** Stops the broker's process for `ms`. */
  stall(ms: number): void
}

/** Runs `body` with a broker of `options` in a world of its own, and closes the broker. */
export function withBroker(options: StartOptions, body: (kit: Kit) => Promise<void>, seed = 1): () => Promise<void> {
  return async () => {
    const world = new World(seed, { latencyMs: [0, 0] })
    await world.run(async () => {
      const events: BrokerEvent[] = []
      const process = world.process('broker')
      const broker = await Broker.start({ ...options, scope: process.scope, onEvent: (event) => events.push(event) })
      const client = (node = 1, clientId = 'raw'): Promise<RawClient> =>
        RawClient.dial(world.outside, broker.addresses[node - 1] ?? '', clientId)
      const topicId = async (name: string): Promise<string> => {
        const asked = await (await client()).ask(metadata, 12, { topics: [{ name }] })
        return asked.topics[0]?.topicId ?? ''
      }
      await body({
        world,
        broker,
        events,
        client,
        topicId,
        sleep: (ms) => world.sleep(ms),
        stall: (ms) => process.stall(ms),
      })
      await broker.close()
      const bugs = events.filter((event) => event.type === 'handlerFailed')
      if (bugs.length > 0) throw new Error('a handler failed', { cause: (bugs[0] as { error: unknown }).error })
    })
  }
}

/** A batch of values without keys (or of `key:value`), at `time`. */
export function batch(values: readonly string[], more: PlainBatch = {}): Buffer {
  const records = values.map((text) => {
    const [key, value] = text.includes(':') ? text.split(':') : [undefined, text]
    return { key: key === undefined ? null : Buffer.from(key), value: Buffer.from(value ?? '') }
  })
  return encodeBatch({ records, ...more })
}

/** Produces one batch with Produce v9 and resolves with the partition's row. */
export async function send(client: RawClient, topic: string, partition: number, bytes: Buffer | null, acks = -1) {
  const answer = await client.ask(produce, 9, {
    acks,
    timeoutMs: 1000,
    topicData: [{ name: topic, partitionData: [{ index: partition, records: bytes }] }],
  })
  const row = answer.responses[0]?.partitionResponses[0]
  if (row === undefined) throw new Error('no row in the produce answer')
  return row
}

export { errorCodes }
