/** Backoff and sleep: what waits, on a clock that the test moves. */
import * as assert from 'uvu/assert'
import { Backoff } from '../../src/base/backoff.ts'
import { deferred } from '../../src/base/deferred.ts'
import { notify } from '../../src/base/events.ts'
import { type Scheduler, sleep, type TimerHandle } from '../../src/base/scope.ts'
import { rejects, suite } from '../support/suite.ts'

const test = suite('base/time')

/** Remembers timers; `fire` runs the one that was set last. */
function handClock(): { scheduler: Scheduler; timers: Map<unknown, { delayMs: number; callback: () => void }> } {
  const timers = new Map<unknown, { delayMs: number; callback: () => void }>()
  let next = 0
  const scheduler: Scheduler = {
    now: () => 0,
    monotonic: () => 0,
    setTimer: (delayMs, callback): TimerHandle => {
      timers.set(++next, { delayMs, callback })
      return { timer: next }
    },
    clearTimer: ({ timer }) => void timers.delete(timer),
    immediate: (callback) => callback(),
  }
  return { scheduler, timers }
}

const random = (value: number) => ({ next: () => value, bytes: (size: number) => Buffer.alloc(size) })
const growths: [random: number, delays: number[]][] = [
  [0.5, [100, 200, 400, 800, 1_000, 1_000]],
  [0, [80, 160, 320, 640, 800, 800]],
  [0.999_999, [120, 240, 480, 960, 1_200, 1_200]],
]
for (const [value, delays] of growths) {
  test(`backoff 100 to 1,000 ms with random ${value}: ${delays.join(', ')}`, () => {
    const backoff = new Backoff(random(value), 100, 1_000)
    assert.equal(
      delays.map(() => backoff.next()),
      delays,
    )
    assert.is(backoff.attempts, delays.length)
    backoff.reset()
    assert.is(backoff.next(), delays[0])
  })
}

test('backoff stays at its bound after thousands of attempts', () => {
  const backoff = new Backoff(random(0.5), 100, 1_000)
  for (let i = 0; i < 5_000; i++) backoff.next()
  assert.is(backoff.next(), 1_000)
})

test('sleep resolves by its timer and leaves no listener', async () => {
  const { scheduler, timers } = handClock()
  const controller = new AbortController()
  const done = sleep({ scheduler }, 50, controller.signal)
  const [timer] = timers.values()
  assert.is(timer?.delayMs, 50)
  timer?.callback()
  await done
  controller.abort()
})

test('sleep rejects with the reason of its signal and clears its timer', async () => {
  const { scheduler, timers } = handClock()
  const controller = new AbortController()
  const reason = new Error('enough')
  const done = sleep({ scheduler }, 50, controller.signal)
  controller.abort(reason)
  assert.is(await rejects(done), reason)
  assert.is(timers.size, 0)
  assert.is(await rejects(sleep({ scheduler }, 50, controller.signal)), reason)
  assert.is(timers.size, 0)
})

test('a deferred settles once; a quiet one may be rejected unheard', async () => {
  const one = deferred<number>()
  one.resolve(1)
  one.resolve(2)
  one.reject(new Error('late'))
  assert.is(await one.promise, 1)
  deferred(true).reject(new Error('nobody listens'))
  await new Promise((resolve) => setImmediate(resolve))
})

test('a throwing observer is a warning, not a failure', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  notify(
    () => {
      throw new Error('observer bug')
    },
    { kind: 'x' },
  )
  notify(undefined, { kind: 'x' })
  assert.match((await warned).message, /observer threw: observer bug/)
})

test.run()
