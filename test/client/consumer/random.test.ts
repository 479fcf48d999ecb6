/**
 * Random use of a consumer over random logs and troubles, against a model: from the last seek on, exactly the visible
 * records come, in order, once; paused partitions give nothing; the buffer stays in its budget. Prints its seed.
 */
import * as assert from 'uvu/assert'
import { TimeoutError } from '../../../src/base/errors.ts'
import { fetch } from '../../../src/protocol/api/fetch.ts'
import type { KafkaErrorName } from '../../../src/protocol/errors.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import type { FakePartition } from '../support/fake-log.ts'
import { inWorld } from '../support/in-world.ts'

const test = suite('consumer at random', { deadlineMs: 60_000 })
const seed = Number(process.env['SEED'] ?? 20_261_121)
const rounds = Number(process.env['ROUNDS'] ?? 60)

const transactional = 1 << 4
const control = 1 << 5

/** Grows a log and knows what a read_committed reader may see of it: offset → value. */
class Model {
  readonly log: FakePartition
  readonly visible = new Map<number, string>()
  readonly #random: SeededRandom
  #serial = 0

  constructor(log: FakePartition, random: SeededRandom) {
    this.log = log
    this.#random = random
  }

  grow(): void {
    const random = this.#random
    switch (random.int(5)) {
      case 0:
        this.#compacted()
        break
      case 1:
        this.#transaction(random.chance(0.5))
        break
      case 2:
        this.log.appendBatch({ records: [], count: 0, lastOffsetDelta: random.int(5) })
        break
      default:
        this.#plain()
    }
  }

  #value(): string {
    return `${this.#serial++}`.padEnd(this.#random.pick([5, 50, 700]), '.')
  }

  #plain(): void {
    const values = Array.from({ length: this.#random.between(1, 6) }, () => this.#value())
    const base = this.log.append(values)
    for (const [i, value] of values.entries()) this.visible.set(base + i, value)
  }

  #compacted(): void {
    const kept = Array.from({ length: 8 }, (_, i) => i).filter(() => this.#random.chance(0.4))
    const records = kept.map((offsetDelta) => ({ key: null, value: Buffer.from(this.#value()), offsetDelta }))
    const base = this.log.appendBatch({ records, lastOffsetDelta: 7 })
    for (const r of records) this.visible.set(base + r.offsetDelta, r.value.toString())
  }

  #transaction(aborts: boolean): void {
    const producerId = this.#random.between(1, 3)
    const more = { producerId: BigInt(producerId), producerEpoch: 0, attributes: transactional }
    const first = this.log.end
    for (let batches = this.#random.between(1, 2); batches > 0; batches--) {
      const values = [this.#value(), this.#value()]
      const base = this.log.append(values, more)
      if (!aborts) for (const [i, value] of values.entries()) this.visible.set(base + i, value)
    }
    const key = Buffer.from([0, 0, 0, aborts ? 0 : 1])
    const marker = { ...more, records: [{ key, value: Buffer.alloc(6) }], attributes: transactional | control }
    const lastOffset = this.log.appendBatch(marker)
    if (aborts) this.log.aborted = [...this.log.aborted, { producerId, firstOffset: first, lastOffset }]
  }
}

const errors: readonly KafkaErrorName[] = ['NOT_LEADER_OR_FOLLOWER', 'UNKNOWN_LEADER_EPOCH', 'KAFKA_STORAGE_ERROR']

for (let round = 0; round < rounds; round++) {
  const random = new SeededRandom(seed + round)
  test(
    `SEED=${seed + round} ROUNDS=1`,
    inWorld(async ({ world, port, log, consumer }) => {
      const count = random.between(1, 4)
      const models = log.topic('t', count).map((p) => new Model(p, random))
      for (const model of models) for (let i = random.int(30); i > 0; i--) model.grow()
      const budget = random.pick([3_000, 20_000, 1_000_000])
      const c = consumer({
        maxPartitionBytes: random.pick([1_024, 2_000, 100_000]),
        maxBytes: random.pick([1_024, 5_000, 100_000]),
        maxBufferedBytes: budget,
        maxWaitMs: random.pick([0, 20, 500]),
      })
      const expected = models.map(() => 0)
      const paused = new Set<number>()
      c.assign(models.map((_, partition) => ({ topic: 't', partition, offset: 0 })))

      const takeOne = (): boolean => {
        const chunk = c.take()
        if (chunk === undefined) return false
        const { partition } = chunk
        const { visible } = models[partition]!
        assert.not(paused.has(partition), 'a paused partition is not delivered')
        assert.is(chunk.from, expected[partition], `${partition} goes on where it was`)
        const seen: [number, string][] = []
        if (random.chance(0.5)) {
          for (const r of chunk.records()) seen.push([r.offset, String(r.value)])
        } else {
          const cursor = chunk.cursor()
          while (cursor.next()) seen.push([cursor.offset, String(cursor.value())])
        }
        const due = [...visible].filter(([offset]) => offset >= chunk.from && offset < chunk.nextOffset)
        assert.equal(
          seen,
          due.sort(([a], [b]) => a - b),
        )
        assert.ok(chunk.nextOffset > chunk.from)
        expected[partition] = chunk.nextOffset
        return true
      }

      for (let step = 0; step < 80; step++) {
        const partition = random.int(count)
        const tp = { topic: 't', partition }
        switch (random.int(9)) {
          case 0:
            models[partition]!.grow()
            if (random.chance(0.5)) log.wake()
            break
          case 1:
            expected[partition] = random.int(models[partition]!.log.end + 1)
            c.seek(tp, expected[partition]!)
            break
          case 2:
            c.pause([tp])
            paused.add(partition)
            break
          case 3:
            c.resume([tp])
            paused.delete(partition)
            break
          case 4:
            models[partition]!.log.error = random.chance(0.5) ? random.pick(errors) : undefined
            break
          case 5:
            port.metadata.set(
              't',
              models.map(() => random.pick([-1, 1, 1, 2])),
              { leaderEpoch: step },
            )
            break
          case 6:
            if (random.chance(0.3)) {
              port.on(fetch, () => new TimeoutError('cut'))
              await world.sleep(random.int(200))
              log.serve()
            }
            break
          default:
            while (random.chance(0.8) && takeOne());
        }
        assert.ok(c.bufferedBytes <= budget + count * 5_000, `${c.bufferedBytes} bytes are buffered`)
        if (random.chance(0.7)) await world.sleep(random.pick([1, 5, 50, 600]))
      }

      // Peace: everything must come to its end.
      for (const model of models) model.log.error = undefined
      port.metadata.set(
        't',
        models.map(() => 1),
        { leaderEpoch: 1_000 },
      )
      c.resume([...paused].map((partition) => ({ topic: 't', partition })))
      paused.clear()
      const end = world.now + 20_000
      while (models.some((m, i) => expected[i]! < m.log.end)) {
        if (takeOne()) continue
        assert.ok(world.now < end, `stuck: ${models.map((m, i) => `${expected[i]} of ${m.log.end}`).join(', ')}`)
        await Promise.race([c.wait(), world.sleep(1_000)])
      }
      for (const [i, m] of models.entries()) assert.is(c.position({ topic: 't', partition: i }), m.log.end)
    }, seed + round),
  )
}

test.run()
