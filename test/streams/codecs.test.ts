/** The built-in codecs: both forms (arrays and spans) give the same, and every bad value or byte is a typed error. */
import * as assert from 'uvu/assert'
import { ByteWriter } from '../../src/streams/byte-writer.ts'
import { type Codec, checkValue, decodeFrom, encodeTo } from '../../src/streams/codec.ts'
import { bytes, CodecError, int64, integer, json, string } from '../../src/streams/codecs/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('codecs')

/** Encodes in both forms, which must agree, into the middle of a writer. */
function encode<T>(codec: Codec<T>, value: T): Buffer {
  const writer = new ByteWriter(4)
  writer.append(Buffer.from('..'))
  encodeTo(codec, value, writer)
  const written = Buffer.from(writer.bytes.subarray(2, writer.at))
  assert.equal(Buffer.from(codec.encode(value)), written, 'encode and write differ')
  assert.is(writer.bytes.toString('latin1', 0, 2), '..')
  return written
}

/** Decodes in both forms, which must agree, out of the middle of a buffer. */
function decode<T>(codec: Codec<T>, source: Buffer | string): T {
  const inner = Buffer.from(source)
  const outer = Buffer.concat([Buffer.from('99'), inner, Buffer.from('99')])
  const value = decodeFrom(codec, outer, 2, 2 + inner.length)
  assert.equal(codec.decode(inner), value, 'decode and read differ')
  return value
}

function refuses(what: RegExp, run: () => unknown): void {
  try {
    run()
  } catch (cause) {
    assert.instance(cause, CodecError)
    assert.is((cause as CodecError).code, 'ERR_CODEC')
    assert.match((cause as CodecError).message, what)
    return
  }
  assert.unreachable('nothing was thrown')
}

const texts = ['', 'a', 'user-3', 'ü', '日本', '😀', 'a\u0000b', '\uFEFFbom', '\uFFFD', 'x'.repeat(24), 'x'.repeat(25)]
texts.push('ü'.repeat(5000), `${'x'.repeat(23)}ü`, 'a'.repeat(100_000))
for (const text of texts) {
  test(`string: ${JSON.stringify(text.slice(0, 26))} (${text.length}) comes back`, () => {
    assert.equal(encode(string, text), Buffer.from(text, 'utf8'))
    assert.is(decode(string, Buffer.from(text, 'utf8')), text)
  })
}

const badTexts: [name: string, text: string, at: number][] = [
  ['a lone high surrogate', '\ud800', 0],
  ['a lone low surrogate', 'a\udc00', 1],
  ['a high surrogate before text', 'ab\ud800c', 2],
  ['surrogates in the wrong order', '\udc00\ud800', 0],
  ['a lone one after a pair', '😀\ud800', 2],
  ['a lone one far behind', `${'x'.repeat(5000)}\ud800`, 5000],
]
for (const [name, text, at] of badTexts) {
  test(`string: ${name} is refused`, () => {
    refuses(new RegExp(`lone surrogate \\(at index ${at}\\)`), () => string.encode(text))
    refuses(/lone surrogate/, () => checkValue(string, text))
    const writer = new ByteWriter(8)
    refuses(/lone surrogate/, () => encodeTo(string, text, writer))
    assert.is(writer.at, 0)
  })
}

