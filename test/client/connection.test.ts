/** Connections and lanes against a scripted broker, on a virtual clock. */
import * as assert from 'uvu/assert'
import type { MillraceError } from '../../src/base/errors.ts'
import { Client, type ClientEvent } from '../../src/client/index.ts'
import type { ClientOptions } from '../../src/client/options.ts'
import { apiVersions } from '../../src/protocol/api/api-versions.ts'
import { findCoordinator } from '../../src/protocol/api/find-coordinator.ts'
import { heartbeat } from '../../src/protocol/api/heartbeat.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { errorCodes } from '../../src/protocol/errors.ts'
import { encodeResponse } from '../../src/protocol/frame.ts'
import type { Process } from '../sim/process.ts'
import { World } from '../sim/world.ts'
import { suite } from '../support/suite.ts'
import { FakePeer, type PeerCall, type PeerOptions } from './support/fake-peer.ts'

const test = suite('connection')
const beat = { groupId: 'g', generationId: 1, memberId: 'm' }
const anyNode = { node: 1 }

interface Setup {
  readonly world: World
  readonly peer: FakePeer
  readonly client: Client
  readonly process: Process
  readonly events: ClientEvent[]
}

/** A world with one peer and one client that knows it. */
async function inWorld(
  body: (setup: Setup) => Promise<void>,
  options: Omit<ClientOptions, 'brokers'> & { readonly peer?: PeerOptions; readonly known?: boolean } = {},
): Promise<void> {
  const world = new World(1, { latencyMs: [1, 1] })
  await world.run(async () => {
    const { peer: peerOptions, known = true, ...given } = options
    const peer = await FakePeer.start(world.process('peer').scope, peerOptions)
    peer.on(heartbeat, () => ({ throttleTimeMs: 0, errorCode: 0 }))
    const process = world.process('app')
    const events: ClientEvent[] = []
    const client = new Client({
      brokers: peer.address,
      scope: process.scope,
      onEvent: (event) => events.push(event),
      ...given,
    })
    if (known) await client.metadata.refreshed('test')
    await body({ world, peer, client, process, events })
    await client.close()
  })
}

async function failure(promise: Promise<unknown>): Promise<MillraceError> {
  try {
    await promise
  } catch (cause) {
    return cause as MillraceError
  }
  throw new Error('expected a rejection')
}

// ---- versions

const fallbacks: { name: string; knows: number; tells: boolean; asked: number[] }[] = [
  { name: 'a broker that knows version 4', knows: 4, tells: true, asked: [4] },
  { name: 'a broker that knows version 3 and says so', knows: 3, tells: true, asked: [4, 3] },
  { name: 'a broker that knows version 2 and says so', knows: 2, tells: true, asked: [4, 2] },
  { name: 'a broker that knows version 0 and says nothing', knows: 0, tells: false, asked: [4, 0] },
]
for (const { name, knows, tells, asked } of fallbacks) {
  test(`ApiVersions: ${name} is asked ${asked.join(', then ')}`, () =>
    inWorld(
      async ({ client, peer }) => {
        const full = [
          { apiKey: 18, minVersion: 0, maxVersion: knows },
          { apiKey: 3, minVersion: 0, maxVersion: 8 },
        ]
        peer.on(apiVersions, (_request, call) => {
          if (call.version <= knows) return { errorCode: 0, apiKeys: full }
          const errorCode = errorCodes.UNSUPPORTED_VERSION
          const body = { errorCode, apiKeys: tells ? full.slice(0, 1) : [] }
          call.connection.send(encodeResponse(apiVersions, 0, call.correlationId, body))
          return 'silent'
        })
        await client.metadata.refreshed('test')
        assert.equal(
          peer.calls.filter(({ api }) => api === 'ApiVersions').map(({ version }) => version),
          asked,
        )
        assert.is(peer.calls.find(({ api }) => api === 'Metadata')?.version, 8)
      },
      { known: false },
    ))
}

