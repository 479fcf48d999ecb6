/** Frames: headers byte by byte, the quirks of ApiVersions, and typed errors for whatever is cut off. */
import * as assert from 'uvu/assert'
import {
  apiVersions,
  correlationIdOf,
  decodeRequest,
  decodeRequestHeader,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  errorCodes,
  heartbeat,
  ProtocolError,
  produce,
} from '../../src/protocol/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('protocol/frame')
const one = (pieces: readonly Buffer[]): Buffer => Buffer.concat(pieces)
const member = { groupId: 'g', generationId: 3, memberId: 'm' }

test('request headers: version 1 and 2, the client id never compact', () => {
  const old = one(encodeRequest(heartbeat, 3, 5, 'cli', member))
  assert.is(old.toString('hex'), '000c 0003 00000005 0003636c69 000167 00000003 00016d ffff'.replaceAll(' ', ''))
  const flexible = one(encodeRequest(heartbeat, 4, -1, 'cli', member))
  assert.is(flexible.toString('hex'), '000c 0004 ffffffff 0003636c69 00 0267 00000003 026d 00 00'.replaceAll(' ', ''))
  for (const frame of [old, flexible]) {
    const header = decodeRequestHeader(frame)
    assert.is(header.clientId, 'cli')
    assert.is(header.bodyFrom, 13)
    assert.equal(decodeRequest(heartbeat, header, frame), { ...member, groupInstanceId: null })
  }
  assert.is(decodeRequestHeader(one(encodeRequest(heartbeat, 4, 1, null, member))).clientId, null)
})

test('tagged fields of a request header are skipped', () => {
  const frame = Buffer.from(
    '000c0004000000010003636c69 01 07 02 aabb 0267 00000003 026d 00 00'.replaceAll(' ', ''),
    'hex',
  )
  assert.equal(decodeRequest(heartbeat, decodeRequestHeader(frame), frame), { ...member, groupInstanceId: null })
})

test('response headers: version 0 and 1', () => {
  const old = one(encodeResponse(heartbeat, 3, 7, { errorCode: 27 }))
  assert.is(old.toString('hex'), '00000007 00000000 001b'.replaceAll(' ', ''))
  const flexible = one(encodeResponse(heartbeat, 4, 7, { errorCode: 27, throttleTimeMs: 1 }))
  assert.is(flexible.toString('hex'), '00000007 00 00000001 001b 00'.replaceAll(' ', ''))
  assert.is(correlationIdOf(flexible), 7)
  assert.equal(decodeResponse(heartbeat, 4, flexible), { throttleTimeMs: 1, errorCode: 27 })
  const tagged = Buffer.from('00000007 01 09 01 ff 00000001 001b 00'.replaceAll(' ', ''), 'hex')
  assert.equal(decodeResponse(heartbeat, 4, tagged), { throttleTimeMs: 1, errorCode: 27 })
})

test('ApiVersions: the response header is old in every version', () => {
  const apiKeys = [{ apiKey: 18, minVersion: 0, maxVersion: 4 }]
  for (const version of [0, 2, 3, 4]) {
    const frame = one(encodeResponse(apiVersions, version, 9, { errorCode: 0, apiKeys }))
    assert.is(frame.readInt16BE(4), 0, 'the body begins right after the correlation id')
    assert.equal(decodeResponse(apiVersions, version, frame).apiKeys, apiKeys)
  }
})

test('ApiVersions: a broker that does not know the version answers in version 0, and is understood', () => {
  const apiKeys = [{ apiKey: 18, minVersion: 0, maxVersion: 2 }]
  const answer = one(encodeResponse(apiVersions, 0, 9, { errorCode: errorCodes.UNSUPPORTED_VERSION, apiKeys }))
  for (const asked of [0, 1, 2, 3, 4]) {
    const response = decodeResponse(apiVersions, asked, answer)
    assert.is(response.errorCode, 35)
    assert.equal(response.apiKeys, apiKeys)
  }
})

test('ApiVersions: the header of a request of an unknown version can be read', () => {
  const frame = Buffer.from('0012 0063 00000009 0003636c69 00 deadbeef'.replaceAll(' ', ''), 'hex')
  const header = decodeRequestHeader(frame)
  assert.equal(header, { apiKey: 18, apiVersion: 99, correlationId: 9, clientId: 'cli', bodyFrom: 13 })
  assert.throws(
    () => decodeRequest(apiVersions, header, frame),
    /ApiVersions request has no version 99 here: use 0 to 4/,
  )
})

test('record batches go into the frame as they are', () => {
  const batches = [Buffer.from('first'), Buffer.from('second')]
  const input = {
    acks: -1,
    timeoutMs: 1_000,
    topicData: [{ name: 't', partitionData: [{ index: 0, records: batches }] }],
  }
  for (const version of [3, 9, 12]) {
    const pieces = encodeRequest(produce, version, 1, null, input)
    assert.ok(pieces.includes(batches[0]!) && pieces.includes(batches[1]!), `v${version}`)
    const frame = one(pieces)
    const read = decodeRequest(produce, decodeRequestHeader(frame), frame)
    assert.is(String(read.topicData[0]?.partitionData[0]?.records), 'firstsecond')
  }
})

test('whatever is cut off gives a ProtocolError with a position', () => {
  const isProtocolError = (error: unknown): boolean => error instanceof ProtocolError && error.position >= 0
  const request = one(encodeRequest(heartbeat, 4, 1, 'c', member))
  for (let length = 0; length < request.length; length++) {
    const cut = request.subarray(0, length)
    assert.throws(() => decodeRequest(heartbeat, decodeRequestHeader(cut), cut), isProtocolError, `request ${length}`)
  }
  const response = one(encodeResponse(heartbeat, 4, 1, { errorCode: 0 }))
  for (let length = 0; length < response.length; length++) {
    assert.throws(
      () => decodeResponse(heartbeat, 4, response.subarray(0, length)),
      isProtocolError,
      `response ${length}`,
    )
    if (length < 4) assert.throws(() => correlationIdOf(response.subarray(0, length)), isProtocolError)
  }
})

test.run()
