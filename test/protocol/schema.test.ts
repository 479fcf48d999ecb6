/** Field combinators: presence, defaults, nullability, tags, and what a version cannot carry; and the inferred types. */
import * as assert from 'uvu/assert'
import { ProtocolError } from '../../src/protocol/errors.ts'
import { Reader } from '../../src/protocol/reader.ts'
import {
  array,
  bool,
  bytes,
  defineApi,
  int32,
  int64,
  type RequestInput,
  type RequestOf,
  records,
  string,
  struct,
  structs,
  timestamp,
  uuid,
} from '../../src/protocol/schema.ts'
import { ZERO_UUID } from '../../src/protocol/uuid.ts'
import { Writer } from '../../src/protocol/writer.ts'
import { suite } from '../support/suite.ts'

const test = suite('protocol/schema')

/** Everything a schema can say, in versions 1 (old), 2 (flexible) and 3. */
const sample = defineApi({
  key: 999,
  name: 'Sample',
  versions: [1, 3],
  flexible: 2,
  request: {
    id: string(),
    old: int32({ until: 1, default: 7 }),
    hint: string({ since: 3, nullable: true, default: null, ignorable: true }),
    vital: bool({ since: 2 }),
    byName: string({ until: 1, alternative: true }),
    byId: uuid({ since: 2, alternative: true }),
    later: string({ nullable: 3 }),
    nested: struct({ a: int32(), b: int32({ default: -1 }) }),
    maybe: struct({ a: int32({ default: 5 }) }, { since: 2, nullable: true, default: null }),
    items: structs({ n: int64(), names: array(string()) }, { nullable: true }),
    blob: bytes({ nullable: true }),
    at: timestamp(),
    data: records(),
    tagText: string({ since: 2, tag: 5, default: 'none' }),
    tagStruct: struct({ x: int32({ default: -1 }), y: string({ default: '' }) }, { since: 2, tag: 1 }),
    tagList: array(int32(), { since: 2, tag: 2 }),
    tagMaybe: struct({ x: int32({ default: 0 }) }, { since: 2, tag: 3, nullable: true, default: null }),
    tagBytes: bytes({ since: 2, tag: 4 }),
  },
  response: { later: string({ nullable: 3 }), list: structs({ n: int32() }, { nullable: 3 }) },
})

const least: RequestInput<typeof sample> = {
  id: 'x',
  later: 'l',
  nested: { a: 1 },
  items: null,
  blob: null,
  at: 5,
  data: null,
}

function write(input: RequestInput<typeof sample>, version: number): Buffer {
  const writer = new Writer()
  sample.request.write(writer, input, version)
  return Buffer.concat(writer.finish())
}

function read(frame: Buffer, version: number): RequestOf<typeof sample> {
  const reader = new Reader(frame)
  const request = sample.request.read(reader, version)
  reader.check('sample')
  assert.is(reader.remaining, 0)
  return request
}

const leastRead = {
  id: 'x',
  old: 7,
  hint: null,
  vital: false,
  byName: '',
  byId: ZERO_UUID,
  later: 'l',
  nested: { a: 1, b: -1 },
  maybe: null,
  items: null,
  blob: null,
  at: 5,
  data: null,
  tagText: 'none',
  tagStruct: { x: -1, y: '' },
  tagList: [],
  tagMaybe: null,
  tagBytes: Buffer.alloc(0),
}

test('what is omitted is the default, in every version, with every field present and in order', () => {
  for (const version of [1, 2, 3]) {
    const request = read(write(least, version), version)
    assert.equal(request, leastRead, `v${version}`)
    assert.equal(Object.keys(request), Object.keys(leastRead), `v${version}`)
  }
})

test('the bytes of an old and of a flexible version', () => {
  const input = { ...least, items: [{ n: 1, names: ['a', ''] }], blob: Buffer.from('b'), data: [Buffer.from('r')] }
  assert.is(
    write({ ...input, byName: 'n' }, 1).toString('hex'),
    '000178' + // id
      '00000007' + // old
      '00016e' + // byName
      '00016c' + // later
      '00000001ffffffff' + // nested
      '0000000100000000000000010000000200016100' + // items
      '00' +
      '0000000162' + // blob
      '0000000000000005' + // at
      '0000000172', // data
  )
  assert.is(
    write({ ...input, maybe: {}, tagList: [9], tagText: 'Z' }, 2).toString('hex'),
    '0278' + // id
      '00' + // vital
      '00'.repeat(16) + // byId
      '026c' + // later
      '00000001ffffffff00' + // nested and its tags
      '010000000500' + // maybe: present, its tags
      '0200000000000000010302610100' + // items
      '0262' + // blob
      '0000000000000005' + // at
      '0272' + // data
      '02' + // two tags, in order of their numbers
      '02050200000009' +
      '0502025a',
  )
})

test('tagged fields survive, above 127 bytes too, and unknown ones are skipped wherever they stand', () => {
  const input = {
    ...least,
    tagText: 't'.repeat(300),
    tagStruct: { x: 3, y: 'y'.repeat(130) },
    tagList: [1, 2],
    tagMaybe: {},
    tagBytes: Buffer.from('q'),
  }
  const request = read(write(input, 2), 2)
  assert.equal(request, { ...leastRead, ...input, tagMaybe: { x: 0 }, nested: leastRead.nested })
  const plain = write(least, 2)
  assert.is(plain.at(-1), 0, 'no tags: one zero byte')
  const tags = Buffer.concat([
    Buffer.from([3]),
    Buffer.from([0, 2, 0xaa, 0xbb]), // unknown
    Buffer.from([2, 5, 2, 0, 0, 0, 4]), // tagList
    Buffer.from([0x80, 0x01, 0]), // unknown, number 128, empty
  ])
  assert.equal(read(Buffer.concat([plain.subarray(0, -1), tags]), 2), { ...leastRead, tagList: [4] })
})

