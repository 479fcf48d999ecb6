/** What of a fetch answer users see: trimming, gaps, control batches, aborted transactions, damage, lazy records. */
import * as assert from 'uvu/assert'
import { Chunk, type ChunkOwner } from '../../../src/client/consumer/chunk.ts'
import type { AbortedTransaction } from '../../../src/client/consumer/committed.ts'
import { CorruptRecordsError, type PartitionError } from '../../../src/client/consumer/errors.ts'
import { BatchBuilder } from '../../../src/protocol/record-batch.ts'
import { BatchScanner, type BatchView } from '../../../src/protocol/record-view.ts'
import { BufferPool } from '../../../src/base/buffer-pool.ts'
import { encodeBatch, type PlainBatch, resealed } from '../../protocol/batches.ts'
import { suite } from '../../support/suite.ts'

const test = suite('chunk')
const transactional = 1 << 4
const control = 1 << 5

const record = (value: string, offsetDelta?: number): { key: null; value: Buffer; offsetDelta?: number } =>
  offsetDelta === undefined
    ? { key: null, value: Buffer.from(value) }
    : { key: null, value: Buffer.from(value), offsetDelta }

/** A marker that ends a transaction: type 0 aborts, 1 commits. */
function marker(offset: number, producerId: number, type: 0 | 1): Buffer {
  const key = Buffer.from([0, 0, 0, type])
  return encodeBatch({
    records: [{ key, value: Buffer.alloc(6) }],
    baseOffset: BigInt(offset),
    producerId: BigInt(producerId),
    producerEpoch: 0,
    attributes: transactional | control,
  })
}

function data(offset: number, values: readonly string[], more: Partial<PlainBatch> = {}): Buffer {
  return encodeBatch({ records: values.map((v) => record(v)), baseOffset: BigInt(offset), ...more })
}

const inTransaction = (producerId: number): Partial<PlainBatch> => ({
  producerId: BigInt(producerId),
  producerEpoch: 0,
  attributes: transactional,
})

interface Owner {
  readonly owner: ChunkOwner
  readonly broken: PartitionError[]
  again: number
}

/** What a chunk needs of its cursor. */
function owner(): Owner {
  const state: Owner = {
    broken: [],
    again: 0,
    owner: {
      lineage: 1,
      broken: (_lineage: number, error: PartitionError) => state.broken.push(error) > 0,
      tellAgain: () => {
        state.again += 1
      },
      done: () => {},
      paused: false,
      putBack: () => {},
    },
  }
  return state
}

interface Opening {
  readonly from?: number
  readonly aborted?: readonly AbortedTransaction[]
  readonly committedOnly?: boolean
  readonly checkCrc?: boolean
  readonly by?: Owner
}

function open(batches: readonly Buffer[], options: Opening = {}): { chunk: Chunk; error: PartitionError | undefined } {
  const { from = 0, aborted = [], committedOnly = true, checkCrc = true, by = owner() } = options
  const bytes = Buffer.concat(batches)
  const views: BatchView[] = []
  const scanner = new BatchScanner(bytes)
  for (let view = scanner.next(); view !== undefined; view = scanner.next()) views.push(view)
  const marks = { highWatermark: 1_000, lastStableOffset: 900, logStartOffset: 0 }
  const chunk = new Chunk({ topic: 't', partition: 3 }, from, views, aborted, bytes.length, marks)
  const error = chunk.open({ committedOnly, checkCrc, maxDecompressedBytes: 100_000 }, by.owner)
  return { chunk, error }
}

const values = (chunk: Chunk): string[] => chunk.records().map((r) => `${r.offset}=${r.value}`)

test('records below the position are trimmed from the first batch', () => {
  const { chunk } = open([data(10, ['a', 'b', 'c', 'd'])], { from: 12 })
  assert.equal(values(chunk), ['12=c', '13=d'])
  assert.equal([chunk.from, chunk.nextOffset], [12, 14])
})

test('offsets removed by compaction are passed, also at the end and in batches that became empty', () => {
  const compacted = encodeBatch({ records: [record('b', 1), record('d', 3)], baseOffset: 10n, lastOffsetDelta: 5 })
  const emptied = encodeBatch({ records: [], baseOffset: 20n, lastOffsetDelta: 4, count: 0 })
  const { chunk } = open([compacted, emptied], { from: 10 })
  assert.equal(values(chunk), ['11=b', '13=d'])
  assert.is(chunk.nextOffset, 25)
})

interface Case {
  readonly name: string
  readonly batches: readonly Buffer[]
  readonly aborted?: readonly AbortedTransaction[]
  readonly committed: readonly string[]
  readonly uncommitted: readonly string[]
  readonly next: number
}

