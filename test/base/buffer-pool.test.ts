import * as assert from 'uvu/assert'
import { AssertionError } from '../../src/base/assert.ts'
import { BufferPool, LARGEST_POOLED } from '../../src/base/buffer-pool.ts'
import { suite } from '../support/suite.ts'

const test = suite('buffer pool')

const K = 1024
const sizes: readonly [asked: number, given: number][] = [
  [0, 4 * K],
  [1, 4 * K],
  [4 * K, 4 * K],
  [4 * K + 1, 8 * K],
  [8 * K, 8 * K],
  [100_000, 128 * K],
  [512 * K + 1, K * K],
  [K * K, K * K],
  [K * K + 1, K * K + 1],
  [3_000_000, 3_000_000],
]
for (const [asked, given] of sizes) {
  test(`a lease of ${asked} bytes has ${given}`, () => {
    const pool = new BufferPool()
    const lease = pool.lease(asked)
    assert.is(lease.bytes.length, given)
    assert.is(BufferPool.capacityFor(asked), given)
    assert.is(pool.leasedBytes, given)
    lease.release()
    assert.is(pool.leasedBytes, 0)
    assert.is(pool.freeBytes, given > LARGEST_POOLED ? 0 : given)
  })
}

test('released memory is used again, by leases of its class only', () => {
  const pool = new BufferPool()
  const first = pool.lease(5000)
  const memory = first.bytes
  first.release()
  const other = pool.lease(4000)
  assert.is.not(other.bytes.buffer, memory.buffer)
  const second = pool.lease(8000)
  assert.is(second.bytes.buffer, memory.buffer)
  assert.is(pool.freeBytes, 0)
})

test('no more than maxFreeBytes are kept', () => {
  const pool = new BufferPool({ maxFreeBytes: 20 * K })
  const leases = [pool.lease(8 * K), pool.lease(8 * K), pool.lease(8 * K), pool.lease(4 * K)]
  for (const lease of leases) lease.release()
  assert.is(pool.freeBytes, 20 * K)
  assert.is(pool.leasedBytes, 0)
})

test('a released lease is empty, and releasing it again is a bug', () => {
  const pool = new BufferPool()
  const lease = pool.lease(10)
  lease.release()
  assert.is(lease.bytes.length, 0)
  assert.throws(
    () => lease.release(),
    (cause: unknown) => cause instanceof AssertionError,
  )
  assert.is(pool.leasedBytes, 0)
})

test('poison: a late reader meets nonsense', () => {
  const pool = new BufferPool({ poison: true })
  const lease = pool.lease(10)
  const late = lease.bytes.fill(1)
  lease.release()
  assert.is(late[0], 0xcc)
  assert.is(late[late.length - 1], 0xcc)
})

test('unknown options are refused', () => {
  assert.throws(() => new BufferPool({ maxFreeBytes: -1 }), /maxFreeBytes must be/)
})

test.run()
