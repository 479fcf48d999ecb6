/** The cursor's state machine: every verb in every state, and what becomes of position, buffer and answers under way. */
import * as assert from 'uvu/assert'
import { Backoff } from '../../../src/base/backoff.ts'
import { Chunk } from '../../../src/client/consumer/chunk.ts'
import { Cursor, cursorEdges, type CursorHost, type CursorPlace } from '../../../src/client/consumer/cursor.ts'
import { CorruptRecordsError } from '../../../src/client/consumer/errors.ts'
import { BatchScanner, type BatchView } from '../../../src/protocol/record-view.ts'
import { encodeBatch } from '../../protocol/batches.ts'
import { suite } from '../../support/suite.ts'

const test = suite('cursor')

interface Seen extends CursorHost {
  readonly states: CursorPlace[]
  ready: ((cursor: Cursor) => void) & { times?: number }
}

function make(): { cursor: Cursor; seen: Seen } {
  const states: CursorPlace[] = []
  const seen: Seen = {
    states,
    entered: (cursor) => void states.push(cursor.state.at),
    ready: () => {},
    drained: () => {},
  }
  const random = { next: () => 0.5, bytes: (size: number) => Buffer.alloc(size) }
  const settings = { committedOnly: true, checkCrc: true, maxDecompressedBytes: 1_000_000 }
  return { cursor: new Cursor('t', 0, seen, settings, new Backoff(random, 10, 100)), seen }
}

/** A chunk of records with these offsets, one batch each. */
function chunk(from: number, offsets: readonly number[], leaderEpoch = 3, damaged: readonly number[] = []): Chunk {
  const bytes = Buffer.concat(
    offsets.map((offset) => {
      const batch = encodeBatch({
        records: [{ key: null, value: Buffer.from(`v${offset}`) }],
        baseOffset: BigInt(offset),
        leaderEpoch,
      })
      if (damaged.includes(offset)) batch[batch.length - 1]! ^= 1
      return batch
    }),
  )
  const batches: BatchView[] = []
  const scanner = new BatchScanner(bytes)
  for (let batch = scanner.next(); batch !== undefined; batch = scanner.next()) batches.push(batch)
  const marks = { highWatermark: 100, lastStableOffset: 100, logStartOffset: 0 }
  return new Chunk({ topic: 't', partition: 0 }, from, batches, null, bytes.length, marks)
}

const failure = (offset: number): CorruptRecordsError =>
  new CorruptRecordsError({ topic: 't', partition: 0, offset }, new Error('bad'))

/** Brings a new cursor into a state; the position is 10 where there is one. */
const into: Record<CursorPlace, (cursor: Cursor) => void> = {
  unplaced: () => {},
  awaitingReset: (c) => c.reset('latest', 'seek'),
  awaitingValidation: (c) => {
    c.leaderEpoch = 5
    c.seek(10, 4)
  },
  usable: (c) => c.seek(10, -1),
  inFlight: (c) => {
    c.seek(10, -1)
    c.sent()
  },
  failed: (c) => {
    c.seek(10, -1)
    c.fail(failure(10))
  },
  revoked: (c) => c.revoke(),
}
const places = Object.keys(into) as CursorPlace[]

const verbs: Record<
  string,
  { readonly run: (cursor: Cursor) => void; readonly to: Partial<Record<CursorPlace, CursorPlace>> }