const badUtf8: [name: string, bytes: number[]][] = [
  ['a lone continuation byte', [0x80]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['a truncated sequence', [0x61, 0xe2, 0x82]],
  ['an encoded surrogate', [0xed, 0xa0, 0x80]],
  ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['latin1 text', [0x6d, 0xfc, 0x6c, 0x6c]],
]
for (const [name, list] of badUtf8) {
  test(`string: ${name} is refused`, () => {
    refuses(/not valid UTF-8/, () => decode(string, Buffer.from(list)))
    refuses(/not valid UTF-8/, () => string.decode(Buffer.from(list)))
    refuses(/not valid UTF-8/, () => json<unknown>().decode(Buffer.from([0x22, ...list, 0x22])))
  })
}

test('string: other types are refused', () => {
  for (const value of [1, null, undefined, {}, Buffer.from('a')]) {
    refuses(/takes a string/, () => string.encode(value as unknown as string))
    refuses(/takes a string/, () => encodeTo(string, value as unknown as string, new ByteWriter()))
  }
})

const bigints = [0n, 1n, -1n, 9n, 10n, 99n, 100n, -100n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 53n), 999_999_999_999_999n]
bigints.push(10n ** 15n, 10n ** 18n, 2n ** 63n - 1n, -(2n ** 63n), 1_234_567_890n)
for (const value of bigints) {
  test(`int64: ${value} comes back as decimal text`, () => {
    assert.is(encode(int64, value).toString('latin1'), value.toString())
    assert.is(decode(int64, value.toString()), value)
  })
}

const readable: [text: string, value: bigint][] = [
  ['+5', 5n],
  ['007', 7n],
  ['-0', 0n],
  ['+0000000000000000000000000000000001', 1n],
  ['-0000000000000000000000000000000001', -1n],
]
for (const [text, value] of readable) {
  test(`int64, integer: ${text} is read like goka reads it`, () => {
    assert.is(decode(int64, text), value)
    assert.ok(Object.is(decode(integer, text), Number(value)))
  })
}

for (const text of ['', '-', '+', ' 1', '1 ', '1.0', '1e3', '0x10', '1_000', '١', '--1', '1-', 'NaN']) {
  test(`int64, integer: ${JSON.stringify(text)} is not a number`, () => {
    refuses(/not a decimal number/, () => decode(int64, text))
    refuses(/not a decimal number/, () => decode(integer, text))
  })
}

const tooLarge: [codec: Codec<bigint> | Codec<number>, text: string][] = [
  [int64, '9223372036854775808'],
  [int64, '-9223372036854775809'],
  [int64, '99999999999999999999'],
  [int64, '9'.repeat(100_000)],
  [integer, '9007199254740992'],
  [integer, '-9007199254740992'],
  [integer, '9'.repeat(100_000)],
]
for (const [codec, text] of tooLarge) {
  test(`${codec.name}: ${text.slice(0, 25)} (${text.length} digits) is out of range`, () => {
    refuses(/out of range|above 2\^53/, () => decode<unknown>(codec, text))
  })
}

test('int64: values out of range and other types are refused in every form', () => {
  for (const value of [2n ** 63n, -(2n ** 63n) - 1n, 2n ** 200n, 1, '1', null]) {
    refuses(/takes/, () => int64.encode(value as bigint))
    refuses(/takes/, () => checkValue(int64, value as bigint))
    refuses(/takes/, () => encodeTo(int64, value as bigint, new ByteWriter()))
  }
})

for (const value of [0, -0, 1, -1, 10, 12_345, 999_999_999, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
  test(`integer: ${value} has the bytes of int64`, () => {
    assert.equal(encode(integer, value), encode(int64, BigInt(value)))
    assert.is(decode(integer, encode(integer, value)), value === 0 ? 0 : value)
  })
}

test('integer: powers of ten and their neighbours are written exactly', () => {
  for (let power = 0; power <= 15; power++) {
    for (const near of [-1, 0, 1]) {
      for (const sign of [-1, 1]) {
        const value = sign * (10 ** power + near)
        assert.is(encode(integer, value).toString('latin1'), String(value === 0 ? 0 : value))
      }
    }
  }
})

test('integer: fractions, infinities, unsafe numbers and other types are refused', () => {
  for (const value of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 1n, '1', undefined]) {
    refuses(/takes/, () => integer.encode(value as number))
    refuses(/takes/, () => checkValue(integer, value as number))
  }
})

