/** Start, crash, restart, close, over TCP and from the command line: nothing is left behind. */
import * as assert from 'uvu/assert'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Broker } from '../../src/broker/index.ts'
import { brokerArguments } from '../../src/cli/broker.ts'
import { UsageError } from '../../src/cli/usage.ts'
import { defaultScope } from '../../src/net/index.ts'
import { fetch } from '../../src/protocol/api/fetch.ts'
import { joinGroup } from '../../src/protocol/api/join-group.ts'
import { metadata } from '../../src/protocol/api/metadata.ts'
import { rejects, suite } from '../support/suite.ts'
import { batch, RawClient, send, withBroker } from './support/kit.ts'
import { formGroup, Member } from './support/member.ts'

const test = suite('broker: life')
const scope = defaultScope()
const dial = (broker: Broker, node = 1): Promise<RawClient> => RawClient.dial({ scope }, broker.addresses[node - 1]!)

/** What keeps the process alive, without what the test runner itself holds. */
function handles(): string {
  return process
    .getActiveResourcesInfo()
    .filter((name) => /TCP|Timeout|Immediate/.test(name))
    .sort()
    .join()
}

test('over TCP: after close() no handle is left and no connection is counted, whatever was waiting', async () => {
  const before = handles()
  const broker = await Broker.start({ topics: { t: 1 }, nodes: 2 })
  const idle = await dial(broker, 2)
  const raw = await dial(broker)
  await send(raw, 't', 0, batch(['a']))
  const topics = [{ topic: 't', partitions: [{ partition: 0, fetchOffset: 1, partitionMaxBytes: 1000 }] }]
  const fetching = raw.ask(fetch, 11, { maxWaitMs: 60_000, minBytes: 1, topics, forgottenTopicsData: [] })
  const joiner = await dial(broker)
  const joining = joiner.ask(joinGroup, 0, {
    groupId: 'g',
    sessionTimeoutMs: 60_000,
    memberId: '',
    protocolType: 'c',
    protocols: [],
  })
  await joining
  broker.faults.delay('Metadata', 60_000)
  const slow = await dial(broker)
  const delayed = slow.ask(metadata, 1, { topics: null })
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(broker.connectionCount >= 3)
  await broker.close()
  await rejects(fetching)
  await rejects(delayed)
  await Promise.all([idle, raw, joiner, slow].map((client) => client.ended))
  assert.is(broker.connectionCount, 0)
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(handles(), before)
  await broker.close()
  assert.throws(() => broker.createTopic('x'), /closed/)
  await rejects(broker.restart(), 'ERR_CLOSED')
})

test('over TCP: crash and restart on the same ports, with the logs', async () => {
  await using broker = await Broker.start({ topics: { t: 1 }, nodes: 2 })
  const { addresses } = broker
  const raw = await dial(broker)
  await send(raw, 't', 0, batch(['a']))
  broker.crash()
  await raw.ended
  assert.equal(broker.addresses, [])
  await broker.restart()
  assert.equal(broker.addresses, addresses)
  const again = await dial(broker)
  assert.is((await send(again, 't', 0, batch(['b']))).baseOffset, 1)
  assert.equal(
    broker.records('t', 0).map((r) => [r.value?.toString(), r.leaderEpoch]),
    [
      ['a', 0],
      ['b', 1],
    ],
  )
  again.close()
  await again.ended
})

test('a taken port is an error, and nothing is left of the start', async () => {
  await using broker = await Broker.start()
  const port = Number(broker.brokers.split(':')[1])
  const before = handles()
  await rejects(Broker.start({ port }), 'ERR_LISTEN_FAILED')
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(handles(), before)
})