> = {
  'seek(7)': {
    run: (c) => c.seek(7, -1),
    to: {
      unplaced: 'usable',
      awaitingReset: 'usable',
      awaitingValidation: 'usable',
      usable: 'usable',
      inFlight: 'usable',
      failed: 'usable',
    },
  },
  'seek(7) with an old epoch': {
    run: (c) => {
      c.leaderEpoch = 9
      c.seek(7, 8)
    },
    to: {
      unplaced: 'awaitingValidation',
      awaitingReset: 'awaitingValidation',
      awaitingValidation: 'awaitingValidation',
      usable: 'awaitingValidation',
      inFlight: 'awaitingValidation',
      failed: 'awaitingValidation',
    },
  },
  'reset(earliest)': {
    run: (c) => c.reset('earliest', 'seek'),
    to: {
      unplaced: 'awaitingReset',
      awaitingReset: 'awaitingReset',
      awaitingValidation: 'awaitingReset',
      usable: 'awaitingReset',
      inFlight: 'awaitingReset',
      failed: 'awaitingReset',
    },
  },
  'lost(earliest)': {
    run: (c) => c.lost('earliest', 'out-of-range'),
    to: {
      unplaced: 'awaitingReset',
      awaitingReset: 'awaitingReset',
      awaitingValidation: 'awaitingReset',
      usable: 'awaitingReset',
      inFlight: 'awaitingReset',
      failed: 'awaitingReset',
    },
  },
  fail: {
    run: (c) => c.fail(failure(10)),
    to: {
      unplaced: 'failed',
      awaitingReset: 'failed',
      awaitingValidation: 'failed',
      usable: 'failed',
      inFlight: 'failed',
      failed: 'failed',
    },
  },
  'the leader changed, nothing read yet': {
    run: (c) => c.leaderChanged(6),
    to: {
      unplaced: 'unplaced',
      awaitingReset: 'awaitingReset',
      awaitingValidation: 'awaitingValidation',
      usable: 'usable',
      inFlight: 'usable',
      failed: 'failed',
      revoked: 'revoked',
    },
  },
  'the leader changed after records of epoch 4': {
    run: (c) => {
      c.offsetEpoch = 4
      c.leaderChanged(6)
    },
    to: {
      unplaced: 'unplaced',
      awaitingReset: 'awaitingReset',
      awaitingValidation: 'awaitingValidation',
      usable: 'awaitingValidation',
      inFlight: 'awaitingValidation',
      failed: 'failed',
      revoked: 'revoked',
    },
  },
  sent: { run: (c) => void c.sent(), to: { usable: 'inFlight' } },
  'fetched nothing': { run: (c) => c.fetched(undefined, undefined), to: { inFlight: 'usable' } },
  'fetched records': { run: (c) => c.fetched(chunk(10, [10, 11]), undefined), to: { inFlight: 'usable' } },
  'fetched records and damage': { run: (c) => c.fetched(chunk(10, [10]), failure(11)), to: { inFlight: 'failed' } },
  unanswered: {
    run: (c) => c.unanswered(0),
    to: {
      unplaced: 'unplaced',
      awaitingReset: 'awaitingReset',
      awaitingValidation: 'awaitingValidation',
      usable: 'usable',
      inFlight: 'usable',
      failed: 'failed',
      revoked: 'revoked',
    },
  },
  placed: { run: (c) => c.placed(3, 1), to: { awaitingReset: 'usable' } },
  validated: { run: (c) => c.validated(), to: { awaitingValidation: 'usable' } },
  revoke: {
    run: (c) => c.revoke(),
    to: Object.fromEntries(places.map((place) => [place, 'revoked'])),
  },
}

for (const [name, verb] of Object.entries(verbs)) {
  for (const place of places) {
    const to = verb.to[place]
    test(`${name} in ${place} → ${to ?? 'a bug, asserted'}`, () => {
      const { cursor, seen } = make()
      into[place](cursor)
      assert.is(cursor.state.at, place)
      if (to === undefined) {
        assert.throws(() => verb.run(cursor), /millrace bug/)
      } else {
        verb.run(cursor)
        assert.is(cursor.state.at, to)
      }
      for (let i = 1; i < seen.states.length; i++) {
        assert.ok(
          cursorEdges[seen.states[i - 1]!].includes(seen.states[i]!),
          `${seen.states[i - 1]} → ${seen.states[i]}`,
        )
      }
    })
  }
}

test('the next fetch is in flight while chunks wait; the position is what was not taken', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10, 11]), undefined)
  cursor.sent()
  assert.is(cursor.state.at, 'inFlight')
  assert.is(cursor.fetchOffset, 12)
  assert.is(cursor.position, 10)
  assert.is(cursor.pull()?.nextOffset, 12)
  assert.is(cursor.position, 12)
  assert.is(cursor.bufferedBytes, 0)
  assert.is(cursor.offsetEpoch, 3)
})