test('bytes: what is decoded is a copy', () => {
  const source = Buffer.from('abc')
  for (const value of [bytes.decode(source), decodeFrom(bytes, source, 0, 3)]) {
    source.fill(0)
    assert.equal(Buffer.from(value), Buffer.from('abc'))
    source.write('abc')
  }
  assert.equal(encode(bytes, new Uint8Array([0, 255])), Buffer.from([0, 255]))
  assert.equal(decode(bytes, ''), Buffer.alloc(0))
  refuses(/takes a Uint8Array/, () => bytes.encode('abc' as unknown as Uint8Array))
})

test('json: values come back, names of prototypes included', () => {
  const codec = json<unknown>()
  const values = [
    null,
    true,
    0,
    '',
    'ü',
    [],
    [1, 'a'],
    { a: { b: null } },
    JSON.parse('{"__proto__": {"polluted": 1}}'),
  ]
  for (const value of values) assert.equal(decode(codec, encode(codec, value)), value)
  assert.is((Object.prototype as Record<string, unknown>)['polluted'], undefined)
  assert.is(json<string>(), json<number>(), 'one codec object: handles made twice agree')
})

test('json: what has no form is refused', () => {
  const circular: { self?: unknown } = {}
  circular.self = circular
  const values = [undefined, () => {}, Symbol('s'), 1n, { deep: 1n }, circular, { toJSON: () => undefined }]
  for (const value of values) {
    refuses(/json (has no form|cannot encode)/, () => json<unknown>().encode(value))
    refuses(/json (has no form|cannot encode)/, () => encodeTo(json<unknown>(), value, new ByteWriter()))
  }
  refuses(/has no form/, () => checkValue(json<unknown>(), undefined))
  for (const text of ['', '{', 'undefined', "{'a':1}", '1 2']) {
    refuses(/not JSON/, () => decode(json<unknown>(), text))
  }
})

test('json: an error never quotes the text', () => {
  try {
    json<unknown>().decode(Buffer.from('{"password": hunter2}'))
    assert.unreachable()
  } catch (cause) {
    assert.not.match((cause as Error).message, /hunter2/)
  }
})

test('codecs of users: what they throw becomes a CodecError with the cause', () => {
  const cause = new RangeError('too odd')
  const odd: Codec<number> = {
    name: 'odd.v1',
    encode: () => {
      throw cause
    },
    decode: () => {
      throw cause
    },
    check: () => {
      throw cause
    },
  }
  for (const run of [
    () => encodeTo(odd, 1, new ByteWriter()),
    () => decodeFrom(odd, Buffer.alloc(3), 0, 3),
    () => checkValue(odd, 1),
  ]) {
    try {
      run()
      assert.unreachable()
    } catch (error) {
      assert.instance(error, CodecError)
      assert.match((error as CodecError).message, /^codec odd\.v1 .*too odd$/)
      assert.is((error as CodecError).cause, cause)
    }
  }
})

test('codecs of users: a write that fails half way leaves the writer as it was', () => {
  const half: Codec<string> = {
    encode: (value) => Buffer.from(value),
    decode: (source) => source.toString(),
    write: (value, writer) => {
      writer.append(Buffer.from(value))
      throw new Error('half')
    },
  }
  const writer = new ByteWriter(1)
  writer.append(Buffer.from('kept'))
  refuses(/codec custom cannot encode a value of type string: half/, () => encodeTo(half, 'lost', writer))
  assert.is(writer.bytes.toString('latin1', 0, writer.at), 'kept')
})

test('ByteWriter: grows without losing bytes, and gives memory back', () => {
  const writer = new ByteWriter(1)
  const parts: Buffer[] = []
  for (let i = 0; i < 200; i++) {
    const part = Buffer.alloc(i, i)
    parts.push(part)
    writer.append(part)
  }
  assert.equal(writer.bytes.subarray(0, writer.at), Buffer.concat(parts))
  writer.reset(64)
  assert.is(writer.at, 0)
  assert.is(writer.bytes.length, 64)
})

test.run()
