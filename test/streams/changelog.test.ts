/** A task's changelog: where it stands, and what a stale instance's writes do to the store's position. */
import * as assert from 'uvu/assert'
import { Changelog, type ForeignRange } from '../../src/streams/changelog.ts'
import type { ProducerPort } from '../../src/streams/port.ts'
import { suite } from '../support/suite.ts'

const test = suite('changelog')

function open(position: number) {
  const foreign: ForeignRange[] = []
  let appended = 0
  const producer: ProducerPort = {
    append: () => {
      appended += 1
      return true
    },
    ready: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
  const at = { topic: 't', partition: 3, position, leaderEpoch: -1 }
  const changelog = new Changelog(
    at,
    producer,
    () => {},
    (range) => foreign.push(range),
  )
  /** A checkpoint of one batch that the broker puts at `baseOffset`. */
  const write = (baseOffset: number, count: number): number => {
    changelog.cut()
    for (let i = 0; i < count; i++) changelog.append(0, Buffer.alloc(0), 0, 0, Buffer.alloc(0), -1, 0)
    changelog.delivered('t', 3, baseOffset, count, 0)
    return changelog.storePosition()
  }
  return { changelog, foreign, write, appended: () => appended }
}

test('own writes move the position', () => {
  const { changelog, foreign, write, appended } = open(7)
  assert.is(changelog.storePosition(), 7)
  assert.is(write(7, 3), 10)
  assert.is(write(10, 1), 11)
  assert.equal([foreign, changelog.pending, appended()], [[], 0, 4])
})

test('a duplicate without an offset counts as written where it was', () => {
  const { foreign, write } = open(7)
  assert.is(write(-1, 3), 10)
  assert.is(write(10, 1), 11)
  assert.equal(foreign, [])
})

test('the store does not pass foreign records before their keys were written again', () => {
  const { changelog, foreign, write } = open(7)
  assert.is(write(9, 1), 7, 'found: what lies at 7 and 8 is not in the store')
  assert.equal(foreign, [{ from: 7, to: 9 }])
  assert.is(write(10, 1), 7, 'not reasserted yet')
  changelog.reasserted(foreign[0]!)
  assert.is(changelog.storePosition(), 7, 'dirty, but not written')
  assert.is(write(11, 2), 13, 'written and acknowledged')
})

test('a foreign write found during the repair of another', () => {
  const { changelog, foreign, write } = open(0)
  assert.is(write(1, 1), 0)
  changelog.reasserted(foreign[0]!)
  assert.is(write(4, 1), 2, 'the first is repaired, the second is not')
  assert.equal(foreign, [
    { from: 0, to: 1 },
    { from: 2, to: 4 },
  ])
  changelog.reasserted(foreign[1]!)
  assert.is(write(5, 1), 6)
})

test('a log that has grown while nothing was written is foreign too', () => {
  const { changelog, foreign, write } = open(4)
  changelog.endsAt(4)
  assert.equal(foreign, [])
  changelog.endsAt(6)
  assert.equal(foreign, [{ from: 4, to: 6 }])
  assert.is(changelog.storePosition(), 4)
  changelog.reasserted(foreign[0]!)
  assert.is(write(6, 2), 8)
  assert.is(foreign.length, 1)
})

test.run()
