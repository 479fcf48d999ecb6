/** Frame decoding: any split of the stream gives the same frames, and no size field makes it allocate on trust. */
import * as assert from 'uvu/assert'
import { FrameDecoder, PartialBudget } from '../../src/net/frame-decoder.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'

const test = suite('frame decoder')
const MiB = 1024 * 1024

function encode(frames: readonly Buffer[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const size = Buffer.alloc(4)
      size.writeInt32BE(frame.length)
      return [size, frame]
    }),
  )
}

function decoder(options: { max?: number; budget?: PartialBudget } = {}) {
  const frames: Buffer[] = []
  const budget = options.budget ?? new PartialBudget(Number.POSITIVE_INFINITY)
  const decoder = new FrameDecoder(options.max ?? 64 * MiB, budget, 'peer:1', (frame) => frames.push(frame))
  return { decoder, frames, budget }
}

function randomFrames(random: SeededRandom): Buffer[] {
  return Array.from({ length: random.between(1, 8) }, () => {
    const size = random.pick([0, 1, 3, 4, 5, 100, 16_384, 70_000, random.int(40_000), MiB + random.int(MiB)])
    const frame = Buffer.alloc(size, random.int(256))
    if (size > 8) frame.writeUInt32BE(random.uint32(), random.int(size - 4))
    return frame
  })
}

const seed = Number(process.env['SEED'] ?? 1)
for (const way of ['push', 'target'] as const) {
  test(`frames survive any split of the stream (${way}, SEED=${seed})`, () => {
    const random = new SeededRandom(seed)
    for (let round = 0; round < 150; round++) {
      const sent = randomFrames(random)
      const stream = encode(sent)
      const { decoder: it, frames, budget } = decoder()
      const most = random.pick([1, 3, 7, 1500, 65_536, 4 * MiB])
      if (stream.length > 300_000 && most < 1500) continue
      for (let at = 0; at < stream.length; ) {
        const count = Math.min(stream.length - at, random.between(1, most))
        if (way === 'push') {
          it.push(stream, at, at + count)
          at += count
        } else {
          const target = it.target()
          const read = Math.min(count, target.length)
          stream.copy(target, 0, at, at + read)
          it.filled(read, target)
          at += read
        }
      }
      assert.is(frames.length, sent.length, `round ${round}`)
      for (const [i, frame] of sent.entries()) assert.ok(frame.equals(frames[i]!), `round ${round}, frame ${i}`)
      assert.is(budget.usedBytes, 0, 'nothing is held between frames')
    }
  })
}

test('a frame is its own memory: later bytes do not change it', () => {
  const { decoder: it, frames } = decoder()
  const chunk = encode([Buffer.from('first')])
  it.push(chunk)
  chunk.fill(0)
  it.push(encode([Buffer.from('other')]))
  assert.is(frames[0]!.toString(), 'first')
})

test('the size field alone allocates 1 MiB at most; memory grows with what arrives', () => {
  const { decoder: it, budget } = decoder()
  const head = Buffer.alloc(4)
  head.writeInt32BE(50 * MiB)
  it.push(head)
  assert.is(budget.usedBytes, MiB)
  it.push(Buffer.alloc(MiB))
  assert.is(budget.usedBytes, MiB)
  it.push(Buffer.alloc(1))
  assert.is(budget.usedBytes, 2 * MiB)
})

const bad: { name: string; bytes: string | number[]; says: RegExp }[] = [
  { name: 'a TLS alert', bytes: [0x15, 3, 3, 0, 2], says: /TLS record.*plaintext/ },
  { name: 'a TLS client hello', bytes: [0x16, 3, 1, 0, 200], says: /TLS record/ },
  { name: 'an HTTP answer', bytes: 'HTTP/1.1 400 Bad Request', says: /HTTP.*web server/ },
  { name: 'an HTTP question', bytes: 'GET / HTTP/1.1', says: /HTTP/ },
  { name: 'an SSH greeting', bytes: 'SSH-2.0-x', says: /SSH/ },
  { name: 'a negative size', bytes: [0xff, 0xff, 0xff, 0xff], says: /negative frame size \(-1\)/ },
  { name: 'a size of 2 GB', bytes: [0x7f, 0xff, 0xff, 0xff], says: /2147483647 bytes, above maxFrameBytes 1000000/ },
]
for (const { name, bytes, says } of bad) {
  for (const step of [1, 100]) {
    test(`${name} in steps of ${step} is refused with a hint`, () => {
      const { decoder: it, budget } = decoder({ max: 1_000_000 })
      const stream = typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.from(bytes)
      assert.throws(
        () => {
          for (let at = 0; at < stream.length; at += step) it.push(stream.subarray(at, at + step))
        },
        (cause: Error & { code?: string }) => cause.code === 'ERR_FRAME' && says.test(cause.message),
      )
      assert.is(budget.usedBytes, 0)
    })
  }
}

test('partial frames of all connections share one budget', () => {
  const budget = new PartialBudget(150_000)
  const one = decoder({ budget }).decoder
  const two = decoder({ budget }).decoder
  const head = Buffer.alloc(5)
  head.writeInt32BE(100_000)
  one.push(head)
  assert.throws(() => two.push(head), /hold 100000 of maxPartialBytes 150000/)
  one.push(Buffer.alloc(99_999))
  two.stop()
  decoder({ budget }).decoder.push(head)
  assert.is(budget.usedBytes, 100_000, 'the finished frame is not counted any more')
})

test('after stop nothing is decoded and nothing is held', () => {
  const { decoder: it, frames, budget } = decoder()
  const stream = encode([Buffer.alloc(100)])
  it.push(stream, 0, 50)
  it.stop()
  it.push(stream, 50)
  assert.is(frames.length, 0)
  assert.is(budget.usedBytes, 0)
})

test.run()