const cases: readonly Case[] = [
  {
    name: 'a commit marker',
    batches: [data(0, ['a'], inTransaction(7)), marker(1, 7, 1)],
    committed: ['0=a'],
    uncommitted: ['0=a'],
    next: 2,
  },
  {
    name: 'an aborted transaction',
    batches: [data(0, ['a', 'b'], inTransaction(7)), marker(2, 7, 0), data(3, ['c'])],
    aborted: [{ producerId: 7, firstOffset: 0 }],
    committed: ['3=c'],
    uncommitted: ['0=a', '1=b', '3=c'],
    next: 4,
  },
  {
    name: 'the same producer commits after it aborted',
    batches: [data(0, ['a'], inTransaction(7)), marker(1, 7, 0), data(2, ['b'], inTransaction(7)), marker(3, 7, 1)],
    aborted: [{ producerId: 7, firstOffset: 0 }],
    committed: ['2=b'],
    uncommitted: ['0=a', '2=b'],
    next: 4,
  },
  {
    name: 'a transaction that commits before the same producer aborts the next',
    batches: [data(0, ['a'], inTransaction(7)), marker(1, 7, 1), data(2, ['b'], inTransaction(7)), marker(3, 7, 0)],
    aborted: [{ producerId: 7, firstOffset: 2 }],
    committed: ['0=a'],
    uncommitted: ['0=a', '2=b'],
    next: 4,
  },
  {
    name: 'two producers interleaved, one aborts',
    batches: [
      data(0, ['a'], inTransaction(7)),
      data(1, ['b'], inTransaction(8)),
      data(2, ['c'], inTransaction(7)),
      marker(3, 8, 1),
      data(4, ['d']),
      marker(5, 7, 0),
      data(6, ['e'], inTransaction(8)),
      marker(7, 8, 1),
    ],
    aborted: [{ producerId: 7, firstOffset: 0 }],
    committed: ['1=b', '4=d', '6=e'],
    uncommitted: ['0=a', '1=b', '2=c', '4=d', '6=e'],
    next: 8,
  },
  {
    name: 'the list in any order',
    batches: [
      data(0, ['a'], inTransaction(7)),
      marker(1, 7, 0),
      data(2, ['b'], inTransaction(8)),
      marker(3, 8, 0),
      data(4, ['c'], inTransaction(7)),
      marker(5, 7, 0),
    ],
    aborted: [
      { producerId: 7, firstOffset: 4 },
      { producerId: 8, firstOffset: 2 },
      { producerId: 7, firstOffset: 0 },
    ],
    committed: [],
    uncommitted: ['0=a', '2=b', '4=c'],
    next: 6,
  },
  {
    name: 'an aborted transaction that began before what was fetched',
    batches: [data(10, ['a'], inTransaction(7)), marker(11, 7, 0)],
    aborted: [{ producerId: 7, firstOffset: 2 }],
    committed: [],
    uncommitted: ['10=a'],
    next: 12,
  },
  {
    name: 'idempotent records without a transaction, of a producer that aborted one',
    batches: [data(0, ['a'], inTransaction(7)), data(1, ['b'], { producerId: 7n, producerEpoch: 0 }), marker(2, 7, 0)],
    aborted: [{ producerId: 7, firstOffset: 0 }],
    committed: ['1=b'],
    uncommitted: ['0=a', '1=b'],
    next: 3,
  },
  {
    name: 'a marker emptied by compaction',
    batches: [
      encodeBatch({
        records: [],
        count: 0,
        baseOffset: 5n,
        lastOffsetDelta: 0,
        producerId: 7n,
        attributes: transactional | control,
      }),
      data(6, ['a']),
    ],
    aborted: [{ producerId: 9, firstOffset: 0 }],
    committed: ['6=a'],
    uncommitted: ['6=a'],
    next: 7,
  },
  {
    name: 'nothing but control records',
    batches: [marker(0, 7, 1), marker(1, 8, 0)],
    committed: [],
    uncommitted: [],
    next: 2,
  },
]

for (const c of cases) {
  for (const committedOnly of [true, false]) {
    test(`${c.name}: ${committedOnly ? 'read_committed' : 'read_uncommitted'}`, () => {
      const { chunk } = open(c.batches, { committedOnly, aborted: c.aborted ?? [], from: 0 })
      assert.equal(values(chunk), committedOnly ? c.committed : c.uncommitted)
      assert.is(chunk.nextOffset, c.next)
    })
  }
}

test('markers written by BatchBuilder mean the same', () => {
  const builder = new BatchBuilder(new BufferPool(), 10_000)
  builder.append(1, Buffer.from([0, 0, 0, 0]), Buffer.alloc(6))
  const options = { compression: 'none', producerId: 7, producerEpoch: 0, baseSequence: -1 } as const
  const abort = Buffer.from(builder.close({ ...options, transactional: true, control: true }))
  builder.release()
  abort.writeBigInt64BE(1n, 0)
  const { chunk } = open([data(0, ['a'], inTransaction(7)), abort, data(2, ['b'])], {
    aborted: [{ producerId: 7, firstOffset: 0 }],
  })
  assert.equal(values(chunk), ['2=b'])
})

