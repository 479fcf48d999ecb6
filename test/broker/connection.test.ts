/** What a peer may do to a connection: versions the broker does not know, hostile bytes, floods; and fuzzing with a seed. */
import * as assert from 'uvu/assert'
import { apiVersions } from '../../src/protocol/api/api-versions.ts'
import { allApis, apisByKey } from '../../src/protocol/api/index.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { decodeResponse, encodeRequest } from '../../src/protocol/frame.ts'
import type { Api } from '../../src/protocol/schema.ts'
import { Broker, type BrokerEvent } from '../../src/broker/index.ts'
import { defaultScope } from '../../src/net/index.ts'
import { randomInput } from '../protocol/random-message.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { batch, type Kit, named, RawClient, send, withBroker } from './support/kit.ts'

const test = suite('broker: connections')

test(
  'ApiVersions tells what is served, in every version; Produce from 0, as Kafka does for old librdkafka',
  withBroker({}, async ({ client }) => {
    const raw = await client()
    for (let version = 0; version <= apiVersions.maxVersion; version++) {
      const software = version >= 3 ? { clientSoftwareName: 'me', clientSoftwareVersion: '1.0' } : {}
      const answer = await raw.ask(apiVersions, version, software)
      assert.is(answer.errorCode, 0)
      const ranges = answer.apiKeys.map((k) => `${apisByKey.get(k.apiKey)?.name} ${k.minVersion}–${k.maxVersion}`)
      const expected = allApis.map(
        (api) => `${api.name} ${api.name === 'Produce' ? 0 : api.minVersion}–${api.maxVersion}`,
      )
      assert.equal(ranges, expected)
      assert.equal(answer.finalizedFeatures ?? [], [])
    }
    for (const name of ['', 'a b', '-x', 'x;']) {
      const answer = await raw.ask(apiVersions, 3, { clientSoftwareName: name, clientSoftwareVersion: '1' })
      assert.is(named(answer.errorCode), 'INVALID_REQUEST')
    }
  }),
)

test(
  'an ApiVersions request of a version to come is answered in version 0 with the ranges',
  withBroker({}, async ({ client, world }) => {
    const raw = await client()
    const frame = Buffer.concat([Buffer.from('001200630000002affff', 'hex'), Buffer.from('nobody knows this body')])
    raw.sendRaw(frame)
    await world.until('the answer', () => raw.frames.length === 1)
    const answer = decodeResponse(apiVersions, 99, raw.frames[0]!)
    assert.is(raw.frames[0]!.readInt32BE(0), 42)
    assert.is(named(answer.errorCode), 'UNSUPPORTED_VERSION')
    assert.is(answer.apiKeys.length, allApis.length)
    assert.is((await raw.ask(metadata, 9, { topics: [] })).topics.length, 0, 'the connection lives')
  }),
)

function header(key: number, version: number): Buffer {
  const bytes = Buffer.alloc(10)
  bytes.writeInt16BE(key, 0)
  bytes.writeInt16BE(version, 2)
  bytes.writeInt16BE(-1, 8)
  return bytes
}

const closes: readonly { readonly name: string; readonly frame: Buffer; readonly code: string }[] = [
  { name: 'an empty frame', frame: Buffer.alloc(0), code: 'ERR_PROTOCOL' },
  { name: 'half a header', frame: Buffer.from('0003', 'hex'), code: 'ERR_PROTOCOL' },
  { name: 'an unknown API', frame: header(9_999, 0), code: 'ERR_UNSUPPORTED_REQUEST' },
  { name: 'a negative API', frame: header(-1, 0), code: 'ERR_UNSUPPORTED_REQUEST' },
  { name: 'a Metadata version to come', frame: header(3, 99), code: 'ERR_UNSUPPORTED_REQUEST' },
  { name: 'Produce v2, which is only told', frame: header(0, 2), code: 'ERR_UNSUPPORTED_REQUEST' },
  { name: 'a body that is cut off', frame: header(3, 1), code: 'ERR_PROTOCOL' },
  {
    name: 'two billion topics',
    frame: Buffer.concat([header(3, 1), Buffer.from('7fffffff', 'hex')]),
    code: 'ERR_PROTOCOL',
  },
  { name: 'HTTP', frame: Buffer.from('GET / HTTP/1.1\r\n\r\n'), code: 'ERR_PROTOCOL' },
]
for (const { name, frame, code } of closes) {
  test(
    `${name}: the connection is closed, ${code}; others live`,
    withBroker({ topics: { t: 1 } }, async ({ client, events, broker, world }) => {
      const other = await client()
      const raw = await client()
      raw.sendRaw(frame)
      await raw.ended
      const bad = events.find((event) => event.type === 'badRequest')
      assert.is(bad?.type === 'badRequest' ? bad.error.code : '', code)
      assert.is((await send(other, 't', 0, batch(['a']))).errorCode, 0)
      await world.until('one connection is left', () => broker.connectionCount === 1)
    }),
  )
}

