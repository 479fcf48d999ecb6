/** Log and segments against a plain model; retention and the memory limit. */
import * as assert from 'uvu/assert'
import { Log, LogMemory } from '../../src/broker/log.ts'
import { BatchView } from '../../src/protocol/record-view.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { batch, send, withBroker } from './support/kit.ts'

const test = suite('broker: logs')
const seed = Number(process.env['SEED'] ?? 7)
console.log(`broker logs: again with SEED=${seed}`)

/** One appended batch, as the model knows it. */
interface Appended {
  readonly offset: number
  readonly count: number
  readonly bytes: Buffer
  readonly time: number
}

function appendTo(log: Log, values: number, time: number, now: number, segmentBytes: number, model: Appended[]): void {
  const bytes = batch(Array.from({ length: values }, (_, i) => `${log.nextOffset + i}`))
  const limits = { segmentBytes, segmentMs: 1000 }
  const offset = log.append(bytes, 0, bytes.length, values, time, now, limits, (copy, at, base) => {
    copy.writeBigInt64BE(BigInt(base), at)
  })
  const stored = Buffer.from(bytes)
  stored.writeBigInt64BE(BigInt(offset), 0)
  model.push({ offset, count: values, bytes: stored, time })
}

test('reads, limits, times and drops equal a plain list of batches', () => {
  const random = new SeededRandom(seed)
  for (let round = 0; round < 60; round++) {
    const memory = new LogMemory()
    const log = new Log(memory)
    let model: Appended[] = []
    let now = 0
    const segmentBytes = random.between(100, 2_000)
    for (let step = 0; step < 120; step++) {
      now += random.int(400)
      const dice = random.next()
      if (dice < 0.6) appendTo(log, random.between(1, 9), random.int(1_000), now, segmentBytes, model)
      else if (dice < 0.64) {
        log.dropOldest()
        model = model.filter((each) => each.offset >= log.startOffset)
      } else if (dice < 0.66) log.seal(now)
      else check()
    }
    check()
    log.clear()
    assert.is(memory.used, 0, 'all memory is given back')
    assert.is(log.startOffset, log.nextOffset)

    function check(): void {
      assert.is(
        log.byteLength,
        model.reduce((sum, each) => sum + each.bytes.length, 0),
      )
      assert.is(log.startOffset, model[0]?.offset ?? log.nextOffset)
      assert.ok(memory.used >= log.byteLength)
      const offset = random.between(log.startOffset, log.nextOffset)
      const maxBytes = random.pick([0, 1, 70, 150, 500, 3_000, 1e9])
      const atLeastOne = random.chance(0.5)
      const expected: Buffer[] = []
      let left = maxBytes
      for (const each of model) {
        if (each.offset + each.count <= offset) continue
        if (each.bytes.length > left && !(atLeastOne && expected.length === 0)) break
        expected.push(each.bytes)
        left -= each.bytes.length
        if (left <= 0) break
      }
      const got = Buffer.concat(log.read(offset, maxBytes, atLeastOne))
      assert.ok(got.equals(Buffer.concat(expected)), `read ${offset} up to ${maxBytes}, ${atLeastOne}`)
      const rest = model.filter((each) => each.offset + each.count > offset)
      assert.is(
        log.bytesFrom(offset, Number.POSITIVE_INFINITY),
        rest.reduce((sum, each) => sum + each.bytes.length, 0),
      )
      const time = random.int(1_100)
      assert.is(log.batchByTime(time)?.baseOffset, model.find((each) => each.time >= time)?.offset)
      const latest = model.reduce<Appended | undefined>(
        (best, each) => (best === undefined || each.time > best.time ? each : best),
        undefined,
      )
      assert.is(log.batchOfMaxTime()?.baseOffset, latest?.offset)
      assert.equal(
        [...log.batches()].map((bytes) => new BatchView().set(bytes, 0, bytes.length).baseOffset),
        model.map((each) => each.offset),
      )
    }
  }
})

test('what was handed out never changes, however the segment grows', () => {
  const log = new Log(new LogMemory())
  const model: Appended[] = []
  appendTo(log, 3, 1, 1, 1e6, model)
  const [before] = log.read(0, 1e9, true)
  const copy = Buffer.from(before!)
  for (let i = 0; i < 500; i++) appendTo(log, 3, 1, 1, 1e6, model)
  assert.ok(before!.equals(copy))
})

test(
  'retention.bytes: closed segments go, the log start moves',
  withBroker(
    { topics: [{ name: 't', config: { 'retention.bytes': '3000', 'segment.bytes': '1000' } }] },
    async ({ client, broker, events }) => {
      const raw = await client()
      for (let i = 0; i < 50; i++) await send(raw, 't', 0, batch(['x'.repeat(300)]))
      const { start, next } = broker.offsets('t', 0)
      assert.is(next, 50)
      assert.ok(start > 35 && start < 45, `start ${start}`)
      assert.is(broker.records('t', 0)[0]?.offset, start)
      const last = events.filter((event) => event.type === 'segmentsDropped').pop()
      assert.equal(
        [last?.type === 'segmentsDropped' && last.logStartOffset, last?.type === 'segmentsDropped' && last.why],
        [start, 'retention'],
      )
    },
  ),
)

test(
  'retention.ms: segments whose records are older go with the next append',
  withBroker(
    { topics: [{ name: 't', config: { 'retention.ms': '1000000', 'segment.ms': '100000' } }] },
    async ({ client, broker, world }) => {
      const raw = await client()
      const now = (): { baseTimestamp: bigint; maxTimestamp: bigint } => {
        const time = BigInt(world.outside.scope.scheduler.now())
        return { baseTimestamp: time, maxTimestamp: time }
      }
      for (let i = 0; i < 30; i++) {
        await send(raw, 't', 0, batch(['x'], now()))
        await world.sleep(100_000)
      }
      const { start } = broker.offsets('t', 0)
      assert.ok(start >= 17 && start <= 20, `start ${start}`)
    },
  ),
)

test(
  'maxMemoryBytes: the oldest segments of delete-policy topics go first, compacted topics are kept',
  withBroker(
    {
      topics: [{ name: 'old' }, { name: 'new' }, { name: 'table', config: { 'cleanup.policy': 'compact' } }],
      maxMemoryBytes: 1024 * 1024,
      maxSegmentBytes: 64 * 1024,
    },
    async ({ client, broker, events }) => {
      const raw = await client()
      const value = 'x'.repeat(8_000)
      for (let i = 0; i < 40; i++) await send(raw, 'table', 0, batch([`k${i}:${value}`]))
      for (let i = 0; i < 60; i++) await send(raw, 'old', 0, batch([value]))
      let most = 0
      for (let i = 0; i < 200; i++) {
        await send(raw, 'new', 0, batch([value]))
        most = Math.max(most, broker.memoryBytes)
      }
      assert.ok(most <= 1024 * 1024 + 128 * 1024, `${most} bytes`)
      assert.ok(broker.offsets('old', 0).start >= 56, `old starts at ${broker.offsets('old', 0).start}`)
      assert.is(broker.offsets('table', 0).start, 0)
      assert.is(broker.records('table', 0).length, 40)
      assert.is(broker.offsets('new', 0).next, 200)
      assert.ok(broker.records('new', 0).length > 20)
      assert.not.ok(events.some((event) => event.type === 'memoryExceeded'))
      for (let i = 0; i < 200; i++) await send(raw, 'table', 0, batch([`k${i}:${value}`]))
      assert.is(broker.records('table', 0).length, 240)
      assert.is(events.filter((event) => event.type === 'memoryExceeded').length, 1, 'said once')
    },
  ),
)
test.run()
