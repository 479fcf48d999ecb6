/**
 * The types of a group definition, held by the compiler: every line marked @ts-expect-error must be refused, everything
 * else must compile. A regression breaks the build; running the file checks that the chain also works.
 */
import * as assert from 'uvu/assert'
import { int64, json, string } from '../../src/streams/codecs/index.ts'
import { defineGroup, describeGroup } from '../../src/streams/graph.ts'
import { stream, type Table, table } from '../../src/streams/handles.ts'
import { suite } from '../support/suite.ts'

const clicks = stream('user-click', string)
const alerts = stream('alerts', json<{ user: string; count: number }>())
const undeclared = stream('undeclared', json<{ user: string; count: number }>()) // same value type as alerts
const profiles = table('profiles-table', json<{ name: string }>())
const strangers = table('strangers-table', json<{ name: string }>())
const ads = table('ads-table', json<{ campaign: number }>())

const counter = defineGroup('user-clicks', {
  table: int64,
  outputs: [alerts],
  joins: [profiles],
  lookups: [ads],
  loop: string,
})
  .on(clicks, (ctx, url) => {
    const count: bigint = (ctx.get() ?? 0n) + 1n
    ctx.set(count)
    if (count > 10n) ctx.emit(alerts, ctx.key, { user: ctx.join(profiles)?.name ?? url, count: Number(count) })
    const campaign: number | undefined = ctx.lookup(ads, 'x')?.campaign
    ctx.loopback('k', String(campaign))
    ctx.emit(alerts, 'k', null, { headers: [{ key: 'why', value: 'gone' }], timestamp: ctx.timestamp })
    const place: string = `${ctx.topic}/${ctx.partition.toFixed()}/${ctx.offset.toFixed()}`
    ctx.loopback(ctx.key, place + String(ctx.headers()[0]?.value?.length))
    // @ts-expect-error not declared as an output, though the value type is the same
    ctx.emit(undeclared, 'k', { user: 'u', count: 1 })
    // @ts-expect-error wrong value type
    ctx.emit(alerts, 'k', 'v')
    // @ts-expect-error state is bigint
    ctx.set(1)
    // @ts-expect-error profiles is a join, not a lookup
    ctx.lookup(profiles, 'k')
    // @ts-expect-error ads is a lookup, not a join
    ctx.join(ads)
    // @ts-expect-error not declared as a join, though the value type is the same
    ctx.join(strangers)
    // @ts-expect-error the loop's values are strings
    ctx.loopback('k', 1)
  })
  .onLoop((_ctx, value) => {
    value.toUpperCase()
  })
const counts: Table<bigint, 'user-clicks-table'> = counter.table

const stateless = defineGroup('stateless', { outputs: [alerts] }).on(clicks, (ctx) => {
  // @ts-expect-error stateless
  ctx.set(1n)
  // @ts-expect-error no loop
  ctx.loopback('k', 'v')
})
// @ts-expect-error no table
export const none: Table<bigint> = stateless.table
// @ts-expect-error no loop
export const loopless: unknown = stateless.onLoop

// @ts-expect-error the callback's value is the stream's
defineGroup('wrong-value', {}).on(clicks, (_ctx, value: number) => void value)
// @ts-expect-error a table is not an input
defineGroup('table-input', {}).on(profiles, () => {})
// @ts-expect-error a stream is not a join
defineGroup('stream-join', { joins: [clicks] })
// @ts-expect-error a misspelt declaration
defineGroup('misspelt', { tables: int64 })

export const byNumber = defineGroup('by-number', { key: int64, table: json<{ n: number }>() }).on(
  clicks,
  async (ctx) => {
    const key: bigint = ctx.key
    const state: { n: number } | undefined = ctx.get()
    await Promise.resolve()
    ctx.set({ n: (state?.n ?? 0) + Number(key) })
    // @ts-expect-error keys are bigint
    const text: string = ctx.key
    void text
  },
)

// Another group's table is joined by its handle; the result has its type.
const enricher = defineGroup('enricher', { joins: [counter.table], lookups: [counts] }).on(clicks, (ctx) => {
  const joined: bigint | undefined = ctx.join(counter.table)
  const found: bigint | undefined = ctx.lookup(counts, 'k')
  void [joined, found]
})

const test = suite('types: group definitions')

test('the chained definition keeps its parts', () => {
  assert.is(counts.topic, 'user-clicks-table')
  assert.is(counts.codec, int64)
  assert.is(none, undefined)
  const graph = describeGroup(counter)
  assert.equal(
    [graph.inputs, graph.outputs, graph.joins, graph.lookups].map((edges) => edges.map((edge) => edge.topic)),
    [['user-click'], ['alerts'], ['profiles-table'], ['ads-table']],
  )
  assert.is(describeGroup(enricher).joins[0]?.codec, int64)
})

test.run()
