import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import * as assert from 'uvu/assert'
import {
  type Codec,
  CompressionError,
  type CompressionName,
  UnsupportedCompressionError,
} from '../../src/protocol/compression/codec.ts'
import { codecOf } from '../../src/protocol/compression/codecs.ts'
import { lz4 } from '../../src/protocol/compression/lz4.ts'
import { compressRaw, snappy } from '../../src/protocol/compression/snappy.ts'
import { zstdAvailable } from '../../src/protocol/compression/zstd.ts'
import { xxhash32 } from '../../src/protocol/hash/xxhash32.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { javaVectors, lz4Frames } from './golden.ts'

const test = suite('compression')
const MiB = 1024 * 1024
const seed = Number(process.env['SEED'] ?? 20261121)
console.log(`compression: again with SEED=${seed}`)

const names: Exclude<CompressionName, 'none'>[] = ['gzip', 'snappy', 'lz4']
if (zstdAvailable) names.push('zstd')
const raw: Codec = { name: 'snappy', compress: compressRaw, decompress: snappy.decompress }
const codecs: [label: string, codec: Codec][] = [...names.map((name) => [name, codecOf(name)] as [string, Codec])]
codecs.push(['raw snappy', raw])

/** Checks that `work` throws a CompressionError, and returns it. */
function refused(work: () => unknown, limit = false): CompressionError {
  try {
    work()
  } catch (cause) {
    if (!(cause instanceof CompressionError)) throw cause
    assert.is(cause.limitExceeded, limit, cause.message)
    return cause
  }
  throw new Error('it was not refused')
}

/** Data between noise and repetition. */
function someData(random: SeededRandom, size: number): Buffer {
  const pieces: Buffer[] = []
  const dictionary = Array.from({ length: 5 }, () => random.bytes(random.between(1, 80)))
  for (let left = size; left > 0; ) {
    const piece = random.chance(0.3)
      ? random.bytes(random.between(1, 40))
      : random.chance(0.1)
        ? Buffer.alloc(random.between(1, 700), random.int(256))
        : random.pick(dictionary)
    pieces.push(piece)
    left -= piece.length
  }
  return Buffer.concat(pieces).subarray(0, size)
}

function content(size: number): Buffer {
  const pieces: string[] = []
  let state = 1
  for (let length = 0; length < size; length += pieces.at(-1)!.length) {
    state = Number((BigInt(state) * 1103515245n + 12345n) % 2n ** 31n)
    pieces.push((state & 0x70000) === 0 ? `word${state >> 22} ` : 'the same again ')
  }
  return Buffer.from(pieces.join('').slice(0, size), 'latin1')
}

for (const [label, codec] of codecs) {
  const sizes = [
    0, 1, 4, 5, 12, 13, 14, 59, 60, 61, 255, 256, 257, 4096, 65535, 65536, 65537, 131073, 262145, 1_048_577,
  ]
  for (const [kind, make] of [
    ['zeros', (size: number) => Buffer.alloc(size)],
    ['noise', (size: number) => new SeededRandom(size).bytes(size)],
    ['text', content],
  ] as const) {
    test(`${label}: ${kind} of ${sizes.length} sizes come back`, () => {
      for (const size of sizes) {
        const data = make(size)
        const inside = Buffer.concat([Buffer.from('before'), data, Buffer.from('after')])
        const packed = codec.compress(inside, 6, 6 + size)
        const framed = Buffer.concat([Buffer.from('??'), packed, Buffer.from('?')])
        const back = codec.decompress(framed, 2, 2 + packed.length, size)
        assert.ok(back.equals(data), `${size} bytes`)
        assert.is(back.length, size)
        assert.ok(packed.length <= size + size / 100 + 64, `${size} became ${packed.length}`)
      }
    })
  }

  test(`${label}: 60 random inputs come back`, () => {
    const random = new SeededRandom(seed)
    for (let round = 0; round < 60; round++) {
      const data = someData(random, random.chance(0.2) ? random.int(300_000) : random.int(3000))
      const packed = codec.compress(data, 0, data.length)
      assert.ok(codec.decompress(packed, 0, packed.length, MiB).equals(data), `round ${round}`)
    }
  })

  test(`${label}: the limit holds to the byte`, () => {
    const data = content(100_000)
    const packed = codec.compress(data, 0, data.length)
    assert.is(codec.decompress(packed, 0, packed.length, 100_000).length, 100_000)
    refused(() => codec.decompress(packed, 0, packed.length, 99_999), true)
    refused(() => codec.decompress(packed, 0, packed.length, 0), true)
  })

  test(`${label}: every truncation is refused`, () => {
    const data = someData(new SeededRandom(seed), 700)
    const packed = codec.compress(data, 0, data.length)
    for (let length = 0; length < packed.length; length++) {
      // A xerial stream may end after any chunk, so its bare header is a valid empty stream.
      if (label === 'snappy' && length === 16) continue
      refused(() => codec.decompress(packed, 0, length, MiB))
    }
  })

  test(`${label}: damaged and random bytes give data or a CompressionError, within the limit`, () => {
    const random = new SeededRandom(seed)
    const data = someData(random, 2000)
    const packed = codec.compress(data, 0, data.length)
    const rounds = label === 'gzip' || label === 'zstd' ? 400 : 4000
    for (let round = 0; round < rounds; round++) {
      let bytes: Buffer = Buffer.from(packed)
      if (round % 4 === 3) {
        bytes = random.bytes(random.int(200))
      } else {
        for (let flips = random.between(1, 3); flips > 0; flips--) {
          bytes[random.int(bytes.length)]! ^= 1 << random.int(8)
        }
      }
      try {
        const back = codec.decompress(bytes, 0, bytes.length, 10_000)
        assert.ok(back.length <= 10_000)
      } catch (cause) {
        assert.instance(cause, CompressionError, `seed ${seed}, round ${round}: ${String(cause)}`)
      }
    }
  })
}

