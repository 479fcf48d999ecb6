/** JobRunner on a clock that the test moves: order, slices, waits, failures, cancelling. */
import * as assert from 'uvu/assert'
import { type Deferred, deferred } from '../../../src/base/deferred.ts'
import type { Scheduler, TimerHandle } from '../../../src/base/scope.ts'
import { type Job, JobRunner, type Steps } from '../../../src/storage/log/jobs.ts'
import type { Wait } from '../../../src/storage/log/wait.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { seeds } from '../support/list-cursor.ts'

const test = suite('job runner')

/** Turns and time as the test wants them. */
class Turns implements Scheduler {
  time = 0
  readonly pending: (() => void)[] = []
  now = (): number => this.time
  monotonic = (): number => this.time
  setTimer = (): TimerHandle => {
    throw new Error('jobs need no timers')
  }
  clearTimer = (): void => {}
  immediate = (callback: () => void): void => void this.pending.push(callback)

  /** One turn: what was asked for before it began; then promises run. False when there was nothing. */
  async turn(): Promise<boolean> {
    const due = this.pending.splice(0)
    for (const callback of due) callback()
    await new Promise((resolve) => setImmediate(resolve))
    return due.length > 0
  }

  /** Turns until nothing happens any more. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) quiet = (await this.turn()) ? 0 : quiet + 1
  }
}

interface World {
  readonly turns: Turns
  readonly runner: JobRunner
  readonly log: string[]
}

function world(): World {
  const turns = new Turns()
  return { turns, runner: new JobRunner(turns), log: [] }
}

/** Steps that say so and take `stepMs` each; what they yield is chosen by `wait`. */
function* counting(
  { turns, log }: World,
  name: string,
  steps: number,
  stepMs = 0,
  wait: (step: number) => Wait | undefined = () => undefined,
): Steps<string> {
  let ended = false
  try {
    for (let step = 1; step <= steps; step++) {
      turns.time += stepMs
      log.push(`${name}${step}`)
      yield wait(step)
    }
    ended = true
    return `${name} result`
  } finally {
    log.push(ended ? `${name} end` : `${name} undone`)
  }
}

const owner = {}

function start(
  at: World,
  steps: Steps<string>,
  options: { owner?: object; urgent?: boolean; long?: boolean } = {},
): Job {
  return at.runner.start(steps, {
    owner: options.owner ?? owner,
    urgent: options.urgent ?? false,
    long: options.long ?? false,
    done: (result) => void at.log.push(`done: ${result}`),
    failed: (error) => void at.log.push(`failed: ${(error as Error).message}`),
  })
}

/** A wait that the test ends, and that says how it was done. */
function manualWait(log: string[]): Wait & { readonly over: Deferred } {
  const over = deferred(true)
  return {
    over,
    block: () => void log.push('block'),
    wait: () => {
      log.push('wait')
      return over.promise
    },
  }
}

test('a job begins in a later turn, runs in slices of at most 4 ms and reports its result', async () => {
  const at = world()
  const job = start(at, counting(at, 'a', 7, 1.5))
  assert.equal(at.log, [])
  assert.is(job.state, 'ready')
  await at.turns.turn()
  assert.equal(at.log, ['a1', 'a2'], 'a third step would end after 4.5 ms')
  await at.turns.turn()
  assert.equal(at.log, ['a1', 'a2', 'a3', 'a4'])
  await at.turns.settle()
  assert.equal(at.log.slice(6), ['a7', 'a end', 'done: a result'])
  assert.is(job.state, 'ended')
  assert.is(at.runner.stats.longestSliceMs, 3)
  assert.is(at.runner.stats.slices, 4)
  assert.is(at.runner.stats.jobs, 0)
})

test('a step that is too long is counted, and a turn holds one slice', async () => {
  const at = world()
  start(at, counting(at, 'a', 2, 9))
  start(at, counting(at, 'b', 1, 1))
  await at.turns.turn()
  assert.equal(at.log, ['a1'])
  assert.is(at.runner.stats.longestSliceMs, 9)
  await at.turns.settle()
})

test('on a clock that stands still a slice ends after 64 steps', async () => {
  const at = world()
  start(at, counting(at, 'a', 100))
  await at.turns.turn()
  assert.is(at.log.length, 64)
  await at.turns.settle()
  assert.is(at.log.at(-1), 'done: a result')
})

test('jobs take turns; urgent ones have 15 of 16, and the one started first goes first', async () => {
  const at = world()
  start(at, counting(at, 'a', 2, 3))
  start(at, counting(at, 'b', 2, 3))
  start(at, counting(at, 'u', 10, 3), { urgent: true })
  start(at, counting(at, 'v', 7, 3), { urgent: true })
  await at.turns.settle()
  // A slice holds one step here; the one in which `u` ends is its eleventh.
  const steps = (name: string, from: number, to: number): string[] =>
    Array.from({ length: to - from + 1 }, (_, i) => `${name}${from + i}`)
  assert.equal(
    at.log.filter((line) => /^[abuv]\d+$/.test(line)),
    [...steps('u', 1, 10), ...steps('v', 1, 4), 'a1', ...steps('v', 5, 7), 'b1', 'a2', 'b2'],
  )
})

test('only so many jobs that are not urgent begin before one of them has ended', async () => {
  const turns = new Turns()
  const at: World = { turns, runner: new JobRunner(turns, { maxBegun: 2 }), log: [] }
  const wait = manualWait([])
  start(
    at,
    counting(at, 'a', 2, 3, (step) => (step === 1 ? wait : undefined)),
  )
  for (const name of ['b', 'c', 'd']) start(at, counting(at, name, 2, 3))
  start(at, counting(at, 'u', 1, 3), { urgent: true })
  await at.turns.settle()
  const steps = (): string[] => at.log.filter((line) => line.length === 2)
  // `b` ends while `a` waits, so `c` begins, and then `d`.
  assert.equal(steps(), ['u1', 'a1', 'b1', 'b2', 'c1', 'c2', 'd1', 'd2'])
  const second = manualWait([])
  start(
    at,
    counting(at, 'e', 1, 3, () => second),
  )
  const never = start(at, counting(at, 'f', 2, 3))
  await at.turns.settle()
  assert.is(never.state, 'ready')
  assert.is(turns.pending.length, 0, 'no turn is asked for while nothing can be done')
  start(at, counting(at, 'v', 1, 3), { urgent: true })
  await at.turns.settle()
  wait.over.resolve()
  await at.turns.settle()
  assert.equal(steps().slice(8), ['e1', 'v1', 'a2', 'f1', 'f2'])
  assert.is(never.state, 'ended')
  // One that was cancelled before it began leaves its place.
  const other = {}
  start(
    at,
    counting(at, 'g', 1, 3, () => wait),
    { owner: other },
  )
  start(at, counting(at, 'h', 1, 3), { owner: other })
  start(at, counting(at, 'i', 1, 3), { owner: other })
  const gone = at.runner.cancel(other)
  second.over.resolve()
  await at.turns.settle()
  await gone
  start(at, counting(at, 'j', 1))
  start(at, counting(at, 'k', 1))
  await at.turns.settle()
  assert.equal(steps().slice(13), ['j1', 'k1'])
})

test('of long jobs one begins at a time, so that others find a place', async () => {
  const turns = new Turns()
  const at: World = { turns, runner: new JobRunner(turns, { maxBegun: 2 }), log: [] }
  for (const name of ['a', 'b']) start(at, counting(at, name, 3, 3), { long: true })
  for (const name of ['c', 'd']) start(at, counting(at, name, 2, 3))
  await at.turns.settle()
  const steps = at.log.filter((line) => line.length === 2)
  assert.equal(steps, ['a1', 'c1', 'a2', 'c2', 'a3', 'd1', 'b1', 'd2', 'b2', 'b3'])
  // Without a limit they all take turns.
  const free = world()
  for (const name of ['a', 'b']) start(free, counting(free, name, 2, 3), { long: true })
  await free.turns.settle()
  assert.equal(
    free.log.filter((line) => line.length === 2),
    ['a1', 'b1', 'a2', 'b2'],
  )
})

test('while one job waits for the disk others run; its error comes in where it waited', async () => {
  const at = world()
  const first = manualWait(at.log)
  const job = start(
    at,
    counting(at, 'a', 3, 0, (step) => (step === 1 ? first : undefined)),
  )
  start(at, counting(at, 'b', 1))
  await at.turns.settle()
  assert.equal(at.log, ['a1', 'wait', 'b1', 'b end', 'done: b result'])
  assert.is(job.state, 'waiting')
  first.over.reject(new Error('EIO'))
  await at.turns.settle()
  assert.equal(at.log.slice(5), ['a undone', 'failed: EIO'])
})

test('a wait that cannot even begin fails like one that ends badly', async () => {
  const at = world()
  const broken: Wait = {
    block: () => {},
    wait: () => {
      throw new Error('EBADF')
    },
  }
  start(
    at,
    counting(at, 'a', 2, 0, () => broken),
  )
  await at.turns.settle()
  assert.equal(at.log, ['a1', 'a undone', 'failed: EBADF'])
})

test('an error reaches its own callback only; an error of `done` too', async () => {
  const at = world()
  at.runner.start(
    (function* (): Steps<void> {
      yield
      throw new Error('broken')
    })(),
    {
      owner,
      done: () => void at.log.push('never'),
      failed: (error) => void at.log.push(`failed: ${(error as Error).message}`),
    },
  )
  at.runner.start(counting(at, 'x', 1), {
    owner,
    done: () => {
      throw new Error('in done')
    },
    failed: (error) => void at.log.push(`failed: ${(error as Error).message}`),
  })
  start(at, counting(at, 'a', 1))
  await at.turns.settle()
  assert.equal(at.log, ['failed: broken', 'x1', 'x end', 'failed: in done', 'a1', 'a end', 'done: a result'])
})

test('even a callback that throws leaves the runner going', async () => {
  const at = world()
  at.runner.start(counting(at, 'x', 0), {
    owner,
    done: () => {
      throw new Error('in done')
    },
    failed: () => {
      throw new Error('in failed')
    },
  })
  start(at, counting(at, 'a', 1))
  const idle = at.runner.idle(owner)
  assert.throws(() => at.turns.pending.shift()!(), 'in failed')
  await at.turns.settle()
  assert.is(at.log.at(-1), 'done: a result')
  await idle
})

test('a writer pushes a job on; waits block then', async () => {
  const at = world()
  const waits = [manualWait(at.log), manualWait(at.log)]
  const job = start(
    at,
    counting(at, 'a', 5, 2, (step) => (step === 2 ? waits[0] : step === 4 ? waits[1] : undefined)),
  )
  assert.is(at.runner.advance(job, 3), 'ready')
  assert.equal(at.log, ['a1', 'a2', 'block', 'a3'])
  assert.is(at.runner.stats.pushedMs, 6)
  assert.is(at.runner.stats.longestSliceMs, 0, 'a push is no slice')
  assert.is(at.runner.advance(job, Number.POSITIVE_INFINITY), 'ended')
  assert.equal(at.log.slice(4), ['a4', 'block', 'a5', 'a end', 'done: a result'])
  assert.is(at.runner.advance(job, 1), 'ended')
  await at.turns.settle()
  assert.is(at.log.length, 9, 'the turn that was asked for finds nothing to do')
})

test('a failed block comes in where the job stands', () => {
  const at = world()
  const job = start(
    at,
    counting(at, 'a', 2, 0, () => ({
      block: () => {
        throw new Error('EIO')
      },
      wait: () => Promise.resolve(),
    })),
  )
  assert.is(at.runner.advance(job, Number.POSITIVE_INFINITY), 'ended')
  assert.equal(at.log, ['a1', 'a undone', 'failed: EIO'])
})

test('a job that waits already cannot be pushed: its outcome is not known yet', async () => {
  const at = world()
  const wait = manualWait(at.log)
  const job = start(
    at,
    counting(at, 'a', 2, 0, (step) => (step === 1 ? wait : undefined)),
  )
  await at.turns.turn()
  assert.is(at.runner.advance(job, 10), 'waiting')
  assert.is.not(at.runner.advance(job, Number.POSITIVE_INFINITY), 'ended')
  assert.equal(at.log, ['a1', 'wait'])
  wait.over.resolve()
  await at.turns.settle()
  await at.runner.idle(owner)
  assert.is(at.log.at(-1), 'done: a result')
})

test('a job that pushes itself or cancels itself from inside a step does no harm', async () => {
  const at = world()
  let job: Job | undefined
  function* self(): Steps<string> {
    assert.is(at.runner.advance(job!, 5), 'running')
    yield
    void at.runner.cancel(owner)
    yield
    return 'never'
  }
  job = start(at, self())
  await at.turns.settle()
  assert.equal(at.log, [])
  assert.is(job.state, 'ended')
})

test('idle waits for all jobs of an owner, those that follow from others included', async () => {
  const at = world()
  const other = {}
  await at.runner.idle(owner)
  at.runner.start(counting(at, 'a', 1, 5), {
    owner,
    done: () => void start(at, counting(at, 'b', 2, 5)),
    failed: () => {},
  })
  start(at, counting(at, 'o', 10, 5), { owner: other })
  let idle = false
  void at.runner.idle(owner).then(() => {
    idle = true
    at.log.push('idle')
  })
  await at.turns.turn()
  assert.not(idle)
  await at.turns.settle()
  assert.ok(at.log.indexOf('idle') > at.log.indexOf('done: b result'))
  assert.ok(at.log.indexOf('idle') < at.log.indexOf('o10'))
})

test('cancelling returns the generators: at once, or when their wait is over', async () => {
  const at = world()
  const other = {}
  const wait = manualWait(at.log)
  start(
    at,
    counting(at, 'w', 3, 0, (step) => (step === 1 ? wait : undefined)),
  )
  await at.turns.turn()
  start(at, counting(at, 'a', 3, 5))
  start(at, counting(at, 'o', 2, 5), { owner: other })
  await at.turns.turn()
  const cancelled = at.runner.cancel(owner)
  let over = false
  void cancelled.then(() => {
    over = true
  })
  assert.equal(at.log, ['w1', 'wait', 'a1', 'a undone'])
  await at.turns.turn()
  assert.not(over, 'a file that is being synced is not closed')
  wait.over.resolve()
  await cancelled
  assert.ok(at.log.includes('w undone'))
  await at.turns.settle()
  assert.is(at.log.at(-1), 'done: o result')
  assert.not(at.log.some((line) => line.startsWith('done: a') || line.startsWith('failed')))
})

test('a cancelled job hears of its failed wait, and one that yields while it cleans up is run to its end', async () => {
  const at = world()
  const wait = manualWait(at.log)
  function* slowly(): Steps<string> {
    try {
      yield wait
      return 'never'
    } finally {
      at.log.push('cleaning')
      yield
      at.log.push('cleaned')
    }
  }
  start(at, slowly())
  await at.turns.turn()
  const cancelled = at.runner.cancel(owner)
  wait.over.reject(new Error('EIO'))
  await at.turns.settle()
  await cancelled
  assert.equal(at.log, ['wait', 'cleaning', 'cleaned', 'failed: EIO'])

  const ready = world()
  function* cleaning(): Steps<string> {
    try {
      for (;;) yield
    } finally {
      yield
      ready.log.push('cleaned')
    }
  }
  start(ready, cleaning())
  await ready.turns.turn()
  const ended = ready.runner.cancel(owner)
  await ready.turns.settle()
  await ended
  assert.equal(ready.log, ['cleaned'])
})

test('the same seed gives the same order of everything', async () => {
  const run = async (seed: number): Promise<string[]> => {
    const random = new SeededRandom(seed)
    const at = world()
    const jobs: Job[] = []
    for (let i = 0; i < 8; i++) {
      const steps = counting(at, String.fromCharCode(97 + i), random.int(30), random.next() * 3, () =>
        random.chance(0.1) ? { block: () => {}, wait: () => Promise.resolve() } : undefined,
      )
      jobs.push(start(at, steps, { urgent: random.chance(0.3) }))
    }
    for (let busy = true; busy; ) {
      if (random.chance(0.2)) at.runner.advance(random.pick(jobs), random.int(4))
      busy = (await at.turns.turn()) || jobs.some(({ state }) => state !== 'ended')
    }
    assert.is(at.log.filter((line) => line.startsWith('done')).length, 8)
    assert.ok(at.runner.stats.longestSliceMs <= 4)
    return at.log
  }
  for (const seed of seeds(10)) assert.equal(await run(seed), await run(seed), `SEED=${seed}`)
})

test.run()
