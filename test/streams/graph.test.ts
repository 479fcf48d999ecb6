/** Groups: chaining keeps earlier groups as they were, and every contradiction is named, all of them at once. */
import * as assert from 'uvu/assert'
import { int64, integer, json, string } from '../../src/streams/codecs/index.ts'
import type { Declaration } from '../../src/streams/context.ts'
import { GraphError, StreamsError, TopicNameError } from '../../src/streams/errors.ts'
import { type AnyGroup, defineGroup, describeGroup } from '../../src/streams/graph.ts'
import { stream, table } from '../../src/streams/handles.ts'
import { suite } from '../support/suite.ts'

const test = suite('groups: declaration and validation')

const clicks = stream('clicks', string)
const orders = stream('orders', json<{ id: string }>())
const profiles = table('profiles-table', json<{ name: string }>())
const nothing = (): void => {}

function faultsOf(group: unknown): readonly string[] {
  try {
    describeGroup(group as AnyGroup)
  } catch (cause) {
    assert.instance(cause, GraphError)
    assert.is((cause as GraphError).code, 'ERR_GRAPH')
    return (cause as GraphError).faults
  }
  return []
}

/** A group as a caller without types makes it. */
interface Loose {
  on(stream: unknown, handler: unknown): Loose
  onLoop(handler: unknown): Loose
}
function loose(name: unknown, declaration: unknown): Loose {
  return defineGroup(name as string, declaration as Declaration) as unknown as Loose
}

test('a group with everything is described as plain data', () => {
  const onClick = (): void => {}
  const onLoop = (): void => {}
  const group = defineGroup('g', {
    table: int64,
    loop: integer,
    outputs: [orders],
    joins: [profiles],
    lookups: [profiles],
  })
    .on(clicks, onClick)
    .onLoop(onLoop)
  assert.equal(describeGroup(group), {
    name: 'g',
    keyCodec: string,
    table: { topic: 'g-table', codec: int64 },
    loop: { topic: 'g-loop', codec: integer, handler: onLoop },
    inputs: [{ topic: 'clicks', codec: string, handler: onClick }],
    outputs: [{ topic: 'orders', codec: orders.codec }],
    joins: [{ topic: 'profiles-table', codec: profiles.codec }],
    lookups: [{ topic: 'profiles-table', codec: profiles.codec }],
  })
})

test('a stateless group has neither table nor loop', () => {
  const group = defineGroup('g', { key: int64 }).on(clicks, nothing)
  const graph = describeGroup(group)
  assert.is(group.table, undefined)
  assert.equal([graph.table, graph.loop, graph.keyCodec], [undefined, undefined, int64])
})

test('chaining makes a new group and leaves the old one alone', () => {
  const base = defineGroup('g', { table: int64 })
  const one = base.on(clicks, nothing)
  const two = one.on(orders, nothing)
  assert.equal(faultsOf(base), ['it has no input: add one with on()'])
  assert.is(describeGroup(one).inputs.length, 1)
  assert.is(describeGroup(two).inputs.length, 2)
  assert.is(base.table, two.table)
  assert.throws(() => {
    ;(two as { name: string }).name = 'other'
  }, TypeError)
})

test('a declaration changed afterwards changes nothing', () => {
  const declaration: { table: typeof int64; outputs?: (typeof orders)[] } = { table: int64 }
  const group = defineGroup('g', declaration).on(clicks, nothing)
  declaration.outputs = [orders]
  assert.equal(describeGroup(group).outputs, [])
})

