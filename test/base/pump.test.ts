/** The pump: never two steps at once, never a lost wake-up, and a crash is loud. */
import * as assert from 'uvu/assert'
import { deferred } from '../../src/base/deferred.ts'
import { Pump } from '../../src/base/pump.ts'
import { suite } from '../support/suite.ts'

const test = suite('base/pump')
const unexpected = (cause: unknown): void => {
  throw cause
}

test('many pokes of one turn make one step, after the turn', async () => {
  let steps = 0
  const pump = new Pump(() => void steps++, unexpected)
  pump.poke()
  pump.poke()
  assert.is(steps, 0)
  await Promise.resolve()
  assert.is(steps, 1)
})

test('a poke during a step makes one more, never two at once', async () => {
  const gates = [deferred(), deferred(), deferred()]
  let running = 0
  let most = 0
  let steps = 0
  const pump = new Pump(async () => {
    most = Math.max(most, ++running)
    await gates[steps++]!.promise
    running--
  }, unexpected)
  pump.poke()
  await Promise.resolve()
  pump.poke()
  pump.poke()
  gates[0]!.resolve()
  gates[1]!.resolve()
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(steps, 2)
  assert.is(most, 1)
  pump.poke()
  gates[2]!.resolve()
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(steps, 3)
})

test('a step that pokes itself goes on until it does not', async () => {
  let left = 5
  const pump = new Pump(() => {
    if (--left > 0) pump.poke()
  }, unexpected)
  pump.poke()
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(left, 0)
})

test('a throwing step reaches the crash handler, and the pump can be poked again', async () => {
  const causes: unknown[] = []
  let fail = true
  let steps = 0
  const pump = new Pump(
    () => {
      steps++
      if (fail) throw new Error('bug')
    },
    (cause) => causes.push(cause),
  )
  pump.poke()
  await new Promise((resolve) => setImmediate(resolve))
  assert.is((causes[0] as Error).message, 'bug')
  fail = false
  pump.poke()
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(steps, 2)
  assert.is(causes.length, 1)
})

test.run()
