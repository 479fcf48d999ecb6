/** The simulator itself: if its rules do not hold, no simulation proves anything. */
import * as assert from 'uvu/assert'
import type { Connection, ConnectionHandler } from '../../src/base/network.ts'
import { rejects, suite } from '../support/suite.ts'
import { SeededRandom } from './random.ts'
import { World } from './world.ts'

const test = suite('simulator')
const limits = { connectTimeoutMs: 1000, maxFrameBytes: 1 << 20 }
const listenOptions = { host: 'broker', port: 9092, maxFrameBytes: 1 << 20, maxPartialBytes: 1 << 20 }
const silent: ConnectionHandler = { onFrame: () => {}, onClose: () => {} }

/** A server that answers each frame with the same frame, and notes what it got. */
async function echo(world: World, got: string[], name = 'server') {
  const server = world.process(name)
  await server.scope.network.listen(listenOptions, (connection) => ({
    onFrame: (frame) => {
      got.push(frame.toString())
      connection.send([frame])
    },
    onClose: () => got.push('closed'),
  }))
  return server
}

test('random: equal seeds give equal draws, other seeds others', () => {
  const draw = (seed: number): number[] => {
    const random = new SeededRandom(seed)
    return Array.from({ length: 20 }, () => random.uint32())
  }
  assert.equal(draw(7), draw(7))
  assert.not.equal(draw(7), draw(8))
  assert.not.equal(draw(7), draw(7 + 2 ** 32))
})

test('random: the mean is right and a fork does not repeat its parent', () => {
  const random = new SeededRandom(1)
  let sum = 0
  for (let i = 0; i < 10_000; i++) sum += random.next()
  assert.ok(Math.abs(sum / 10_000 - 0.5) < 0.02)
  assert.is.not(random.fork().uint32(), random.fork().uint32())
})

test('time is virtual: an hour passes at once', async () => {
  const world = new World(1)
  const started = performance.now()
  await world.run(() => world.sleep(3_600_000))
  assert.ok(world.now >= 3_600_000)
  assert.ok(performance.now() - started < 2000)
})

test('timers fire in the order of their times; equal times in an order that the seed decides', async () => {
  const orders = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed)
    const fired: string[] = []
    await world.run(async () => {
      const { scheduler } = world.process('p').scope
      for (const name of ['a', 'b', 'c']) scheduler.setTimer(10, () => fired.push(name))
      scheduler.setTimer(5, () => fired.push('first'))
      const cancelled = scheduler.setTimer(7, () => fired.push('never'))
      scheduler.clearTimer(cancelled)
      await world.sleep(20)
    })
    assert.is(fired[0], 'first')
    assert.is(fired.length, 4)
    orders.add(fired.join())
  }
  assert.ok(orders.size > 1)
})

test('immediates of one process keep their order', async () => {
  const world = new World(3)
  const ran: number[] = []
  await world.run(async () => {
    const { scheduler } = world.process('p').scope
    for (let i = 0; i < 20; i++) scheduler.immediate(() => ran.push(i))
    await world.sleep(1)
  })
  assert.equal(
    ran,
    Array.from({ length: 20 }, (_, i) => i),
  )
})

test('all microtasks of an event end before the next event', async () => {
  const world = new World(4)
  const log: string[] = []
  await world.run(async () => {
    const { scheduler } = world.process('p').scope
    const chain = async (name: string): Promise<void> => {
      for (let i = 0; i < 30; i++) await Promise.resolve()
      log.push(name)
    }
    scheduler.immediate(() => {
      log.push('one')
      void chain('end of one')
    })
    scheduler.immediate(() => log.push('two'))
    await world.sleep(1)
  })
  assert.equal(log, ['one', 'end of one', 'two'])
})

test('frames arrive in order, later than they were sent', async () => {
  const world = new World(5, { latencyMs: [1, 10] })
  const got: string[] = []
  const back: string[] = []
  await world.run(async () => {
    await echo(world, got)
    const client = world.process('client')
    const connection = await client.scope.network.dial(
      'broker',
      9092,
      {
        onFrame: (frame) => back.push(frame.toString()),
        onClose: () => {},
      },
      limits,
    )
    for (let i = 0; i < 20; i++) connection.send([Buffer.from(String(i))])
    assert.equal(got, [])
    await world.sleep(100)
  })
  const expected = Array.from({ length: 20 }, (_, i) => String(i))
  assert.equal([got, back], [expected, expected])
})

