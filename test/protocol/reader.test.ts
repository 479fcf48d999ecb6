/** The reader: every primitive at its bounds, the sticky fault with its position, and counts that promise too much. */
import * as assert from 'uvu/assert'
import { ProtocolError } from '../../src/protocol/errors.ts'
import { Reader } from '../../src/protocol/reader.ts'
import { ZERO_UUID } from '../../src/protocol/uuid.ts'
import { suite } from '../support/suite.ts'

const test = suite('protocol/reader')
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

interface Row {
  readonly bytes: string
  readonly read: (reader: Reader) => unknown
  readonly value: unknown
}

const good: Row[] = [
  { bytes: '80', read: (r) => r.int8(), value: -128 },
  { bytes: '7f', read: (r) => r.int8(), value: 127 },
  { bytes: 'ff', read: (r) => r.uint8(), value: 255 },
  { bytes: '00', read: (r) => r.boolean(), value: false },
  { bytes: '02', read: (r) => r.boolean(), value: true },
  { bytes: '8000', read: (r) => r.int16(), value: -32_768 },
  { bytes: '7fff', read: (r) => r.int16(), value: 32_767 },
  { bytes: 'ffff', read: (r) => r.uint16(), value: 65_535 },
  { bytes: '80000000', read: (r) => r.int32(), value: -(2 ** 31) },
  { bytes: '7fffffff', read: (r) => r.int32(), value: 2 ** 31 - 1 },
  { bytes: 'ffffffff', read: (r) => r.uint32(), value: 2 ** 32 - 1 },
  { bytes: 'ffffffffffffffff', read: (r) => r.int64(), value: -1 },
  { bytes: '00000001 00000000', read: (r) => r.int64(), value: 2 ** 32 },
  { bytes: '001fffff ffffffff', read: (r) => r.int64(), value: Number.MAX_SAFE_INTEGER },
  { bytes: 'ffe00000 00000001', read: (r) => r.int64(), value: Number.MIN_SAFE_INTEGER },
  { bytes: '7fffffff ffffffff', read: (r) => r.int64Saturated(), value: Number.MAX_SAFE_INTEGER },
  { bytes: '80000000 00000000', read: (r) => r.int64Saturated(), value: Number.MIN_SAFE_INTEGER },
  { bytes: '7fffffff ffffffff', read: (r) => r.int64OrInfinity(), value: Number.POSITIVE_INFINITY },
  { bytes: '00000000 0000002a', read: (r) => r.int64OrInfinity(), value: 42 },
  { bytes: '80000000 00000000', read: (r) => r.int64Big(), value: -(2n ** 63n) },
  { bytes: '3ff80000 00000000', read: (r) => r.float64(), value: 1.5 },
  { bytes: '00', read: (r) => r.uvarint(), value: 0 },
  { bytes: '7f', read: (r) => r.uvarint(), value: 127 },
  { bytes: '8001', read: (r) => r.uvarint(), value: 128 },
  { bytes: 'ffffffff0f', read: (r) => r.uvarint(), value: 2 ** 32 - 1 },
  { bytes: '8080808000', read: (r) => r.uvarint(), value: 0 },
  { bytes: '01', read: (r) => r.varint(), value: -1 },
  { bytes: 'feffffff0f', read: (r) => r.varint(), value: 2 ** 31 - 1 },
  { bytes: 'ffffffff0f', read: (r) => r.varint(), value: -(2 ** 31) },
  { bytes: '03', read: (r) => r.varlong(), value: -2 },
  { bytes: '8080808010', read: (r) => r.varlong(), value: 2 ** 31 },
  { bytes: 'feffffffffffff1f', read: (r) => r.varlong(), value: Number.MAX_SAFE_INTEGER },
  { bytes: 'fdffffffffffff1f', read: (r) => r.varlong(), value: Number.MIN_SAFE_INTEGER },
  { bytes: '00'.repeat(16), read: (r) => r.uuid(), value: ZERO_UUID },
  { bytes: '00112233445566778899aabbccddeeff', read: (r) => r.uuid(), value: '00112233445566778899aabbccddeeff' },
  { bytes: '0000', read: (r) => r.string(), value: '' },
  { bytes: '0003 666f6f', read: (r) => r.string(), value: 'foo' },
  { bytes: '0004 f09f9880', read: (r) => r.string(), value: '😀' },
  { bytes: '0002 c328', read: (r) => r.string(), value: '\ufffd(' },
  { bytes: 'ffff', read: (r) => r.nullableString(), value: null },
  { bytes: '01', read: (r) => r.compactString(), value: '' },
  { bytes: '04 666f6f', read: (r) => r.compactString(), value: 'foo' },
  { bytes: '00', read: (r) => r.nullableCompactString(), value: null },
  { bytes: 'ffffffff', read: (r) => r.bytesLength(), value: -1 },
  { bytes: '00', read: (r) => r.compactBytesLength(), value: -1 },
  { bytes: 'ffffffff', read: (r) => r.arrayLength(), value: -1 },
  { bytes: '00', read: (r) => r.compactArrayLength(), value: -1 },
  { bytes: '02 05 03 aabbcc 7f 00', read: (r) => r.skipTags(), value: undefined },
]