test('no version in common: a typed error that does not invite a retry', () =>
  inWorld(
    async ({ client }) => {
      const error = await failure(client.request(heartbeat, anyNode, beat))
      assert.is(error.code, 'ERR_NO_COMMON_VERSION')
      assert.is(error.retriable, false)
      assert.match(error.message, /Heartbeat/)
    },
    { peer: { ranges: new Map([['Heartbeat', [90, 91]]]) } },
  ))

test('maxVersions lowers what is spoken; minVersion above it is an error', () =>
  inWorld(
    async ({ client, peer }) => {
      await client.request(heartbeat, anyNode, beat)
      assert.is(peer.calls.at(-1)?.version, 2)
      assert.is(
        (await failure(client.request(heartbeat, anyNode, beat, { minVersion: 3 }))).code,
        'ERR_NO_COMMON_VERSION',
      )
    },
    { maxVersions: { Heartbeat: 2 } },
  ))

// ---- requests

test('requests are pipelined; each gets its own answer whatever the order', () =>
  inWorld(async ({ client, peer, world }) => {
    const calls: PeerCall[] = []
    peer.on(heartbeat, (_request, call) => {
      calls.push(call)
      return 'silent'
    })
    const answers = [1, 2, 3].map((generationId) => client.request(heartbeat, anyNode, { ...beat, generationId }))
    await world.until('three requests arrived before an answer left', () => calls.length === 3)
    for (const call of [...calls].reverse()) {
      call.answer({ throttleTimeMs: 0, errorCode: (call.request as { generationId: number }).generationId })
    }
    assert.equal(
      (await Promise.all(answers)).map(({ errorCode }) => errorCode),
      [1, 2, 3],
    )
  }))

test('each lane has a socket of its own, opened when first used', () =>
  inWorld(async ({ client, peer }) => {
    const before = peer.dials
    await client.request(heartbeat, anyNode, beat, { lane: 'join:g' })
    await client.request(heartbeat, anyNode, beat, { lane: 'join:g' })
    await client.request(heartbeat, anyNode, beat, { lane: 'fetch:1' })
    assert.is(peer.dials - before, 2)
    client.closeLane('join:g')
    await client.request(heartbeat, anyNode, beat, { lane: 'join:g' })
    assert.is(peer.dials - before, 3)
  }))

test('an unanswered request ends its connection; all in flight fail retriably; the next call dials again', () =>
  inWorld(
    async ({ client, peer, world }) => {
      await client.request(heartbeat, anyNode, beat, { lane: 'x' })
      peer.on(heartbeat, () => 'silent')
      const started = world.now
      const slow = client.request(heartbeat, anyNode, beat, { lane: 'x', timeoutMs: 2000 })
      const other = client.request(heartbeat, anyNode, beat, { lane: 'x', timeoutMs: 60_000 })
      const [one, two] = await Promise.all([failure(slow), failure(other)])
      assert.ok(world.now - started >= 2000 && world.now - started < 2100, `after ${world.now - started} ms`)
      assert.is(one.code, 'ERR_TIMEOUT')
      assert.match(one.message, /127\.0\.0\.1:9092 did not answer Heartbeat within 2000 ms.*requestTimeoutMs/)
      assert.is(two.retriable, true)
      peer.on(heartbeat, () => ({ throttleTimeMs: 0, errorCode: 7 }))
      assert.is((await client.request(heartbeat, anyNode, beat, { lane: 'x' })).errorCode, 7)
    },
    { requestTimeoutMs: 5000 },
  ))

test('a wait that the protocol asks for is added to the time-out', () =>
  inWorld(
    async ({ client, peer, world }) => {
      peer.on(heartbeat, (_request, call) => {
        void world.sleep(9000).then(() => call.answer({ throttleTimeMs: 0, errorCode: 0 }))
        return 'silent'
      })
      await client.request(heartbeat, anyNode, beat, { lane: 'x', extraWaitMs: 8000 })
    },
    { requestTimeoutMs: 2000 },
  ))

