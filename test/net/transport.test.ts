/** The contract of a transport, held by TCP and by the network in memory alike. */
import * as assert from 'uvu/assert'
import { type Deferred, deferred } from '../../src/base/deferred.ts'
import type { Connection, ConnectionHandler, Listener, Network } from '../../src/base/network.ts'
import { realScheduler } from '../../src/base/real-scheduler.ts'
import { InProcessNetwork, tcpNetwork } from '../../src/net/index.ts'
import { suite } from '../support/suite.ts'

const dialOptions = { connectTimeoutMs: 5000, maxFrameBytes: 16 * 1024 * 1024 }

/** A handler that remembers, and lets a test wait. */
class Recorder implements ConnectionHandler {
  readonly frames: Buffer[] = []
  readonly closed: Deferred<Error | undefined> = deferred()
  closes = 0
  drains = 0
  #waiting: { count: number; done: Deferred }[] = []
  onFrameHook: ((frame: Buffer) => void) | undefined

  onFrame(frame: Buffer): void {
    this.frames.push(frame)
    this.onFrameHook?.(frame)
    this.#waiting = this.#waiting.filter(({ count, done }) => {
      if (this.frames.length < count) return true
      done.resolve()
      return false
    })
  }

  onClose(reason: Error | undefined): void {
    this.closes += 1
    this.closed.resolve(reason)
  }

  onDrain(): void {
    this.drains += 1
  }

  async received(count: number): Promise<void> {
    if (this.frames.length >= count) return
    const done = deferred()
    this.#waiting.push({ count, done })
    await done.promise
  }
}

interface Line {
  readonly near: Connection
  readonly nearSide: Recorder
  readonly far: Connection
  readonly farSide: Recorder
  readonly listener: Listener
}

async function line(network: Network, maxFrameBytes = dialOptions.maxFrameBytes): Promise<Line> {
  const farSide = new Recorder()
  const accepted = deferred<Connection>()
  const listener = await network.listen(
    { host: '127.0.0.1', port: 0, maxFrameBytes, maxPartialBytes: 64 * 1024 * 1024 },
    (connection) => {
      accepted.resolve(connection)
      return farSide
    },
  )
  const nearSide = new Recorder()
  const near = await network.dial('127.0.0.1', listener.port, nearSide, { ...dialOptions, maxFrameBytes })
  return { near, nearSide, far: await accepted.promise, farSide, listener }
}

async function end({ near, farSide, nearSide, listener }: Line): Promise<void> {
  near.close()
  await Promise.all([nearSide.closed.promise, farSide.closed.promise])
  await listener.close()
}

const kinds: { name: string; make: () => Network }[] = [
  { name: 'tcp', make: tcpNetwork },
  { name: 'in process', make: () => new InProcessNetwork(realScheduler) },
]