const cases: [name: string, group: () => unknown, faults: RegExp[]][] = [
  ['no input', () => defineGroup('g', { table: int64 }), [/no input/]],
  ['a loop is not an input', () => defineGroup('g', { loop: int64 }).onLoop(nothing), [/no input/]],
  [
    'a topic consumed twice',
    () => defineGroup('g', {}).on(clicks, nothing).on(clicks, nothing),
    [/clicks is consumed twice/],
  ],
  [
    'consumed twice by two handles',
    () => defineGroup('g', {}).on(clicks, nothing).on(stream('clicks', string), nothing),
    [/clicks is consumed twice/],
  ],
  ['a loop without callback', () => defineGroup('g', { loop: string }).on(clicks, nothing), [/no onLoop callback/]],
  [
    'two loop callbacks',
    () => defineGroup('g', { loop: string }).on(clicks, nothing).onLoop(nothing).onLoop(nothing),
    [/2 onLoop callbacks/],
  ],
  ['a loop callback without loop', () => loose('g', {}).on(clicks, nothing).onLoop(nothing), [/declares no loop/]],
  [
    'own table as input',
    () => defineGroup('g', { table: string }).on(stream('g-table', string), nothing),
    [/own table g-table is declared as input/],
  ],
  [
    'own loop as input',
    () => defineGroup('g', {}).on(clicks, nothing).on(stream('g-loop', string), nothing),
    [/own loop g-loop is declared as input: use onLoop/],
  ],
  [
    'own table as output',
    () => defineGroup('g', { outputs: [stream('g-table', string)] }).on(clicks, nothing),
    [/own table .* output: use ctx.set/],
  ],
  [
    'own loop as output',
    () => defineGroup('g', { outputs: [stream('g-loop', string)] }).on(clicks, nothing),
    [/own loop .* output: use ctx.loopback/],
  ],
  [
    'own table as join',
    () => defineGroup('g', { joins: [table('g-table', string)] }).on(clicks, nothing),
    [/own table .* join: use ctx.get/],
  ],
  [
    'own table as lookup',
    () => defineGroup('g', { lookups: [table('g-table', string)] }).on(clicks, nothing),
    [/own table .* lookup/],
  ],
  [
    'own loop as join',
    () => defineGroup('g', { joins: [table('g-loop', string)] }).on(clicks, nothing),
    [/own loop .* join/],
  ],
  [
    'own loop as lookup',
    () => defineGroup('g', { lookups: [table('g-loop', string)] }).on(clicks, nothing),
    [/own loop .* lookup/],
  ],
  [
    'one topic with two codecs',
    () => defineGroup('g', { joins: [table('clicks', int64)] }).on(clicks, nothing),
    [/clicks is declared with two different codecs: string as input, int64 as join/],
  ],
  [
    'two outputs with two codecs',
    () => defineGroup('g', { outputs: [clicks, stream('clicks', int64)] }).on(orders, nothing),
    [/clicks is declared with two different codecs/],
  ],
  ['an illegal name', () => loose('a b', {}).on(clicks, nothing), [/its name may contain/]],
  ['an empty name', () => loose('', {}).on(clicks, nothing), [/its name must not be empty/]],
  ['a name that is no string', () => loose(7, {}).on(clicks, nothing), [/its name must be a string/]],
  [
    'a name too long for its table',
    () => loose('n'.repeat(244), { table: string }).on(clicks, nothing),
    [/-table has 250 characters/],
  ],
  [
    'a name too long for its loop',
    () => loose('n'.repeat(245), { loop: string }).on(clicks, nothing).onLoop(nothing),
    [/-loop has 250 characters/],
  ],
  [
    'things that are no codecs',
    () => loose('g', { table: 'string', key: {}, loop: null }).on(clicks, nothing),
    [/key must be a codec/, /table must be a codec/, /loop must be a codec/, /no onLoop callback/],
  ],
  [
    'things that are no handles',
    () => loose('g', { outputs: [profiles], joins: [clicks], lookups: 'x' }).on('clicks', nothing),
    [
      /on\(\) needs a stream/,
      /outputs must be handles made by stream/,
      /joins must be handles made by table/,
      /lookups must be an array/,
    ],
  ],
  ['undefined as a stream', () => loose('g', {}).on(undefined, nothing), [/on\(\) needs a stream/]],
  [
    'callbacks that are no functions',
    () => loose('g', { loop: string }).on(clicks, 1).onLoop(2),
    [/callback of input clicks must be a function/, /onLoop callback must be a function/],
  ],
  [
    'all of it at once',
    () =>
      defineGroup('g', { loop: string, outputs: [stream('g-table', string)], joins: [table('clicks', int64)] })
        .on(clicks, nothing)
        .on(clicks, nothing),
    [/consumed twice/, /no onLoop callback/, /own table/, /two different codecs/],
  ],
]
for (const [name, make, expected] of cases) {
  test(`refused: ${name}`, () => {
    const faults = faultsOf(make())
    assert.is(faults.length, expected.length, faults.join('\n'))
    for (const [i, pattern] of expected.entries()) assert.match(faults[i]!, pattern)
  })
}