for (const vector of javaVectors.snappyRaw) {
  test(`snappy: raw data of snappy-java, ${vector.bytes} bytes`, () => {
    const packed = Buffer.from(vector.packed, 'base64')
    const back = snappy.decompress(packed, 0, packed.length, MiB)
    assert.is(createHash('sha256').update(back).digest('hex'), vector.sha256)
  })
}

for (const frame of lz4Frames) {
  test(`lz4: the reference library's frame of ${frame.name}`, () => {
    const packed = Buffer.from(frame.packed, 'base64')
    assert.ok(lz4.decompress(packed, 0, packed.length, frame.size).equals(content(frame.size)))
  })
}

test('lz4: checksums are compared', () => {
  const frame = lz4Frames.find((one) => one.name === '1000 bytes, independent, checksums True True')!
  const packed = Buffer.from(frame.packed, 'base64')
  for (const [at, what] of [
    [packed.length - 1, /content checksum/],
    [packed.length - 9, /block checksum/],
    [4, /checksum|version|reserved|dictionary|truncated/],
  ] as const) {
    const damaged = Buffer.from(packed)
    damaged[at]! ^= 0x40
    assert.match(refused(() => lz4.decompress(damaged, 0, damaged.length, MiB)).message, what)
  }
})

test('lz4: skippable and concatenated frames', () => {
  const skippable = Buffer.from([0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3])
  const one = lz4.compress(Buffer.from('one '), 0, 4)
  const two = lz4.compress(Buffer.from('two'), 0, 3)
  const all = Buffer.concat([skippable, one, skippable, two, skippable])
  assert.is(lz4.decompress(all, 0, all.length, 7).toString(), 'one two')
})

/** An LZ4 frame around one block, with a right header. */
function lz4Frame(block: Buffer, size = block.length): Buffer {
  const header = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0])
  header[6] = (xxhash32(header, 4, 6) >>> 8) & 0xff
  const length = Buffer.alloc(4)
  length.writeUInt32LE(size)
  return Buffer.concat([header, length, block, Buffer.alloc(4)])
}

const hostileLz4: readonly [what: string, bytes: Buffer, says: RegExp][] = [
  ['no frame', Buffer.from('not lz4 at all'), /no LZ4 frame/],
  ['a block of 2 GB', lz4Frame(Buffer.alloc(10), 0x7fffffff), /block of 2147483647 bytes/],
  ['a raw block of 2 GB', lz4Frame(Buffer.alloc(10), 0xffffffff), /block of 2147483647 bytes/],
  [
    'a match before the beginning',
    lz4Frame(Buffer.from([0x10, 0x61, 0x02, 0x00, 0x00])),
    /match 2 bytes back, 1 are there/,
  ],
  ['a match of distance 0', lz4Frame(Buffer.from([0x10, 0x61, 0x00, 0x00, 0x00])), /match 0 bytes back/],
  ['literals beyond the block', lz4Frame(Buffer.from([0xf0, 0xff, 0xff, 0x00, 0x61])), /literals of 525 bytes/],
  ['an endless literal length', lz4Frame(Buffer.alloc(50, 0xff)), /truncated literal length/],
  ['no last literals', lz4Frame(Buffer.from([0x10, 0x61, 0x01, 0x00])), /ends with literals/],
]
for (const [what, bytes, says] of hostileLz4) {
  test(`lz4: ${what} is refused`, () =>
    assert.match(refused(() => lz4.decompress(bytes, 0, bytes.length, MiB)).message, says))
}