test('a tagged field must fill its size', () => {
  const plain = write(least, 2).subarray(0, -1)
  for (const size of [4, 6]) {
    const frame = Buffer.concat([plain, Buffer.from([1, 2, size, 2, 0, 0, 0, 4, 0, 0])])
    const reader = new Reader(frame)
    sample.request.read(reader, 2)
    assert.match(reader.failure, /tagList does not fill its [46] bytes/)
  }
  const reader = new Reader(Buffer.concat([plain, Buffer.from([1, 2, 0x7f, 2, 0, 0, 0, 4])]))
  sample.request.read(reader, 2)
  assert.match(reader.failure, /a tagged field of 127 bytes, 5 left/)
})

test('a request that would lose something is refused by name', () => {
  const refused: [RequestInput<typeof sample>, number, RegExp][] = [
    [{ ...least, vital: true }, 1, /Sample request v1 cannot carry vital/],
    [{ ...least, old: 8 }, 2, /Sample request v2 cannot carry old/],
    [{ ...least, maybe: {} }, 1, /cannot carry maybe/],
    [{ ...least, tagList: [1] }, 1, /cannot carry tagList/],
    [{ ...least, tagStruct: { x: 1 } }, 1, /cannot carry tagStruct/],
    [{ ...least, tagBytes: Buffer.from('a') }, 1, /cannot carry tagBytes/],
    [{ ...least, later: null }, 2, /Sample request\.later cannot be null in version 2/],
    [least, 0, /Sample request has no version 0 here: use 1 to 3/],
    [least, 4, /has no version 4/],
    [least, Number.NaN, /has no version NaN/],
  ]
  for (const [input, version, says] of refused) {
    assert.throws(
      () => write(input, version),
      (error: unknown) => error instanceof ProtocolError && says.test(error.message),
      String(says),
    )
  }
})

test('what is default, ignorable or has an alternative may be left behind', () => {
  write({ ...least, old: 7, vital: false, maybe: null, tagList: [], tagStruct: {}, tagStruct2: 1 } as typeof least, 1)
  write({ ...least, old: 7, hint: 'h', byName: 'n', byId: 'f'.repeat(32) }, 1)
  assert.is(read(write({ ...least, byName: 'n', byId: 'f'.repeat(32) }, 1), 1).byName, 'n')
  assert.is(read(write({ ...least, byName: 'n', byId: 'f'.repeat(32) }, 2), 2).byId, 'f'.repeat(32))
  assert.is(read(write({ ...least, later: null }, 3), 3).later, null)
})

test('a response never fails for the version: null becomes the empty value where null is unknown', () => {
  for (const version of [1, 2, 3]) {
    const writer = new Writer()
    sample.response.write(writer, { later: null, list: null }, version)
    const response = sample.response.read(new Reader(Buffer.concat(writer.finish())), version)
    assert.equal(response, version === 3 ? { later: null, list: null } : { later: '', list: [] })
  }
})

test('null on the wire where it is not allowed is a fault', () => {
  const cases: [string, number][] = [
    ['ffff', 1],
    ['00', 2],
    ['000161 ffffffff', 1],
    ['0261 00', 2],
  ]
  for (const [hex, version] of cases) {
    const reader = new Reader(Buffer.from(hex.replace(' ', ''), 'hex'))
    sample.response.read(reader, version)
    assert.match(reader.failure, /null where/, hex)
  }
})

test('types: required, optional and nullable fields', () => {
  // @ts-expect-error: `id` is required.
  const noId: RequestInput<typeof sample> = { later: '', nested: { a: 1 }, items: null, blob: null, at: 0, data: null }
  assert.throws(() => write(noId, 1), /Sample request v1 needs id/)
  // @ts-expect-error: `id` is never null.
  assert.throws(() => write({ ...least, id: null }, 1))
  // @ts-expect-error: `a` is required inside `nested`.
  assert.throws(() => write({ ...least, nested: {} }, 1), /Sample request\.nested v1 needs a/)
  // @ts-expect-error: a string is no number.
  assert.throws(() => write({ ...least, at: '5' }, 1))
  const request: RequestOf<typeof sample> = read(write(least, 1), 1)
  const text: string = request.id
  const maybe: string | null = request.hint
  const items: readonly { readonly n: number; readonly names: readonly string[] }[] | null = request.items
  // @ts-expect-error: a nullable field is not simply a string.
  const wrong: string = request.hint
  const change = (): void => {
    // @ts-expect-error: what was read is not changed.
    request.id = ''
  }
  assert.equal([text, maybe, items, wrong, typeof change], ['x', null, null, null, 'function'])
})

test('what is shared between messages cannot be changed', () => {
  const first = read(write(least, 2), 2)
  assert.throws(() => (first.tagList as number[]).push(1))
  assert.throws(() => Object.assign(first.tagStruct, { x: 1 }))
  assert.equal(read(write(least, 2), 2), leastRead)
})

test.run()
