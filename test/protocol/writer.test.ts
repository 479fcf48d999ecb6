/** The writer: what it writes the reader reads, what does not fit is refused, and the pieces come out in order. */
import * as assert from 'uvu/assert'
import { ProtocolError } from '../../src/protocol/errors.ts'
import { Reader } from '../../src/protocol/reader.ts'
import { uvarintSize, Writer } from '../../src/protocol/writer.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'

const test = suite('protocol/writer')
const bytesOf = (writer: Writer): Buffer => Buffer.concat(writer.finish())

const rows: { write: (writer: Writer) => void; hex: string }[] = [
  { write: (w) => w.int8(-1), hex: 'ff' },
  { write: (w) => w.boolean(true), hex: '01' },
  { write: (w) => w.int16(-2), hex: 'fffe' },
  { write: (w) => w.uint16(0xfffe), hex: 'fffe' },
  { write: (w) => w.int32(-(2 ** 31)), hex: '80000000' },
  { write: (w) => w.uint32(2 ** 32 - 1), hex: 'ffffffff' },
  { write: (w) => w.int64(-1), hex: 'ffffffffffffffff' },
  { write: (w) => w.int64(Number.MAX_SAFE_INTEGER), hex: '001fffffffffffff' },
  { write: (w) => w.int64(Number.MIN_SAFE_INTEGER), hex: 'ffe0000000000001' },
  { write: (w) => w.int64(-(2 ** 32)), hex: 'ffffffff00000000' },
  { write: (w) => w.int64OrInfinity(Number.POSITIVE_INFINITY), hex: '7fffffffffffffff' },
  { write: (w) => w.int64Big(-(2n ** 63n)), hex: '8000000000000000' },
  { write: (w) => w.float64(1.5), hex: '3ff8000000000000' },
  { write: (w) => w.uvarint(2 ** 32 - 1), hex: 'ffffffff0f' },
  { write: (w) => w.varint(-1), hex: '01' },
  { write: (w) => w.varlong(2 ** 31), hex: '8080808010' },
  { write: (w) => w.varlong(Number.MIN_SAFE_INTEGER), hex: 'fdffffffffffff1f' },
  { write: (w) => w.uuid('00112233445566778899aabbccddeeff'), hex: '00112233445566778899aabbccddeeff' },
  { write: (w) => w.string('é'), hex: '0002c3a9' },
  { write: (w) => w.nullableString(null), hex: 'ffff' },
  { write: (w) => w.compactString('foo'), hex: '04666f6f' },
  { write: (w) => w.nullableCompactString(null), hex: '00' },
  { write: (w) => w.raw(Buffer.from([1, 2])), hex: '0102' },
]

test('writes each primitive', () => {
  for (const { write, hex } of rows) {
    const writer = new Writer()
    write(writer)
    assert.is(bytesOf(writer).toString('hex'), hex, String(write))
    assert.is(writer.length, hex.length / 2)
  }
})

const misfits: ((writer: Writer) => void)[] = [
  (w) => w.int8(128),
  (w) => w.int8(Number.NaN),
  (w) => w.int16(32_768),
  (w) => w.int16(1.5),
  (w) => w.uint16(-1),
  (w) => w.int32(2 ** 31),
  (w) => w.int32(undefined as unknown as number),
  (w) => w.uint32(-1),
  (w) => w.uint32(2 ** 32),
  (w) => w.int64(2 ** 53),
  (w) => w.int64(Number.POSITIVE_INFINITY),
  (w) => w.int64(0.5),
  (w) => w.uvarint(-1),
  (w) => w.uvarint(2 ** 32),
  (w) => w.varint(2 ** 31),
  (w) => w.varlong(2 ** 53),
  (w) => w.uuid('0011'),
  (w) => w.uuid('z'.repeat(32)),
  (w) => w.string('x'.repeat(32_768)),
  (w) => w.string('é'.repeat(20_000)),
  (w) => w.compactString('x'.repeat(32_768)),
  (w) => w.compactString('x'.repeat(2 ** 28)),
]

test('refuses what the type cannot carry', () => {
  for (const write of misfits) {
    assert.throws(
      () => write(new Writer()),
      (error: unknown) => error instanceof ProtocolError && error.code === 'ERR_PROTOCOL',
      String(write),
    )
  }
})

