import * as assert from 'uvu/assert'
import { crc32c } from '../../src/protocol/hash/crc32c.ts'
import { fnv1a, fnv1aPartition } from '../../src/protocol/hash/fnv1a.ts'
import { murmur2, murmur2Partition } from '../../src/protocol/hash/murmur2.ts'
import { xxhash32 } from '../../src/protocol/hash/xxhash32.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { slowCrc32c } from './batches.ts'
import { javaVectors } from './golden.ts'

const test = suite('hashes')

/** The hash of `bytes`, and the same of the same bytes somewhere inside a larger buffer. */
function twice(hash: (bytes: Buffer, from: number, to: number) => number, bytes: Buffer): number {
  const alone = hash(bytes, 0, bytes.length)
  const inside = hash(Buffer.concat([Buffer.from('xyz'), bytes, Buffer.from('!')]), 3, 3 + bytes.length)
  assert.is(inside, alone)
  return alone
}

test(`murmur2: ${javaVectors.murmur2.length} vectors of Java's Utils.murmur2`, () => {
  for (const { input, hash } of javaVectors.murmur2)
    assert.is(twice(murmur2, Buffer.from(input, 'base64')), hash, input)
})

// The values in Apache Kafka's own UtilsTest.
const published: readonly [text: string, hash: number][] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
]
for (const [text, hash] of published) {
  test(`murmur2: '${text}' is ${hash}`, () => assert.is(twice(murmur2, Buffer.from(text)), hash))
}

test('murmur2: the partition clears the sign bit', () => {
  assert.is(murmur2Partition(-973932308, 10), (-973932308 & 0x7fffffff) % 10)
  assert.is(murmur2Partition(-2147483648, 7), 0)
  assert.is(murmur2Partition(-1, 12), 2147483647 % 12)
})

const goka: readonly [key: string, hash: number, ...partitions: number[]][] = [
  ['', -2128831035, 1, 3, 3, 5, 15],
  ['a', -468965076, 0, 0, 4, 6, 16],
  ['key', 1746258028, 0, 4, 4, 8, 8],
  ['key1', 927623783, 1, 5, 7, 3, 3],
  ['key2', 944401402, 0, 4, 2, 2, 2],
  ['0', 890022063, 1, 3, 7, 3, 3],
  ['02', 535654183, 1, 1, 7, 3, 3],
  ['user-0', -162301177, 1, 1, 1, 7, 17],
  ['user-3', -145523558, 0, 2, 6, 8, 18],
  ['Bob', -338976396, 0, 0, 4, 6, 16],
  ['Alice', 752715143, 1, 5, 7, 3, 3],
  ['ü', 295556170, 0, 4, 2, 0, 10],
  ['日本', -1624838575, 1, 1, 7, 5, 15],
]
for (const [key, hash, ...partitions] of goka) {
  test(`fnv1a: '${key}' is ${hash}, partitions of 2, 6, 8, 10, 20 as goka's`, () => {
    assert.is(twice(fnv1a, Buffer.from(key)), hash)
    assert.equal(
      [2, 6, 8, 10, 20].map((n) => fnv1aPartition(hash, n)),
      partitions,
    )
  })
}

for (const key of ['qqk42v', 'afjtjzd', 'a01sk58']) {
  test(`fnv1a: '${key}' has the hash without a positive counterpart, and a partition all the same`, () => {
    assert.is(fnv1a(Buffer.from(key), 0, key.length), -2147483648)
    assert.is(fnv1aPartition(-2147483648, 10), 8)
    assert.ok(Object.is(fnv1aPartition(-2147483648, 8), 0))
  })
}

test(`crc32c: ${javaVectors.crc32c.length} vectors of Java's CRC32C`, () => {
  for (const { input, hash } of javaVectors.crc32c) assert.is(twice(crc32c, Buffer.from(input, 'base64')), hash, input)
})

test('crc32c: every start and length against the definition', () => {
  const bytes = new SeededRandom(7).bytes(400)
  for (let from = 0; from < 9; from++) {
    for (let to = from; to <= 400; to += to < 140 ? 1 : 13) {
      assert.is(crc32c(bytes, from, to), slowCrc32c(bytes.subarray(from, to)), `${from} to ${to}`)
    }
  }
})

test('crc32c: the last bytes of an ArrayBuffer whose length is no multiple of four', () => {
  const memory = new SeededRandom(8).bytes(1003)
  const bytes = Buffer.from(new ArrayBuffer(1003))
  memory.copy(bytes)
  assert.is(crc32c(bytes, 2, 1003), slowCrc32c(memory.subarray(2)))
})

// From the reference implementation's documentation and xxhsum.
const xx: readonly [text: string, hash: number][] = [
  ['', 0x02cc5d05],
  ['a', 0x550d7456],
  ['abc', 0x32d153ff],
  ['Nobody inspects the spammish repetition', 0xe2293b2f],
]
for (const [text, hash] of xx) test(`xxhash32: '${text}'`, () => assert.is(twice(xxhash32, Buffer.from(text)), hash))

test.run()