test('a stall of this process is not the broker being late: what has arrived is read first', () =>
  inWorld(
    async ({ client, peer, process, world }) => {
      await client.request(heartbeat, anyNode, beat, { lane: 'x' })
      peer.on(heartbeat, (_request, call) => {
        void world.sleep(500).then(() => call.answer({ throttleTimeMs: 0, errorCode: 0 }))
        return 'silent'
      })
      for (let round = 0; round < 20; round++) {
        const answer = client.request(heartbeat, anyNode, beat, { lane: 'x' })
        await world.sleep(100)
        process.stall(60_000)
        await answer
      }
    },
    { requestTimeoutMs: 1000 },
  ))

test('a cut connection fails what is in flight with a retriable error', () =>
  inWorld(async ({ client, peer, events }) => {
    await client.request(heartbeat, anyNode, beat, { lane: 'x' })
    peer.on(heartbeat, () => 'cut')
    const error = await failure(client.request(heartbeat, anyNode, beat, { lane: 'x' }))
    assert.is(error.code, 'ERR_CONNECTION_LOST')
    assert.is(error.retriable, true)
    assert.ok(events.some((event) => event.type === 'disconnected' && event.lane === 'x'))
  }))

test('an answer that nobody asked for ends the connection', () =>
  inWorld(async ({ client, peer }) => {
    peer.on(heartbeat, (_request, call) => {
      call.connection.send([Buffer.from([0x7f, 0, 0, 0, 0, 0])])
      return 'silent'
    })
    const error = await failure(client.request(heartbeat, anyNode, beat, { lane: 'x' }))
    assert.is(error.retriable, true)
    assert.match(error.message, /answered request 2130706432, which was never sent/)
  }))

test('an answer that cannot be read fails its request and no other', () =>
  inWorld(async ({ client, peer }) => {
    let first = true
    peer.on(heartbeat, (_request, call) => {
      if (!first) return { throttleTimeMs: 0, errorCode: 0 }
      first = false
      const id = Buffer.alloc(4)
      id.writeInt32BE(call.correlationId)
      call.connection.send([id, Buffer.from([0])])
      return 'silent'
    })
    const [bad, good] = await Promise.allSettled([
      client.request(heartbeat, anyNode, beat),
      client.request(heartbeat, anyNode, beat),
    ])
    assert.is(bad.status === 'rejected' && (bad.reason as MillraceError).code, 'ERR_PROTOCOL')
    assert.is(good.status, 'fulfilled')
  }))

test('a signal abandons the wait', () =>
  inWorld(async ({ client, peer, world }) => {
    peer.on(heartbeat, () => 'silent')
    const abort = new AbortController()
    const answer = failure(client.request(heartbeat, anyNode, beat, { signal: abort.signal }))
    await world.sleep(10)
    abort.abort(new Error('enough'))
    const error = await answer
    assert.is(error.code, 'ERR_ABORTED')
    assert.is((error.cause as Error).message, 'enough')
  }))

test('a throttled lane is silent for as long as the broker said', () =>
  inWorld(async ({ client, peer, events }) => {
    peer.on(heartbeat, () => ({ throttleTimeMs: 700, errorCode: 0 }))
    await client.request(heartbeat, anyNode, beat, { lane: 'x' })
    await Promise.all([
      client.request(heartbeat, anyNode, beat, { lane: 'x' }),
      client.request(heartbeat, anyNode, beat, { lane: 'x' }),
    ])
    const [first, second] = peer.calls.filter(({ api }) => api === 'Heartbeat')
    assert.ok(second!.at - first!.at >= 700, `${second!.at - first!.at} ms`)
    assert.is(events.filter(({ type }) => type === 'throttled').length, 3)
  }))

