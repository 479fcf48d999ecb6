/** What only TCP has: foreign protocols at the other end, resets, names that do not resolve. */
import { createServer, type Server, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { deferred } from '../../src/base/deferred.ts'
import type { MillraceError } from '../../src/base/errors.ts'
import type { ConnectionHandler } from '../../src/base/network.ts'
import { tcpNetwork } from '../../src/net/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('tcp')
const options = { connectTimeoutMs: 5000, maxFrameBytes: 1_000_000 }

async function rawServer(onSocket: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer(onSocket)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 }
}

/** Resolves when the server and all its sockets are gone. */
function stop(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

const openSockets = (): string[] => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP'))

function closing(): { handler: ConnectionHandler; closed: Promise<Error | undefined> } {
  const { promise, resolve } = deferred<Error | undefined>()
  return { handler: { onFrame: () => {}, onClose: resolve }, closed: promise }
}

const strangers: { name: string; says: string | Buffer; expect: RegExp }[] = [
  { name: 'a TLS server', says: Buffer.from([0x15, 3, 1, 0, 2, 2, 40]), expect: /TLS record/ },
  { name: 'a web server', says: 'HTTP/1.1 400 Bad Request\r\n\r\n', expect: /HTTP/ },
]
for (const { name, says, expect } of strangers) {
  test(`${name} at the other end is named`, async () => {
    const { server, port } = await rawServer((socket) => socket.end(says))
    const { handler, closed } = closing()
    await tcpNetwork().dial('127.0.0.1', port, handler, options)
    const reason = (await closed) as MillraceError
    assert.is(reason.code, 'ERR_FRAME')
    assert.match(reason.message, expect)
    assert.match(reason.message, new RegExp(`127.0.0.1:${port}`))
    await stop(server)
  })
}

test('a reset connection gives a typed reason; an orderly end none', async () => {
  const { server, port } = await rawServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (bytes) => {
      if (bytes.length > 6) socket.resetAndDestroy()
      else socket.end()
    })
  })
  const reset = closing()
  const one = await tcpNetwork().dial('127.0.0.1', port, reset.handler, options)
  one.send([Buffer.from('long enough')])
  const reason = (await reset.closed) as MillraceError
  assert.is(reason.code, 'ERR_CONNECTION_LOST')
  assert.is(reason.retriable, true)
  const orderly = closing()
  const two = await tcpNetwork().dial('127.0.0.1', port, orderly.handler, options)
  two.send([Buffer.from('x')])
  assert.is(await orderly.closed, undefined)
  await stop(server)
})

test('a name without address says so', async () => {
  const { handler } = closing()
  let caught: MillraceError | undefined
  await tcpNetwork()
    .dial('no-such-host.invalid', 9092, handler, options)
    .catch((cause) => {
      caught = cause
    })
  assert.is(caught?.code, 'ERR_HOST_NOT_FOUND')
  assert.match(caught!.message, /no-such-host\.invalid:9092.*advertised\.listeners/)
})

test('frames of one turn leave in one piece', async () => {
  const chunks: number[] = []
  const all = deferred()
  const { server, port } = await rawServer((socket) => {
    let total = 0
    socket.on('data', (bytes) => {
      chunks.push(bytes.length)
      total += bytes.length
      if (total === 3 * (4 + 2000)) all.resolve()
    })
  })
  const { handler, closed } = closing()
  const connection = await tcpNetwork().dial('127.0.0.1', port, handler, options)
  for (let i = 0; i < 3; i++) connection.send([Buffer.alloc(1000), Buffer.alloc(1000)])
  await all.promise
  assert.is(chunks.length, 1)
  connection.close()
  await closed
  await stop(server)
})

test('nothing is left open', async () => {
  const { server, port } = await rawServer((socket) => socket.resume())
  const { handler, closed } = closing()
  const connection = await tcpNetwork().dial('127.0.0.1', port, handler, options)
  connection.close()
  await closed
  await stop(server)
  // Node takes handles off its list a turn or two after their callbacks.
  for (let turn = 0; turn < 5 && openSockets().length > 0; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(openSockets(), [])
})

test.run()