test('a killed process: timers, immediates and promises of it never go on, its peer sees the end', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed)
    const got: string[] = []
    const after: string[] = []
    await world.run(async () => {
      await echo(world, got)
      const client = world.process('client')
      const { scheduler, network } = client.scope
      let connection: Connection | undefined
      const life = async (): Promise<void> => {
        connection = await network.dial(
          'broker',
          9092,
          { onFrame: () => after.push('frame'), onClose: () => after.push('close') },
          limits,
        )
        connection.send([Buffer.from('hello')])
        client.kill()
        connection.send([Buffer.from('a dead one speaks')])
        scheduler.setTimer(1, () => after.push('timer'))
        scheduler.immediate(() => after.push('immediate'))
        await network.dial('broker', 9092, silent, limits)
        after.push('went on')
      }
      void life()
      scheduler.setTimer(50, () => after.push('old timer'))
      await world.sleep(200)
      assert.ok(connection)
    })
    assert.equal(after, [])
    assert.is(got.at(-1), 'closed')
    assert.not.ok(got.includes('a dead one speaks'))
  }
})

test('what a killed process had sent arrives in some worlds and is lost in others', async () => {
  const outcomes = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed)
    const got: string[] = []
    await world.run(async () => {
      await echo(world, got)
      const client = world.process('client')
      const connection = await client.scope.network.dial('broker', 9092, silent, limits)
      connection.send([Buffer.from('last words')])
      client.kill()
      await world.sleep(100)
    })
    outcomes.add(got.join())
  }
  assert.equal([...outcomes].sort(), ['closed', 'last words,closed'])
})

test('a killed server: connects are refused until another one listens', async () => {
  const world = new World(6)
  const got: string[] = []
  await world.run(async () => {
    const server = await echo(world, got)
    const client = world.process('client')
    server.kill()
    await rejects(client.scope.network.dial('broker', 9092, silent, limits), 'ERR_CONNECTION_REFUSED')
    await echo(world, got, 'server')
    await client.scope.network.dial('broker', 9092, silent, limits)
  })
})

test('a stalled process runs nothing, and catches up in order', async () => {
  const firsts = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed)
    const log: string[] = []
    await world.run(async () => {
      const got: string[] = []
      await echo(world, got)
      const client = world.process('client')
      const connection = await client.scope.network.dial(
        'broker',
        9092,
        {
          onFrame: (frame) => log.push(`${frame.toString()} after ${world.now >= 1000 ? 'the stall' : 'nothing'}`),
          onClose: () => {},
        },
        limits,
      )
      client.scope.scheduler.setTimer(50, () => log.push(`timer ${world.now >= 1000 ? 'late' : 'in time'}`))
      connection.send([Buffer.from('a')])
      connection.send([Buffer.from('b')])
      client.stall(1000)
      await world.sleep(500)
      assert.equal([log, got], [[], ['a', 'b']])
      await world.sleep(600)
    })
    assert.equal([...log].sort(), ['a after the stall', 'b after the stall', 'timer late'])
    assert.ok(log.indexOf('a after the stall') < log.indexOf('b after the stall'))
    firsts.add(log[0] ?? '')
  }
  assert.is(firsts.size, 2, 'timers or inputs first: both happen')
})

test('a seed always gives the same history, another seed another', async () => {
  const history = async (seed: number): Promise<number> => {
    const world = new World(seed)
    await world.run(async () => {
      const got: string[] = []
      await echo(world, got)
      for (let i = 0; i < 5; i++) {
        const client = world.process(`client-${i}`)
        const connection = await client.scope.network.dial('broker', 9092, silent, limits)
        connection.send([Buffer.from(String(i))])
        client.scope.scheduler.setTimer(client.scope.random.next() * 50, () => connection.close())
      }
      await world.sleep(100)
    })
    return world.timeline.digest
  }
  assert.is(await history(1), await history(1))
  assert.is.not(await history(1), await history(2))
})

test('a crash inside a process, a forgotten rejection and a standstill end the run', async () => {
  const crash = new World(1)
  await rejects(
    crash.run(async () => {
      crash.process('p').scope.scheduler.immediate(() => {
        throw new Error('boom')
      })
      await crash.sleep(10)
    }),
    /process p crashed/,
  )
  const forgotten = new World(1)
  await rejects(
    forgotten.run(async () => {
      void Promise.reject(new Error('nobody cares'))
      for (let i = 0; i < 5000; i++) await forgotten.sleep(1)
    }),
    /nobody listened/,
  )
  const standstill = new World(1)
  await rejects(
    standstill.run(() => new Promise(() => {})),
    /stands still/,
  )
  const circle = new World(1, { maxEvents: 1000 })
  await rejects(
    circle.run(() => {
      const again = (): void => circle.outside.scope.scheduler.immediate(again)
      again()
      return new Promise(() => {})
    }),
    /goes round/,
  )
})

test.run()