test('reads each primitive to its last byte', () => {
  for (const { bytes, read, value } of good) {
    const reader = new Reader(hex(bytes))
    assert.equal(read(reader), value, `${bytes} ${read}`)
    assert.not(reader.failed, bytes)
    assert.is(reader.remaining, 0, bytes)
  }
})

test('each primitive cut off anywhere is a fault, whatever lies behind the end', () => {
  for (const { bytes, read } of good) {
    const whole = hex(bytes)
    for (let length = 0; length < whole.length; length++) {
      const reader = new Reader(Buffer.concat([Buffer.from([1, 2]), whole, Buffer.alloc(20, 0x01)]), 2, 2 + length)
      read(reader)
      assert.ok(reader.failed, `${bytes} cut to ${length} bytes`)
      assert.is(reader.at, reader.end)
    }
  }
})

const bad: { bytes: string; read: (reader: Reader) => unknown; at: number; says: RegExp; zero: unknown }[] = [
  { bytes: '00200000 00000000', read: (r) => r.int64(), at: 0, says: /outside/, zero: 0 },
  { bytes: 'ffe00000 00000000', read: (r) => r.int64(), at: 0, says: /outside/, zero: 0 },
  { bytes: '7fffffff fffffffe', read: (r) => r.int64OrInfinity(), at: 0, says: /outside/, zero: 0 },
  { bytes: 'ffffffff1f', read: (r) => r.uvarint(), at: 0, says: /more than 32 bits/, zero: 0 },
  { bytes: 'ffffffff80', read: (r) => r.uvarint(), at: 0, says: /more than 32 bits/, zero: 0 },
  { bytes: '8080808080808020', read: (r) => r.varlong(), at: 0, says: /outside/, zero: 0 },
  { bytes: `${'80'.repeat(9)}01`, read: (r) => r.varlong(), at: 0, says: /outside/, zero: 0 },
  { bytes: `${'80'.repeat(10)}01`, read: (r) => r.varlong(), at: 0, says: /outside/, zero: 0 },
  { bytes: 'fffe', read: (r) => r.nullableString(), at: 0, says: /length of -2/, zero: '' },
  { bytes: 'ffff', read: (r) => r.string(), at: 2, says: /null where/, zero: '' },
  { bytes: '00', read: (r) => r.compactString(), at: 1, says: /null where/, zero: '' },
  { bytes: '818002 61', read: (r) => r.compactString(), at: 0, says: /length of 32768/, zero: '' },
  { bytes: '0005 61', read: (r) => r.string(), at: 2, says: /5 bytes, 1 left/, zero: '' },
  { bytes: 'fffffffe', read: (r) => r.bytesLength(), at: 0, says: /length of -2/, zero: 0 },
  { bytes: '7fffffff', read: (r) => r.arrayLength(), at: 0, says: /2147483647 elements, 0 bytes left/, zero: 0 },
  { bytes: '80000000', read: (r) => r.arrayLength(), at: 0, says: /-2147483648 elements/, zero: 0 },
  { bytes: '00000002 000000', read: (r) => r.arrayLength(2), at: 0, says: /2 elements, 3 bytes left/, zero: 0 },
  { bytes: 'ffffffff0f 0000', read: (r) => r.compactArrayLength(), at: 0, says: /4294967294 elements/, zero: 0 },
  { bytes: '01 05 7f', read: (r) => r.skipTags(), at: 3, says: /127 bytes announced, 0 left/, zero: undefined },
  { bytes: 'ffffffff0f', read: (r) => r.skipTags(), at: 5, says: /1 bytes needed/, zero: undefined },
]

test('faults have a position and a reason, and reading goes on with zeros', () => {
  for (const { bytes, read, at, says, zero } of bad) {
    const reader = new Reader(hex(bytes))
    assert.equal(read(reader), zero, bytes)
    assert.ok(reader.failed, bytes)
    assert.match(reader.failure, says)
    assert.is(reader.failedAt, at, `${bytes}: ${reader.failure}`)
    assert.is(reader.int32(), 0)
    assert.is(reader.string(), '')
    assert.is(reader.uuid(), ZERO_UUID)
    assert.is(reader.span(1).length, 0)
    assert.is(reader.failedAt, at, 'the first fault stays')
  }
})

test('check throws one ProtocolError with position, and nothing without a fault', () => {
  new Reader(hex('00')).check('nothing')
  const reader = new Reader(hex('0000 0005 61'))
  reader.int16()
  reader.string()
  try {
    reader.check('Heartbeat v4 response')
    assert.unreachable()
  } catch (error) {
    assert.instance(error, ProtocolError)
    assert.is((error as ProtocolError).position, 4)
    assert.is((error as ProtocolError).code, 'ERR_PROTOCOL')
    assert.is(
      (error as ProtocolError).message,
      'Heartbeat v4 response is malformed: a string of 5 bytes, 1 left (at byte 4)',
    )
  }
})

test('spans are views of the frame', () => {
  const frame = hex('0102030405')
  const reader = new Reader(frame, 1)
  const span = reader.span(3)
  assert.is(span.buffer, frame.buffer)
  assert.equal([...span], [2, 3, 4])
  frame[1] = 9
  assert.is(span[0], 9)
})

test.run()