test('a throttle that is extended while somebody waits is obeyed to its end', () =>
  inWorld(async ({ client, peer, world }) => {
    const calls: PeerCall[] = []
    peer.on(heartbeat, (_request, call) => {
      calls.push(call)
      return 'silent'
    })
    const answers = [1, 2].map(() => client.request(heartbeat, anyNode, beat, { lane: 'x' }))
    await world.until('both are there', () => calls.length === 2)
    calls[0]!.answer({ throttleTimeMs: 500, errorCode: 0 })
    await answers[0]
    const third = client.request(heartbeat, anyNode, beat, { lane: 'x' })
    await world.sleep(100)
    calls[1]!.answer({ throttleTimeMs: 2000, errorCode: 0 })
    await answers[1]
    const from = world.now
    await world.until('the third has left', () => calls.length === 3)
    assert.ok(world.now - from >= 1990, `${world.now - from} ms`)
    calls[2]!.answer({ throttleTimeMs: 0, errorCode: 0 })
    await third
  }))

test('an idle connection is closed and opened again when needed', () =>
  inWorld(
    async ({ client, peer, world, events }) => {
      await client.request(heartbeat, anyNode, beat, { lane: 'x' })
      const dials = peer.dials
      await world.sleep(1900)
      await client.request(heartbeat, anyNode, beat, { lane: 'x' })
      assert.is(peer.dials, dials, 'used within its time')
      await world.sleep(2200)
      const gone = events.find((event) => event.type === 'disconnected' && event.lane === 'x')
      assert.ok(gone !== undefined && !('error' in gone))
      await client.request(heartbeat, anyNode, beat, { lane: 'x' })
      assert.is(peer.dials, dials + 1)
    },
    { connectionMaxIdleMs: 2000, metadataMaxAgeMs: 600_000 },
  ))

// ---- finding brokers

test('a listener that hangs up on the first request: the error guesses TLS or SASL', () =>
  inWorld(
    async ({ client, peer }) => {
      peer.on(apiVersions, () => 'cut')
      const error = await failure(client.request(metadata, 'any', { topics: [] }))
      assert.is(error.code, 'ERR_NO_BROKER')
      assert.is(error.retriable, true)
      assert.match(error.message, /127\.0\.0\.1:9092.*may want TLS or SASL/)
    },
    { known: false },
  ))

test('all addresses are tried until one answers', async () => {
  const world = new World(2)
  await world.run(async () => {
    await FakePeer.start(world.process('peer').scope, { port: 9095 })
    const scope = world.process('app').scope
    const client = new Client({ brokers: 'localhost:9093,127.0.0.1:9094, 127.0.0.1:9095', scope })
    assert.is((await client.metadata.refreshed('test')).nodes[0]?.port, 9095)
    await client.close()
  })
})

test('a broker that is gone for an hour: pauses grow to their limit, calls fail in time with the remedy, then all is well', () =>
  inWorld(
    async ({ client, peer, world, events }) => {
      await peer.stop()
      events.length = 0
      const end = world.now + 3_600_000
      let calls = 0
      while (world.now < end) {
        const started = world.now
        const error = await failure(client.request(heartbeat, anyNode, beat, { lane: 'x', timeoutMs: 400 }))
        calls += 1
        assert.is(error.retriable, true)
        assert.match(error.message, /127\.0\.0\.1:9092/)
        assert.match(error.message, /is the broker running|advertised\.listeners/)
        assert.ok(world.now - started <= 450, `took ${world.now - started} ms`)
        await world.sleep(1000)
      }
      assert.ok(calls > 2000)
      const failures = events.flatMap((event) => (event.type === 'connectFailed' && event.lane === 'x' ? [event] : []))
      const pauses = failures.map(({ retryInMs }) => retryInMs)
      assert.ok(pauses[0]! <= 60 && pauses[1]! <= 120, `${pauses.slice(0, 3)}`)
      assert.ok(pauses.slice(10).every((ms) => ms >= 800 && ms <= 1200))
      assert.ok(failures.length > 1000 && failures.length < 4600, `${failures.length} dials in an hour`)
      await peer.listen(9092)
      await world.sleep(1500)
      assert.is((await client.request(heartbeat, anyNode, beat, { lane: 'x' })).errorCode, 0)
    },
    { metadataMaxAgeMs: 86_400_000 },
  ))

