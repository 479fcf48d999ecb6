/** What only the network in memory has: latency, cuts, refusals, endpoints with names; all on a virtual clock. */
import * as assert from 'uvu/assert'
import type { Connection, ConnectionHandler } from '../../src/base/network.ts'
import type { Scheduler } from '../../src/base/scope.ts'
import { type InProcessHooks, InProcessNetwork, type Route } from '../../src/net/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('in-process network')

/** A clock that moves when told. */
class ManualScheduler implements Scheduler {
  time = 0
  #events: { at: number; order: number; callback: (() => void) | undefined }[] = []
  #order = 0

  now = (): number => this.time
  monotonic = (): number => this.time
  immediate = (callback: () => void): void => void this.setTimer(0, callback)
  setTimer = (delayMs: number, callback: () => void) => {
    const event = { at: this.time + delayMs, order: this.#order++, callback: callback as (() => void) | undefined }
    this.#events.push(event)
    return { timer: event }
  }
  clearTimer = (handle: { timer: unknown }): void => {
    ;(handle.timer as { callback: undefined }).callback = undefined
  }

  /** Runs everything due until `time`, promises included. */
  async runTo(time: number): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve))
      this.#events.sort((a, b) => a.at - b.at || a.order - b.order)
      const next = this.#events[0]
      if (next === undefined || next.at > time) break
      this.#events.shift()
      this.time = next.at
      next.callback?.()
    }
    this.time = time
  }
}

function setup(hooks: InProcessHooks = {}) {
  const scheduler = new ManualScheduler()
  const network = new InProcessNetwork(scheduler, hooks)
  const log: string[] = []
  const recorder = (name: string): ConnectionHandler => ({
    onFrame: (frame) => log.push(`${scheduler.time} ${name} ${frame.toString()}`),
    onClose: (reason) =>
      log.push(`${scheduler.time} ${name} closed${reason === undefined ? '' : `: ${reason.message}`}`),
  })
  const accepted: Connection[] = []
  const listen = async (port: number) => {
    await network.listen({ host: 'broker', port, maxFrameBytes: 1e6, maxPartialBytes: 1e6 }, (connection) => {
      accepted.push(connection)
      return recorder(`far${port}`)
    })
  }
  const dial = async (name: string, port: number): Promise<Connection> => {
    const options = { connectTimeoutMs: 1000, maxFrameBytes: 1e6 }
    let connection: Connection | undefined
    network
      .endpoint(name)
      .dial('broker', port, recorder(name), options)
      .then(
        (opened) => {
          connection = opened
        },
        (cause) => log.push(`${scheduler.time} ${name} ${cause.code}`),
      )
    await scheduler.runTo(scheduler.time + 1000)
    return connection as Connection
  }
  return { scheduler, network, log, accepted, listen, dial }
}

test('frames take their latency and keep their order even when it shrinks', async () => {
  let latency = 10
  const { scheduler, log, listen, dial } = setup({ latencyMs: () => latency })
  await listen(1)
  const near = await dial('app', 1)
  latency = 50
  near.send([Buffer.from('slow')])
  latency = 5
  near.send([Buffer.from('fast')])
  await scheduler.runTo(1049)
  assert.equal(log, [])
  await scheduler.runTo(1050)
  assert.equal(log, ['1050 far1 slow', '1050 far1 fast'])
})

test('a frame is copied when it is sent', async () => {
  const { scheduler, log, listen, dial } = setup()
  await listen(1)
  const near = await dial('app', 1)
  const bytes = Buffer.from('before')
  near.send([bytes])
  bytes.fill('x')
  await scheduler.runTo(1001)
  assert.equal(log, ['1000 far1 before'])
})

test('cut selects by route, both ends hear it, frames on their way are lost', async () => {
  const { scheduler, network, log, listen, dial } = setup()
  await listen(1)
  await listen(2)
  const one = await dial('a', 1)
  const two = await dial('b', 2)
  assert.is(network.connectionCount, 2)
  one.send([Buffer.from('lost')])
  two.send([Buffer.from('kept')])
  assert.is(
    network.cut((route: Route) => route.from === 'a' && route.to === 'broker:1', 'scissors'),
    1,
  )
  await scheduler.runTo(3000)
  assert.equal(log.sort(), [
    '2000 a closed: connection to broker:1 lost: scissors',
    '2000 far1 closed: connection to broker:1 lost: scissors',
    '2000 far2 kept',
  ])
  assert.is(network.connectionCount, 1)
})

test('refused and unanswered dials fail as on a real network', async () => {
  const { scheduler, log, listen, dial } = setup({
    refuse: ({ to }) => to === 'broker:1',
    blackhole: ({ from }) => from === 'lonely',
  })
  await listen(1)
  await listen(2)
  await dial('a', 1)
  await dial('a', 3)
  await dial('lonely', 2)
  await scheduler.runTo(5000)
  assert.equal(log, ['0 a ERR_CONNECTION_REFUSED', '1000 a ERR_CONNECTION_REFUSED', '3000 lonely ERR_CONNECT_TIMEOUT'])
})

test('what was sent before an orderly close still arrives, then the close', async () => {
  const { scheduler, log, accepted, listen, dial } = setup()
  await listen(1)
  const near = await dial('a', 1)
  accepted[0]!.send([Buffer.from('late answer')])
  near.send([Buffer.from('last words')])
  near.close()
  await scheduler.runTo(2000)
  assert.equal(log.sort(), ['1000 a closed', '1000 far1 closed', '1000 far1 last words'])
})

test.run()
