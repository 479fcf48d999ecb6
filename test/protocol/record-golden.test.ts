/** Batches written by Kafka's own classes (test/kafka/java/RecordVectors.java): ours reads what Java read. */
import { createHash } from 'node:crypto'
import * as assert from 'uvu/assert'
import { BufferPool } from '../../src/base/buffer-pool.ts'
import { UnsupportedCompressionError } from '../../src/protocol/compression/codec.ts'
import { zstdAvailable } from '../../src/protocol/compression/zstd.ts'
import { BatchBuilder } from '../../src/protocol/record-batch.ts'
import { encodeEndMarker, patchBaseOffset, patchLeaderEpoch, validateBatch } from '../../src/protocol/record-check.ts'
import type { HeaderInput } from '../../src/protocol/record-format.ts'
import { BatchScanner, type BatchView } from '../../src/protocol/record-view.ts'
import { suite } from '../support/suite.ts'
import { digest } from './batches.ts'
import { type GoldenBatch, javaVectors } from './golden.ts'

const test = suite('record batches of Java')

function viewOf(bytes: Buffer): BatchView {
  const scanner = new BatchScanner(bytes)
  const view = scanner.next()
  assert.ok(view)
  assert.is(scanner.next(), undefined)
  view.checkCrc()
  return view
}

function shown(bytes: Buffer | null): string | null {
  return bytes === null ? null : bytes.length > 100 ? `… ${bytes.length}` : bytes.toString('base64')
}

for (const golden of javaVectors.batches) {
  const bytes = Buffer.from(golden.bytes, 'base64')
  test(`${golden.name}: header`, () => {
    const view = viewOf(bytes)
    for (const field of [
      'compression',
      'baseOffset',
      'lastOffset',
      'leaderEpoch',
      'isControl',
      'isTransactional',
      'logAppendTime',
      'deleteHorizon',
      'producerId',
      'producerEpoch',
      'baseSequence',
      'count',
    ] as const) {
      assert.is(view[field], golden[field], field)
    }
    const exact = BigInt(golden.maxTimestamp)
    assert.is(view.maxTimestamp, exact > 2n ** 53n ? 2 ** 53 - 1 : Number(exact))
  })

  if (golden.compression === 'zstd' && !zstdAvailable) {
    test(`${golden.name}: needs a newer Node, and says so`, () => {
      assert.throws(
        () => viewOf(bytes).cursor(),
        (cause: unknown) => cause instanceof UnsupportedCompressionError,
      )
      assert.is(validateBatch(bytes, 0), undefined)
    })
    continue
  }

  test(`${golden.name}: records`, () => {
    const cursor = viewOf(bytes).cursor()
    for (const [offset, timestamp, key, value] of golden.records ?? []) {
      assert.ok(cursor.next())
      assert.equal(
        [cursor.offset, `${cursor.timestampBigInt}`, shown(cursor.key()), shown(cursor.value())],
        [offset, timestamp, key, value],
      )
    }
    if (golden.records !== null) assert.not.ok(cursor.next())
    assert.is(digest(viewOf(bytes).cursor()), golden.sha256)
  })
}

/** The same records through BatchBuilder; valid until the pool is used again. */
function rebuilt(golden: GoldenBatch): Buffer {
  const view = viewOf(Buffer.from(golden.bytes, 'base64'))
  const builder = new BatchBuilder(new BufferPool(), 1 << 20)
  const cursor = view.cursor()
  while (cursor.next()) {
    const headers: HeaderInput[] | undefined = cursor.headerCount === 0 ? undefined : cursor.headers()
    const { bytes, keyFrom, keyTo, valueFrom, valueTo } = cursor
    const key = keyFrom < 0 ? null : bytes
    const value = valueFrom < 0 ? null : bytes
    assert.ok(builder.appendSpan(cursor.timestamp, key, keyFrom, keyTo, value, valueFrom, valueTo, headers))
  }
  const { producerId, producerEpoch, baseSequence, isTransactional: transactional, isControl: control } = view
  const built = builder.close({ compression: 'none', producerId, producerEpoch, baseSequence, transactional, control })
  patchBaseOffset(built, 0, view.baseOffset)
  patchLeaderEpoch(built, 0, view.leaderEpoch)
  return built
}

for (const name of ['none: all shapes of record', 'idempotent', 'transactional', 'marker commit', 'marker abort']) {
  test(`${name}: BatchBuilder writes the very bytes of Java's builder`, () => {
    const golden = javaVectors.batches.find((one) => one.name === name)
    assert.ok(golden)
    const built = rebuilt(golden)
    assert.is(built.toString('base64'), golden.bytes)
  })
}

for (const type of ['commit', 'abort'] as const) {
  test(`marker ${type}: encodeEndMarker writes the very bytes of Java's`, () => {
    const golden = javaVectors.batches.find((one) => one.name === `marker ${type}`)
    assert.ok(golden)
    const marker = { type, producerId: 4711, producerEpoch: 3, coordinatorEpoch: 12, timestamp: 1_790_000_000_000 }
    const bytes = encodeEndMarker(marker)
    patchBaseOffset(bytes, 0, 42)
    patchLeaderEpoch(bytes, 0, 7)
    assert.is(bytes.toString('base64'), golden.bytes)
    assert.is(viewOf(bytes).controlType(), type)
  })
}

test('the vectors are not empty', () => {
  assert.ok(javaVectors.batches.length >= 15)
  const empty = createHash('sha256').digest('hex')
  assert.is(javaVectors.batches.filter((one) => one.sha256 !== empty).length, javaVectors.batches.length - 1)
})

test.run()
