/**
 * The keys and values of the model test. A run has a fixed set of keys, sorted once, so that the model is an array of
 * values, a snapshot of it a copy, and a range a walk: cheap enough for a million operations.
 */
import type { SeededRandom } from '../../sim/random.ts'

/** One key of a run. */
export interface ModelKey {
  readonly space: number
  readonly key: Buffer
  /** The key from byte 1 on, one byte of something else on both sides: engines must use the bounds they are given. */
  readonly padded: Buffer
  /** The key as text, if it is UTF-8 and in space 0. */
  readonly text: string | undefined
}

export interface Universe {
  /** By space, then unsigned bytes. */
  readonly keys: readonly ModelKey[]
  /** Keys that are never written, near those that are. */
  readonly absent: readonly ModelKey[]
}

type Alphabet = (random: SeededRandom) => Buffer[]

const repeat = (byte: number, length: number): Buffer => Buffer.alloc(length, byte)
const edge = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff]

const alphabets = {
  short: () => [Buffer.alloc(0), ...edge.map((byte) => Buffer.from([byte])), Buffer.from('a'), Buffer.from('ab')],
  zerosAndOnes: (random) =>
    Array.from({ length: 60 }, () => Buffer.from(random.bytes(random.int(9)).map((byte) => (byte & 1 ? 0xff : 0)))),
  longPrefix: (random) =>
    Array.from({ length: 60 }, () =>
      Buffer.concat([repeat(0x70, 998 + random.int(4)), Buffer.from(random.bytes(random.int(3)))]),
    ),
  notText: (random) => [
    Buffer.from([0xc3, 0x28]),
    Buffer.from([0xed, 0xa0, 0x80]),
    Buffer.from([0xf8, 0x88, 0x80, 0x80, 0x80]),
    ...Array.from({ length: 30 }, () => random.bytes(1 + random.int(12))),
  ],
  astral: (random) =>
    Array.from({ length: 60 }, () =>
      Buffer.from(
        Array.from({ length: 1 + random.int(3) }, () =>
          random.pick(['\u{1f600}', '\u{10000}', '\ufffd', '\ue000', '\ud7ff', 'é', 'z', '\0']),
        ).join(''),
      ),
    ),
  huge: () => [65_535, 65_536, 65_537].flatMap((length) => [0, 1].map((end) => tail(repeat(0x68, length), end))),
  numbered: (random) => {
    const count = random.pick([50, 400, 1500])
    return Array.from({ length: count }, (_, i) => Buffer.from(`user-${i * 7}`))
  },
} satisfies Record<string, Alphabet>

/** Names of the key alphabets. */
export const alphabetNames = Object.keys(alphabets) as readonly (keyof typeof alphabets)[]

function tail(bytes: Buffer, last: number): Buffer {
  bytes[bytes.length - 1] = last
  return bytes
}

export function modelKey(space: number, key: Buffer): ModelKey {
  const padded = Buffer.concat([Buffer.from([0xaa]), key, Buffer.from([0x55])])
  const text = key.toString('utf8')
  return { space, key, padded, text: space === 0 && Buffer.from(text).equals(key) ? text : undefined }
}

export function compareModelKeys(a: ModelKey, b: ModelKey): number {
  return a.space - b.space || a.key.compare(b.key)
}

/** Keys of all alphabets given, spread over the spaces given. */
export function makeUniverse(
  random: SeededRandom,
  names: readonly (keyof typeof alphabets)[],
  spaces: readonly number[],
): Universe {
  const known = new Map<string, ModelKey>()
  for (const name of names) {
    for (const key of alphabets[name](random)) {
      const one = modelKey(random.pick(spaces), key)
      known.set(`${one.space}:${key.toString('latin1')}`, one)
    }
  }
  const absent: ModelKey[] = []
  for (const { space, key } of known.values()) {
    if (!random.chance(0.2)) continue
    const near = random.chance(0.5) ? Buffer.concat([key, Buffer.from([0])]) : key.subarray(0, -1)
    if (!known.has(`${space}:${near.toString('latin1')}`)) absent.push(modelKey(space, near))
  }
  return { keys: [...known.values()].sort(compareModelKeys), absent }
}

const pool = Buffer.alloc(4 * 2 ** 20)
for (let i = 0, x = 1; i < pool.length; i += 4) {
  x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0
  pool.writeInt32LE(x ^ (x >>> 15), i)
}

/** Random bytes that nobody may change. */
export function someBytes(random: SeededRandom, length: number): Buffer {
  const from = random.int(pool.length - length + 1)
  return pool.subarray(from, from + length)
}

/** A value: mostly small, sometimes a page or two, now and then larger than the memtable. */
export function someValue(random: SeededRandom, memtableBytes: number): Buffer {
  const dice = random.int(1000)
  if (dice < 150) return someBytes(random, random.int(2))
  if (dice < 960) return someBytes(random, random.pick([7, 8, 20, 100, 100, 600]))
  if (dice < 996) return someBytes(random, 3000 + random.int(4000))
  return someBytes(random, Math.min(pool.length, memtableBytes * (1 + random.int(4)) + random.int(9)))
}
