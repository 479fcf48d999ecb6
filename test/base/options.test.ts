/** Options tables: defaults, bounds, and one error that names every fault. */
import * as assert from 'uvu/assert'
import { OptionError } from '../../src/base/errors.ts'
import { bool, custom, int, type OptionTable, oneOf, resolveOptions, text } from '../../src/base/options.ts'
import { suite } from '../support/suite.ts'

const test = suite('base/options')
interface Sample {
  lingerMs?: number
  compression?: 'none' | 'gzip'
  idempotent?: boolean
  clientId?: string
  onEvent?: () => void
}
const nothing = (): void => {}
const table: OptionTable<Sample> = {
  lingerMs: int({ default: 5, min: 0, max: 60_000 }),
  compression: oneOf(['none', 'gzip'], { default: 'none' }),
  idempotent: bool({ default: true }),
  clientId: text({ default: 'millrace', rule: /^[a-z]+$/, says: 'must be lower-case letters' }),
  onEvent: custom({ default: nothing, accepts: (value) => typeof value === 'function', says: 'must be a function' }),
}

test('fills in defaults, keeps what is given, and freezes a copy', () => {
  const given: Sample = { lingerMs: 0 }
  const resolved = resolveOptions('producer', table, given)
  assert.equal(
    { ...resolved },
    { lingerMs: 0, compression: 'none', idempotent: true, clientId: 'millrace', onEvent: nothing },
  )
  assert.ok(Object.isFrozen(resolved))
  assert.equal(given, { lingerMs: 0 })
  assert.is(resolveOptions('producer', table, undefined).lingerMs, 5)
})

const faults: [given: object, says: RegExp][] = [
  [{ lingerMs: -1 }, /lingerMs must be a whole number from 0 to 60000/],
  [{ lingerMs: 1.5 }, /lingerMs/],
  [{ lingerMs: '5' }, /lingerMs/],
  [{ lingerMs: Number.NaN }, /lingerMs/],
  [{ compression: 'GZIP' }, /compression must be one of 'none', 'gzip'/],
  [{ idempotent: 1 }, /idempotent must be true or false/],
  [{ clientId: 'A' }, /clientId must be lower-case letters/],
  [{ onEvent: {} }, /onEvent must be a function/],
  [{ lingerMS: 5 }, /unknown option lingerMS \(did you mean lingerMs\?\)/],
  [{ somethingElse: 5 }, /unknown option somethingElse$/],
  [{ __proto__: null, constructor: 1 }, /unknown option constructor/],
]
for (const [given, says] of faults) {
  test(`refuses ${JSON.stringify(given)}`, () => {
    assert.throws(() => resolveOptions('producer', table, given as Sample), says)
  })
}

test('names all faults at once', () => {
  let caught: unknown
  try {
    resolveOptions('producer', table, { lingerMs: -1, idempotent: 'yes', linger: 1 } as unknown as Sample)
  } catch (cause) {
    caught = cause
  }
  assert.instance(caught, OptionError)
  const error = caught as OptionError
  assert.is(error.faults.length, 3)
  assert.is(error.code, 'ERR_OPTIONS')
  assert.is(error.retriable, false)
  assert.match(error.message, /^invalid options for producer: unknown option linger .*; lingerMs .*; idempotent /)
})

test.run()
