/**
 * Properties of every message in every version: a random value survives a round trip; bytes that were cut, flipped,
 * overwritten or made up give a value or a fault, never an endless loop, a read outside the frame, or objects that the
 * bytes do not pay for. `SEED=n` repeats a run. The digests pin the bytes that Kafka's own classes confirmed.
 */
import * as assert from 'uvu/assert'
import { decodeRequest, decodeResponse, type RequestHeader } from '../../src/protocol/frame.ts'
import { allApis, ProtocolError } from '../../src/protocol/index.ts'
import { Reader } from '../../src/protocol/reader.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { expectedOutput, randomInput } from './random-message.ts'
import { allMessages, decode, digest, encode, goldenDigests, inputsOf, type Message } from './vectors.ts'

const test = suite('protocol/messages', { deadlineMs: 60_000 })
const seed = Number(process.env['SEED'] ?? 1)
console.log(`seed ${seed} (SEED=…)`)

function* versions(): Generator<[Message, number]> {
  for (const message of allMessages) {
    for (let version = message.minVersion; version <= message.maxVersion; version++) yield [message, version]
  }
}

test('round trip of random values', () => {
  const random = new SeededRandom(seed)
  for (const [message, version] of versions()) {
    for (let i = 0; i < 15; i++) {
      const input = randomInput(message.codec.fields, version, random)
      const where = `${message.name} v${version}, seed ${seed}, message ${i}`
      const output = decode(message, version, encode(message, version, input))
      assert.equal(output, expectedOutput(message.codec.fields, input, version), where)
      assert.equal(decode(message, version, encode(message, version, output)), output, `${where}, again`)
    }
  }
})

test('the bytes are those that Kafka confirmed', () => {
  const golden = goldenDigests()
  const now = new Map<string, string>()
  for (const [message, version] of versions()) {
    const parts = inputsOf(message, version).map((input) => encode(message, version, input))
    now.set(`${message.name} v${version}`, digest(parts))
  }
  for (const [name, sum] of now) assert.is(sum, golden.get(name), `${name}: npm run test:kafka compares with Kafka`)
  assert.is(now.size, golden.size)
})

/** Bytes a decoded value takes, about: what is shared (frozen) costs nothing. */
function weight(value: unknown): number {
  if (typeof value === 'string') return 16 + value.length
  if (typeof value !== 'object' || value === null) return 8
  if (Object.isFrozen(value)) return 8
  if (Buffer.isBuffer(value)) return 100
  const items = Array.isArray(value) ? value : Object.values(value)
  let sum = 32
  for (const item of items) sum += weight(item)
  return sum
}

/** Reads `bytes` hemmed in by others, checks all that must hold for any bytes, and returns whether they were accepted. */
function mustBeHarmless(message: Message, version: number, bytes: Buffer, where: string): boolean {
  const alone = new Reader(bytes)
  const value = message.codec.read(alone, version)
  const spent = weight(value)
  assert.ok(spent <= 2_000 + 60 * bytes.length, `${where}: ${spent} bytes of objects from ${bytes.length} bytes`)
  assert.ok(alone.at <= bytes.length)
  const hemmed = Buffer.concat([Buffer.alloc(3, 0x7f), bytes, Buffer.alloc(9, 0x01)])
  const inside = new Reader(hemmed, 3, 3 + bytes.length)
  const again = message.codec.read(inside, version)
  assert.is(inside.failed, alone.failed, `${where}: bytes beyond the end were read`)
  assert.is(inside.failure, alone.failure, where)
  assert.is(inside.at, alone.at + 3, where)
  assert.is(inside.failedAt, alone.failed ? alone.failedAt + 3 : -1, where)
  if (alone.failed) {
    assert.ok(alone.failedAt >= 0 && alone.failedAt <= bytes.length, where)
    return false
  }
  assert.equal(again, value, where)
  return true
}

test('cut anywhere: a fault', () => {
  const random = new SeededRandom(seed)
  for (const [message, version] of versions()) {
    const whole = encode(message, version, randomInput(message.codec.fields, version, random))
    const step = Math.max(1, Math.floor(whole.length / 50))
    for (let length = 0; length < whole.length; length += step) {
      const where = `${message.name} v${version} cut to ${length}, seed ${seed}`
      assert.not(mustBeHarmless(message, version, whole.subarray(0, length), where), where)
    }
  }
})

test('bits flipped', () => {
  const random = new SeededRandom(seed)
  let accepted = 0
  let refused = 0
  for (const [message, version] of versions()) {
    for (let i = 0; i < 40; i++) {
      const bytes = encode(message, version, randomInput(message.codec.fields, version, random))
      if (bytes.length === 0) continue
      for (let flips = random.between(1, 3); flips > 0; flips--) bytes[random.int(bytes.length)]! ^= 1 << random.int(8)
      const where = `${message.name} v${version}, seed ${seed}, message ${i}`
      if (mustBeHarmless(message, version, bytes, where)) accepted += 1
      else refused += 1
    }
  }
  console.log(`bits flipped: ${accepted} accepted, ${refused} refused`)
  assert.ok(accepted > 1_000 && refused > 1_000)
})

const hostile = [
  '7fffffff',
  '80000000',
  'ffffffff',
  'ffffffff0f',
  'ffffffff07',
  'fffffffffffffffff00f',
  '7fff',
  '00000000',
]

test('hostile lengths and counts written over valid messages', () => {
  const random = new SeededRandom(seed)
  let refused = 0
  for (const [message, version] of versions()) {
    for (let i = 0; i < 3; i++) {
      const valid = encode(message, version, randomInput(message.codec.fields, version, random))
      for (let n = 0; n < 12; n++) {
        const patch = Buffer.from(random.pick(hostile), 'hex')
        const at = random.int(Math.min(valid.length, 120) + 1)
        const bytes = Buffer.concat([valid.subarray(0, at), patch, valid.subarray(at + patch.length)])
        if (!mustBeHarmless(message, version, bytes, `${message.name} v${version}, seed ${seed}, at ${at}`))
          refused += 1
      }
    }
  }
  assert.ok(refused > 1_000)
})

test('random bytes', () => {
  const random = new SeededRandom(seed)
  for (const [message, version] of versions()) {
    for (let i = 0; i < 40; i++) {
      const bytes = random.bytes(random.int(400))
      // Small numbers make it past the first counts.
      if (random.chance(0.7)) for (let at = 0; at < bytes.length; at++) bytes[at]! &= random.pick([0, 1, 3, 0xff])
      mustBeHarmless(message, version, bytes, `${message.name} v${version}, seed ${seed}, bytes ${i}`)
    }
  }
})

test('whole frames of random bytes: a value or a ProtocolError', () => {
  const random = new SeededRandom(seed)
  const attempt = (decodeFrame: () => unknown): void => {
    try {
      decodeFrame()
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
    }
  }
  for (const api of allApis) {
    for (let version = api.minVersion - 1; version <= api.maxVersion + 1; version++) {
      for (let i = 0; i < 20; i++) {
        const frame = random.bytes(random.int(100))
        const from = Math.min(frame.length, random.int(20))
        const header: RequestHeader = {
          apiKey: api.key,
          apiVersion: version,
          correlationId: 1,
          clientId: '',
          bodyFrom: from,
        }
        attempt(() => decodeRequest(api, header, frame))
        attempt(() => decodeResponse(api, version, frame))
      }
    }
  }
})

test('the scales can see: an array that is not paid for is too heavy', () => {
  assert.ok(weight(Array.from({ length: 1_000 }, () => ({ a: '', b: [] }))) > 2_000 + 60 * 100)
})

test.run()