test('another broker takes over the logs of one that was closed', async () => {
  const first = await Broker.start({ topics: { t: 1 } })
  await send(await dial(first), 't', 0, batch(['a']))
  await first.close()
  await using second = await Broker.start({ logs: first.logs, topics: { t: 1, u: 2 } })
  assert.is(second.logs.clusterId, first.logs.clusterId)
  assert.equal(second.topics, ['t', 'u'])
  assert.equal(
    second.records('t', 0).map((r) => r.value?.toString()),
    ['a'],
  )
  await rejects(Broker.start({ logs: first.logs, nodes: 2 }), /nodes must be 1/)
  await rejects(Broker.start({ logs: { clusterId: 'x' } }), /broker\.logs/)
})

test(
  'a broker that stood still expels nobody before it has read what came meanwhile',
  withBroker({ topics: { t: 1 } }, async (kit) => {
    const a = await Member.create(kit, 'a', { sessionTimeoutMs: 6_000 })
    await formGroup(a)
    kit.stall(60_000)
    assert.is(await a.heartbeat(), 'ok', 'sent during the stall')
    await kit.world.sleep(5_000)
    assert.is(await a.heartbeat(), 'ok')
    await kit.world.sleep(6_100)
    assert.is(await a.heartbeat(), 'UNKNOWN_MEMBER_ID')
  }),
)

// ---- the command

const lines: readonly { readonly args: readonly string[]; readonly says: RegExp }[] = [
  { args: [], says: /--port is missing/ },
  { args: ['--port', 'x'], says: /whole number/ },
  { args: ['--port', '1', '--topic', 'a:b'], says: /partitions of --topic a/ },
  { args: ['--port', '1', '--topic', ':3'], says: /name or name:partitions/ },
  { args: ['--port', '1', '--topic', 'a:1:2'], says: /name or name:partitions/ },
  { args: ['--port', '1', '--colour', 'red'], says: /colour/ },
  { args: ['--port', '1', 'more'], says: /more/ },
]
for (const { args, says } of lines) {
  test(`millrace broker ${args.join(' ')} is refused`, () => {
    assert.throws(
      () => brokerArguments(args),
      (e: unknown) => e instanceof UsageError && says.test(e.message) && e.usage.includes('--topic'),
    )
  })
}

test('millrace broker: arguments', () => {
  assert.equal(brokerArguments(['--port', '9092', '--topic', 'a:3', '--topic', 'b', '--host', '::1', '--insecure']), {
    port: 9092,
    host: '::1',
    advertisedHost: undefined,
    topics: [{ name: 'a', partitions: 3 }, { name: 'b' }],
    insecure: true,
  })
  assert.is(brokerArguments(['--help']), undefined)
})

const main = join(import.meta.dirname, '../../src/cli/main.js')

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`millrace broker runs alone: one ready line, ends with 0 on ${signal}`, async () => {
    const child = spawn(process.execPath, [main, 'broker', '--port', '0', '--topic', 't:2'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      child.stdout.setEncoding('utf8')
      let out = ''
      child.stdout.on('data', (text: string) => {
        out += text
      })
      await once(child.stdout, 'data')
      const [, address = ''] = /^millrace broker ready on (127\.0\.0\.1:\d+)\n$/.exec(out) ?? []
      const raw = await RawClient.dial({ scope }, address)
      const answer = await raw.ask(metadata, 9, { topics: [{ name: 't' }] })
      assert.is(answer.topics[0]?.partitions.length, 2)
      child.kill(signal)
      const [code] = (await once(child, 'exit')) as [number | null]
      assert.is(code, 0)
      await raw.ended
      assert.is(out.split('\n').length, 2, 'nothing but the ready line')
    } finally {
      child.kill('SIGKILL')
    }
  })
}

for (const [args, code, says] of [
  [['brokr'], 2, /unknown command 'brokr'/],
  [['broker', '--port'], 2, /port/],
  [['broker', '--port', '0', '--host', '0.0.0.0'], 1, /insecure/],
] as const) {
  test(`millrace ${args.join(' ')} ends with ${code} and says why`, async () => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    let err = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text
    })
    const [got] = (await once(child, 'close')) as [number | null]
    assert.is(got, code)
    assert.match(err, says)
    assert.not.match(err, /^\s+at /m)
  })
}
test.run()