test('a wrong checksum cuts the chunk before the batch', () => {
  const bad = data(2, ['c'])
  bad[bad.length - 2]! ^= 0x10
  const { chunk, error } = open([data(0, ['a', 'b']), bad, data(3, ['d'])])
  assert.equal(values(chunk), ['0=a', '1=b'])
  assert.is(chunk.nextOffset, 2)
  assert.instance(error, CorruptRecordsError)
  assert.equal([error!.topic, error!.partition, error!.offset, error!.code], ['t', 3, 2, 'ERR_CORRUPT_RECORDS'])
  assert.match(error!.message, /t\/3/)
  assert.match(error!.message, /seek/)
  const unchecked = open([bad], { checkCrc: false, from: 2 })
  assert.is(unchecked.error, undefined)
})

test('a batch that lies about its records: records() gives what comes before, and the error later', () => {
  const lying = resealed(Buffer.from(data(2, ['c', 'd'])))
  lying.writeInt32BE(2, 57)
  lying[61] = 2 // the first record is said to be one byte long
  const by = owner()
  const { chunk, error } = open([data(0, ['a', 'b']), resealed(lying)], { by })
  assert.is(error, undefined)
  assert.equal(values(chunk), ['0=a', '1=b'])
  assert.equal(
    by.broken.map((e) => e.offset),
    [2],
  )
  assert.is(by.again, 1)
  const alone = owner()
  const second = open([resealed(lying)], { by: alone, from: 2 })
  assert.throws(
    () => second.chunk.records(),
    (e: unknown) => e instanceof CorruptRecordsError && e.offset === 2,
  )
  assert.is(alone.again, 0)
})

test('the walk over a chunk throws at the batch that lies, after the records before it', () => {
  const lying = Buffer.from(data(2, ['c', 'd']))
  lying[61] = 2
  const by = owner()
  const { chunk } = open([data(0, ['a', 'b']), resealed(lying)], { by })
  const cursor = chunk.cursor()
  assert.ok(cursor.next())
  assert.ok(cursor.next())
  assert.throws(
    () => cursor.next(),
    (e: unknown) => e instanceof CorruptRecordsError && e.offset === 2,
  )
  assert.is(by.broken.length, 1)
})

for (const compression of ['gzip', 'snappy', 'lz4'] as const) {
  test(`a batch of ${compression} that grows beyond the limit is an error, not memory`, () => {
    const builder = new BatchBuilder(new BufferPool(), 1_000_000)
    builder.append(1, null, Buffer.alloc(500_000))
    const options = { compression, producerId: -1, producerEpoch: -1, baseSequence: -1 } as const
    const bomb = Buffer.from(builder.close(options))
    builder.release()
    const { chunk } = open([bomb])
    assert.throws(
      () => chunk.records(),
      (e: unknown) => e instanceof CorruptRecordsError && /limit|100000/.test(e.message),
    )
  })
}

test('records: null key and value, headers in order, detach', () => {
  const bytes = encodeBatch({
    records: [
      { key: null, value: null },
      {
        key: Buffer.from('k'),
        value: Buffer.from('v'),
        headers: [
          [Buffer.from('h'), Buffer.from('1')],
          [Buffer.from('h'), null],
        ],
      },
      { key: Buffer.alloc(0), value: Buffer.alloc(0) },
    ],
    baseTimestamp: 1_000n,
  })
  const [tombstone, full, empty] = open([bytes]).chunk.records()
  assert.equal([tombstone!.key, tombstone!.value, tombstone!.headers, tombstone!.byteLength], [null, null, [], 0])
  assert.equal(
    full!.headers.map((h) => `${h.key}=${h.value}`),
    ['h=1', 'h=null'],
  )
  assert.is(full!.timestamp, 1_000)
  assert.equal([empty!.key!.length, empty!.value!.length], [0, 0])
  const detached = full!.detach()
  bytes.fill(0)
  assert.equal(detached.value, Buffer.from('v'))
  assert.equal(Object.keys(detached), ['topic', 'partition', 'offset', 'timestamp', 'key', 'value', 'headers'])
})

test('detaching a chunk before it is opened keeps its content', () => {
  const batches = [data(0, ['a']), data(1, ['b'], { leaderEpoch: 4 })]
  const bytes = Buffer.concat(batches)
  const views: BatchView[] = []
  const scanner = new BatchScanner(bytes)
  for (let view = scanner.next(); view !== undefined; view = scanner.next()) views.push(view)
  const marks = { highWatermark: 2, lastStableOffset: 2, logStartOffset: 0 }
  const chunk = new Chunk({ topic: 't', partition: 0 }, 0, views, null, bytes.length, marks)
  chunk.detach()
  bytes.fill(0xee)
  assert.is(chunk.open({ committedOnly: true, checkCrc: true, maxDecompressedBytes: 1_000 }, owner().owner), undefined)
  assert.equal(values(chunk), ['0=a', '1=b'])
  assert.is(chunk.leaderEpoch, 4)
})

test.run()
