/** Iterating records and chunks: order, ends, aborts, and what pause, seek and errors do in the middle of a chunk. */
import * as assert from 'uvu/assert'
import type { ConsumerRecord } from '../../../src/client/consumer/record.ts'
import { resealed } from '../../protocol/batches.ts'
import { rejects, suite } from '../../support/suite.ts'
import { inWorld } from '../support/in-world.ts'

const test = suite('iterators')
const [a, b] = [0, 1].map((partition) => ({ topic: 't', partition }))
const show = (r: { value?: ConsumerRecord }): string => `${r.value?.partition}:${r.value?.offset}`

test(
  'records come one by one, chunk after chunk, and wait for more',
  inWorld(async ({ world, log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0', '1'])
    p!.append(['2'])
    const c = consumer()
    c.assign([a!])
    const seen: number[] = []
    const reading = (async () => {
      for await (const r of c.records()) {
        seen.push(r.offset)
        if (seen.length === 5) break
      }
    })()
    await world.until('three', () => seen.length === 3)
    p!.append(['3', '4', '5'])
    log.wake()
    await reading
    assert.equal(seen, [0, 1, 2, 3, 4])
  }),
)

test(
  'empty chunks (control records, aborted transactions) are no records, but move the position',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.appendBatch({ records: [], count: 0, lastOffsetDelta: 9 })
    const c = consumer({ maxWaitMs: 10 })
    c.assign([a!])
    const chunks = c.batches()
    const first = await chunks.next()
    assert.equal([first.value?.records().length, first.value?.nextOffset], [0, 10])
    assert.is(c.position(a!), 10)
    const next = c.records().next()
    p!.append(['x'])
    log.wake()
    assert.is(show(await next), '0:10')
  }),
)

test(
  'pause in the middle of a chunk: the rest comes after resume, others go on meanwhile',
  inWorld(async ({ world, log, consumer }) => {
    const [p, q] = log.topic('t', 2)
    p!.append(['0', '1', '2', '3'])
    const c = consumer({ maxWaitMs: 20 })
    c.assign([a!, b!])
    const records = c.records()
    assert.is(show(await records.next()), '0:0')
    assert.is(show(await records.next()), '0:1')
    c.pause([a!])
    assert.is(c.position(a!), 4, 'the chunk was handed out')
    q!.append(['x'])
    log.wake()
    assert.is(show(await records.next()), '1:0')
    assert.is(c.position(a!), 2, 'what is left of it was put back')
    const waiting = records.next()
    await world.sleep(3_000)
    c.resume([a!])
    assert.is(show(await waiting), '0:2')
    assert.is(show(await records.next()), '0:3')
    p!.append(['4'])
    log.wake()
    assert.is(show(await records.next()), '0:4')
  }),
)

test(
  'pause, then seek: the rest of the chunk is dropped',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0', '1', '2', '3', '4', '5'])
    const c = consumer()
    c.assign([a!])
    const records = c.records()
    await records.next()
    c.seek(a!, 4)
    assert.is(show(await records.next()), '0:4')
    c.pause([a!])
    c.seek(a!, 1)
    c.resume([a!])
    assert.is(show(await records.next()), '0:1')
    c.unassign([a!])
    c.assign([{ ...a!, offset: 5 }])
    assert.is(show(await records.next()), '0:5')
  }),
)

test(
  'an unreadable batch in the middle: what is before it comes, then the error, then what a seek says',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0', '1'])
    p!.append(['2'])
    p!.append(['3'])
    p!.damage(2, (bytes) => {
      bytes[bytes.length - 1]! ^= 1
    })
    const c = consumer()
    c.assign([a!])
    const records = c.records()
    assert.equal([show(await records.next()), show(await records.next())], ['0:0', '0:1'])
    const error = (await rejects(records.next())) as Error & { code: string; offset: number }
    assert.equal([error.code, error.offset], ['ERR_CORRUPT_RECORDS', 2])
    c.seek(a!, error.offset + 1)
    assert.is(show(await records.next()), '0:3')
  }),
)

test(
  'a batch that lies about its records: what is before it comes, then the error, though its checksum is right',
  inWorld(async ({ log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0', '1'])
    p!.append(['2', '3'])
    p!.append(['4'])
    p!.damage(2, (bytes) => {
      bytes[61] = 2
      resealed(bytes)
    })
    const c = consumer()
    c.assign([a!])
    const records = c.records()
    assert.equal([show(await records.next()), show(await records.next())], ['0:0', '0:1'])
    const error = (await rejects(records.next())) as Error & { code: string; offset: number }
    assert.equal([error.code, error.offset], ['ERR_CORRUPT_RECORDS', 2])
    assert.is(c.position(a!), 2)
    c.seek(a!, 4)
    assert.is(show(await records.next()), '0:4')
  }),
)

test(
  'damage found in a chunk that was given up by a seek concerns nobody',
  inWorld(async ({ world, log, consumer }) => {
    const [p] = log.topic('t', 1)
    p!.append(['0', '1'])
    p!.append(['2', '3'])
    p!.append(['4'])
    p!.damage(2, (bytes) => {
      bytes[61] = 2
      resealed(bytes)
    })
    const c = consumer()
    c.assign([a!])
    const chunk = (await c.batches().next()).value!
    c.seek(a!, 4)
    assert.equal(
      chunk.records().map((r: ConsumerRecord) => r.offset),
      [0, 1],
    )
    await world.sleep(100)
    assert.is(c.take()?.from, 4)
  }),
)

for (const kind of ['records', 'batches'] as const) {
  test(
    `${kind}: a signal ends the iteration with ERR_ABORTED, at once, and the next one goes on`,
    inWorld(async ({ world, log, consumer }) => {
      const [p] = log.topic('t', 1)
      const c = consumer()
      c.assign([a!])
      const stop = new AbortController()
      const waiting = rejects(c[kind]({ signal: stop.signal }).next())
      await world.sleep(50)
      stop.abort('enough')
      const error = (await waiting) as Error & { code: string }
      assert.equal([error.code, error.cause], ['ERR_ABORTED', 'enough'])
      p!.append(['0'])
      log.wake()
      const next = await c[kind]().next()
      assert.is(next.done, false)
      const late = (await rejects(c[kind]({ signal: stop.signal }).next())) as Error & { code: string }
      assert.is(late.code, 'ERR_ABORTED')
    }),
  )

  test(
    `${kind}: close ends the iteration, return ends it for good`,
    inWorld(async ({ world, log, consumer }) => {
      log.topic('t', 1)
      const c = consumer()
      c.assign([a!])
      const returned = c[kind]()
      assert.equal(await returned.return?.(), { value: undefined, done: true })
      assert.equal(await returned.next(), { value: undefined, done: true })
      const open = c[kind]()
      const waiting = open.next()
      await world.sleep(50)
      await c.close()
      assert.equal(await waiting, { value: undefined, done: true })
      assert.equal(await open.next(), { value: undefined, done: true })
    }),
  )
}

test.run()