const accepted: [name: string, group: () => unknown][] = [
  ['the same topic as input and output (a cycle)', () => defineGroup('g', { outputs: [clicks] }).on(clicks, nothing)],
  [
    'one topic as input and join with one codec',
    () => defineGroup('g', { joins: [table('clicks', string)] }).on(clicks, nothing),
  ],
  [
    'handles of one topic made twice',
    () => defineGroup('g', { outputs: [orders, stream('orders', json<number>())] }).on(clicks, nothing),
  ],
  [
    'another group of the same prefix',
    () => defineGroup('g', { joins: [table('g2-table', string)] }).on(stream('g2-loop', string), nothing),
  ],
  [
    'hostile but legal names',
    () =>
      defineGroup('__proto__', { table: string })
        .on(stream('constructor', string), nothing)
        .on(stream('CON', string), nothing),
  ],
  ['249 characters without table', () => defineGroup('n'.repeat(249), {}).on(clicks, nothing)],
]
for (const [name, make] of accepted) test(`accepted: ${name}`, () => assert.equal(faultsOf(make()), []))

test('duplicate handles appear once in the description', () => {
  const group = defineGroup('g', { outputs: [orders, orders], joins: [profiles, profiles] }).on(clicks, nothing)
  assert.equal([describeGroup(group).outputs.length, describeGroup(group).joins.length], [1, 1])
})

test('what is no group is refused', () => {
  for (const value of [undefined, null, {}, { name: 'g', table: undefined }]) {
    assert.throws(
      () => describeGroup(value as AnyGroup),
      (cause: unknown) => cause instanceof StreamsError && cause.code === 'ERR_GRAPH',
    )
  }
})

const badTopics: [topic: unknown, says: RegExp][] = [
  ['', /must not be empty/],
  ['.', /must not be '\.'/],
  ['..', /must not be '\.\.'/],
  ['a b', /may contain/],
  ['ü', /may contain/],
  ['a/b', /may contain/],
  ['a\n', /may contain/],
  ['x'.repeat(250), /has 250 characters, at most 249/],
  [undefined, /must be a string/],
  [{}, /must be a string/],
]
for (const [topic, says] of badTopics) {
  test(`a topic cannot be called ${JSON.stringify(topic)?.slice(0, 20)}`, () => {
    for (const make of [stream, table]) {
      assert.throws(
        () => make(topic as string, string),
        (cause: unknown) =>
          cause instanceof TopicNameError && cause.code === 'ERR_TOPIC_NAME' && says.test(cause.message),
      )
    }
  })
}

test('legal topic names', () => {
  for (const topic of ['a', '...', '-', '_', '__proto__', 'CON', 'A.b-c_9', 'x'.repeat(249)]) {
    assert.is(stream(topic, string).topic, topic)
  }
})

test('a handle needs a codec', () => {
  for (const codec of [undefined, null, 'string', {}, { encode: nothing }]) {
    assert.throws(
      () => stream('s', codec as unknown as typeof string),
      (cause: unknown) => cause instanceof StreamsError && /needs a codec/.test(cause.message),
    )
  }
})

test.run()