test(
  'a request that may need more memory than there is closes its connection; several wait for each other',
  withBroker({ topics: { t: 1 }, maxRequestMemoryBytes: 20_000 }, async ({ client, events, world }) => {
    const greedy = await client()
    greedy.ask(metadata, 1, { topics: [{ name: 'x'.repeat(3_000) }] }).catch(() => {})
    await greedy.ended
    assert.ok(events.some((event) => event.type === 'badRequest' && event.error.code === 'ERR_REQUEST_TOO_LARGE'))
    const clients = await Promise.all(Array.from({ length: 8 }, () => client()))
    const many = clients.flatMap((raw) => [raw, raw, raw, raw, raw])
    const rows = await Promise.all(many.map((raw) => send(raw, 't', 0, batch(['x'.repeat(2_000)]))))
    assert.equal(
      rows.map((row) => row.errorCode),
      rows.map(() => 0),
    )
    assert.ok(world.now < 5_000)
  }),
)

test(
  'a flood of requests on one connection is answered completely and in order',
  withBroker({ topics: { t: 1 } }, async ({ client, broker }) => {
    const raw = await client()
    const answers = Array.from({ length: 3_000 }, (_, i) => raw.ask(metadata, 1, { topics: [{ name: `t${i}` }] }))
    const names = (await Promise.all(answers)).map((answer) => answer.topics[0]?.name)
    assert.equal(
      names,
      Array.from({ length: 3_000 }, (_, i) => `t${i}`),
    )
    assert.is(broker.connectionCount, 1)
  }),
)

test(
  'maxConnections: one more is closed',
  withBroker({ maxConnections: 2 }, async ({ client, broker, world }) => {
    const first = await client()
    await client()
    await (await client()).ended
    await world.until('two are left', () => broker.connectionCount === 2)
    first.close()
    await world.until('one is left', () => broker.connectionCount === 1)
    await (await client()).ask(metadata, 1, { topics: [] })
  }),
)

// ---- fuzz

const seed = Number(process.env['SEED'] ?? 20_261_121)
console.log(`broker fuzz: again with SEED=${seed}`)

/** A valid request of a random API and version with a random body; names are often those of the broker. */
function randomRequest(random: SeededRandom): Buffer {
  const { key } = random.pick(allApis)
  const api = apisByKey.get(key) as Api<unknown, unknown, unknown, unknown>
  const version = random.between(api.minVersion, api.maxVersion)
  const input = tamed(randomInput(api.request.fields, version, random), random) as Record<string, unknown>
  return Buffer.concat(encodeRequest(api, version, random.uint32() | 0, 'fuzz', input))
}

/** Makes some values meaningful, so that handlers come further than their first check. */
function tamed(value: unknown, random: SeededRandom): unknown {
  if (Array.isArray(value)) return value.map((each) => tamed(each, random))
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value
  const out: Record<string, unknown> = {}
  for (const [name, each] of Object.entries(value)) {
    if (/^(topic|name|groupId|key)$/.test(name) && typeof each === 'string' && random.chance(0.8))
      out[name] = random.pick(['t', 'u', '__proto__', 'g'])
    else if (/^(partition|partitionIndex|index)$/.test(name) && random.chance(0.8)) out[name] = random.int(3)
    else if (name === 'records' && random.chance(0.9))
      out[name] = batch(
        ['k:v', 'w'],
        random.chance(0.5)
          ? {}
          : { producerId: BigInt(random.int(3)), producerEpoch: random.int(3), baseSequence: random.int(5) },
      )
    else if (/Ms$/.test(name) && random.chance(0.9)) out[name] = random.int(20_000)
    else if (/Offset$/.test(name) && random.chance(0.7)) out[name] = random.int(6)
    else if (name === 'acks') out[name] = random.between(-1, 1)
    else if (/Epoch$/.test(name) && random.chance(0.7)) out[name] = random.between(-1, 1)
    else if (name === 'topicId' && random.chance(0.7)) out[name] = '0'.repeat(32)
    else if (name === 'numPartitions') out[name] = random.int(4)
    else if (name === 'transactionalId' && random.chance(0.8)) out[name] = null
    else if (name === 'sessionId') out[name] = 0
    else if (name === 'memberId' && random.chance(0.5)) out[name] = ''
    else out[name] = tamed(each, random)
  }
  return out
}