const hostileSnappy: readonly [what: string, bytes: number[], says: RegExp][] = [
  ['nothing', [], /bad length/],
  ['a length of 4 GB', [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61], /cannot become 4294967295/],
  ['a length without end', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], /bad length/],
  ['a literal beyond the input', [0x05, 0x10, 0x61], /literal of 5 bytes does not fit/],
  ['a literal beyond the output', [0x01, 0x04, 0x61, 0x62], /literal of 2 bytes does not fit/],
  ['a literal of 4 GB', [0x05, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x61], /literal of 4294967296 bytes/],
  ['a copy before the beginning', [0x05, 0x00, 0x61, 0x01, 0x02], /copy from 2 bytes back, 1 are there/],
  ['a copy of distance 0', [0x05, 0x00, 0x61, 0x01, 0x00], /copy from 0 bytes back/],
  ['a copy of distance 4 GB', [0x05, 0x00, 0x61, 0x0f, 0xff, 0xff, 0xff, 0xff], /copy from 4294967295 bytes back/],
  ['a copy beyond the output', [0x03, 0x00, 0x61, 0x01, 0x01], /copy of 4 bytes does not fit/],
  ['a truncated copy', [0x05, 0x00, 0x61, 0x02, 0x01], /truncated copy/],
  ['too little', [0x05, 0x00, 0x61], /5 bytes declared, 1 made/],
]
for (const [what, bytes, says] of hostileSnappy) {
  test(`snappy: ${what} is refused`, () => {
    assert.match(refused(() => snappy.decompress(Buffer.from(bytes), 0, bytes.length, MiB)).message, says)
  })
}

test('snappy: a xerial chunk of 2 GB, of size 0, below zero is refused', () => {
  const header = snappy.compress(Buffer.alloc(0), 0, 0)
  for (const size of [0x7fffffff, 0, -1]) {
    const bytes = Buffer.concat([header, Buffer.alloc(10)])
    bytes.writeInt32BE(size, 16)
    assert.match(refused(() => snappy.decompress(bytes, 0, bytes.length, MiB)).message, /chunk of -?\d+ bytes/)
  }
})

/** What `work` allocates beside the JavaScript heap, bytes. */
function bufferGrowth(work: () => void): number {
  const before = process.memoryUsage().arrayBuffers
  work()
  return process.memoryUsage().arrayBuffers - before
}

test('bombs are refused before their size is allocated', () => {
  const zeros = Buffer.alloc(32 * MiB)
  for (const [label, codec] of codecs) {
    const bomb = codec.compress(zeros, 0, zeros.length)
    const grown = bufferGrowth(() => void refused(() => codec.decompress(bomb, 0, bomb.length, 2 * MiB), true))
    assert.ok(grown < 8 * MiB, `${label}: ${grown} bytes allocated for a limit of 2 MiB`)
  }
})

test('gzip: several members, as concatenated files', () => {
  const bytes = Buffer.concat([gzipSync('one '), gzipSync('two')])
  assert.is(codecOf('gzip').decompress(bytes, 0, bytes.length, 7).toString(), 'one two')
})

if (zstdAvailable) {
  test('zstd: this Node has it', () => {
    const data = content(5000)
    const packed = codecOf('zstd').compress(data, 0, data.length)
    assert.ok(codecOf('zstd').decompress(packed, 0, packed.length, 5000).equals(data))
  })
} else {
  test('zstd: a Node without it says what to do', () => {
    for (const use of [
      () => codecOf('zstd').compress(Buffer.from('x'), 0, 1),
      () => codecOf('zstd').decompress(Buffer.from('x'), 0, 1, 10),
    ]) {
      assert.throws(use, (cause: unknown) => {
        if (!(cause instanceof UnsupportedCompressionError)) throw cause
        assert.is(cause.code, 'ERR_UNSUPPORTED_COMPRESSION')
        assert.match(cause.message, /Node 22\.15 or newer/)
        return true
      })
    }
  })
}

test.run()