for (const [name, verb] of [
  ['seek', (c: Cursor) => c.seek(50, -1)],
  ['reset', (c: Cursor) => c.reset('latest', 'seek')],
  ['revoke', (c: Cursor) => c.revoke()],
] as const) {
  test(`${name} drops the buffer and makes what is under way stale`, () => {
    const { cursor } = make()
    cursor.seek(10, -1)
    cursor.sent()
    cursor.fetched(chunk(10, [10, 11]), undefined)
    const epoch = cursor.sent()
    const taken = cursor.pull()!
    verb(cursor)
    assert.is.not(cursor.epoch, epoch)
    assert.is(cursor.ready, false)
    assert.is(cursor.bufferedBytes, 0)
    taken.done(12)
    assert.is(cursor.processed, -1, 'progress on a dropped chunk says nothing')
    assert.is(taken.current, false)
  })
}

test('an out-of-range position keeps what is buffered, and then goes to the end that was asked for', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10, 11]), undefined)
  cursor.sent()
  cursor.lost('earliest', 'out-of-range')
  assert.equal(cursor.state, { at: 'awaitingReset', to: 'earliest', why: 'out-of-range', from: 12 })
  assert.is(cursor.position, 10)
  cursor.placed(40, 7)
  assert.is(cursor.pull()?.nextOffset, 12)
  assert.is(cursor.position, 40)
})

test('an error comes after what was read before it, once', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10]), failure(11))
  assert.is(cursor.pull()?.nextOffset, 11)
  assert.is(cursor.ready, true)
  assert.throws(
    () => cursor.pull(),
    (e: unknown) => e instanceof CorruptRecordsError && e.offset === 11,
  )
  assert.is(cursor.ready, false)
  assert.is(cursor.pull(), undefined)
  assert.is(cursor.position, 11)
})

test('a wrong checksum: the batches before it are handed out, then the error; the position stays before it', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10, 11, 12, 13], 3, [12]), undefined)
  cursor.sent()
  cursor.fetched(chunk(14, [14]), undefined)
  const first = cursor.pull()!
  assert.equal(
    first.records().map((r) => r.offset),
    [10, 11],
  )
  assert.is(first.nextOffset, 12)
  assert.is(cursor.position, 12)
  assert.is(cursor.bufferedBytes, 0, 'what was read behind it is read again')
  assert.throws(
    () => cursor.pull(),
    (e: unknown) => e instanceof CorruptRecordsError && e.offset === 12,
  )
  first.done(first.nextOffset)
  assert.is(cursor.processed, 12)
})

test('a wrong checksum in the first batch: the error at once', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10, 11], 3, [10]), undefined)
  assert.throws(
    () => cursor.pull(),
    (e: unknown) => e instanceof CorruptRecordsError && e.offset === 10,
  )
  assert.is(cursor.position, 10)
  cursor.seek(11, -1)
  assert.is(cursor.state.at, 'usable')
})

test('a truncated log: back to where it diverged, never forward', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  cursor.fetched(chunk(10, [10, 11, 12]), undefined)
  cursor.leaderChanged(8)
  assert.is(cursor.state.at, 'awaitingValidation')
  cursor.truncated(12, 3)
  assert.is(cursor.position, 10, 'what was not taken is read again')
  assert.is(cursor.bufferedBytes, 0)
})

test('pausing keeps the buffer in memory of its own, and delivers nothing', () => {
  const { cursor } = make()
  cursor.seek(10, -1)
  cursor.sent()
  const frame = chunk(10, [10, 11])
  cursor.fetched(frame, undefined)
  cursor.pause()
  assert.is(cursor.ready, false)
  cursor.resume()
  assert.equal(
    cursor
      .pull()!
      .records()
      .map((r) => `${r.offset}=${r.value}`),
    ['10=v10', '11=v11'],
  )
})

test.run()