for (const { name, make } of kinds) {
  const test = suite(`transport: ${name}`)

  test('frames arrive whole and in order, both ways, gathered from several buffers', async () => {
    const it = await line(make())
    const big = Buffer.alloc(3_000_000, 7)
    it.near.send([Buffer.from('a'), Buffer.from('b'), Buffer.alloc(0)])
    it.near.send([])
    it.near.send([Buffer.from('head'), big, Buffer.from('tail')])
    it.far.send([Buffer.from('answer')])
    await Promise.all([it.farSide.received(3), it.nearSide.received(1)])
    assert.equal(
      it.farSide.frames.map((frame) => frame.length),
      [2, 0, 8 + big.length],
    )
    assert.is(it.farSide.frames[0]!.toString(), 'ab')
    assert.ok(it.farSide.frames[2]!.equals(Buffer.concat([Buffer.from('head'), big, Buffer.from('tail')])))
    assert.is(it.nearSide.frames[0]!.toString(), 'answer')
    await end(it)
  })

  test('nothing is delivered inside the call of send or close', async () => {
    const it = await line(make())
    let inside = false
    it.farSide.onFrameHook = () => {
      assert.not(inside, 'the frame came inside send')
      inside = true
      it.far.send([Buffer.from('pong')])
      inside = false
    }
    it.nearSide.onFrameHook = () => assert.not(inside, 'the answer came inside send')
    inside = true
    it.near.send([Buffer.from('ping')])
    inside = false
    await it.nearSide.received(1)
    it.near.close()
    assert.is(it.nearSide.closes, 0)
    await Promise.all([it.nearSide.closed.promise, it.farSide.closed.promise])
    await it.listener.close()
  })

  test('closing tells both ends once; the reason stays with the one who closed', async () => {
    const it = await line(make())
    const reason = new Error('enough')
    it.near.close(reason)
    it.near.close(new Error('again'))
    it.near.send([Buffer.from('ignored')])
    assert.is(await it.nearSide.closed.promise, reason)
    await it.farSide.closed.promise
    assert.is(it.nearSide.closes, 1)
    assert.is(it.farSide.closes, 1)
    assert.is(it.farSide.frames.length, 0)
    await it.listener.close()
  })

  test('a frame above the limit closes the connection with an error that names limit and size', async () => {
    const it = await line(make(), 1000)
    it.near.send([Buffer.alloc(1001)])
    const reason = (await it.farSide.closed.promise) as Error & { code: string }
    assert.is(reason.code, 'ERR_FRAME')
    assert.match(reason.message, /1001 bytes, above maxFrameBytes 1000/)
    await it.nearSide.closed.promise
    assert.is(it.farSide.frames.length, 0)
    await it.listener.close()
  })

  test('a reader that does not read holds frames back, and the sender sees it', async () => {
    const it = await line(make())
    it.far.setReading(false)
    const chunk = Buffer.alloc(1024 * 1024, 1)
    for (let i = 0; i < 12; i++) it.near.send([chunk])
    await new Promise((resolve) => realScheduler.setTimer(30, () => resolve(undefined)))
    assert.ok(it.near.pendingBytes > 0, 'bytes are pending')
    assert.ok(it.farSide.frames.length < 12)
    it.far.setReading(true)
    await it.farSide.received(12)
    // The last bytes were taken, so the sender's drain is on its way.
    while (it.nearSide.drains === 0) await new Promise((resolve) => realScheduler.immediate(() => resolve(undefined)))
    assert.is(it.near.pendingBytes, 0)
    await end(it)
  })

  test('nobody listens: refused, with the address and what to check', async () => {
    const network = make()
    const it = await line(network)
    const { port } = it.listener
    await end(it)
    let caught: (Error & { code?: string; retriable?: boolean }) | undefined
    await network.dial('127.0.0.1', port, new Recorder(), dialOptions).catch((cause) => {
      caught = cause
    })
    assert.is(caught?.code, 'ERR_CONNECTION_REFUSED')
    assert.is(caught?.retriable, true)
    assert.match(caught!.message, new RegExp(`127.0.0.1:${port}.*is the broker running`))
  })

  test('a taken port is refused; a closed listener frees it and keeps open connections', async () => {
    const network = make()
    const it = await line(network)
    const options = { host: '127.0.0.1', port: it.listener.port, maxFrameBytes: 1000, maxPartialBytes: 1000 }
    let code = ''
    await network
      .listen(options, () => new Recorder())
      .catch((cause) => {
        code = cause.code
      })
    assert.is(code, 'ERR_LISTEN_FAILED')
    await it.listener.close()
    const again = await network.listen(options, () => new Recorder())
    it.near.send([Buffer.from('still here')])
    await it.farSide.received(1)
    await again.close()
    await end(it)
  })

  test('a dial that is given up rejects with the reason', async () => {
    const network = make()
    const it = await line(network)
    const abort = new AbortController()
    const dialled = network.dial('127.0.0.1', it.listener.port, new Recorder(), {
      ...dialOptions,
      signal: abort.signal,
    })
    abort.abort(new Error('changed my mind'))
    let message = ''
    await dialled.catch((cause) => {
      message = cause.message
    })
    assert.is(message, 'changed my mind')
    await end(it)
  })

  test.run()
}