test('compact lengths around each width, ASCII or not', () => {
  for (const length of [0, 1, 47, 48, 49, 125, 126, 127, 128, 129, 16_381, 16_382, 16_383, 16_384, 32_767]) {
    for (const text of ['a'.repeat(length), 'é'.repeat(length >> 1), `${'a'.repeat(Math.max(0, length - 2))}é`]) {
      if (Buffer.byteLength(text) > 32_767) continue
      const writer = new Writer(1)
      writer.int8(7)
      writer.compactString(text)
      writer.int8(9)
      const size = Buffer.byteLength(text)
      const bytes = bytesOf(writer)
      assert.is(bytes.length, 2 + uvarintSize(size + 1) + size)
      const reader = new Reader(bytes)
      assert.is(reader.int8(), 7)
      assert.is(reader.compactString(), text)
      assert.is(reader.int8(), 9)
      reader.check('text')
    }
  }
})

test('sized parts are widened by a move, also nested', () => {
  for (const size of [0, 1, 126, 127, 128, 16_383, 16_384, 2_097_152]) {
    const body = new SeededRandom(size).bytes(size)
    const writer = new Writer(16)
    const outer = writer.openSized()
    writer.int8(1)
    const inner = writer.openSized()
    writer.raw(body)
    writer.closeSized(inner)
    writer.int8(2)
    writer.closeSized(outer)
    const reader = new Reader(bytesOf(writer))
    assert.is(reader.uvarint(), reader.remaining)
    assert.is(reader.int8(), 1)
    assert.is(reader.uvarint(), size)
    assert.ok(reader.span(size).equals(body))
    assert.is(reader.int8(), 2)
    reader.check('sized')
    assert.is(reader.remaining, 0)
  }
})

test('foreign spans keep their place and are not copied', () => {
  const spans = [Buffer.from('one'), Buffer.alloc(0), Buffer.from('two'), Buffer.from('three')]
  const writer = new Writer(1)
  writer.foreign(spans[0]!)
  writer.int16(1)
  writer.foreign(spans[1]!)
  writer.foreign(spans[2]!)
  writer.foreign(spans[3]!)
  writer.string('x'.repeat(1_000)) // grows the chunk after spans were placed
  assert.is(writer.length, 3 + 2 + 3 + 5 + 1_002)
  const pieces = writer.finish()
  assert.is(pieces[0], spans[0])
  assert.is(pieces[2], spans[2])
  assert.is(pieces[3], spans[3])
  assert.is(pieces.length, 5)
  assert.is(Buffer.concat(pieces).toString('latin1'), `one\0\u0001twothree\u0003\u00e8${'x'.repeat(1_000)}`)
})

test('random sequences: what is written is read, from any first chunk', () => {
  const seed = Number(process.env['SEED'] ?? 1)
  console.log(`seed ${seed}`)
  const random = new SeededRandom(seed)
  for (let round = 0; round < 300; round++) {
    const writer = new Writer(random.int(40))
    const reads: [unknown, (reader: Reader) => unknown][] = []
    const add = <T>(value: T, write: (value: T) => void, read: (reader: Reader) => unknown): void => {
      write(value)
      reads.push([value, read])
    }
    for (let i = random.int(60); i > 0; i--) {
      const int = random.uint32() | 0
      const wide = Math.floor((random.next() * 2 - 1) * 2 ** random.int(54))
      switch (random.int(9)) {
        case 0:
          add(
            int,
            (v) => writer.int32(v),
            (r) => r.int32(),
          )
          break
        case 1:
          add(
            wide,
            (v) => writer.int64(v),
            (r) => r.int64(),
          )
          break
        case 2:
          add(
            wide,
            (v) => writer.varlong(v),
            (r) => r.varlong(),
          )
          break
        case 3:
          add(
            int >> random.int(32),
            (v) => writer.varint(v),
            (r) => r.varint(),
          )
          break
        case 4:
          add(
            int >>> random.int(32),
            (v) => writer.uvarint(v),
            (r) => r.uvarint(),
          )
          break
        case 5:
          add(
            (int << 16) >> 16,
            (v) => writer.int16(v),
            (r) => r.int16(),
          )
          break
        case 6:
          add(
            int >>> 0,
            (v) => writer.uint32(v),
            (r) => r.uint32(),
          )
          break
        case 7:
          add(
            BigInt(wide) * 1000n,
            (v) => writer.int64Big(v),
            (r) => r.int64Big(),
          )
          break
        default:
          add(
            random.bytes(random.int(100)).toString('latin1'),
            (v) => writer.compactString(v),
            (r) => r.compactString(),
          )
      }
    }
    const reader = new Reader(bytesOf(writer))
    for (const [value, read] of reads) assert.equal(read(reader), value, `seed ${seed}, round ${round}`)
    reader.check('sequence')
    assert.is(reader.remaining, 0)
  }
})

test.run()