test('a call that waits for a connection longer than allowed names broker, last failure and remedy', () =>
  inWorld(
    async ({ client, peer, world }) => {
      await peer.stop()
      await failure(client.request(heartbeat, anyNode, beat, { lane: 'x' }))
      const error = await failure(client.request(heartbeat, anyNode, beat, { lane: 'x', timeoutMs: 100 }))
      assert.is(error.code, 'ERR_TIMEOUT')
      assert.match(
        error.message,
        /Heartbeat waited 100 ms for a connection to broker 1 \(127\.0\.0\.1:9092\); last: .*ECONNREFUSED.*advertised\.listeners/,
      )
      assert.ok(world.now < 5000)
    },
    { reconnectBackoffMs: 1000 },
  ))

test('a group request finds the coordinator, and looks it up again after a lost connection', () =>
  inWorld(async ({ client, peer }) => {
    peer.on(findCoordinator, () => ({
      throttleTimeMs: 0,
      coordinators: [{ key: 'g', nodeId: 1, host: '127.0.0.1', port: 9092, errorCode: 0, errorMessage: null }],
    }))
    const lookups = (): number => peer.asked.filter((api) => api === 'FindCoordinator').length
    await Promise.all([1, 2, 3].map(() => client.request(heartbeat, { group: 'g' }, beat)))
    assert.is(lookups(), 1, 'merged')
    peer.on(heartbeat, () => 'cut')
    await failure(client.request(heartbeat, { group: 'g' }, beat))
    peer.on(heartbeat, () => ({ throttleTimeMs: 0, errorCode: 0 }))
    await client.request(heartbeat, { group: 'g' }, beat)
    assert.is(lookups(), 2)
    client.coordinators.forget('g', 'NOT_COORDINATOR')
    await client.request(heartbeat, { group: 'g' }, beat)
    assert.is(lookups(), 3)
  }))

// ---- the end

test('close fails what is in flight with ClosedError and leaves no socket', () =>
  inWorld(async ({ client, peer, world }) => {
    peer.on(heartbeat, () => 'silent')
    const waiting = failure(client.request(heartbeat, anyNode, beat))
    await world.sleep(50)
    await client.close()
    assert.is((await waiting).code, 'ERR_CLOSED')
    assert.is((await failure(client.request(heartbeat, anyNode, beat))).code, 'ERR_CLOSED')
    assert.is((await failure(client.metadata.require(['t']))).code, 'ERR_CLOSED')
    await world.sleep(50)
    assert.is(peer.connections.size, 0)
  }))

test('close while dialling a host that does not answer ends at once', async () => {
  const world = new World(3)
  await world.run(async () => {
    const process = world.process('app')
    const client = new Client({ brokers: '127.0.0.1:9092', scope: process.scope })
    world.isolate('app', 1e9)
    const waiting = failure(client.metadata.require(['t']))
    await world.sleep(100)
    const started = world.now
    await client.close()
    assert.ok(world.now - started < 5)
    assert.is((await waiting).code, 'ERR_CLOSED')
  })
})

// ---- options

const badOptions: { options: ClientOptions; says: RegExp }[] = [
  { options: { brokers: '' }, says: /names no address/ },
  { options: { brokers: 'http://localhost:9092' }, says: /no host:port/ },
  { options: { brokers: 'localhost:99999' }, says: /no host:port/ },
  { options: { brokers: 'a', requestTimeoutMs: 1.5 }, says: /requestTimeoutMs must be a whole number from 100/ },
  { options: { brokers: 'a', maxVersions: { Fetsch: 1 } }, says: /maxVersions names Fetsch/ },
  {
    options: { brokers: 'a', requesttimeout: 1 } as ClientOptions,
    says: /unknown option requesttimeout \(did you mean requestTimeoutMs/,
  },
  { options: { brokers: 'a:b', clientId: '' }, says: /clientId must/ },
]
for (const { options, says } of badOptions) {
  test(`options ${JSON.stringify(options)} are refused`, () => {
    assert.throws(
      () => new Client(options),
      (cause: MillraceError) => cause.code === 'ERR_OPTIONS' && says.test(cause.message),
    )
  })
}

test.run()