function spoiled(frame: Buffer, random: SeededRandom): Buffer {
  const bytes = Buffer.from(frame)
  switch (random.int(5)) {
    case 0:
      for (let i = random.between(1, 8); i > 0; i--) bytes[random.int(bytes.length)]! ^= 1 << random.int(8)
      return bytes
    case 1:
      return bytes.subarray(0, random.int(bytes.length + 1))
    case 2:
      return Buffer.concat([bytes, random.bytes(random.int(64))])
    case 3: {
      const at = random.int(bytes.length)
      bytes.fill(random.pick([0x00, 0x7f, 0x80, 0xff]), at, Math.min(bytes.length, at + random.between(1, 5)))
      return bytes
    }
    default:
      return random.bytes(random.int(200))
  }
}

/** Sends frames over many connections, and requires that the broker answers others meanwhile and leaks nothing. */
async function bombard(kit: Kit, frames: number, make: (random: SeededRandom) => Buffer): Promise<number> {
  const random = new SeededRandom(seed)
  const { world, broker } = kit
  let answered = 0
  for (let i = 0; i < frames; ) {
    const raw: RawClient = await kit.client(1, 'fuzz')
    let gone = false
    raw.ended.then(
      () => {
        gone = true
      },
      () => {},
    )
    for (let n = random.between(1, 12); n > 0 && !gone && i < frames; n--, i++) {
      raw.sendRaw(make(random))
      if (random.chance(0.7)) await world.sleep(1)
    }
    await world.sleep(random.int(100))
    answered += raw.frames.length
    raw.close()
  }
  await world.until('every connection is gone', () => broker.connectionCount === 0)
  if (!broker.topics.includes('alive')) broker.createTopic('alive', 1)
  assert.is((await send(await kit.client(), 'alive', 0, batch(['a']))).errorCode, 0)
  assert.equal(
    kit.events.filter((event) => event.type === 'handlerFailed'),
    [],
  )
  return answered
}

const fuzzed = { topics: { t: 3, u: 1 }, maxPartitions: 200 }
const fuzzes: readonly {
  readonly what: string
  readonly frames: number
  readonly make: (random: SeededRandom) => Buffer
}[] = [
  { what: 'random requests of all APIs and versions', frames: 6_000, make: randomRequest },
  {
    what: 'requests with bits flipped, cut, lengthened',
    frames: 12_000,
    make: (random) => spoiled(randomRequest(random), random),
  },
  { what: 'noise', frames: 3_000, make: (random) => random.bytes(random.int(300)) },
]
for (const { what, frames, make } of fuzzes) {
  test(
    `fuzz: ${what}`,
    withBroker(fuzzed, async (kit) => {
      const answered = await bombard(kit, frames, make)
      if (make === randomRequest) assert.ok(answered > frames / 2, `handlers were reached: ${answered} answers`)
    }),
  )
}

test('fuzz over TCP: noise on a listening socket', async () => {
  const { connect } = await import('node:net')
  const events: BrokerEvent[] = []
  await using broker = await Broker.start({ topics: { t: 1 }, onEvent: (event) => events.push(event) })
  const random = new SeededRandom(seed)
  const [host = '', port] = broker.addresses[0]!.split(':')
  for (let i = 0; i < 60; i++) {
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), host, () => {
        const body = i % 2 === 0 ? random.bytes(random.int(500)) : spoiled(randomRequest(random), random)
        const size = Buffer.alloc(4)
        size.writeInt32BE(random.chance(0.8) ? body.length : random.uint32() | 0)
        socket.end(Buffer.concat([size, body]))
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve())
      socket.resume()
    })
  }
  assert.equal(
    events.filter((event) => event.type === 'handlerFailed'),
    [],
  )
  const honest = await RawClient.dial({ scope: defaultScope() }, broker.addresses[0]!)
  assert.is((await send(honest, 't', 0, batch(['a']))).baseOffset, broker.offsets('t', 0).next - 1)
  honest.close()
})
test.run()
